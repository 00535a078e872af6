"""Public requests that spot and futures share: time, listings, books, trades, candles, prices."""

from typing import Any

from quantai.venues.loopback.candles import INTERVALS
from quantai.venues.loopback.exchange import Exchange
from quantai.venues.loopback.listings import Product
from quantai.venues.loopback.matching import Matching
from quantai.venues.loopback.params import Params
from quantai.venues.loopback.refusals import Refused
from quantai.venues.loopback.streams import levels

LIMITS = {
    Product.SPOT: {"weight": 6000, "orders_10s": 100, "orders_1d": 200000},
    Product.FUTURES: {"weight": 2400, "orders_10s": 300, "orders_1m": 1200},
}


def ping(exchange: Exchange, product: Product, params: Params) -> Any:
    """Answer that the exchange is there."""
    return {}


def server_time(exchange: Exchange, product: Product, params: Params) -> Any:
    """Answer the exchange's time."""
    return {"serverTime": exchange.now_ms()}


def exchange_info(exchange: Exchange, product: Product, params: Params) -> Any:
    """Answer what is listed, all of it or the symbols named."""
    named = [params["symbol"]] if "symbol" in params else _names(params)
    found = [exchange.listed(product, s) for s in named] if named else _all(exchange, product)
    found = [exchange.listed(product, m.listing.symbol) for m in found]
    limits = LIMITS[product]
    rate_limits = [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": limits["weight"]},
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": limits["orders_10s"]},
    ]
    body = {"timezone": "UTC", "serverTime": exchange.now_ms(), "rateLimits": rate_limits, "exchangeFilters": []}
    if product is Product.FUTURES:
        assets = sorted({m.listing.quote for m in _all(exchange, product)})
        body["futuresType"] = "U_MARGINED"
        body["assets"] = [{"asset": a, "marginAvailable": True, "autoAssetExchange": "0"} for a in assets]
    return body | {"symbols": [m.listing.info(trading=m.trading) for m in found]}


def depth(exchange: Exchange, product: Product, params: Params) -> Any:
    """Answer the book."""
    matching = exchange.listed(product, params.need("symbol"))
    limit = params.limit(100 if product is Product.SPOT else 500, 5000)
    now = exchange.now_ms()
    times = {} if product is Product.SPOT else {"E": now, "T": now}
    book = {"bids": levels(matching, 1, limit), "asks": levels(matching, -1, limit)}
    return {"lastUpdateId": matching.book.update} | times | book


def trades(exchange: Exchange, product: Product, params: Params) -> Any:
    """Answer the last trades."""
    record = _record(exchange, product, params)
    return list(record.trades)[-params.limit(500, 1000) :]


def agg_trades(exchange: Exchange, product: Product, params: Params) -> Any:
    """Answer aggregate trades: the last ones, from an id, or between two instants."""
    found = list(_record(exchange, product, params).aggregates)
    first, start, end = params.integer("fromId"), params.integer("startTime"), params.integer("endTime")
    limit = params.limit(500, 1000)
    chosen = [t for t in found if (start is None or t["T"] >= start) and (end is None or t["T"] <= end)]
    if first is not None:
        return [t for t in chosen if t["a"] >= first][:limit]
    return chosen[:limit] if start is not None else chosen[-limit:]


def klines(exchange: Exchange, product: Product, params: Params) -> Any:
    """Answer candles."""
    record, interval = _record(exchange, product, params), params.need("interval")
    if interval not in INTERVALS:
        raise Refused(-1120, "Invalid interval.")
    end, start = params.integer("endTime"), params.integer("startTime", 0)
    return record.rows(interval, params.limit(500, 1500), start or 0, end)


def average_price(exchange: Exchange, product: Product, params: Params) -> Any:
    """Answer the price, which is the last one here."""
    matching = exchange.listed(product, params.need("symbol"))
    return {"mins": 5, "price": matching.listing.px(matching.last), "closeTime": exchange.now_ms()}


def ticker_price(exchange: Exchange, product: Product, params: Params) -> Any:
    """Answer last prices."""
    return _each(exchange, product, params, lambda m: {"symbol": m.listing.symbol, "price": m.listing.px(m.last)}
                 | ({} if product is Product.SPOT else {"time": exchange.now_ms()}))  # fmt: skip


def book_ticker(exchange: Exchange, product: Product, params: Params) -> Any:
    """Answer best prices."""

    def shape(m: Matching) -> dict[str, Any]:
        e = exchange.streams.book_ticker(m)
        best = {"symbol": e["s"], "bidPrice": e["b"], "bidQty": e["B"], "askPrice": e["a"], "askQty": e["A"]}
        return best | ({} if product is Product.SPOT else {"time": exchange.now_ms(), "lastUpdateId": e["u"]})

    return _each(exchange, product, params, shape)


def ticker_day(exchange: Exchange, product: Product, params: Params) -> Any:
    """Answer the statistics of 24 hours."""

    def shape(m: Matching) -> dict[str, Any]:
        e = exchange.streams.book_ticker(m)
        best = {"bidPrice": e["b"], "bidQty": e["B"], "askPrice": e["a"], "askQty": e["A"]}
        return exchange.streams.records[product, m.listing.symbol].day(exchange.now_ms()) | best

    return _each(exchange, product, params, shape)


def premium_index(exchange: Exchange, product: Product, params: Params) -> Any:
    """Answer mark prices and funding rates."""

    def shape(m: Matching) -> dict[str, Any]:
        px = f"{exchange.house.marks[m.listing.symbol]:.8f}"
        prices = {"markPrice": px, "indexPrice": px, "estimatedSettlePrice": px}
        rate = f"{exchange.funding_rate:.8f}"
        rates = {"lastFundingRate": rate, "interestRate": rate, "nextFundingTime": exchange.next_funding_ms}
        return {"symbol": m.listing.symbol} | prices | rates | {"time": exchange.now_ms()}

    return _each(exchange, product, params, shape)


def funding_rates(exchange: Exchange, product: Product, params: Params) -> Any:
    """Answer past funding rates: the rate of now at the last funding instant."""
    found = [exchange.listed(product, params["symbol"])] if params.get("symbol") else _all(exchange, product)
    last = exchange.next_funding_ms - 8 * 3_600_000
    rate = f"{exchange.funding_rate:.8f}"
    return [
        {"symbol": m.listing.symbol, "fundingRate": rate, "fundingTime": last}
        | {"markPrice": f"{exchange.house.marks[m.listing.symbol]:.8f}"}
        for m in found
    ]


def open_interest(exchange: Exchange, product: Product, params: Params) -> Any:
    """Answer the open interest: what clients are long or short, whichever is more."""
    matching = exchange.listed(product, params.need("symbol"))
    symbol, listing = matching.listing.symbol, matching.listing
    held = [a.positions[symbol].lots for a in exchange.house.accounts.values()]
    lots = max(sum(x for x in held if x > 0), -sum(x for x in held if x < 0)) + 1_000_000
    return {"openInterest": listing.qty(lots), "symbol": symbol, "time": exchange.now_ms()}


def _record(exchange: Exchange, product: Product, params: Params) -> Any:
    symbol = exchange.listed(product, params.need("symbol")).listing.symbol
    return exchange.streams.records[product, symbol]


def _names(params: Params) -> list[str]:
    text = params.get("symbols", "")
    return [s.strip(' "') for s in text.strip("[]").split(",") if s.strip(' "')]


def _all(exchange: Exchange, product: Product) -> list[Matching]:
    return [m for (p, _), m in exchange.matchings.items() if p is product]


def _each(exchange: Exchange, product: Product, params: Params, shape: Any) -> Any:
    if params.get("symbol"):
        return shape(exchange.listed(product, params["symbol"]))
    named = _names(params)
    return [shape(m) for m in ([exchange.listed(product, s) for s in named] or _all(exchange, product))]

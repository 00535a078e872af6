"""What a customer asks of the spot exchange: orders, cancels, replacements, queries, the account."""

from decimal import Decimal
from typing import Any

from quantai.venues.loopback import spot_shapes
from quantai.venues.loopback.accounts import Account
from quantai.venues.loopback.entry import MOST_OPEN, client_id_of, fills, places, side_of, stp_of, wanted, window
from quantai.venues.loopback.exchange import Exchange
from quantai.venues.loopback.listings import SPOT_TYPES, Listing, Product
from quantai.venues.loopback.orders import STOPS, TAKES, Order
from quantai.venues.loopback.params import Params
from quantai.venues.loopback.refusals import Refused

SPOT = Product.SPOT


def new_order(exchange: Exchange, account: Account, params: Params) -> Any:
    """Place an order; the answer is as long as `newOrderRespType` says."""
    order = exchange.enter(_read(exchange, account, params))
    default = "FULL" if order.type in ("MARKET", "LIMIT") else "ACK"
    return spot_shapes.placed_shape(order, params.get("newOrderRespType", default))


def test_order(exchange: Exchange, account: Account, params: Params) -> Any:
    """Check an order against the filters and do nothing."""
    _read(exchange, account, params)
    return {}


def query_order(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer one order."""
    return spot_shapes.order_shape(wanted(exchange, account, SPOT, params, Refused.no_such_order()))


def cancel_order(exchange: Exchange, account: Account, params: Params) -> Any:
    """Cancel one order."""
    order = wanted(exchange, account, SPOT, params, Refused.unknown_order())
    only = params.get("cancelRestrictions", "")
    if not order.is_open:
        raise Refused.unknown_order()
    if (only == "ONLY_NEW" and order.filled) or (only == "ONLY_PARTIALLY_FILLED" and not order.filled):
        raise Refused(-2011, "Order was not canceled due to cancel restrictions.")
    cancel_id = client_id_of(params, next(exchange.cancel_ids))
    exchange.cancel(order, cancel_id)
    return spot_shapes.canceled_shape(order, cancel_id)


def replace_order(exchange: Exchange, account: Account, params: Params) -> Any:
    """Cancel one order and place another in its stead."""
    mode = params.need("cancelReplaceMode")
    if mode not in ("STOP_ON_FAILURE", "ALLOW_FAILURE"):
        raise Refused(-1100, "Illegal characters found in parameter 'cancelReplaceMode'.")
    old = Params(symbol=params.need("symbol"))
    for theirs, ours in (
        ("cancelOrderId", "orderId"),
        ("cancelOrigClientOrderId", "origClientOrderId"),
        ("cancelNewClientOrderId", "newClientOrderId"),
        ("cancelRestrictions", "cancelRestrictions"),
    ):
        if params.get(theirs):
            old[ours] = params[theirs]
    _read(exchange, account, params)  # what breaks a filter cancels nothing
    canceled, failed = _try(cancel_order, exchange, account, old)
    if failed and mode == "STOP_ON_FAILURE":
        body = {"cancelResult": "FAILURE", "newOrderResult": "NOT_ATTEMPTED", "cancelResponse": canceled}
        raise Refused(-2022, "Order cancel-replace failed.", data=body | {"newOrderResponse": None})
    placed, refused = _try(new_order, exchange, account, params)
    body = {
        "cancelResult": "FAILURE" if failed else "SUCCESS",
        "newOrderResult": "FAILURE" if refused else "SUCCESS",
        "cancelResponse": canceled,
        "newOrderResponse": placed,
    }
    if failed and refused:
        raise Refused(-2022, "Order cancel-replace failed.", data=body)
    if failed or refused:
        raise Refused(-2021, "Order cancel-replace partially failed.", status=409, data=body)
    return body


def open_orders(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer open orders, of one symbol or of all."""
    symbol = exchange.listed(SPOT, params["symbol"]).listing.symbol if params.get("symbol") else ""
    return [spot_shapes.order_shape(o) for o in exchange.of(account, SPOT, symbol, is_open=True)]


def cancel_all(exchange: Exchange, account: Account, params: Params) -> Any:
    """Cancel every open order of a symbol."""
    symbol = exchange.listed(SPOT, params.need("symbol")).listing.symbol
    found = exchange.of(account, SPOT, symbol, is_open=True)
    if not found:
        raise Refused.unknown_order()
    answers: list[Any] = []
    for order in found:
        cancel_id = client_id_of(Params(), next(exchange.cancel_ids))
        exchange.cancel(order, cancel_id)
        answers.append(spot_shapes.canceled_shape(order, cancel_id))
    return answers


def all_orders(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer every order of a symbol."""
    symbol = exchange.listed(SPOT, params.need("symbol")).listing.symbol
    return [spot_shapes.order_shape(o) for o in window(exchange.of(account, SPOT, symbol), params)]


def my_trades(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer own fills of a symbol."""
    params.need("symbol")
    return [spot_shapes.trade_shape(o, o.fills[k]) for o, k in fills(exchange, account, SPOT, params)]


def account_of(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer the balances."""
    shape = spot_shapes.account_shape(account, exchange.now_ms())
    if params.flag("omitZeroBalances"):
        shape["balances"] = [b for b in shape["balances"] if Decimal(b["free"]) or Decimal(b["locked"])]
    return shape


def commission(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer the fees of a symbol."""
    listing = exchange.listed(SPOT, params.need("symbol")).listing
    rates = {"maker": f"{listing.maker:.8f}", "taker": f"{listing.taker:.8f}", "buyer": "0", "seller": "0"}
    none = dict.fromkeys(rates, "0.00000000")
    discount = {"enabledForAccount": False, "enabledForSymbol": False, "discountAsset": "BNB", "discount": "0"}
    kinds = {"standardCommission": rates, "specialCommission": none, "taxCommission": none, "discount": discount}
    return {"symbol": listing.symbol} | kinds


def trade_fees(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer the fees of every symbol, as the wallet's own request does."""
    listed = [m.listing for (p, s), m in exchange.matchings.items() if p is SPOT and s == params.get("symbol", s)]
    return [{"symbol": x.symbol, "makerCommission": str(x.maker), "takerCommission": str(x.taker)} for x in listed]


def coins(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer the assets there are, without any network to withdraw over."""
    listed = [m.listing for m in exchange.matchings.values()]
    return [
        {"coin": asset, "name": asset, "free": str(account.spot[asset].free), "locked": str(account.spot[asset].locked)}
        | {"depositAllEnable": False, "withdrawAllEnable": False, "trading": True, "networkList": []}
        for asset in sorted({x.base for x in listed} | {x.quote for x in listed})
    ]


def _try(call: Any, exchange: Exchange, account: Account, params: Params) -> tuple[Any, bool]:
    try:
        return call(exchange, account, params), False
    except Refused as refused:
        return refused.body(), True


def _read(exchange: Exchange, account: Account, params: Params) -> Order:
    """Make an order of a request, checked against everything but the book and the balance; raises Refused."""
    matching = exchange.listed(SPOT, params.need("symbol"))
    listing, side, kind = matching.listing, side_of(params), params.need("type")
    if kind not in SPOT_TYPES:
        raise Refused(-1116, "Invalid orderType.")
    priced = kind in ("LIMIT", "LIMIT_MAKER", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT")
    tif = _tif(params, priced and kind != "LIMIT_MAKER")
    ticks = _price(listing, params, "price", matching.last) if priced else 0
    stop, trail = 0, Decimal(0)
    if kind in STOPS or kind in TAKES:
        trail = params.decimal("trailingDelta") or Decimal(0)
        if "stopPrice" in params or not trail:
            stop = _price(listing, params, "stopPrice", 0)
        if trail and not 10 <= trail <= 2000:
            raise Refused.filter("TRAILING_DELTA")
    quote_qty = params.decimal("quoteOrderQty") if kind == "MARKET" else None
    if quote_qty is not None and "quantity" in params:
        raise Refused(-1128, "Combination of optional parameters invalid.")
    lots = _quantity(listing, params) if quote_qty is None else matching.lots_for(side, quote_qty)
    reference = ticks or stop or matching.last
    if lots < listing.min_lots or listing.tick * reference * listing.lot * lots < listing.min_notional:
        raise Refused.filter("NOTIONAL" if quote_qty is not None or lots >= listing.min_lots else "LOT_SIZE")
    if len(exchange.of(account, SPOT, listing.symbol, is_open=True)) >= MOST_OPEN:
        raise Refused.filter("MAX_NUM_ORDERS")
    number = next(exchange.order_ids)
    return Order(
        id=number, client_id=client_id_of(params, number), account=account, listing=listing, side=side, type=kind,
        tif=tif, lots=lots, ticks=ticks, stop=0 if trail else stop, activation=stop if trail else 0, trail_bps=trail,
        quote_qty=quote_qty, stp=stp_of(params, "EXPIRE_MAKER"),
    )  # fmt: skip


def _tif(params: Params, needed: bool) -> str:
    tif = params.need("timeInForce") if needed else params.get("timeInForce", "")
    if tif and not needed:
        raise Refused(-1106, "Parameter 'timeInForce' sent when not required.")
    if tif not in ("", "GTC", "IOC", "FOK"):
        raise Refused(-1115, "Invalid timeInForce.")
    return tif or "GTC"


def _price(listing: Listing, params: Params, name: str, last: int) -> int:
    px = params.decimal(name)
    if px is None:
        raise Refused.missing(name)
    if places(px) > 8:
        raise Refused(-1111, "Precision is over the maximum defined for this asset.")
    ticks = listing.ticks(px)
    if not ticks or ticks < 0 or px > listing.max_price:
        raise Refused.filter("PRICE_FILTER")
    if last and not last <= 5 * ticks <= 25 * last:
        raise Refused.filter("PERCENT_PRICE_BY_SIDE")
    return ticks


def _quantity(listing: Listing, params: Params) -> int:
    qty = params.decimal("quantity")
    if qty is None:
        raise Refused.missing("quantity")
    if places(qty) > 8:
        raise Refused(-1111, "Precision is over the maximum defined for this asset.")
    lots = listing.lots(qty)
    if lots is None or lots < listing.min_lots or qty > listing.max_qty:
        raise Refused.filter("LOT_SIZE")
    return lots

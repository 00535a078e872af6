"""Every request the exchange answers: what does it, what it weighs, and whether it must be signed."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from quantai.venues.loopback import algo_desk, futures_desk, public, spot_desk
from quantai.venues.loopback.accounts import Account
from quantai.venues.loopback.exchange import Exchange
from quantai.venues.loopback.listings import Product
from quantai.venues.loopback.params import Params
from quantai.venues.loopback.refusals import Refused

SPOT, FUTURES = Product.SPOT, Product.FUTURES


class Security(IntEnum):
    """What a request must bring: nothing, a known key, or a key and a signature."""

    NONE = 0
    KEY = 1
    SIGNED = 2


@dataclass(frozen=True, slots=True)
class Route:
    """One kind of request; `is_order` counts against the order limit, `call` takes what its security says."""

    call: Any
    product: Product
    security: Security = Security.SIGNED
    weight: int = 1
    is_order: bool = False

    def answer(self, exchange: Exchange, account: Account | None, params: Params) -> Any:
        """Do what is asked; raises Refused."""
        if self.security is Security.NONE:
            return self.call(exchange, self.product, params)
        return self.call(exchange, account, params)


def _new_listen_key(product: Product) -> Any:
    def create(exchange: Exchange, account: Account, params: Params) -> Any:
        for key, (p, owner) in exchange.hub.listen_keys.items():
            if p is product and owner == account.key:
                return {"listenKey": key}
        key = f"loopback{product}{account.key}{len(exchange.hub.listen_keys)}".ljust(64, "0")
        exchange.hub.listen_keys[key] = product, account.key
        return {"listenKey": key}

    return create


def _keep_listen_key(product: Product) -> Any:
    def keep(exchange: Exchange, account: Account, params: Params) -> Any:
        mine = [k for k, (p, owner) in exchange.hub.listen_keys.items() if p is product and owner == account.key]
        if params.get("listenKey", mine[0] if mine else "") not in mine:
            raise Refused(-1125, "This listenKey does not exist.")
        return {} if product is SPOT else {"listenKey": mine[0]}

    return keep


def _end_listen_key(product: Product) -> Any:
    def end(exchange: Exchange, account: Account, params: Params) -> Any:
        for key, (p, owner) in list(exchange.hub.listen_keys.items()):
            if p is product and owner == account.key:
                del exchange.hub.listen_keys[key]
        return {}

    return end


def _nothing(exchange: Exchange, account: Account, params: Params) -> Any:
    return []


def _no_algo_limits(exchange: Exchange, account: Account, params: Params) -> Any:
    return {"symbol": params.get("symbol", ""), "recurring": False}


def _public(path: str, call: Any, weight: int = 1) -> dict[tuple[str, str], Route]:
    return {
        ("GET", f"/api/v3/{path}"): Route(call, SPOT, Security.NONE, weight),
        ("GET", f"/fapi/v1/{path}"): Route(call, FUTURES, Security.NONE, weight),
    }


ROUTES: dict[tuple[str, str], Route] = {
    **_public("ping", public.ping),
    **_public("time", public.server_time),
    **_public("exchangeInfo", public.exchange_info, 20),
    **_public("depth", public.depth, 5),
    **_public("trades", public.trades, 25),
    **_public("historicalTrades", public.trades, 25),
    **_public("aggTrades", public.agg_trades, 4),
    **_public("klines", public.klines, 2),
    **_public("continuousKlines", public.klines, 2),
    **_public("avgPrice", public.average_price, 2),
    **_public("ticker/price", public.ticker_price, 2),
    **_public("ticker/bookTicker", public.book_ticker, 2),
    **_public("ticker/24hr", public.ticker_day, 2),
    ("GET", "/fapi/v2/ticker/price"): Route(public.ticker_price, FUTURES, Security.NONE),
    ("GET", "/fapi/v1/premiumIndex"): Route(public.premium_index, FUTURES, Security.NONE),
    ("GET", "/fapi/v1/fundingRate"): Route(public.funding_rates, FUTURES, Security.NONE),
    ("GET", "/fapi/v1/openInterest"): Route(public.open_interest, FUTURES, Security.NONE),
    ("POST", "/api/v3/order"): Route(spot_desk.new_order, SPOT, is_order=True),
    ("POST", "/api/v3/order/test"): Route(spot_desk.test_order, SPOT),
    ("GET", "/api/v3/order"): Route(spot_desk.query_order, SPOT, weight=4),
    ("DELETE", "/api/v3/order"): Route(spot_desk.cancel_order, SPOT),
    ("POST", "/api/v3/order/cancelReplace"): Route(spot_desk.replace_order, SPOT, is_order=True),
    ("GET", "/api/v3/openOrders"): Route(spot_desk.open_orders, SPOT, weight=6),
    ("DELETE", "/api/v3/openOrders"): Route(spot_desk.cancel_all, SPOT),
    ("GET", "/api/v3/allOrders"): Route(spot_desk.all_orders, SPOT, weight=20),
    ("GET", "/api/v3/myTrades"): Route(spot_desk.my_trades, SPOT, weight=20),
    ("GET", "/api/v3/account"): Route(spot_desk.account_of, SPOT, weight=20),
    ("GET", "/api/v3/account/commission"): Route(spot_desk.commission, SPOT, weight=20),
    ("POST", "/api/v3/userDataStream"): Route(_new_listen_key(SPOT), SPOT, Security.KEY, 2),
    ("PUT", "/api/v3/userDataStream"): Route(_keep_listen_key(SPOT), SPOT, Security.KEY, 2),
    ("DELETE", "/api/v3/userDataStream"): Route(_end_listen_key(SPOT), SPOT, Security.KEY, 2),
    ("GET", "/sapi/v1/asset/tradeFee"): Route(spot_desk.trade_fees, SPOT),
    ("GET", "/sapi/v1/capital/config/getall"): Route(spot_desk.coins, SPOT),
    ("GET", "/sapi/v1/margin/allPairs"): Route(_nothing, SPOT, Security.KEY),
    ("GET", "/sapi/v1/margin/isolated/allPairs"): Route(_nothing, SPOT, Security.KEY),
    ("POST", "/fapi/v1/order"): Route(futures_desk.new_order, FUTURES, is_order=True),
    ("POST", "/fapi/v1/order/test"): Route(futures_desk.test_order, FUTURES),
    ("PUT", "/fapi/v1/order"): Route(futures_desk.change_order, FUTURES, is_order=True),
    ("GET", "/fapi/v1/order"): Route(futures_desk.query_order, FUTURES),
    ("DELETE", "/fapi/v1/order"): Route(futures_desk.cancel_order, FUTURES),
    ("POST", "/fapi/v1/batchOrders"): Route(futures_desk.new_orders, FUTURES, weight=5, is_order=True),
    ("DELETE", "/fapi/v1/batchOrders"): Route(futures_desk.cancel_orders, FUTURES),
    ("GET", "/fapi/v1/openOrder"): Route(futures_desk.open_order, FUTURES),
    ("GET", "/fapi/v1/openOrders"): Route(futures_desk.open_orders, FUTURES),
    ("DELETE", "/fapi/v1/allOpenOrders"): Route(futures_desk.cancel_all, FUTURES),
    ("POST", "/fapi/v1/countdownCancelAll"): Route(futures_desk.countdown, FUTURES, weight=10),
    ("GET", "/fapi/v1/allOrders"): Route(futures_desk.all_orders, FUTURES, weight=5),
    ("GET", "/fapi/v1/userTrades"): Route(futures_desk.user_trades, FUTURES, weight=5),
    ("POST", "/fapi/v1/algoOrder"): Route(algo_desk.new_order, FUTURES, is_order=True),
    ("GET", "/fapi/v1/algoOrder"): Route(algo_desk.query_order, FUTURES),
    ("DELETE", "/fapi/v1/algoOrder"): Route(algo_desk.cancel_order, FUTURES),
    ("GET", "/fapi/v1/openAlgoOrders"): Route(algo_desk.open_orders, FUTURES),
    ("GET", "/fapi/v1/allAlgoOrders"): Route(algo_desk.all_orders, FUTURES, weight=5),
    ("DELETE", "/fapi/v1/algoOpenOrders"): Route(algo_desk.cancel_all, FUTURES),
    ("GET", "/fapi/v1/positionSide/dual"): Route(futures_desk.position_mode, FUTURES, weight=30),
    ("POST", "/fapi/v1/positionSide/dual"): Route(futures_desk.set_position_mode, FUTURES),
    ("GET", "/fapi/v1/multiAssetsMargin"): Route(futures_desk.assets_mode, FUTURES, weight=30),
    ("POST", "/fapi/v1/leverage"): Route(futures_desk.set_leverage, FUTURES),
    ("POST", "/fapi/v1/marginType"): Route(futures_desk.set_margin_type, FUTURES),
    ("GET", "/fapi/v1/leverageBracket"): Route(futures_desk.brackets, FUTURES),
    ("GET", "/fapi/v1/commissionRate"): Route(futures_desk.commission, FUTURES, weight=20),
    ("GET", "/fapi/v1/accountConfig"): Route(futures_desk.account_config, FUTURES, weight=5),
    ("GET", "/fapi/v1/symbolConfig"): Route(futures_desk.symbol_config, FUTURES, weight=5),
    ("GET", "/fapi/v1/income"): Route(futures_desk.income, FUTURES, weight=30),
    ("GET", "/fapi/v1/apiTradingStatus"): Route(_no_algo_limits, FUTURES),
    ("POST", "/fapi/v1/listenKey"): Route(_new_listen_key(FUTURES), FUTURES, Security.KEY),
    ("PUT", "/fapi/v1/listenKey"): Route(_keep_listen_key(FUTURES), FUTURES, Security.KEY),
    ("DELETE", "/fapi/v1/listenKey"): Route(_end_listen_key(FUTURES), FUTURES, Security.KEY),
}
for _version in ("v2", "v3"):
    ROUTES["GET", f"/fapi/{_version}/account"] = Route(futures_desk.account_of, FUTURES, weight=5)
    ROUTES["GET", f"/fapi/{_version}/balance"] = Route(futures_desk.balance, FUTURES, weight=5)
ROUTES["GET", "/fapi/v1/account"] = ROUTES["GET", "/fapi/v2/account"]
ROUTES["GET", "/fapi/v1/balance"] = ROUTES["GET", "/fapi/v2/balance"]
ROUTES["GET", "/fapi/v1/positionRisk"] = ROUTES["GET", "/fapi/v2/positionRisk"] = Route(
    futures_desk.position_risk, FUTURES, weight=5
)
ROUTES["GET", "/fapi/v3/positionRisk"] = Route(futures_desk.open_positions, FUTURES, weight=5)

# The WebSocket API asks for the same by names of its own.
METHODS: dict[Product, dict[str, tuple[str, str]]] = {
    SPOT: {
        "ping": ("GET", "/api/v3/ping"),
        "time": ("GET", "/api/v3/time"),
        "exchangeInfo": ("GET", "/api/v3/exchangeInfo"),
        "depth": ("GET", "/api/v3/depth"),
        "trades.recent": ("GET", "/api/v3/trades"),
        "trades.aggregate": ("GET", "/api/v3/aggTrades"),
        "klines": ("GET", "/api/v3/klines"),
        "avgPrice": ("GET", "/api/v3/avgPrice"),
        "ticker.24hr": ("GET", "/api/v3/ticker/24hr"),
        "ticker.price": ("GET", "/api/v3/ticker/price"),
        "ticker.book": ("GET", "/api/v3/ticker/bookTicker"),
        "order.place": ("POST", "/api/v3/order"),
        "order.test": ("POST", "/api/v3/order/test"),
        "order.status": ("GET", "/api/v3/order"),
        "order.cancel": ("DELETE", "/api/v3/order"),
        "order.cancelReplace": ("POST", "/api/v3/order/cancelReplace"),
        "openOrders.status": ("GET", "/api/v3/openOrders"),
        "openOrders.cancelAll": ("DELETE", "/api/v3/openOrders"),
        "allOrders": ("GET", "/api/v3/allOrders"),
        "myTrades": ("GET", "/api/v3/myTrades"),
        "account.status": ("GET", "/api/v3/account"),
        "account.commission": ("GET", "/api/v3/account/commission"),
        "userDataStream.start": ("POST", "/api/v3/userDataStream"),
        "userDataStream.ping": ("PUT", "/api/v3/userDataStream"),
        "userDataStream.stop": ("DELETE", "/api/v3/userDataStream"),
    },
    FUTURES: {
        "depth": ("GET", "/fapi/v1/depth"),
        "ticker.price": ("GET", "/fapi/v1/ticker/price"),
        "ticker.book": ("GET", "/fapi/v1/ticker/bookTicker"),
        "order.place": ("POST", "/fapi/v1/order"),
        "order.modify": ("PUT", "/fapi/v1/order"),
        "order.status": ("GET", "/fapi/v1/order"),
        "order.cancel": ("DELETE", "/fapi/v1/order"),
        "algoOrder.place": ("POST", "/fapi/v1/algoOrder"),
        "algoOrder.cancel": ("DELETE", "/fapi/v1/algoOrder"),
        "account.position": ("GET", "/fapi/v2/positionRisk"),
        "v2/account.position": ("GET", "/fapi/v3/positionRisk"),
        "account.balance": ("GET", "/fapi/v2/balance"),
        "v2/account.balance": ("GET", "/fapi/v3/balance"),
        "account.status": ("GET", "/fapi/v2/account"),
        "v2/account.status": ("GET", "/fapi/v3/account"),
        "userDataStream.start": ("POST", "/fapi/v1/listenKey"),
        "userDataStream.ping": ("PUT", "/fapi/v1/listenKey"),
        "userDataStream.stop": ("DELETE", "/fapi/v1/listenKey"),
    },
}

"""Conditional futures orders through Binance's algo service, where they live since December 2025.

Such an order is kept like any other and has two names: `algoId` and the client's `clientAlgoId`.
"""

from typing import Any

from quantai.venues.loopback import futures_desk
from quantai.venues.loopback.accounts import Account
from quantai.venues.loopback.exchange import Exchange
from quantai.venues.loopback.futures_shapes import algo_status
from quantai.venues.loopback.listings import Product
from quantai.venues.loopback.orders import Order
from quantai.venues.loopback.params import Params
from quantai.venues.loopback.refusals import Refused
from quantai.venues.loopback.spot_shapes import side

FUTURES = Product.FUTURES


def new_order(exchange: Exchange, account: Account, params: Params) -> Any:
    """Place a conditional order."""
    if params.get("algoType", "CONDITIONAL") != "CONDITIONAL":
        raise Refused(-4500, "Invalid algoType.")
    named = Params(params | {"newClientOrderId": params.get("clientAlgoId", "")})
    order = futures_desk.read(exchange, account, named)
    if not order.has_trigger:
        raise Refused(-1116, "Invalid orderType.")
    order.algo_id = order.id
    return shape(exchange.enter(order))


def query_order(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer one conditional order."""
    return shape(_wanted(exchange, account, params, Refused.no_such_order()))


def cancel_order(exchange: Exchange, account: Account, params: Params) -> Any:
    """Cancel a conditional order that still waits."""
    order = _wanted(exchange, account, params, Refused.unknown_order())
    if not order.is_open:
        raise Refused.unknown_order()
    exchange.cancel(order)
    names = {"algoId": order.algo_id, "clientAlgoId": order.client_id}
    return names | {"code": "200", "msg": "success"}


def open_orders(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer the conditional orders that wait."""
    found = exchange.of(account, FUTURES, params.get("symbol", ""), is_open=True)
    return [shape(o) for o in found if o.algo_id and not o.working]


def all_orders(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer every conditional order of a symbol."""
    return [shape(o) for o in exchange.of(account, FUTURES, params.need("symbol")) if o.algo_id]


def cancel_all(exchange: Exchange, account: Account, params: Params) -> Any:
    """Cancel every conditional order of a symbol that waits."""
    for order in exchange.of(account, FUTURES, params.need("symbol"), is_open=True):
        if order.algo_id and not order.working:
            exchange.cancel(order)
    return {"code": "200", "msg": "The operation of cancel all open order is done."}


def shape(order: Order) -> dict[str, Any]:
    """Return a conditional order as the algo service shows it."""
    listing = order.listing
    return {
        "algoId": order.algo_id,
        "clientAlgoId": order.client_id,
        "algoType": "CONDITIONAL",
        "orderType": order.type,
        "symbol": listing.symbol,
        "side": side(order),
        "positionSide": "BOTH",
        "timeInForce": order.tif,
        "quantity": listing.qty(order.lots),
        "algoStatus": algo_status(order),
        "actualOrderId": str(order.id) if order.working else "",
        "triggerPrice": listing.px(order.stop),
        "price": listing.px(order.ticks),
        "icebergQuantity": None,
        "selfTradePreventionMode": order.stp,
        "workingType": "MARK_PRICE" if order.on_mark else "CONTRACT_PRICE",
        "priceMatch": "NONE",
        "closePosition": order.close_position,
        "priceProtect": False,
        "reduceOnly": order.reduce_only,
        "activatePrice": listing.px(order.activation),
        "callbackRate": f"{order.trail_bps / 100:f}",
        "createTime": order.created_ms,
        "updateTime": order.updated_ms,
        "triggerTime": order.working_ms,
        "goodTillDate": order.expire_ms,
    }


def _wanted(exchange: Exchange, account: Account, params: Params, unknown: Refused) -> Order:
    number, name = params.integer("algoId"), params.get("clientAlgoId", "")
    if number is None and not name:
        raise Refused.missing("algoId")
    for order in exchange.of(account, FUTURES):
        if order.algo_id and (order.algo_id == number or order.client_id == name):
            return order
    raise unknown

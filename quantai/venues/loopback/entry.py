"""What spot and futures orders have in common when they come in: names, sides, and numbers on the grid."""

import re
from decimal import Decimal

from quantai.venues.loopback.accounts import Account
from quantai.venues.loopback.exchange import Exchange
from quantai.venues.loopback.listings import STP_MODES, Product
from quantai.venues.loopback.orders import Order
from quantai.venues.loopback.params import Params
from quantai.venues.loopback.refusals import Refused

_NAME = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")
MOST_OPEN = 200


def side_of(params: Params) -> int:
    """Return +1 or -1; raises Refused."""
    text = params.need("side")
    if text not in ("BUY", "SELL"):
        raise Refused(-1117, "Invalid side.")
    return 1 if text == "BUY" else -1


def client_id_of(params: Params, number: int, name: str = "newClientOrderId") -> str:
    """Return the client's name for an order, or one made from its number; raises Refused."""
    text = params.get(name, "")
    if text and not _NAME.fullmatch(text):
        raise Refused(
            -1100, f"Illegal characters found in parameter '{name}'; legal range is '^[\\.A-Z\\:/a-z0-9_-]{{1,36}}$'."
        )
    return text or f"loopback{number:012d}"


def stp_of(params: Params, default: str) -> str:
    """Return the mode of self-trade prevention; raises Refused."""
    mode = params.get("selfTradePreventionMode", default)
    if mode not in STP_MODES:
        raise Refused(-1155, "Invalid selfTradePreventionMode.")
    return mode


def places(value: Decimal) -> int:
    """Return how many decimals a number was written with, without the zeros at its end."""
    exponent = value.normalize().as_tuple().exponent
    return max(0, -int(exponent))


def wanted(exchange: Exchange, account: Account, product: Product, params: Params, unknown: Refused) -> Order:
    """Return the order that `orderId` or `origClientOrderId` names; raises Refused."""
    symbol = exchange.listed(product, params.need("symbol")).listing.symbol
    id, name = params.integer("orderId"), params.get("origClientOrderId", "")
    if id is None and not name:
        if product is Product.SPOT:
            raise Refused(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
        raise Refused(-1102, "Either orderId or origClientOrderId must be sent.")
    found = exchange.find(account, product, symbol, id, name)
    if found is None:
        raise unknown
    return found


def window(rows: list[Order], params: Params, most: int = 1000) -> list[Order]:
    """Return the orders of a query: from an id on, or between two instants, at most `limit` of them."""
    first, start, end = params.integer("orderId"), params.integer("startTime"), params.integer("endTime")
    if first is not None:
        rows = [o for o in rows if o.id >= first]
    rows = [o for o in rows if (start is None or o.created_ms >= start) and (end is None or o.created_ms <= end)]
    limit = params.limit(500, most)
    return rows[:limit] if first is not None or start is not None else rows[-limit:]


def fills(exchange: Exchange, account: Account, product: Product, params: Params) -> list[tuple[Order, int]]:
    """Return (order, index of its fill) of a query for own trades, oldest first."""
    symbol = params.get("symbol", "")
    if symbol:
        exchange.listed(product, symbol)
    order_id, first = params.integer("orderId"), params.integer("fromId")
    start, end = params.integer("startTime"), params.integer("endTime")
    found = [
        (order, k)
        for order in exchange.of(account, product, symbol)
        for k, fill in enumerate(order.fills)
        if (order_id is None or order.id == order_id)
        and (first is None or fill.id >= first)
        and (start is None or fill.ts_ms >= start)
        and (end is None or fill.ts_ms <= end)
    ]
    found.sort(key=lambda x: (x[0].fills[x[1]].id, x[0].id))
    limit = params.limit(500, 1000)
    return found[:limit] if first is not None or start is not None else found[-limit:]

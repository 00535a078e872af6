"""How spot orders, fills and balances look on the wire: REST answers and events of the user stream."""

from decimal import Decimal
from typing import Any

from quantai.venues.loopback.accounts import Account
from quantai.venues.loopback.orders import Fill, Order

Shape = dict[str, Any]
_ENDED = ("CANCELED", "EXPIRED", "TRADE_PREVENTION", "REPLACED")


def side(order: Order) -> str:
    """Return BUY or SELL."""
    return "BUY" if order.side > 0 else "SELL"


def amount(value: Decimal) -> str:
    """Return an amount of money with eight decimals."""
    return f"{value:.8f}"


def order_shape(order: Order) -> Shape:
    """Return an order as queries show it."""
    return _core(order) | {
        "icebergQty": "0.00000000",
        "time": order.created_ms,
        "updateTime": order.updated_ms,
        "isWorking": order.working,
    }


def placed_shape(order: Order, kind: str) -> Shape:
    """Return the answer to a new order: `kind` is ACK, RESULT or FULL (with its fills)."""
    listing = order.listing
    head = {
        "symbol": listing.symbol,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        "transactTime": order.updated_ms,
    }
    if kind == "ACK":
        return head
    shape = head | _core(order)
    if kind == "FULL":
        shape["fills"] = [
            {
                "price": listing.px(f.ticks),
                "qty": listing.qty(f.lots),
                "commission": amount(f.fee),
                "commissionAsset": f.fee_asset,
                "tradeId": f.id,
            }
            for f in order.fills
        ]
    return shape


def canceled_shape(order: Order, cancel_id: str) -> Shape:
    """Return the answer to a cancel, which has a client id of its own."""
    head = {"origClientOrderId": order.client_id, "transactTime": order.updated_ms}
    return _core(order) | head | {"clientOrderId": cancel_id}


def trade_shape(order: Order, fill: Fill) -> Shape:
    """Return a fill as myTrades shows it."""
    listing = order.listing
    return {
        "symbol": listing.symbol,
        "id": fill.id,
        "orderId": order.id,
        "orderListId": -1,
        "price": listing.px(fill.ticks),
        "qty": listing.qty(fill.lots),
        "quoteQty": amount(listing.tick * fill.ticks * listing.lot * fill.lots),
        "commission": amount(fill.fee),
        "commissionAsset": fill.fee_asset,
        "time": fill.ts_ms,
        "isBuyer": order.side > 0,
        "isMaker": fill.maker,
        "isBestMatch": True,
    }


def account_shape(account: Account, now_ms: int) -> Shape:
    """Return what GET account answers."""
    rates = {"maker": "0.00100000", "taker": "0.00100000", "buyer": "0.00000000", "seller": "0.00000000"}
    return {
        "makerCommission": 10,
        "takerCommission": 10,
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": rates,
        "canTrade": True,
        "canWithdraw": False,
        "canDeposit": False,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": now_ms,
        "accountType": "SPOT",
        "balances": [
            {"asset": asset, "free": amount(b.free), "locked": amount(b.locked)} for asset, b in account.spot.items()
        ],
        "permissions": ["SPOT"],
        "uid": 1,
    }


def execution_event(order: Order, execution: str, fill: Fill | None, now_ms: int, id: int, cancel_id: str) -> Shape:
    """Return an executionReport."""
    listing = order.listing
    last = Decimal(0) if fill is None else listing.tick * fill.ticks * listing.lot * fill.lots
    shape = {
        "e": "executionReport",
        "E": now_ms,
        "s": listing.symbol,
        "c": cancel_id or order.client_id,
        "S": side(order),
        "o": order.type,
        "f": order.tif,
        "q": listing.qty(order.lots),
        "p": listing.px(order.ticks),
        "P": listing.px(order.stop),
        "F": "0.00000000",
        "g": -1,
        "C": order.client_id if cancel_id else "",
        "x": execution,
        "X": order.status,
        "r": "NONE",
        "i": order.id,
        "l": listing.qty(fill.lots if fill else 0),
        "z": listing.qty(order.filled),
        "L": listing.px(fill.ticks if fill else 0),
        "n": amount(fill.fee) if fill else "0",
        "N": fill.fee_asset if fill else None,
        "T": order.updated_ms,
        "t": fill.id if fill else -1,
        "I": id,
        "w": order.working and order.is_open,
        "m": fill.maker if fill else False,
        "M": False,
        "O": order.created_ms,
        "Z": amount(order.quote_filled),
        "Y": amount(last),
        "Q": amount(order.quote_qty or Decimal(0)),
        "V": order.stp,
    }
    return shape | ({"W": order.working_ms} if order.working else {})


def balances_event(account: Account, assets: tuple[str, ...], now_ms: int) -> Shape:
    """Return an outboundAccountPosition with the balances that may have changed."""
    held = [{"a": a, "f": amount(account.spot[a].free), "l": amount(account.spot[a].locked)} for a in assets]
    return {"e": "outboundAccountPosition", "E": now_ms, "u": now_ms, "B": held}


def _core(order: Order) -> Shape:
    listing = order.listing
    shape = {
        "symbol": listing.symbol,
        "orderId": order.id,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        "price": listing.px(order.ticks),
        "origQty": listing.qty(order.lots),
        "executedQty": listing.qty(order.filled),
        "origQuoteOrderQty": amount(order.quote_qty or Decimal(0)),
        "cummulativeQuoteQty": amount(order.quote_filled),
        "status": order.status,
        "timeInForce": order.tif,
        "type": order.type,
        "side": side(order),
        "stopPrice": listing.px(order.stop),
        "workingTime": order.working_ms if order.working else -1,
        "selfTradePreventionMode": order.stp,
    }
    return shape | ({"trailingDelta": int(order.trail_bps)} if order.trail_bps else {})

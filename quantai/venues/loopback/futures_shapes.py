"""How futures orders, fills, wallets and positions look on the wire: REST answers and events of the user stream."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from quantai.venues.loopback.accounts import Account
from quantai.venues.loopback.listings import Listing
from quantai.venues.loopback.orders import Fill, Order
from quantai.venues.loopback.spot_shapes import amount, side

Shape = dict[str, Any]
MAINTENANCE = Decimal("0.004")  # of the notional of a position: below it the exchange liquidates


def order_shape(order: Order) -> Shape:
    """Return an order as new orders, queries and cancels answer it."""
    listing = order.listing
    shape = {
        "orderId": order.id,
        "symbol": listing.symbol,
        "status": order.status,
        "clientOrderId": order.client_id,
        "price": listing.px(order.ticks),
        "avgPrice": _average(order),
        "origQty": listing.qty(order.lots),
        "executedQty": listing.qty(order.filled),
        "cumQty": listing.qty(order.filled),
        "cumQuote": f"{order.quote_filled.normalize():f}",
        "timeInForce": order.tif,
        "type": kind(order),
        "reduceOnly": order.reduce_only,
        "closePosition": order.close_position,
        "side": side(order),
        "positionSide": "BOTH",
        "stopPrice": listing.px(order.stop),
        "workingType": "MARK_PRICE" if order.on_mark else "CONTRACT_PRICE",
        "priceProtect": False,
        "origType": order.type,
        "priceMatch": "NONE",
        "selfTradePreventionMode": order.stp,
        "goodTillDate": order.expire_ms,
        "time": order.created_ms,
        "updateTime": order.updated_ms,
    }
    if order.type == "TRAILING_STOP_MARKET":
        shape |= {"activatePrice": listing.px(order.activation), "priceRate": f"{order.trail_bps / 100:f}"}
    return shape


def kind(order: Order) -> str:
    """Return the type of an order now: what waited for a trigger is a plain order after it."""
    if not order.has_trigger or not order.working:
        return order.type
    return "MARKET" if order.at_market else "LIMIT"


def trade_shape(order: Order, fill: Fill) -> Shape:
    """Return a fill as userTrades shows it."""
    listing = order.listing
    return {
        "buyer": order.side > 0,
        "commission": amount(fill.fee),
        "commissionAsset": fill.fee_asset,
        "id": fill.id,
        "maker": fill.maker,
        "orderId": order.id,
        "price": listing.px(fill.ticks),
        "qty": listing.qty(fill.lots),
        "quoteQty": amount(listing.tick * fill.ticks * listing.lot * fill.lots),
        "realizedPnl": amount(fill.realized),
        "side": side(order),
        "positionSide": "BOTH",
        "symbol": listing.symbol,
        "time": fill.ts_ms,
    }


def position_shape(account: Account, listing: Listing, mark: Decimal) -> Shape:
    """Return a position as positionRisk shows it."""
    position = account.positions[listing.symbol]
    notional = position.lots * listing.lot * mark
    margin = abs(notional) / position.leverage
    return {
        "symbol": listing.symbol,
        "positionSide": "BOTH",
        "positionAmt": listing.qty(position.lots),
        "entryPrice": amount(position.entry(listing)),
        "breakEvenPrice": amount(position.entry(listing)),
        "markPrice": amount(mark),
        "unRealizedProfit": amount(position.profit(listing, mark)),
        "liquidationPrice": "0",
        "isolatedMargin": "0",
        "notional": amount(notional),
        "marginAsset": listing.quote,
        "isolatedWallet": "0",
        "initialMargin": amount(margin),
        "maintMargin": amount(abs(notional) * MAINTENANCE),
        "positionInitialMargin": amount(margin),
        "openOrderInitialMargin": "0",
        "leverage": str(position.leverage),
        "maxNotionalValue": "100000000",
        "marginType": "isolated" if position.isolated else "cross",
        "isolated": position.isolated,
        "isAutoAddMargin": "false",
        "adl": 1,
        "bidNotional": "0",
        "askNotional": "0",
        "updateTime": position.updated_ms,
    }


def asset_shape(
    account: Account, asset: str, listed: Mapping[str, Listing], marks: Mapping[str, Decimal], now_ms: int
) -> Shape:
    """Return one asset of the wallet as account and balance show it."""
    wallet, profit = account.wallet[asset], account.profit(listed, marks, asset)
    used, reserved = account.margin_used(listed, marks, asset), account.margin_reserved[asset]
    held = [(listed[s], p) for s, p in account.positions.items() if p.lots and listed[s].quote == asset]
    maintenance = sum((abs(p.lots) * x.lot * marks[x.symbol] * MAINTENANCE for x, p in held), Decimal(0))
    free = amount(max(Decimal(0), account.available(listed, marks, asset)))
    return {
        "accountAlias": "loopback",
        "asset": asset,
        "balance": amount(wallet),
        "walletBalance": amount(wallet),
        "crossWalletBalance": amount(wallet),
        "unrealizedProfit": amount(profit),
        "crossUnPnl": amount(profit),
        "marginBalance": amount(wallet + profit),
        "maintMargin": amount(maintenance),
        "initialMargin": amount(used + reserved),
        "positionInitialMargin": amount(used),
        "openOrderInitialMargin": amount(reserved),
        "availableBalance": free,
        "maxWithdrawAmount": free,
        "marginAvailable": True,
        "updateTime": now_ms,
    }


def account_shape(account: Account, listed: Mapping[str, Listing], marks: Mapping[str, Decimal], now_ms: int) -> Shape:
    """Return what GET account answers: totals, assets and every position."""
    assets = [asset_shape(account, asset, listed, marks, now_ms) for asset in list(account.wallet)]
    totals = {
        f"total{name[0].upper()}{name[1:]}": amount(sum((Decimal(a[name]) for a in assets), Decimal(0)))
        for name in (
            "initialMargin", "maintMargin", "walletBalance", "unrealizedProfit", "marginBalance",
            "positionInitialMargin", "openOrderInitialMargin", "crossWalletBalance", "crossUnPnl",
        )
    }  # fmt: skip
    free = amount(sum((Decimal(a["availableBalance"]) for a in assets), Decimal(0)))
    positions = [position_shape(account, listing, marks[symbol]) for symbol, listing in listed.items()]
    for shape in positions:
        shape["unrealizedProfit"] = shape["unRealizedProfit"]
    head = {"feeTier": 0, "canTrade": True, "canDeposit": False, "canWithdraw": False, "feeBurn": False}
    head |= {"tradeGroupId": -1, "multiAssetsMargin": False, "updateTime": now_ms}
    return (
        head | totals | {"availableBalance": free, "maxWithdrawAmount": free, "assets": assets, "positions": positions}
    )


def execution_event(order: Order, execution: str, fill: Fill | None, now_ms: int) -> Shape:
    """Return an ORDER_TRADE_UPDATE."""
    listing = order.listing
    shape = {
        "s": listing.symbol,
        "c": order.client_id,
        "S": side(order),
        "o": kind(order),
        "f": order.tif,
        "q": listing.qty(order.lots),
        "p": listing.px(order.ticks),
        "ap": _average(order),
        "sp": listing.px(order.stop),
        "x": execution,
        "X": order.status,
        "i": order.id,
        "l": listing.qty(fill.lots if fill else 0),
        "z": listing.qty(order.filled),
        "L": listing.px(fill.ticks if fill else 0),
        "n": amount(fill.fee) if fill else "0",
        "N": fill.fee_asset if fill else listing.quote,
        "T": order.updated_ms,
        "t": fill.id if fill else 0,
        "b": "0",
        "a": "0",
        "m": fill.maker if fill else False,
        "R": order.reduce_only,
        "wt": "MARK_PRICE" if order.on_mark else "CONTRACT_PRICE",
        "ot": order.type,
        "ps": "BOTH",
        "cp": order.close_position,
        "rp": amount(fill.realized) if fill else "0",
        "pP": False,
        "si": 0,
        "ss": 0,
        "V": order.stp,
        "pm": "NONE",
        "gtd": order.expire_ms,
    }
    if order.type == "TRAILING_STOP_MARKET":
        shape |= {"AP": listing.px(order.activation), "cr": f"{order.trail_bps / 100:f}"}
    return {"e": "ORDER_TRADE_UPDATE", "E": now_ms, "T": now_ms, "o": shape}


def algo_event(order: Order, status: str, now_ms: int) -> Shape:
    """Return an ALGO_UPDATE: what becomes of a conditional order until it is an order like any other."""
    listing = order.listing
    shape = {
        "caid": order.client_id,
        "aid": order.algo_id,
        "at": "CONDITIONAL",
        "o": order.type,
        "s": listing.symbol,
        "S": side(order),
        "ps": "BOTH",
        "f": order.tif,
        "q": listing.qty(order.lots),
        "X": status,
        "ai": str(order.id) if order.working else "",
        "ap": _average(order),
        "aq": listing.qty(order.filled),
        "act": "0",
        "tp": listing.px(order.stop),
        "p": listing.px(order.ticks),
        "V": order.stp,
        "wt": "MARK_PRICE" if order.on_mark else "CONTRACT_PRICE",
        "pm": "NONE",
        "cp": order.close_position,
        "pP": False,
        "R": order.reduce_only,
        "tt": order.working_ms,
        "gtd": order.expire_ms,
        "rm": "",
    }
    return {"e": "ALGO_UPDATE", "E": now_ms, "T": now_ms, "o": shape}


def algo_status(order: Order) -> str:
    """Return the state of a conditional order as the algo service names it."""
    if not order.is_open:
        return "FINISHED" if order.status == "FILLED" else order.status
    return "TRIGGERED" if order.working else "NEW"


def account_event(
    account: Account, listing: Listing, mark: Decimal, reason: str, change: Decimal, now_ms: int
) -> Shape:
    """Return an ACCOUNT_UPDATE: the wallet, and the position in one contract."""
    position = account.positions[listing.symbol]
    wallet = amount(account.wallet[listing.quote])
    held = {
        "s": listing.symbol,
        "pa": listing.qty(position.lots),
        "ep": amount(position.entry(listing)),
        "bep": amount(position.entry(listing)),
        "cr": "0",
        "up": amount(position.profit(listing, mark)),
        "mt": "isolated" if position.isolated else "cross",
        "iw": "0",
        "ps": "BOTH",
    }
    wallets = [{"a": listing.quote, "wb": wallet, "cw": wallet, "bc": amount(change)}]
    body = {"m": reason, "B": wallets, "P": [] if reason == "FUNDING_FEE" else [held]}
    return {"e": "ACCOUNT_UPDATE", "E": now_ms, "T": now_ms, "a": body}


def _average(order: Order) -> str:
    if not order.filled:
        return "0"
    return f"{order.quote_filled / (order.filled * order.listing.lot):.8f}"

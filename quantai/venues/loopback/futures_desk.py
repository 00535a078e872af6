"""What a customer asks of the futures exchange: orders, cancels, changes, queries, positions, leverage."""

import json
from decimal import Decimal
from typing import Any

from quantai.venues.loopback import futures_shapes
from quantai.venues.loopback.accounts import Account
from quantai.venues.loopback.entry import MOST_OPEN, client_id_of, fills, side_of, stp_of, wanted, window
from quantai.venues.loopback.exchange import Exchange
from quantai.venues.loopback.listings import FUTURES_TYPES, Listing, Product
from quantai.venues.loopback.orders import AT_MARKET, Order
from quantai.venues.loopback.params import Params
from quantai.venues.loopback.refusals import Refused

FUTURES = Product.FUTURES


def new_order(exchange: Exchange, account: Account, params: Params) -> Any:
    """Place an order."""
    return futures_shapes.order_shape(exchange.enter(read(exchange, account, params)))


def test_order(exchange: Exchange, account: Account, params: Params) -> Any:
    """Check an order against the filters and do nothing."""
    return futures_shapes.order_shape(read(exchange, account, params))


def new_orders(exchange: Exchange, account: Account, params: Params) -> Any:
    """Place up to five orders, each answered or refused by itself."""
    answers: list[Any] = []
    for one in _batch(params, "batchOrders"):
        try:
            answers.append(new_order(exchange, account, Params({k: str(v) for k, v in one.items()})))
        except Refused as refused:
            answers.append(refused.body())
    return answers


def query_order(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer one order."""
    return futures_shapes.order_shape(wanted(exchange, account, FUTURES, params, Refused.no_such_order()))


def cancel_order(exchange: Exchange, account: Account, params: Params) -> Any:
    """Cancel one order."""
    order = wanted(exchange, account, FUTURES, params, Refused.unknown_order())
    if not order.is_open:
        raise Refused.unknown_order()
    exchange.cancel(order)
    return futures_shapes.order_shape(order)


def cancel_orders(exchange: Exchange, account: Account, params: Params) -> Any:
    """Cancel up to ten orders of a symbol, each answered or refused by itself."""
    answers: list[Any] = []
    names = [("orderId", "orderIdList"), ("origClientOrderId", "origClientOrderIdList")]
    for name, key in names:
        for one in _batch(params, key) if params.get(key) else []:
            try:
                one_params = Params({"symbol": params.need("symbol"), name: str(one)})
                answers.append(cancel_order(exchange, account, one_params))
            except Refused as refused:
                answers.append(refused.body())
    return answers


def change_order(exchange: Exchange, account: Account, params: Params) -> Any:
    """Change price and quantity of a resting limit order, which keeps its number and goes to the end of the queue."""
    order = wanted(exchange, account, FUTURES, params, Refused.no_such_order())
    if not order.is_open or order.type != "LIMIT":
        raise Refused(-5026, "Order modify limit reached." if order.is_open else "Unknown order sent.")
    listing = order.listing
    ticks, lots = _price(listing, params, "price", exchange.house.marks[listing.symbol]), _quantity(listing, params)
    if (ticks, lots) == (order.ticks, order.lots):
        raise Refused(-5027, "No need to modify the order.")
    exchange.change(order, ticks, lots)
    return futures_shapes.order_shape(order)


def open_order(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer one order if it is open."""
    order = wanted(exchange, account, FUTURES, params, Refused.no_such_order())
    if not order.is_open:
        raise Refused.no_such_order()
    return futures_shapes.order_shape(order)


def open_orders(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer open orders, of one symbol or of all."""
    symbol = exchange.listed(FUTURES, params["symbol"]).listing.symbol if params.get("symbol") else ""
    return [futures_shapes.order_shape(o) for o in exchange.of(account, FUTURES, symbol, is_open=True)]


def cancel_all(exchange: Exchange, account: Account, params: Params) -> Any:
    """Cancel every open order of a symbol."""
    symbol = exchange.listed(FUTURES, params.need("symbol")).listing.symbol
    for order in exchange.of(account, FUTURES, symbol, is_open=True):
        exchange.cancel(order)
    return {"code": 200, "msg": "The operation of cancel all open order is done."}


def countdown(exchange: Exchange, account: Account, params: Params) -> Any:
    """Cancel every order of a symbol unless this is asked again within `countdownTime` ms; 0 calls it off."""
    symbol = exchange.listed(FUTURES, params.need("symbol")).listing.symbol
    ms = params.integer("countdownTime")
    if ms is None:
        raise Refused.missing("countdownTime")
    exchange.countdowns.pop((account.key, symbol), None)
    if ms > 0:
        exchange.countdowns[account.key, symbol] = exchange.now_ms() + ms
    return {"symbol": symbol, "countdownTime": str(ms)}


def all_orders(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer every order of a symbol."""
    symbol = exchange.listed(FUTURES, params.need("symbol")).listing.symbol
    return [futures_shapes.order_shape(o) for o in window(exchange.of(account, FUTURES, symbol), params)]


def user_trades(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer own fills."""
    return [futures_shapes.trade_shape(o, o.fills[k]) for o, k in fills(exchange, account, FUTURES, params)]


def account_of(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer wallet and positions."""
    house = exchange.house
    return futures_shapes.account_shape(account, house.listed, house.marks, exchange.now_ms())


def balance(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer the wallet."""
    house, now = exchange.house, exchange.now_ms()
    return [futures_shapes.asset_shape(account, a, house.listed, house.marks, now) for a in list(account.wallet)]


def position_risk(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer positions: of every contract (v2), or of those that are not flat (v3)."""
    named, house = params.get("symbol", ""), exchange.house
    if named:
        exchange.listed(FUTURES, named)
    found = [x for s, x in house.listed.items() if not named or s == named]
    return [futures_shapes.position_shape(account, x, house.marks[x.symbol]) for x in found]


def open_positions(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer the positions that are not flat."""
    return [p for p in position_risk(exchange, account, params) if Decimal(p["positionAmt"])]


def set_leverage(exchange: Exchange, account: Account, params: Params) -> Any:
    """Set the leverage of a contract."""
    symbol = exchange.listed(FUTURES, params.need("symbol")).listing.symbol
    leverage = params.integer("leverage")
    if leverage is None or not 1 <= leverage <= 125:
        raise Refused(-4028, f"Leverage {params.get('leverage', '')} is not valid")
    account.positions[symbol].leverage = leverage
    return {"leverage": leverage, "maxNotionalValue": "100000000", "symbol": symbol}


def set_margin_type(exchange: Exchange, account: Account, params: Params) -> Any:
    """Choose cross margin, the only one here; ISOLATED is remembered and shown, and still shares the wallet."""
    symbol = exchange.listed(FUTURES, params.need("symbol")).listing.symbol
    isolated = params.need("marginType") == "ISOLATED"
    if account.positions[symbol].isolated is isolated:
        raise Refused(-4046, "No need to change margin type.")
    account.positions[symbol].isolated = isolated
    return {"code": 200, "msg": "success"}


def position_mode(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer that there is one position a contract."""
    return {"dualSidePosition": False}


def set_position_mode(exchange: Exchange, account: Account, params: Params) -> Any:
    """Keep one position a contract; hedge mode is refused."""
    if params.flag("dualSidePosition"):
        raise Refused(-4068, "Position side cannot be changed: the loopback exchange has one-way mode only.")
    raise Refused(-4059, "No need to change position side.")


def assets_mode(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer that margin is kept in one asset."""
    return {"multiAssetsMargin": False}


def commission(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer the fees of a contract."""
    listing = exchange.listed(FUTURES, params.need("symbol")).listing
    rates = {"makerCommissionRate": f"{listing.maker:f}", "takerCommissionRate": f"{listing.taker:f}"}
    return {"symbol": listing.symbol} | rates


def account_config(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer how the account is set up."""
    modes = {"dualSidePosition": False, "multiAssetsMargin": False, "feeTier": 0, "tradeGroupId": -1}
    return modes | {"canTrade": True, "canDeposit": False, "canWithdraw": False, "updateTime": exchange.now_ms()}


def symbol_config(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer leverage and margin type of contracts."""
    named = params.get("symbol", "")
    held = {s: account.positions[s] for s in exchange.house.listed if not named or s == named}
    return [
        {"symbol": s, "marginType": "ISOLATED" if p.isolated else "CROSSED", "isAutoAddMargin": False}
        | {"leverage": p.leverage, "maxNotionalValue": "100000000"}
        for s, p in held.items()
    ]


def income(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer what changed the wallet, oldest first: funding, realised profit, commission."""
    rows = [("FUNDING_FEE", s, amount, ms, "") for key, s, amount, ms in exchange.funding if key == account.key]
    for order in exchange.of(account, FUTURES):
        for fill in order.fills:
            name, ms, id = order.listing.symbol, fill.ts_ms, str(fill.id)
            rows.append(("COMMISSION", name, -fill.fee, ms, id))
            if fill.realized:
                rows.append(("REALIZED_PNL", name, fill.realized, ms, id))
    symbol, kind = params.get("symbol", ""), params.get("incomeType", "")
    start, end = params.integer("startTime", 0) or 0, params.integer("endTime")
    found = [
        {"symbol": s, "incomeType": k, "income": f"{amount:.8f}", "asset": exchange.house.listed[s].quote, "info": k}
        | {"time": ms, "tranId": number, "tradeId": id}
        for number, (k, s, amount, ms, id) in enumerate(sorted(rows, key=lambda row: row[3]), 1)
        if symbol in ("", s) and kind in ("", k) and start <= ms and (end is None or ms <= end)
    ]
    limit = params.limit(100, 1000)
    return found[:limit] if start else found[-limit:]


def brackets(exchange: Exchange, account: Account, params: Params) -> Any:
    """Answer the leverage there is: one bracket a contract."""
    one = {"bracket": 1, "initialLeverage": 125, "notionalCap": 100_000_000, "notionalFloor": 0}
    one |= {"maintMarginRatio": float(futures_shapes.MAINTENANCE), "cum": 0.0}
    named = params.get("symbol", "")
    found = [{"symbol": s, "brackets": [one]} for s in exchange.house.listed if not named or s == named]
    return found[0] if named and found else found


def read(exchange: Exchange, account: Account, params: Params) -> Order:
    """Make an order of a request, checked against everything but the book and the wallet; raises Refused."""
    matching = exchange.listed(FUTURES, params.need("symbol"))
    listing, side, kind = matching.listing, side_of(params), params.need("type")
    if kind not in FUTURES_TYPES:
        raise Refused(-1116, "Invalid orderType.")
    if params.get("positionSide", "BOTH") != "BOTH":
        raise Refused(-4061, "Order's position side does not match user's setting.")
    mark = exchange.house.marks[listing.symbol]
    tif = params.get("timeInForce", "GTC")
    if tif not in ("GTC", "IOC", "FOK", "GTX", "GTD"):
        raise Refused(-1115, "Invalid timeInForce.")
    closes, reduces = params.flag("closePosition"), params.flag("reduceOnly")
    ticks = 0 if kind in AT_MARKET else _price(listing, params, "price", mark)
    if kind == "LIMIT" and "timeInForce" not in params:
        raise Refused.missing("timeInForce")
    stop = (
        _price(listing, params, "stopPrice" if "stopPrice" in params else "triggerPrice", None) if _waits(kind) else 0
    )
    trail = activation = 0
    if kind == "TRAILING_STOP_MARKET":
        trail = 100 * (params.decimal("callbackRate") or Decimal(0))
        if not 10 <= trail <= 1000:
            raise Refused(-2007, "Invalid callBack rate.")
        name = next((n for n in ("activationPrice", "activatePrice") if params.get(n)), "")
        activation = _price(listing, params, name, None) if name else 0
    lots = 0 if closes else _quantity(listing, params)
    expire_ms = (params.integer("goodTillDate") or 0) if tif == "GTD" else 0
    if tif == "GTD" and expire_ms < exchange.now_ms():
        raise Refused(-5040, "Invalid goodTillDate.")
    held = account.positions[listing.symbol].lots
    if reduces and not _waits(kind) and held * side >= 0:
        raise Refused(-2022, "ReduceOnly Order is rejected.")
    reference = listing.tick * (ticks or stop) or mark
    if not (reduces or closes) and listing.lot * lots * reference < listing.min_notional:
        least = f"{listing.min_notional.normalize():f}"
        raise Refused(-4164, f"Order's notional must be no smaller than {least} (unless you choose reduce only).")
    if len(exchange.of(account, FUTURES, listing.symbol, is_open=True)) >= MOST_OPEN:
        raise Refused(-2025, "Reach max open order limit.")
    number = next(exchange.order_ids)
    return Order(
        id=number, client_id=client_id_of(params, number), account=account, listing=listing, side=side, type=kind,
        tif=tif, lots=lots, ticks=ticks, stop=stop, trail_bps=Decimal(trail), activation=activation,
        reduce_only=reduces or closes, close_position=closes, on_mark=params.get("workingType", "") == "MARK_PRICE",
        stp=stp_of(params, "EXPIRE_MAKER"), expire_ms=expire_ms,
    )  # fmt: skip


def _waits(kind: str) -> bool:
    return kind in ("STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET")


def _price(listing: Listing, params: Params, name: str, mark: Decimal | None) -> int:
    px = params.decimal(name)
    if px is None:
        raise Refused.missing(name)
    if px <= 0:
        raise Refused(-4001, "Price less than 0.")
    if px > listing.max_price:
        raise Refused(-4002, "Price greater than max price.")
    ticks = listing.ticks(px)
    if ticks is None:
        raise Refused(-4014, "Price not increased by tick size.")
    if mark is not None and px > mark * Decimal("1.05"):
        raise Refused(-4016, f"Limit price can't be higher than {mark * Decimal('1.05'):.2f}.")
    if mark is not None and px < mark * Decimal("0.95"):
        raise Refused(-4024, f"Limit price can't be lower than {mark * Decimal('0.95'):.2f}.")
    return ticks


def _quantity(listing: Listing, params: Params) -> int:
    qty = params.decimal("quantity")
    if qty is None:
        raise Refused.missing("quantity")
    if qty <= 0:
        raise Refused(-4003, "Quantity less than or equal to zero.")
    if qty > listing.max_qty:
        raise Refused(-4005, "Quantity greater than max quantity.")
    lots = listing.lots(qty)
    if lots is None:
        raise Refused(-1111, "Precision is over the maximum defined for this asset.")
    return lots


def _batch(params: Params, name: str) -> list[Any]:
    try:
        found = json.loads(params.need(name))
    except ValueError:
        raise Refused.illegal(name) from None
    return found if isinstance(found, list) else []

"""The verbs of `ctx`: each one function that runs compiled in handlers and, unchanged, as plain Python.

A verb writes intents; it never touches the account. Prices are rounded to the tick on the passive side (buys down,
sells up) and quantities down to the lot, so that an order is never more aggressive or larger than what was asked. What
cannot be an order at all (NaN, zero lots, too many intents in one row) is refused, counted by reason, and returns order
number 0.
"""

import math
from typing import Any

from quantai.core.compiled import compiled, inlined
from quantai.core.rows import POST_ONLY, QUOTING, REDUCE_ONLY, TIF, Action, OrderState, OrderType, Reason
from quantai.strategy.context import MAX_INTENTS, books_of, instruments_of, intents_of, orders_of, positions_of

NEW, CANCEL, REPLACE, TARGET = (int(a) for a in (Action.NEW, Action.CANCEL, Action.REPLACE, Action.TARGET))
MARKET, LIMIT, STOP, STOP_LIMIT, TRAILING = (int(t) for t in OrderType)
GTC, GTD = int(TIF.GTC), int(TIF.GTD)
PENDING_CANCEL = 1 << 9
"""ORDER.flags: a cancel is on its way."""
_WAITING, _PENDING, _PARTIAL = int(OrderState.WAITING), int(OrderState.PENDING), int(OrderState.PARTIAL)
_OPEN = int(OrderState.OPEN)
_BAD_QTY, _NOT_A_PRICE, _OFF_GRID = int(Reason.BAD_QTY), int(Reason.NOT_A_PRICE), int(Reason.OFF_GRID)
_MOST_LOTS = 2.0**53
UNSET = -math.inf
"""A limit, stop or trail that was not given; a NaN that was computed is refused instead of taken for that."""
_TOO_MANY = int(Reason.TOO_MANY)


@compiled
def to_ticks(inst: Any, px: float, side: int) -> int:
    """Return a price in ticks, rounded to the passive side of `side` unless it is on the grid to 1e-6 of a tick."""
    exact = px * inst.tick_den if inst.tick_num == 1 else px * inst.tick_den / inst.tick_num
    near = round(exact)
    if abs(exact - near) <= 1e-6 + 1e-15 * abs(exact):
        return near
    return math.floor(exact) if side > 0 else math.ceil(exact)


@compiled
def to_lots(inst: Any, qty: float) -> int:
    """Return a quantity (units) in lots, rounded down unless on the grid to 1e-6 of a lot; 0 beyond 2**53 lots."""
    exact = qty * inst.lot_den if inst.lot_num == 1 else qty * inst.lot_den / inst.lot_num
    if exact > _MOST_LOTS:
        return 0
    near = round(exact)
    if abs(exact - near) <= 1e-6 + 1e-15 * abs(exact):
        return near
    return math.floor(exact)


@compiled
def is_price(px: float) -> bool:
    """Say whether a number can be a price: above zero and finite."""
    return px > 0.0 and px < math.inf


@compiled
def refuse(ctx: Any, reason: int) -> int:
    """Count a refusal and return 0, the order number of nothing."""
    ctx.refused[reason] += 1
    return 0


@compiled
def which(ctx: Any, instrument: int) -> int:
    """Return the instrument asked for; negative means that of the current row. Raises IndexError beyond the last."""
    if instrument >= ctx.n_instruments:
        raise IndexError("there is no instrument of that number")
    return ctx.instrument if instrument < 0 else instrument


@compiled
def emit(
    ctx: Any,
    action: int,
    order: int,
    instrument: int,
    side: int,
    lots: int,
    px_ticks: int,
    trigger_ticks: int,
    type: int,
    tif: int,
    flags: int,
    expire_ts: int,
    link: int,
) -> int:
    """Append one INTENT row and return its order number."""
    if ctx.n_intents >= MAX_INTENTS:
        return refuse(ctx, _TOO_MANY)
    row = intents_of(ctx)[ctx.n_intents]
    row.seq = ctx.seq
    row.order = order
    row.px_ticks = px_ticks
    row.qty_lots = lots
    row.trigger_ticks = trigger_ticks
    row.expire_ts = expire_ts
    row.instrument = instrument
    row.link = link
    row.flags = flags
    row.k = ctx.k
    row.action = action
    row.side = side
    row.type = type
    row.tif = tif
    ctx.k += 1
    ctx.n_intents += 1
    return order


@compiled
def submit(
    ctx: Any,
    side: int,
    qty: float,
    limit: float = UNSET,
    stop: float = UNSET,
    trail: float = UNSET,
    tif: int = GTC,
    post_only: bool = False,
    reduce_only: bool = False,
    expire_ts: int = 0,
    instrument: int = -1,
    flags: int = 0,
    link: int = 0,
) -> int:
    """Ask for an order and return its number, or 0 when it was refused; see `buy` for the meaning of each argument."""
    i = which(ctx, instrument)
    inst = instruments_of(ctx)[i]
    if not (qty > 0.0 and qty < math.inf):
        return refuse(ctx, _BAD_QTY)
    lots = to_lots(inst, qty)
    if lots < 1:
        return refuse(ctx, _BAD_QTY)
    kind, px_ticks, trigger = MARKET, 0, 0
    if limit != UNSET:
        if not is_price(limit):
            return refuse(ctx, _NOT_A_PRICE)
        kind, px_ticks = LIMIT, to_ticks(inst, limit, side)
    if stop != UNSET:
        if not is_price(stop):
            return refuse(ctx, _NOT_A_PRICE)
        # a stop is rounded away from the market, so that it never triggers earlier than asked
        trigger = to_ticks(inst, stop, -side)
        kind = STOP if kind == MARKET else STOP_LIMIT
    if trail != UNSET:
        # a trailing stop starts at `stop`, or its distance from the next open; the distance stands in trigger_ticks
        if kind in (LIMIT, STOP_LIMIT) or not is_price(trail):
            return refuse(ctx, _NOT_A_PRICE)
        px_ticks, trigger, kind = trigger, to_ticks(inst, trail, -1), TRAILING
        if trigger < 1:
            return refuse(ctx, _NOT_A_PRICE)
    if post_only:
        flags |= POST_ONLY
    if reduce_only:
        flags |= REDUCE_ONLY
    if expire_ts > 0:
        tif = GTD
    order = ctx.last_order + 1
    if emit(ctx, NEW, order, i, side, lots, px_ticks, trigger, kind, tif, flags, expire_ts, link) == 0:
        return 0
    ctx.last_order = order
    if flags & QUOTING == 0:
        positions_of(ctx)[i].target = math.nan
    return int(order)


@compiled
def buy(
    ctx: Any,
    qty: float,
    limit: float = UNSET,
    stop: float = UNSET,
    trail: float = UNSET,
    tif: int = GTC,
    post_only: bool = False,
    reduce_only: bool = False,
    expire_ts: int = 0,
    instrument: int = -1,
    flags: int = 0,
    link: int = 0,
) -> int:
    """Buy `qty` units at market, at `limit`, once `stop` trades, or `trail` behind the best; return the order number.

    `tif` GTC, IOC or FOK; `expire_ts` an instant in ns after which the order lapses; `flags` CHILD or OCO with `link`.
    """
    return submit(ctx, 1, qty, limit, stop, trail, tif, post_only, reduce_only, expire_ts, instrument, flags, link)


@compiled
def sell(
    ctx: Any,
    qty: float,
    limit: float = UNSET,
    stop: float = UNSET,
    trail: float = UNSET,
    tif: int = GTC,
    post_only: bool = False,
    reduce_only: bool = False,
    expire_ts: int = 0,
    instrument: int = -1,
    flags: int = 0,
    link: int = 0,
) -> int:
    """Sell `qty` units; the arguments of `buy`."""
    return submit(ctx, -1, qty, limit, stop, trail, tif, post_only, reduce_only, expire_ts, instrument, flags, link)


@compiled
def target(ctx: Any, weight: float, instrument: int = -1, rebalance: bool = False) -> int:
    """Ask to hold `weight` of equity (1.0 = all, negative = short), sized where it executes; returns the order number.

    Asking again for the same weight does nothing (returns 0) unless `rebalance` is set: holding is not trading.
    """
    i = which(ctx, instrument)
    if math.isnan(weight) or math.isinf(weight) or abs(weight) > 1e6:
        return refuse(ctx, _BAD_QTY)
    position = positions_of(ctx)[i]
    if weight == position.target and not rebalance:
        return 0
    nano = round(weight * 1e9)
    order = ctx.last_order + 1
    if emit(ctx, TARGET, order, i, 0, nano, 0, 0, MARKET, GTC, 0, 0, 0) == 0:
        return 0
    ctx.last_order = order
    position.target = weight
    return int(order)


@compiled
def cancel(ctx: Any, order: int) -> int:
    """Ask to cancel an order, even one asked for in this very row; returns its number, or 0 when it is not working."""
    for o in orders_of(ctx):
        if o.order == order and o.state >= _WAITING and o.state <= _PARTIAL and o.flags & PENDING_CANCEL == 0:
            asked = emit(ctx, CANCEL, int(order), o.instrument, o.side, 0, 0, 0, o.type, o.tif, 0, 0, 0)
            if asked != 0:
                o.flags |= PENDING_CANCEL
            return asked
    rows = intents_of(ctx)
    for k in range(ctx.n_intents):
        if rows[k].order == order and rows[k].action == NEW:
            return emit(ctx, CANCEL, int(order), rows[k].instrument, rows[k].side, 0, 0, 0, LIMIT, GTC, 0, 0, 0)
    return 0


@compiled
def replace(ctx: Any, order: int, qty: float, limit: float = UNSET, stop: float = UNSET) -> int:
    """Ask to change a working order to `qty` units in total, and to another limit or stop; returns its number or 0."""
    for o in orders_of(ctx):
        if o.order == order and o.state >= _WAITING and o.state <= _PARTIAL and o.flags & PENDING_CANCEL == 0:
            inst = instruments_of(ctx)[o.instrument]
            if not (qty > 0.0 and qty < math.inf):
                return refuse(ctx, _BAD_QTY)
            px_ticks, trigger = o.px_ticks, o.trigger_ticks
            if (limit != UNSET and not is_price(limit)) or (stop != UNSET and not is_price(stop)):
                return refuse(ctx, _NOT_A_PRICE)
            if limit != UNSET:
                px_ticks = to_ticks(inst, limit, o.side)
            if stop != UNSET:
                trigger = to_ticks(inst, stop, -o.side)
            if (limit != UNSET and px_ticks < 1) or (stop != UNSET and trigger < 1):
                return refuse(ctx, _NOT_A_PRICE)  # zero would keep what it was
            lots = to_lots(inst, qty)
            if lots < 1:
                return refuse(ctx, _BAD_QTY)
            return emit(
                ctx,
                REPLACE,
                int(order),
                o.instrument,
                o.side,
                lots,
                px_ticks,
                trigger,
                o.type,
                o.tif,
                o.flags,
                o.expire_ts,
                0,
            )
    return 0


@inlined
def quote(ctx: Any, instrument: int, side: int, px_ticks: int, qty: float, post_only: bool = True) -> int:
    """Keep one order of `qty` units working on `side` at `px_ticks`; returns its number.

    An order already there is kept; one at another price is canceled and a new one sent at once, without waiting.
    """
    found = 0
    instrument = which(ctx, instrument)
    for o in orders_of(ctx):
        if o.state < _WAITING or o.state > _PARTIAL or o.flags & QUOTING == 0:
            continue
        if o.instrument != instrument or o.side != side:
            continue
        if o.px_ticks == px_ticks and o.flags & PENDING_CANCEL == 0:
            found = int(o.order)
        elif (
            (o.state == _OPEN or o.state == _PARTIAL)
            and o.flags & PENDING_CANCEL == 0
            and emit(ctx, CANCEL, o.order, instrument, side, 0, 0, 0, LIMIT, GTC, QUOTING, 0, 0) != 0
        ):
            o.flags |= PENDING_CANCEL
    if found > 0:
        return found
    lots = to_lots(instruments_of(ctx)[instrument], qty)
    if lots < 1:
        return refuse(ctx, _BAD_QTY)
    order = ctx.last_order + 1
    flags = QUOTING | POST_ONLY if post_only else QUOTING
    if emit(ctx, NEW, order, instrument, side, lots, px_ticks, 0, LIMIT, GTC, flags, 0, 0) == 0:
        return 0
    ctx.last_order = order
    return int(order)


@compiled
def unquote(ctx: Any, instrument: int, side: int) -> int:
    """Cancel what `quote` keeps on one side; returns how many orders that was."""
    n = 0
    for o in orders_of(ctx):
        if o.flags & QUOTING == 0 or o.instrument != instrument or o.side != side:
            continue
        if (
            (o.state == _OPEN or o.state == _PARTIAL)
            and o.flags & PENDING_CANCEL == 0
            and emit(ctx, CANCEL, o.order, instrument, side, 0, 0, 0, LIMIT, GTC, QUOTING, 0, 0) != 0
        ):
            o.flags |= PENDING_CANCEL
            n += 1
    return n


@compiled
def every(ctx: Any, period_ns: int) -> int:
    """Call `on_timer` each `period_ns` nanoseconds from now on; 0 stops it."""
    ctx.timer_ns = period_ns
    ctx.next_timer = ctx.now + period_ns
    return 0


@compiled
def position(ctx: Any, instrument: int = -1) -> float:
    """Return the signed position in units."""
    return positions_of(ctx)[which(ctx, instrument)].qty


@compiled
def price(ctx: Any, instrument: int = -1) -> float:
    """Return the price: a bar's close, else the mid, without both sides the last trade, else a side or what was paid.

    0.0 while nothing tells one.
    """
    return positions_of(ctx)[which(ctx, instrument)].px


@compiled
def book(ctx: Any, instrument: int = -1) -> Any:
    """Return the top of the book (a BOOK record) at receipt."""
    return books_of(ctx)[which(ctx, instrument)]


@compiled
def orders(ctx: Any) -> Any:
    """Return the order table (ORDER records); slots whose state is FREE or final are not working."""
    return orders_of(ctx)[:]  # an array as any other: places count from the end, too, and are checked


VERBS = {
    verb.__name__: verb
    for verb in (buy, sell, target, cancel, replace, quote, unquote, every, position, price, book, orders)
}
"""What a handler may call on `ctx`, by name."""

READABLE = ("now", "seq", "cash", "equity", "instrument")
"""What a handler may read from `ctx`."""

"""Orders against one bar: a pure function, compiled, that only ever assumes what a bar proves.

A bar says four prices and not their order, except that the open is first and the close is last. The code is written
once, for a buy order; a sell order is its mirror image: prices negated, high and low swapped. The rules have names;
docs/fills.md states each as an inequality beside what other engines do.

The order in which one bar is worked through never depends on luck:

1. At the open, by order number: an arriving order is checked, and what the open decides is filled at once.
2. Within the bar: the stop nearest to the open is next, except that a limit on the way to it comes first; when no stop
   is within reach, the limit nearest to the open. Equal distances go by order number.
3. Children of orders that filled within the bar see only what is certain to come after that fill.
4. At the end: trailing stops follow, orders expire, rivals and orphans are canceled.

Prices are compared as float64: an order's price is the float nearest to its exact decimal, and so is what a parser
makes of that decimal. On-grid prices are thus equal exactly when their decimals are; off-grid (adjusted) bar prices
need no rounding.
"""

import math
from typing import Any, cast

import numpy as np

from quantai.backtest.bar_reach import (
    expires_by,
    extremes,
    fills_at,
    has_limit,
    is_stop,
    leg_of,
    next_by_number,
    next_child,
    next_expired,
    next_within,
    slipped,
    stop_price,
    takes_part,
    ticks_above,
    ticks_below,
)
from quantai.backtest.order_table import (
    CANCELED,
    DAY,
    EXPIRED,
    FILLED,
    FOK,
    IOC,
    OPEN,
    PARTIAL,
    PENDING,
    REJECTED,
    TRAILING_STOP,
    are_rivals,
    closable,
    end,
    int64s,
    is_live,
    settle,
)
from quantai.core.compiled import uncounted
from quantai.core.errors import InputError
from quantai.core.grid import price_of
from quantai.core.rows import DAY as DAY_NS
from quantai.core.rows import OCO, POST_ONLY, REDUCE_ONLY, Reason

FILL = np.dtype(
    [
        ("order", "u8"),
        ("ts", "i8"),  # the first instant at which the fill is known: ts_open when the open decided it, else ts_close
        ("px", "f8"),
        ("raw_px", "f8"),  # before slippage
        ("qty_lots", "i8"),
        ("instrument", "u4"),
        ("side", "i1"),
        ("where", "u1"),  # AT_OPEN, AT_LIMIT or AT_STOP
        ("maker", "u1"),  # 1 when the order rested and was hit, 0 when it took
        ("after", "u1"),  # what the bar proves to come after the fill: ALL, EXTREME or CLOSE
    ]
)
"""One fill on a bar; 48 bytes."""

RULES = np.dtype([("slip_bps", "f8"), ("limit_touch", "i8")])
"""What compiled code sees of the choices: basis points against market and stop fills; 1 = a touch fills a limit."""

MATCH = np.dtype(
    [
        ("position_lots", "i8"),  # of the bar's instrument: set before the call, moved by each fill
        ("ambiguous_bars", "i8"),  # bars whose outcome depended on the unknown path, counted over the run
        ("fills", "i4"),  # fills of the bar at hand
        ("unsure", "i2"),  # 1 when the bar at hand is such a bar
        ("rose", "i1"),  # 1 when something filled on the way up within the bar at hand
        ("fell", "i1"),  # 1 when something filled on the way down
    ]
)
"""What matching keeps between bars, and between its own steps."""

AT_OPEN, AT_LIMIT, AT_STOP = int64s(1, 2, 3)
ALL, EXTREME, CLOSE = int64s(0, 1, 2)
_NONE, _POST_ONLY, _IOC, _FOK = int64s(Reason.NONE, Reason.POST_ONLY, Reason.IOC, Reason.FOK)
_REDUCE_ONLY, _OCO, _GTD = int64s(Reason.REDUCE_ONLY, Reason.OCO, Reason.GTD)
_NOWHERE, _STILL = int64s(0, 0)
_NOBODY = cast("int", np.uint64(0))  # comes before every order number
_THIS_BAR = 2  # ORDER.triggered of a stop-limit whose trigger was met within the bar at hand: done with until the next


@uncounted
def match_bar(
    orders: Any, n_orders: int, open_lots: Any, bar: Any, inst: Any, rules: Any, match: Any, fills: Any
) -> int:
    """Match the orders of one instrument against one bar; return how many FILL rows were written from fills[0] on.

    `orders` is the table (ORDER rows, the first `n_orders` slots are looked at), `open_lots[k]` the lots that order k
    may take at the open (i8, 0 = unbounded), `bar` one BAR row, `inst` its INSTRUMENT row, `rules` a RULES row, `match`
    a MATCH row and `fills` a FILL array with room for two rows a slot. Orders of other instruments, and orders decided
    after the bar opened, are left alone. States, reasons, quantities, averages and stops are updated in place. A bar
    with a price that is not a number fills nothing. Raises InputError when `fills` is too small.
    """
    match.fills = 0
    if not _any_live(orders, n_orders, bar) or not math.isfinite(bar.open + bar.high + bar.low + bar.close):
        return 0
    if fills.shape[0] < 2 * n_orders:
        raise InputError("match_bar: fills needs room for two rows an order slot")
    _match(orders, n_orders, open_lots, bar, inst, rules, match, fills)
    return match.fills


@uncounted
def open_price(bar: Any, side: int, rules: Any) -> float:
    """Return what a market order of `side` gets at the open of `bar`, slippage included: a TARGET is sized at it."""
    return slipped(bar.open, side, rules)


@uncounted
def _match(orders: Any, n: int, open_lots: Any, bar: Any, inst: Any, rules: Any, match: Any, fills: Any) -> None:
    match.unsure, match.rose, match.fell = 0, 0, 0
    k = next_by_number(orders, n, bar, _NOBODY)
    while k >= 0:
        _at_open(orders, n, k, open_lots[k], bar, inst, rules, match, fills)
        k = next_by_number(orders, n, bar, orders[k].order)
    if _any_live(orders, n, bar):
        _after_open(orders, n, bar, inst, rules, match, fills)
    settle(orders, n)
    match.ambiguous_bars += match.unsure


@uncounted
def _any_live(orders: Any, n: int, bar: Any) -> bool:
    k = 0
    while k < n and not (is_live(orders[k]) and orders[k].instrument == bar.instrument):
        k += 1
    return k < n


@uncounted
def _after_open(orders: Any, n: int, bar: Any, inst: Any, rules: Any, match: Any, fills: Any) -> None:
    opened = match.fills
    k = next_within(orders, n, bar, inst, rules, match)
    while k >= 0:
        _within(orders, n, k, bar.open, bar.low, bar.high, EXTREME, bar, inst, rules, match, fills)
        k = next_within(orders, n, bar, inst, rules, match)

    for k in range(n):
        if orders[k].instrument == bar.instrument and (orders[k].state == OPEN or orders[k].state == PARTIAL):
            _trail(orders[k], bar.high, bar.low, inst)
    proven = match.fills
    f = opened
    while f < match.fills:
        _work_children(orders, n, fills[f], f < proven, bar, inst, rules, match, fills)
        f += 1

    for k in range(n):
        if orders[k].instrument == bar.instrument:
            orders[k].triggered = min(orders[k].triggered, 1)
    k = next_expired(orders, n, bar)
    while k >= 0:
        end(orders, n, k, EXPIRED, _GTD)
        k = next_expired(orders, n, bar)


@uncounted
def _at_open(orders: Any, n: int, k: int, cap: int, bar: Any, inst: Any, rules: Any, match: Any, fills: Any) -> None:
    o = orders[k]
    if expires_by(o, bar.ts_open):
        end(orders, n, k, EXPIRED, _GTD)
        return
    fresh = o.state == PENDING
    if not _arrive(orders, n, k, bar.open, bar, inst, match):
        return
    side = int(o.side)
    at = side * bar.open
    px, where = bar.open, AT_OPEN
    if is_stop(o):
        stop = side * stop_price(o, inst)
        if at < stop:
            return
        o.triggered = 1
        fresh = True
        where = AT_STOP if at == stop else AT_OPEN
    if has_limit(o):
        limit = side * price_of(o.px_ticks, inst)
        if fresh and o.flags & POST_ONLY and at <= limit:
            end(orders, n, k, REJECTED, _POST_ONLY)
            return
        where = AT_OPEN
        if not fills_at(at, limit, rules):
            if o.tif == IOC or o.tif == FOK:
                end(orders, n, k, CANCELED, _IOC if o.tif == IOC else _FOK)
            return
        if at == limit or not (fresh or (inst.sessions and not o.flags & POST_ONLY)):
            px, where = side * limit, AT_LIMIT
            if not fresh:
                cap = 0  # it rested: the market came through it
    leaves = _leaves(o, match)
    lots = leaves if cap == 0 else min(leaves, cap)
    if o.tif == FOK and lots < leaves:
        end(orders, n, k, CANCELED, _FOK)
        return
    _fill(orders, n, k, px, lots, where, ALL, _STILL, bar, inst, rules, match, fills)
    if o.tif == IOC and is_live(o):
        end(orders, n, k, CANCELED, _IOC)


@uncounted
def _within(
    orders: Any,
    n: int,
    k: int,
    now: float,
    low: float,
    high: float,
    after: int,
    bar: Any,
    inst: Any,
    rules: Any,
    match: Any,
    fills: Any,
) -> None:
    """Work order `k` from a moment within the bar: the price is `now`, `low` and `high` are certain to come later.

    `after` is what a fill at a level proves to follow: EXTREME for an order that stood since the open, CLOSE for one
    that arrives at this moment.
    """
    o = orders[k]
    side = int(o.side)
    at, close = side * now, side * bar.close
    top, bottom = extremes(side, bar.high, bar.low)
    sure_top, sure_bottom = extremes(side, high, low)
    limit = side * price_of(o.px_ticks, inst) if has_limit(o) else math.inf
    px, where, leg = limit, _NOWHERE, -side
    if is_stop(o):
        met = max(at, side * stop_price(o, inst))
        if top < met:
            return
        sure = sure_top >= met
        if not sure:
            match.unsure = 1
        takes = limit >= met
        if takes:
            o.triggered = 1
            px, where = met, AT_STOP
            leg = _STILL if at == met else side
        elif sure:
            o.triggered = _THIS_BAR
            if o.tif == IOC or o.tif == FOK:
                end(orders, n, k, CANCELED, _IOC if o.tif == IOC else _FOK)
            elif fills_at(sure_bottom if at == met else close, limit, rules):
                where, after = AT_LIMIT, CLOSE
            elif fills_at(bottom, limit, rules):
                match.unsure = 1
    else:
        takes = after == CLOSE and at <= limit
        if fills_at(sure_bottom, limit, rules):
            # a limit that starts beyond the market has no better claim than its price, nor a worse one than the bar
            px, where = min(limit, top), AT_LIMIT
            leg = _STILL if at < limit else -side
        elif fills_at(bottom, limit, rules):
            match.unsure = 1
    if takes and o.flags & POST_ONLY:
        end(orders, n, k, REJECTED, _POST_ONLY)
    elif where != _NOWHERE:
        _fill(orders, n, k, side * px, _leaves(o, match), where, after, leg, bar, inst, rules, match, fills)


@uncounted
def _work_children(
    orders: Any, n: int, parent: Any, proven: bool, bar: Any, inst: Any, rules: Any, match: Any, fills: Any
) -> None:
    """Work the children woken by a fill within the bar, seeing only prices certain to come after it."""
    now = parent.raw_px
    low, high = min(now, bar.close), max(now, bar.close)
    if proven and parent.after == EXTREME:
        rising = (parent.where == AT_STOP) == (parent.side > 0)
        low, high = (low, bar.high) if rising else (bar.low, high)
    k = next_child(orders, n, parent.order, now, bar, inst)
    while k >= 0:
        if _arrive(orders, n, k, now, bar, inst, match):
            _within(orders, n, k, now, low, high, CLOSE, bar, inst, rules, match, fills)
            if is_live(orders[k]):
                _trail(orders[k], high, low, inst)
        k = next_child(orders, n, parent.order, now, bar, inst)


@uncounted
def _fill(
    orders: Any,
    n: int,
    k: int,
    raw_px: float,
    lots: int,
    where: int,
    after: int,
    leg: int,
    bar: Any,
    inst: Any,
    rules: Any,
    match: Any,
    fills: Any,
) -> None:
    """Book a fill; `leg` is the direction in which the price moved to it, 0 when it was there already."""
    o = orders[k]
    px = raw_px if has_limit(o) else slipped(raw_px, o.side, rules)
    row = fills[match.fills]
    row.order = o.order
    row.ts = bar.ts_open if after == ALL else bar.ts_close
    row.px = px
    row.raw_px = raw_px
    row.qty_lots = lots
    row.instrument = o.instrument
    row.side = o.side
    row.where = where
    row.maker = 1 if where == AT_LIMIT else 0
    row.after = after
    match.fills += 1

    leaves = o.qty_lots - o.filled_lots
    if lots < leaves and ((leg > 0 and match.fell) or (leg < 0 and match.rose)):
        match.unsure = 1  # clipped by what filled on the other leg, which may have come later
    if leg > 0:
        match.rose = 1
    elif leg < 0:
        match.fell = 1
    o.avg_px = px if o.filled_lots == 0 else (o.avg_px * o.filled_lots + px * lots) / (o.filled_lots + lots)
    o.filled_lots += lots
    held = match.position_lots
    match.position_lots = held + o.side * lots
    if lots == leaves or (o.flags & REDUCE_ONLY and match.position_lots == 0):
        end(orders, n, k, FILLED, _NONE)
    else:
        o.state = PARTIAL

    flat = held != 0 and (match.position_lots == 0 or (held > 0) != (match.position_lots > 0))
    if o.flags & OCO == 0 and not flat:
        return
    for c in range(n):
        other = orders[c]
        reason = _NONE
        if is_live(other) and are_rivals(o, other):
            reason = _OCO
        elif flat and other.state != PENDING and takes_part(other, bar) and _is_spent(other, match):
            reason = _REDUCE_ONLY
        if reason != _NONE:
            if leg != 0 and leg_of(other, bar, inst, rules) == -leg:
                match.unsure = 1
            end(orders, n, c, CANCELED, reason)


@uncounted
def _arrive(orders: Any, n: int, k: int, now: float, bar: Any, inst: Any, match: Any) -> bool:
    """Make a pending order an open one at price `now`; False when a reduce-only order finds nothing to reduce."""
    o = orders[k]
    if _is_spent(o, match):
        new = o.state == PENDING and o.filled_lots == 0
        end(orders, n, k, REJECTED if new else CANCELED, _REDUCE_ONLY)
        return False
    if o.state == PENDING:
        o.state = OPEN if o.filled_lots == 0 else PARTIAL
        if o.tif == DAY and o.expire_ts == 0:
            o.expire_ts = (bar.ts_open // DAY_NS + 1) * DAY_NS
        if o.type == TRAILING_STOP and o.stop_ticks == 0:
            if o.side > 0:
                o.stop_ticks = ticks_above(now, inst) + o.trigger_ticks
            else:
                o.stop_ticks = max(1, ticks_below(now, inst) - o.trigger_ticks)
    return True


@uncounted
def _trail(o: Any, high: float, low: float, inst: Any) -> None:
    """Move an armed trailing stop behind an extreme; it never moves away from the market."""
    if o.type != TRAILING_STOP or o.triggered != 0:
        return
    if o.side > 0:
        o.stop_ticks = min(o.stop_ticks, ticks_above(low, inst) + o.trigger_ticks)
    else:
        o.stop_ticks = max(o.stop_ticks, ticks_below(high, inst) - o.trigger_ticks)


@uncounted
def _is_spent(o: Any, match: Any) -> bool:
    """Say whether a reduce-only order has nothing to reduce."""
    return o.flags & REDUCE_ONLY != 0 and closable(match.position_lots, o.side) == 0


@uncounted
def _leaves(o: Any, match: Any) -> int:
    """Return the lots still to fill, clipped to the position for a reduce-only order."""
    lots = o.qty_lots - o.filled_lots
    return min(lots, closable(match.position_lots, o.side)) if o.flags & REDUCE_ONLY else lots

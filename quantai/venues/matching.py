"""What one market row does to our resting orders: prints at and through their price, levels that move, crosses."""

from typing import Any

import numpy as np

from quantai.core.compiled import uncounted, uncounted_inlined
from quantai.core.hints import apart, rarely
from quantai.core.instruments import INSTRUMENT
from quantai.core.memory import int64s, pasted, rows_at
from quantai.core.rows import REDUCE_ONLY, Kind, Reason
from quantai.venues.book import DEPTH
from quantai.venues.queue import on_level, on_print
from quantai.venues.reporting import own_of, report, rules_of
from quantai.venues.stops import follow
from quantai.venues.wire import NEVER, RESTING

_TRADE, _LEVEL, _CLEAR, _QUOTE = int(Kind.TRADE), int(Kind.LEVEL), int(Kind.CLEAR), int(Kind.QUOTE)
FILL, CANCELED = int64s(Kind.FILL, Kind.CANCELED)
_REDUCE_ONLY, _ZERO, _MAKER = int64s(Reason.REDUCE_ONLY, 0, 1)
_FAR = 2**62


@pasted
def resting_of(x: Any) -> Any:
    """The orders at the exchange, the oldest first."""
    return rows_at(x.at_resting, x.max_orders, RESTING)


@pasted
def insts_of(x: Any) -> Any:
    """The INSTRUMENT rows."""
    return rows_at(x.at_insts, x.n_instruments, INSTRUMENT)


@pasted
def to_lots(d: Any, qty: float) -> float:
    """Return a quantity (units) in lots, exact where it is on the grid to 1e-9 of a lot."""
    exact = qty * d.per_unit
    near = np.rint(exact)
    return near if abs(exact - near) <= 1e-9 * max(1.0, abs(near)) else exact


@uncounted_inlined
def fill(x: Any, o: Any, lots: int, px: int, ts: int, maker: int) -> None:
    """Execute `lots` of an order at `px`; a reduce-only order never trades more than the position it closes."""
    own = own_of(x)[o.instrument]
    if rarely(o.flags & REDUCE_ONLY != 0):
        lots = min(lots, max(0, -o.side * own.lots))
        if lots == 0:
            end(x, o, ts, CANCELED, _REDUCE_ONLY)
            return
    o.open -= lots
    o.filled += lots
    own.lots += o.side * lots
    report(x, ts, o.order, o.instrument, o.side, FILL, lots, px, o.open, maker, _ZERO)


@uncounted_inlined
def end(x: Any, o: Any, ts: int, kind: int, reason: int) -> None:
    """End an order with what it has; it leaves the table at the next `compact`."""
    left = o.open
    o.open = 0
    report(x, ts, o.order, o.instrument, o.side, kind, _ZERO, o.px, left, _ZERO, reason)


@uncounted_inlined
def compact(x: Any) -> None:
    """Drop ended orders and measure the next expiry and, in a market of its own, the prices of those that are left."""
    rows = resting_of(x)
    n = stops = 0
    x.next_expiry = NEVER
    for k in range(x.n_orders):
        if rows[k].open <= 0:
            continue
        if n < k:
            rows[n] = rows[k]
        o = rows[n]
        n += 1
        stops += o.stop != 0
        if o.expire > 0:
            x.next_expiry = min(x.next_expiry, o.expire)
    x.n_orders, x.n_stops = n, stops
    if x.at_tile_x == 0:  # in a shared market an order knows itself which rows reach it
        measure(x)


@uncounted_inlined
def drop(x: Any, k: int) -> None:
    """Do what `compact` does where order `k` alone has ended."""
    rows = resting_of(x)
    o = rows[k]
    if rarely(o.stop != 0 or o.expire > 0):
        compact(x)
        return
    x.n_orders -= 1
    for n in range(k, x.n_orders):
        rows[n] = rows[n + 1]
    if x.at_tile_x == 0:
        measure(x)


@uncounted
def measure(x: Any) -> None:
    """Measure the ranges of prices that our orders stand at."""
    rows, own = resting_of(x), own_of(x)
    for i in range(x.n_instruments):
        w = own[i]
        w.buy_lo, w.buy_hi, w.sell_lo, w.sell_hi = _FAR, -_FAR, _FAR, -_FAR
    for k in range(x.n_orders):
        o = rows[k]
        if o.stop != 0:
            w = own[o.instrument]
            w.buy_lo, w.buy_hi = -_FAR, _FAR  # every print concerns it
        else:
            include(own[o.instrument], o)


@uncounted_inlined
def include(w: Any, o: Any) -> None:
    """Take the price of an order into the range of its side."""
    if o.side > 0:
        w.buy_lo, w.buy_hi = min(w.buy_lo, o.px), max(w.buy_hi, o.px)
    else:
        w.sell_lo, w.sell_hi = min(w.sell_lo, o.px), max(w.sell_hi, o.px)


@uncounted_inlined
def widen(x: Any, o: Any) -> None:
    """Take an order that has come to rest into the next expiry and, in a market of its own, the ranges of prices."""
    if x.at_tile_x == 0:
        include(own_of(x)[o.instrument], o)
    if o.expire > 0:
        x.next_expiry = min(x.next_expiry, o.expire)


@uncounted
def match(x: Any, k: int, instrument: int, side: int, p: int, qty: float, ts: int) -> bool:
    """Let one market row (its kind, price in ticks, …) meet our orders, the oldest first; returns whether any ended."""
    apart()
    depth, rules, rows = depth_of(x)[instrument], rules_of(x)[instrument], resting_of(x)
    if k == _CLEAR:
        forget(x, instrument, side)
        return False
    if k == _QUOTE and depth.quotes == 0:
        return False
    ended = False
    if k == _TRADE:
        lots = to_lots(depth, qty)
        rest = lots
        for n in range(x.n_orders):
            o = rows[n]
            if o.instrument != instrument:
                continue
            if o.stop != 0:
                ended = follow(x, o, p, ts) or ended
            elif o.side == side:
                continue
            elif o.px == p:
                past = on_print(rules.queue, o, rest, lots)
                if past > 0:
                    rest -= min(past, o.open)
                    fill(x, o, min(past, o.open) if rules.partial else o.open, o.px, ts, _MAKER)
            elif (o.px - p) * o.side > 0:
                fill(x, o, o.open, o.px, ts, _MAKER)
            ended = ended or o.open == 0
    elif k in (_LEVEL, _QUOTE):
        alive = qty >= depth.half
        for n in range(x.n_orders):
            o = rows[n]
            if o.instrument != instrument or o.stop != 0:
                continue
            if o.side == side:
                if o.px == p:
                    on_level(rules.queue, rules.power, o, to_lots(depth, qty) if alive else 0.0)
            elif alive and (o.px - p) * o.side >= 0:
                fill(x, o, o.open, o.px, ts, _MAKER)
                ended = True
    if ended:
        compact(x)
    return ended


@uncounted
def forget(x: Any, instrument: int, side: int) -> None:
    """After CLEAR nobody knows a level: those of our orders show nothing until they are told again."""
    rows = resting_of(x)
    for n in range(x.n_orders):
        o = rows[n]
        if o.instrument == instrument and (side == 0 or side == o.side):
            o.level = 0.0
            o.printed = 0.0


@uncounted
def expire(x: Any, ts: int, kind: int, reason: int) -> None:
    """End every order whose time has come."""
    rows = resting_of(x)
    for n in range(x.n_orders):
        o = rows[n]
        if o.expire > 0 and o.expire <= ts:
            end(x, o, ts, kind, reason)
    compact(x)


@pasted
def depth_of(x: Any) -> Any:
    """The DEPTH rows as received; half lots and the kind of book are the same on both sides."""
    return rows_at(x.at_depth, x.n_instruments, DEPTH)

"""What the exchange does with a request of ours: take what is there, rest, cancel, replace, or refuse."""

from typing import Any

import numpy as np

from quantai.core.compiled import uncounted, uncounted_inlined
from quantai.core.hints import apart, rarely, usually
from quantai.core.memory import int64s, rows_at
from quantai.core.rows import POST_ONLY, REDUCE_ONLY, TIF, Action, Kind, OrderType, Reason
from quantai.venues.book import DEPTH, F8, I8, cell_of, next_ask, next_bid
from quantai.venues.matching import (
    compact,
    drop,
    end,
    fill,
    insts_of,
    own_of,
    report,
    resting_of,
    rules_of,
    to_lots,
    widen,
)
from quantai.venues.queue import join
from quantai.venues.rules import CANCEL_NEWEST, CANCEL_OLDEST
from quantai.venues.stops import FAR, STOP, STOP_LIMIT, TRAILING, WAKE, wake
from quantai.venues.wire import RESTING

_NEW = int(Action.NEW)
_MARKET, _LIMIT = int(OrderType.MARKET), int(OrderType.LIMIT)
_GTC, _IOC, _FOK, _GTD = int(TIF.GTC), int(TIF.IOC), int(TIF.FOK), int(TIF.GTD)
_ACK, _REJECT, _CANCELED, _EXPIRED = int64s(Kind.ACK, Kind.REJECT, Kind.CANCELED, Kind.EXPIRED)
_REPLACED, _CANCEL_REJECT, _REPLACE_REJECT = int64s(Kind.REPLACED, Kind.CANCEL_REJECT, Kind.REPLACE_REJECT)
_BY_USER, _R_POST, _R_IOC, _R_FOK = int64s(Reason.BY_USER, Reason.POST_ONLY, Reason.IOC, Reason.FOK)
_R_GTD, _BAD_QTY, _NOT_A_PRICE = int64s(Reason.GTD, Reason.BAD_QTY, Reason.NOT_A_PRICE)
_TOO_MANY, _SELF, _R_REDUCE = int64s(Reason.TOO_MANY, Reason.SELF_TRADE, Reason.REDUCE_ONLY)
_ZERO, _TAKER, _SILENT = int64s(0, 0, 0)
_ANY_BUY, _ANY_SELL = 2**60, -(2**60)
_DONE, _WOULD_TAKE = int64s(-1, -2)
"""What has become of a request that leaves no order to come to rest: it is dealt with, or it would take and may not."""


@uncounted_inlined
def answer(x: Any, q: Any, at_depth: int, at_cells: int, may_take: bool, joins: bool) -> bool:
    """Process one request for an order on the given book; True, with nothing done, when it would take and may not.

    Unless it `joins`, its place in the queue is for the caller to find.
    """
    accepted = seat_other(x, q, at_depth, may_take) if rarely(q.action != _NEW) else seat(x, q, at_depth)
    if rarely(accepted < 0):
        return accepted == _WOULD_TAKE
    return enter(x, resting_of(x)[x.n_orders], q.at, accepted, at_depth, at_cells, may_take, joins)


@uncounted_inlined
def place_among(x: Any, order: int) -> int:
    """Return the place of an order among those at the exchange; their number when it is not there."""
    rows, k = resting_of(x), 0
    while k < x.n_orders and rows[k].order != order:
        k += 1
    return k


@uncounted_inlined
def cancel(x: Any, q: Any) -> None:
    """End the order that a request asks to cancel."""
    k = place_among(x, q.order)
    if k == x.n_orders:
        refuse(x, q, _CANCEL_REJECT, _ZERO, _ZERO)
        return
    end(x, resting_of(x)[k], q.at, _CANCELED, _BY_USER)
    drop(x, k)


@uncounted_inlined
def seat(x: Any, q: Any, at_depth: int) -> int:
    """Write a new order behind the last one; returns the Kind to report once it rests, or _DONE."""
    reason = refusal(x, q)
    if rarely(reason > 0):
        refuse(x, q, _EXPIRED if reason == _R_GTD else _REJECT, q.lots, reason)
        return _DONE
    if rarely(x.n_orders == x.max_orders):
        refuse(x, q, _REJECT, q.lots, _TOO_MANY)
        return _DONE
    o = resting_of(x)[x.n_orders]
    o.order, o.instrument, o.side, o.px = q.order, q.instrument, q.side, q.px
    o.open, o.filled, o.expire = q.lots, 0, q.expire if q.tif == _GTD else 0
    o.type, o.tif, o.flags = q.type, q.tif, q.flags
    o.stop = o.trail = 0
    if rarely(q.type >= STOP):
        wait(x, o, q, rows_at(at_depth, x.n_instruments, DEPTH)[q.instrument].last)
        return _DONE
    return _ACK


@uncounted
def seat_other(x: Any, q: Any, at_depth: int, may_take: bool) -> int:
    """Do what `seat` does for a stop that has woken or an order that is changed; may return _WOULD_TAKE, too."""
    apart()
    return seat_woken(x, q) if q.action == WAKE else change(x, q, at_depth, may_take)


@uncounted
def change(x: Any, q: Any, at_depth: int, may_take: bool) -> int:
    """Change an order in its place (_DONE), or write it behind the last one to arrive anew, unless _WOULD_TAKE."""
    k = place_among(x, q.order)
    if k == x.n_orders:
        refuse(x, q, _REPLACE_REJECT, _ZERO, _ZERO)
        return _DONE
    o = resting_of(x)[k]
    left = q.lots if rules_of(x)[q.instrument].replace_open else q.lots - o.filled
    px = q.px if q.px > 0 else o.px
    if q.lots == 0:
        left = o.open
    if q.lots > 0 and left > 0 and is_bad_qty(insts_of(x)[o.instrument], left + o.filled):
        refuse(x, q, _REPLACE_REJECT, _ZERO, _BAD_QTY)
        return _DONE
    if left <= 0:
        end(x, o, q.at, _CANCELED, _BY_USER)
        compact(x)
    elif o.stop != 0:
        o.open = left
        o.px = px if o.type == STOP_LIMIT else 0
        if q.trigger > 0 and o.trail > 0:
            o.trail = q.trigger
        elif q.trigger > 0:
            o.stop = q.trigger
        wakes_at = o.trail if o.trail > 0 else o.stop
        report(x, q.at, o.order, o.instrument, o.side, _REPLACED, wakes_at, px, left, _ZERO, _ZERO)
        judge(x, o, q.at, rows_at(at_depth, x.n_instruments, DEPTH)[q.instrument].last)
    elif px == o.px and left <= o.open:
        o.open = left
        report(x, q.at, o.order, o.instrument, o.side, _REPLACED, _ZERO, px, left, _ZERO, _ZERO)
    else:
        # it leaves its place and arrives anew, at the end of the table
        takes = o.flags & POST_ONLY == 0 and rules_of(x)[o.instrument].partial
        if takes and not may_take and crosses(px, o.side, rows_at(at_depth, x.n_instruments, DEPTH)[o.instrument]):
            return _WOULD_TAKE
        move_last(x, k)
        o = resting_of(x)[x.n_orders]
        o.px, o.open = px, left
        return _REPLACED
    return _DONE


@uncounted
def refuse(x: Any, q: Any, kind: int, left: int, reason: int) -> None:
    """Report that a request is not done, or that its order is none any more."""
    apart()
    report(x, q.at, q.order, q.instrument, q.side, kind, _ZERO, q.px, left, _ZERO, reason)


@uncounted_inlined
def is_bad_qty(inst: Any, lots: int) -> bool:
    """Say whether an order of so many lots is smaller or larger than the instrument allows."""
    return lots < inst.min_qty_lots or (inst.max_qty_lots > 0 and lots > inst.max_qty_lots)


@uncounted_inlined
def refusal(x: Any, q: Any) -> int:
    """Return why an order can never be one here (a Reason), or 0."""
    inst = insts_of(x)[q.instrument]
    if q.lots < 1 or is_bad_qty(inst, q.lots):
        return _BAD_QTY
    if (q.type == _LIMIT or q.type == STOP_LIMIT) and q.px < 1:
        return _NOT_A_PRICE
    if usually(q.type == _LIMIT and q.tif != _GTD and q.flags & REDUCE_ONLY == 0):
        return 0  # nothing else is asked of most
    if q.type < _MARKET or q.type > TRAILING or (q.type >= STOP and q.trigger < 1):
        return _NOT_A_PRICE
    if q.flags & POST_ONLY and q.type != _LIMIT and q.type != STOP_LIMIT:
        return _R_POST
    if q.flags & REDUCE_ONLY and q.type < STOP and -q.side * own_of(x)[q.instrument].lots <= 0:
        return _R_REDUCE
    if q.tif == _GTD and q.expire <= q.at:
        return _R_GTD
    return 0


@uncounted
def wait(x: Any, o: Any, q: Any, last: float) -> None:
    """Let the order behind the last one wait as a stop; it wakes at once when the last print has reached it."""
    apart()
    o.front = o.level = o.printed = 0.0
    if q.type == TRAILING:
        o.trail, o.px = q.trigger, 0
        o.stop = q.px if q.px > 0 else o.side * FAR
        if last > 0.0:
            px = last_ticks(x, o.instrument, last)
            o.stop = min(o.stop, px + o.trail) if o.side > 0 else max(o.stop, px - o.trail)
            o.stop = o.stop if o.stop != 0 else -1
    else:
        o.stop = q.trigger
    report(x, q.at, q.order, q.instrument, q.side, _ACK, _ZERO, o.px, o.open, _ZERO, _ZERO)
    x.n_orders += 1
    judge(x, o, q.at, last)


@uncounted
def judge(x: Any, o: Any, ts: int, last: float) -> None:
    """Wake a stop that the last print has reached already, and measure what is left."""
    if last > 0.0 and (last_ticks(x, o.instrument, last) - o.stop) * o.side >= 0:
        wake(x, o, ts)
    compact(x)


@uncounted
def last_ticks(x: Any, instrument: int, last: float) -> int:
    """Return a print's price in ticks."""
    inst = insts_of(x)[instrument]
    return int(np.rint(last * inst.tick_den / inst.tick_num))


@uncounted
def seat_woken(x: Any, q: Any) -> int:
    """Write a stop that has woken behind the last order; what it may not do any more ends it (_DONE)."""
    if q.flags & REDUCE_ONLY and -q.side * own_of(x)[q.instrument].lots <= 0:
        refuse(x, q, _CANCELED, q.lots, _R_REDUCE)
        return _DONE
    if x.n_orders == x.max_orders:
        refuse(x, q, _CANCELED, q.lots, _TOO_MANY)
        return _DONE
    o = resting_of(x)[x.n_orders]
    o.order, o.instrument, o.side, o.px = q.order, q.instrument, q.side, q.px
    o.open, o.filled, o.expire = q.lots, 0, q.expire
    o.type, o.tif, o.flags = q.type, q.tif, q.flags
    o.stop = o.trail = 0
    return _SILENT


@uncounted_inlined
def crosses(px: int, side: int, d: Any) -> bool:
    """Say whether an order at `px` meets the other side of the book."""
    if side > 0:
        return d.ask <= d.hi and px >= d.ask
    return d.bid >= d.lo and px <= d.bid


@uncounted_inlined
def enter(x: Any, o: Any, ts: int, accepted: int, at_depth: int, at_cells: int, may_take: bool, joins: bool) -> bool:
    """Let the order behind the last one trade or rest; True, with nothing done, if it would take and may not."""
    depth, cells = rows_at(at_depth, x.n_instruments, DEPTH), rows_at(at_cells, x.n_cells, F8)
    d, rules = depth[o.instrument], rules_of(x)[o.instrument]
    limit = o.px
    if o.type == _MARKET:
        limit = _ANY_BUY if o.side > 0 else _ANY_SELL
    if rarely(rules.self_trade != 0):
        if not prevent(x, o, limit, ts, rules.self_trade):
            return False
        o = resting_of(x)[x.n_orders]  # orders before it may have left
    if rarely(crosses(limit, o.side, d)):
        met = cross(x, o, limit, ts, at_depth, at_cells, may_take)
        if met < 0:
            return met == _WOULD_TAKE
    if rarely(o.type == _MARKET or o.tif == _IOC or o.tif == _FOK):
        end(x, o, ts, _EXPIRED, _R_FOK if o.tif == _FOK else _R_IOC)
        return False
    if accepted != _SILENT and (o.filled == 0 or accepted != _ACK):
        report(x, ts, o.order, o.instrument, o.side, accepted, _ZERO, o.px, o.open, _ZERO, _ZERO)
    if joins:
        join(rules.queue, o, to_lots(d, cells[cell_of(d, rows_at(x.at_keys, x.n_cells, I8), o.side, o.px)]))
    x.n_orders += 1
    widen(x, o)
    return False


@uncounted
def cross(x: Any, o: Any, limit: int, ts: int, at_depth: int, at_cells: int, may_take: bool) -> int:
    """Let an arriving order meet the other side; returns _DONE, _WOULD_TAKE, or 0 when something is left of it."""
    apart()
    cells, keys = rows_at(at_cells, x.n_cells, F8), rows_at(x.at_keys, x.n_cells, I8)
    d, rules = rows_at(at_depth, x.n_instruments, DEPTH)[o.instrument], rules_of(x)[o.instrument]
    if o.flags & POST_ONLY:
        end(x, o, ts, _EXPIRED, _R_POST)
        return _DONE
    if rules.partial == 0:
        fill(x, o, o.open, d.ask if o.side > 0 else d.bid, ts, _TAKER)
        if o.open > 0:
            end(x, o, ts, _CANCELED, _R_REDUCE)  # the position was smaller than the order
        return _DONE
    if not may_take:
        return _WOULD_TAKE
    x.consumed = 1
    if o.tif == _FOK and not covers(d, cells, keys, o, limit):
        end(x, o, ts, _EXPIRED, _R_FOK)
        return _DONE
    if o.flags & REDUCE_ONLY:
        o.open = min(o.open, max(0, -o.side * own_of(x)[o.instrument].lots))
        if o.open == 0:
            end(x, o, ts, _CANCELED, _R_REDUCE)
            return _DONE
    walk(x, d, cells, keys, insts_of(x)[o.instrument], o, limit, ts)
    return _DONE if o.open == 0 else 0


@uncounted
def prevent(x: Any, o: Any, limit: int, ts: int, mode: int) -> bool:
    """Keep an arriving order from trading with ours; False when it was the one to go."""
    apart()
    rows, clean = resting_of(x), True
    for k in range(x.n_orders):
        other = rows[k]
        meets = other.instrument == o.instrument and other.side != o.side and (limit - other.px) * o.side >= 0
        if meets and other.open > 0 and other.stop == 0:
            if mode == CANCEL_NEWEST:
                end(x, o, ts, _EXPIRED, _SELF)
                return False
            if mode == CANCEL_OLDEST:
                end(x, other, ts, _CANCELED, _SELF)
                clean = False
    if not clean:
        move_last(x, x.n_orders)
    return True


@uncounted
def move_last(x: Any, k: int) -> None:
    """Drop ended orders and order `k`, which is then written behind the last one left."""
    rows = rows_at(x.at_resting, x.max_orders + 1, RESTING)
    rows[x.max_orders] = rows[k]
    rows[k].open = 0
    compact(x)
    rows[x.n_orders] = rows[x.max_orders]


@uncounted
def covers(d: Any, cells: Any, keys: Any, o: Any, limit: int) -> bool:
    """Say whether the visible book up to `limit` has all that is open of an order."""
    found, px = 0, d.ask if o.side > 0 else d.bid
    while d.lo <= px and px <= d.hi and (limit - px) * o.side >= 0:
        found += int(np.floor(to_lots(d, cells[cell_of(d, keys, -o.side, px)])))
        if found >= o.open:
            return True
        px = step(d, cells, keys, o.side, px)
    return False


@uncounted
def step(d: Any, cells: Any, keys: Any, side: int, px: int) -> int:
    """Return the next level behind `px` that a taker of `side` meets."""
    if side > 0:
        return next_ask(d, cells, keys, px + 1) if px < d.hi else d.hi + 1
    return next_bid(d, cells, keys, px - 1) if px > d.lo else d.lo - 1


@uncounted
def walk(x: Any, d: Any, cells: Any, keys: Any, inst: Any, o: Any, limit: int, ts: int) -> None:
    """Take from level after level; what was taken stays gone until the venue shows the level anew."""
    rows = resting_of(x)
    px = d.ask if o.side > 0 else d.bid
    while o.open > 0 and d.lo <= px and px <= d.hi and (limit - px) * o.side >= 0:
        cell = cell_of(d, keys, -o.side, px)
        there = to_lots(d, cells[cell])
        lots = min(o.open, int(np.floor(there)))
        left = there - lots
        cells[cell] = left * inst.lot_num / inst.lot_den
        if lots > 0:
            fill(x, o, lots, px, ts, _TAKER)
            for k in range(x.n_orders):
                other = rows[k]  # a stop that waits has no place in a queue
                if other.instrument == o.instrument and other.side == -o.side and other.px == px and other.stop == 0:
                    other.level = left
        if left >= 0.5:
            break
        px = step(d, cells, keys, o.side, px)
    if o.side > 0:
        d.ask = px
    else:
        d.bid = px

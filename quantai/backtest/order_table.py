"""The table of orders of a run on bars: how an order enters it, ends, wakes its children and stops its rivals.

A table is an array of ORDER rows. A slot whose state is FREE holds nothing; a slot whose state is FILLED or later is
kept until its owner has read it and sets it to FREE. Order numbers decide who came first; the position in the array
decides nothing.
"""

from typing import Any, cast

import numpy as np

from quantai.core.compiled import uncounted
from quantai.core.rows import CHILD, OCO, POST_ONLY, TIF, Action, OrderState, OrderType, Reason


def int64s(*values: int) -> tuple[int, ...]:
    """Return numbers as numpy integers: numba compiles a callee again for each plain literal it is called with."""
    return cast("tuple[int, ...]", tuple(np.int64(value) for value in values))


FREE, WAITING, PENDING, OPEN, PARTIAL, FILLED, CANCELED, REJECTED, EXPIRED = int64s(*OrderState)
MARKET, LIMIT, STOP, STOP_LIMIT, TRAILING_STOP = int64s(*OrderType)
GTC, IOC, FOK, GTD, DAY = int64s(*TIF)
_NEW, _CANCEL, _REPLACE = int64s(Action.NEW, Action.CANCEL, Action.REPLACE)
_NONE, _BY_USER, _POST_ONLY, _OCO = int64s(Reason.NONE, Reason.BY_USER, Reason.POST_ONLY, Reason.OCO)
_GTD, _PARENT, _BAD_QTY, _NOT_A_PRICE = int64s(Reason.GTD, Reason.PARENT, Reason.BAD_QTY, Reason.NOT_A_PRICE)
_UNSETTLED = 1 << 15  # ORDER.flags: ended, and `settle` has not yet seen it
_EXACT = 2**53  # beyond it ticks * tick_num is no longer an exact float64


@uncounted
def is_live(order: Any) -> bool:
    """Say whether an order may still trade: waiting, pending, open or partially filled."""
    return order.state >= WAITING and order.state <= PARTIAL


@uncounted
def find(orders: Any, n_orders: int, number: int) -> int:
    """Return the slot that holds order `number`, or -1."""
    for k in range(n_orders):
        if orders[k].order == number and orders[k].state != FREE:
            return k
    return -1


@uncounted
def place(orders: Any, n_orders: int, intent: Any, inst: Any, ts: int) -> int:
    """Apply one NEW, CANCEL or REPLACE intent decided at instant `ts` (ns) and return the slot concerned, or -1.

    `n_orders` is one more than the highest slot ever used; after a NEW the caller keeps `max(n_orders, slot + 1)`. NEW
    takes the first free slot. What can never be an order becomes a REJECTED row whose reason says why: BAD_QTY (less
    than one lot, or outside the instrument's limits), NOT_A_PRICE (no positive limit, trigger or distance where the
    type needs one), POST_ONLY (on an order that has no limit), GTD (expires before it could work), PARENT (a child of
    nothing, of a later order, of one that ended unfilled, or of an order in another instrument). A child sleeps as
    WAITING; everything else is PENDING until its first bar. A trailing stop takes its first stop from `px_ticks`, or,
    when that is 0, from the open of its first bar. CANCEL ends a live order (BY_USER). REPLACE gives a live order new
    terms: zero in `px_ticks`, `trigger_ticks`, `qty_lots` or `expire_ts` keeps the old value, `qty_lots` is the new
    total, and a total already filled cancels the rest. A replaced order is PENDING again: it arrives anew at the next
    open. Returns -1 when the table is full, when no live order has that number, or when the new terms of a REPLACE are
    refused; the order then stands as it was. TARGET is no order until its size is known: the caller makes a market
    order of it.

    >>> from quantai.core.instruments import Instrument
    >>> from quantai.core.rows import INTENT, ORDER, zeros
    >>> table, intent, inst = zeros(64, ORDER), zeros(1, INTENT), Instrument.parse("SPY").row()
    >>> intent["order"], intent["action"], intent["type"], intent["side"] = 1, _NEW, LIMIT, 1
    >>> intent["qty_lots"] = 100
    >>> slot = place(table, 0, intent[0], inst[0], 0)
    >>> slot, OrderState(table["state"][slot]).name, Reason(table["reason"][slot]).name
    (0, 'REJECTED', 'NOT_A_PRICE')
    """
    if intent.action == _NEW:
        return _enter(orders, n_orders, intent, inst, ts)
    k = find(orders, n_orders, intent.order)
    if k < 0 or not is_live(orders[k]):
        return -1
    if intent.action == _CANCEL:
        end(orders, n_orders, k, CANCELED, _BY_USER)
        settle(orders, n_orders)
        return k
    if intent.action == _REPLACE:
        return _amend(orders, n_orders, k, intent, inst, ts)
    return -1


@uncounted
def _enter(orders: Any, n_orders: int, intent: Any, inst: Any, ts: int) -> int:
    k = 0
    while k < orders.shape[0] and orders[k].state != FREE:
        k += 1
    if k == orders.shape[0]:
        return -1
    o = orders[k]
    o.order = intent.order
    o.seq = intent.seq
    o.ts = ts
    o.px_ticks = intent.px_ticks
    o.trigger_ticks = intent.trigger_ticks
    o.stop_ticks = intent.px_ticks if intent.type == TRAILING_STOP else 0
    o.qty_lots = intent.qty_lots
    o.filled_lots = 0
    o.expire_ts = intent.expire_ts
    o.avg_px = 0.0
    o.instrument = intent.instrument
    o.link = intent.link
    o.flags = intent.flags
    o.type = intent.type
    o.tif = intent.tif
    o.side = intent.side
    o.triggered = 0
    o.state = PENDING
    o.reason = _refusal(o, inst, ts)
    if o.reason == _NONE and o.flags & CHILD:
        parent = find(orders, n_orders, o.link)
        if parent < 0 or orders[parent].instrument != o.instrument or o.link >= o.order:
            o.reason = _PARENT
        elif is_live(orders[parent]):
            o.state = WAITING
        elif orders[parent].filled_lots > 0:
            o.qty_lots = min(o.qty_lots, orders[parent].filled_lots)
        else:
            o.reason = _PARENT
    if o.reason != _NONE:
        o.state = REJECTED
    return k


@uncounted
def _amend(orders: Any, n_orders: int, k: int, intent: Any, inst: Any, ts: int) -> int:
    o = orders[k]
    px, trigger, qty, expire = o.px_ticks, o.trigger_ticks, o.qty_lots, o.expire_ts
    o.px_ticks = intent.px_ticks if intent.px_ticks != 0 else px
    o.trigger_ticks = intent.trigger_ticks if intent.trigger_ticks != 0 else trigger
    o.qty_lots = intent.qty_lots if intent.qty_lots != 0 else qty
    o.expire_ts = intent.expire_ts if intent.expire_ts != 0 else expire
    if _refusal(o, inst, ts) != _NONE:
        o.px_ticks, o.trigger_ticks, o.qty_lots, o.expire_ts = px, trigger, qty, expire
        return -1
    if o.qty_lots <= o.filled_lots:
        o.qty_lots = qty
        end(orders, n_orders, k, CANCELED, _BY_USER)
        settle(orders, n_orders)
        return k
    if o.type == TRAILING_STOP and o.px_ticks != px:
        o.stop_ticks = o.px_ticks
    o.ts = ts
    if o.state != WAITING:
        o.state = PENDING
    return k


@uncounted
def _refusal(o: Any, inst: Any, ts: int) -> int:
    if o.qty_lots < 1 or o.qty_lots < inst.min_qty_lots or (inst.max_qty_lots > 0 and o.qty_lots > inst.max_qty_lots):
        return _BAD_QTY
    limited = o.type == LIMIT or o.type == STOP_LIMIT
    most = _EXACT // inst.tick_num
    if limited and not (o.px_ticks > 0 and o.px_ticks <= most):
        return _NOT_A_PRICE
    if o.type >= STOP and not (o.trigger_ticks > 0 and o.trigger_ticks <= most):
        return _NOT_A_PRICE
    if o.type == TRAILING_STOP and not (o.px_ticks >= 0 and o.px_ticks <= most):
        return _NOT_A_PRICE
    if o.flags & POST_ONLY and not limited:
        return _POST_ONLY
    if o.tif == GTD and o.expire_ts <= ts:
        return _GTD
    return _NONE


@uncounted
def end(orders: Any, n_orders: int, k: int, state: int, reason: int) -> None:
    """End order `k`. When it traded, its children wake; `settle` then ends what hangs on it."""
    orders[k].state = state
    orders[k].reason = reason
    orders[k].flags |= _UNSETTLED
    if orders[k].filled_lots > 0:
        wake(orders, n_orders, k)


@uncounted
def wake(orders: Any, n_orders: int, k: int) -> None:
    """Make the waiting children of order `k` PENDING, none larger than what `k` filled."""
    for c in range(n_orders):
        child = orders[c]
        if child.state == WAITING and child.link == orders[k].order:
            child.state = PENDING
            child.qty_lots = min(child.qty_lots, orders[k].filled_lots)


@uncounted
def settle(orders: Any, n_orders: int) -> None:
    """Cancel what hangs on the orders that ended since the last call: rivals (OCO) and orphaned children (PARENT).

    By order number, so that a parent's end comes before its children's. A rejected order never stood in the market, so
    it takes no rival with it.
    """
    k = _next_unsettled(orders, n_orders)
    while k >= 0:
        done = orders[k]
        done.flags &= ~_UNSETTLED
        for c in range(n_orders):
            o = orders[c]
            if not is_live(o):
                continue
            if done.state != REJECTED and are_rivals(done, o):
                end(orders, n_orders, c, CANCELED, _OCO)
            elif o.state == WAITING and o.link == done.order:
                end(orders, n_orders, c, CANCELED, _PARENT)
        k = _next_unsettled(orders, n_orders)


@uncounted
def _next_unsettled(orders: Any, n_orders: int) -> int:
    best = -1
    for k in range(n_orders):
        if orders[k].flags & _UNSETTLED and (best < 0 or orders[k].order < orders[best].order):
            best = k
    return best


@uncounted
def are_rivals(a: Any, b: Any) -> bool:
    """Say whether two orders are of one one-cancels-other group: the same `link`, and both children or neither."""
    return a.flags & b.flags & OCO != 0 and a.link == b.link and (a.flags ^ b.flags) & CHILD == 0 and a.order != b.order


@uncounted
def closable(position_lots: int, side: int) -> int:
    """Return how many lots an order of `side` may trade before the position is flat; 0 when it would add to it."""
    return max(0, -side * position_lots)

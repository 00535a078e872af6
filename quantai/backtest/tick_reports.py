"""What our side of a replay is told of its orders: each report moves our view of them, and the account."""

from typing import Any

import numpy as np

from quantai.backtest.tick_state import FILLED
from quantai.core.compiled import uncounted, uncounted_inlined
from quantai.core.grid import price_of
from quantai.core.memory import rows_at
from quantai.core.rows import EVENT, LAST, MAKER, ORDER, Kind, OrderState
from quantai.strategy.account import apply_fill, lots_to_qty
from quantai.strategy.context import instruments_of, orders_of, positions_of
from quantai.strategy.verbs import PENDING_CANCEL
from quantai.venues.matching import rules_of
from quantai.venues.wire import REPORT, reports_of

_ACK, _REJECT, _FILL, _CANCELED, _EXPIRED, _REPLACED = (
    int(k) for k in (Kind.ACK, Kind.REJECT, Kind.FILL, Kind.CANCELED, Kind.EXPIRED, Kind.REPLACED)
)
_CANCEL_REJECT, _REPLACE_REJECT, _TRIGGERED = (
    int(k) for k in (Kind.CANCEL_REJECT, Kind.REPLACE_REJECT, Kind.TRIGGERED)
)
_OPEN, _PARTIAL, _FILLED = (int(OrderState[s]) for s in ("OPEN", "PARTIAL", "FILLED"))
_S_CANCELED, _S_REJECTED, _S_EXPIRED = int(OrderState.CANCELED), int(OrderState.REJECTED), int(OrderState.EXPIRED)


@uncounted_inlined
def receive_unheard(c: Any, p: Any, x: Any, t: int) -> None:
    """Receive the reports up to the instant `t`, to which the strategy does not listen.

    They leave no number: in a batch it would say how many rows came before.
    """
    reports, first, k = reports_of(x), x.first_report, x.first_report
    while k < x.end_report and reports[k].ts_recv <= t:
        free_slot(c, p, apply_report(c, p, x, reports[k]))
        k += 1
    if k > first:
        x.first_report = k
        p.seq += k - first
        turn_to(c, reports[k - 1])


@uncounted_inlined
def receive_report(c: Any, p: Any, x: Any) -> None:
    """Receive the first report that waits, about which handlers are asked next."""
    r = reports_of(x)[x.first_report]
    x.first_report += 1
    turn_to(c, r)
    p.kind = r.kind
    p.slot = apply_report(c, p, x, r)


@uncounted_inlined
def turn_to(c: Any, r: Any) -> None:
    """Make a report what the strategy heard of last."""
    c.now = r.ts_recv
    c.k = 0
    c.instrument = r.instrument


@uncounted_inlined
def apply_report(c: Any, p: Any, x: Any, r: Any) -> int:
    """Bring our view of an order, the account, the log and the row for `on_fill` up to date with a report.

    Returns the order's slot, -1 when it is gone.
    """
    orders, inst = orders_of(c), instruments_of(c)[r.instrument]
    k, slots, number = 0, p.slots, np.uint64(r.order)
    while k < slots and orders[k].order != number:
        k += 1
    slot = k if k < slots and orders[k].state > 0 else -1
    if r.kind == _FILL:
        book_fill(c, p, x, r, inst)
    elif r.kind == _CANCEL_REJECT or r.kind == _REPLACE_REJECT or r.kind == _REJECT:
        p.refusals += 1
        if p.quiet == 0:
            rows_at(p.at_refusals, p.log_size, REPORT)[p.n_refusals] = r
            p.n_refusals += 1
    if slot < 0:
        return slot
    o = orders[slot]
    if r.kind == _ACK:
        o.state = _OPEN
    elif r.kind == _FILL:
        o.avg_px = (o.avg_px * o.filled_lots + price_of(r.px, inst) * r.lots) / (o.filled_lots + r.lots)
        o.filled_lots += r.lots
        o.state = _FILLED if r.open == 0 else _PARTIAL
    elif r.kind == _TRIGGERED:
        o.triggered = 1
    elif r.kind == _REPLACED:
        o.px_ticks = r.px
        o.trigger_ticks = r.lots if r.lots > 0 else o.trigger_ticks
        o.qty_lots = o.filled_lots + r.open
        o.state = _PARTIAL if o.filled_lots > 0 else _OPEN
    elif r.kind == _CANCEL_REJECT:
        o.flags &= ~PENDING_CANCEL
    elif r.kind == _CANCELED or r.kind == _EXPIRED or r.kind == _REJECT:
        o.state = _S_CANCELED if r.kind == _CANCELED else (_S_EXPIRED if r.kind == _EXPIRED else _S_REJECTED)
        o.reason = r.reason
        if r.kind == _REJECT:
            positions_of(c)[r.instrument].target = np.nan  # what was refused may be asked for again
    return slot


@uncounted
def book_fill(c: Any, p: Any, x: Any, r: Any, inst: Any) -> None:
    """Book a fill to the account and write it to the log and to the row that `on_fill` gets."""
    rules, position = rules_of(x)[r.instrument], positions_of(c)[r.instrument]
    px = price_of(r.px, inst)
    fee = apply_fill(c, position, inst, r.side, r.lots, px, rules.maker_rate if r.maker else rules.taker_rate)
    qty = lots_to_qty(inst, r.lots)
    p.n_fill_reports += 1
    p.volume += qty
    p.value += qty * px
    e = rows_at(p.at_event, 1, EVENT)[0]
    e.ts_exch, e.ts_recv = r.ts_exch, r.ts_recv
    e.seq = c.seq
    e.px, e.px_ticks, e.qty = px, r.px, qty
    e.aux = r.order
    e.instrument = r.instrument
    e.flags = MAKER | LAST if r.maker else LAST
    e.kind = _FILL
    e.side = r.side
    if p.quiet:
        return
    row = rows_at(p.at_fills, p.log_size, FILLED)[p.n_fills]
    p.n_fills += 1
    row.ts, row.ts_exch = r.ts_recv, r.ts_exch
    row.order, row.lots = r.order, r.lots
    row.px_ticks, row.px, row.fee = r.px, px, fee
    row.instrument = r.instrument
    row.side = r.side
    row.maker = r.maker


@uncounted_inlined
def free_order_slot(c: Any, p: Any) -> None:
    """Move the order of the last report to the log when it has ended."""
    free_slot(c, p, p.slot)


@uncounted_inlined
def free_slot(c: Any, p: Any, slot: int) -> None:
    """Move the order of a slot to the log when it has ended; -1 is no slot."""
    if slot < 0:
        return
    o = orders_of(c)[slot]
    if o.state >= _FILLED:
        if p.quiet == 0:
            rows_at(p.at_orders, p.log_size, ORDER)[p.n_orders] = o
            p.n_orders += 1
        o.state = 0

"""One order, followed through everything that can be said of it, in any order of arrival.

An order is life x pending requests x quantities. `life` moves by the table of `core.transitions`; requests are a set of
numbered replaces and cancels, several at once; quantities are integers (lots), the executed value is a 128-bit integer
of ticks x lots. The status is not stored: it is derived, by FIX precedence, twice - `status` counts a request as
pending when the venue has said so, `status_local` from the moment we sent it.

Everything here is pure and compiled: a TRACKED row, the table of executions and one REPORT row in, a changed row out.

    >>> from quantai.core.executions import executions
    >>> from quantai.core.reports import REPORT, OrdStatus
    >>> from quantai.core.rows import INTENT, Kind, zeros
    >>> from quantai.core.tracked import TRACKED, leaves, status
    >>> order, table, intent, report = zeros(1, TRACKED), executions(), zeros(1, INTENT), zeros(1, REPORT)
    >>> intent["order"], intent["qty_lots"] = 7, 10
    >>> submit(order[0], intent[0])
    0
    >>> report["order"], report["kind"], report["exec"] = 7, Kind.FILL, 1
    >>> report["px_ticks"], report["qty_lots"] = 100, 4
    >>> apply(order[0], table, report[0]), apply(order[0], table, report[0])  # BOOKED, then a DUPLICATE
    (1, 4)
    >>> OrdStatus(status(order[0])).name, leaves(order[0])
    ('PARTIALLY_FILLED', 6)
"""

from typing import Any

import numpy as np

from quantai.core.compiled import compiled
from quantai.core.executions import DIFFERS, Executions, book
from quantai.core.reports import PRICED, REQUEST_ONLY, Mark, OrdStatus, Outcome, Refusal
from quantai.core.rows import Kind
from quantai.core.tracked import LATE, OUT, OVERDUE, REQUESTS, SEEN, is_over
from quantai.core.transitions import (
    DOUBT,
    ENDED,
    NEXT,
    QUERY,
    REQUEST_REJECT,
    THIRD_NOT_FOUND,
    UNKNOWN_ORDER,
    Life,
)
from quantai.core.wide import add_product

FILL, TRADE_CANCEL, TRADE_CORRECT = int(Kind.FILL), int(Kind.TRADE_CANCEL), int(Kind.TRADE_CORRECT)
ACK, REJECT, REPLACED, RESTATED = int(Kind.ACK), int(Kind.REJECT), int(Kind.REPLACED), int(Kind.RESTATED)
PENDING_CANCEL, PENDING_REPLACE = int(Kind.PENDING_CANCEL), int(Kind.PENDING_REPLACE)
CANCEL_REJECT, REPLACE_REJECT = int(Kind.CANCEL_REJECT), int(Kind.REPLACE_REJECT)
CANCELED, ORDER_STATUS, TIMEOUT = int(Kind.CANCELED), int(Kind.ORDER_STATUS), int(Kind.TIMEOUT)
SUBMIT, CANCEL_REQUEST, REPLACE_REQUEST = int(Kind.SUBMIT), int(Kind.CANCEL_REQUEST), int(Kind.REPLACE_REQUEST)
NONE, PENDING, LOST = int(Life.NONE), int(Life.PENDING), int(Life.LOST)
LATE_FILL, NEEDS_QUERY, LOST_MARK = int(Mark.LATE_FILL), int(Mark.NEEDS_QUERY), int(Mark.LOST)
BOOKED, DUPLICATE = int(Outcome.BOOKED), int(Outcome.DUPLICATE)
ALREADY_PENDING, ALREADY_DONE = int(Outcome.ALREADY_PENDING), int(Outcome.ALREADY_DONE)
DUPLICATE_SUBMIT, TOO_MANY_PENDING = int(Outcome.DUPLICATE_SUBMIT), int(Outcome.TOO_MANY_PENDING)
TABLE_FULL = int(Outcome.TABLE_FULL)
NOT_FOUND, NOT_KNOWN = int(OrdStatus.NOT_FOUND), int(Refusal.UNKNOWN_ORDER)


@compiled
def submit(order: Any, intent: Any) -> int:
    """Start a zeroed TRACKED row from an INTENT row; returns 0, or Outcome.DUPLICATE_SUBMIT when the row is taken."""
    if order.life != NONE:
        return DUPLICATE_SUBMIT
    order.order = intent.order
    order.seq = intent.seq
    order.px_ticks = intent.px_ticks
    order.trigger_ticks = intent.trigger_ticks
    order.expire_ts = intent.expire_ts
    order.qty_lots = intent.qty_lots
    order.instrument = intent.instrument
    order.link = intent.link
    order.flags = intent.flags
    order.type = intent.type
    order.tif = intent.tif
    order.side = intent.side
    order.life = NEXT[SUBMIT, NONE]
    return 0


@compiled
def apply(order: Any, executions: Executions, report: Any) -> int:
    """Apply one REPORT row to the TRACKED row of its order; returns a set of Outcome bits.

    Requests of ours (CANCEL_REQUEST, REPLACE_REQUEST) are applied before they are sent, and are not sent when the
    outcome has a bit of `reports.ANSWERED`. Nothing is refused that a venue says: what contradicts is marked
    (Mark.NEEDS_QUERY).
    """
    kind = report.kind
    if kind in (CANCEL_REQUEST, REPLACE_REQUEST):
        return _request(order, report)
    if kind == TIMEOUT:
        _time_out(order, report.request)
        return 0
    if executions.used[0] + 2 > len(executions.rows):
        return TABLE_FULL
    order.seq = report.seq
    order.ts = report.ts
    order.reported = 1
    outcome = 0
    if kind in (FILL, TRADE_CANCEL, TRADE_CORRECT):
        outcome = _execute(order, executions, report)
    elif kind in (PENDING_CANCEL, PENDING_REPLACE):
        _acknowledge(order, report)
    elif kind == REPLACED:
        _replace(order, report)
    elif kind in (RESTATED, ACK):
        _restate(order, report)
    elif kind in (CANCELED, CANCEL_REJECT, REPLACE_REJECT) or (kind == REJECT and report.request):
        _settle(order, report)
    elif kind == ORDER_STATUS:
        _read_status(order, report)
    _move(order, report)
    return outcome


@compiled
def _move(order: Any, report: Any) -> None:
    """Move the life by the transition table."""
    code = np.int64(report.kind)
    if code == ORDER_STATUS:
        if report.code == 0:
            return
        code = np.int64(QUERY + report.code)
        if report.code == NOT_FOUND and order.not_found >= 3 and order.cum_lots == 0:
            code = THIRD_NOT_FOUND
    elif code == REJECT and (report.flags & REQUEST_ONLY or report.request):
        code = REQUEST_REJECT
    elif code in (CANCEL_REJECT, REPLACE_REJECT) and report.code == NOT_KNOWN:
        code = UNKNOWN_ORDER
    cell = NEXT[code, order.life]
    life = cell & (DOUBT - 1)
    if cell & DOUBT:
        order.marks |= NEEDS_QUERY
    if life == LOST and order.life != LOST:
        order.marks |= LOST_MARK
    if life >= ENDED and order.life < ENDED:
        order.reason = report.code
    if code == ACK:
        order.marks &= ~LOST_MARK
    order.life = life


@compiled
def _execute(order: Any, executions: Executions, report: Any) -> int:
    ended = is_over(order)
    outcome, undone = book(executions, report)
    if outcome & DIFFERS:
        order.marks |= NEEDS_QUERY
    if outcome & DUPLICATE:
        order.duplicates += 1
    if undone >= 0:
        row = executions.rows[undone]
        _tally(order, row.px_ticks, -row.qty_lots)
    if outcome & BOOKED:
        _tally(order, report.px_ticks, report.qty_lots)
        if ended and report.kind == FILL:
            order.marks |= LATE_FILL
    return outcome & ~DIFFERS


@compiled
def _tally(order: Any, px_ticks: int, qty_lots: int) -> None:
    order.cum_lots += qty_lots
    order.value_high, order.value_low = add_product(order.value_high, order.value_low, px_ticks, qty_lots)


@compiled
def _request(order: Any, report: Any) -> int:
    """Enter a request of ours, or answer it without sending; a cancel always finds room."""
    free, lost, cancels, replaces = -1, -1, 0, 0
    for i in range(REQUESTS):
        if order.request_state[i] == 0:
            free = i if free < 0 else free
        elif order.request_kind[i] == REPLACE_REQUEST:
            replaces += 1
        elif order.request_state[i] & OVERDUE:
            lost = i  # a late answer to a cancel says no more than an answer to a later one
        else:
            cancels += 1
    free = lost if free < 0 else free
    filled = order.qty_lots > 0 and order.cum_lots >= order.qty_lots
    if is_over(order):
        return ALREADY_DONE
    if report.kind == CANCEL_REQUEST:
        if cancels:
            return ALREADY_PENDING
        if filled and not replaces:  # a filled order can be raised, but there is nothing to cancel
            return ALREADY_DONE
    elif replaces == REQUESTS - 1:
        return TOO_MANY_PENDING
    if free < 0:
        return TOO_MANY_PENDING
    order.request[free] = report.request
    order.request_kind[free] = report.kind
    order.request_state[free] = OUT
    order.request_qty_lots[free] = report.qty_lots
    order.request_px_ticks[free] = report.px_ticks if report.flags & PRICED else order.px_ticks
    order.request_trigger_ticks[free] = order.trigger_ticks
    return 0


@compiled
def set_trigger(order: Any, number: int, trigger_ticks: int) -> None:
    """Say which trigger the outstanding replace `number` asks for: reports have no place for one."""
    i = _find(order, number, 0)
    if i >= 0:
        order.request_trigger_ticks[i] = trigger_ticks


@compiled
def _find(order: Any, number: int, kind: int) -> int:
    """Return the outstanding request `number`; when no number is said, the oldest of its kind; or -1."""
    found = -1
    for i in range(REQUESTS):
        if order.request_state[i] == 0:
            continue
        if number:
            if order.request[i] == number:
                return i
        elif order.request_kind[i] == kind and (found < 0 or order.request[i] < order.request[found]):
            found = i
    return found


@compiled
def _acknowledge(order: Any, report: Any) -> None:
    i = _find(order, report.request, CANCEL_REQUEST if report.kind == PENDING_CANCEL else REPLACE_REQUEST)
    if i >= 0:
        order.request_state[i] = OUT | SEEN


@compiled
def _settle(order: Any, report: Any) -> None:
    i = _find(order, report.request, REPLACE_REQUEST if report.kind == REPLACE_REJECT else CANCEL_REQUEST)
    if i >= 0:
        order.request_state[i] = 0


@compiled
def _replace(order: Any, report: Any) -> None:
    """Take over what an accepted replace changes; a late answer to an older request changes nothing."""
    i = _find(order, report.request, REPLACE_REQUEST)
    if i < 0:
        if report.request == 0:
            _restate(order, report)
        return
    order.request_state[i] = 0
    if order.request[i] < order.replaced:
        return
    order.replaced = order.request[i]
    qty_lots = report.qty_lots or order.request_qty_lots[i]
    if qty_lots:
        order.qty_lots = qty_lots
    order.px_ticks = report.px_ticks if report.flags & PRICED else order.request_px_ticks[i]
    order.trigger_ticks = order.request_trigger_ticks[i]


@compiled
def _restate(order: Any, report: Any) -> None:
    """Take over an unsolicited quantity or price; an acknowledgement may only fix what was not fixed before."""
    first = order.life <= PENDING and order.replaced == 0
    if report.qty_lots and (report.kind != ACK or first or order.qty_lots == 0):
        order.qty_lots = report.qty_lots
    if report.flags & PRICED and (report.kind != ACK or first):
        order.px_ticks = report.px_ticks


@compiled
def _read_status(order: Any, report: Any) -> None:
    """Read a query's answer: it settles doubts and quantities, and never makes an execution."""
    if report.code == 0:
        return
    if report.code == NOT_FOUND:
        order.not_found = min(order.not_found + 1, 3)
        return
    order.not_found = 0
    order.late = 0
    order.marks &= ~(NEEDS_QUERY | LOST_MARK)
    order.venue_cum_lots = np.int64(report.ref)
    if report.qty_lots:
        order.qty_lots = report.qty_lots
    for i in range(REQUESTS):
        if order.request_state[i] & LATE:  # it may still be answered, but another one may be sent
            order.request_state[i] = (order.request_state[i] & ~LATE) | OVERDUE


@compiled
def _time_out(order: Any, number: int) -> None:
    if number == 0:
        order.late = 1
        return
    i = _find(order, number, 0)
    if i >= 0:
        order.request_state[i] |= LATE

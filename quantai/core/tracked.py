"""What is kept of one order, and everything that is read from it: status, leaves, marks, mean price.

Nothing derived is stored: the readers here are the only definition of each, compiled and free of side effects. What
writes a TRACKED row is `core.orders`.
"""

from fractions import Fraction
from typing import Any

import numpy as np

from quantai.core.compiled import compiled
from quantai.core.reports import PRECEDENCE, Mark, OrdStatus
from quantai.core.rows import TIF, Kind
from quantai.core.transitions import ENDED, STATUS_OF, Life
from quantai.core.wide import whole

REQUESTS = 8
"""How many requests one order can have outstanding; the last place is never a replace's, so that a cancel has one."""

TRACKED = np.dtype(
    [
        ("order", "u8"),
        ("seq", "u8"),  # the last row that was applied
        ("ts", "i8"),
        ("px_ticks", "i8"),
        ("trigger_ticks", "i8"),
        ("expire_ts", "i8"),
        ("qty_lots", "i8"),  # 0 = not known yet (an order in cash)
        ("cum_lots", "i8"),  # sum of the executions that count
        ("venue_cum_lots", "i8"),  # what a query said that sum should be
        ("value_high", "i8"),  # sum of ticks x lots of those executions, 128 bits
        ("value_low", "u8"),
        ("request_qty_lots", "i8", (REQUESTS,)),  # what an outstanding replace asks for
        ("request_px_ticks", "i8", (REQUESTS,)),
        ("request_trigger_ticks", "i8", (REQUESTS,)),
        ("request", "u4", (REQUESTS,)),
        ("request_kind", "u1", (REQUESTS,)),  # Kind.CANCEL_REQUEST or Kind.REPLACE_REQUEST
        ("request_state", "u1", (REQUESTS,)),  # OUT SEEN LATE OVERDUE; 0 = free
        ("instrument", "u4"),
        ("link", "u4"),
        ("replaced", "u4"),  # the highest request number whose replace was accepted
        ("duplicates", "u4"),  # execution reports dropped
        ("flags", "u2"),  # of the intent
        ("marks", "u2"),  # Mark, those that are not derived
        ("type", "u1"),
        ("tif", "u1"),
        ("side", "i1"),
        ("life", "u1"),
        ("reason", "u1"),  # the code of the report that ended it
        ("reported", "u1"),  # 1 = the venue has said something
        ("late", "u1"),  # 1 = the submission got no answer in time
        ("not_found", "u1"),  # how often the venue did not find it
        ("pad", "u4"),
    ]
)
"""One order of ours as we track it; 360 bytes."""

OUT, SEEN, LATE, OVERDUE = 1, 2, 4, 8  # sent; the venue said pending; no answer in time; late, yet the order works
CANCEL_REQUEST = int(Kind.CANCEL_REQUEST)
PENDING, DONE = int(Life.PENDING), int(Life.DONE)
LATE_FILL, OVERFILL, NEEDS_QUERY = int(Mark.LATE_FILL), int(Mark.OVERFILL), int(Mark.NEEDS_QUERY)
MISSING_FILLS, LOST, UNKNOWN = int(Mark.MISSING_FILLS), int(Mark.LOST), int(Mark.UNKNOWN)
GTC, GTD = int(TIF.GTC), int(TIF.GTD)
S_NONE, S_PARTIAL, S_FILLED = int(OrdStatus.NONE), int(OrdStatus.PARTIALLY_FILLED), int(OrdStatus.FILLED)
S_PENDING_CANCEL, S_PENDING_REPLACE = int(OrdStatus.PENDING_CANCEL), int(OrdStatus.PENDING_REPLACE)
RANK = np.array([PRECEDENCE[s] for s in OrdStatus], np.uint8)


@compiled
def is_over(order: Any) -> bool:
    """Say whether nothing more can execute: the order ended, or its day did."""
    return order.life >= ENDED or (order.life == DONE and order.tif != GTC and order.tif != GTD)


@compiled
def leaves(order: Any) -> int:
    """Return the lots still open at the venue; 0 once the order, or the day of a day order, has ended."""
    return 0 if is_over(order) else max(order.qty_lots - order.cum_lots, 0)


@compiled
def _derive(order: Any, seen: int) -> Any:
    best = STATUS_OF[order.life]
    if order.cum_lots > 0:
        executed = S_FILLED if order.qty_lots > 0 and order.cum_lots >= order.qty_lots else S_PARTIAL
        best = executed if RANK[executed] > RANK[best] else best
    if order.life < ENDED:  # the end of an order answers what was asked of it
        for i in range(REQUESTS):
            if order.request_state[i] & seen:
                asked = S_PENDING_CANCEL if order.request_kind[i] == CANCEL_REQUEST else S_PENDING_REPLACE
                best = asked if RANK[asked] > RANK[best] else best
    return best


@compiled
def status(order: Any) -> int:
    """Return the OrdStatus the venue has last told us; OrdStatus.NONE before it said anything."""
    return _derive(order, SEEN) if order.reported else S_NONE


@compiled
def status_local(order: Any) -> int:
    """Return the OrdStatus with our own requests counted from the moment they were sent."""
    return _derive(order, OUT)


@compiled
def marks(order: Any) -> int:
    """Return the Mark bits that hold now."""
    held = order.marks & (LATE_FILL | NEEDS_QUERY | LOST)
    if 0 < order.qty_lots < order.cum_lots:
        held |= OVERFILL
    if order.venue_cum_lots > order.cum_lots:
        held |= MISSING_FILLS
    if order.life == PENDING and order.late:
        held |= UNKNOWN
    if order.life < ENDED:
        for i in range(REQUESTS):
            if order.request_state[i] & LATE:
                held |= UNKNOWN
    return held


def average(order: Any) -> Fraction:
    """Return the exact mean price of the executions that count, in ticks; 0 when there is none.

    Multiply by the instrument's tick for a price. `order` is one TRACKED row.
    """
    cum = int(order["cum_lots"])
    return Fraction(whole(order["value_high"], order["value_low"]), cum) if cum else Fraction(0)

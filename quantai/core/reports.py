"""What is said of an order: our own requests, a venue's reports, and the words for what follows from them.

A REPORT row carries one sentence about one order. `kind` is one of `rows.Kind`: CANCEL_REQUEST, REPLACE_REQUEST and
TIMEOUT are ours, the rest is a venue's. Identifiers are numbers: a request is the k-th thing asked of its order (0 is
the order itself), an execution is the venue's own id made a number by `exec_number`.
"""

import hashlib
from enum import IntEnum, IntFlag

import numpy as np

REPORT = np.dtype(
    [
        ("seq", "u8"),  # the row of the journal that says it
        ("ts", "i8"),  # when we knew it, ns UTC
        ("order", "u8"),  # our order number
        ("exec", "u8"),  # the execution this row reports; 0 = the venue gives no id
        ("ref", "u8"),  # TRADE_CANCEL, TRADE_CORRECT: the execution meant. ORDER_STATUS: the venue's executed lots
        ("px_ticks", "i8"),  # FILL, TRADE_CORRECT: executed price; else the limit price, where flags has PRICED
        ("qty_lots", "i8"),  # FILL, TRADE_CORRECT: executed; else the new total quantity, 0 = not said
        ("request", "u4"),  # the request this row makes or answers; 0 = the order itself, or not said
        ("flags", "u2"),  # PRICED, REQUEST_ONLY, rows.MAKER
        ("kind", "u1"),
        (
            "code",
            "u1",
        ),  # ORDER_STATUS: OrdStatus. CANCEL_REJECT, REPLACE_REJECT: Refusal. REJECT, CANCELED, EXPIRED: Reason
    ]
)
"""One sentence about one order; 64 bytes."""

PRICED = 1 << 9  # REPORT: px_ticks says a limit price
REQUEST_ONLY = 1 << 10  # REPORT REJECT: a resend or a duplicate is refused, not the order; naming a request says so too


class OrdStatus(IntEnum):
    """FIX OrdStatus (tag 39), and NOT_FOUND, which a venue can answer when it is asked."""

    NONE = 0  # nothing reported
    PENDING_NEW = 1
    NEW = 2
    PARTIALLY_FILLED = 3
    FILLED = 4
    STOPPED = 5
    SUSPENDED = 6
    DONE_FOR_DAY = 7
    CANCELED = 8
    EXPIRED = 9
    REJECTED = 10
    PENDING_REPLACE = 11
    PENDING_CANCEL = 12
    NOT_FOUND = 13


PRECEDENCE = {
    OrdStatus.PENDING_CANCEL: 12,
    OrdStatus.PENDING_REPLACE: 11,
    OrdStatus.DONE_FOR_DAY: 10,
    OrdStatus.FILLED: 8,
    OrdStatus.STOPPED: 7,
    OrdStatus.SUSPENDED: 6,
    OrdStatus.CANCELED: 5,
    OrdStatus.EXPIRED: 5,
    OrdStatus.PARTIALLY_FILLED: 4,
    OrdStatus.NEW: 2,
    OrdStatus.REJECTED: 2,
    OrdStatus.PENDING_NEW: 2,
    OrdStatus.NONE: 0,
    OrdStatus.NOT_FOUND: 0,
}
"""Which status an order shows when several are true: the highest (FIX 5.0 SP2 volume 7, "Order State Precedences")."""


class Refusal(IntEnum):
    """Why a venue refused a cancel or replace request (FIX CxlRejReason, tag 102)."""

    NONE = 0
    TOO_LATE = 1
    UNKNOWN_ORDER = 2
    ALREADY_PENDING = 3
    DUPLICATE_ORDER = 4
    OTHER = 5


class Mark(IntFlag):
    """What a reader of an order must know besides its status."""

    LATE_FILL = 1  # an execution was booked after the order had ended
    OVERFILL = 2  # executed > ordered
    NEEDS_QUERY = 4  # two reports contradict each other: ask the venue
    MISSING_FILLS = 8  # the venue has executed more than the executions we hold
    LOST = 16  # the venue did not find it three times
    UNKNOWN = 32  # a request got no answer in time


class Outcome(IntFlag):
    """What one report did; a request is sent only when its outcome has no bit of ANSWERED."""

    BOOKED = 1  # an execution was added
    BUSTED = 2  # an execution was taken back
    DUPLICATE = 4  # an execution report was seen before, or its execution was busted before
    ALREADY_PENDING = 16  # a cancel is outstanding
    ALREADY_DONE = 32  # nothing is left to cancel or replace
    DUPLICATE_SUBMIT = 64  # this order was submitted before
    TOO_MANY_PENDING = 128  # seven replaces are outstanding
    TABLE_FULL = 256  # nothing was done: reserve room for executions and apply the report again


ANSWERED = Outcome.ALREADY_PENDING | Outcome.ALREADY_DONE | Outcome.DUPLICATE_SUBMIT | Outcome.TOO_MANY_PENDING
"""The outcomes that answer a request locally: it must not be sent."""


def exec_number(text: str) -> int:
    """Return the number of a venue's execution id.

    That is the id itself when it is a number below 2^63, else a 63-bit hash with the top bit set. Ids are compared
    within one order only, so that a hash can collide is of no practical weight (2^-63 a pair).

    >>> exec_number("4711"), exec_number("0004711") == exec_number("4711"), exec_number("E-9") >> 63
    (4711, False, 1)
    """
    if text.isdecimal() and text.isascii() and text[0] != "0" and int(text) < 1 << 63:
        return int(text)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) | 1 << 63

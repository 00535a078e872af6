"""The order automaton's transition table: data, on one screen.

Columns are lives, rows are reports; a cell is the life that follows. `.` stays, `?` means the report contradicts what
we knew: ask the venue. Quantities and pending requests change beside it (`core.orders`), the status is derived from all
three.
Sources: FIX 4.2 - 5.0 SP2, Appendix D "Order State Change Matrices".
"""

from enum import IntEnum

import numpy as np

from quantai.core.reports import OrdStatus
from quantai.core.rows import Kind


class Life(IntEnum):
    """Where an order stands, quantities and pending requests aside."""

    NONE = 0  # a free row
    PENDING = 1  # submitted, nothing heard
    OPEN = 2
    STOPPED = 3  # guaranteed an execution
    SUSPENDED = 4  # halted or held
    DONE = 5  # done for the day
    REJECTED = 6
    LOST = 7  # never found by the venue
    EXPIRED = 8
    CANCELED = 9


ENDED = int(Life.REJECTED)
"""Lives from here on have nothing left to execute."""

_TABLE = (
    # report                                  NONE PENDING OPEN STOPPED SUSPENDED DONE REJECTED LOST EXPIRED CANCELED
    ("submit",                                "P   .       .    .       .         .    .        .    .       ."),
    ("ack",                                   "O   O       .    .       .         .    O?       O    .       ."),
    ("reject",                                "R   R       .?   .?      .?        .?   .        R    .       ."),
    ("reject (of a request only)",            ".   .       .    .       .         .    .        .    .       ."),
    ("fill, trade_cancel, trade_correct",     "O   O       .    .       .         .    O?       O    .       ."),
    ("pending_cancel, pending_replace",       ".   .       .    .       .         .    .        O    .       ."),
    ("cancel_reject, replace_reject",         "R   .       .    .       .         .    .        .    .       ."),
    ("cancel_reject (unknown order)",         "R   .?      .?   .?      .?        .?   .        .    .       ."),
    ("replaced",                              "O   O       .    .       O         O    O?       O    .       ."),
    ("restated",                              "O   O       .    .       O         O    O?       O    .?      .?"),
    ("triggered",                             "O   O       .    .       O         .    O?       O    .       ."),
    ("stopped",                               "T   T       T    .       T         .    T?       T    .       ."),
    ("suspended",                             "S   S       S    .       .         .    S?       S    .       ."),
    ("done_for_day",                          "D   D       D    D       D         .    D?       D    .       ."),
    ("expired",                               "E   E       E    E       E         E    E        E    .       ."),
    ("canceled",                              "C   C       C    C       C         C    C        C    C       ."),
    ("query: pending_new",                    "P   .       .    .       .         .    .        P    .       ."),
    ("query: new, partially_filled, filled",  "O   O       .    O       O         O    O        O    .       ."),
    ("query: pending_cancel, pending_replace","O   O       .    .       .         .    O        O    .       ."),
    ("query: stopped",                        "T   T       T    .       T         T    T        T    .       ."),
    ("query: suspended",                      "S   S       S    S       .         S    S        S    .       ."),
    ("query: done_for_day",                   "D   D       D    D       D         .    D        D    .       ."),
    ("query: rejected",                       "R   R       R    R       R         R    .        R    .       ."),
    ("query: expired",                        "E   E       E    E       E         E    E        E    .       ."),
    ("query: canceled",                       "C   C       C    C       C         C    C        C    C       ."),
    ("query: not_found",                      ".   .       .?   .?      .?        .?   .        .    .       ."),
    ("query: not_found (third time)",         ".   L       .?   .?      .?        .?   .        .    .       ."),
)  # fmt: skip

_LETTERS = {"P": Life.PENDING, "O": Life.OPEN, "T": Life.STOPPED, "S": Life.SUSPENDED, "D": Life.DONE,
            "R": Life.REJECTED, "L": Life.LOST, "E": Life.EXPIRED, "C": Life.CANCELED}  # fmt: skip

QUERY = 64  # the code of a query's answer is QUERY + OrdStatus
REQUEST_REJECT, UNKNOWN_ORDER, THIRD_NOT_FOUND = 90, 91, 92
DOUBT = 16  # set in a cell whose report contradicts what we knew

_REFINED = {
    "reject (of a request only)": [REQUEST_REJECT],
    "cancel_reject (unknown order)": [UNKNOWN_ORDER],
    "query: not_found (third time)": [THIRD_NOT_FOUND],
}


def _codes(report: str) -> list[int]:
    if report in _REFINED:
        return _REFINED[report]
    if report.startswith("query: "):
        return [QUERY + OrdStatus[name.upper()] for name in report.removeprefix("query: ").split(", ")]
    return [int(Kind[name.upper()]) for name in report.split(", ")]


def transitions() -> list[tuple[str, list[str]]]:
    """Return the table in words: per report, the cell of each life (`OPEN`, `.`, `OPEN ?`), for the documentation.

    >>> dict(transitions())["ack"][:3]
    ['OPEN', 'OPEN', '.']
    """
    return [
        (
            report,
            [(_LETTERS[cell[0]].name if cell[0] != "." else ".") + " ?" * cell.endswith("?") for cell in cells.split()],
        )
        for report, cells in _TABLE
    ]


def _compile() -> np.ndarray:
    # wide enough for any byte a damaged row can hold: compiled code does not check bounds, and an unknown report stays
    table = np.tile(np.arange(DOUBT, dtype=np.uint8), (QUERY + 256, 1))
    for report, cells in _TABLE:
        for life, cell in enumerate(cells.split()):
            after = life if cell[0] == "." else int(_LETTERS[cell[0]])
            for code in _codes(report):
                table[code, life] = after | (DOUBT if cell.endswith("?") else 0)
    return table


NEXT = _compile()
"""NEXT[code, life] = the life that follows, with DOUBT set where the report contradicts it; uint8, shape (320, 16)."""

STATUS_OF = np.array(
    [
        OrdStatus.NONE,
        OrdStatus.PENDING_NEW,
        OrdStatus.NEW,
        OrdStatus.STOPPED,
        OrdStatus.SUSPENDED,
        OrdStatus.DONE_FOR_DAY,
        OrdStatus.REJECTED,
        OrdStatus.REJECTED,
        OrdStatus.EXPIRED,
        OrdStatus.CANCELED,
    ],
    np.uint8,
)
"""STATUS_OF[life] = the OrdStatus of that life alone."""

"""Adjustments: everything that moves money or holdings and is no execution, as EVENT rows in the one stream.

An ADJUST row says in `px_ticks` what it is; `instrument`, `px` and `qty` mean what the table of `Adjust` says, `aux`
holds the desk and the currency it concerns. Rows are made here and nowhere else.
"""

from enum import IntEnum

from quantai.core.given import number, whole
from quantai.core.rows import EVENT, LAST, Kind, Rows, zeros


class Adjust(IntEnum):
    """What an ADJUST row does."""

    DEPOSIT = 1  # qty of the currency arrives in the desk's account; negative is a withdrawal
    FEE = 2  # the desk paid qty of the currency; in the base of a spot instrument it leaves the holding, valued at px
    FUNDING = 3  # the desk received qty (settlement currency) for its position at ts, once; paid is negative
    DIVIDEND = 4  # every holder receives px a unit, every short pays it
    SPLIT = 5  # px new units for each old one
    VARIATION = 6  # a future's daily settlement at px
    SETTLE = 7  # the final settlement of a future at px
    EXPIRE = 8  # an option pays its intrinsic value at the underlying price px
    EXERCISE = 9  # the desk's qty units of an option become the underlying; negative = a writer is assigned
    RATE = 10  # one unit of the currency is worth px of the portfolio's currency


WIDE = frozenset({Adjust.DIVIDEND, Adjust.SPLIT, Adjust.VARIATION, Adjust.SETTLE, Adjust.EXPIRE})
"""Adjustments of an instrument, whoever holds it; the others but RATE concern one desk."""

ALONE, COUNTED, UNDONE = 0, 1, -1
"""`side` of a FEE as a portfolio keeps it: it stands for itself; it was paid for the execution in the row of its
number; that execution does not count any more."""


def adjustment(
    what: Adjust,
    *,
    ts: int = 0,
    instrument: int = 0,
    desk: int = 0,
    other: int = 0,
    px: float = 0.0,
    qty: float = 0.0,
) -> Rows:
    """Return one ADJUST row, shape (1,), without its number; `other` is a currency, for EXERCISE the underlying.

    `ts` in ns UTC is when it takes effect; of a FUNDING row it is the boundary that is paid for.

    >>> row = adjustment(Adjust.DEPOSIT, desk=1, other=2, qty=1000.0)[0]
    >>> Adjust(row["px_ticks"]).name, parties(row["aux"])
    ('DEPOSIT', (1, 2))
    """
    row = zeros(1, EVENT)
    row["kind"], row["flags"], row["px_ticks"] = Kind.ADJUST, LAST, whole("what", what)
    row["ts_exch"] = row["ts_recv"] = whole("ts", ts)
    row["instrument"], row["px"], row["qty"] = whole("instrument", instrument), number("px", px), number("qty", qty)
    row["aux"] = whole("desk", desk) << 32 | whole("other", other)
    return row


def parties(aux: int) -> tuple[int, int]:
    """Return the desk and the currency (EXERCISE: the underlying) of an ADJUST row's `aux`."""
    return int(aux) >> 32, int(aux) & 0xFFFFFFFF

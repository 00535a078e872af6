"""The statement: the exact books of a portfolio, from the executions and adjustments that made it.

Quantities and prices are lots and ticks in the rows, so nothing is rounded; amounts of adjustments are taken as the
decimals that their float64 is the shortest spelling of.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple

from quantai.core.instruments import Instruments
from quantai.core.rows import Rows
from quantai.portfolio.adjustments import ALONE, WIDE, Adjust, parties
from quantai.portfolio.ledger import Ledger


class Execution(NamedTuple):
    """One execution that counts, with the number of the row it was reported in."""

    seq: int
    desk: int
    instrument: int
    exec: str  # unique within the instrument and the desk
    side: int
    lots: int
    px_ticks: int


def statement(
    instruments: Instruments, currencies: list[str], fills: Iterable[Execution], adjustments: Iterable[Rows]
) -> dict[tuple[int, int], Ledger]:
    """Return the Ledger of each (desk, instrument) that traded.

    `currencies` is `Portfolio.currencies`, `adjustments` are ADJUST rows of shape (1,), of the journal or
    `Portfolio.adjustments`; both are applied in the order of their rows. Funding and dividends are in `Ledger.funding`.
    """
    books: dict[tuple[int, int], Ledger] = {}
    steps: list[tuple[int, Any]] = [(fill.seq, fill) for fill in fills]
    counted = {seq for seq, _ in steps}
    paid: set[tuple[int, int, int]] = set()
    for row in adjustments:
        funded = int(row["aux"][0]), int(row["instrument"][0]), int(row["ts_exch"][0])
        if row["px_ticks"][0] == Adjust.FUNDING and funded in paid:
            continue
        if row["px_ticks"][0] == Adjust.FUNDING:
            paid.add(funded)
        if row["side"][0] == ALONE or int(row["seq"][0]) in counted:
            steps.append((int(row["seq"][0]), row[0]))
    for _, step in sorted(steps, key=lambda step: step[0]):
        if isinstance(step, Execution):
            i = instruments[step.instrument]
            book = books.setdefault((step.desk, step.instrument), Ledger(i))
            book.fill(step.exec, step.side, i.lot * step.lots, i.tick * step.px_ticks)
        else:
            _adjust(books, step, instruments, currencies)
    return books


def _adjust(books: dict[tuple[int, int], Ledger], row: Any, instruments: Instruments, currencies: list[str]) -> None:
    what, (desk, other) = Adjust(int(row["px_ticks"])), parties(row["aux"])
    i, seq = int(row["instrument"]), int(row["seq"])
    px, qty = (Fraction(repr(float(row[name]))) for name in ("px", "qty"))
    if what is Adjust.EXERCISE:
        _exercise(books, desk, i, other, qty, seq, instruments)
        return
    for (holder, held), book in books.items():
        if held != i or (what not in WIDE and holder != desk):
            continue
        match what:
            case Adjust.FEE:
                book.charge(currencies[other], qty, px)
            case Adjust.FUNDING:
                book.funding += qty
            case Adjust.DIVIDEND:
                book.funding += book.qty * px
            case Adjust.SPLIT:
                book.qty *= px
            case Adjust.VARIATION:
                book.vary(px)
            case Adjust.SETTLE:
                book.settle(px)
            case Adjust.EXPIRE:
                book.expire(px)
            case _:
                pass


def _exercise(
    books: dict[tuple[int, int], Ledger],
    desk: int,
    option: int,
    underlying: int,
    qty: Fraction,
    seq: int,
    instruments: Instruments,
) -> None:
    said = instruments[option]
    side = 1 if qty > 0 else -1
    name, strike = f"exercise {seq}", said.strike or 0
    books.setdefault((desk, option), Ledger(said)).fill(name, -side, abs(qty), 0)
    units = abs(qty) * Fraction(said.multiplier) / Fraction(instruments[underlying].multiplier)
    books.setdefault((desk, underlying), Ledger(instruments[underlying])).fill(
        name, side * int(said.right), units, strike
    )

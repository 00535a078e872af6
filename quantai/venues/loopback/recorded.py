"""A recorded market: EVENT rows of a tape, a lake or a capture, acted out in the exchange's book at any speed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from quantai.core.instruments import Instrument
from quantai.core.rows import Kind, Rows
from quantai.venues.loopback.matching import Matching

ACTED = (Kind.TRADE, Kind.LEVEL, Kind.CLEAR, Kind.QUOTE)


@dataclass(frozen=True, slots=True)
class Step:
    """One row to act out: `at_ns` since the first row."""

    at_ns: int
    instrument: int
    kind: int
    side: int
    px: float
    qty: float


def steps(chunks: Iterable[Rows]) -> Iterator[Step]:
    """Yield what happens in EVENT rows, in their order, timed by when each was received.

    Best prices (QUOTE) are acted out only for instruments that have no levels in their first chunk: a book is better.
    """
    start, booked = -1, set[int]()
    for rows in chunks:
        booked |= set(rows["instrument"][rows["kind"] == Kind.LEVEL].tolist())
        for row in rows[[k in ACTED for k in rows["kind"].tolist()]].tolist():
            _, ts_recv, _, px, qty, _, _, instrument, _, kind, side = row
            if kind == Kind.QUOTE and instrument in booked:
                continue
            start = ts_recv if start < 0 else start
            yield Step(max(0, ts_recv - start), instrument, kind, side, px, 0.0 if qty != qty else qty)


@dataclass(frozen=True, slots=True)
class Action:
    """Acts out one step in the book of its symbol; sizes are rounded to whole lots, at least one."""

    step: Step
    matching: Matching

    def __call__(self) -> Matching:
        """Do it and return the engine it was done in."""
        step, matching, listing = self.step, self.matching, self.matching.listing
        ticks = round(Decimal(str(step.px)) / listing.tick)
        lots = max(1, round(Decimal(str(step.qty)) / listing.lot)) if step.qty > 0 else 0
        match step.kind:
            case Kind.TRADE if lots:
                matching.print_trade(step.side or 1, ticks, lots)
            case Kind.LEVEL:
                matching.set_level(step.side, ticks, lots)
            case Kind.CLEAR:
                matching.clear()
            case Kind.QUOTE:
                for other in matching.book.prices(step.side):
                    if other != ticks:
                        matching.set_level(step.side, other, 0)
                matching.set_level(step.side, ticks, max(lots, 1))
            case _:
                pass
        return matching


def first_prices(rows: Rows, instruments: Iterable[Instrument]) -> dict[int, Decimal]:
    """Return the first positive price of each instrument, by its number: where its listing starts.

    >>> from quantai.core.rows import EVENT, zeros
    >>> first_prices(zeros(0, EVENT), [])
    {}
    """
    found: dict[int, Decimal] = {}
    for number, _ in enumerate(instruments):
        px = rows["px"][(rows["instrument"] == number) & (rows["px"] > 0) & (rows["kind"] != Kind.FUNDING)]
        if len(px):
            found[number] = Decimal(str(px[0]))
    return found

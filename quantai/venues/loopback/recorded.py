"""A recorded market: EVENT rows of a tape, a lake or a capture, acted out in the exchange's book at any speed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from quantai.core.errors import InputError
from quantai.core.instruments import Instruments
from quantai.core.rows import Kind, Rows
from quantai.venues.loopback.listings import Listing, is_listable
from quantai.venues.loopback.matching import Matching

ACTED = (Kind.TRADE, Kind.LEVEL, Kind.CLEAR, Kind.QUOTE)
_UNKNOWN = Decimal("1e-8")  # the grid of an instrument that does not know its own


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


def recorded_listings(rows: Rows, instruments: Instruments) -> dict[int, Listing]:
    """Return what a recorded market lists, by the number of each instrument: spot pairs and linear perpetuals.

    A listing starts at its first recorded price. A capture rarely says how fine quantities are, and sometimes not how
    fine prices are: the grid is then the coarsest power of ten that everything recorded lies on. Raises InputError when
    nothing recorded can be listed.
    """
    found: dict[int, Listing] = {}
    for number, instrument in enumerate(instruments):
        mine = rows[(rows["instrument"] == number) & np.isin(rows["kind"], [int(k) for k in ACTED])]
        pxs, qtys = mine["px"][mine["px"] > 0], mine["qty"][mine["qty"] > 0]
        if not len(pxs) or not is_listable(instrument):
            continue
        tick = _grid(pxs) if instrument.tick == _UNKNOWN else instrument.tick
        lot = _grid(qtys) if instrument.lot == _UNKNOWN else instrument.lot
        found[number] = Listing.of(instrument.with_fields(tick=tick, lot=lot), Decimal(str(float(pxs[0]))))
    if not found:
        names = ", ".join(x.symbol for x in list(instruments)[:3]) or "nothing"
        raise InputError(
            f"the recording has {names}: the loopback exchange lists spot pairs and linear perpetuals only"
        )
    return found


def _grid(values: Any) -> Decimal:
    for places in range(8):
        scaled = values * 10.0**places
        if np.all(np.abs(scaled - np.round(scaled)) <= 1e-9 * np.maximum(scaled, 1.0)):
            return Decimal(1).scaleb(-places)
    return _UNKNOWN

"""Real venues of a run: what they trade by their own account, and the connection to each."""

import asyncio
from collections.abc import Callable

from quantai.core.instruments import Instrument, Instruments
from quantai.execution.plan import Plan
from quantai.venues.venue import Venue


async def real_venues(
    plan: Plan, instruments: Instruments, *, fixed: bool, clock: Callable[[], int]
) -> tuple[dict[str, Venue], Instruments]:
    """Connect to the venues of a plan; returns them, and the instruments with the steps that the venues take.

    With `fixed` the instruments stay as they are: a journal is continued. `clock` (ns UTC) stamps their reports. Raises
    VenueError in one line: keys, clock, a symbol that is not there.
    """
    from quantai.venues.ccxt import CcxtVenue

    known = instruments if fixed else Instruments([await _as_listed(plan, i) for i in instruments])
    venues: dict[str, Venue] = {}
    try:
        for name in plan.venues:
            venue = CcxtVenue(
                name,
                known,
                sandbox=plan.sandbox,
                endpoint=plan.endpoint_of(name) or None,
                dead_man_s=0.0 if plan.at_end == "keep" else plan.dead_man_s,
                clock=clock,
            )
            await venue.connect()
            venues[name] = venue
    except BaseException:
        for venue in venues.values():
            await venue.close()
        raise
    return venues, known


async def _as_listed(plan: Plan, instrument: Instrument) -> Instrument:
    """Return an instrument with the venue's own steps, sizes and least amounts."""
    from quantai.data.history.client import Client
    from quantai.venues.ccxt import profile

    def ask() -> Instrument:
        return Client(instrument.venue, instrument.symbol, plan.endpoint_of(instrument.venue) or None).instrument()

    known = profile(instrument.venue)
    return (await asyncio.to_thread(ask)).with_fields(reduces_below_min=known.reduces_below_min)

"""The trade loop over rows of the past, in memory but for a temporary journal: the very code that a service runs."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import BAR, EVENT, INTENT, LAST, SEC, Kind, Rows, zeros
from quantai.execution.bar_maker import bar_events
from quantai.execution.controls import Control
from quantai.execution.floor import Floor
from quantai.execution.loop import NO_BARS, Loop, Pace
from quantai.execution.oms import OMS
from quantai.execution.plan import paper_limits
from quantai.execution.playback import RowClock, answered, play
from quantai.execution.recovery import MANIFEST
from quantai.execution.retrace import ENGINE, SEATS
from quantai.execution.router import ByInstrument
from quantai.execution.seats import Seat
from quantai.execution.session import Session
from quantai.execution.setup import Setup
from quantai.journal import EventStore, StoreReader, Stream, describe_run
from quantai.portfolio.desks import Desk
from quantai.strategy import Strategy
from quantai.venues.paper import Paper
from quantai.venues.rules import SimVenue

RUN = "golden"
CASH = 100_000.0


def loop_intents(strategy: Strategy, instruments: Instruments, rows: Rows, venue: SimVenue) -> Rows:
    """Return the INTENT rows that the trade loop asks for over BAR or EVENT rows, against a paper venue.

    Bars come with a quote of one tick around their close, so that risk and the venue have a price; ticks too small for
    a book of them (those of prices without a grid) are made a hundred-thousandth of the price.
    """
    if rows.dtype == BAR:
        instruments = _coarse(instruments, rows)
    with tempfile.TemporaryDirectory(prefix="quantai-golden-") as folder:
        journal = Path(folder) / "golden.journal"
        # in a thread: a notebook has an event loop of its own
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, _run(strategy, instruments, rows, venue, journal)).result()
        with StoreReader(journal) as reader:
            return np.array(reader.rows(Stream.INTENT), INTENT)


async def _run(strategy: Strategy, instruments: Instruments, rows: Rows, rules: SimVenue, journal: Path) -> None:
    start = int(rows["ts_close" if rows.dtype == BAR else "ts_recv"][0]) - SEC if len(rows) else 0
    async with paper_loop(strategy, instruments, rules, journal, start) as (loop, clock):
        if rows.dtype == EVENT:
            await play_mixed(loop, clock, rows, NO_BARS)
        else:
            await _bars(loop, clock, rows, instruments)
        await answered(loop)


@asynccontextmanager
async def paper_loop(
    strategy: Strategy, instruments: Instruments, rules: SimVenue, journal: Path, start: int
) -> AsyncGenerator[tuple[Loop, RowClock]]:
    """Yield a trade loop on paper that has begun, and its clock at `start` (ns UTC), to be shown rows."""
    currency = instruments[0].settle
    setup = Setup(
        desks=(Desk(RUN, type(strategy).__name__),), instruments=instruments, limits=paper_limits(), currency=currency
    )
    seat = Seat(strategy=strategy)
    floor = Floor(OMS(setup), [seat])
    said: dict[str, Any] = {MANIFEST: setup.as_dict(), SEATS: [seat.as_dict()], "mode": "replay"}
    clock = RowClock(start)
    names = list(dict.fromkeys(i.venue for i in instruments))
    venues = {
        name: Paper(instruments, rules, balances={currency: Decimal(CASH)} if n == 0 else {}, name=name)
        for n, name in enumerate(names)
    }
    with EventStore.create(journal, describe_run(RUN, engine=ENGINE, **said)) as store:
        loop = Loop(
            Session(floor.oms, store, ByInstrument(instruments, venues)), floor, venues,
            watchers=[paper.see for paper in venues.values()], pace=Pace(snapshot_s=0, reconcile_s=0), clock=clock,
        )  # fmt: skip
        for paper in venues.values():
            await paper.connect()
        tasks = loop.listen()
        try:
            await loop.adjust(floor.oms.portfolio.deposit(0, CASH, currency, ts=clock.now))
            await loop.control(Control.START)
            await loop.reconcile()
            yield loop, clock
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for paper in venues.values():
                await paper.close()


async def play_mixed(loop: Loop, clock: RowClock, rows: Rows, bars: Rows) -> None:
    """Play rows among which some are BAR rows; each of those is shown with its own bar."""
    at = 0
    for n in [*np.flatnonzero(rows["kind"] == Kind.BAR).tolist(), len(rows)]:
        await play(loop, clock, rows[at:n])
        if n < len(rows):
            await play(loop, clock, rows[n : n + 1], bars)
        at = n + 1


async def _bars(loop: Loop, clock: RowClock, bars: Rows, instruments: Instruments) -> None:
    announced = bar_events(bars, instruments)
    for n in range(len(bars)):
        clock.now = max(clock.now, int(announced["ts_recv"][n]))
        await loop.show(_quote(announced[n]))
        await loop.show(_alone(announced[n : n + 1]), bars[n : n + 1])
        await answered(loop)


def _coarse(instruments: Instruments, bars: Rows) -> Instruments:
    found: list[Instrument] = []
    for n, instrument in enumerate(instruments):
        own = bars["close"][bars["instrument"] == n]
        step = Decimal(10) ** int(np.floor(np.log10(np.median(own)) - 5)) if len(own) else instrument.tick
        found.append(instrument.with_fields(tick=step) if instrument.tick < step / 10 else instrument)
    return Instruments(found)


def _alone(row: Rows) -> Rows:
    row = row.copy()
    row["aux"] = 0
    return row


def _quote(bar: Rows) -> Rows:
    rows = zeros(2, EVENT)
    for name in ("ts_exch", "ts_recv", "instrument"):
        rows[name] = bar[name]
    rows["kind"], rows["side"], rows["qty"] = Kind.QUOTE, [1, -1], 1e9
    rows["px_ticks"] = [bar["px_ticks"] - 1, bar["px_ticks"] + 1]
    rows["px"] = rows["px_ticks"] * (bar["px"] / max(int(bar["px_ticks"]), 1))
    rows["flags"][1] = LAST
    return rows

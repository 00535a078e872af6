"""A trade loop over a paper venue and a made-up market, on the clock of its rows: for the tests of the loop."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

import quantai as qa
from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import EVENT, LAST, MS, SEC, Kind, Rows, zeros
from quantai.execution.bar_maker import BarMaker
from quantai.execution.controls import ALL, Control
from quantai.execution.floor import Floor
from quantai.execution.loop import Loop, Pace
from quantai.execution.oms import OMS
from quantai.execution.plan import paper_limits
from quantai.execution.playback import RowClock, answered, play
from quantai.execution.recovery import MANIFEST
from quantai.execution.retrace import ENGINE, SEATS
from quantai.execution.router import ByInstrument
from quantai.execution.seats import Seat
from quantai.execution.session import Session
from quantai.execution.setup import Setup
from quantai.journal import EventStore, describe_run
from quantai.portfolio.desks import Desk
from quantai.strategy.place import defined
from quantai.venues.paper import Paper
from quantai.venues.rules import SimVenue

START = 1_700_000_000 * SEC
BTC = Instrument.parse("BTC-USDT", venue="X", tick="0.1", lot="0.001")


class Maker(qa.Strategy):
    """Quotes both sides ten times a second."""

    qty: float = 0.01
    offset: int = 0
    fills: int = qa.state(0)
    ends: int = qa.state(0)

    def on_start(self, ctx: Any) -> None:
        ctx.every(100 * qa.MS)

    def on_timer(self, ctx: Any) -> None:
        book = ctx.book(0)
        if book.valid:
            ctx.quote(0, qa.BUY, book.bid_ticks - self.offset, self.qty)
            ctx.quote(0, qa.SELL, book.ask_ticks + self.offset, self.qty)

    def on_fill(self, ctx: Any, fill: Any) -> None:
        self.fills += 1

    def on_order(self, ctx: Any, order: Any) -> None:
        self.ends += 1


class Lean(qa.Strategy):
    """Buys three times a hundredth of a coin, and holds it."""

    n: int = qa.state(0)

    def on_start(self, ctx: Any) -> None:
        ctx.every(4 * qa.SEC)

    def on_timer(self, ctx: Any) -> None:
        if ctx.book(0).valid and self.n < 3:
            self.n += 1
            ctx.buy(0.01)


class Trend(qa.Strategy):
    """Holds half its equity while the last bar rose."""

    before: float = qa.state(0.0)
    bars: int = qa.state(0)

    def on_bar(self, ctx: Any, bar: Any) -> None:
        self.bars += 1
        ctx.target(0.5 if bar.close > self.before else 0.0)
        self.before = bar.close


def market(seconds: float, *, seed: int = 1, start: int = START) -> Rows:
    """Return quotes, book levels and trades of one instrument, about 60 messages a second."""
    random = np.random.default_rng(seed)
    n = int(seconds * 60)
    ts = start + np.sort(random.integers(0, int(seconds * SEC), n))
    mid = 10_000 + np.cumsum(random.integers(-1, 2, n))
    rows = zeros(5 * n, EVENT)
    for k, (kind, side, away) in enumerate(
        ((Kind.LEVEL, 1, -5), (Kind.LEVEL, -1, 5), (Kind.QUOTE, 1, -5), (Kind.QUOTE, -1, 5), (Kind.TRADE, 0, 0))
    ):
        part = rows[k::5]
        part["ts_exch"], part["ts_recv"], part["kind"] = ts, ts + MS, kind
        part["side"] = side or random.choice([1, -1], n)
        part["px_ticks"] = mid + (away or 6 * part["side"])
        part["px"], part["qty"] = part["px_ticks"] * 0.1, 0.5
    rows["flags"][1::5] |= LAST
    rows["flags"][3::5] |= LAST
    rows["flags"][4::5] |= LAST
    return rows


def make(
    path: Path,
    clock: RowClock,
    strategies: Sequence[qa.Strategy],
    *,
    interval: str = "",
    maker_bps: float = 1.0,
    instrument: Instrument = BTC,
) -> Loop:
    """Return a loop that begins a journal at `path`."""
    table = Instruments([instrument])
    desks = tuple(Desk(f"desk{n}", type(s).__name__, f"account{n}") for n, s in enumerate(strategies))
    setup = Setup(desks=desks, instruments=table, limits=paper_limits(), currency="USDT", patience_ns=SEC)
    seats = [Seat(strategy=s, interval=interval if defined(type(s), "on_bar") else "") for s in strategies]
    floor = Floor(OMS(setup), seats)
    said = {MANIFEST: setup.as_dict(), SEATS: [seat.as_dict() for seat in seats], "mode": "paper"}
    store = EventStore.create(path, describe_run("desk0", engine=ENGINE, **said))
    paper = Paper(table, SimVenue(maker_bps=maker_bps, taker_bps=5.0), balances={"USDT": Decimal(100_000 * len(desks))})
    bars = BarMaker([(0, interval)], table) if interval else None
    pace = Pace(snapshot_s=0, reconcile_s=0)
    session = Session(floor.oms, store, ByInstrument(table, {"X": paper}))
    return Loop(session, floor, {"X": paper}, bars=bars, watchers=[paper.see], pace=pace, clock=clock)


def drive(
    path: Path,
    strategies: Sequence[qa.Strategy],
    steps: Callable[[Loop, RowClock], Coroutine[Any, Any, None]],
    **options: Any,
) -> Loop:
    """Run steps over a fresh loop and return it, its journal closed."""

    async def run() -> Loop:
        clock = RowClock(START)
        loop = make(path, clock, strategies, **options)
        await loop.venues["X"].connect()
        tasks = loop.listen()
        for desk in range(len(strategies)):
            await loop.adjust(loop.oms.portfolio.deposit(desk, 100_000.0, ts=START))
        await loop.control(Control.START)
        assert await loop.reconcile(), loop.counts.alarms
        await steps(loop, clock)
        await answered(loop)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        loop.session.store.close()
        return loop

    return asyncio.run(run())


async def let(loop: Loop, clock: RowClock, seconds: float, seed: int = 1) -> None:
    """Let some seconds of market pass."""
    await play(loop, clock, market(seconds, seed=seed, start=clock.now))


async def tell(loop: Loop, what: Control, desk: int = ALL, **params: Any) -> int:
    """Give a command and return its row."""
    return await loop.control(what, desk=desk, text=json.dumps(params) if params else "")

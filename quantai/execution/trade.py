"""Trading: feeds, venues, journal, strategies and the loop put together from a plan, run, and let go of in order."""

import asyncio
import signal
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from quantai.core.errors import DataError, InputError, UnknownName
from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import EVENT, INTENT, LAST, SEC, WARM_UP, Kind, Rows, Status, zeros
from quantai.data.lake import Lake
from quantai.execution.agree import at_work, held, unclosed
from quantai.execution.bar_maker import BarMaker
from quantai.execution.continuation import began_at, continued, has_begun, recovered, take_limits, take_up
from quantai.execution.controls import Control
from quantai.execution.floor import Floor
from quantai.execution.loop import NO_BARS, Loop, Pace
from quantai.execution.monitor.logs import about
from quantai.execution.monitor.monitor import Monitor
from quantai.execution.oms import OMS
from quantai.execution.paper_account import hand_over
from quantai.execution.plan import Plan, paper_limits
from quantai.execution.playback import RowClock, answered, play
from quantai.execution.reception import Reception
from quantai.execution.recovery import MANIFEST
from quantai.execution.rehearsal import rehearse
from quantai.execution.retrace import ENGINE
from quantai.execution.router import ByInstrument
from quantai.execution.routes import Route
from quantai.execution.seats import Seat
from quantai.execution.session import Session
from quantai.execution.settled import settled
from quantai.execution.setup import Setup
from quantai.execution.sources import (
    Numbering,
    alike,
    in_order,
    listed,
    pump,
    quotes_of,
    trades_of,
    warm_rows,
)
from quantai.feeds import CryptoFeed
from quantai.feeds.venues import channels as offered
from quantai.journal import EventStore, describe_run
from quantai.ops.clock import SteadyClock
from quantai.portfolio.desks import Desk
from quantai.venues.paper import Paper
from quantai.venues.rules import SimVenue
from quantai.venues.venue import Venue

OnStatus = Callable[[Loop], None]
AT_END = {"cancel": Control.STOP, "flatten": Control.FLATTEN, "keep": None}


@dataclass(frozen=True)
class Traded:
    """What came of a run that traded; `fresh` is False when it continued a journal.

    `at_work` are orders that have not ended, `unclosed` what is held and could be closed.
    """

    run: str
    mode: str
    journal: Path
    fresh: bool
    rows: int
    intents: int
    orders: int
    fills: int
    positions: dict[str, float]
    equity: float
    at_work: list[str]
    unclosed: list[str]
    alarms: list[str] = field(default_factory=list[str])


class Trading:
    """One run being put together; `trade` uses it from front to back.

    `metrics` is an address and port to serve at. Timers, rows of feeds and reports of venues go by one clock, which
    nobody can set; a replay goes by its rows.
    """

    def __init__(self, plan: Plan, metrics: tuple[str, int] | None = None) -> None:
        plan.check()
        self.plan = plan
        self._address, self._port = metrics or ("", None)
        self._feeds: list[CryptoFeed] = []
        self.venues: dict[str, Venue] = {}
        self._watchers: list[Callable[[Rows], None]] = []
        self.store: EventStore | None = None
        self.clock = RowClock(0)
        self._live_clock = SteadyClock()
        self._fresh, self._begun = not plan.journal.exists(), False

    async def open(self) -> Loop:
        """Reach everybody, open the journal, bring strategies to where it ends; raises a QuantaiError if not."""
        try:
            return await self._opened()
        except BaseException:
            await self.close()
            raise

    async def _opened(self) -> Loop:
        plan = self.plan
        lines = about(mode=plan.mode, venue=",".join(plan.venues))
        manifest = None if self._fresh else continued(plan)
        strategies = [strategy for strategy, _ in plan.strategies]
        # in a thread: asyncio allows one running loop in each
        await asyncio.to_thread(rehearse, strategies, plan.limits or paper_limits(), paper=plan.mode != "live")
        instruments = await self._reach(manifest)
        if manifest is None:
            setup, seats = self._setup(instruments)
            said = describe_run(
                setup.desks[0].run, engine=ENGINE, mode=plan.mode, oms=setup.as_dict(),
                seats=[seat.as_dict() for seat in seats], bars=plan.interval,
            )  # fmt: skip
            floor = Floor(OMS(setup), seats)
            left: list[Rows] = []
        else:
            said, floor, left = manifest, *recovered(plan, manifest)
            self._begun = has_begun(plan.journal)
        lines["run"] = floor.oms.setup.desks[0].run
        self.store = store = (EventStore.create if manifest is None else EventStore.open)(plan.journal, said)
        return await self._loop(store, floor, left, instruments)

    async def _loop(self, store: EventStore, floor: Floor, left: list[Rows], instruments: Instruments) -> Loop:
        plan = self.plan
        rest = [rows for rows in left if len(rows)]
        if rest:  # asked for at the last row before a crash: in the journal now, and never sent
            store.append_intents(np.concatenate([zeros(0, INTENT), *rest]))
        session = Session(floor.oms, store, ByInstrument(instruments, self.venues))
        wanted = [
            (i, seat.interval) for seat in floor.seats if seat.interval
            for i in seat.instruments or range(len(instruments))
        ]  # fmt: skip
        replaying = plan.mode == "replay"
        loop = Loop(
            session, floor, self.venues, bars=BarMaker(wanted, instruments), watchers=self._watchers,
            pace=Pace(snapshot_s=0 if replaying else plan.snapshot_s, reconcile_s=0 if replaying else plan.reconcile_s),
            clock=self.clock if replaying else self._live_clock,
        )  # fmt: skip
        await take_limits(loop, plan)
        if self._begun:
            loop.funded_from = began_at(plan.journal) or loop.now
            await self._resume(loop, instruments)
        else:
            loop.funded_from = 0 if replaying else loop.now
            await self._begin(loop, instruments)
        self._live_clock.reach(loop.oms.ts)
        store.flush()
        return loop

    async def _reach(self, manifest: Mapping[str, Any] | None) -> Instruments:
        """Connect to feeds and venues; returns the instruments of the run."""
        plan, clock, found = self.plan, self._live_clock, list[Instrument]()
        known = None if manifest is None else Setup.of(manifest[MANIFEST]).instruments
        if plan.mode == "replay":
            lake = Lake((plan.past or ("", "", ""))[0])
            found = [
                _in_lake(lake, venue, symbol, plan.lots) for venue, symbols in plan.venues.items() for symbol in symbols
            ]
        else:
            for venue, symbols in plan.venues.items():
                redirect = _redirect(plan.endpoint_of(venue))
                feed = CryptoFeed(venue, sandbox=plan.sandbox, redirect=redirect, stale_s=plan.stale_s, clock=clock)
                await feed.connect()
                try:
                    feed.subscribe(list(symbols), plan.channels_of(offered(venue)))
                except UnknownName as error:
                    raise InputError(f"{error}; {venue} lists only what trades now: it may be halted") from None
                self._feeds.append(feed)
                found += listed(feed, list(symbols), dict(plan.lots))
        instruments = known or alike(plan, Instruments(found))
        if plan.mode == "live":
            from quantai.execution.real import real_venues

            self.venues, instruments = await real_venues(plan, instruments, fixed=known is not None, clock=clock)
        else:
            for venue in plan.venues:
                paper = self._paper(venue, instruments)
                await paper.connect()
                self.venues[venue] = paper
                self._watchers.append(paper.see)
        if plan.mode == "replay":  # before there is a journal: without rows there is nothing to be in it
            self.clock.now = self._past(instruments)
        return instruments

    def _paper(self, venue: str, instruments: Instruments) -> Paper:
        plan = self.plan
        settle = next(i.settle for i in instruments if i.venue == venue)
        first = venue == next(iter(plan.venues))
        money = {settle: Decimal(str(plan.cash))} if first else {}
        rules = plan.rules or SimVenue()
        if (bps := plan.fees_bps.get(venue)) is not None:
            rules = replace(rules, maker_bps=bps, taker_bps=bps)
        return Paper(instruments, rules, balances=money, name=venue)

    def _setup(self, instruments: Instruments) -> tuple[Setup, list[Seat]]:
        plan = self.plan
        settles = list(dict.fromkeys(i.settle for i in instruments))
        currency = plan.currency or settles[0]
        if len(settles) > 1 and not plan.currency:
            raise InputError(
                f"these settle in {', '.join(settles)}: say in which currency to count, --currency {currency}"
            )
        names = plan.run_names()
        desks = tuple(
            Desk(run, type(s).__name__) for run, (s, _) in zip(names, plan.strategies, strict=True)
        )  # fmt: skip
        number = {(i.venue, i.symbol): n for n, i in enumerate(instruments)}
        seats = [
            Seat(
                strategy=s,
                named=named,
                interval=plan.interval_of(n),
                instruments=tuple(number[listed[0]] for listed in plan.listings(n)),
                route=_route(plan, n, number),
            )
            for n, (s, named) in enumerate(plan.strategies)
        ]
        limits = plan.limits or paper_limits()
        setup = Setup(
            desks=desks,
            instruments=instruments,
            limits=limits,
            currency=currency,
            patience_ns=int(plan.patience_s * SEC),
        )
        return setup, seats

    async def _begin(self, loop: Loop, instruments: Instruments) -> None:
        """The first rows of a run: what the account holds, the strategies' start, and what they warm up on."""
        oms, warm = loop.oms, self._warm(instruments)
        ts = int(warm[0]["ts_recv"][0]) if len(warm[0]) else loop.now
        if self.plan.mode == "replay":
            ts = self.clock.now
        for name, amount in (await self._money()).items():
            if name in oms.portfolio.currencies:  # a run that was killed here has some of them
                more = float(amount) - float(oms.portfolio.books.flows[0, oms.portfolio.number(name)])
                await loop.adjust(oms.portfolio.deposit(0, more, name, ts=ts))
        held = [
            f"{amount:g} {s}" for v in self.venues.values() for s, amount in (await v.positions()).items() if amount
        ]
        ours = [h for h in held if h.split()[1] in {i.symbol for i in instruments}]
        if ours:
            raise InputError(f"the account holds {', '.join(ours)} that no run of ours opened: close it first")
        await loop.control(Control.START, flags=WARM_UP if len(warm[0]) else 0, ts=ts)
        if len(warm[0]):
            await loop.show(*warm)

    async def _money(self) -> dict[str, Decimal]:
        found: dict[str, Decimal] = {}
        for venue in self.venues.values():
            for name, amount in (await venue.balances()).items():
                found[name] = found.get(name, Decimal(0)) + amount
        return found

    async def _resume(self, loop: Loop, instruments: Instruments) -> None:
        """The first rows after an interruption: nobody followed the books meanwhile."""
        hand_over(loop.oms, self.venues)
        gone = zeros(len(instruments), EVENT)
        gone["kind"], gone["aux"], gone["instrument"] = Kind.STATUS, Status.DISCONNECTED, np.arange(len(instruments))
        gone["ts_exch"] = gone["ts_recv"] = loop.now
        gone["flags"][-1:] = LAST
        await loop.show(gone)
        await take_up(loop)

    def _warm(self, instruments: Instruments) -> tuple[Rows, Rows]:
        return (zeros(0, EVENT), NO_BARS) if self.plan.warm_up is None else warm_rows(self.plan, instruments)

    def _past(self, instruments: Instruments) -> int:
        """Read the rows of a replay; returns the first instant."""
        lake_root, start, end = self.plan.past or ("", None, None)
        lake, parts = Lake(lake_root), list[Rows]()
        for n, i in enumerate(instruments):
            for read in (trades_of, quotes_of):
                try:
                    parts.append(read(lake, i.venue, i.symbol, start, end, n, float(i.tick)))
                except InputError:
                    continue  # a lake may hold only one of the two
        self._rows = in_order(parts)
        if not len(self._rows):
            raise DataError("there are no rows to replay: widen the dates, or look at lake.summary()")
        return int(self._rows["ts_recv"][0])

    async def run(self, loop: Loop, on_status: OnStatus | None = None) -> None:
        """Trade until it is over, or a signal asks for the end; raises what made it impossible."""
        with _signals(loop), settled():
            if self.plan.mode == "replay":
                if on_status is not None:
                    on_status(loop)
                await self._replay(loop)
                return
            numbering = Numbering(loop.oms.setup.instruments)
            tasks = [asyncio.create_task(pump(feed, numbering, loop.inbox)) for feed in self._feeds]
            try:
                seen = Monitor(loop, self.plan.mode, self._feeds, port=self._port, address=self._address)
                async with seen, Reception(seen):
                    if on_status is not None:
                        tasks.append(asyncio.create_task(_tell(loop, on_status)))
                    await loop.run(seconds=self.plan.seconds, how=AT_END[self.plan.at_end])
            finally:
                for feed in self._feeds:
                    await feed.close()
                for task in tasks[len(self._feeds) :]:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _replay(self, loop: Loop) -> None:
        tasks = loop.listen()
        try:
            await loop.reconcile()
            await play(loop, self.clock, self._rows)
            how = AT_END[self.plan.at_end]
            if how is not None:
                await loop.control(how)
                self.clock.now += 10 * SEC
                await loop.beat()
            await answered(loop)
            while loop.is_closing:
                self.clock.now += SEC
                await loop.beat()
                await answered(loop)
            await loop.keep()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Let go of feeds, venues and the journal, as far as they were opened."""
        for source in (*self._feeds, *self.venues.values()):
            await source.close()
        if self.store is not None:
            self.store.close()

    def outcome(self, loop: Loop) -> Traded:
        """Return what came of it."""
        oms = loop.oms
        return Traded(
            run=oms.setup.desks[0].run,
            mode=self.plan.mode,
            journal=self.plan.journal,
            fresh=self._fresh,
            rows=loop.counts.rows,
            intents=loop.counts.intents,
            orders=len(oms.table),
            fills=int(oms.table.executions.used[0]),
            positions=held(oms),
            equity=oms.portfolio.equity(oms.portfolio.accounts[0]),
            at_work=at_work(oms),
            unclosed=unclosed(oms),
            alarms=list(loop.counts.alarms),
        )


async def trade(plan: Plan, on_status: OnStatus | None = None, *, metrics: tuple[str, int] | None = None) -> Traded:
    """Trade as planned until it is over and return what came of it; raises a QuantaiError in one line otherwise.

    `on_status` is called with the loop once it has begun, and then about once a second. `metrics` is an address and
    a port (0: a free one) at which Prometheus can ask for them.
    """
    trading = Trading(plan, metrics)
    loop = await trading.open()
    try:
        await trading.run(loop, on_status)
        return trading.outcome(loop)
    finally:
        await trading.close()


def _route(plan: Plan, n: int, number: Mapping[tuple[str, str], int]) -> Route | None:
    """Return how the orders of the strategy of number `n` are routed."""
    by, groups = plan.desk(n).router, plan.listings(n)
    if by == "instrument":
        return None
    fees = tuple(tuple(plan.fees_bps.get(venue, 0.0) / 1e4 for venue, _ in group) for group in groups)
    return Route(by, tuple(tuple(number[one] for one in group) for group in groups), fees)


def what_is_left(done: Traded, at_end: str) -> str:
    """Return in words what an end that should have left nothing did leave, "" for nothing."""
    if at_end != "keep" and done.at_work:
        ids = ", ".join(done.at_work[:5]) + (" …" if len(done.at_work) > 5 else "")
        return f"the venue has not said that these orders ended, look at them there: {ids}"
    if at_end == "flatten" and done.unclosed:
        return f"not everything could be closed, look at it there: {', '.join(done.unclosed)}"
    return ""


def _in_lake(lake: Lake, venue: str, symbol: str, lots: Mapping[str, Any]) -> Instrument:
    try:
        found = lake.instruments.get(symbol, venue)
    except InputError:
        found = Instrument.parse(symbol, venue=venue)
    return found.with_fields(lot=lots[symbol]) if symbol in lots else found


def _redirect(endpoint: str) -> tuple[str, str] | None:
    if not endpoint:
        return None
    base = endpoint.rstrip("/")
    return base.replace("http", "ws", 1), base


async def _tell(loop: Loop, on_status: OnStatus) -> None:
    while True:
        on_status(loop)
        await asyncio.sleep(1.0)


@contextmanager
def _signals(loop: Loop) -> Generator[None]:
    """End the run in good order on the first SIGINT or SIGTERM; the second one has its usual effect."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's: the application that started this one has its own way to stop
        return
    running, numbers = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)

    def first() -> None:
        for number in numbers:
            running.remove_signal_handler(number)
        loop.end()

    for number in numbers:
        running.add_signal_handler(number, first)
    try:
        yield
    finally:
        for number in numbers:
            running.remove_signal_handler(number)

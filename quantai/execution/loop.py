"""The trade loop: feeds and venues in, rows in one order, intents out; one task decides that order.

Everything that happens is put into an inbox. The loop takes it out, numbers and journals it, shows it to the strategies
and to the order management, and sends what they decide. It is the walk of `retrace` that has not ended yet.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantai.core.errors import InputError, QuantaiError, VenueError
from quantai.core.rows import BAR, SEC, Kind, Rows, Status, zeros
from quantai.execution.agree import at_work, differing_money, differing_orders, differing_positions, risen, unresolved
from quantai.execution.alarms import RECONCILED, Alarm
from quantai.execution.bar_maker import BarMaker, bar_events
from quantai.execution.claims import claim
from quantai.execution.closing import AGAIN_NS, GRACE_NS, Closing
from quantai.execution.controls import ALL, Control, control, ended
from quantai.execution.fees import in_doubt, read_fee
from quantai.execution.floor import ROUNDS, Floor
from quantai.execution.gate import NEVER
from quantai.execution.hearing import Hearing
from quantai.execution.inbox import Command, Ended, Heard, Inbox, Item, Market, merged
from quantai.execution.last_cancels import cancel_all
from quantai.execution.links import Links
from quantai.execution.outgoing import LOCAL
from quantai.execution.payments import funding_rows
from quantai.execution.retrace import FLOOR
from quantai.execution.session import Session
from quantai.execution.tallies import Counts
from quantai.execution.timer_rows import timer_row
from quantai.venues.venue import FEE, Venue

_log = logging.getLogger(__name__)
NO_BARS = zeros(0, BAR)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often a loop does what no row asks for; seconds, 0 = never."""

    heartbeat_s: float = 0.25
    snapshot_s: float = 60.0
    reconcile_s: float = 60.0
    patience_s: float = 60.0  # how long one reconciliation may take


class Loop:
    """One run that trades.

    `watchers` are shown every row before the strategies' requests go out (a paper venue lives on them). `clock` gives
    ns UTC. Start what it needs with `begin`, then `run` until it is over.
    """

    def __init__(
        self,
        session: Session,
        floor: Floor,
        venues: Mapping[str, Venue],
        *,
        bars: BarMaker | None = None,
        watchers: Iterable[Callable[[Rows], None]] = (),
        pace: Pace | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.session, self.floor, self.oms = session, floor, session.oms
        self.venues, self.inbox, self.counts = dict(venues), Inbox(), Counts()
        self.counts.heed(floor.refused())
        self._hearing, self._links = Hearing(self.inbox, self._process), Links()
        self._bars, self._watchers = bars, list(watchers)
        self._pace, self._clock = pace or Pace(), clock
        self._next_beat = self._next_snapshot = self._next_check = 0
        self._doubts, self._closing = 0, Closing(floor, self.counts.alarms)
        self._next_end, self._paused_before = 0, ""
        self._ending = 0  # instant at which waiting for orders to end is given up; 0 = not ending
        self._how: Control | None = Control.STOP
        self.failure: QuantaiError | None = None
        self._in_doubt = set[str]()  # currencies in which a fee could not be booked
        self.funded_from = 0  # funding up to this instant (ns UTC) is none of ours
        self.reconciled = False

    @property
    def now(self) -> int:
        """The instant on the loop's clock, ns UTC."""
        return self._clock()

    def end(self) -> None:
        """Ask for the end of the run, from a task or a signal of its event loop."""
        self.inbox.put(Ended("end"))

    @property
    def ending(self) -> bool:
        """Whether the run is being ended."""
        return self._ending > 0

    async def market(self, rows: Rows, bars: Rows = NO_BARS) -> None:
        """Take rows of the market, and the BAR rows they point into by index from 0 on."""
        if self._bars is not None and len(made := self._bars.take(rows)):
            await self.announce(made, int(rows["ts_recv"].max()))
        self.counts.received.take(self._clock() - int(rows["ts_recv"][0]))
        await self.show(rows, bars)

    async def announce(self, made: Rows, ts: int, flags: int = 0) -> None:
        """Take BAR rows that were made here, at the instant `ts`."""
        await self.show(bar_events(made, self.oms.setup.instruments, ts=ts, flags=flags), made)

    async def show(self, rows: Rows, bars: Rows = NO_BARS) -> None:
        """Take rows as they are: no bars are built from them. Their BAR rows count `bars` from 0."""
        store = self.session.store
        rows = rows.copy()
        first_bar = store.next_bar
        if len(bars):
            rows["aux"][rows["kind"] == Kind.BAR] += first_bar
            store.append(bars)
        rows["seq"] = np.arange(store.next_seq, store.next_seq + len(rows))
        self.counts.rows += len(rows)
        done = 0
        for n, intents in self.floor.look(rows, bars, first_bar):
            await self._see(rows[done:n])
            done = n
            await self._ask(intents)
            self.counts.decided.take(self._clock() - int(rows["ts_recv"][n - 1]))
        if done < len(rows):
            await self._see(rows[done:])

    async def _see(self, rows: Rows) -> None:
        if not len(rows):
            return
        await self.session.see(rows)
        for watch in self._watchers:
            watch(rows)

    async def _ask(self, intents: Rows) -> None:
        for rounds in range(ROUNDS + 1):
            intents = self.floor.route(intents)
            if not len(intents):
                return
            self.counts.intents += len(intents)
            events = (await self.session.ask(intents)).events
            self.counts.refuse(events)
            intents = self.floor.hear(events, last=rounds + 1 >= ROUNDS)

    async def control(self, what: Control, *, desk: int = ALL, text: str = "", flags: int = 0, ts: int = 0) -> int:
        """Let a decision take effect at once and return the number of its row; raises InputError for a bad one."""
        row = await self._control(what, desk=desk, text=text, flags=flags, ts=ts)
        self._closing.take(what, self.floor.concerned(ALL if what is Control.KILL else desk), self._clock())
        return row

    async def _control(self, what: Control, *, desk: int, text: str = "", flags: int = 0, ts: int = 0) -> int:
        self.floor.check(what, desk, text)
        row = control(what, account=desk, ts=ts or self._clock())
        row["flags"] |= flags
        row["seq"] = self.session.store.next_seq
        step = await self.session.see(row, text)
        first = self.floor.obey(row[0], text)
        await self._ask(np.concatenate([first, self.floor.hear(step.events)]))
        return int(row["seq"][0])

    async def adjust(self, row: Rows) -> None:
        """Take an ADJUST row: money that moves without an execution."""
        await self.session.see(row)
        self.floor.adjusted()

    async def hear(self, said: Heard) -> None:
        """Take what a venue says."""
        answer = claim(self.oms, said.answer)
        if answer.link is not None:
            await self._link(said.venue, answer.link)
        for paid in answer.funding:
            if paid.ts > self.funded_from:  # what was paid before is in the money that the run began with
                for row in funding_rows(self.oms, said.venue, paid, self._clock()):
                    await self.adjust(row)
        texts = answer.texts
        for n in range(len(answer.reports)):
            one = answer.reports[n : n + 1]
            self.counts.reports += 1
            try:
                step = await self.session.hear(one, texts)
            except InputError as error:  # one message that cannot be must not end the run
                self.counts.quarantined += 1
                _log.error(
                    "%s: left out: %s", said.venue, error, extra={"event": "report_left_out", "venue": said.venue}
                )
                continue
            events = step.events
            self.counts.refuse(events)
            await self._ask(self.floor.hear(events))
            if one["kind"][0] == Kind.ORDER_STATUS and (again := risen(self.oms, said.venue)):
                await self._hold_back(again.values())
            if len(events) and bool(((events["kind"] == Kind.FILL) & (events["flags"] & LOCAL == 0)).any()):
                self._check_fee(dict(texts).get(FEE, ""))
            texts = ()

    async def _hold_back(self, lines: Iterable[str]) -> None:
        """Let only cancels out, with an alarm: what an order that has ended here trades there is not reckoned with."""
        for line in lines:
            self.counts.alarms.sound(Alarm.ORDERS_DIFFER, line)
        if self.reconciled:
            self.reconciled, self._next_check = False, 0
            await self.control(Control.RECONCILE)

    def _check_fee(self, said: str) -> None:
        """Count a fee that the order management could not book."""
        trouble = read_fee(said, self.oms.portfolio.currencies) if said else ""
        if isinstance(trouble, str) and trouble:
            self.counts.fees_left_out += 1
            self._in_doubt.update(in_doubt(said, self.oms.portfolio.currencies))
            _log.warning("%s", trouble, extra={"event": "fee_left_out"})

    async def _link(self, venue: str, status: Status) -> None:
        self._links.take(venue, status)
        if status is Status.DISCONNECTED:
            for alarm, line in self._links.lost(venue):
                self.counts.alarms.sound(alarm, line, venue=venue)
            self.reconciled = False
            await self.control(Control.RECONCILE)
        elif status in (Status.CONNECTED, Status.RESUMED):
            self.counts.reconnects += 1
            self._next_check = 0

    async def reconcile(self) -> bool:
        """Ask the venues about every order, compare all there is, and let orders out again when it agrees.

        The one path for a start, a reconnection and whenever a periodic look found a difference. What does not agree is
        an alarm; until it does only cancels go out.
        """
        self.reconciled = False
        await self.control(Control.RECONCILE)
        until = self._clock() + int(self._pace.patience_s * SEC)
        found = await self._disagreements(until)
        while found and not self._links.lost() and self._clock() < until and not self._over():
            await self._until(self._over, self._clock() + SEC // 4)  # what is on its way may explain it
            found = await self._disagreements(until)
        if found:
            for alarm, line in found:
                self.counts.alarms.sound(alarm, line)
            return False
        await self.control(Control.RECONCILED)
        self.counts.alarms.clear(RECONCILED)
        _log.info("reconciled", extra={"event": "reconciled"})
        self.reconciled = True
        self._doubts = 0
        return True

    async def _disagreements(self, until: int) -> list[tuple[Alarm, str]]:
        """Wait for answers until `until` (ns) and compare; not while a link is down, whose return asks for it again."""
        links = self._links
        await self._until(lambda: not unresolved(self.oms) or bool(links.lost()) or self._over(), until)
        if found := links.lost() or [(Alarm.ORDER_UNKNOWN, f"{n}: no answer about it") for n in unresolved(self.oms)]:
            return found
        before = links.changes
        found = await self._differences()
        return found if links.changes == before else links.lost() or [(Alarm.REPORTS_LOST, "a link came and went")]

    async def _differences(self) -> list[tuple[Alarm, str]]:
        """Compare with every venue; what arrives meanwhile is processed meanwhile."""
        found: list[tuple[Alarm, str]] = []
        money: dict[str, Any] = {}
        try:
            for name, venue in self.venues.items():
                orders = differing_orders(self.oms, name, await self._meanwhile(venue.open_orders()))
                held = differing_positions(self.oms, name, await self._meanwhile(venue.positions()))
                found += [(Alarm.ORDERS_DIFFER, line) for line in orders]
                found += [(Alarm.POSITIONS_DIFFER, line) for line in held]
                for currency, amount in (await self._meanwhile(venue.balances())).items():
                    money[currency] = money.get(currency, 0) + amount
        except VenueError as error:
            return [(Alarm.VENUE_SILENT, str(error))]
        found += [(Alarm.MONEY_DIFFERS, line) for line in differing_money(self.oms, money, self._in_doubt)]
        return found

    async def _meanwhile[T](self, question: Awaitable[T]) -> T:
        task = asyncio.ensure_future(question)
        await self._until(task.done, self._clock() + int(self._pace.patience_s * SEC))
        if not task.done():
            task.cancel()
            raise VenueError("a venue does not answer what it holds")
        return task.result()

    async def _until(self, over: Callable[[], bool], until: int) -> None:
        """Go on processing until something is the case, or it is `until` (ns)."""
        while not over() and self._clock() < until:
            await self.inbox.wait(0.02)
            await self.process()
            await self.beat()

    async def run(self, *, seconds: float | None = None, how: Control | None = Control.STOP) -> None:
        """Trade until a source ends, `end` was called, or for some seconds; raises what made it impossible.

        `how` says what becomes of orders and positions then: STOP cancels orders, FLATTEN also closes positions, None
        leaves all as it is. Where an error ends the run orders are canceled unless `how` is None, journal or not.
        """
        self._how = how
        tasks = self.listen()
        timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self.end)
        try:
            await self.reconcile()
            while not self._over():
                await self.inbox.wait((self.next_due - self._clock()) / 1e9)
                await self.process()
                await self.beat()
                await self._look_after()
            await self.keep()
        except Exception:
            if how is not None:
                await cancel_all(self.session, self.venues, self._clock, self._watchers)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            self._hearing.leave()
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        if self.failure is not None:
            raise self.failure

    def listen(self) -> list[asyncio.Task[None]]:
        """Hear what the venues say from now on; returns the tasks that do, to be canceled."""
        return self._hearing.listen(self.venues)

    @property
    def next_due(self) -> int:
        """When the next TIMER row is due, ns UTC."""
        timer = self.floor.next_timer
        return min(self._next_beat, timer) if timer else self._next_beat

    async def process(self) -> None:
        """Take everything out of the inbox."""
        await self._hearing.finished()
        await self._process(self.inbox.take())

    async def _process(self, items: list[Item]) -> None:
        at = 0
        while at < len(items):
            item = items[at]
            if isinstance(item, Market):
                end = at + 1
                while end < len(items) and isinstance(items[end], Market):
                    end += 1
                piece = merged([i for i in items[at:end] if isinstance(i, Market)])
                await self.market(piece.rows, piece.bars)
                at = end
                continue
            at += 1
            if isinstance(item, Heard):
                await self.hear(item)
            elif isinstance(item, Command):
                await self._obey(item)
            else:
                await self._ended(item)

    async def _obey(self, command: Command) -> None:
        try:
            row = await self.control(command.what, desk=command.desk, text=command.text)
        except QuantaiError as error:
            _log.warning("%s: %s", command.what.name, error, extra={"event": "refused"})
            if command.done is not None and not command.done.done():
                command.done.set_exception(error)
            return
        if command.done is not None and not command.done.done():
            command.done.set_result(row)

    async def _ended(self, item: Ended) -> None:
        if item.error is not None:
            self.counts.alarms.sound(Alarm.SOURCE_ENDED, str(item.error), venue=item.source)
            self.failure = self.failure or item.error
        if not self.ending:
            await self.stop()

    async def beat(self) -> None:
        """Let time pass: a TIMER row when one is due, for timers of strategies and for requests without an answer."""
        now, due = self._clock(), self.next_due
        if now < due:
            return
        if now >= self._next_beat:
            self._next_beat = now + int(self._pace.heartbeat_s * SEC)
            self.counts.heed(self.floor.refused())
            if self._bars is not None and len(made := self._bars.advance(now)):
                await self.announce(made, now)
        await self.show(timer_row(due or now, now))
        for desk in self._closing.due(now):
            await self._control(Control.FLATTEN, desk=desk, text=self._paused_before)

    async def _look_after(self) -> None:
        now, pace = self._clock(), self._pace
        if pace.snapshot_s and now >= self._next_snapshot:
            if self._next_snapshot:
                await self.keep()
            self._next_snapshot = now + int(pace.snapshot_s * SEC)
        if self.ending and self._how and now >= self._next_end:
            if not self.reconciled and self._how is Control.FLATTEN:
                await self.reconcile()  # nothing can be closed before
            await self._wind_up()
        if pace.reconcile_s and now >= self._next_check and not self.ending:
            first = self._next_check == 0
            self._next_check = now + int(pace.reconcile_s * SEC)
            if not self.reconciled:
                await self.reconcile()
            elif not first and await self._differences():
                self._doubts += 1  # once is what is on its way; twice is a difference
                self._next_check = now + SEC
                if self._doubts > 1:
                    await self.reconcile()
            else:
                self._doubts = 0

    async def stop(self) -> None:
        """Begin to end the run, as `run` was told how."""
        if self.ending:
            return
        self._ending = self._clock() + GRACE_NS
        self._paused_before = ended(d for d, desk in enumerate(self.floor.desks) if desk.muted)
        await self._wind_up()

    async def _wind_up(self) -> None:
        """Cancel, and close if that was asked for: at first, and again while something works that did not end."""
        self._next_end = self._clock() + AGAIN_NS
        await self.control(self._how or Control.PAUSE, text=self._paused_before)

    def _over(self) -> bool:
        if not self.ending:
            return False
        under_way = at_work(self.oms) if self._how else int(self.oms.point["deadline"][0]) < NEVER
        if not under_way and not (self._how is Control.FLATTEN and self.floor.holds and not self._closing.leaves):
            return True
        return self._is_late() and not len(self.inbox)

    def _is_late(self) -> bool:
        """Say whether nothing is waited for any more."""
        closing = self._closing.until if self._how is Control.FLATTEN else 0
        return self.ending and self._clock() >= max(self._ending, closing)

    @property
    def is_closing(self) -> bool:
        """Whether a desk that is to be flat is not, and can be expected to go on."""
        return self._clock() < self._closing.until

    async def keep(self) -> None:
        """Keep the state of orders and strategies in the journal, so that a recovery is quick."""
        self.session.snapshot()
        self.session.store.snapshot(FLOOR, self.floor.snapshot())

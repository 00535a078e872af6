"""The session: the thin shell that gives the order management its surroundings, always in the same order.

What comes in is numbered and journaled, then processed; what it led to is sent once the journal is on the disk, and
told to the bus. So whatever a venue has ever been asked can be rebuilt from the journal, and nothing is sent twice.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from quantai.core.errors import InputError, StorageError, VenueError
from quantai.core.reports import REPORT
from quantai.core.rows import EVENT, LAST, Kind, Rows, zeros
from quantai.execution.controls import ALL, Control, control
from quantai.execution.limits import Limits
from quantai.execution.oms import OMS
from quantai.execution.outgoing import Step
from quantai.journal import EventStore, StoreReader, Text
from quantai.journal.bus import EventBus
from quantai.venues.venue import FEE, Ask, Request, Sends

SNAPSHOT = "oms"
"""The name of the order management's snapshots in a store."""

REPEATABLE = (Ask.CANCEL, Ask.QUERY)
"""What a venue may be asked twice: recovery may not know that it was asked."""

_EXECUTIONS = frozenset((Kind.FILL, Kind.TRADE_CANCEL, Kind.TRADE_CORRECT))

_log = logging.getLogger(__name__)


class Session:
    """One order management, one journal, one venue and, if there are listeners, one bus.

    Calls may overlap, from tasks of one event loop: what a call brings is numbered, journaled and processed before it
    first waits. The requests of one call are sent in order, one after the other; the bus gets everything in the order
    of its numbers.
    """

    def __init__(self, oms: OMS, store: EventStore, venue: Sends, bus: EventBus | None = None) -> None:
        if oms.seq >= store.next_seq:
            raise InputError(f"{store.path} ends before row {oms.seq}, which was processed: recover from this journal")
        with StoreReader(store.path) as reader:
            last = reader.last_seq() or 0
        if oms.seq < last:
            raise InputError(f"{store.path} has rows {oms.seq + 1} … {last} that were not processed: recover from it")
        self.oms, self.store, self._venue, self._bus = oms, store, venue, bus
        self._ahead = False  # the order management has processed a kill switch that the journal did not take
        self.fence: Callable[[], None] | None = None  # called before each batch of requests; raises to let none out
        self._untold: deque[Rows] = deque()
        self._telling = asyncio.Lock()

    async def see(self, rows: Rows, text: str = "") -> Step:
        """Take EVENT rows (market data, timers, controls, adjustments) and number them; `text` goes with the only one.

        Raises InputError before anything is journaled when a row cannot be of this run, and StorageError when the
        journal takes no rows: the cancels of a kill switch have been sent all the same then.
        """
        self._check_open(rows)
        if rows.dtype != EVENT or (text and len(rows) != 1):
            raise InputError(f"see takes EVENT rows, and a text beside one of them: got {len(rows)} of {rows.dtype}")
        for row in rows[(rows["kind"] == Kind.CONTROL) | (rows["kind"] == Kind.ADJUST)]:
            self.oms.check_event(row, text)
        first = self.store.next_seq
        numbered = np.array(rows, EVENT)
        numbered["seq"] = np.arange(first, first + len(rows))
        try:
            self.store.append(numbered, texts=[Text(first, "control", text)] if text else [])
        except StorageError:
            await self._kill_unrecorded(numbered)
            raise
        return await self._finish(feed(self.oms, numbered, {first: text} if text else {}), numbered)

    async def hear(self, reports: Rows, texts: Iterable[tuple[str, str]] = ()) -> Step:
        """Take REPORT rows of the venue and number them; `texts` are (field, text) beside the first: ids, payloads.

        Executions are on the disk before anybody is told of them. Raises InputError, before anything is journaled, for
        rows that no venue can mean.
        """
        self._check_open()
        if reports.dtype != REPORT:
            raise InputError(f"hear takes REPORT rows, not {reports.dtype}")
        self.oms.check_reports(reports)
        step, events, heard = Step(), zeros(len(reports), EVENT), reports.copy()
        first = self.store.next_seq
        heard["seq"] = np.arange(first, first + len(heard))
        for event, report in zip(events, heard, strict=True):
            self._describe(event, report)
        executed = not _EXECUTIONS.isdisjoint(heard["kind"].tolist())
        words = list(texts)
        self.store.append(events, heard, texts=[Text(first, *text) for text in words], durable=executed)
        fee = dict(words).get(FEE, "")
        for event, report in zip(events, heard, strict=True):
            self.oms.process(event)
            step.add(self.oms.process(report, fee if report["seq"] == first else ""))
        return await self._finish(step, events)

    async def ask(self, intents: Rows) -> Step:
        """Take INTENT rows that answer the last row; they are on the disk before any of them is sent.

        Raises InputError, before anything is journaled, for intents of another row or desk.
        """
        self._check_open()
        self.oms.check_intents(intents)
        self.store.append_intents(intents)
        step = Step()
        for intent in intents:
            step.add(self.oms.process(intent))
        return await self._finish(step, None)

    async def control(self, what: Control, *, account: int = ALL, instrument: int = 0, ts: int = 0) -> Step:
        """Let a person's decision take effect: a trading state, the kill switch, a reconciliation."""
        if what is Control.LIMITS:
            raise InputError("limits are loaded by load_limits, which says what they would loosen")
        return await self.see(control(what, account=account, instrument=instrument, ts=ts or self.oms.ts))

    async def load_limits(self, limits: Limits, *, confirmed: bool = False) -> Step:
        """Take over limits while running; raises InputError naming what gets looser, unless that is confirmed."""
        new = self.oms.gate.limits.replaced_by(limits, confirmed=confirmed)
        return await self.see(control(Control.LIMITS, ts=self.oms.ts), new.text())

    def snapshot(self) -> int:
        """Keep the state in the journal, so that a recovery need not start at the first row; returns the row."""
        self._check_open()
        return self.store.snapshot(SNAPSHOT, self.oms.snapshot())

    def _describe(self, event: Any, report: Any) -> None:
        """Fill the EVENT row that carries a report through the one stream."""
        event["seq"], event["kind"], event["flags"] = report["seq"], report["kind"], LAST
        event["ts_exch"] = event["ts_recv"] = report["ts"]
        event["aux"] = report["order"].astype(np.int64)
        event["px_ticks"] = report["px_ticks"]
        slot = self.oms.table.slot(report["order"])
        if slot is None:
            return
        tracked = self.oms.table.tracked[slot]
        i = int(tracked["instrument"])
        event["instrument"], event["side"] = i, tracked["side"]
        if i < len(self.oms.setup.instruments):
            event["px"] = self.oms.gate.price(i, int(report["px_ticks"]))
            event["qty"] = self.oms.gate.units(i, int(report["qty_lots"]))

    async def _finish(self, step: Step, seen: Rows | None) -> Step:
        """Send what a step asks for, once its cause is on the disk, and tell the bus.

        What can be sent twice without harm does not wait for a disk that refuses: a cancel must always get out.
        """
        if self._bus is not None:
            self._untold += [rows for rows in (seen, step.events) if rows is not None and len(rows)]
        if step.requests and self.store.durable_seq <= self.oms.seq:
            try:
                self.store.flush()
            except StorageError:
                await self._send([r for r in step.requests if r.ask in REPEATABLE])
                raise
        failure = await self._send(step.requests)
        await self._tell()
        if failure is not None:
            raise failure
        return step

    async def _send(self, requests: Iterable[Request]) -> Exception | None:
        """Send every request, whatever becomes of those before it; returns the first error that is a bug.

        Raises what the fence raises, before anything is sent.
        """
        failure: Exception | None = None
        waiting = list(requests)
        if waiting and self.fence is not None:
            self.fence()
        for request in waiting:
            try:
                await self._venue.send(request)
            except VenueError as error:  # it may have arrived: the deadline asks, nothing is repeated
                said = {"event": "not_sent", "order": request.client_id}
                _log.warning("%s %s: %s", request.ask.name, request.client_id, error, extra=said)
            except Exception as error:  # noqa: BLE001 - a bug in an adapter must not stop the cancels after it
                said = {"event": "not_sent", "order": request.client_id}
                _log.exception("%s %s: the venue failed", request.ask.name, request.client_id, extra=said)
                failure = failure or error
        return failure

    async def _kill_unrecorded(self, rows: Rows) -> None:
        """Pull the kill switch although the journal takes no rows; nothing else is taken from then on."""
        kills = rows[(rows["kind"] == Kind.CONTROL) & (rows["aux"] == Control.KILL)].copy()
        for n, row in enumerate(kills):
            self._ahead = True
            row["seq"] = max(int(row["seq"]), self.oms.seq + 1)
            step = self.oms.process(row)
            if n == 0:
                _log.critical("the kill switch is not in the journal: only its cancels go out from now on")
            await self._send([r for r in step.requests if r.ask in REPEATABLE])

    def _check_open(self, rows: Rows | None = None) -> None:
        """Refuse rows when the journal ends before what was processed, except another pull of the kill switch."""
        if not self._ahead:
            return
        if rows is None or not bool(((rows["kind"] == Kind.CONTROL) & (rows["aux"] == Control.KILL)).all()):
            raise StorageError(f"{self.store.path} did not take the kill switch: recover from it, with space, to go on")

    async def _tell(self) -> None:
        """Publish what nobody was told yet: by whichever call gets here first, so that nothing is overtaken."""
        if self._bus is None:
            return
        async with self._telling:
            while self._untold:
                await self._bus.publish(self._untold.popleft())


def feed(oms: OMS, events: Rows, texts: dict[int, str]) -> Step:
    """Process EVENT rows, those that ask for nothing many at a time; `texts` by row number go with CONTROL rows."""
    step, at = Step(), 0
    while at < len(events):
        at += oms.observe(events[at:])
        if at < len(events):
            row = events[at]
            step.add(oms.process(row, texts.get(int(row["seq"]), "")))
            at += 1
    return step

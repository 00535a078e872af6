"""The monitor of a run: a look once a second at its feeds, its disk and what waits, kept as alarms."""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from quantai.execution.alarms import Alarm
from quantai.execution.inbox import MOST_WAITING
from quantai.execution.loop import Loop
from quantai.execution.monitor.exporter import Exporter
from quantai.execution.monitor.metrics import Measured, Seen, measure
from quantai.execution.monitor.status import status_of
from quantai.execution.remote import RunStatus
from quantai.feeds.crypto import CryptoFeed
from quantai.journal import EventStore

LATE_S = 5.0
"""How long a row may wait for the disk; it is written after a fifth of a second."""
LOOK_S = 1.0
_SILENT = {"silent": (Alarm.FEED_SILENT, "sends nothing"), "down": (Alarm.FEED_DOWN, "is not connected")}
_log = logging.getLogger(__name__)


class Lag:
    """How far the disk is behind a journal, by looking now and then: the store need not keep time for each row."""

    def __init__(self, store: EventStore) -> None:
        self._store, self._durable, self._since = store, 0, 0.0

    def rows(self) -> int:
        """EVENT rows that are not on the disk yet."""
        return max(0, self._store.next_seq - self._store.durable_seq)

    def seconds(self) -> float:
        """How long the disk has taken nothing although rows wait, at least; 0 when none did at the last look."""
        now, durable = time.monotonic(), self._store.durable_seq
        if durable != self._durable or not self.rows():
            self._durable, self._since = durable, now
        return now - self._since


class Monitor:
    """Looks after one run while it trades; an asynchronous context manager.

    With `port` its metrics are served at `address`, 0 takes a free port. Raises InputError when that is taken.
    """

    def __init__(
        self, loop: Loop, mode: str, feeds: Sequence[CryptoFeed] = (), *, port: int | None = None, address: str = ""
    ) -> None:
        self.loop, self.mode, self.feeds = loop, mode, list(feeds)
        self._lag, self._states, self._received = Lag(loop.session.store), dict[str, str](), dict[str, int]()
        self._exporter = None if port is None else Exporter(self.measure, address or "127.0.0.1", port)

    async def __aenter__(self) -> "Monitor":
        if self._exporter is not None:
            await self._exporter.start()
            _log.info("metrics at %s", self._exporter.url, extra={"event": "metrics_served", "url": self._exporter.url})
        desks = [desk.run for desk in self.loop.oms.setup.desks]
        journal = str(self.loop.session.store.path)
        _log.info("%s begins", desks[0], extra={"event": "run_started", "desks": desks, "journal": journal})
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        if self._exporter is not None:
            await self._exporter.stop()
        counts = self.loop.counts
        said = {"rows": counts.rows, "orders": len(self.loop.oms.table), "alarms": list(counts.alarms)}
        _log.info("the run has ended", extra={"event": "run_ended", **said})

    def status(self) -> RunStatus:
        """Return what the run is doing now."""
        return status_of(self.loop, self.mode, self.feeds)

    def measure(self) -> Measured:
        """Return every metric of the run as it is now; to be called in the thread of its event loop."""
        return measure(Seen(self.loop, self.mode, self.feeds, self._lag.rows(), self._lag.seconds()))

    def look(self) -> None:
        """Raise and clear what can be seen from outside the loop."""
        for feed in self.feeds:
            self._feed(feed)
        for name, venue in self.loop.venues.items():
            if line := getattr(venue, "unarmed", ""):  # only real ones have a switch
                self.loop.counts.alarms.sound(Alarm.DEAD_MAN_OFF, line, venue=name)
            else:
                self.loop.counts.alarms.clear([Alarm.DEAD_MAN_OFF], venue=name)
        late = self._lag.seconds()
        self._sound(Alarm.JOURNAL_LATE, late > LATE_S, f"{self.loop.session.store.path.name}: rows wait for the disk")
        full = len(self.loop.inbox) >= MOST_WAITING
        self._sound(Alarm.INBOX_FULL, full, "rows come faster than they are taken")

    async def _watch(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(LOOK_S)

    def _feed(self, feed: CryptoFeed) -> None:
        venue, state, alarms = feed.venue, feed.state, self.loop.counts.alarms
        if state != self._states.get(venue):
            self._states[venue] = state
            said: dict[str, Any] = {"event": "feed_state", "venue": venue, "state": state}
            level = logging.WARNING if state in _SILENT else logging.INFO
            _log.log(level, "%s: the feed is %s", venue, state, extra=said)
        if state in _SILENT:
            alarm, words = _SILENT[state]
            self._received[venue] = feed.received
            # one that is silent is opened again, and is not connected for a moment: what was true before is over
            alarms.clear([other for other, _ in _SILENT.values() if other is not alarm], venue=venue)
            alarms.sound(alarm, f"{venue}: its feed {words}", venue=venue)
        elif state == "up" and 0 < feed.received != self._received.get(venue):  # open again is not yet heard again
            alarms.clear([alarm for alarm, _ in _SILENT.values()], venue=venue)

    def _sound(self, alarm: Alarm, wrong: bool, line: str) -> None:
        if wrong:
            self.loop.counts.alarms.sound(alarm, line)
        else:
            self.loop.counts.alarms.clear([alarm])

"""The recorder: what a feed hands out goes into a lake, at most a second late, each row once.

Rows and the place to go on from are committed together. What a commit has acknowledged is in the lake once, whatever
happens to the process afterwards; a capture is resumed behind the last acknowledged row, a live recording starts anew
with a GAP row where the time is missing. Commits run on a thread of their own, so that a slow disk does not delay the
receipt stamps.
"""

import asyncio
import contextlib
import logging
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from quantai.core.rows import LAST, Kind, Status
from quantai.data.lake import Lake
from quantai.data.writer import Writer
from quantai.feeds.capture import CaptureFeed, fingerprint
from quantai.feeds.columns import TABLES, Pile
from quantai.feeds.crypto import CryptoFeed
from quantai.feeds.feed import STATUS, Batch, Feed
from quantai.feeds.raw import SUFFIX, RawFile
from quantai.feeds.tally import Latency, Tally
from quantai.feeds.venues import check_channels

FLUSH_S = 0.25  # with the time that a commit takes on a busy disk, nothing waits for a second
_log = logging.getLogger(__name__)
_MOST_ROWS = 300_000  # rows in memory before the feed has to wait for the disk
_SWITCH_S = 5e-4  # how soon the thread that commits gets its turn: it asks a hundred times, and took 3 s at a full load
_SLICE_S = 2e-3  # of a burst, read on end: turns of the event loop are a fifth of the work otherwise


@dataclass
class Report:
    """What a recording came to. `tally` counts its whole source, `new` what this run added."""

    source: str
    venue: str
    lake: Path
    tally: Tally
    new: Tally
    seconds: float
    latency_ms: dict[str, float]
    raw: Path | None = None
    already_complete: bool = False
    quarantined: int = 0  # messages that could not be read, in quarantine/VENUE.jsonl of the lake


@dataclass
class Progress:
    """Where a running recording stands; `acknowledged` is what the last commit made durable."""

    acknowledged: Tally
    new: Tally
    latency_ms: dict[str, float] = field(default_factory=dict)


OnCommit = Callable[[Progress], None]


async def record_capture(
    path: str | Path,
    lake: Lake,
    *,
    speed: float | None = None,
    seconds: float | None = None,
    messages: int | None = None,
    on_commit: OnCommit | None = None,
) -> Report:
    """Record the capture at `path` into `lake`, going on where an earlier recording of the same content ended.

    A capture that is in the lake already is not replayed again (`already_complete`). `speed` is a multiple of the
    recorded pace, None for as fast as possible; `seconds` and `messages` end the recording early. Raises DataError for
    a file that cannot be replayed, StorageError when the lake cannot be written.
    """
    source = f"capture:{fingerprint(path)[:32]}"
    async with _opened(lake, source) as recording:
        start = recording.tally
        if start.complete:
            return recording.report(already_complete=True)
        feed = CaptureFeed(path, speed=speed, skip=start.batches, seq=start.seq)
        await feed.connect()
        return await recording.run(feed, seconds=seconds, messages=messages, on_commit=on_commit)


async def record_live(
    venue: str,
    symbols: list[str],
    channels: list[str],
    lake: Lake,
    *,
    raw: bool = False,
    seconds: float | None = None,
    messages: int | None = None,
    source: str | None = None,
    on_commit: OnCommit | None = None,
    **options: Any,
) -> Report:
    """Record `channels` of `symbols` from `venue` into `lake` until SIGINT, SIGTERM, or a bound is reached.

    With `raw`, the wire frames are kept in `raw/VENUE/` of the lake. `source` names the recording, by default after the
    venue; only one process at a time may record a source. `options` are those of `CryptoFeed`. Raises UnknownName for a
    venue, symbol or channel, VenueError when the venue cannot be used, StorageError when the lake cannot be written.
    """
    check_channels(venue, channels)  # a misspelt name should not cost a lake or a connection
    options = {"slice_s": _SLICE_S} | options
    CryptoFeed(venue, **options)
    async with _opened(lake, source or f"live:{venue}") as recording:
        start = recording.tally
        if raw:
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
            recording.raw = RawFile(lake.root / "raw" / venue / f"{stamp}{SUFFIX}")
        bad = lake.root / "quarantine" / f"{venue}.jsonl"
        feed = CryptoFeed(venue, seq=start.seq, resumed=start.batches > 0, raw=recording.raw, quarantine=bad, **options)
        await feed.connect()
        feed.subscribe(symbols, channels)
        report = await recording.run(feed, seconds=seconds, messages=messages, on_commit=on_commit)
        report.quarantined = feed.quarantine.count
        return report


@contextlib.asynccontextmanager
async def _opened(lake: Lake, source: str) -> AsyncGenerator["Recording"]:
    recording = Recording(lake, source)
    try:
        await recording.open()
        yield recording
    finally:
        await recording.close()


class Recording:
    """One run of one source: takes batches, commits them, counts.

    `tally` is what was taken up to the last commit. One that fails ends the run, and nothing is committed after it.
    """

    def __init__(self, lake: Lake, source: str) -> None:
        self.source, self.lake = source, lake
        self.raw: RawFile | None = None
        self.tally = Tally()
        self._start = Tally()
        self._venue = ""
        self._began = time.monotonic()
        self._latency = Latency()
        self._waiting: dict[tuple[str, str], Pile] = {}
        self._waiting_rows = 0
        self._writer: Writer | None = None
        self._failed = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="record")
        self._flushing = asyncio.Lock()
        self._on_commit: OnCommit | None = None

    async def open(self) -> None:
        """Take the source; raises StorageError when another process has it or the lake cannot be written."""
        self._writer = await self._in_thread(self.lake.writer, self.source)
        self.tally = Tally.of(self._writer.position)
        self._venue = str(self._writer.position.get("venue", ""))
        self._start = deepcopy(self.tally)

    async def close(self) -> None:
        """Give the source back."""
        with contextlib.ExitStack() as ends:
            ends.callback(self._thread.shutdown)
            if self._writer is not None:
                ends.callback(self._thread.submit(self._writer.close).result)
            if self.raw is not None:
                ends.callback(self._thread.submit(self.raw.close).result)

    async def run(
        self,
        feed: Feed,
        *,
        seconds: float | None = None,
        messages: int | None = None,
        on_commit: OnCommit | None = None,
    ) -> Report:
        """Record `feed` to its end, to a bound, or to SIGINT or SIGTERM, and return what it came to."""
        self._venue, self._on_commit = feed.venue, on_commit
        limit = None if messages is None else sum(self.tally.messages.values()) + messages
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        bound = None if seconds is None else loop.call_later(seconds, stop.set)
        tasks = [loop.create_task(self._flush_regularly(stop)), loop.create_task(_close_on(stop, feed))]
        try:
            await self._in_thread(self._list, feed)
            said = {"source": self.source, "lake": str(self.lake.root), "acknowledged": self.tally.total}
            _log.info("%s: recording", self._venue, extra={"event": "recording_started", "venue": self._venue, **said})
            with _signals(loop, stop.set), _soon_its_turn():
                await self._take_all(feed, limit, stop)
            await self._in_thread(self._list, feed)
            self.tally.complete = isinstance(feed, CaptureFeed) and not stop.is_set()
        finally:
            if bound is not None:
                bound.cancel()
            stop.set()
            await asyncio.wait(tasks)
            await self._flush()
        for task in tasks:
            task.result()
        new = self.tally.since(self._start)
        said = {"source": self.source, "rows": new.total, "gaps": new.gaps, "reconnects": new.reconnects}
        _log.info("%s: recorded", self._venue, extra={"event": "recording_ended", "venue": self._venue, **said})
        return self.report()

    def report(self, *, already_complete: bool = False) -> Report:
        """Return what the recording came to so far."""
        return Report(
            self.source,
            self._venue,
            self.lake.root,
            self.tally,
            self.tally.since(self._start),
            time.monotonic() - self._began,
            self._latencies(),
            None if self.raw is None else self.raw.path,
            already_complete,
        )

    async def _take_all(self, feed: Feed, limit: int | None, stop: asyncio.Event) -> None:
        """Take what the feed hands out until it ends; `stop` it after `limit` messages of the source."""
        left = None if limit is None else limit - sum(self.tally.messages.values())
        async with contextlib.aclosing(cast(AsyncGenerator[Batch], feed.batches())) as batches:
            async for batch in batches:
                self._waiting_rows += len(batch)
                if batch.channel == STATUS:
                    _tell(batch)
                key = (batch.channel, batch.symbol)
                pile = self._waiting.get(key)
                if pile is None:
                    pile = self._waiting[key] = Pile(batch.channel)
                pile.add(batch)
                if self._waiting_rows >= _MOST_ROWS:
                    await self._flush()
                if left is not None:
                    left -= batch.channel != STATUS
                    if left <= 0:
                        stop.set()

    async def _flush_regularly(self, stop: asyncio.Event) -> None:
        try:
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), FLUSH_S)
                await self._flush()
        finally:
            stop.set()

    async def _flush(self) -> None:
        """Commit what has been taken; does nothing after a commit has failed."""
        async with self._flushing:
            if self._failed:
                return
            waiting, self._waiting, self._waiting_rows = self._waiting, {}, 0
            for pile in waiting.values():
                self.tally.take(pile)
            tally = deepcopy(self.tally)
            try:
                await self._in_thread(self._write, waiting, tally.position() | {"venue": self._venue})
            except BaseException:
                self._failed = True
                raise
            if self._on_commit is not None:
                self._on_commit(Progress(tally, tally.since(self._start), self._latencies()))

    def _write(self, waiting: dict[tuple[str, str], Pile], position: dict[str, Any]) -> None:
        if self.raw is not None:
            self.raw.flush()
        writer = self._writer
        if writer is None or (not waiting and position == writer.position):
            return
        for (channel, symbol), pile in waiting.items():
            writer.append(TABLES[channel], self._venue, symbol, pile.columns())
            self._latency.take(pile.events)
        writer.commit(position)

    def _list(self, feed: Feed) -> None:
        """Tell the lake what is traded; a capture does not overrule what is known, because it may be of old."""
        known = self.lake.instruments
        have = {(i.venue, i.symbol) for i in known} if isinstance(feed, CaptureFeed) else set[tuple[str, str]]()
        known.update(i for i in feed.instruments if (i.venue, i.symbol) not in have)

    def _latencies(self) -> dict[str, float]:
        p50, p99 = self._latency.percentiles_ms(50, 99)
        return {"p50": p50, "p99": p99}

    async def _in_thread[T](self, do: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, do, *args)


def _tell(batch: Batch) -> None:
    """Write a line of the log about a GAP row, and about a change of a connection, one for all of its symbols."""
    row, said = batch.events[0], {"venue": batch.venue, "detail": batch.detail}
    if row["kind"] == Kind.GAP:
        what = f"rows of {batch.symbol} may be missing"
        _log.info("%s: %s: %s", batch.venue, what, batch.detail, extra=said | {"event": "gap", "symbol": batch.symbol})
    elif row["flags"] & LAST:
        state = Status(int(row["aux"])).name.lower()
        _log.info("%s: a connection is %s", batch.venue, state, extra=said | {"event": "connection", "state": state})


async def _close_on(stop: asyncio.Event, feed: Feed) -> None:
    await stop.wait()
    await feed.close()


@contextlib.contextmanager
def _soon_its_turn() -> Generator[None]:
    """Let a thread that waits for the interpreter wait no longer than `_SWITCH_S`; the first to ask sets it back."""
    before = sys.getswitchinterval()
    if before <= _SWITCH_S:
        yield
        return
    sys.setswitchinterval(_SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> Generator[None]:
    """Call `stop` on the first SIGINT or SIGTERM; the second one has its usual effect."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def remove() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    def first() -> None:
        remove()
        stop()

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's: the application that started this one has its own way to stop
        return
    for number in numbers:
        loop.add_signal_handler(number, first)
    try:
        yield
    finally:
        remove()

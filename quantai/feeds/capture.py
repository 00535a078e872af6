"""CaptureFeed: recorded wire frames through cryptofeed's real parsers, in the order they were received.

Two kinds of files replay: cryptofeed's own captures (`NAME.pcap.zst` with `NAME.meta.json` beside it) and the raw
frames that `quantai record --raw` keeps (`NAME.jsonl.zst`). Both are read into memory as a whole. The same file
always gives the same batches with the same `seq`, which is what lets an interrupted recording of it be resumed.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from quantai.core.errors import DataError, InputError, MissingExtra
from quantai.core.instruments import Instruments
from quantai.feeds import raw
from quantai.feeds.feed import Batch
from quantai.feeds.messages import Scribe, to_ns
from quantai.feeds.outlet import Outlet
from quantai.feeds.symbols import Names
from quantai.feeds.venues import CONSECUTIVE
from quantai.feeds.watch import Watch


class CaptureFeed:
    """Replays the file at `path` at `speed` times the recorded pace, or as fast as possible when `speed` is None.

    The first `skip` batches are left out, and `seq` is the number of the last row that an earlier recording has.
    """

    def __init__(self, path: str | Path, *, speed: float | None = None, skip: int = 0, seq: int = 0) -> None:
        self.path = Path(path)
        if speed is not None and not speed > 0:
            raise InputError(f"speed {speed} is not positive: 1 is the recorded pace, 10 ten times as fast")
        self._speed, self._skip, self._seq = speed, skip, seq
        self._replayer: Any = None
        self._feed: Any = None
        self._scribe: Scribe | None = None

    @property
    def venue(self) -> str:
        """The venue the frames came from; known after `connect`."""
        return "" if self._replayer is None else str(self._replayer.exchange)

    @property
    def instruments(self) -> Instruments:
        """What `instrument` numbers in the rows: the recorded subscription first, in its order."""
        return Instruments() if self._scribe is None else self._scribe.instruments

    async def connect(self) -> None:
        """Read the file; raises DataError when it is damaged or no capture."""
        try:
            from cryptofeed.symbols import Symbols

            from quantai.feeds.internals import QUIET, first_line, subscribed
        except ImportError:
            raise MissingExtra("cryptofeed", "record") from None
        if not self.path.is_file():
            raise DataError(f"{self.path}: no such capture file")
        try:
            self._replayer = self._read()
            # the list of symbols is a global of the process: another capture of this venue may have left its own
            Symbols.data.pop(self._replayer.exchange, None)
            self._feed = self._replayer.build_feed(config=QUIET)
            self._replayer.prepare(self._feed)
            await self._feed.load_symbols(conn=self._feed.http_conn)
            listed, info = Symbols.get(self._feed.id)
            self._scribe = Scribe(self.venue, Names(self.venue, listed), info, self._seq)
            for theirs in subscribed(self._feed):
                self._scribe.listing(theirs)
        except DataError:
            raise
        except Exception as error:
            raise DataError(f"{self.path}: not a capture that can be replayed: {first_line(error)}") from error

    def subscribe(self, symbols: Sequence[str] = (), channels: Sequence[str] = ()) -> None:
        """Choose everything the capture holds: it cannot be narrowed; raises InputError for any argument."""
        if symbols or channels:
            raise InputError(f"{self.path}: a capture replays what was recorded; leave out the symbols and channels")

    async def batches(self) -> AsyncIterator[Batch]:
        """Yield what the capture holds; raises DataError when its parsers fail on it."""
        if self._scribe is None:
            raise InputError(f"{self.path}: connect() comes before batches()")
        from quantai.feeds.internals import carried, start_anew, take_turns, wrap

        names, watch = self._scribe.names, Watch()
        outlet = Outlet(
            self._scribe,
            watch,
            self._clock,
            lambda connection: carried(self._feed, names, connection),
            numbered=self._feed.provides_sequence_number,
            consecutive=self.venue in CONSECUTIVE,
            skip=self._skip,
        )
        for channel, callback in outlet.callbacks().items():
            self._feed.callbacks[channel] = [callback]

        def replayed(connection: Any) -> Any:
            take_turns(self._replayer.coordinator, connection)
            watch.add(connection)
            return outlet.paced(connection)

        wrap(self._feed, replayed)
        start_anew(self._feed)
        task = asyncio.create_task(self._run(outlet), name=f"replay {self.path.name}")
        try:
            async for burst in outlet.bursts():
                for batch in burst:
                    yield batch
        finally:
            outlet.leave()
            await self.close()
            await task

    async def close(self) -> None:
        """Stop replaying."""
        if self._replayer is not None:
            self._replayer.coordinator.stop_event.set()

    def _read(self) -> Any:
        from cryptofeed.capture.playback import Replayer

        pacing, speed = ("fast", 1.0) if self._speed is None else ("realtime", self._speed)
        if not raw.is_raw(self.path):
            return Replayer(str(self.path), on_error="raise", pacing=pacing, speed=speed)
        frames, metadata = raw.read(self.path)
        replayer = Replayer(frames, on_error="raise", pacing=pacing, speed=speed)
        replayer.metadata = metadata
        return replayer

    async def _run(self, outlet: Outlet) -> None:
        from quantai.feeds.internals import first_line, leaves

        try:
            await self._feed.run(self._replayer.coordinator.stop_event)
        except Exception as error:  # noqa: BLE001 - handed to the consumer
            outlet.end(DataError(f"{self.path}: cannot be replayed further: {first_line(leaves(error)[0])}"))
        else:
            outlet.end()

    def _clock(self, receipt: float) -> int:
        # the coordinator knows the exact stamp of the frame in hand; parsers that fetch a snapshot stamp it with the
        # time of day instead, which is not the time of the recording
        granted: int = self._replayer.coordinator.last_granted_ns
        recv_ns = to_ns(receipt)
        return recv_ns if recv_ns < granted - 1_000 else granted


def fingerprint(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hex; raises DataError when it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None

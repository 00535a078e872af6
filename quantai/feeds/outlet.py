"""From cryptofeed's callbacks to the consumer of batches.

Nothing is awaited inside a callback, so the rows of one wire message are never torn apart and their order never
depends on how fast the consumer is. The consumer's pace is felt between two wire messages instead: `paced` holds the
reading of the socket, and the venue's own flow control does the rest. Nothing is ever dropped.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from quantai.core.rows import Kind, Status
from quantai.feeds.feed import CHANNELS, Batch
from quantai.feeds.messages import Scribe
from quantai.feeds.watch import Change, Watch

SLICE_S = 1e-4
"""How long wire messages are read on end: in a burst, what came first must not wait until all of it has been read."""

_TURNS = 2  # of the event loop: the consumer's, and that of whoever the consumer hands rows to


class Outlet:
    """The backlog of one feed.

    `clock` turns cryptofeed's receipt stamp (float seconds) into nanoseconds; `symbols` names the symbols a
    connection carries; `numbered` says that the venue numbers its book updates, `consecutive` that each number is one
    above the last and nobody has compared them: after a hole updates of that book are left out until its next snapshot,
    and `torn` is called with what is wrong; it may raise what has the connection opened again. The first `skip` batches
    are counted and thrown away: an earlier recording has them. Reading pauses while `limit` rows wait for the consumer,
    and lets it have its turn after `slice_s` of a burst.
    """

    def __init__(
        self,
        scribe: Scribe,
        watch: Watch,
        clock: Callable[[float], int],
        symbols: Callable[[Any], list[str]],
        *,
        numbered: bool,
        consecutive: bool = False,
        torn: Callable[[str], None] = lambda what: None,
        skip: int = 0,
        limit: int = 20_000,
        slice_s: float = SLICE_S,
    ) -> None:
        self._scribe, self._watch, self._clock, self._symbols = scribe, watch, clock, symbols
        self._numbered, self._skip, self._limit, self._slice_s = numbered, skip, limit, slice_s
        self._consecutive, self._torn = consecutive, torn
        self._numbers: dict[str, int] = {}  # of the last update of each book that is whole
        self.gaps = self.reconnects = 0
        self._books: set[str] = set()
        self._expected: set[str] = set()
        self._backlog: list[Batch] = []
        self._waiting = 0
        self._filled, self._room = asyncio.Event(), asyncio.Event()
        self._room.set()
        self._heard_s = float("nan")
        self._ended = False
        self._error: BaseException | None = None

    @property
    def silent_s(self) -> float:
        """How long ago the last message came, NaN before the first."""
        return time.monotonic() - self._heard_s

    def callbacks(self) -> dict[str, Any]:
        """Return the callbacks to give to cryptofeed, one a channel: some venues send more than was asked for."""
        return {channel: self._callback(channel) for channel in CHANNELS}

    def report(self, changes: Iterable[Change], now_ns: int) -> None:
        """Hand out STATUS rows, and GAP rows where rows may be missing, for each symbol of a changed connection."""
        for change in changes:
            self.reconnects += change.status is Status.RESUMED
            about = self._symbols(change.connection)
            for symbol in about:
                self._status(Kind.STATUS, symbol, now_ns, int(change.status), change.detail, last=symbol == about[-1])
            for symbol in about if change.hole else ():
                self._expected.add(symbol)
                self._status(Kind.GAP, symbol, now_ns, 0, change.detail)

    def missing(self, connection: Any, now_ns: int, detail: str) -> None:
        """Hand out GAP rows: something that `connection` sent about one of its symbols is not among the rows."""
        for symbol in self._symbols(connection):
            self._expected.add(symbol)
            self._status(Kind.GAP, symbol, now_ns, 0, detail)

    def paced(self, connection: Any) -> Any:
        """Make `connection` read its next message only when there is room for it, and return it."""
        read, clock = connection.read, time.monotonic

        async def reading(*args: Any, **options: Any) -> AsyncIterator[Any]:
            since = clock()
            async for payload in read(*args, **options):
                self._heard_s = clock()
                yield payload
                if not self._room.is_set():  # after the handler: before it, another connection could overtake
                    await self._room.wait()
                if clock() - since > self._slice_s:
                    for _ in range(_TURNS):
                        await asyncio.sleep(0)
                    since = clock()

        connection.read = reading
        return connection

    def end(self, error: BaseException | None = None) -> None:
        """Say that no more batches will come: the consumer gets the backlog and then `error`, if any."""
        self._ended, self._error = True, error
        self._filled.set()

    def leave(self) -> None:
        """Say that nobody takes batches any more: reading is never held again, or it could not come to its end."""
        self._limit = sys.maxsize
        self._room.set()

    async def bursts(self) -> AsyncIterator[list[Batch]]:
        """Yield the batches in order, those that are there together, until `end`."""
        while True:
            while self._backlog:
                burst, self._backlog = self._backlog, []
                yield burst
            self._waiting = 0
            self._room.set()
            if self._ended:
                break
            self._filled.clear()
            await self._filled.wait()
        if self._error is not None:
            raise self._error

    def _callback(self, channel: str) -> Any:
        is_book = channel == "l2_book"

        async def callback(message: Any, receipt: float) -> None:
            recv_ns = self._clock(receipt)
            if changes := self._watch.reopened():
                self.report(changes, recv_ns)
            if is_book and self._consecutive and not self._continues(message, recv_ns):
                return
            if is_book and (message.delta is None or self._expected):
                self._follow(self._scribe.names.ours(message.symbol), message.delta is None, recv_ns)
            if self._skip > 0:
                self._skip -= 1
                self._scribe.listing(message.symbol)
            else:
                self._add(self._scribe.batch(channel, message, receipt, recv_ns))

        return callback

    def _continues(self, book: Any, recv_ns: int) -> bool:
        """Say whether an update continues a book; the first one that does not is reported."""
        number, last = book.sequence_number, self._numbers.get(book.symbol)
        if book.delta is None or (last is not None and number == last + 1):
            self._numbers[book.symbol] = number
            return True
        if last is not None:
            del self._numbers[book.symbol]
            symbol, what = self._scribe.names.ours(book.symbol), f"book update missing: {number} came after {last}"
            self._expected.add(symbol)
            self._status(Kind.GAP, symbol, recv_ns, 0, what)
            self._torn(f"{self._scribe.venue} {symbol}: {what}")
        return False

    def _follow(self, symbol: str, snapshot: bool, recv_ns: int) -> None:
        # where books are numbered, a snapshot in the middle of a connection means that an update was lost; elsewhere
        # venues send snapshots as a matter of routine
        if snapshot and self._numbered and symbol in self._books and symbol not in self._expected:
            self._status(Kind.GAP, symbol, recv_ns, 0, "book update missing: book rebuilt from a snapshot")
        self._expected.discard(symbol)  # a reported gap explains one snapshot, or none if another connection had it
        self._books.add(symbol)

    def _status(self, kind: Kind, symbol: str, now_ns: int, aux: int, detail: str, *, last: bool = True) -> None:
        self.gaps += kind is Kind.GAP
        if self._skip > 0:
            self._skip -= 1
        else:
            self._add(self._scribe.status(kind, symbol, now_ns, aux, detail, last=last))

    def _add(self, batch: Batch) -> None:
        self._backlog.append(batch)
        self._waiting += len(batch)
        self._filled.set()
        if self._waiting >= self._limit:
            self._room.clear()

"""The event store: the one writer of a journal.

`append` takes rows into memory and a thread of the store makes them durable together, once per interval;
`append_intents` returns when its rows, and everything appended before them, are on the disk. What is on the disk is
therefore always a prefix of what was appended: an intent is never there without the rows that caused it.
"""

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from quantai.core.errors import DataError, InputError, StorageError
from quantai.core.rows import Rows
from quantai.journal import schema
from quantai.journal.backlog import Backlog
from quantai.journal.frames import (
    Frame,
    Gap,
    Snapshot,
    Stream,
    Text,
    pack_note,
    pack_snapshot,
    stream_of,
    unpack_gaps,
)
from quantai.journal.lock import WriterLock
from quantai.journal.wal import read_wal

GROUP_BYTES = 4 << 20
"""Rows or strings held in memory before they are written without waiting for the interval: 65 536 rows."""


class EventStore:
    """An append-only journal file, open for writing; make one with `create` or `open`, and close it (`with` does).

    Every method may be called from any thread. `append_intents`, `snapshot`, `flush` and `close` wait for the disk, and
    block an event loop they are called from for as long (tens of microseconds to a millisecond on a solid-state disk).

    After a StorageError nothing of that call was taken, so it may be repeated once there is space; after an I/O error
    the store refuses to go on until it is opened again, because what such a disk kept is known only by reading it.

    >>> import tempfile
    >>> from quantai.core.rows import EVENT, INTENT, zeros
    >>> rows, intents = zeros(3, EVENT), zeros(1, INTENT)
    >>> rows["seq"], intents["seq"] = [1, 2, 3], 3
    >>> with (
    ...     tempfile.TemporaryDirectory() as folder,
    ...     EventStore.create(folder + "/run.journal", {"run": "demo"}) as store,
    ... ):
    ...     store.append(rows)
    ...     store.append_intents(intents)  # on the disk now: it may be sent
    ...     store.next_seq
    4
    """

    def __init__(
        self, path: Path, lock: WriterLock, manifest: Mapping[str, Any], first_seq: int, flush_interval_s: float
    ) -> None:
        self.path = path
        self._lock = lock
        self._mutex = threading.RLock()
        self._broken = ""
        self._late = False  # the last flush by the thread failed: the next append must not grow the backlog
        self._waiting = Backlog()
        self._db = schema.open_writer(path)
        try:
            self._next_frame, self._next_seq, self._next_bar, self._ts_ns = _ends(self._db, first_seq)
            self._durable_seq = self._next_seq
            if self._next_frame <= lock.marked:
                raise schema.damaged(path, DataError(f"it ends before frame {lock.marked}, which was acknowledged"))
            n, ts_ns = self._after([])
            self._commit([pack_note(n, Stream.MANIFEST, manifest, seq=self._next_seq, ts_ns=ts_ns)])
        except schema.READ_ERRORS as error:
            self._db.close()
            raise schema.damaged(path, error) from None
        except BaseException:
            self._db.close()
            raise
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._flush_each, args=(flush_interval_s,), name=f"flush {path.name}", daemon=True
        )
        self._thread.start()

    @classmethod
    def create(
        cls, path: str | Path, manifest: Mapping[str, Any], *, first_seq: int = 1, flush_interval_s: float = 0.2
    ) -> Self:
        """Create a journal and open it.

        manifest: JSON-ready, see `describe_run`. first_seq: number of the first EVENT row. flush_interval_s: how long a
        row may wait in memory, which is what a crash can cost of rows not yet flushed.

        Raises StorageError when the file exists, cannot be made, or somebody writes to it.
        """
        path = Path(path)
        lock = WriterLock(path)
        try:
            schema.create(path)
            lock.mark(0)
            return cls(path, lock, manifest, first_seq, flush_interval_s)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(cls, path: str | Path, manifest: Mapping[str, Any], *, flush_interval_s: float = 0.2) -> Self:
        """Open an existing journal to continue it: numbering goes on after the last durable row.

        manifest: describes this session; earlier ones are kept. An older schema is upgraded first.

        Raises InputError when there is no such file, DataError when it is damaged (then `recover` it), StorageError
        when somebody writes to it.
        """
        path = Path(path)
        lock = WriterLock(path)
        try:
            # SQLite would silently drop whatever follows the first damaged page of its write-ahead log
            trouble = read_wal(path).trouble
            if trouble:
                raise schema.damaged(path, DataError(trouble))
            return cls(path, lock, manifest, 1, flush_interval_s)
        except BaseException:
            lock.release()
            raise

    @property
    def next_seq(self) -> int:
        """The sequence number the next EVENT row must have."""
        return self._next_seq

    @property
    def next_bar(self) -> int:
        """The index the next BAR row will have: what `aux` of its BAR event must be."""
        return self._next_bar

    @property
    def durable_seq(self) -> int:
        """EVENT rows numbered below this are on the disk."""
        return self._durable_seq

    def append(self, rows: Rows, *, durable: bool = False) -> None:
        """Append EVENT rows (numbered on from `next_seq`), BAR rows or REPORT rows, as copies.

        They are durable within the flush interval, or at return when `durable`.

        Raises DataError when EVENT numbers do not continue or REPORT rows name rows not appended before, InputError for
        other rows, StorageError when rows that wait cannot be written: then these were not taken.
        """
        with self._mutex:
            stream = stream_of(rows)
            if stream is Stream.INTENT:
                raise InputError("append takes EVENT, BAR and REPORT rows: use append_intents for INTENT rows")
            if len(rows) == 0:
                return
            if stream is Stream.EVENT:
                self._check_numbers(rows)
            elif stream is Stream.REPORT:
                self._check_causes(rows)
            if durable or self._late or self._waiting.nbytes + rows.nbytes > GROUP_BYTES:
                self._write(rows)
            else:
                self._check_open()
                self._waiting.add_rows(stream, rows)
            if stream is Stream.EVENT:
                self._next_seq += len(rows)
            elif stream is Stream.BAR:
                self._next_bar += len(rows)

    def append_intents(self, rows: Rows) -> None:
        """Append INTENT rows; they, and all that was appended before, are on the disk at return: only then send them.

        One call costs one fsync however many rows it has: where the disk is slow, give it more rows at once.

        Raises DataError when a causing row (`seq`) was not appended before, StorageError when the disk refuses: send
        nothing then.
        """
        with self._mutex:
            if stream_of(rows) is not Stream.INTENT:
                raise InputError("append_intents takes INTENT rows: use append for the others")
            if len(rows):
                self._check_causes(rows)
                self._write(rows)

    def append_texts(self, texts: Iterable[Text]) -> None:
        """Append strings that belong to rows; durable as `append` makes rows durable.

        Raises InputError for a sequence number that does not fit, StorageError as `append` does.
        """
        with self._mutex:
            self._check_open()
            if self._late or self._waiting.nbytes > GROUP_BYTES:
                self._write()
            self._waiting.add_texts(texts)

    def snapshot(self, name: str, body: bytes) -> int:
        """Keep a named state as it is after the last row appended; durable at return. Returns that row's number.

        Raises StorageError when the disk refuses.
        """
        with self._mutex:
            self._check_open()
            seq = self._next_seq - 1
            frames = self._frames()
            n, ts_ns = self._after(frames)
            self._commit([*frames, pack_snapshot(n, Snapshot(seq, name, body), ts_ns)])
            return seq

    def flush(self) -> None:
        """Make everything appended so far durable.

        Raises StorageError when the disk refuses; the rows stay in memory and the call may be repeated.
        """
        with self._mutex:
            self._check_open()
            self._write()

    def close(self) -> None:
        """Flush, note that the session ended in good order, and let go of the file; a second call does nothing.

        Raises StorageError when the last rows cannot be written; the file is let go all the same.
        """
        self._stop.set()
        self._thread.join()
        with self._mutex:
            if self._lock.released:
                return
            try:
                if not self._broken:
                    frames = self._frames()
                    n, ts_ns = self._after(frames)
                    note = {"closed_ns": time.time_ns()}
                    self._commit([*frames, pack_note(n, Stream.END, note, seq=self._next_seq, ts_ns=ts_ns)])
            finally:
                self._broken = "closed"
                self._db.close()
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._broken:
            raise StorageError(f"{self.path} takes no more rows ({self._broken}): open the store again")

    def _check_numbers(self, rows: Rows) -> None:
        seq = rows["seq"]
        first = int(seq[0])
        if first == self._next_seq and (
            len(rows) == 1 or np.array_equal(seq, np.arange(first, first + len(rows), dtype=np.uint64))
        ):
            return
        raise DataError(
            f"{self.path}: rows must be numbered on from {self._next_seq}, got {first} … {int(seq[-1])}"
            f" in {len(rows)} rows: number them in the order they happened"
        )

    def _check_causes(self, rows: Rows) -> None:
        cause = int(rows["seq"].max())
        if cause >= self._next_seq:
            raise DataError(
                f"{self.path}: rows end before {self._next_seq}, but one is said to follow from {cause}:"
                " append that first"
            )

    def _write(self, rows: Rows | None = None) -> None:
        self._check_open()
        frames = self._frames(rows)
        if frames:
            self._commit(frames)

    def _frames(self, rows: Rows | None = None) -> list[Frame]:
        first_bar = self._next_bar - self._waiting.bars
        return self._waiting.frames(self._next_frame, first_bar=first_bar, ts_ns=self._ts_ns, rows=rows)

    def _after(self, frames: list[Frame]) -> tuple[int, int]:
        """Number and instant of the frame that follows these."""
        ts_ns = max((frame.ts_last for frame in frames if frame.stream == Stream.EVENT), default=0)
        return self._next_frame + len(frames), max(ts_ns, self._ts_ns)

    def _commit(self, frames: list[Frame]) -> None:
        """Write frames in one transaction; on return they are on the disk, on an error none of them is."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(schema.INSERT, frames)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._fail(error)
        self._next_frame += len(frames)
        self._lock.mark(self._next_frame - 1)
        self._late = False
        self._waiting.clear()
        for frame in frames:
            if frame.stream == Stream.EVENT:
                self._durable_seq = frame.seq_last + 1
                self._ts_ns = max(self._ts_ns, frame.ts_last)

    def _fail(self, error: sqlite3.Error) -> None:
        code = getattr(error, "sqlite_errorname", "")
        with suppress(sqlite3.Error):  # SQLite may have rolled back already, by itself
            self._db.execute("ROLLBACK")
        if code == "SQLITE_FULL":
            raise StorageError(
                f"{self.path}: the disk is full; what was accepted before is held in memory: free space and try again"
            ) from None
        if isinstance(error, sqlite3.OperationalError) or code.startswith("SQLITE_IOERR"):
            self._broken = str(error)
            raise StorageError(f"{self.path}: it cannot be written ({error}): open the store again") from None
        if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            self._broken = str(error)
            raise schema.damaged(self.path, error) from None
        raise StorageError(f"{self.path}: SQLite refused ({error})") from None

    def _flush_each(self, interval_s: float) -> None:
        while not self._stop.wait(interval_s):
            with self._mutex:
                try:
                    if not self._broken:
                        self._write()
                except (StorageError, DataError):
                    self._late = True  # nobody can catch it here: the next append tries again and raises


def _ends(db: sqlite3.Connection, first_seq: int) -> tuple[int, int, int, int]:
    """The next frame, sequence number and bar index of a store, and the instant of its newest row."""

    def newest(stream: Stream) -> Frame | None:
        row = db.execute(schema.SELECT + " WHERE stream = ? ORDER BY n DESC LIMIT 1", (stream,)).fetchone()
        return Frame(*row) if row else None

    next_frame = (db.execute("SELECT max(n) FROM frames").fetchone()[0] or 0) + 1
    event, bar, manifest = newest(Stream.EVENT), newest(Stream.BAR), newest(Stream.MANIFEST)
    next_seq = max(manifest.seq_last if manifest else first_seq, event.seq_last + 1 if event else 0)
    next_bar = bar.seq_last + 1 if bar else 0
    for gap in _gaps(db):
        if gap.stream is Stream.EVENT:
            next_seq = max(next_seq, gap.last + 1)
        elif gap.stream is Stream.BAR:
            next_bar = max(next_bar, gap.last + 1)
    return next_frame, next_seq, next_bar, event.ts_last if event else 0


def _gaps(db: sqlite3.Connection) -> Iterator[Gap]:
    for row in db.execute(schema.SELECT + " WHERE stream = ?", (Stream.GAP,)):
        yield from unpack_gaps(Frame(*row))

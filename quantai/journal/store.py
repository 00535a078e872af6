"""The event store: the one writer of a journal.

`append` takes rows into memory and writes them once there are enough; a thread of the store syncs them, once per
interval. `append_intents` returns when its rows, and everything appended before them, are on the disk. What was synced
is therefore always a prefix of what was appended: an intent is never there without the rows that caused it. And an
intent finds most of what it has to wait for written.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from quantai.core.errors import DataError, InputError, StorageError
from quantai.core.rows import Rows
from quantai.journal import schema
from quantai.journal.backlog import Backlog
from quantai.journal.frame_file import FrameFile
from quantai.journal.frames import Frame, Snapshot, Stream, Text, pack_note, pack_snapshot, stream_of
from quantai.journal.lock import WriterLock
from quantai.journal.wal import read_wal
from quantai.ops import followed

GROUP_BYTES = 4 << 20
"""Rows or strings that may wait for the disk before who appends waits for it: 65 536 rows."""

WRITE_BYTES = 16 << 10
"""Rows or strings held in memory before they are written, which waits for no disk: 256 rows."""


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
        self, path: Path, lock: WriterLock, manifest: Mapping[str, Any] | None, flush_interval_s: float
    ) -> None:
        self.path = path
        self._lock = lock
        # Two locks, so that appending to memory never waits for the disk; who needs both takes _disk first.
        self._disk, self._mutex = threading.RLock(), threading.RLock()
        self._file = FrameFile(path, lock)
        self._waiting = Backlog()
        self._late = False  # the last flush by the thread failed: the next append must not grow the backlog
        self._untold = False  # it broke the file, and nobody knows yet
        self._accepted = self._written = 0  # bytes that are not on the disk; those of them that were written
        self._next_seq, self._next_bar = self._file.next_seq, self._file.next_bar
        if manifest is not None:
            seq = self._next_seq
            try:
                self._file.write(
                    self._waiting, note=lambda n, ts_ns: pack_note(n, Stream.MANIFEST, manifest, seq=seq, ts_ns=ts_ns)
                )
                self._file.sync()
            except BaseException:
                self._file.close()
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
        path = followed(path)
        lock = WriterLock(path)
        try:
            if not path.exists():
                lock.mark(0)  # of an earlier journal of this name, before anybody can read the new one
            # a journal that has its name has its manifest: a crash leaves no file that nobody can continue
            schema.create(path, pack_note(1, Stream.MANIFEST, manifest, seq=first_seq, ts_ns=0))
            lock.mark(1)
            return cls(path, lock, None, flush_interval_s)
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
        path = followed(path)
        schema.check_there(path)
        lock = WriterLock(path)
        try:
            # SQLite would silently drop whatever follows the first damaged page of its write-ahead log
            trouble = read_wal(path).trouble
            if trouble:
                raise schema.damaged(path, DataError(trouble))
            return cls(path, lock, manifest, flush_interval_s)
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
        return self._file.durable_seq

    def append(self, *parts: Rows, texts: Iterable[Text] = (), durable: bool = False) -> None:
        """Append EVENT rows (numbered on from `next_seq`), BAR rows or REPORT rows, as copies, and strings beside them.

        Durable within the flush interval, or at return when `durable`. What one call takes is on the disk together or
        not at all: rows that mean nothing without each other belong into one call.

        Raises DataError when EVENT numbers do not continue or REPORT rows name rows not appended before, InputError for
        other rows, StorageError when rows that wait cannot be written: then these were not taken.
        """
        streams = [stream_of(rows) for rows in parts]
        if Stream.INTENT in streams:
            raise InputError("append takes EVENT, BAR and REPORT rows: use append_intents for INTENT rows")
        said = list(zip(streams, parts, strict=True))
        words = list(texts)
        size = sum(rows.nbytes for rows in parts)
        if not size and not words:
            return
        with self._mutex:
            self._check(said)
            may_wait = not (durable or self._late or self._accepted + size > GROUP_BYTES)
            if may_wait:
                self._hold(said, words)
        if may_wait:
            if self._waiting.nbytes >= WRITE_BYTES:
                self._write_ahead()
            return
        more = Backlog()
        more.add_texts(words)
        for stream, rows in said:
            more.add_rows(stream, rows)
        with self._disk, self._mutex:
            self._check(said)
            self._write(more)

    def append_intents(self, rows: Rows) -> None:
        """Append INTENT rows; they, and all that was appended before, are on the disk at return: only then send them.

        One call costs one fsync however many rows it has: where the disk is slow, give it more rows at once.

        Raises DataError when a causing row (`seq`) was not appended before, StorageError when the disk refuses: send
        nothing then.
        """
        if stream_of(rows) is not Stream.INTENT:
            raise InputError("append_intents takes INTENT rows: use append for the others")
        if len(rows) == 0:
            return
        more = Backlog()
        more.add_rows(Stream.INTENT, rows)
        with self._disk, self._mutex:
            self._check([(Stream.INTENT, rows)])
            self._write(more)

    def append_texts(self, texts: Iterable[Text]) -> None:
        """Append strings that belong to rows appended before; durable as `append` makes rows durable.

        Raises InputError for a sequence number that does not fit, StorageError as `append` does.
        """
        self.append(texts=texts)

    def snapshot(self, name: str, body: bytes) -> int:
        """Keep a named state as it is after the last row appended; durable at return. Returns that row's number.

        Raises StorageError when the disk refuses.
        """
        with self._disk, self._mutex:
            snapshot = Snapshot(self._next_seq - 1, name, body)
            self._write(note=lambda n, ts_ns: pack_snapshot(n, snapshot, ts_ns))
            return snapshot.seq

    def flush(self) -> None:
        """Make everything appended so far durable.

        Raises StorageError when the disk refuses; the rows stay in memory and the call may be repeated.
        """
        with self._disk:
            self._write_waiting()
            self._sync()

    def close(self) -> None:
        """Flush, note that the session ended in good order, and let go of the file; a second call does nothing.

        Raises StorageError when the last rows cannot be written; the file is let go all the same.
        """
        self._stop.set()
        self._thread.join()
        with self._disk, self._mutex:
            if self._lock.released:
                return
            seq, end = self._next_seq, {"closed_ns": time.time_ns()}
            try:
                if not self._file.broken:
                    self._write(note=lambda n, ts_ns: pack_note(n, Stream.END, end, seq=seq, ts_ns=ts_ns))
                elif self._untold:
                    self._file.check_open()
            finally:
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, said: list[tuple[Stream, Rows]]) -> None:
        self._untold = False
        self._file.check_open()
        next_seq = self._next_seq
        for stream, rows in said:
            if stream is Stream.EVENT and len(rows):
                self._check_numbers(rows, next_seq)
                next_seq += len(rows)
            elif stream is not Stream.BAR and len(rows):
                self._check_causes(rows, next_seq)

    def _hold(self, said: list[tuple[Stream, Rows]], words: list[Text]) -> None:
        before = self._waiting.nbytes
        self._waiting.add_texts(words)
        for stream, rows in said:
            self._waiting.add_rows(stream, rows)
            if stream is Stream.EVENT:
                self._next_seq += len(rows)
            elif stream is Stream.BAR:
                self._next_bar += len(rows)
        self._accepted += self._waiting.nbytes - before

    def _check_numbers(self, rows: Rows, next_seq: int) -> None:
        seq = rows["seq"]
        first = int(seq[0])
        if first == next_seq and (
            len(rows) == 1 or np.array_equal(seq, np.arange(first, first + len(rows), dtype=np.uint64))
        ):
            return
        raise DataError(
            f"{self.path}: rows must be numbered on from {next_seq}, got {first} … {int(seq[-1])}"
            f" in {len(rows)} rows: number them in the order they happened"
        )

    def _check_causes(self, rows: Rows, next_seq: int) -> None:
        cause = int(rows["seq"].max())
        if cause >= next_seq:
            raise DataError(
                f"{self.path}: rows end before {next_seq}, but one is said to follow from {cause}: append that first"
            )

    def _write(self, more: Backlog | None = None, *, note: Callable[[int, int], Frame] | None = None) -> None:
        try:
            self._file.write(self._waiting, more, note=note)
        finally:  # also where Ctrl-C came once all was written
            self._next_seq = max(self._next_seq, self._file.next_seq)
            self._next_bar = max(self._next_bar, self._file.next_bar)
        self._late = False
        self._file.sync()
        self._accepted = self._written = 0

    def _write_waiting(self) -> None:
        """Write what waits, without keeping anybody from appending; the caller holds _disk."""
        waiting = Backlog()
        try:
            with self._mutex:
                waiting, self._waiting = self._waiting, waiting
            size = waiting.nbytes
            self._file.write(waiting)
        except BaseException:
            with self._mutex:
                waiting.put_before(self._waiting)
                self._waiting = waiting
            raise
        self._written += size

    def _sync(self) -> None:
        """Have what was written on the disk, without keeping anybody from appending; the caller holds _disk."""
        self._file.sync()
        with self._mutex:
            self._accepted, self._written, self._late = self._accepted - self._written, 0, False

    def _write_ahead(self) -> None:
        """Write what waits unless the disk is at work; what cannot be written waits on, and the next flush says why."""
        if not self._disk.acquire(blocking=False):
            return
        try:
            self._write_waiting()
        except (StorageError, DataError):
            self._untold = bool(self._file.broken)
        finally:
            self._disk.release()

    def _flush_each(self, interval_s: float) -> None:
        synced = -1
        while not self._stop.wait(interval_s / 2):  # twice: what came just after a sync is on the disk in time, too
            try:
                if self._file.broken:
                    return
                if self._file.synced == synced:  # by nobody since the last look
                    self.flush()
                    synced = -1
                else:
                    synced = self._file.synced
                with self._disk:
                    self._file.fold()
            except Exception:  # noqa: BLE001 -- nobody can catch it here: the next append tries again and raises
                self._late = True
                self._untold = bool(self._file.broken)

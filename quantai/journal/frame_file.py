"""The file of a journal under its one writer: frames go in, whole transactions at a time.

A transaction that was written is the system's: it outlives this process. One that was synced is on the disk: it
outlives a power cut too. Writing takes tenths of a millisecond and syncing waits for the disk, so rows are written as
they come and synced together.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from quantai.core.errors import DataError, StorageError
from quantai.journal import schema
from quantai.journal.backlog import Backlog
from quantai.journal.frames import Frame, Gap, Stream, unpack_gaps
from quantai.journal.heads import Heads
from quantai.journal.lock import WriterLock
from quantai.ops import durable

FOLD_BYTES = 1 << 20
"""Bytes of rows in the write-ahead log from which on it is folded into the file, between two intents, not within one.

Very many small writes SQLite folds by itself: a few milliseconds, once in thousands of them."""


class FrameFile:
    """An open journal file, and where its streams end; to be used by one thread at a time.

    next_seq and next_bar: numbers of the first EVENT and BAR row that was not written. durable_seq: EVENT rows below
    are on the disk, and so are the frames up to number `synced`. broken: why it takes no more frames, "" while it does.
    """

    def __init__(self, path: Path, lock: WriterLock) -> None:
        self._path, self._lock, self._wal = path, lock, path.with_name(path.name + "-wal")
        self._db = schema.open_writer(path)
        self._log = -1  # the write-ahead log, to sync it; SQLite has no locks on that, so closing it drops none
        self._log_bytes = self.synced = 0
        self.broken = ""
        try:
            self._find_ends()
            if self._next_frame <= lock.marked:
                raise DataError(f"it ends before frame {lock.marked}, which was acknowledged")
        except (*schema.READ_ERRORS, DataError) as error:
            self._db.close()
            raise schema.damaged(path, error) from None
        except BaseException:
            self._db.close()
            raise

    def check_open(self) -> None:
        """Raise StorageError once an error, or closing, has made an end."""
        if self.broken:
            raise StorageError(f"{self._path} takes no more rows ({self.broken}): open the store again")

    def write(
        self, waiting: Backlog, more: Backlog | None = None, *, note: Callable[[int, int], Frame] | None = None
    ) -> None:
        """Write what waits, then `more`, then the frame that `note` makes of a number and an instant: all or nothing.

        It is on the disk after the next `sync`. What was written waits no more, also where Ctrl-C ends the call.

        Raises StorageError when the disk refuses, DataError when the file turns out to be damaged.
        """
        self.check_open()
        frames = waiting.frames(self._next_frame, first_bar=self.next_bar, ts_ns=self._ts_ns, more=more)
        ts_ns = max([self._ts_ns, *(frame.ts_last for frame in frames if frame.stream == Stream.EVENT)])
        if note is not None:
            frames.append(note(self._next_frame + len(frames), ts_ns))
        if not frames:
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(schema.INSERT, frames)
            self._db.execute("COMMIT")
            self._take(frames, ts_ns, waiting)
        except sqlite3.Error as error:
            self._fail(error)
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            elif self._db.execute("SELECT max(n) FROM frames").fetchone()[0] == frames[-1].n:
                self._take(frames, ts_ns, waiting)
            raise

    def _take(self, frames: list[Frame], ts_ns: int, waiting: Backlog) -> None:
        """Count frames that were written; a second time changes nothing."""
        self._next_frame, self._ts_ns = frames[-1].n + 1, ts_ns
        for frame in frames:
            self._log_bytes += len(frame.body)
            if frame.stream == Stream.EVENT:
                self.next_seq = frame.seq_last + 1
            elif frame.stream == Stream.BAR:
                self.next_bar = frame.seq_last + 1
        waiting.clear()

    def sync(self) -> None:
        """Return once everything that was written is on the disk.

        Raises StorageError when the disk refuses: what it kept is then known only by reading it.
        """
        self.check_open()
        if self.synced == self._next_frame - 1:
            return
        try:
            if self._log < 0:
                self._log = os.open(self._wal, os.O_RDONLY)
            durable(self._log)
            if not (self._path.exists() and self._wal.exists()):  # what nobody can open again is not kept
                raise OSError("it was moved or removed while in use")
        except OSError as error:
            self.broken = str(error)
            raise StorageError(f"{self._path}: it cannot be written ({error}): open the store again") from None
        self._note_synced()

    def fold(self) -> None:
        """Copy the write-ahead log into the file once it is long, so that no writing has to; syncs, too.

        Raises as `write` does.
        """
        if self.broken or self._log_bytes < FOLD_BYTES:
            return
        try:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            self._fail(error)
        self._log_bytes = 0

    def close(self) -> None:
        """Let go of the file."""
        self.broken = "closed"
        self._db.close()
        if self._log >= 0:
            os.close(self._log)
        self._lock.release()

    def _note_synced(self) -> None:
        self.synced, self.durable_seq = self._next_frame - 1, self.next_seq
        with suppress(OSError):  # the mark may lag behind, and the rows are on the disk
            self._lock.mark(self.synced)

    def _fail(self, error: sqlite3.Error) -> None:
        code = getattr(error, "sqlite_errorname", "")
        with suppress(sqlite3.Error):  # SQLite may have rolled back already, by itself
            self._db.execute("ROLLBACK")
        if code == "SQLITE_FULL":
            raise StorageError(
                f"{self._path}: the disk is full; what was accepted before is held in memory: free space and try again"
            ) from None
        if isinstance(error, sqlite3.OperationalError) or code.startswith("SQLITE_IOERR"):
            self.broken = str(error)
            raise StorageError(f"{self._path}: it cannot be written ({error}): open the store again") from None
        if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            self.broken = str(error)
            raise schema.damaged(self._path, error) from None
        raise StorageError(f"{self._path}: SQLite refused ({error})") from None

    def _find_ends(self) -> None:
        """Learn where the streams end, from every frame that knows: a number that was used must not be used again."""
        schema.check_pages(self._db)
        heads = Heads(self._path)
        heads.read_on(self._db)
        gaps = [gap for head in heads.of(Stream.GAP)["n"].tolist() for gap in self._gaps(head)]
        missing = {*heads.damaged, *heads.holes(0, heads.last)} - {gap.frame for gap in gaps}
        if missing:
            raise DataError(f"frame {min(missing)} is damaged or missing")
        event, bar = heads.newest(Stream.EVENT), heads.newest(Stream.BAR)
        self._next_frame = heads.last + 1
        self._ts_ns = int(event["ts_last"]) if event is not None else 0
        rows = heads.rows
        told = rows["seq_first"][np.isin(rows["stream"], (Stream.MANIFEST, Stream.END))].max(
            initial=0 if len(rows) else 1
        )
        caused = rows["seq_last"][
            np.isin(rows["stream"], (Stream.EVENT, Stream.INTENT, Stream.REPORT, Stream.SNAPSHOT))
        ]
        self.next_seq = int(max(told, caused.max(initial=-1) + 1))
        self.next_bar = int(bar["seq_last"]) + 1 if bar is not None else 0
        for gap in gaps:
            if gap.stream is Stream.EVENT:
                self.next_seq = max(self.next_seq, gap.last + 1)
            elif gap.stream is Stream.BAR:
                self.next_bar = max(self.next_bar, gap.last + 1)
        self.durable_seq = self.next_seq

    def _gaps(self, n: int) -> list[Gap]:
        frame = Frame(*self._db.execute(schema.SELECT + " WHERE n = ?", (n,)).fetchone())
        if not frame.intact:
            raise DataError(f"frame {n}, which says what was lost before, is damaged")
        return unpack_gaps(frame)

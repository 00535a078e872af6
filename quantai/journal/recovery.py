"""Recovering a damaged journal: what is intact stays, what is damaged is set aside, and what is lost is written down.

Every frame that can be read goes into a new file, page by page and without SQLite, so that damage to its tables or to
its write-ahead log is no obstacle. Frames with a wrong checksum go into its table `quarantine`. The original stays
beside it as `<name>.damaged-1`.
"""

import os
import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

from quantai.core.errors import DataError, InputError, StorageError
from quantai.core.rows import EVENT
from quantai.journal import schema
from quantai.journal.damage import Findings, check_frames, describe, inspect
from quantai.journal.frames import Frame, Gap, Stream, gap_note, pack_note
from quantai.journal.lock import WriterLock
from quantai.journal.loss import RESERVE_ROWS, Remains
from quantai.journal.pages import PageScan
from quantai.journal.wal import read_wal
from quantai.ops import followed, sync_folder


def recover(path: str | Path) -> Findings:
    """Make a journal readable and writable again after any damage; a journal without damage is left alone.

    Returns what is there afterwards, with the gaps that were recorded. Rows are never changed, and no sequence number
    that may have been used is given out again: after a damaged end, numbering goes on `RESERVE_ROWS` further.

    Raises InputError when there is no such file, StorageError when somebody writes to it or there is no space for the
    new file, DataError when not a single frame can be read: then it is left as it was.
    """
    path = followed(path)
    if not (path.is_file() or path.with_name(path.name + ".salvaged").is_file()):
        raise InputError(f"there is no journal {path}: check the name")
    lock = WriterLock(path)
    try:
        _finish(path)
        return _recover(path, lock)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{path} cannot be recovered ({error}): free space or make the folder writable") from None
    finally:
        lock.release()


def _recover(path: Path, lock: WriterLock) -> Findings:
    if not read_wal(path).torn:  # else SQLite must not open it for writing: it would cut the log there
        with suppress(DataError):  # a damaged file has no version; inspect says so
            schema.upgrade(path)
    found = inspect(path, lock)
    return found if found.ok else _rebuild(path, lock)


def _rebuild(path: Path, lock: WriterLock) -> Findings:
    """Write every frame that can be read from the pages into a new file, and put it in the place of the old one.

    The old file is only read: to delete a damaged frame could free pages that a wrong pointer makes look like its own.
    """
    fresh = path.with_name(path.name + ".salvaging")
    fresh.unlink(missing_ok=True)
    with PageScan(path) as scan:
        rest = Remains(scan.frames())
        if not rest.intact:
            raise DataError(f"{path}: not one frame can be read from it; it is left as it was")
        torn = rest.intact[-1].stream != Stream.END or rest.intact[-1].n < lock.marked
        reserve_rows = max(RESERVE_ROWS, path.stat().st_size // EVENT.itemsize) if torn else 0
        gaps = rest.find_gaps(reserve_rows)
        try:
            schema.create(fresh)
            _fill(fresh, scan.frames(), [_pack_gaps(rest, gaps)] if gaps else [])
        except sqlite3.Error as error:
            fresh.unlink(missing_ok=True)
            raise StorageError(f"{path} cannot be recovered ({error}): it needs its own size of free space") from None
    fresh.replace(path.with_name(path.name + ".salvaged"))
    sync_folder(path.parent)
    kept = _finish(path)
    after = Findings(path, kept=kept, moved=len(rest.damaged))
    with closing(schema.open_reader(path)) as db:
        check_frames(db, after)
    lock.mark(after.last_frame)
    return after


def _fill(fresh: Path, frames: Iterable[Frame], more: Iterable[Frame]) -> None:
    with closing(schema.connect(fresh, "rw")) as db:
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN IMMEDIATE")
        note = (schema.VERSION, time.time_ns(), "rebuilt from a damaged file")
        db.execute("INSERT INTO migrations VALUES (?, ?, ?)", note)
        for frame in frames:
            if frame.intact:
                db.execute(schema.INSERT, frame)
            else:
                db.execute(schema.QUARANTINE, (*frame, describe(frame), time.time_ns()))
        db.executemany(schema.INSERT, more)
        db.execute("COMMIT")


def _finish(path: Path) -> Path | None:
    """Put a finished rebuild in place; safe to repeat after a crash at any of its steps."""
    salvaged = path.with_name(path.name + ".salvaged")
    if not salvaged.is_file():
        return None
    log, index = (path.with_name(path.name + ending) for ending in ("-wal", "-shm"))
    kept = next(name for i in count(1) if not (name := path.with_name(f"{path.name}.damaged-{i}")).exists())
    if path.is_file():
        if log.is_file():
            os.link(log, kept.with_name(kept.name + "-wal"))
        os.link(path, kept)
    # the old log must be gone before the new file has its name, or SQLite would replay it into that
    log.unlink(missing_ok=True)
    index.unlink(missing_ok=True)
    sync_folder(path.parent)
    salvaged.replace(path)
    sync_folder(path.parent)
    return kept


def _pack_gaps(rest: Remains, gaps: list[Gap]) -> Frame:
    return pack_note(rest.next_frame, Stream.GAP, gap_note(gaps), seq=0, ts_ns=0)

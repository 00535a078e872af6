"""Finding damage: every frame of a journal is read and checked, and so is what SQLite would pass over in silence."""

import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from quantai.core.errors import DataError, InputError, StorageError
from quantai.journal import schema
from quantai.journal.frames import Frame, Gap, Stream, unpack_gaps
from quantai.journal.lock import WriterLock
from quantai.journal.loss import holes
from quantai.journal.wal import read_wal
from quantai.ops import followed


@dataclass(slots=True)
class Findings:
    """What `verify` or `recover` found in a journal.

    trouble: damage to the file itself ("" = none), beyond which nothing was read. damaged: frames (columns as they
    claim to be, bodies left out) whose checksum is wrong. missing: numbers of frames that are not there and not
    recorded as gaps. unread: frames that were acknowledged behind the last one that is there. gaps: rows recorded as
    lost. closed: whether the last session ended in good order; one that did not lost at most the rows that were never
    flushed. kept: where `recover` left the damaged original, and moved: how many damaged frames it quarantined.
    """

    path: Path
    trouble: str = ""
    frames: int = 0
    rows: Counter[str] = field(default_factory=Counter[str])
    last_seq: int | None = None
    last_frame: int = 0
    unread: int = 0
    damaged: list[Frame] = field(default_factory=list[Frame])
    missing: list[int] = field(default_factory=list[int])
    gaps: list[Gap] = field(default_factory=list[Gap])
    closed: bool = False
    kept: Path | None = None
    moved: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is damaged or missing that is not recorded as a gap."""
        return not (self.trouble or self.damaged or self.missing or self.unread)

    def __str__(self) -> str:
        rows = ", ".join(f"{count} {name}" for name, count in sorted(self.rows.items())) or "none"
        lines = [f"{self.path}: {'intact' if self.ok else 'DAMAGED'}, {self.frames} frames, rows: {rows}"]
        lines += [f"  {self.trouble}"] if self.trouble else []
        lines += [f"  {describe(frame)}" for frame in self.damaged]
        lines += [f"  {len(self.missing)} frames are missing, the first is {self.missing[0]}"] if self.missing else []
        lines += [f"  {self.unread} acknowledged frames are missing at the end"] if self.unread else []
        lines += [f"  lost: {_name(gap.stream)} rows {gap.first} … {gap.last}: {gap.why}" for gap in self.gaps]
        lines += [] if self.closed else [f"  not closed in good order; the last durable EVENT row is {self.last_seq}"]
        lines += [f"  {self.moved} damaged frames were moved to its table `quarantine`"] if self.moved else []
        lines += [f"  rebuilt; the damaged original is {self.kept}"] if self.kept else []
        return "\n".join(lines)


def verify(path: str | Path) -> Findings:
    """Read every frame of a journal and report what is damaged or missing; changes nothing.

    A writer may go on meanwhile.

    Raises InputError when there is no such file, DataError when its schema is another version.
    """
    path = followed(path)
    if not path.is_file():
        raise InputError(f"there is no journal {path}: check the name")
    try:
        lock = WriterLock(path)
    except StorageError:
        return inspect(path, None)
    try:
        return inspect(path, lock)
    finally:
        lock.release()


def inspect(path: Path, lock: WriterLock | None) -> Findings:
    """`verify` for a caller that holds the store's lock; lock=None says that a live writer does."""
    found = Findings(path)
    # the log of a live writer is in motion; SQLite itself reads it rightly
    log = read_wal(path) if lock else None
    found.trouble = log.trouble if log else ""
    if found.trouble:
        return found
    version = schema.VERSION
    try:
        with closing(schema.connect(path, "ro")) as db:
            version = schema.read_version(db, path)
            if version == schema.VERSION:
                check_frames(db, found)
                schema.check_pages(db)
    except (*schema.READ_ERRORS, DataError) as error:
        found.trouble = str(error)
    schema.check_version(path, version)
    if lock and log and not found.trouble:
        found.unread = max(0, lock.marked - found.last_frame)
        if found.unread and log.torn:
            found.trouble = f"the write-ahead log is damaged: {found.unread} acknowledged frames would be forgotten"
    return found


def check_frames(db: sqlite3.Connection, found: Findings) -> None:
    """Read every frame of an open journal; sqlite3.Error where SQLite finds its own pages damaged."""
    numbers: list[int] = []
    # in the order of the pages, without bounds: a damaged number must not hide the frames behind it
    for row in db.execute(schema.SELECT + " ORDER BY n"):
        frame = Frame(*row)
        if not frame.intact:
            found.damaged.append(frame._replace(body=b""))
            continue
        numbers.append(frame.n)
        found.closed = frame.stream == Stream.END
        if frame.stream <= Stream.SNAPSHOT:
            found.rows[Stream(frame.stream).name] += frame.rows
        if frame.stream == Stream.EVENT:
            found.last_seq = frame.seq_last
        elif frame.stream == Stream.GAP:
            found.gaps += unpack_gaps(frame)
    found.frames = len(numbers)
    found.last_frame = max([*numbers, *(frame.n for frame in found.damaged)], default=0)
    known = {frame.n for frame in found.damaged} | {gap.frame for gap in found.gaps}
    found.missing = [n for n in holes(numbers) if n not in known]


def describe(frame: Frame) -> str:
    """A damaged frame in plain words."""
    name = _name(Stream(frame.stream) if frame.stream in Stream else None)
    return f"frame {frame.n} ({name} rows {frame.seq_first} … {frame.seq_last}, as it says) has a wrong checksum"


def _name(stream: Stream | None) -> str:
    return stream.name if stream else "unknown"

"""The SQLite file under a journal: its tables, its connections, its versions and the way up from older ones."""

import sqlite3
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Literal

import numpy as np

from quantai.core.errors import DataError, InputError, StorageError
from quantai.journal.frames import ROWS, Frame, Stream, checksum, pack_rows
from quantai.ops import sync_folder

VERSION = 2
APPLICATION_ID = 0x716A6E6C  # "qjnl": how `file` and this library tell a journal from any other SQLite file
PAGE_BYTES = 4096

SELECT = "SELECT n, stream, rows, seq_first, seq_last, ts_first, ts_last, kinds, instruments, crc, body FROM frames"
SELECT_COLUMNS = "SELECT n, stream, rows, seq_first, seq_last, ts_first, ts_last, kinds, instruments, crc FROM frames"
INSERT = "INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
QUARANTINE = "INSERT INTO quarantine VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

READ_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What reading a damaged file can raise; the second when the driver cannot quote a damaged name."""

HOW_MADE = "`quantai trade … --journal FILE` and `quantai backtest … --journal FILE` make one"
"""What somebody is told who gave something else."""

_TABLES = (
    """CREATE TABLE frames (
    n INTEGER PRIMARY KEY, stream INTEGER NOT NULL, rows INTEGER NOT NULL, seq_first INTEGER NOT NULL,
    seq_last INTEGER NOT NULL, ts_first INTEGER NOT NULL, ts_last INTEGER NOT NULL, kinds INTEGER NOT NULL,
    instruments INTEGER NOT NULL, crc INTEGER NOT NULL, body BLOB NOT NULL)""",
    """CREATE TABLE quarantine (
    n INTEGER, stream INTEGER, rows INTEGER, seq_first INTEGER, seq_last INTEGER, ts_first INTEGER, ts_last INTEGER,
    kinds INTEGER, instruments INTEGER, crc INTEGER, body BLOB, why TEXT NOT NULL, found_ns INTEGER NOT NULL)""",
)
_MIGRATIONS = (
    "CREATE TABLE IF NOT EXISTS migrations (version INTEGER NOT NULL, applied_ns INTEGER NOT NULL, note TEXT NOT NULL)"
)


def create(path: Path, *first: Frame) -> None:
    """Make a journal file that holds the frames `first`, whole or not at all; the caller holds the store's lock.

    Raises StorageError when the file exists or cannot be made.
    """
    if path.exists():
        raise StorageError(f"{path} exists already: open it to continue it, or choose another name")
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:  # SQLite would replay it into the new file
        raise StorageError(f"{log} is left of an earlier journal: move it away, or choose another name")
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.unlink(missing_ok=True)
        fresh.touch()
        with closing(_connect(fresh, "rw")) as db:
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            db.execute("PRAGMA synchronous = FULL")
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute("BEGIN")
            for statement in (*_TABLES, _MIGRATIONS):
                db.execute(statement)
            db.execute("INSERT INTO migrations VALUES (?, ?, 'created')", (VERSION, time.time_ns()))
            db.executemany(INSERT, first)
            db.execute("COMMIT")
        fresh.replace(path)
        sync_folder(path.parent)
    except (OSError, sqlite3.Error) as error:
        fresh.unlink(missing_ok=True)
        raise StorageError(
            f"{path} cannot be created ({error}): choose a folder that is writable and has space"
        ) from None


def open_writer(path: Path) -> sqlite3.Connection:
    """Connect to an existing journal for writing, upgrading an older schema first; the caller holds the store's lock.

    Raises InputError when there is no such file, DataError when it is damaged, no journal, or of a newer schema.
    """
    db = connect(path, "rw")
    try:
        _upgrade(db, path)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")  # a commit is synced by `FrameFile.sync`, and need not be
        db.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone does not reach the disk
        db.execute("PRAGMA wal_autocheckpoint = 4096")  # for whoever writes faster than the store's thread folds
    except READ_ERRORS as error:
        db.close()
        raise damaged(path, error) from None
    except BaseException:
        db.close()
        raise
    return db


def open_reader(path: Path) -> sqlite3.Connection:
    """Connect to an existing journal for reading only.

    Raises InputError when there is no such file, DataError when it is damaged, no journal, or of another schema.
    """
    db = connect(path, "ro")
    try:
        check_version(path, read_version(db, path))
    except BaseException:
        db.close()
        raise
    return db


def upgrade(path: str | Path) -> int:
    """Bring a journal file to this library's schema version, in one transaction, and return the version it had.

    Raises InputError or DataError as reading does; a failure leaves the file as it was. Nobody may be writing to the
    store.
    """
    with closing(connect(Path(path), "rw")) as db:
        try:
            return _upgrade(db, Path(path))
        except READ_ERRORS as error:
            raise damaged(Path(path), error) from None


def read_version(db: sqlite3.Connection, path: Path) -> int:
    """The schema version of an open journal; raises DataError when the file is damaged or not a journal."""
    try:
        application: int = db.execute("PRAGMA application_id").fetchone()[0]
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        # schema 0 kept no record of its version
        version = db.execute("SELECT max(version) FROM migrations").fetchone()[0] if "migrations" in tables else 0
    except READ_ERRORS as error:
        raise damaged(path, error) from None
    if application != APPLICATION_ID or "frames" not in tables or not isinstance(version, int):
        raise DataError(f"{path} is not a journal, or its first page is lost: try quantai.journal.recover(path)")
    return version


def check_version(path: Path, version: int) -> None:
    """Raise DataError, saying what to do, unless `version` is the one this library reads and writes."""
    if version > VERSION:
        raise DataError(f"{path} has schema {version}, newer than {VERSION}, the one known here: use a newer quantai")
    if version < VERSION:
        raise DataError(f"{path} has schema {version}: quantai.journal.upgrade(path) brings it to {VERSION}")


def check_pages(db: sqlite3.Connection) -> None:
    """Raise DataError when the pages of an open journal do not fit together, which the checksums of frames cannot tell.

    A frame's page can be read and still not be written to: SQLite would refuse later, or overwrite what is there. Takes
    some 0.3 s for a gigabyte.
    """
    said = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        raise DataError("its pages do not fit together: " + " ".join(str(said).split()))


def damaged(path: Path, error: Exception) -> DataError:
    """The error that says a journal file cannot be read as it stands, and what to do."""
    with suppress(OSError), path.open("rb") as file:
        begins = "".join(file.read(64).decode(errors="replace").split())
        if begins and begins.isprintable() and "\ufffd" not in begins:  # every SQLite file has a zero byte by then
            return DataError(f"{path} is a text file, no journal: {HOW_MADE}")
    return DataError(f"{path} is damaged ({error}): quantai.journal.recover(path) saves all that is readable")


def check_there(path: Path) -> None:
    """Raise InputError when there is no such file; for a folder it names a journal in it."""
    if path.is_dir():
        inside = min((each for each in path.glob("*.journal") if each.is_file()), default=None)
        raise InputError(f"{path} is a folder, no journal: " + (f"did you mean {inside}?" if inside else HOW_MADE))
    if not path.is_file():
        raise InputError(f"there is no journal {path}: check the name, or create it")


def connect(path: Path, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
    """A plain connection to an existing file; but for being empty, nothing is asked of its content.

    Raises InputError when there is no such file, DataError when it is empty, StorageError when the system refuses.
    """
    check_there(path)
    if path.stat().st_size == 0:
        raise damaged(path, DataError("it is empty"))  # SQLite would take it for new and delete the log beside it
    return _connect(path, mode)


def _connect(path: Path, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    try:
        # isolation_level=None: transactions begin and end where this room says so, not where the driver guesses
        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    except sqlite3.OperationalError as error:
        raise StorageError(f"{path} cannot be opened ({error}): the folder must be writable for readers too") from None


def _upgrade(db: sqlite3.Connection, path: Path) -> int:
    found = read_version(db, path)
    if found >= VERSION:
        check_version(path, found)
        return found
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute(_MIGRATIONS)
        for version in range(found, VERSION):
            note = _STEPS[version](db)
            db.execute("INSERT INTO migrations VALUES (?, ?, ?)", (version + 1, time.time_ns(), note))
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    return found


def _from_0(db: sqlite3.Connection) -> str:
    """Schema 0 held rows only, had no columns to skip by, and its checksum covered the body alone."""
    db.execute("ALTER TABLE frames RENAME TO frames_0")
    for statement in _TABLES:
        db.execute(statement)
    db.executemany(INSERT, _frames_0(db))
    db.execute("DROP TABLE frames_0")
    return "columns to skip by; checksum over columns and body"


def _frames_0(db: sqlite3.Connection) -> Iterator[Frame]:
    ts_ns = bars = 0
    for n, stream, seq_first, seq_last, crc, body in db.execute(
        "SELECT n, stream, seq_first, seq_last, crc, body FROM frames_0 ORDER BY n"
    ):
        if stream not in ROWS or zlib.crc32(body) != crc:
            # a damaged frame stays one: -1 is no CRC-32, so verify() and recover() find it as they find any other
            yield Frame(n, stream, len(body) // 64, seq_first, seq_last, 0, 0, 0, 0, -1, body)
            continue
        frame = pack_rows(n, Stream(stream), np.frombuffer(body, ROWS[Stream(stream)]), seq=bars, ts_ns=ts_ns)
        if stream == Stream.BAR:
            bars += frame.rows
        if stream == Stream.EVENT:
            ts_ns = max(ts_ns, frame.ts_last)
        yield frame


def _from_1(db: sqlite3.Connection) -> str:
    """Schema 1 had one CRC-32 a frame, which could not be checked without the body."""
    for (n,) in db.execute("SELECT n FROM frames").fetchall():
        frame = Frame(*db.execute(SELECT + " WHERE n = ?", (n,)).fetchone())
        if not frame.intact:  # one that came from schema 0 is
            try:
                whole = checksum(frame)
            except (TypeError, struct.error):
                whole = -1
            crc = whole if whole & 0xFFFFFFFF == frame.crc else -1
            db.execute("UPDATE frames SET crc = ? WHERE n = ?", (crc, n))
    return "a checksum of its own for the columns"


_STEPS: dict[int, Callable[[sqlite3.Connection], str]] = {0: _from_0, 1: _from_1}

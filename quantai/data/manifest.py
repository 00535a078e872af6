"""The manifest: a small SQLite database that says which rows a lake holds. What it does not list is not there.

One transaction is one commit. Rows wait in `staged` as Arrow batches until there are enough of them for a Parquet
file; `files` lists the Parquet files; `loose` names files on disk that are not listed (being written, or replaced) so
that they can be swept. Write-ahead logging lets readers in any process see whole commits only and never wait;
`synchronous=FULL` makes a commit durable.
"""

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from quantai.core.errors import DataError, InputError, StorageError
from quantai.core.rows import HOUR
from quantai.data.tables import TABLES
from quantai.ops import make_folder

VERSION = 1
NAME = "manifest.db"
REPLACED = "replaced"
"""The owner of files that a compaction replaced."""
GRACE_NS = HOUR
"""How long a replaced file stays on disk for readers that looked at the manifest before it was replaced."""

_SCHEMA = """
create table files(
    id integer primary key, path text not null unique, tbl text not null, venue text not null, symbol text not null,
    part text not null, rows integer not null, bytes integer not null, ts_min integer not null, ts_max integer not null,
    seq_min integer not null, seq_max integer not null);
create index files_by_partition on files(tbl, venue, symbol, part);
create table staged(
    id integer primary key, source text not null, born_ns integer not null, tbl text not null, venue text not null,
    symbol text not null, part text not null, rows integer not null, ts_min integer not null, ts_max integer not null,
    seq_min integer not null, seq_max integer not null, batch blob not null);
create index staged_by_partition on staged(tbl, venue, symbol, part);
create table sources(name text primary key, position text not null, rows integer not null, updated_ns integer not null);
create table loose(path text primary key, owner text not null, since_ns integer not null);
create table quarantined(path text primary key, rows integer not null, reason text not null, since_ns integer not null);
create table instruments(
    id integer primary key, venue text not null, symbol text not null, fields text not null, unique(venue, symbol));
"""
_FULL, _IOERR, _CORRUPT, _NOTADB, _BUSY, _CANTOPEN, _READONLY = 13, 10, 11, 26, 5, 14, 8
_KEYS = "tbl, venue, symbol, part, rows, ts_min, ts_max, seq_min, seq_max"


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one partition: a Parquet file (`path` is relative to the lake) or, with no path, a staged batch."""

    id: int
    table: str
    venue: str
    symbol: str
    part: str
    rows: int
    ts_min: int
    ts_max: int
    seq_min: int
    seq_max: int
    path: str = ""
    bytes: int = 0
    batch: pa.RecordBatch | None = None

    @property
    def partition(self) -> tuple[str, str, str, str]:
        """(table, venue, symbol, date or year)."""
        return self.table, self.venue, self.symbol, self.part

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """(first, last) instant on the table's time column and (first, last) seq."""
        return self.ts_min, self.ts_max, self.seq_min, self.seq_max


def folder(table: str, venue: str, symbol: str, part: str) -> str:
    """Return the partition's folder, relative to the lake.

    >>> folder("trades", "OKX", "BTC-USDT", "2024-08-08")
    'trades/venue=OKX/symbol=BTC-USDT/date=2024-08-08'
    """
    return f"{table}/venue={venue}/symbol={symbol}/{TABLES[table].key}={part}"


@contextlib.contextmanager
def storage(root: Path) -> Generator[None]:
    """Turn errors of SQLite and of the file system into one clear StorageError or DataError about the lake."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (_CORRUPT, _NOTADB):
            raise DataError(f"{root / NAME} is damaged ({error}): restore it from a backup") from error
        remedy = {
            _FULL: "the disk is full: free some space, then commit again",
            _IOERR: "the disk is full, over its quota, or failing: free some space, then commit again",
            _BUSY: "another process held the manifest for too long: try again",
            _CANTOPEN: "the folder is missing or not writable",
            _READONLY: "it is not writable by this user",
        }.get(code, str(error))
        raise StorageError(f"lake {root}: {remedy}") from error
    except (PermissionError, FileNotFoundError, NotADirectoryError, FileExistsError) as error:
        raise StorageError(
            f"lake {root}: {error.strerror} ({error.filename}): choose a folder you may write to"
        ) from error
    except OSError as error:
        if isinstance(error, StorageError) or error.errno is None:
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        what = "the disk is full: free some space, then commit again" if full else os.strerror(error.errno)
        raise StorageError(f"lake {root}: {what}") from error


class Manifest:
    """The manifest of the lake at `root`; reading opens a short-lived connection and never creates anything."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / NAME

    def write(self) -> sqlite3.Connection:
        """Open for writing, creating the lake when there is none; raises StorageError."""
        with storage(self.root):
            make_folder(self.root)
            con = sqlite3.connect(self.path, timeout=30.0, isolation_level=None, check_same_thread=False)
            # big pages suit batches of a few hundred kilobytes; it only has an effect on a new database
            con.execute("pragma page_size=16384")
            con.execute("pragma journal_mode=wal")
            con.execute("pragma synchronous=full")
            con.execute("pragma fullfsync=1")  # macOS: fsync alone does not reach the disk
            con.execute("pragma journal_size_limit=33554432")
            with transaction(con):
                version = self._version(con)
                if version == 0:
                    for statement in _SCHEMA.strip().split(";\n"):
                        con.execute(statement)
                    con.execute(f"pragma user_version={VERSION}")
            return con

    @contextlib.contextmanager
    def read(self) -> Generator[sqlite3.Connection | None]:
        """Yield a read-only view of one moment, None when nothing was written; raises StorageError, DataError."""
        if not self.path.exists():
            if self.root.exists() and not self.root.is_dir():
                raise StorageError(f"lake {self.root} is a file, not a folder: pass the folder of a lake")
            yield None
            return
        with storage(self.root), contextlib.closing(self._open_to_read()) as con:
            con.execute("begin")
            if self._version(con) == 0:
                yield None
            else:
                yield con

    def _open_to_read(self) -> sqlite3.Connection:
        name = quote(str(self.path.absolute()))
        # where the log's index cannot be made, the file is read as it stands: without a log no writer has it open
        mode = "mode=ro" if os.access(self.root, os.W_OK) or self._has_log() else "immutable=1"
        return sqlite3.connect(f"file:{name}?{mode}", uri=True, timeout=30.0, isolation_level=None)

    def _has_log(self) -> bool:
        return self.path.with_name(NAME + "-shm").exists() and self.path.with_name(NAME + "-wal").exists()

    def _version(self, con: sqlite3.Connection) -> int:
        (version,) = con.execute("pragma user_version").fetchone()
        if version > VERSION:
            raise DataError(
                f"{self.path} was written by a newer quantai (format {version}): upgrade quantai to read it"
            )
        return version

    def parts(
        self,
        tables: Iterable[str] | None = None,
        venue: str | None = None,
        symbol: str | None = None,
        start: int | None = None,
        end: int | None = None,
        *,
        batches: bool = True,
    ) -> list[Part]:
        """Return the parts that may hold rows with start <= time < end, files first, then staged, all from one moment.

        `batches=False` leaves out the rows of staged parts, for counting.
        """
        where, values = ["1"], list[Any]()
        if tables is not None:
            names = list(tables)
            where.append(f"tbl in ({','.join('?' * len(names))})")
            values += names
        for column, test, value in (
            ("venue", "=", venue),
            ("symbol", "=", symbol),
            ("ts_max", ">=", start),
            ("ts_min", "<", end),
        ):
            if value is not None:
                where.append(f"{column} {test} ?")
                values.append(value)
        clause = " and ".join(where)
        with self.read() as con:
            if con is None:
                return []
            # the fragments put together are constants of this module; every value is a parameter
            select = f"select id, {_KEYS}, {{}} where {clause} order by id"
            files = con.execute(select.format("path, bytes from files"), values).fetchall()
            blob = "batch" if batches else "null"
            staged = con.execute(select.format(f"'', length(batch), {blob} from staged"), values).fetchall()
        found = [Part(*row) for row in files]
        for *row, batch in staged:
            found.append(Part(*row, batch=decode(row[1], batch)))
        return found

    def names(self, table: str | None = None) -> list[tuple[str, str, str]]:
        """Return the distinct (table, venue, symbol) that have rows, sorted."""
        with self.read() as con:
            if con is None:
                return []
            where, values = ("where tbl = ?", [table, table]) if table else ("", [])
            query = " union ".join(f"select tbl, venue, symbol from {name} {where}" for name in ("files", "staged"))  # noqa: S608
            return sorted(con.execute(query, values).fetchall())


@contextlib.contextmanager
def transaction(con: sqlite3.Connection) -> Generator[None]:
    """Run the block as one write transaction: all of it, or nothing when it raises."""
    con.execute("begin immediate")
    try:
        yield
        con.execute("commit")
    except BaseException:
        if con.in_transaction:  # a full disk makes SQLite roll back by itself
            con.execute("rollback")
        raise


def encode(batch: pa.RecordBatch | None) -> memoryview | None:
    """Return the batch as the bytes kept in `staged`; the schema is the table's and is not repeated."""
    return None if batch is None else memoryview(batch.serialize())


def decode(table: str, blob: bytes | None) -> pa.RecordBatch | None:
    """Return the batch that `encode` made of rows of `table`."""
    return None if blob is None else pa.ipc.read_record_batch(pa.py_buffer(blob), TABLES[table].schema)


def now_ns() -> int:
    """Return the wall clock, for ages of files and locks only; never for data."""
    return time.time_ns()


def add_file(con: sqlite3.Connection, part: Part) -> None:
    """List a Parquet file, which from then on is part of the lake; it is no longer loose."""
    con.execute(
        "insert into files(path, bytes, tbl, venue, symbol, part, rows, ts_min, ts_max, seq_min, seq_max) "
        "values (?,?,?,?,?,?,?,?,?,?,?)",
        (part.path, part.bytes, *part.partition, part.rows, *part.bounds),
    )
    con.execute("delete from loose where path = ?", (part.path,))


def add_staged(con: sqlite3.Connection, source: str, part: Part) -> None:
    """Keep a batch in the manifest itself."""
    con.execute(
        "insert into staged(source, born_ns, tbl, venue, symbol, part, rows, ts_min, ts_max, seq_min, seq_max, batch) "
        "values (?,?,?,?,?,?,?,?,?,?,?,?)",
        (source, now_ns(), *part.partition, part.rows, *part.bounds, encode(part.batch)),
    )


def mark_loose(con: sqlite3.Connection, paths: Iterable[str], owner: str) -> None:
    """Note files that are about to exist, or that are no longer listed, so that a later sweep can remove them."""
    con.executemany("insert or replace into loose values (?,?,?)", [(p, owner, now_ns()) for p in paths])


def sweep(con: sqlite3.Connection, root: Path, owner: str, older_than_ns: int = 0) -> int:
    """Delete the loose files of `owner` noted at least `older_than_ns` ago and return how many there were.

    Only the holder of the owner's lock may call this: nobody else can then be writing those files.
    """
    limit = now_ns() - older_than_ns
    rows = con.execute("select path from loose where owner = ? and since_ns <= ?", (owner, limit)).fetchall()
    for (path,) in rows:
        for name in (path, path + ".tmp"):
            (root / name).unlink(missing_ok=True)
    with transaction(con):
        con.executemany("delete from loose where path = ?", rows)
    return len(rows)


def sweep_replaced(con: sqlite3.Connection, root: Path) -> int:
    """Delete the files that a compaction replaced longer than `GRACE_NS` ago; returns how many."""
    return sweep(con, root, REPLACED, GRACE_NS)


def check_source(name: str) -> str:
    """Return a source name that can be a lock file's name; raises InputError."""
    if not name or name.startswith(".") or any(c in name for c in "/\\\0"):
        raise InputError(f"source {name!r}: use letters, digits, '.', ':', '_' and '-'")
    return name

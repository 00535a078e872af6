"""The writer: rows of one source go into a lake in commits, each stored together with the source's position."""

import json
import logging
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from quantai.core.errors import InputError, StorageError
from quantai.core.rows import HOUR, MS, SEC
from quantai.data import manifest
from quantai.data.locks import FileLock, source_lock
from quantai.data.manifest import Manifest, Part, transaction
from quantai.data.parts import describe, new_path
from quantai.data.tables import TABLES, Columns, bounds, check_name, checked, split, stamped
from quantai.data.tables import table as table_of

SPILL_ROWS = 1 << 17  # a partition with this many staged rows becomes a Parquet file
SPILL_AGE_NS = HOUR  # so does one whose oldest staged row has waited this long: 24 small files a day at most
STAGED_ROWS_MAX = 1 << 20  # over all partitions of a source: keeps the manifest small and reading it quick
_FILES_PER_COMMIT = 8  # bounds how long one commit can take for files that are due
_RETRY_NS = 5 * SEC

Partition = tuple[str, str, str, str]
Stream = tuple[str, str, str]
_log = logging.getLogger(__name__)


class Writer:
    """Appends rows to a lake for one named source, in commits that are whole or absent, come what may.

    `position` is what the last commit stored (`{}` at first): where the source has to go on. Rows and position become
    durable together, so a source that resumes from `position` neither loses nor repeats a row. One process may hold a
    source at a time (StorageError names the holder); different sources write at once and readers never wait. Made by
    `Lake.writer`.

    Append and commit from one thread, or one at a time: a commit takes every row appended before it.

    >>> import tempfile
    >>> from quantai.data import Lake
    >>> lake = Lake(tempfile.mkdtemp())
    >>> with lake.writer("doc") as w:
    ...     w.append("trades", "OKX", "BTC-USDT", {"ts_exch": [10**18], "ts_recv": [10**18], "px": [1.5], "qty": [2.0]})
    ...     w.commit({"line": 1})
    1
    >>> with lake.writer("doc") as w:
    ...     w.position
    {'line': 1}
    """

    def __init__(self, root: Path, source: str) -> None:
        self.source = manifest.check_source(source)
        self._root = root
        self._lock = threading.RLock()
        lock = source_lock(root, source)
        self._file_lock: FileLock | None = lock
        try:
            self._con = Manifest(root).write()
            with manifest.storage(root):
                manifest.sweep(self._con, root, self._owner)
                manifest.sweep_replaced(self._con, root)
                row = self._con.execute("select position from sources where name = ?", (source,)).fetchone()
                waiting = self._con.execute(
                    "select tbl, venue, symbol, part, sum(rows), min(born_ns) from staged where source = ? "
                    "group by tbl, venue, symbol, part",
                    (source,),
                ).fetchall()
        except BaseException:
            lock.release()
            raise
        self.position: dict[str, Any] = json.loads(row[0]) if row else {}
        self._waiting: dict[Partition, tuple[int, int]] = {(t, v, s, p): (n, born) for t, v, s, p, n, born in waiting}
        self._buffer: dict[Stream, list[Columns]] = {}
        self._rows = 0
        self._last: dict[Stream, int] = {}
        self._spill_not_before = 0

    @property
    def _owner(self) -> str:
        return f"source:{self.source}"

    @property
    def pending(self) -> int:
        """How many rows are appended but not committed."""
        return self._rows

    def append(self, table: str, venue: str, symbol: str, columns: Mapping[str, Any]) -> None:
        """Buffer rows of one stream in memory: nothing is durable before `commit`.

        `columns` maps names to arrays or lists of equal length; see `quantai.data.tables` for names, types and
        defaults. Without `seq`, rows are numbered by `ts_recv`, raised where needed to stay strictly increasing
        within the stream. Raises UnknownName or InputError that names the table and column, and then buffers nothing.
        """
        spec = table_of(table)
        stream = (table, check_name("venue", venue), check_name("symbol", symbol))
        rows = checked(spec, columns)
        n = len(rows[spec.clock])
        if n == 0:
            return
        with self._lock:
            self._refuse_closed()
            if "seq" not in rows:
                ts = rows["ts_recv"]
                rows["seq"] = stamped(ts, self._seq_before(stream, int(ts[0])))
                self._last[stream] = int(rows["seq"][-1])
            self._buffer.setdefault(stream, []).append(rows)
            self._rows += n

    def commit(self, position: Mapping[str, Any]) -> int:
        """Make every appended row durable together with `position` (JSON) and return how many rows that was.

        Raises StorageError when the disk is full or fails, InputError when the position is not JSON: then nothing of
        this commit is stored, the rows stay buffered, and the next commit takes them.
        """
        try:
            text = json.dumps(dict(position), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"source {self.source!r}: the position must be JSON: {error}") from None
        with self._lock:
            self._refuse_closed()
            staged, big = self._parts()
            try:
                with manifest.storage(self._root):
                    files = self._write_files(big)
                    with transaction(self._con):
                        for part in files:
                            manifest.add_file(self._con, part)
                        for part in staged:
                            manifest.add_staged(self._con, self.source, part)
                        self._con.execute(
                            "insert into sources values (?,?,?,?) on conflict(name) do update set "
                            "position = excluded.position, rows = rows + excluded.rows, "
                            "updated_ns = excluded.updated_ns",
                            (self.source, text, self._rows, manifest.now_ns()),
                        )
            except BaseException:
                self._discard_loose()
                raise
            acknowledged, self._rows = self._rows, 0
            self._buffer.clear()
            self.position = json.loads(text)
            now = manifest.now_ns()
            for part in staged:
                rows, born = self._waiting.get(part.partition, (0, now))
                self._waiting[part.partition] = rows + part.rows, born
            self._spill_due(now)
            return acknowledged

    def close(self) -> None:
        """Move what is staged into Parquet files and give the source back; rows never committed are dropped.

        Raises StorageError when the files cannot be written; every committed row is safe in the manifest all the same.
        """
        with self._lock:
            if self._file_lock is None:
                return
            try:
                self._spill(list(self._waiting))
            finally:
                self._con.close()
                self._file_lock.release()
                self._file_lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        lost = self._rows
        self.close()
        if lost and kind is None:
            raise InputError(
                f"source {self.source!r}: {lost} rows were appended but never committed: call commit() last"
            )

    def _refuse_closed(self) -> None:
        if self._file_lock is None:
            raise InputError(
                f"source {self.source!r}: this writer is closed; open another with lake.writer({self.source!r})"
            )

    def _parts(self) -> tuple[list[Part], list[Part]]:
        """Cut the buffer into parts: (small ones to stage, big ones to write as files at once)."""
        staged, big = list[Part](), list[Part]()
        for (name, venue, symbol), pieces in self._buffer.items():
            spec = TABLES[name]
            for part, batch in split(spec, _joined(pieces)):
                found = Part(0, name, venue, symbol, part, batch.num_rows, *bounds(spec, batch), batch=batch)
                (big if batch.num_rows >= SPILL_ROWS else staged).append(found)
        return staged, big

    def _seq_before(self, stream: Stream, ts: int) -> int | None:
        """Return the last seq of the stream when rows at `ts` go on from there, else None."""
        last = self._last.get(stream)
        if last is None:
            with manifest.storage(self._root):
                known = [
                    self._con.execute(query, (*stream, ts + MS)).fetchone()[0]
                    for query in (
                        "select max(seq_max) from files where tbl = ? and venue = ? and symbol = ? and seq_max < ?",
                        "select max(seq_max) from staged where tbl = ? and venue = ? and symbol = ? and seq_max < ?",
                    )
                ]
            last = max((x for x in known if x is not None), default=None)
        # rows of equal time are numbered a nanosecond apart: what is more than a million of them back is older data
        return last if last is not None and last - ts < MS else None

    def _write_files(self, parts: Iterable[Part]) -> list[Part]:
        todo = [(part, new_path(*part.partition)) for part in parts]
        if not todo:
            return []
        with transaction(self._con):
            manifest.mark_loose(self._con, [path for _, path in todo], self._owner)
        return [
            describe(self._root, part.partition, path, pa.Table.from_batches([part.batch]))
            for part, path in todo
            if part.batch is not None
        ]

    def _discard_loose(self) -> None:
        try:
            manifest.sweep(self._con, self._root, self._owner)
        except (sqlite3.Error, OSError) as error:  # the next writer of this source sweeps them
            _log.debug("files of a failed commit stay until the next start: %s", error)

    def _spill_due(self, now: int) -> None:
        if now < self._spill_not_before or not self._waiting:
            return
        due = [p for p, (n, born) in self._waiting.items() if n >= SPILL_ROWS or now - born >= SPILL_AGE_NS]
        due = due[:_FILES_PER_COMMIT]
        excess = sum(n for p, (n, _) in self._waiting.items() if p not in due) - STAGED_ROWS_MAX
        for partition in sorted(self._waiting, key=lambda p: -self._waiting[p][0]) if excess > 0 else ():
            if excess > 0 and partition not in due:
                due.append(partition)
                excess -= self._waiting[partition][0]
        if not due:
            return
        try:
            self._spill(due)
        except StorageError as error:
            # the rows are committed and readable where they are, so this is no failure of the commit
            self._spill_not_before = now + _RETRY_NS
            _log.warning("rows stay in the manifest for now: %s", error)

    def _spill(self, partitions: list[Partition]) -> None:
        for at in range(0, len(partitions), 16):
            group = partitions[at : at + 16]
            try:
                with manifest.storage(self._root):
                    spill(self._con, self._root, self.source, group, self._owner)
            except BaseException:
                self._discard_loose()
                raise
            for partition in group:
                del self._waiting[partition]


def spill(con: Any, root: Path, source: str, partitions: Iterable[Partition], owner: str) -> None:
    """Move the staged rows of `source` in these partitions into one Parquet file each, in one transaction at the end.

    The caller holds the lock of the source. `owner` names who sweeps the files if this process dies half-way.
    """
    todo: list[tuple[Partition, str, pa.Table, list[tuple[int]]]] = []
    for partition in partitions:
        rows = con.execute(
            "select id, batch from staged "
            "where source = ? and tbl = ? and venue = ? and symbol = ? and part = ? order by id",
            (source, *partition),
        ).fetchall()
        batches = [b for _, blob in rows if (b := manifest.decode(partition[0], blob)) is not None]
        todo.append((partition, new_path(*partition), pa.Table.from_batches(batches), [(id_,) for id_, _ in rows]))
    with transaction(con):
        manifest.mark_loose(con, [path for _, path, _, _ in todo], owner)
    files = [describe(root, partition, path, rows) for partition, path, rows, _ in todo]
    with transaction(con):
        for part, (_, _, _, ids) in zip(files, todo, strict=True):
            manifest.add_file(con, part)
            con.executemany("delete from staged where id = ?", ids)


def _joined(pieces: list[Columns]) -> Columns:
    if len(pieces) == 1:
        return pieces[0]
    return {
        name: pa.concat_arrays([p[name] for p in pieces])
        if isinstance(pieces[0][name], pa.Array)
        else np.concatenate([p[name] for p in pieces])
        for name in pieces[0]
    }

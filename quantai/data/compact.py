"""Compaction: the many small files of a past day become few large ones, in the order of seq."""

import contextlib
import datetime as dt
import itertools
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from quantai.core.errors import DataError, StorageError
from quantai.data import manifest
from quantai.data.locks import FileLock, source_lock
from quantai.data.manifest import Manifest, Part, transaction
from quantai.data.parts import ROW_GROUP, in_order, new_path, write_part
from quantai.data.tables import TABLES
from quantai.data.writer import spill
from quantai.ops import progress

FILE_ROWS = 8 * ROW_GROUP
"""The most rows of one file: some 4 million, 30 to 100 MB."""

_OWNER = "compact"
_MOST_FREE = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Compacted:
    """What one compaction did; `damaged` has a line for each partition it left alone because a file cannot be read."""

    partitions: int
    files_before: int
    files_after: int
    rows: int
    moved: int
    swept: int
    damaged: tuple[str, ...] = ()


def compact(root: Path, *, today: dt.date | None = None, quiet: bool = False) -> Compacted:
    """Merge the files of every partition before `today` (UTC), and move the staged rows of idle sources into files.

    Files end up sorted by seq, of at most `FILE_ROWS` rows, in row groups of `ROW_GROUP`; a second run finds nothing to
    do. Each partition is exchanged in one transaction: readers see the old files or the new, and after a crash the next
    run sweeps what was half-written. Raises StorageError when another process is compacting, or the disk is full.
    """
    day = today or dt.datetime.now(dt.UTC).date()
    with FileLock(root, _OWNER, "compaction"), contextlib.closing(Manifest(root).write()) as con:
        with manifest.storage(root):
            swept = manifest.sweep(con, root, _OWNER) + manifest.sweep_replaced(con, root)
            moved = _move_staged(con, root)
        todo = [parts for parts in _partitions(Manifest(root)) if _closed(parts[0], day) and _unsorted(parts)]
        before = after = rows = done = 0
        damaged = list[str]()
        with progress("compacting", sum(p.rows for parts in todo for p in parts), unit="rows", quiet=quiet) as advance:
            for parts in todo:
                try:
                    with manifest.storage(root):
                        after += _merge(con, root, parts)
                    before, done = before + len(parts), done + 1
                    rows += sum(p.rows for p in parts)
                except DataError as error:
                    damaged.append(str(error))
                advance(sum(p.rows for p in parts))
        with manifest.storage(root):
            _shrink(con)
    return Compacted(done, before, after, rows, moved, swept, tuple(damaged))


def _move_staged(con: sqlite3.Connection, root: Path) -> int:
    """Move the staged rows of sources that nobody holds into files; a source in use moves its own."""
    moved = 0
    for (source,) in con.execute("select distinct source from staged").fetchall():
        try:
            lock = source_lock(root, source)
        except StorageError:
            continue
        with lock:
            mine = con.execute(
                "select distinct tbl, venue, symbol, part from staged where source = ? order by 1, 2, 3, 4", (source,)
            ).fetchall()
            for group in itertools.batched(mine, 16, strict=False):
                spill(con, root, source, group, _OWNER)
            moved += len(mine)
    return moved


def _partitions(lake: Manifest) -> list[list[Part]]:
    files = sorted((p for p in lake.parts(batches=False) if p.path), key=lambda p: (*p.partition, p.seq_min, p.id))
    return [list(group) for _, group in itertools.groupby(files, key=lambda p: p.partition)]


def _closed(part: Part, today: dt.date) -> bool:
    return part.part < (today.isoformat() if TABLES[part.table].period == "day" else str(today.year))


def _unsorted(parts: list[Part]) -> bool:
    """Whether there are more files than needed, or files whose seq overlaps."""
    fewest = -(-sum(p.rows for p in parts) // FILE_ROWS)
    return len(parts) > fewest or any(b.seq_min <= a.seq_max for a, b in itertools.pairwise(parts))


def _merge(con: sqlite3.Connection, root: Path, parts: list[Part]) -> int:
    rows = sum(p.rows for p in parts)
    paths = [new_path(*parts[0].partition) for _ in range(-(-rows // FILE_ROWS))]
    with transaction(con):
        manifest.mark_loose(con, paths, _OWNER)
    try:
        groups = _row_groups(in_order(root, parts))
        files = [_write(root, path, parts[0], groups) for path in paths]
        if sum(f.rows for f in files) != rows:
            raise DataError(f"{root / parts[0].path} and its neighbours do not hold the {rows} rows that are listed")
        with transaction(con):
            gone = [con.execute("delete from files where id = ? and path = ?", (p.id, p.path)).rowcount for p in parts]
            if not all(gone):
                raise StorageError(f"lake {root}: {parts[0].path} was moved meanwhile: compact again")
            for part in files:
                manifest.add_file(con, part)
            manifest.mark_loose(con, [p.path for p in parts], manifest.REPLACED)
    except BaseException:
        with contextlib.suppress(sqlite3.Error, OSError):  # if not now, the next run sweeps
            manifest.sweep(con, root, _OWNER)
        raise
    return len(files)


def _row_groups(pieces: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Cut the pieces anew into tables of `ROW_GROUP` rows; only the last may have fewer."""
    held = list[pa.Table]()
    for piece in pieces:
        held.append(piece)
        while sum(t.num_rows for t in held) >= ROW_GROUP:
            rows = pa.concat_tables(held)
            yield rows.slice(0, ROW_GROUP).combine_chunks()
            held = [rows.slice(ROW_GROUP)]
    if sum(t.num_rows for t in held):
        yield pa.concat_tables(held).combine_chunks()


def _write(root: Path, path: str, like: Part, groups: Iterator[pa.Table]) -> Part:
    name = like.table
    time = TABLES[name].time
    seen = list[tuple[int, int, int, int, int]]()

    def noted() -> Iterator[pa.Table]:
        for rows in itertools.islice(groups, FILE_ROWS // ROW_GROUP):
            ts, seq = rows[time].to_numpy(), rows["seq"].to_numpy()
            seen.append((rows.num_rows, int(ts.min()), int(ts.max()), int(seq[0]), int(seq[-1])))
            yield rows

    size = write_part(root, path, noted(), name)
    n, ts_min, ts_max, seq_min, seq_max = zip(*seen, strict=True)
    bounds = (min(ts_min), max(ts_max), min(seq_min), max(seq_max))
    return Part(0, *like.partition, sum(n), *bounds, path=path, bytes=size)


def _shrink(con: sqlite3.Connection) -> None:
    """Give the space of rows that have left the manifest back to the disk, when nobody is writing."""
    con.execute("pragma wal_checkpoint(passive)").fetchall()
    (free,) = con.execute("pragma freelist_count").fetchone()
    (size,) = con.execute("pragma page_size").fetchone()
    if free * size > _MOST_FREE:
        with contextlib.suppress(sqlite3.OperationalError):  # busy: the next compaction may find it idle
            con.execute("pragma busy_timeout=100").fetchall()
            con.execute("vacuum")

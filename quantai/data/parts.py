"""Parquet files of a lake: written whole or not at all, read with their checksums verified."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from quantai.core.errors import DataError
from quantai.data.manifest import Part, folder
from quantai.data.tables import TABLES, bounds, sort_by_seq, table
from quantai.ops import durable, make_folder, sync_folder

ROW_GROUP = (
    1 << 19
)  # DuckDB reads row groups in parallel and skips them by their statistics: 120 thousand to 1 million is good
_PACKED = ("ts_exch", "ts_recv", "ts_open", "ts_close", "next_ts", "seq")  # neighbours differ little: half the size


def new_path(table: str, venue: str, symbol: str, part: str) -> str:
    """Return a fresh file name in a partition, relative to the lake."""
    return f"{folder(table, venue, symbol, part)}/part-{uuid.uuid4().hex}.parquet"


def write_part(root: Path, path: str, rows: pa.Table | Iterable[pa.Table], name: str) -> int:
    """Write rows of table `name` to `path` (relative to `root`), durable when this returns; returns the size in bytes.

    The file appears under its name only when it is complete. On an error, which is raised, nothing is left behind.
    """
    final, temporary = root / path, root / f"{path}.tmp"
    make_folder(final.parent)
    schema = TABLES[name].schema
    settings: dict[str, Any] = {
        "compression": "zstd",
        "write_page_checksum": True,
        "use_dictionary": [c for c in schema.names if c not in _PACKED and c != "id"],
        "column_encoding": {c: "DELTA_BINARY_PACKED" for c in schema.names if c in _PACKED},
    }
    try:
        with pq.ParquetWriter(temporary, schema, **settings) as writer:
            for piece in [rows] if isinstance(rows, pa.Table) else rows:
                writer.write_table(piece, row_group_size=ROW_GROUP)
        with temporary.open("rb") as file:
            durable(file.fileno())
        size = temporary.stat().st_size
        temporary.rename(final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(final.parent)
    return size


def describe(root: Path, partition: tuple[str, str, str, str], path: str, rows: pa.Table) -> Part:
    """Write `rows`, sorted by seq, to `path` and return the entry that the manifest needs."""
    rows = sort_by_seq(rows)
    size = write_part(root, path, rows, partition[0])
    return Part(0, *partition, rows.num_rows, *bounds(table(partition[0]), rows), path=path, bytes=size)


def read_part(root: Path, part: Part, columns: Sequence[str] | None = None, filters: Any = None) -> pa.Table:
    """Return the rows of one part, file or staged; raises DataError that names a missing or damaged file."""
    if part.batch is not None:
        rows = pa.Table.from_batches([part.batch])
        return (rows.filter(filters) if filters is not None else rows).select(columns or rows.schema.names)
    path = root / part.path
    try:
        rows = pq.read_table(
            path,
            columns=None if columns is None else list(columns),
            filters=filters,
            partitioning=None,  # pyright: ignore[reportArgumentType]
            page_checksum_verification=True,
        )
        # a plain cast drops Arrow's own notes in the file, so that tables of several files always fit together
        schema = TABLES[part.table].schema
        return rows.cast(schema if columns is None else pa.schema([schema.field(c) for c in columns]))
    except FileNotFoundError:
        raise damaged(path, "the file is missing", root) from None
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, str(error).splitlines()[0], root) from error


def in_order(
    root: Path, parts: Iterable[Part], on_damage: Callable[[Part, DataError], Any] | None = None
) -> Iterator[pa.Table]:
    """Yield the rows of one stream's parts in the order of seq, holding only parts that overlap in memory together.

    A part that cannot be read raises DataError, or with `on_damage` is told to it and left out.
    """

    def read(part: Part) -> pa.Table:
        try:
            rows = read_part(root, part)
            if rows.num_rows != part.rows:
                raise damaged(root / part.path, f"it holds {rows.num_rows} rows, not {part.rows}", root)
            return rows
        except DataError as error:
            if on_damage is None:
                raise
            on_damage(part, error)
            return TABLES[part.table].empty()

    cluster, last = list[Part](), 0
    for part in [*sorted(parts, key=lambda p: p.seq_min), None]:
        if cluster and (part is None or part.seq_min > last):
            # rows of equal seq keep the order in which they were committed: files first, then staged, each by number
            cluster.sort(key=lambda p: (not p.path, p.id))
            yield sort_by_seq(pa.concat_tables(map(read, cluster)))
            cluster = []
        if part is not None:
            last = max(last, part.seq_max) if cluster else part.seq_max
            cluster.append(part)


def damaged(path: Path, why: str, root: Path) -> DataError:
    """Return the error for a Parquet file that cannot be read, with the remedy."""
    return DataError(f"{path} is damaged: {why}; move it aside with: quantai check --lake {root} --quarantine")


def verify(root: Path, part: Part) -> str:
    """Return what is wrong with a listed file, "" when every page can be read and no row is missing."""
    try:
        rows = read_part(root, part)
    except DataError as error:
        return str(error)
    if rows.num_rows != part.rows:
        return str(damaged(root / part.path, f"it holds {rows.num_rows} rows, not {part.rows}", root))
    return ""

"""What is in a CSV or Parquet file: its columns with types and ranges, its size and its first rows. Not its data."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from quantai.core.errors import DataError
from quantai.knowledge.chunks import split
from quantai.knowledge.passages import Reading
from quantai.knowledge.readers.kinds import MAX_UNPACKED, title_from

FIRST_ROWS = 5

Ends = Mapping[str, tuple[Any, Any]]
"""Column -> what stands at its two ends."""


def read_csv(data: bytes, name: str) -> Reading:
    """Describe a file of comma, tab or semicolon separated values: the first and last value of each column."""
    import pyarrow as pa
    from pyarrow import csv

    head = data[:4096].split(b"\n", 1)[0]
    comma = max(",\t;|", key=lambda mark: head.count(mark.encode()))
    try:
        table = csv.read_csv(io.BytesIO(data), parse_options=csv.ParseOptions(delimiter=comma))
    except pa.ArrowInvalid as error:
        raise DataError(f"{name}: not readable as CSV ({str(error).splitlines()[0]})") from error
    ends = {
        column: (values[0].as_py(), values[-1].as_py())
        for column, values in zip(table.schema.names, table.columns, strict=True)
        if table.num_rows
    }
    return _describe(table, table.num_rows, ("first", "last"), ends, name, "csv")


def read_parquet(data: bytes, name: str) -> Reading:
    """Describe a Parquet file: the smallest and largest value of each column, as the file says, and the first rows.

    Its columns are never read whole: a million equal values are a few bytes of it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(data))
    except pa.ArrowInvalid as error:
        raise DataError(f"{name}: not readable as Parquet ({str(error).splitlines()[0]})") from error
    facts = file.metadata
    small = facts.num_row_groups and facts.row_group(0).total_byte_size <= MAX_UNPACKED
    first = next(file.iter_batches(FIRST_ROWS, row_groups=[0]), None) if small else None
    table = file.schema_arrow.empty_table() if first is None else pa.Table.from_batches([first])
    return _describe(table, facts.num_rows, ("smallest", "largest"), _ranges(facts), name, "parquet")


def _ranges(facts: Any) -> dict[str, tuple[Any, Any]]:
    """Return the smallest and largest value of each column that says so in every group of rows."""
    found: dict[str, tuple[Any, Any]] = {}
    for place in range(facts.num_columns):
        parts = [facts.row_group(group).column(place) for group in range(facts.num_row_groups)]
        said = [part.statistics for part in parts]
        if said and all(one is not None and one.has_min_max for one in said):
            ends = min(one.min for one in said), max(one.max for one in said)
            found[parts[0].path_in_schema] = ends
    return found


def _describe(table: Any, rows: int, called: tuple[str, str], ends: Ends, name: str, kind: str) -> Reading:
    lines = [f"Table {title_from(name)}: {rows} rows, {table.num_columns} columns.", ""]
    lines.append(" | ".join(("column", "type", *called)))
    lines += [f"{field.name} | {field.type} | {_shown(ends.get(field.name, ('', '')))}" for field in table.schema]
    lines += ["", "First rows:", " | ".join(table.schema.names)]
    lines += [_shown(row) for row in zip(*_first(table), strict=True)]
    return Reading(title_from(name), kind, tuple(split("\n".join(lines))))


def _first(table: Any) -> list[list[Any]]:
    return [column.slice(0, FIRST_ROWS).to_pylist() for column in table.columns]


def _shown(values: Sequence[Any]) -> str:
    return " | ".join(_short(value) for value in values)


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:39]}…"

"""What is in a CSV or Parquet file: its columns with types and ranges, its size and its first rows. Not its data."""

import io
from typing import Any

from quantai.core.errors import DataError
from quantai.knowledge.chunks import split
from quantai.knowledge.passages import Reading
from quantai.knowledge.readers.kinds import title_from

FIRST_ROWS = 5


def read_csv(data: bytes, name: str) -> Reading:
    """Describe a file of comma, tab or semicolon separated values."""
    import pyarrow as pa
    from pyarrow import csv

    head = data[:4096].split(b"\n", 1)[0]
    comma = max(",\t;|", key=lambda mark: head.count(mark.encode()))
    try:
        table = csv.read_csv(io.BytesIO(data), parse_options=csv.ParseOptions(delimiter=comma))
    except pa.ArrowInvalid as error:
        raise DataError(f"{name}: not readable as CSV ({str(error).splitlines()[0]})") from error
    return _describe(table, table.num_rows, name, "csv")


def read_parquet(data: bytes, name: str) -> Reading:
    """Describe a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(io.BytesIO(data))
    except pa.ArrowInvalid as error:
        raise DataError(f"{name}: not readable as Parquet ({str(error).splitlines()[0]})") from error
    table = file.read_row_group(0) if file.num_row_groups else file.schema_arrow.empty_table()
    return _describe(table, file.metadata.num_rows, name, "parquet")


def _describe(table: Any, rows: int, name: str, kind: str) -> Reading:
    lines = [f"Table {title_from(name)}: {rows} rows, {table.num_columns} columns.", "", "column | type | first | last"]
    for field in table.schema:
        column = table.column(field.name) if table.schema.names.count(field.name) == 1 else []
        first, last = (column[0].as_py(), column[-1].as_py()) if len(column) else ("", "")
        lines.append(f"{field.name} | {field.type} | {_short(first)} | {_short(last)}")
    lines += ["", "First rows:", " | ".join(table.schema.names)]
    lines += [" | ".join(_short(value) for value in row) for row in zip(*_first(table), strict=True)]
    return Reading(title_from(name), kind, tuple(split("\n".join(lines))))


def _first(table: Any) -> list[list[Any]]:
    return [column.slice(0, FIRST_ROWS).to_pylist() for column in table.columns]


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:39]}…"

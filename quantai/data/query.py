"""SQL over a lake: DuckDB views of every table at one moment, and the answer of one query.

Each query gets a connection of its own, so threads never share one and an answer half read can never block the next
query.
"""

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from quantai.core.errors import DataError, InputError
from quantai.data.manifest import Manifest, Part
from quantai.data.parts import damaged, verify
from quantai.data.tables import TABLES, Table

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

_WRONG_SQL = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException, duckdb.ConversionException)


class Answer:
    """The rows a query returned, complete and in memory: read them as often and in as many forms as you like."""

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows

    @property
    def columns(self) -> list[str]:
        """The column names."""
        return self._rows.column_names

    def arrow(self) -> pa.Table:
        """Return an Arrow table."""
        return self._rows

    def df(self) -> "pd.DataFrame":
        """Return a pandas frame."""
        return self._rows.to_pandas()

    def pl(self) -> "pl.DataFrame":
        """Return a polars frame."""
        import polars as pl

        return pl.DataFrame(self._rows)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return the rows as tuples of Python values."""
        return list(zip(*(c.to_pylist() for c in self._rows.columns), strict=True))

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the first row as a tuple, None when there is none."""
        return next(iter(Answer(self._rows.slice(0, 1)).fetchall()), None)

    def __len__(self) -> int:
        return self._rows.num_rows

    def __repr__(self) -> str:
        return str(duckdb.connect().from_arrow(self._rows))

    def _repr_html_(self) -> str:
        return self._rows.slice(0, 60).to_pandas().to_html()


def connect(root: Path, manifest: Manifest, tables: Iterable[str]) -> duckdb.DuckDBPyConnection:
    """Return a private connection with a view of each of `tables` as of now; raises DataError for a damaged file."""
    names = list(tables)
    parts = manifest.parts(names) if names else []
    con = duckdb.connect(config={"temp_directory": f"{tempfile.gettempdir()}/quantai-duckdb-{os.getuid()}"})
    # otherwise an ASOF join over one day is planned as a nested loop, which does not finish
    con.execute("set asof_loop_join_threshold = 0").fetchall()
    # and a misspelt table could be found among the variables of this very function
    con.execute("set python_enable_replacements = false").fetchall()
    for name in names:
        mine = [p for p in parts if p.table == name]
        try:
            _create_view(con, root, TABLES[name], mine)
        except duckdb.Error as error:
            raise _explained(error, root, mine) from error
    return con


def ask(root: Path, manifest: Manifest, query: str, parameters: Mapping[str, Any]) -> Answer:
    """Run one query; raises InputError for wrong SQL and DataError for a damaged file. See `Lake.sql`."""
    words = set(re.findall(r"\w+", query.lower()))
    names = [t for t in TABLES if t in words]
    con = connect(root, manifest, names)
    values = {k: v for k, v in parameters.items() if not hasattr(v, "__arrow_c_stream__")}
    try:
        for name, frame in parameters.items():
            if name not in values:
                con.register(name, frame)
        relation = con.sql(query, params=values or None)  # pyright: ignore[reportArgumentType]
        if relation is None:  # pyright: ignore[reportUnnecessaryComparison] -- a comment, or a statement without rows
            raise InputError("SQL: this asks for nothing: write a SELECT")
        return Answer(relation.to_arrow_table())
    except duckdb.Error as error:
        raise _explained(error, root, manifest.parts(names, batches=False) if names else []) from error
    finally:
        con.close()


def _create_view(con: duckdb.DuckDBPyConnection, root: Path, table: Table, parts: list[Part]) -> None:
    # a view takes no parameters, so the text is put together here: of names of our tables, and of quoted paths
    columns = ", ".join(["venue", "symbol", table.key, *(f'"{n}"' for n in table.schema.names)])
    pieces = list[str]()
    files = [str(root / p.path) for p in parts if p.path]
    if files:
        listed = ", ".join("'" + f.replace("'", "''") + "'" for f in files)
        kind = "DATE" if table.key == "date" else "INTEGER"
        # DuckDB's own reading of key=value folders looks at the whole path, and the lake may lie below such a folder
        folders = f"substr(filename, {len(str(root)) + 2})"
        named = ", ".join(
            f"cast(substr(split_part({folders}, '/', {level}), {len(key) + 2}) as {kind}) as {key}"
            for level, key, kind in ((2, "venue", "VARCHAR"), (3, "symbol", "VARCHAR"), (4, table.key, kind))
        )
        own = ", ".join(f'"{n}"' for n in table.schema.names)
        read = f"select {own}, {named} from read_parquet([{listed}], filename = true, hive_partitioning = false)"  # noqa: S608
        pieces.append(f"select {columns} from ({read})")  # noqa: S608
    staged = [p for p in parts if p.batch is not None]
    if staged or not files:
        con.register(f"_staged_{table.name}", _with_partition(table, staged))
        pieces.append(f"select {columns} from _staged_{table.name}")  # noqa: S608
    ts = f"make_timestamp_ns({table.time}) as ts"
    date = "" if table.key == "date" else f", cast(make_timestamp_ns({table.time}) as date) as date"
    con.execute(f"create view {table.name} as select *, {ts}{date} from ({' union all '.join(pieces)})").fetchall()  # noqa: S608


def _with_partition(table: Table, parts: list[Part]) -> pa.Table:
    kind = pa.date32() if table.key == "date" else pa.int32()
    rows = list[pa.Table]()
    for (_, venue, symbol, part), group in groupby(sorted(parts, key=_partition), _partition):
        found = pa.Table.from_batches([p.batch for p in group if p.batch is not None])
        found = found.append_column("venue", pa.repeat(venue, found.num_rows))
        found = found.append_column("symbol", pa.repeat(symbol, found.num_rows))
        rows.append(found.append_column(table.key, pa.repeat(part, found.num_rows).cast(kind)))
    if rows:
        return pa.concat_tables(rows)
    extra = [pa.field("venue", pa.string()), pa.field("symbol", pa.string()), pa.field(table.key, kind)]
    return pa.schema([*table.schema, *extra]).empty_table()


def _partition(part: Part) -> tuple[str, str, str, str]:
    return part.partition


def _explained(error: duckdb.Error, root: Path, parts: list[Part]) -> InputError:
    """Return our error for one of DuckDB's: a damaged file when there is one, else what is wrong with the query."""
    if not isinstance(error, _WRONG_SQL):
        for part in parts:
            path = root / part.path
            if part.path and (not path.is_file() or path.stat().st_size != part.bytes):
                return damaged(path, "it is missing, or not as long as it was written", root)
        named = [p for p in parts if p.path and p.path in str(error)]
        for part in named or [p for p in parts if p.path]:
            why = verify(root, part)
            if why:
                return DataError(why)
    lines = [line for line in str(error).splitlines() if line.strip()]
    return InputError(f"SQL: {' '.join(lines[:2])}")

"""The tables of a lake: their columns, how they are split into partitions, and the check every appended row passes.

Every market-data table starts with the same three columns: `ts_exch` (the venue's clock), `ts_recv` (ours) and `seq`
(the order). Instants are int64 nanoseconds UTC, because DuckDB's and pandas' own time types round or change zone
silently. Venue and symbol are not columns of the files: they are the names of the folders.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from quantai.core.errors import DataError, InputError, UnknownName
from quantai.core.rows import DAY, Kind
from quantai.data.instants import SMALLEST_NS, to_ns

Columns = dict[str, Any]
"""Checked columns of equal length: numpy arrays, or an Arrow array for text."""

_NAT = np.iinfo(np.int64).min  # how numpy keeps a datetime that is none
_FREE = object()  # a column that the writer fills in itself when the caller leaves it out


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its columns in order, the values of columns that may be left out, and how it is split.

    `time` is the column that a [start, end) selects on, `clock` the one whose UTC date (`period` "day") or year
    (`period` "year") names the partition, and `stands_in` the column that replaces a `time` of 0, for venues that
    send none.
    """

    name: str
    schema: pa.Schema
    defaults: Mapping[str, Any]
    time: str = "ts_exch"
    clock: str = "ts_recv"
    period: Literal["day", "year"] = "day"

    @property
    def key(self) -> str:
        """The name of the partition folder's last part: `date` or `year`."""
        return "date" if self.period == "day" else "year"

    def empty(self) -> pa.Table:
        """Return no rows of this table."""
        return self.schema.empty_table()


def _table(name: str, columns: Mapping[str, Any], defaults: Mapping[str, Any], **split: Any) -> Table:
    fields = [pa.field(n, t, nullable=pa.types.is_string(t)) for n, t in columns.items()]
    return Table(name, pa.schema(fields), {"seq": _FREE} | dict(defaults), **split)


_I8, _F8, _TEXT = pa.int64(), pa.float64(), pa.string()
_HEAD = {"ts_exch": _I8, "ts_recv": _I8, "seq": _I8}
_BAR_PRICES = dict.fromkeys(("open", "high", "low", "close", "volume"), _F8)

TABLES: dict[str, Table] = {
    t.name: t
    for t in (
        _table("trades", _HEAD | {"px": _F8, "qty": _F8, "side": pa.int8(), "id": _TEXT}, {"side": 0, "id": None}),
        _table(
            "levels",
            _HEAD | {"px": _F8, "qty": _F8, "side": pa.int8(), "flags": pa.uint16(), "kind": pa.uint8()},
            {"flags": 0, "kind": int(Kind.LEVEL)},
        ),
        _table(
            "quotes",
            _HEAD | {"bid": _F8, "bid_qty": _F8, "ask": _F8, "ask_qty": _F8},
            {"bid_qty": np.nan, "ask_qty": np.nan},
        ),
        _table(
            "bars",
            {"ts_open": _I8, "ts_close": _I8, "ts_recv": _I8, "seq": _I8}
            | _BAR_PRICES
            | {"trades": pa.uint32(), "interval": _TEXT},
            {"ts_recv": 0, "volume": 0.0, "trades": 0},
            time="ts_open",
            clock="ts_open",
            period="year",
        ),
        _table(
            "funding",
            _HEAD | {"rate": _F8, "next_ts": _I8, "mark": _F8},
            {"next_ts": 0, "mark": np.nan},
            period="year",
        ),
        _table("open_interest", _HEAD | {"qty": _F8}, {}, period="year"),
        _table(
            "liquidations",
            _HEAD | {"px": _F8, "qty": _F8, "side": pa.int8(), "id": _TEXT, "status": _TEXT},
            {"side": 0, "id": None, "status": None},
        ),
        _table(
            "events",
            _HEAD | {"kind": pa.uint8(), "aux": _I8, "channel": _TEXT, "detail": _TEXT},
            {"aux": 0, "channel": None, "detail": None},
        ),
    )
}
"""Every table by name. `bars`, `funding` and `open_interest` have few rows a day and are split by year."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def table(name: str) -> Table:
    """Return the table called `name`; raises UnknownName.

    >>> table("trades").schema.names
    ['ts_exch', 'ts_recv', 'seq', 'px', 'qty', 'side', 'id']
    """
    try:
        return TABLES[name]
    except KeyError:
        raise UnknownName("table", name, TABLES) from None


def check_name(what: str, name: str) -> str:
    """Return `name` when it can be the name of a partition folder; raises InputError.

    >>> check_name("symbol", "BTC/USDT")
    Traceback (most recent call last):
    quantai.core.errors.InputError: symbol 'BTC/USDT': only letters, digits, '.', '_' and '-' can name a partition
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"{what} {name!r}: only letters, digits, '.', '_' and '-' can name a partition")
    return name


def checked(table: Table, columns: Mapping[str, Any]) -> Columns:
    """Return `columns` as arrays of the table's types, with the defaults of those left out (except `seq`).

    A number is never rounded to fit an integer column and text is never read as a number. Raises InputError that
    names the table and the column, DataError for an instant that is missing (NaT) or before 1970. Other values are
    stored as they are, NaN and negative prices included: `check` reports them later, because a recorder must not stop
    at a venue's mistake.
    """
    unknown = [n for n in columns if n not in table.schema.names]
    if unknown:
        raise UnknownName(f"column of {table.name}", unknown[0], table.schema.names)
    missing = [n for n in table.schema.names if n not in columns and n not in table.defaults]
    if missing:
        raise InputError(f"{table.name}: column {', '.join(missing)} is missing")
    out: Columns = {n: _column(table, table.schema.field(n).type, n, v) for n, v in columns.items()}
    lengths = {n: len(v) for n, v in out.items()}
    n = next(iter(lengths.values()))
    if any(length != n for length in lengths.values()):
        raise InputError(f"{table.name}: columns differ in length: {lengths}")
    for name, value in table.defaults.items():
        if name not in out and value is not _FREE:
            kind = table.schema.field(name).type
            out[name] = pa.nulls(n, kind) if value is None else np.full(n, value, kind.to_pandas_dtype())
    _fill_times(table, out)
    return out


def _fill_times(table: Table, out: Columns) -> None:
    """Let the other clock's time stand for a missing one (0); refuse what is no time, or milliseconds."""
    for name in [n for n in out if n.startswith("ts_") or n.endswith("_ts")]:
        early = out[name] < 0
        if early.any():
            at = int(np.argmax(early))
            value = out[name][at]
            said = "is missing (NaT)" if value == _NAT else f"{value} is before 1970"
            remedy = "leave such rows out" if name in (table.time, table.clock) else "write 0 where there is none"
            raise DataError(f"{table.name}.{name} of row {at} {said}: {remedy}; {int(early.sum())} such row(s)")
    pairs = (("ts_recv", "ts_close"),) if table.name == "bars" else (("ts_exch", "ts_recv"), ("ts_recv", "ts_exch"))
    for name, other in pairs:
        unset = out[name] == 0
        if unset.any():
            out[name] = np.where(unset, out[other], out[name])
    for name in dict.fromkeys((table.time, table.clock)):
        # daily bars of early January 1970 exist; a table with nothing later does not
        latest = int(np.abs(out[name]).max(initial=0))
        if len(out[name]) and latest < SMALLEST_NS:
            to_ns(latest or 1, f"{table.name}.{name}")  # raises, and says what to multiply by


def _column(table: Table, kind: pa.DataType, name: str, value: Any) -> Any:
    what = f"{table.name}.{name}"
    if pa.types.is_string(kind):
        try:
            array = value if isinstance(value, pa.Array | pa.ChunkedArray) else pa.array(value, kind, from_pandas=True)
        except pa.ArrowException as error:
            raise InputError(f"{what} is text: {error}") from None
        if array.type != kind:
            raise InputError(f"{what} is text, got {array.type}")
        return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if isinstance(value, pa.Array | pa.ChunkedArray):
        value = value.to_numpy(zero_copy_only=False) if isinstance(value, pa.Array) else value.to_numpy()
    array = np.asarray(value)
    if array.ndim != 1:
        raise InputError(f"{what}: one value per row is needed, got shape {array.shape}")
    dtype = np.dtype(kind.to_pandas_dtype())
    if array.dtype == dtype:
        return array.copy()  # the caller may reuse its buffer before the commit
    return _converted(what, array, dtype)


def _converted(what: str, array: Any, dtype: "np.dtype[Any]") -> Any:
    if len(array) == 0:
        return array.astype(dtype)
    if dtype.kind == "f":
        if array.dtype.kind in "fiu":
            return array.astype(dtype)
        if array.dtype.kind == "O" and not any(isinstance(x, str | bytes) for x in array):
            try:
                return array.astype(dtype)
            except (TypeError, ValueError):
                pass
        raise InputError(f"{what} holds numbers, got {array.dtype.name} such as {array[0]!r}")
    if array.dtype.kind == "M" and np.datetime_data(array.dtype)[0] == "ns":
        array = array.view("i8")
    if array.dtype.kind not in "iu":
        raise InputError(f"{what} holds whole numbers ({dtype.name}), got {array.dtype.name} such as {array[0]!r}")
    info = np.iinfo(dtype)
    if array.min() < info.min or array.max() > info.max:
        raise InputError(f"{what}: {array.min()} to {array.max()} does not fit {dtype.name}")
    return array.astype(dtype)


def stamped(ts: Any, last: int | None) -> Any:
    """Return a `seq` for each instant of `ts`: the instant itself, raised where needed to keep increasing.

    `last` is the seq of the row before, or None. Numbers made from time let rows of several sources, imported in any
    order, fall into place.

    >>> stamped(np.array([10, 10, 9, 20]), None).tolist()
    [10, 11, 12, 20]
    """
    steps = np.arange(len(ts), dtype="i8")
    floor = ts - steps
    if last is not None and len(ts):
        floor[0] = max(floor[0], last + 1)
    return np.maximum.accumulate(floor) + steps


def split(table: Table, columns: Columns) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Yield (partition value, rows) for each day (`2024-08-08`) or year (`2024`), rows in the order they came in."""
    batch = pa.RecordBatch.from_arrays([pa.array(columns[f.name], f.type) for f in table.schema], schema=table.schema)
    days = columns[table.clock] // DAY
    if len(days) == 0:
        return
    if table.period == "year":
        days = days.astype("datetime64[D]").astype("datetime64[Y]").astype("i8")
    unit = "D" if table.period == "day" else "Y"
    if days.min() == days.max():
        yield str(np.datetime64(int(days[0]), unit)), batch
        return
    for day in np.unique(days):
        yield str(np.datetime64(int(day), unit)), batch.filter(pa.array(days == day))


def sort_by_seq(rows: pa.Table) -> pa.Table:
    """Return the rows in the order of `seq`; rows of equal seq keep the order they came in."""
    seq = rows["seq"].to_numpy()
    if len(seq) < 2 or bool(np.all(seq[1:] >= seq[:-1])):
        return rows
    return rows.take(pa.array(np.argsort(seq, kind="stable")))


def bounds(table: Table, rows: pa.Table | pa.RecordBatch) -> tuple[int, int, int, int]:
    """Return (first, last) instant on the table's time column and (first, last) seq of the rows."""
    ts, seq = rows[table.time].to_numpy(), rows["seq"].to_numpy()
    return int(ts.min()), int(ts.max()), int(seq.min()), int(seq.max())

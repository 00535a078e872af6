"""Import bars: read the whole file, check it, and only then store it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from quantai.core.errors import DataError, UnknownName
from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import BAR, DAY, Rows, zeros
from quantai.data.bars import Bars, interval_ns
from quantai.data.importers.checks import in_order, numbers, refuse, repeated
from quantai.data.importers.columns import BARS, match
from quantai.data.importers.sheets import Imported, Sheet
from quantai.data.importers.times import Clock
from quantai.data.sessions import wall_to_utc

if TYPE_CHECKING:
    from quantai.data.lake import Lake

_NUMBERS = ("open", "high", "low", "close", "volume", "trades")


def import_bars(
    lake: "Lake",
    path: str | Path,
    venue: str,
    symbol: str,
    interval: str,
    *,
    columns: Mapping[str, str] | None = None,
    names: Sequence[str] | None = None,
    tz: str | None = None,
    unit: str | None = None,
    label: str = "open",
    sort: bool = False,
    dedupe: bool = False,
) -> Imported:
    """Import a csv or Parquet file of bars of one symbol; a bar that the lake holds already is not stored again.

    The file has a time, open, high, low and close, and perhaps volume and trades; `columns` says which column is
    which where the names do not ({"time": "Date"}), `names` what a csv file without a header has. Times are ISO 8601,
    or counts of s, ms, us or ns since 1970 UTC (`unit`, told from the values when left out); `tz` is the zone of
    times that carry none, and they are refused without it. `label` says whether the time marks the `open` or the
    `close` of a bar. A bar of whole days in a zone with summer time lasts until the same wall clock, so some last 23
    or 25 hours.

    Nothing is stored unless the whole file is right: a missing or infinite number, a high below another price, time
    that goes backwards (unless `sort`), a repeated time (unless `dedupe`, which drops rows equal to an earlier one),
    or bars closer together than `interval` is a DataError that names file, row and remedy. The file must fit in
    memory.
    """
    instrument = _known(lake, Instrument.parse(symbol, venue=venue, tick="1e-8", lot="1e-8"))
    bars, read = _read(path, instrument, interval, columns, names, tz, unit, label, sort, dedupe)
    added = lake.add_bars(bars, f"import-bars-{venue}-{symbol}")
    return Imported(str(path), "bars", read, added, int(bars.rows["ts_open"][0]), int(bars.rows["ts_close"][-1]))


def read_bars(
    path: str | Path,
    symbol: str | Instrument,
    interval: str,
    *,
    columns: Mapping[str, str] | None = None,
    names: Sequence[str] | None = None,
    tz: str | None = None,
    unit: str | None = None,
    label: str = "open",
    sort: bool = False,
    dedupe: bool = False,
) -> Bars:
    """Return the bars of one csv or Parquet file, without a lake; arguments and refusals are those of `import_bars`."""
    instrument = Instrument.parse(symbol, tick="1e-8", lot="1e-8") if isinstance(symbol, str) else symbol
    return _read(path, instrument, interval, columns, names, tz, unit, label, sort, dedupe)[0]


def _read(
    path: str | Path,
    instrument: Instrument,
    interval: str,
    columns: Mapping[str, str] | None,
    names: Sequence[str] | None,
    tz: str | None,
    unit: str | None,
    label: str,
    sort: bool,
    dedupe: bool,
) -> tuple[Bars, int]:
    if label not in ("open", "close"):
        raise UnknownName("label", label, ["open", "close"])
    length = interval_ns(interval)
    sheet = Sheet(path, names)
    parts = match(sheet.where, sheet.columns, BARS, columns or {})
    clock, row = Clock(sheet.where, tz, unit), 0
    found: list[Rows] = []
    for piece in sheet.pieces(parts):
        found.append(_bar_rows(clock, piece, row, label, length))
        row += len(found[-1])
    if row == 0:
        raise DataError(f"{sheet.where}: no rows below the header")
    rows, numbered = np.concatenate(found), np.arange(row)
    if sort:
        numbered = np.argsort(rows["ts_open"], kind="stable")
        rows = rows[numbered]
    in_order(sheet.where, numbered, rows["ts_open"], None)
    if dedupe:
        keep = ~repeated(tuple(rows[n] for n in BAR.names or ()))
        rows, numbered = rows[keep], numbered[keep]
    _check(sheet.where, rows, numbered, interval)
    return Bars(rows, Instruments([instrument]), interval, sheet.where), row


def _check(where: str, rows: Rows, numbered: Any, interval: str) -> None:
    again = repeated((rows["ts_open"],))
    refuse(
        where,
        numbered,
        again,
        "this time is there already: dedupe=True (--dedupe) drops rows that are equal, mend others",
    )
    early = np.diff(rows["ts_open"], append=rows["ts_close"][-1]) < rows["ts_close"] - rows["ts_open"]
    refuse(
        where, numbered, early, f"the next bar opens before {interval} is over: pass the interval that the bars have"
    )
    low, high = np.minimum(rows["open"], rows["close"]), np.maximum(rows["open"], rows["close"])
    broken = (rows["high"] < high) | (rows["low"] > low)
    refuse(where, numbered, broken, "high is below, or low above, another price of the bar: mend or remove the row")
    refuse(where, numbered, rows["volume"] < 0, "the volume is negative: mend or remove the row")


def _bar_rows(clock: Clock, piece: pa.Table, row: int, label: str, length: int) -> Rows:
    rows = zeros(piece.num_rows, BAR)
    ts = clock.read(piece["time"], row)
    step = length if label == "open" else -length
    other = ts + step
    if length % DAY == 0 and clock.tz is not None:
        other = _same_wall_clock(ts, step // DAY, clock.tz)
    rows["ts_open"], rows["ts_close"] = (ts, other) if label == "open" else (other, ts)
    for name in _NUMBERS:
        if name in piece.column_names:
            rows[name] = numbers(clock.where, row, name, piece[name])
    return rows


def _same_wall_clock(ts: Any, days: int, tz: str) -> Any:
    import pandas as pd

    times: Any = pd.DatetimeIndex(ts.astype("datetime64[ns]"), tz="UTC")
    wall = times.tz_convert(tz).tz_localize(None).to_numpy("datetime64[ns]")
    return wall_to_utc(wall + np.timedelta64(days, "D"), tz)


def _known(lake: "Lake", instrument: Instrument) -> Instrument:
    have = {(i.venue, i.symbol) for i in lake.instruments}
    key = (instrument.venue, instrument.symbol)
    return lake.instruments.get(instrument.symbol, instrument.venue) if key in have else instrument

"""Bars: an immutable, checked sequence of BAR rows for one or more instruments.

A bar covers [ts_open, ts_close) and becomes known at ts_close: that is the instant at which a strategy sees it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from quantai.core.errors import DataError, InputError, UnknownName
from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import BAR, DAY, HOUR, MIN, MS, SEC, Rows, zeros

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

_UNITS = {"ms": MS, "s": SEC, "m": MIN, "h": HOUR, "d": DAY, "w": 7 * DAY}
_PRICES = ("open", "high", "low", "close")


def interval_ns(interval: str) -> int:
    """Return the length of a time interval such as `1m`, `4h` or `1d`, in nanoseconds; raises UnknownName.

    >>> interval_ns("5m")
    300000000000
    """
    digits = interval.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = interval[len(digits) :]
    if not digits.isdigit() or int(digits) == 0 or unit not in _UNITS:
        raise UnknownName("interval", interval, [f"{n}{u}" for u in ("s", "m", "h", "d") for n in (1, 5, 15)])
    return int(digits) * _UNITS[unit]


def interval_name(ns: int) -> str:
    """Return the shortest spelling of a length in nanoseconds: the inverse of `interval_ns`.

    >>> interval_name(90 * 60 * 10**9)
    '90m'
    """
    for unit, size in (("w", 7 * DAY), ("d", DAY), ("h", HOUR), ("m", MIN), ("s", SEC), ("ms", MS)):
        if ns > 0 and ns % size == 0:
            return f"{ns // size}{unit}"
    raise InputError(f"an interval of {ns} ns is not a whole number of milliseconds")


@dataclass(frozen=True, eq=False)
class Bars:
    """BAR rows sorted by (ts_close, instrument), with the instruments they number.

    Made by `Lake.bars`, `Bars.from_frame`, `samples` and `synth`. Slicing by position keeps the type; `between` slices
    by time. Building one checks it: a NaN, a non-positive length, an unsorted or repeated bar, bars of one instrument
    that overlap, or a high below a low is a DataError that names the row. The rows are the object's own and read-only:
    an array that somebody else could still change is copied.

    >>> import pandas as pd
    >>> index = pd.date_range("2024-01-01", periods=3, freq="1D", tz="UTC")
    >>> bars = Bars.from_frame(pd.DataFrame({"open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5}, index=index), "SPY")
    >>> len(bars), bars.interval, bars.symbols
    (3, '1d', ['SPY'])
    """

    rows: Rows
    instruments: Instruments
    interval: str = ""
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        rows = np.ascontiguousarray(self.rows, BAR)
        if not _unchangeable(rows):
            rows = _sealed(rows.copy())
        _check(rows, self.instruments)
        object.__setattr__(self, "rows", rows)

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        symbol: str | Instrument,
        interval: str = "",
        *,
        venue: str = "",
        label: str = "open",
        source: str = "",
    ) -> Self:
        """Build bars of one instrument from a pandas, polars or Arrow table of open, high, low, close, volume, trades.

        The time is the index or a column `ts` / `time` / `date`, with a time zone; `label` says whether it marks the
        `open` or the `close` of a bar. Column names are matched without case. Without `interval` the commonest spacing
        is taken. A bar lasts one interval (whole days: until the same wall clock in the zone of the times), but ends
        where the next one opens if that is earlier: a day in March has 23 hours, a month of `31d` may have 28 days.
        """
        import pandas as pd

        if hasattr(frame, "to_pandas"):
            frame = frame.to_pandas()
        if not isinstance(frame, pd.DataFrame) or frame.columns.nlevels > 1:
            raise InputError(
                f"bars are made of a pandas, polars or Arrow table with plain column names, not {type(frame).__name__}"
            )
        frame = frame.rename(columns={c: str(c).lower() for c in frame.columns})
        if len(frame) == 0:
            raise DataError("the table has no rows: there are no bars in it")
        if "symbol" in frame.columns and frame["symbol"].nunique() > 1:
            names = ", ".join(map(str, frame["symbol"].unique()[:5]))
            raise DataError(f"the table holds several symbols ({names}): make Bars of each, then Bars.concat([…])")
        missing = [c for c in _PRICES if c not in frame.columns]
        if missing:
            raise DataError(f"bars need columns open, high, low, close: {', '.join(missing)} missing")
        times = _times(frame)
        ts = pd.DatetimeIndex(times).tz_convert("UTC").as_unit("ns").asi8
        if label not in ("open", "close"):
            raise UnknownName("label", label, ["open", "close"])
        if not interval:
            if len(ts) < 2:
                raise InputError("one bar has no spacing to infer the interval from: pass interval=, for example '1d'")
            steps, counts = np.unique(np.diff(ts), return_counts=True)
            interval = interval_name(int(steps[counts.argmax()]))
        rows = zeros(len(frame), BAR)
        rows["ts_open"], rows["ts_close"] = _spans(times, ts, interval, label)
        for name in (*_PRICES, "volume", "trades"):
            if name in frame.columns:
                rows[name] = frame[name].to_numpy()
        if isinstance(symbol, str):
            symbol = _free_grid(Instrument.parse(symbol, venue=venue))
        return cls(_sealed(rows), Instruments([symbol]), interval, source)

    @classmethod
    def concat(cls, parts: Sequence["Bars"]) -> Self:
        """Merge bars of several instruments into one sequence ordered by (ts_close, instrument).

        Raises InputError when two parts describe one instrument differently, DataError when its bars overlap.
        """
        if not parts:
            raise InputError("nothing to merge: pass at least one Bars")
        table = Instruments()
        pieces: list[Rows] = []
        for part in parts:
            rows = part.rows.copy()
            ids = np.array([table.add(i) for i in part.instruments], "u4")
            rows["instrument"] = ids[part.rows["instrument"]]
            pieces.append(rows)
        rows = np.concatenate(pieces)
        rows = rows[np.lexsort((rows["instrument"], rows["ts_close"]))]
        intervals = {part.interval for part in parts}
        return cls(_sealed(rows), table, intervals.pop() if len(intervals) == 1 else "")

    @property
    def symbols(self) -> list[str]:
        """The symbols, in instrument order."""
        return [i.symbol for i in self.instruments]

    @cached_property
    def fingerprint(self) -> str:
        """A BLAKE2 hash of rows and instruments: equal data, equal fingerprint, on any machine."""
        h = hashlib.blake2b(np.ascontiguousarray(self.rows).tobytes(), digest_size=16)
        h.update(self.instruments.rows().tobytes())
        h.update("|".join(f"{i.venue}:{i.symbol}" for i in self.instruments).encode())
        return h.hexdigest()

    def only(self, symbol: str) -> Self:
        """Return the bars of one symbol; raises UnknownName."""
        for n, instrument in enumerate(self.instruments):
            if instrument.symbol == symbol:
                rows = self.rows[self.rows["instrument"] == n].copy()
                rows["instrument"] = 0
                return type(self)(_sealed(rows), Instruments([instrument]), self.interval, self.source)
        raise UnknownName("symbol", symbol, self.symbols)

    def between(self, start: Any = None, end: Any = None) -> Self:
        """Return the bars with start <= ts_open and ts_close <= end; None is no bound.

        An instant is whatever pandas reads as one; naive is UTC.
        """
        lo = np.iinfo(np.int64).min if start is None else _instant(start)
        hi = np.iinfo(np.int64).max if end is None else _instant(end)
        keep = (self.rows["ts_open"] >= lo) & (self.rows["ts_close"] <= hi)
        return type(self)(_sealed(self.rows[keep]), self.instruments, self.interval, self.source)

    def df(self) -> "pd.DataFrame":
        """Return a pandas frame indexed by `ts`, the bars' opening instants (UTC); several instruments add `symbol`."""
        import pandas as pd

        index = pd.DatetimeIndex(self.rows["ts_open"].astype("datetime64[ns]"), tz="UTC", name="ts")
        columns: dict[str, Any] = {n: self.rows[n] for n in (*_PRICES, "volume", "trades")}
        if len(self.instruments) > 1:
            columns = {
                "symbol": pd.Categorical.from_codes(self.rows["instrument"].astype("i4"), self.symbols)
            } | columns
        return pd.DataFrame(columns, index=index)

    def arrow(self) -> "pa.Table":
        """Return an Arrow table with ts_open and ts_close as timestamps in UTC."""
        import pyarrow as pa

        columns: dict[str, Any] = {
            "symbol": pa.array(np.array(self.symbols, object)[self.rows["instrument"]], pa.string())
        }
        for name in ("ts_open", "ts_close"):
            columns[name] = pa.array(self.rows[name].astype("datetime64[ns]")).cast(pa.timestamp("ns", "UTC"))
        return pa.table(columns | {n: self.rows[n].copy() for n in (*_PRICES, "volume", "trades")})

    def pl(self) -> "pl.DataFrame":
        """Return a polars frame; the same columns as `arrow`."""
        import polars as pl

        return pl.DataFrame(self.arrow())

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: slice) -> Self:
        return type(self)(self.rows[at], self.instruments, self.interval, self.source)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)

    def __repr__(self) -> str:
        span = ""
        if len(self.rows):
            first, last = (
                str(np.datetime64(int(self.rows[n][i]), "ns"))[:19] for n, i in (("ts_open", 0), ("ts_close", -1))
            )
            span = f", {first} to {last} UTC"
        return f"Bars({len(self):,} x {self.interval or 'mixed'} of {', '.join(self.symbols)}{span})"


def _free_grid(instrument: Instrument) -> Instrument:
    # bars from anywhere may be adjusted or rounded: without an instrument of the caller's, prices and sizes are free
    from decimal import Decimal

    return instrument.with_fields(tick=Decimal("1e-8"), lot=Decimal("1e-8"))


def _times(frame: "pd.DataFrame") -> Any:
    import pandas as pd

    index: Any = frame.index
    if not isinstance(index, pd.DatetimeIndex):
        found = [c for c in ("ts", "ts_open", "time", "timestamp", "date", "datetime") if c in frame.columns]
        if not found:
            raise DataError("bars need an instant each: a time-zone-aware DatetimeIndex, or a column ts, time or date")
        index = pd.DatetimeIndex(frame[found[0]])
    if index.tz is None:
        raise DataError("bar times have no time zone: use frame.tz_localize('UTC') or the zone they were recorded in")
    return index


def _spans(times: Any, ts: Any, interval: str, label: str) -> tuple[Any, Any]:
    """Return where each bar opens and closes (int64 ns): one interval apart, and never beyond its neighbour."""
    length = interval_ns(interval)
    steps = np.diff(ts)
    if len(steps) and 0 < 2 * np.median(steps) < length:
        raise InputError(f"bars are not {interval} apart but {np.median(steps) / SEC:g} s: pass the interval they have")
    other = _shifted(times, length if label == "open" else -length)
    if (steps >= 0).all():  # what is not sorted is refused later, by row
        if label == "open":
            after = np.append(ts, np.iinfo("i8").max)[np.searchsorted(ts, ts, "right")]
            return ts, np.minimum(other, after)
        before = np.append(ts, np.iinfo("i8").min)[np.searchsorted(ts, ts, "left") - 1]
        return np.maximum(other, before), ts
    return (ts, other) if label == "open" else (other, ts)


def _shifted(times: Any, length: int) -> Any:
    import pandas as pd

    if length % DAY:
        return times.tz_convert("UTC").as_unit("ns").asi8 + length
    wall = times.tz_localize(None).as_unit("ns") + pd.Timedelta(length, "ns")
    # a midnight that the clock skips ends the day when the clock goes on, and one that it shows twice the first time
    first = np.ones(len(wall), bool)
    return wall.tz_localize(times.tz, ambiguous=first, nonexistent="shift_forward").tz_convert("UTC").asi8


def _sealed(rows: Rows) -> Rows:
    rows.flags.writeable = False
    return rows


def _unchangeable(rows: Rows) -> bool:
    """Say whether nobody can change these rows: they, and every array that they are a view of, are read-only."""
    at: Any = rows
    while isinstance(at, np.ndarray) and not at.flags.writeable:
        if at.flags.owndata:
            return True
        at = at.base
    return False


def _instant(value: Any) -> int:
    import pandas as pd

    try:
        stamp = pd.Timestamp(value)
    except (ValueError, TypeError):
        raise InputError(f"{value!r} is not an instant: write 2024-01-31 or 2024-01-31T12:00:00Z") from None
    stamp = stamp.tz_localize("UTC") if stamp.tz is None else stamp.tz_convert("UTC")
    return stamp.as_unit("ns").value


def _check(rows: Rows, instruments: Instruments) -> None:
    if len(rows) == 0:
        return
    if int(rows["instrument"].max()) >= len(instruments):
        raise DataError(f"bars name instrument {rows['instrument'].max()} but only {len(instruments)} are listed")

    def refuse(bad: Any, what: str) -> None:
        at = int(np.argmax(bad))
        when = rows["ts_open"][at].astype("M8[ns]").astype("M8[s]")
        symbol = instruments[int(rows["instrument"][at])].symbol
        raise DataError(f"bar {at} of {len(rows)} ({symbol}, {when}Z): {what}; {int(bad.sum())} such row(s)")

    finite = np.ones(len(rows), bool)
    for name in (*_PRICES, "volume"):
        finite &= np.isfinite(rows[name])
    if not finite.all():
        refuse(~finite, "a price or volume is not a number: drop or fill these rows first")
    low, high = np.minimum(rows["open"], rows["close"]), np.maximum(rows["open"], rows["close"])
    broken = (rows["high"] < high) | (rows["low"] > low)
    if broken.any():
        refuse(broken, "high is below, or low above, another price of the bar")
    negative = rows["volume"] < 0
    if negative.any():
        refuse(negative, "the volume is negative")
    empty = rows["ts_close"] <= rows["ts_open"]
    if empty.any():
        refuse(empty, "it closes before it opens")
    step = np.diff(rows["ts_close"])
    if (step < 0).any():
        refuse(np.append(False, step < 0), "time goes backwards: sort by time first")
    order = np.diff(rows["instrument"].astype("i8"))
    again = (step == 0) & (order <= 0)
    if again.any():
        refuse(np.append(False, again), "the bar is repeated or out of instrument order: drop duplicates first")
    one = np.argsort(rows["instrument"], kind="stable")  # each instrument's bars together, still in the order of time
    early = rows["ts_open"][one][1:] < rows["ts_close"][one][:-1]
    early &= rows["instrument"][one][1:] == rows["instrument"][one][:-1]
    if early.any():
        overlapping = np.zeros(len(rows), bool)
        overlapping[one[1:][early]] = True
        refuse(overlapping, "it opens before the bar before it closes: the bars are closer together than their length")

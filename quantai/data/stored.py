"""Bars of a lake: those it holds, those built from its trades, and how built ones are kept."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from quantai.core.errors import InputError, UnknownName
from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import BAR, Rows, zeros
from quantai.data.bars import Bars
from quantai.data.instants import Instant, to_ns
from quantai.data.intervals import Interval, parse_interval

if TYPE_CHECKING:
    from quantai.data.writer import Writer

_NAMES = ("ts_open", "ts_close", "open", "high", "low", "close", "volume", "trades")
_END = np.iinfo(np.int64).max


def intervals_of(rows: pa.Table) -> dict[str, set[str]]:
    """Return the intervals among rows of `bars`: the one spelling of each, and how the rows spell it."""
    found: dict[str, set[str]] = {}
    for text in rows["interval"].unique().to_pylist():
        try:
            found.setdefault(parse_interval(text).text, set()).add(text)
        except InputError:
            found.setdefault(text, set()).add(text)  # an importer's own word: it can be asked for as it stands
    return found


def picked(rows: pa.Table, spellings: set[str]) -> tuple[Rows, Any]:
    """Return the BAR rows of one interval by ts_close, and their seq; of a bar stored again the last counts."""
    rows = rows.filter(pa.array(np.isin(rows["interval"].to_numpy(zero_copy_only=False), list(spellings))))
    opened = rows["ts_open"].to_numpy()
    _, last = np.unique(opened[::-1], return_index=True)
    at = len(opened) - 1 - last
    out = zeros(len(at), BAR)
    for name in _NAMES:
        out[name] = rows[name].to_numpy()[at]
    seq = rows["seq"].to_numpy()[at]
    order = np.argsort(out["ts_close"], kind="stable")
    return out[order], seq[order]


def span(interval: Interval, start: Instant | None, end: Instant | None) -> tuple[int | None, int | None]:
    """Return the [start, end) of trades that make the bars with start <= ts_open < end; whole bars only, for time."""
    lo = None if start is None else to_ns(start, "start")
    hi = None if end is None else to_ns(end, "end")
    if interval.ns:
        lo, hi = (None if x is None else x + (interval.offset_ns - x) % interval.ns for x in (lo, hi))
    return lo, hi


def build(
    pieces: Iterator[pa.Table],
    interval: Interval,
    instrument: Instrument,
    bounds: tuple[int | None, int | None],
    took: Callable[[int], Any] = lambda rows: None,
) -> Bars:
    """Return bars of trades that arrive in pieces, in the order of seq; calls `took` with the rows of each piece.

    `source` of the result says how many trades came late, that is with a time before the bar that was open.
    """
    from quantai.data.aggregate import BarBuilder

    lo, hi = bounds
    builder = BarBuilder(interval, instrument)
    done = [zeros(0, BAR)]
    for rows in pieces:
        ts, px, qty = (rows[n].to_numpy() for n in ("ts_exch", "px", "qty"))
        keep = (ts >= (-_END if lo is None else lo)) & (ts < (_END if hi is None else hi))
        done.append(builder.extend(ts[keep], px[keep], qty[keep]))
        took(rows.num_rows)
    done.append(builder.flush())
    source = f"trades of {instrument.venue} {instrument.symbol}" + (f", {builder.late} late" if builder.late else "")
    return Bars(np.concatenate(done), Instruments([instrument]), interval.text, source)


def resample(rows: Rows, interval: Interval) -> Rows:
    """Return time bars of a longer `interval` made of shorter ones, in the order of ts_close, that do not straddle it.

    A bar of the result holds the bars that open within it; stretches without any give none.
    """
    out = zeros(0, BAR)
    if len(rows) == 0:
        return out
    opened = rows["ts_open"] - (rows["ts_open"] - interval.offset_ns) % interval.ns
    first = np.flatnonzero(np.append(True, opened[1:] != opened[:-1]))
    out = zeros(len(first), BAR)
    out["ts_open"], out["ts_close"] = opened[first], opened[first] + interval.ns
    out["open"], out["close"] = rows["open"][first], rows["close"][np.append(first[1:], len(rows)) - 1]
    out["high"], out["low"] = np.maximum.reduceat(rows["high"], first), np.minimum.reduceat(rows["low"], first)
    for name in ("volume", "trades"):
        out[name] = np.add.reduceat(rows[name], first)
    return out


def finer(intervals: dict[str, set[str]], wanted: Interval) -> str | None:
    """Return the longest of `intervals` that a bar of `wanted` is a whole number of, None when there is none."""
    if not wanted.ns:
        return None
    found = {text: _ns(text) for text in intervals}
    fitting = [text for text, ns in found.items() if 0 < ns < wanted.ns and wanted.ns % ns == 0]
    return max(fitting, key=lambda text: found[text], default=None)


def no_bars(venue: str, symbol: str, wanted: str, intervals: dict[str, set[str]]) -> UnknownName:
    """Return the error for bars that are neither stored nor can be made of what is."""
    return UnknownName(
        f"interval of bars of {symbol} at {venue}, which has no trades to build others from:", wanted, intervals
    )


def append(writer: "Writer", bars: Bars, number: int, stored: tuple[Rows, Any]) -> int:
    """Append those bars of instrument `number` that `stored` does not hold already; returns how many."""
    rows = bars.rows[bars.rows["instrument"] == number].copy()
    rows["instrument"] = 0
    seq = rows["ts_close"].copy()
    have, have_seq = stored
    if len(have) and len(rows):
        order = np.argsort(have["ts_open"])
        have, have_seq = have[order], have_seq[order]
        at = np.minimum(np.searchsorted(have["ts_open"], rows["ts_open"]), len(have) - 1)
        known = have["ts_open"][at] == rows["ts_open"]
        # a bar that changed is stored again with a later seq, and replaces the other when read
        seq[known] = np.maximum(seq[known], have_seq[at][known] + 1)
        fresh = ~(known & (have[at] == rows))
        rows, seq = rows[fresh], seq[fresh]
    if len(rows):
        item = bars.instruments[number]
        columns = {name: rows[name] for name in _NAMES} | {"ts_recv": rows["ts_close"], "seq": seq}
        writer.append("bars", item.venue, item.symbol, columns | {"interval": [bars.interval] * len(rows)})
    return len(rows)


def _ns(text: str) -> int:
    try:
        return parse_interval(text).ns
    except InputError:
        return 0

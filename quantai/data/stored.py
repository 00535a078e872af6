"""Bars of a lake: those it holds, those built from its trades, and how built ones are kept."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from quantai.core.errors import InputError, UnknownName
from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import BAR, SEC, Rows, zeros
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


class Once:
    """Leaves out the trades that came before: the venue's id, the price and the time (to a second) of an earlier one.

    A recording and a download of the same hours, or two recordings, bring each trade twice. Sources of the same hours
    overlap in seq and so arrive in one piece; of the pieces before, the last million trades are remembered. Trades
    without an id are never taken for each other. An id alone does not do: some venues use one again.

    >>> rows = pa.table({"id": ["7", None, "7", None], "px": [1.0, 2.0, 1.0, 2.0], "ts_exch": [5, 6, 5, 6]})
    >>> once = Once()
    >>> once.pick(rows)["ts_exch"].to_pylist(), once.pick(rows)["ts_exch"].to_pylist()
    ([5, 6, 6], [6, 6])
    """

    _KEPT = 1 << 20

    def __init__(self) -> None:
        self._before: pa.Table | None = None

    def pick(self, rows: pa.Table) -> pa.Table:
        """Return those of `rows`, with id, px and ts_exch, that are new."""
        keys = rows.select(["id", "px", "ts_exch"])
        if rows.num_rows == 0 or rows["id"].null_count == rows.num_rows:
            return rows
        ts = keys["ts_exch"].to_numpy()
        known = keys.slice(0, 0)
        if self._before is not None:  # of the trades before, few are as young as the oldest of these
            near = self._before["ts_exch"].to_numpy() >= ts.min() - SEC
            known = self._before.filter(pa.array(near))
        both = pa.concat_tables([known, keys])
        again = _repeated(both)[known.num_rows :]
        kept = both if self._before is None else pa.concat_tables([self._before, keys])
        self._before = kept.slice(max(0, kept.num_rows - self._KEPT)).combine_chunks()
        return rows.filter(pa.array(~again)) if again.any() else rows


def _repeated(keys: pa.Table) -> Any:
    codes = keys["id"].combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy()
    px, ts = keys["px"].to_numpy(), keys["ts_exch"].to_numpy()
    again = np.zeros(len(codes), bool)
    if int(codes.max()) + 1 == len(codes) - keys["id"].null_count:
        return again  # no id is there twice
    order = np.argsort(codes, kind="stable")
    c, p, t = codes[order], px[order], ts[order]
    same = (c[1:] == c[:-1]) & (c[1:] >= 0) & (p[1:] == p[:-1]) & (np.abs(t[1:] - t[:-1]) < SEC)
    again[order[1:][same]] = True
    return again


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

    A trade that two sources brought counts once (see `Once`). `source` of the result says how many trades came late,
    that is with a time before the bar that was open.
    """
    from quantai.data.aggregate import BarBuilder

    lo, hi = bounds
    builder, once = BarBuilder(interval, instrument), Once()
    done = [zeros(0, BAR)]
    for piece in pieces:
        rows = once.pick(piece)
        ts, px, qty = (rows[n].to_numpy() for n in ("ts_exch", "px", "qty"))
        keep = (ts >= (-_END if lo is None else lo)) & (ts < (_END if hi is None else hi))
        done.append(builder.extend(ts[keep], px[keep], qty[keep]))
        took(piece.num_rows)
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

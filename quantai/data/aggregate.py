"""Bars of any interval from trades: one compiled kernel, the same in one pass, in chunks and trade by trade.

The rules, which `tests/property/test_bars_aggregate.py` checks against DuckDB and against every way of cutting the
input:

- A **time** bar holds the trades with ts_open <= ts_exch < ts_close; bars are aligned to midnight UTC of 1970-01-01,
  weeks to a Monday. A stretch without trades gives no bar, or with `fill=True` a bar at the last close with volume 0.
- A **tick** bar holds N trades. A **volume** bar ends with the trade that brings it to V units, a **dollar** bar with
  the one that brings it to D of quote currency: no trade is split, and what is above the size is not carried over.
  Such a bar opens at its first trade and closes 1 ns after its last. Where several bars end within one time stamp of
  the venue, each opens where the one before closed and closes at least 1 ns later, so that bars never overlap.
- Trades count in the order given, which is that of `seq`. A trade whose time lies before the bar that is open belongs
  to that bar all the same and is counted in `BarBuilder.late`: a bar that was handed out is never changed.
- Sums are compensated (Neumaier 1974), so 10 trades of 0.3 make 3. A size is reached when it is met to within 1e-12
  of itself.
"""

import math
from typing import Any

import numpy as np
import pyarrow as pa

from quantai.core.compiled import compiled
from quantai.core.errors import DataError, InputError
from quantai.core.instruments import Instrument, Instruments, Payoff
from quantai.core.rows import BAR, EVENT, Kind, Rows, zeros
from quantai.data.bars import Bars
from quantai.data.intervals import By, Interval, parse_interval

_STATE = np.dtype(
    [
        ("active", "i8"),  # 1 while a bar is open
        ("ts_open", "i8"),
        ("ts_close", "i8"),
        ("prev_close", "i8"),  # where the last bar handed out closed
        ("open", "f8"),
        ("high", "f8"),
        ("low", "f8"),
        ("close", "f8"),
        ("volume", "f8"),
        ("volume_lost", "f8"),  # what rounding took from the sum, added back at the end
        ("total", "f8"),  # of what closes the bar: trades, units or quote currency
        ("total_lost", "f8"),
        ("trades", "i8"),
        ("last_ts", "i8"),  # the latest instant of any trade so far
        ("late", "i8"),
    ]
)
_NEVER = np.iinfo(np.int64).min


@compiled
def _start(s: Any, ts_open: int, ts_close: int, px: float) -> None:
    s.active = 1
    s.ts_open, s.ts_close = ts_open, ts_close
    s.open = s.high = s.low = s.close = px
    s.volume = s.volume_lost = s.total = s.total_lost = 0.0
    s.trades = 0


@compiled
def _emit(s: Any, bar: Any, instrument: int) -> None:
    bar.ts_open, bar.ts_close = s.ts_open, s.ts_close
    bar.open, bar.high, bar.low, bar.close = s.open, s.high, s.low, s.close
    bar.volume = s.volume + s.volume_lost
    bar.trades, bar.instrument = s.trades, instrument
    s.prev_close = s.ts_close
    s.active = 0


@compiled
def _plus(total: float, lost: float, x: float) -> tuple[float, float]:
    new = total + x
    if abs(total) >= abs(x):
        return new, lost + ((total - new) + x)
    return new, lost + ((x - new) + total)


@compiled
def _roll(s: Any, out: Any, n: int, until: int, length: int, fill: bool, instrument: int) -> int:
    """Hand out the time bars that close at or before `until`; returns their number, or -1 when `out` is too short."""
    while True:
        if not s.active:
            if not fill or s.prev_close == _NEVER or s.prev_close + length > until:
                return n
            _start(s, s.prev_close, s.prev_close + length, s.close)
        if s.ts_close > until:
            return n
        if n == len(out):
            return -1
        _emit(s, out[n], instrument)
        n += 1


@compiled
def _feed(
    state: Any,
    out: Any,
    ts: Any,
    px: Any,
    qty: Any,
    measure: Any,
    length: int,
    offset: int,
    size: float,
    fill: bool,
    instrument: int,
) -> tuple[int, int]:
    """Take trades until they, or the room in `out`, end; returns (trades taken, bars handed out)."""
    s = state[0]
    n = 0
    for i in range(len(ts)):
        if length > 0:
            opened = ts[i] - (ts[i] - offset) % length
            floor = s.ts_open if s.active else s.prev_close
            rolled = _roll(s, out, n, max(opened, floor), length, fill, instrument)
            if rolled < 0:
                return i, len(out)
            n = rolled
            if opened < floor:
                s.late += 1
                opened = floor
            if not s.active:
                _start(s, opened, opened + length, px[i])
        else:
            if n == len(out):
                return i, n
            if ts[i] < s.last_ts:
                s.late += 1
            if not s.active:
                opened = max(ts[i], s.prev_close)
                _start(s, opened, opened + 1, px[i])
            s.ts_close = max(s.ts_close, ts[i] + 1)
        s.last_ts = max(s.last_ts, ts[i])
        s.high = max(s.high, px[i])
        s.low = min(s.low, px[i])
        s.close = px[i]
        s.volume, s.volume_lost = _plus(s.volume, s.volume_lost, qty[i])
        s.trades += 1
        if length == 0:
            s.total, s.total_lost = _plus(s.total, s.total_lost, measure[i])
            if s.total + s.total_lost >= size * (1.0 - 1e-12):
                _emit(s, out[n], instrument)
                n += 1
    return len(ts), n


@compiled
def _until(state: Any, out: Any, until: int, length: int, fill: bool, instrument: int) -> int:
    return _roll(state[0], out, 0, until, length, fill, instrument)


@compiled
def _finish(state: Any, out: Any, instrument: int) -> None:
    _emit(state[0], out[0], instrument)


class BarBuilder:
    """Builds bars of one instrument as trades arrive; any way of cutting the trades gives the same bytes.

    `by` is an interval such as "1m", "100 ticks", "50 volume" or "1e6 dollar"; `number` is written into the rows'
    `instrument`. With `fill`, time without trades gives bars at the last close with volume 0.

    >>> builder = BarBuilder("2 ticks")
    >>> [len(builder.add(ts, px, 1.0)) for ts, px in ((10, 5.0), (11, 7.0), (12, 6.0))]
    [0, 1, 0]
    >>> builder.flush(partial=True)["close"].item()
    6.0
    """

    def __init__(
        self, by: str | Interval, instrument: Instrument | None = None, *, number: int = 0, fill: bool = False
    ) -> None:
        self.interval = parse_interval(by)
        if fill and self.interval.by is not By.TIME:
            raise InputError(f"fill=True makes bars of empty time, and {self.interval} is not a time interval")
        self._number, self._fill, self._length = number, fill, self.interval.ns
        self._multiplier = 1.0 if instrument is None else float(instrument.multiplier)
        self._inverse = instrument is not None and instrument.payoff is Payoff.INVERSE
        self._one = (np.zeros(1, "i8"), np.zeros(1), np.zeros(1))
        self._frozen_one = tuple(_frozen(a) for a in self._one)
        self._state = np.zeros(1, _STATE)
        self._state["prev_close"] = self._state["last_ts"] = _NEVER

    @property
    def late(self) -> int:
        """How many trades had a time before what was already handed out, or before the open bar."""
        return int(self._state["late"][0])

    def add(self, ts: int, px: float, qty: float) -> Rows:
        """Take one trade (`ts` its instant at the venue) and return the bars it completed: mostly none."""
        if not (math.isfinite(px) and 0 <= qty < math.inf):
            raise DataError(f"trade at {ts}: px {px}, qty {qty}; leave such trades out")
        one_ts, one_px, one_qty = self._one
        one_ts[0], one_px[0], one_qty[0] = ts, px, qty
        return self._take(*self._frozen_one, room=4)

    def extend(self, ts: Any, px: Any, qty: Any) -> Rows:
        """Take trades in the order of `seq` and return the BAR rows they completed; raises DataError."""
        ts, px, qty = _trades(ts, px, qty)
        return self._take(_frozen(ts), _frozen(px), _frozen(qty), room=max(16, len(ts) // 64))

    def _take(self, ts: Any, px: Any, qty: Any, room: int) -> Rows:
        i = self.interval
        measure = _frozen(self._measure(px, qty))
        done = list[Rows]()
        taken = 0
        while taken < len(ts):
            out = zeros(room, BAR)
            rest = (ts[taken:], px[taken:], qty[taken:], measure[taken:])
            used, n = _feed(self._state, out, *rest, self._length, i.offset_ns, i.size, self._fill, self._number)
            taken += used
            room = min(2 * room, 1 << 20)
            done.append(out[:n])
        return done[0] if len(done) == 1 else np.concatenate(done) if done else zeros(0, BAR)

    def advance(self, now: int) -> Rows:
        """Return the time bars that closed at or before `now` though no later trade came; none of other intervals."""
        done = list[Rows]()
        n = -1 if self.interval.by is By.TIME else 0
        while n < 0:
            out = zeros(64, BAR)
            n = _until(self._state, out, now, self._length, self._fill, self._number)
            done.append(out if n < 0 else out[:n])
        return np.concatenate(done) if done else zeros(0, BAR)

    def flush(self, *, partial: bool = False) -> Rows:
        """Return the open bar and begin afresh: a time bar always, any other only with `partial`."""
        wanted = bool(self._state["active"][0]) and (partial or self.interval.by is By.TIME)
        out = zeros(int(wanted), BAR)
        if wanted:
            _finish(self._state, out, self._number)
        self._state["active"] = 0
        return out

    def _measure(self, px: Any, qty: Any) -> Any:
        match self.interval.by:
            case By.TICKS:
                return np.ones(len(px))
            case By.DOLLAR:
                # an inverse contract is worth a fixed amount of quote currency, whatever its price
                return qty * self._multiplier if self._inverse else np.abs(px) * qty * self._multiplier
            case _:
                return qty


def bars(
    trades: Any,
    by: str | Interval = "1m",
    instrument: Instrument | Instruments | None = None,
    *,
    fill: bool = False,
    partial: bool = False,
) -> Bars:
    """Return bars of `trades`, by the rules at the top of this module.

    `trades` is an Arrow table such as `Lake.trades` returns, a frame with ts_exch, px and qty, or EVENT rows, of
    which the TRADE rows count; all in the order of `seq`. `instrument` is needed where the trades do not say whose
    they are: for EVENT rows, the Instruments they number. The last time bar is returned though the trades may end
    within it, the last bar of other intervals only with `partial`. Raises InputError for an interval that cannot be
    read, DataError for a trade with a NaN or a negative quantity.

    >>> table = pa.table({"ts_exch": [10**18, 10**18 + 59 * 10**9], "px": [1.0, 3.0], "qty": [0.3, 0.6]})
    >>> bars(table, "1m", Instrument.parse("BTC-USDT")).rows[["open", "close", "volume"]].tolist()
    [(1.0, 1.0, 0.3), (3.0, 3.0, 0.6)]
    """
    interval = parse_interval(by)
    if isinstance(trades, np.ndarray) and trades.dtype == EVENT:
        return _of_events(trades, interval, instrument, fill, partial)
    table: pa.Table = trades if isinstance(trades, pa.Table) else pa.table(trades)
    missing = [n for n in ("ts_exch", "px", "qty") if n not in table.column_names]
    if missing:
        raise InputError(f"trades need columns ts_exch (ns UTC), px and qty: {', '.join(missing)} missing")
    if isinstance(instrument, Instruments):
        raise InputError("a table holds trades of one instrument: pass it, not a table of instruments")
    if instrument is None:
        instrument = _named(table)
    columns = (table[n].to_numpy() for n in ("ts_exch", "px", "qty"))
    return Bars(_build(interval, instrument, 0, fill, partial, *columns), Instruments([instrument]), interval.text)


def _of_events(
    rows: Rows, interval: Interval, instrument: Instrument | Instruments | None, fill: bool, partial: bool
) -> Bars:
    if instrument is None:
        raise InputError("rows do not name their instruments: pass instrument= the Instruments they number")
    table = Instruments([instrument]) if isinstance(instrument, Instrument) else instrument
    rows = rows[rows["kind"] == Kind.TRADE]
    done = [zeros(0, BAR)]
    for number in np.unique(rows["instrument"]).tolist():
        if number >= len(table):
            raise DataError(f"trades name instrument {number} but only {len(table)} are listed")
        mine = rows[rows["instrument"] == number]
        done.append(_build(interval, table[number], number, fill, partial, mine["ts_exch"], mine["px"], mine["qty"]))
    found = np.concatenate(done)
    return Bars(found[np.lexsort((found["instrument"], found["ts_close"]))], table, interval.text)


def _build(
    interval: Interval, instrument: Instrument, number: int, fill: bool, partial: bool, ts: Any, px: Any, qty: Any
) -> Rows:
    builder = BarBuilder(interval, instrument, number=number, fill=fill)
    return np.concatenate([builder.extend(ts, px, qty), builder.flush(partial=partial)])


def _named(trades: pa.Table) -> Instrument:
    said = trades.schema.metadata or {}
    if b"symbol" not in said:
        raise InputError("the trades do not say whose they are: pass instrument=Instrument.parse('BTC-USDT')")
    # trades may come from anywhere: without an instrument of the caller's, prices and sizes are free
    free = {"tick": "1e-8", "lot": "1e-8"}
    return Instrument.parse(said[b"symbol"].decode(), venue=said.get(b"venue", b"").decode(), **free)


def _frozen(array: Any) -> Any:
    # Arrow's arrays are read-only and others are not: made all alike, the kernel is compiled once
    view = array.view()
    view.flags.writeable = False
    return view


def _trades(ts: Any, px: Any, qty: Any) -> tuple[Any, Any, Any]:
    ts = np.ascontiguousarray(ts)
    if ts.dtype.kind not in "iu":
        raise DataError(f"trade times are int64 nanoseconds UTC, got {ts.dtype}")
    ts = ts.astype("i8", copy=False)
    px, qty = np.ascontiguousarray(px, "f8"), np.ascontiguousarray(qty, "f8")
    if not len(ts) == len(px) == len(qty):
        raise DataError(f"trades need one time, price and quantity each, got {len(ts)}, {len(px)} and {len(qty)}")
    bad = ~(np.isfinite(px) & (qty >= 0) & np.isfinite(qty))
    if bad.any():
        at = int(bad.argmax())
        raise DataError(f"trade {at} of {len(ts)}: px {px[at]}, qty {qty[at]}; drop {int(bad.sum())} such row(s) first")
    return ts, px, qty

"""Incremental indicators: small records that are fields of a strategy and advance by one row at a time.

Declare one as a field, `fast = qa.ind.ema(10)` or with the name of a parameter, `fast = qa.ind.ema("period")`, and call
`self.fast.update(x)` in a handler; it returns the new value. `self.fast.value` reads it, `self.fast.n` counts the rows
seen, and `self.fast.ready` is 1 once the period is full. There is no second, vectorised implementation to disagree
with.
"""

import math
from typing import Any

import numpy as np

from quantai.core.compiled import compiled
from quantai.core.hints import usually
from quantai.strategy.fields import Indicator

_HEAD = [("period", "i8"), ("n", "i8"), ("ready", "i8"), ("value", "f8")]


class Ema(Indicator):
    """Exponential moving average, alpha = 2 / (period + 1), from the first value on (pandas ewm(adjust=False))."""

    period: Any
    n: int
    ready: int
    value: float

    def dtype(self, capacity: int) -> np.dtype[Any]:
        """Return the record; no history is kept."""
        return np.dtype([*_HEAD, ("ema_alpha", "f8")])

    def initial(self, row: Any, period: int) -> None:
        """Set the smoothing factor."""
        row["period"], row["ema_alpha"] = period, 2.0 / (period + 1.0)

    def update(self, x: float) -> float:
        """Take one value and return the average including it."""
        return ema_update(self, x)


@compiled
def ema_update(ind: Any, x: float) -> float:
    """Advance an Ema record by one value and return the average."""
    if usually(ind.ready != 0):
        ind.n += 1
        ind.value += ind.ema_alpha * (x - ind.value)
        return ind.value
    if ind.n == 0:
        ind.value = x
    else:
        ind.value += ind.ema_alpha * (x - ind.value)
    ind.n += 1
    if ind.n >= ind.period:
        ind.ready = 1
    return ind.value


class Sma(Indicator):
    """Simple moving average of the last `period` values (of those seen, until there are enough)."""

    period: Any
    n: int
    ready: int
    value: float

    def dtype(self, capacity: int) -> np.dtype[Any]:
        """Return the record with a ring of `capacity` values."""
        return np.dtype([*_HEAD, ("sma_sum", "f8"), ("sma_ring", "f8", (capacity,))])

    def update(self, x: float) -> float:
        """Take one value and return the average including it."""
        return sma_update(self, x)


@compiled
def sma_update(ind: Any, x: float) -> float:
    """Advance an Sma record by one value and return the average."""
    k = ind.n % ind.period
    ring = ind.sma_ring
    if ind.n >= ind.period:
        ind.sma_sum += x - ring[k]
    else:
        ind.sma_sum += x
    ring[k] = x
    ind.n += 1
    if ind.n >= ind.period:
        ind.ready = 1
        if k == ind.period - 1:
            # a running sum gathers rounding error; summing afresh once a period keeps it below that of one window
            total = 0.0
            for j in range(ind.period):
                total += ring[j]
            ind.sma_sum = total
    ind.value = ind.sma_sum / min(ind.n, ind.period)
    return ind.value


class Rsi(Indicator):
    """Relative strength index with Wilder's smoothing, 0 to 100; 50 until `period` changes were seen.

    J. W. Wilder, New Concepts in Technical Trading Systems (1978): the first averages are plain means of `period`
    changes.
    """

    period: Any
    n: int
    ready: int
    value: float

    def dtype(self, capacity: int) -> np.dtype[Any]:
        """Return the record; no history is kept."""
        return np.dtype([*_HEAD, ("rsi_last", "f8"), ("rsi_gain", "f8"), ("rsi_loss", "f8")])

    def initial(self, row: Any, period: int) -> None:
        """Start at the neutral 50."""
        row["period"], row["value"] = period, 50.0

    def update(self, x: float) -> float:
        """Take one value and return the index."""
        return rsi_update(self, x)


@compiled
def rsi_update(ind: Any, x: float) -> float:
    """Advance an Rsi record by one value and return the index."""
    if ind.n > 0:
        change = x - ind.rsi_last
        gain = max(0.0, change)
        loss = -change if change < 0.0 else 0.0
        if ind.n <= ind.period:
            ind.rsi_gain += gain / ind.period
            ind.rsi_loss += loss / ind.period
        else:
            ind.rsi_gain += (gain - ind.rsi_gain) / ind.period
            ind.rsi_loss += (loss - ind.rsi_loss) / ind.period
        if ind.n >= ind.period:
            ind.ready = 1
            total = ind.rsi_gain + ind.rsi_loss
            ind.value = 50.0 if total == 0.0 else 100.0 * ind.rsi_gain / total
    ind.rsi_last = x
    ind.n += 1
    return ind.value


class Atr(Indicator):
    """Average true range with Wilder's smoothing, in price units; it starts as the plain mean of `period` ranges."""

    period: Any
    n: int
    ready: int
    value: float

    def dtype(self, capacity: int) -> np.dtype[Any]:
        """Return the record; no history is kept."""
        return np.dtype([*_HEAD, ("atr_close", "f8"), ("atr_sum", "f8")])

    def update(self, bar: Any) -> float:
        """Take one bar and return the range including it."""
        return atr_update(self, bar)


@compiled
def atr_update(ind: Any, bar: Any) -> float:
    """Advance an Atr record by one BAR row and return the range."""
    true_range = bar.high - bar.low
    if ind.n > 0:
        true_range = max(true_range, abs(bar.high - ind.atr_close), abs(bar.low - ind.atr_close))
    ind.atr_close = bar.close
    ind.n += 1
    if ind.n <= ind.period:
        ind.atr_sum += true_range
        ind.value = ind.atr_sum / ind.n
    else:
        ind.value += (true_range - ind.value) / ind.period
    if ind.n >= ind.period:
        ind.ready = 1
    return ind.value


class Bollinger(Indicator):
    """Bollinger bands: mean ± `width` population standard deviations of the last `period` values; value is the mean.

    Fields: `value`, `std`, `upper`, `lower`. J. Bollinger, Bollinger on Bollinger Bands (2001).
    """

    period: Any
    n: int
    ready: int
    value: float
    std: float
    upper: float
    lower: float

    def __init__(self, period: int | str = 20, width: float = 2.0) -> None:
        super().__init__(period)
        self.width = width

    def dtype(self, capacity: int) -> np.dtype[Any]:
        """Return the record with a ring of `capacity` values."""
        return np.dtype(
            [
                *_HEAD,
                ("std", "f8"),
                ("upper", "f8"),
                ("lower", "f8"),
                ("boll_width", "f8"),
                ("boll_ring", "f8", (capacity,)),
            ]
        )

    def initial(self, row: Any, period: int) -> None:
        """Set the period and the width."""
        row["period"], row["boll_width"] = period, self.width

    def update(self, x: float) -> float:
        """Take one value and return the mean including it."""
        return bollinger_update(self, x)


@compiled
def bollinger_update(ind: Any, x: float) -> float:
    """Advance a Bollinger record by one value and return the mean; two passes over the window, so no cancellation."""
    ring = ind.boll_ring
    ring[ind.n % ind.period] = x
    ind.n += 1
    m = min(ind.n, ind.period)
    mean = 0.0
    for j in range(m):
        mean += ring[j]
    mean /= m
    var = 0.0
    for j in range(m):
        var += (ring[j] - mean) * (ring[j] - mean)
    ind.std = math.sqrt(var / m)
    ind.value = mean
    ind.upper = mean + ind.boll_width * ind.std
    ind.lower = mean - ind.boll_width * ind.std
    if ind.n >= ind.period:
        ind.ready = 1
    return mean


class Extreme(Indicator):
    """`high` and `low`, the extremes of the last `period` values (a Donchian channel); value is their middle."""

    period: Any
    n: int
    ready: int
    value: float
    high: float
    low: float

    def dtype(self, capacity: int) -> np.dtype[Any]:
        """Return the record with a ring of `capacity` values."""
        return np.dtype([*_HEAD, ("high", "f8"), ("low", "f8"), ("extreme_ring", "f8", (capacity,))])

    def update(self, x: float) -> float:
        """Take one value and return the middle of the channel including it."""
        return extreme_update(self, x)


@compiled
def extreme_update(ind: Any, x: float) -> float:
    """Advance an Extreme record by one value and return the middle of the channel."""
    ring = ind.extreme_ring
    k = ind.n % ind.period
    gone = ring[k] if ind.n >= ind.period else math.nan
    ring[k] = x
    ind.n += 1
    if ind.n == 1 or x >= ind.high:
        ind.high = x
    if ind.n == 1 or x <= ind.low:
        ind.low = x
    # only when the value that left was an extreme does the window have to be read again
    if gone == ind.high or gone == ind.low:
        high, low = ring[0], ring[0]
        for j in range(1, ind.period):
            high, low = max(high, ring[j]), min(low, ring[j])
        ind.high, ind.low = high, low
    if ind.n >= ind.period:
        ind.ready = 1
    ind.value = 0.5 * (ind.high + ind.low)
    return ind.value


class Vwap(Indicator):
    """Volume-weighted average price of all trades since the start or the last `reset`; 0.0 before any volume."""

    period: Any
    n: int
    ready: int
    value: float
    methods = ("update", "reset")

    def dtype(self, capacity: int) -> np.dtype[Any]:
        """Return the record; no history is kept."""
        return np.dtype([*_HEAD, ("vwap_notional", "f8"), ("vwap_volume", "f8")])

    def update(self, px: float, qty: float) -> float:
        """Take one trade (price, units) and return the average including it."""
        return vwap_update(self, px, qty)

    def reset(self) -> None:
        """Start again, at a session's opening for example."""
        vwap_reset(self)


@compiled
def vwap_update(ind: Any, px: float, qty: float) -> float:
    """Advance a Vwap record by one trade and return the average."""
    ind.vwap_notional += px * qty
    ind.vwap_volume += qty
    ind.n += 1
    if ind.vwap_volume > 0.0:
        ind.ready = 1
        ind.value = ind.vwap_notional / ind.vwap_volume
    return ind.value


@compiled
def vwap_reset(ind: Any) -> None:
    """Empty a Vwap record."""
    ind.n = 0
    ind.ready = 0
    ind.value = 0.0
    ind.vwap_notional = 0.0
    ind.vwap_volume = 0.0


@compiled
def book_imbalance(book: Any) -> float:
    """Return (bid size - ask size) / (bid size + ask size) at the touch, in [-1, 1]; 0.0 when there is no size."""
    total = book.bid_qty + book.ask_qty
    if total <= 0.0:
        return 0.0
    return (book.bid_qty - book.ask_qty) / total


def ema(period: int | str) -> Ema:
    """Declare an exponential moving average (see Ema)."""
    return Ema(period)


def sma(period: int | str) -> Sma:
    """Declare a simple moving average (see Sma)."""
    return Sma(period)


def rsi(period: int | str = 14) -> Rsi:
    """Declare a relative strength index (see Rsi)."""
    return Rsi(period)


def atr(period: int | str = 14) -> Atr:
    """Declare an average true range (see Atr)."""
    return Atr(period)


def bollinger(period: int | str = 20, width: float = 2.0) -> Bollinger:
    """Declare Bollinger bands (see Bollinger)."""
    return Bollinger(period, width)


def extreme(period: int | str) -> Extreme:
    """Declare a Donchian channel (see Extreme)."""
    return Extreme(period)


def vwap() -> Vwap:
    """Declare a volume-weighted average price (see Vwap)."""
    return Vwap()

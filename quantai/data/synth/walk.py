"""Bars of a geometric random walk: the plainest data a strategy can be shown."""

import numpy as np

from quantai.core.errors import InputError
from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import BAR, zeros
from quantai.data.bars import Bars, interval_ns
from quantai.data.instants import Instant, to_ns

_YEAR_NS = 365.25 * 86_400e9
_STEPS = 8  # prices inside a bar, the last of which is its close


def bars(
    n: int,
    seed: int = 7,
    *,
    symbol: str = "BTC-USDT",
    venue: str = "SYNTH",
    interval: str = "1m",
    price: float = 100.0,
    volatility: float = 0.5,
    drift: float = 0.0,
    start: Instant = "2024-01-01",
) -> Bars:
    """Make `n` bars around the clock whose log price is a Brownian motion.

    `volatility` and `drift` are of the log price and per year; a bar opens where the one before closed, and its high
    and low are those of eight prices inside it. Prices are not rounded to a grid. Raises InputError.

    >>> b = bars(3, seed=1)
    >>> len(b), b.interval, bool((b.rows["open"][1:] == b.rows["close"][:-1]).all())
    (3, '1m', True)
    """
    if n < 1:
        raise InputError(f"n must be at least 1, got {n}")
    length = interval_ns(interval)
    rng = np.random.Generator(np.random.PCG64(seed))
    dt_years = length / _YEAR_NS / _STEPS
    moves = drift * dt_years + volatility * np.sqrt(dt_years) * rng.standard_normal((n, _STEPS))
    path = price * np.exp(np.cumsum(moves.ravel())).reshape(n, _STEPS)
    opens = np.concatenate([[price], path[:-1, -1]])
    rows = zeros(n, BAR)
    rows["ts_open"] = to_ns(start, "start") + length * np.arange(n)
    rows["ts_close"] = rows["ts_open"] + length
    rows["open"], rows["close"] = opens, path[:, -1]
    rows["high"] = np.maximum(opens, path.max(axis=1))
    rows["low"] = np.minimum(opens, path.min(axis=1))
    rows["volume"] = np.exp(rng.normal(3.0, 0.8, n))
    rows["trades"] = rng.poisson(40, n)
    instrument = Instrument.parse(symbol, venue=venue)
    return Bars(rows, Instruments([instrument]), interval, f"synth.bars(n={n}, seed={seed})")

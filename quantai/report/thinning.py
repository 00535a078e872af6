"""Fewer points for the screen without hiding an extreme.

A screen is some 1 500 pixels wide. A longer series is cut into equal buckets, and from each bucket come the values that
a line through every point would have reached on those pixels.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from quantai.report.periods import Instants
from quantai.report.returns import Floats

CANDLES = 6_000
"""Up to this many bars are drawn as candles, one each."""
BUCKETS = 1_500
"""Buckets of a series that is too long to draw point by point."""
MARKERS = 4_000
"""Up to this many fills are drawn one each."""


class Envelope(NamedTuple):
    """Bars thinned to buckets: what each bucket spanned."""

    start: npt.NDArray[np.int64]
    """Index of the first bar of each bucket."""
    high: Floats
    low: Floats
    close: Floats
    width: int
    """Bars per bucket; the last bucket may hold fewer."""


def extremes(values: npt.ArrayLike, buckets: int = BUCKETS) -> npt.NDArray[np.int64]:
    """Return the ascending indices to draw: of every bucket the first, the lowest, the highest and the last value.

    A line through them covers the same pixels as a line through all values (M4: Jugel et al., "M4: A
    Visualization-Oriented Time Series Data Aggregation", VLDB 7(10), 2014). All indices when there are no more than 4 x
    buckets. NaN is never an extreme.

    >>> extremes([0.0, 9.0, 0.0, 0.0, 0.0, -7.0, 0.0, 0.0, 1.0, 2.0], buckets=2).tolist()
    [0, 1, 4, 5, 9]
    """
    v = np.asarray(values, np.float64)
    n = len(v)
    if n <= 4 * buckets:
        return np.arange(n)
    width = -(-n // buckets)
    padded = np.pad(v, (0, -n % width), mode="edge").reshape(-1, width)
    starts = np.arange(len(padded)) * width
    low = np.argmin(np.where(np.isnan(padded), np.inf, padded), axis=1)
    high = np.argmax(np.where(np.isnan(padded), -np.inf, padded), axis=1)
    return np.unique(np.minimum(np.concatenate([starts, starts + low, starts + high, starts + width - 1]), n - 1))


def envelope(bars: pd.DataFrame, buckets: int = BUCKETS) -> Envelope:
    """Return highest high, lowest low and last close of each bucket of bars (columns high, low, close).

    >>> frame = pd.DataFrame({"high": [2.0, 9.0, 3.0], "low": [1.0, 1.5, 0.5], "close": [1.5, 2.0, 2.5]})
    >>> e = envelope(frame, buckets=2)
    >>> e.high.tolist(), e.low.tolist(), e.close.tolist(), e.width
    ([9.0, 3.0], [1.0, 0.5], [2.0, 2.5], 2)
    """
    n = len(bars)
    width = max(-(-n // buckets), 1)
    start = np.arange(0, n, width)
    stop = np.minimum(start + width, n) - 1
    high, low, close = (np.asarray(bars[c], np.float64) for c in ("high", "low", "close"))
    return Envelope(start, np.maximum.reduceat(high, start), np.minimum.reduceat(low, start), close[stop], width)


def merged_fills(fills: pd.DataFrame, ts_ns: Instants, most: int = MARKERS, buckets: int = BUCKETS) -> pd.DataFrame:
    """Return at most a few fills per pixel: those of one side and one bucket become one at their mean price.

    Columns ts_ns, side, px (weighted by quantity), qty and fee (sums), count, where ("" when they differ). Every fill
    keeps its own row when there are at most `most`.
    """
    out = pd.DataFrame(
        {
            "ts_ns": ts_ns,
            "side": np.sign(np.asarray(fills["side"], np.float64)),
            "px": np.asarray(fills["px"], np.float64),
            "qty": np.abs(np.asarray(fills["qty"], np.float64)),
            "fee": np.asarray(fills["fee"], np.float64),
            "count": 1,
            "where": fills["where"].astype(str).to_numpy() if "where" in fills else "",
        }
    )
    if len(out) <= most:
        return out
    out["bucket"] = (ts_ns - ts_ns.min()) // (int(ts_ns.max() - ts_ns.min()) // buckets + 1)
    out["px"] *= out["qty"]
    groups = out.groupby(["bucket", "side"], sort=True)
    merged = groups.agg(
        ts_ns=("ts_ns", "first"), px=("px", "sum"), qty=("qty", "sum"), fee=("fee", "sum"), count=("count", "sum")
    ).reset_index()
    merged["px"] /= merged["qty"]
    return merged.assign(where="").drop(columns="bucket")

"""Drawdowns: how far and how long an equity curve stays below its last peak.

An episode runs from the last bar at the peak to the first bar that is back at or above it, or to the last bar when it
never is. Its depth is the worst `E / peak - 1` inside it: 0 or negative, and below -1 for an account that owes money.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quantai.report.returns import Floats, checked_equity

Indices = npt.NDArray[np.int64]


class Drawdowns(NamedTuple):
    """Every drawdown episode of a curve, in order of time; arrays of equal length."""

    peak: Indices
    """Bar index of the last bar at the peak."""
    valley: Indices
    """Bar index of the deepest bar."""
    end: Indices
    """Bar index of the first bar back at the peak; the last bar of the curve while under water."""
    depth: Floats
    """Equity at the valley / equity at the peak - 1."""
    recovered: npt.NDArray[np.bool_]
    """False for an episode that is still under water at the last bar."""

    @property
    def bars(self) -> Indices:
        """Length of each episode in bars, peak to end."""
        return self.end - self.peak


def drawdown(equity: npt.ArrayLike) -> Floats:
    """Return `E[t] / max(E[0..t]) - 1` for each bar; NaN until the curve has been above zero.

    >>> drawdown([100.0, 80.0, 120.0, 90.0]).round(12)
    array([ 0.  , -0.2 ,  0.  , -0.25])
    """
    values = checked_equity(equity)
    peak = np.maximum.accumulate(values)
    out = np.full(len(values), np.nan)
    np.divide(values, peak, out=out, where=peak > 0)
    out -= 1.0
    return out


def drawdowns(equity: npt.ArrayLike) -> Drawdowns:
    """Return every episode below a peak.

    >>> d = drawdowns([100.0, 80.0, 120.0, 90.0, 110.0])
    >>> d.peak.tolist(), d.valley.tolist(), d.end.tolist(), d.recovered.tolist()
    ([0, 2], [1, 3], [2, 4], [True, False])
    """
    depth = drawdown(equity)
    n = len(depth)
    at_peak = np.flatnonzero(~(depth < 0))
    bounds = np.append(at_peak, n)  # a virtual peak after the end closes an open episode
    first = np.flatnonzero(np.diff(bounds) > 1)
    peak, stop = bounds[first], bounds[first + 1]
    if not len(first):
        return Drawdowns(peak, peak, peak, np.empty(0), np.empty(0, np.bool_))
    # reduceat needs every bound inside the array: one more element stands for the virtual peak.
    worst = np.minimum.reduceat(np.append(depth, 0.0), np.stack([peak, stop], axis=1).ravel())[::2]
    under = np.flatnonzero(depth < 0)
    episode = np.searchsorted(peak, under, side="right") - 1
    deepest = depth[under] == worst[episode]
    _, one_each = np.unique(episode[deepest], return_index=True)
    valley = under[deepest][one_each]
    return Drawdowns(peak, valley, np.minimum(stop, n - 1), worst, stop < n)


def max_drawdown(equity: npt.ArrayLike) -> float:
    """Return the deepest drawdown as a negative fraction; 0.0 for a curve that never falls, NaN when never above zero.

    >>> max_drawdown([100.0, 80.0, 120.0, 90.0])
    -0.25
    """
    depth = drawdown(equity)
    depth = depth[np.isfinite(depth)]
    return float(depth.min()) if len(depth) else float("nan")


def drawdown_lengths(equity: npt.ArrayLike) -> tuple[int, int]:
    """Return (bars of the deepest episode, bars of the longest episode), 0 and 0 without a drawdown.

    Of equally deep episodes the first counts.

    >>> drawdown_lengths([100.0, 50.0, 100.0, 90.0, 95.0, 98.0])
    (2, 3)
    """
    found = drawdowns(equity)
    if not len(found.depth):
        return 0, 0
    return int(found.bars[np.argmin(found.depth)]), int(found.bars.max())


def calmar(annual_return: float, deepest: float) -> float:
    """Return annual return / |max drawdown|; NaN without a drawdown.

    Source: Young, "Calmar Ratio: A Smoother Tool", Futures 20(1), 1991; here over the whole curve, not 36 months.

    >>> calmar(0.10, -0.25)
    0.4
    """
    return annual_return / abs(deepest) if deepest < 0 else float("nan")

"""Statistics of a return series: pure functions of arrays, one formula and one source each.

A return is simple, `E[t] / E[t-1] - 1`, and belongs to the instant of `E[t]`. NaN returns (see `simple_returns`) are
left out everywhere. A statistic that is not defined for its input (one bar, no variation, no loss) is NaN; none of them
warns. `docs/statistics.md` is the same list as one page, with the places where other libraries do otherwise.
"""

import numpy as np
import numpy.typing as npt

from quantai.core.errors import DataError, InputError

Floats = npt.NDArray[np.float64]


def simple_returns(equity: npt.ArrayLike) -> Floats:
    """Return the simple return of each step of an equity curve.

    Shape (n,) account currency -> (n-1,) fraction; element i belongs to the instant of `equity[i + 1]`. A step that
    starts at or below zero has no return: it is NaN.

    >>> simple_returns([100.0, 110.0, 99.0]).round(12)
    array([ 0.1, -0.1])

    Raises DataError when a value is NaN or infinite.
    """
    values = checked_equity(equity)
    before, after = values[:-1], values[1:]
    out = np.full(len(before), np.nan)
    alive = before > 0
    np.divide(after, before, out=out, where=alive)
    out -= 1.0
    return out


def checked_equity(equity: npt.ArrayLike) -> Floats:
    """Return `equity` as a one-dimensional float64 array; DataError names the first value that is not finite."""
    values = np.asarray(equity, dtype=np.float64)
    if values.ndim != 1:
        raise DataError(f"equity must be one-dimensional, got shape {values.shape}: pass one account's curve at a time")
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise DataError(f"equity[{bad[0]}] is {values[bad[0]]}: every bar needs a finite account value")
    return values


def total_return(equity: npt.ArrayLike) -> float:
    """Return `E[n-1] / E[0] - 1`; NaN without a positive start.

    >>> total_return([100.0, 90.0, 120.0])
    0.19999999999999996
    """
    values = checked_equity(equity)
    if len(values) == 0 or values[0] <= 0:
        return float("nan")
    return float(values[-1] / values[0] - 1)


def annual_return(equity: npt.ArrayLike, per_year: float) -> float:
    """Return the compound annual growth rate, `(E[n-1] / E[0]) ** (per_year / (n - 1)) - 1`.

    A year is `per_year` bars, as in every other annual figure here, so it agrees with `volatility` (empyrical's
    `annual_return`). An account that ends at or below zero has lost everything: -1.0. NaN when the span is so short
    that the power overflows.

    >>> round(annual_return([100.0, 110.0, 121.0], per_year=1), 12)
    0.1
    """
    values = checked_equity(equity)
    steps = len(values) - 1
    if steps < 1 or values[0] <= 0 or not per_year > 0:
        return float("nan")
    if values[-1] <= 0:
        return -1.0
    exponent = np.log(values[-1] / values[0]) * per_year / steps
    return float(np.expm1(exponent)) if exponent < 700 else float("nan")


def volatility(returns: npt.ArrayLike, per_year: float) -> float:
    """Return the annual volatility: sample standard deviation (ddof = 1) x sqrt(per_year).

    >>> round(volatility([0.01, -0.01, 0.01, -0.01], per_year=252), 6)
    0.183303
    """
    r = _finite(returns)
    return float(np.std(r, ddof=1) * np.sqrt(per_year)) if len(r) > 1 else float("nan")


def sharpe(returns: npt.ArrayLike, per_year: float, risk_free: float = 0.0) -> float:
    """Return the annual Sharpe ratio: mean excess return / its standard deviation (ddof = 1) x sqrt(per_year).

    `risk_free` is an annual rate, spread over the bars as `(1 + risk_free) ** (1 / per_year) - 1`. NaN where the
    returns do not vary. Source: Sharpe, "The Sharpe Ratio", Journal of Portfolio Management 21(1), 1994.

    >>> round(sharpe([0.02, 0.0, 0.02, 0.0], per_year=252), 6)
    13.747727
    """
    r = _finite(returns) - per_bar_rate(risk_free, per_year)
    if len(r) < 2:
        return float("nan")
    mean, deviation = float(r.mean()), float(np.std(r, ddof=1))
    # A constant series leaves rounding noise in the deviation; a ratio of it would be a huge meaningless number.
    return mean / deviation * float(np.sqrt(per_year)) if deviation > 1e-12 * abs(mean) else float("nan")


def sortino(returns: npt.ArrayLike, per_year: float, target: float = 0.0) -> float:
    """Return the annual Sortino ratio: mean return above target / downside deviation x sqrt(per_year).

    The downside deviation is `sqrt(mean(min(r - target, 0) ** 2))` over all bars, not over the losing ones only;
    `target` is a return per bar. NaN without a bar below target. Source: Sortino and Price, "Performance Measurement in
    a Downside Risk Framework", Journal of Investing 3(3), 1994.

    >>> round(sortino([0.03, -0.01, 0.03, -0.01], per_year=252), 6)
    22.449944
    """
    r = _finite(returns) - target
    if len(r) == 0:
        return float("nan")
    downside = float(np.sqrt(np.mean(np.square(np.minimum(r, 0.0)))))
    return float(r.mean()) / downside * float(np.sqrt(per_year)) if downside > 0 else float("nan")


def per_bar_rate(annual_rate: float, per_year: float) -> float:
    """Return the rate per bar that compounds to `annual_rate`; InputError at or below -100 %."""
    if annual_rate <= -1:
        raise InputError(f"risk_free is {annual_rate}: it is an annual rate as a fraction, above -1 (0.04 = 4 %)")
    return (1 + annual_rate) ** (1 / per_year) - 1 if annual_rate else 0.0


def skewness(returns: npt.ArrayLike) -> float:
    """Return the sample skewness G1, bias-corrected; NaN below three returns or without variation.

    Source: Joanes and Gill, "Comparing measures of sample skewness and kurtosis", The Statistician 47(1), 1998.

    >>> round(skewness([0.0, 0.0, 0.0, 1.0]), 12)
    2.0
    """
    n, m2, m3, _ = _moments(returns)
    if n < 3 or m2 == 0:
        return float("nan")
    return m3 / m2**1.5 * np.sqrt(n * (n - 1)).item() / (n - 2)


def kurtosis(returns: npt.ArrayLike) -> float:
    """Return the sample excess kurtosis G2 (0 for a normal series), bias-corrected; NaN below four returns.

    Source: Joanes and Gill, 1998.

    >>> round(kurtosis([0.0, 0.0, 0.0, 1.0]), 12)
    4.0
    """
    n, m2, _, m4 = _moments(returns)
    if n < 4 or m2 == 0:
        return float("nan")
    return (n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * (m4 / m2**2 - 3) + 6)


def _moments(returns: npt.ArrayLike) -> tuple[int, float, float, float]:
    r = _finite(returns)
    if len(r) == 0:
        return 0, 0.0, 0.0, 0.0
    mean = r.mean()
    d = r - mean
    d2 = d * d
    m2 = float(d2.mean())
    if np.sqrt(m2) <= 1e-12 * abs(mean):
        return len(r), 0.0, 0.0, 0.0
    return len(r), m2, float((d2 * d).mean()), float((d2 * d2).mean())


def value_at_risk(returns: npt.ArrayLike, level: float = 0.95) -> float:
    """Return the historical value at risk: the (1 - level) quantile of the bar returns, linear interpolation.

    A return, so a loss is negative. NaN without returns.

    >>> value_at_risk([-0.05, 0.0, 0.01, 0.02, 0.03], level=0.75)
    0.0
    """
    r = _finite(returns)
    return float(np.quantile(r, 1 - level)) if len(r) else float("nan")


def expected_shortfall(returns: npt.ArrayLike, level: float = 0.95) -> float:
    """Return the historical expected shortfall (CVaR): the mean of the returns at or below `value_at_risk`.

    Source: Rockafellar and Uryasev, "Optimization of conditional value-at-risk", Journal of Risk 2(3), 2000.

    >>> expected_shortfall([-0.05, 0.0, 0.01, 0.02, 0.03], level=0.75)
    -0.025
    """
    r = _finite(returns)
    return float(r[r <= np.quantile(r, 1 - level)].mean()) if len(r) else float("nan")


def alpha_beta(
    returns: npt.ArrayLike, benchmark: npt.ArrayLike, per_year: float, risk_free: float = 0.0
) -> tuple[float, float]:
    """Return (annual Jensen alpha, beta) of `returns` against the returns of a benchmark over the same bars.

    beta = cov(r, b) / var(b); alpha = (mean(r - f) - beta x mean(b - f)) x per_year, arithmetic (not compounded), f the
    risk-free rate per bar. NaN below two common bars or when the benchmark does not vary. Source: Jensen, "The
    Performance of Mutual Funds in the Period 1945-1964", Journal of Finance 23(2), 1968.

    >>> alpha, beta = alpha_beta([0.02, -0.02, 0.04], [0.01, -0.01, 0.02], per_year=252)
    >>> round(alpha, 12) + 0.0, round(beta, 12)
    (0.0, 2.0)
    """
    r, b = np.asarray(returns, np.float64), np.asarray(benchmark, np.float64)
    both = np.isfinite(r) & np.isfinite(b)
    free = per_bar_rate(risk_free, per_year)
    r, b = r[both] - free, b[both] - free
    spread = float(np.var(b)) if len(b) > 1 else 0.0
    if spread == 0:
        return float("nan"), float("nan")
    beta = float(np.mean((r - r.mean()) * (b - b.mean()))) / spread
    return float((r.mean() - beta * b.mean()) * per_year), beta


def _finite(returns: npt.ArrayLike) -> Floats:
    r = np.asarray(returns, np.float64)
    return r[np.isfinite(r)]

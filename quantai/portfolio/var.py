"""Value at risk: what a portfolio loses at most over one period, with a given confidence, if the past is any guide.

Both ways take today's exposures and past returns of the instruments, never the past of the account itself. Neither says
how bad it gets beyond the quantile: `expected_shortfall` does. Options enter with their exposure, as if linear.
"""

from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from quantai.core.errors import InputError

Matrix = npt.NDArray[np.float64]


def historical_var(exposures: npt.ArrayLike, returns: npt.ArrayLike, confidence: float = 0.99) -> float:
    """Return the loss that today's exposures would not have exceeded in `confidence` of the past periods.

    exposures: signed amounts, shape (instruments,). returns: simple returns of the same instruments, shape (periods,
    instruments). The loss is positive, 0 at least; the quantile is the smallest loss that happened which at
    least `confidence` of the periods did not exceed, inf{x: F(x) >= confidence} with F the share of periods that lost x
    or less; never an interpolated one (Jorion, Value at Risk, 3rd ed., 10.3).

    Raises InputError for shapes that do not fit, numbers that are none, or too few periods for the confidence.

    >>> historical_var([100.0], [[0.01], [-0.02], [0.03], [-0.05]], confidence=0.75)
    2.0
    """
    losses = _losses(exposures, returns, confidence)
    return max(0.0, float(losses[_rank(len(losses), confidence)]))


def expected_shortfall(exposures: npt.ArrayLike, returns: npt.ArrayLike, confidence: float = 0.99) -> float:
    """Return the mean loss of the periods that were worse than `historical_var`; its value where none was.

    >>> expected_shortfall([100.0], [[0.01], [-0.02], [0.03], [-0.05]], confidence=0.75)
    5.0
    """
    losses = _losses(exposures, returns, confidence)
    at = _rank(len(losses), confidence)
    beyond = losses[at + 1 :]
    return max(0.0, float(beyond.mean() if len(beyond) else losses[at]))


def parametric_var(exposures: npt.ArrayLike, returns: npt.ArrayLike, confidence: float = 0.99) -> float:
    """Return the loss quantile of a normal distribution with the mean and covariance of the past returns.

    z x sqrt(w' S w) - w' m, with z the normal quantile of `confidence`, S the sample covariance (n - 1) and m the mean
    (the variance-covariance method; RiskMetrics technical document, 4th ed., 1.2). Markets have fatter tails: expect
    more losses beyond it than the confidence says.

    >>> r = np.array([[0.01], [-0.01], [0.01], [-0.01]])
    >>> round(parametric_var([100.0], r, confidence=0.95), 6)
    1.899313
    """
    weights, past = _checked(exposures, returns, confidence)
    if len(past) < 2:
        raise InputError("parametric value at risk needs two periods at least: pass more returns")
    mean = past.mean(axis=0)
    centred = past - mean
    covariance = centred.T @ centred / (len(past) - 1)
    deviation = float(np.sqrt(max(weights @ covariance @ weights, 0.0)))
    return max(0.0, NormalDist().inv_cdf(confidence) * deviation - float(weights @ mean))


def _losses(exposures: npt.ArrayLike, returns: npt.ArrayLike, confidence: float) -> Matrix:
    weights, past = _checked(exposures, returns, confidence)
    if len(past) * (1.0 - confidence) < 1.0 - 1e-9:
        least = int(np.ceil(1.0 / (1.0 - confidence) - 1e-9))
        raise InputError(f"{len(past)} periods say nothing of the worst {1 - confidence:.2%}: pass {least} or more")
    return np.sort(-(past @ weights))


def _rank(periods: int, confidence: float) -> int:
    return min(periods - 1, int(np.ceil(confidence * periods - 1e-9)) - 1)


def _checked(exposures: npt.ArrayLike, returns: npt.ArrayLike, confidence: float) -> tuple[Matrix, Matrix]:
    weights: Any = np.asarray(exposures, np.float64)
    past: Any = np.asarray(returns, np.float64)
    if weights.ndim != 1 or past.ndim != 2 or past.shape[1] != len(weights) or not len(past):
        raise InputError(f"exposures {weights.shape} and returns {past.shape} do not fit: (n,) and (periods, n)")
    if not (np.isfinite(weights).all() and np.isfinite(past).all()):
        raise InputError("exposures or returns hold what is not a number: fill or drop these rows first")
    if not 0.5 <= confidence < 1.0:
        raise InputError(f"confidence is a fraction within [0.5, 1), got {confidence}")
    return weights, past

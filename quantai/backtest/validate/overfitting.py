"""How much of a Sharpe ratio is left after luck, length, fat tails and the number of tries are paid for.

Sharpe ratios here are per observation, not annual, unless a name says so: the formulas are about samples.
"""

import itertools
import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from quantai.core.errors import InputError
from quantai.report.returns import Floats, kurtosis, skewness

EULER = 0.5772156649015329
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Sample:
    """What the formulas need of a return series: its Sharpe ratio per observation, length, skewness and kurtosis."""

    sharpe: float
    n: int
    skew: float = 0.0
    kurtosis: float = 3.0
    """Of a normal distribution: 3."""

    @classmethod
    def of(cls, returns: npt.ArrayLike) -> "Sample":
        """Measure a series of returns; InputError when it has fewer than three or does not vary."""
        r = np.asarray(returns, np.float64)
        r = r[np.isfinite(r)]
        deviation = float(np.std(r, ddof=1)) if len(r) > 2 else 0.0
        if not deviation > 1e-12 * abs(float(r.mean() if len(r) else 0.0)):
            raise InputError("a Sharpe ratio needs at least three returns that are not all the same")
        return cls(float(r.mean()) / deviation, len(r), skewness(r), kurtosis(r) + 3.0)

    @property
    def error(self) -> float:
        """The standard error of the Sharpe ratio, fat tails and asymmetry included (Mertens 2002; PSR paper, eq. 9)."""
        variance = 1.0 - self.skew * self.sharpe + (self.kurtosis - 1.0) / 4.0 * self.sharpe**2
        return math.sqrt(max(variance, 0.0) / (self.n - 1))


def probabilistic_sharpe(sample: Sample | npt.ArrayLike, benchmark: float = 0.0) -> float:
    """Return the probability that the true Sharpe ratio is above `benchmark` (per observation).

    Source: Bailey and López de Prado, "The Sharpe Ratio Efficient Frontier", Journal of Risk 15(2), 2012, eq. 11.

    >>> round(probabilistic_sharpe(Sample(0.458, 24, -2.448, 10.164)), 3)
    0.913
    """
    s = sample if isinstance(sample, Sample) else Sample.of(sample)
    if s.error == 0.0:
        return float("nan")
    return _NORMAL.cdf((s.sharpe - benchmark) / s.error)


def track_record_needed(sample: Sample | npt.ArrayLike, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """Return the observations after which a Sharpe ratio like this one is above `benchmark` with `confidence`.

    Infinite where it is not above. Source: the same paper, eq. 13 (minimum track record length).

    >>> round(track_record_needed(Sample(2 / 252**0.5, 1000), benchmark=1 / 252**0.5) / 252, 2)
    2.73
    """
    s = sample if isinstance(sample, Sample) else Sample.of(sample)
    if s.sharpe <= benchmark:
        return math.inf
    return 1.0 + s.error**2 * (s.n - 1) * (_NORMAL.inv_cdf(confidence) / (s.sharpe - benchmark)) ** 2


def expected_best_sharpe(tries: int, deviation: float) -> float:
    """Return the Sharpe ratio that the best of `tries` independent strategies without skill is expected to show.

    `deviation` is the standard deviation of the Sharpe ratios among the tries, in whatever unit the answer is wanted.
    Source: Bailey and López de Prado, "The Deflated Sharpe Ratio", Journal of Portfolio Management 40(5), 2014, eq. 1.

    >>> round(expected_best_sharpe(100, (0.5 / 250) ** 0.5), 4)
    0.1132
    """
    if tries < 1 or deviation < 0:
        raise InputError(f"tries is at least 1 and deviation not negative, got {tries} and {deviation}")
    if tries == 1:
        return 0.0
    rare, rarer = (_NORMAL.inv_cdf(1.0 - 1.0 / (tries * by)) for by in (1.0, math.e))
    return deviation * ((1.0 - EULER) * rare + EULER * rarer)


def deflated_sharpe(sample: Sample | npt.ArrayLike, tries: int, deviation: float) -> float:
    """Return the probability that the true Sharpe ratio is above zero, given that this was the best of `tries`.

    That is the probabilistic Sharpe ratio against what the best of so many would show by luck. `deviation` is the
    standard deviation of the Sharpe ratios of the tries, per observation. Tries that resemble each other count for less
    than their number, so this errs on the strict side. Source: as `expected_best_sharpe`, eq. 2.

    >>> round(deflated_sharpe(Sample(2.5 / 250**0.5, 1250, -3.0, 10.0), 100, (0.5 / 250) ** 0.5), 2)
    0.9
    """
    return probabilistic_sharpe(sample, expected_best_sharpe(tries, deviation))


@dataclass(frozen=True, eq=False)
class Overfitting:
    """What `overfitting_probability` found."""

    probability: float
    """Of the best variant in sample being below the median out of sample."""
    loss: float
    """Probability of the best variant in sample losing out of sample."""
    slope: float
    """Sharpe ratio out of sample for each unit in sample, among the best ones: negative where better means worse."""
    logits: Floats
    """One a split: log odds of the rank, out of sample, of the best in sample."""
    splits: int

    def __repr__(self) -> str:
        return f"Overfitting(probability {self.probability:.1%}, loss {self.loss:.1%}, {self.splits:,} splits)"


def overfitting_probability(returns: npt.ArrayLike, blocks: int = 16) -> Overfitting:
    """Return the probability of backtest overfitting of a choice among variants, by combinatorial cross-validation.

    `returns` has one row an instant and one column a variant, shape (n, k), k >= 2. Time is cut into `blocks` (even, at
    most 20) of equal length; each half of the blocks is once the sample in which the best variant is chosen, by Sharpe
    ratio, the other half being where it is ranked. Variants that share a rank share its middle. Leading rows that do
    not fill the blocks are left out. Without skill the probability is about one half.

    Source: Bailey, Borwein, López de Prado and Zhu, "The Probability of Backtest Overfitting", Journal of Computational
    Finance 20(4), 2017, section 3 (CSCV); ranks and logits as there.

    >>> noise = np.random.default_rng(1).normal(size=(1000, 20))
    >>> noise[:, 3] += 0.2  # one of them has skill
    >>> overfitting_probability(noise, blocks=8).probability
    0.0
    """
    r = np.asarray(returns, np.float64)
    if r.ndim != 2 or r.shape[1] < 2:
        raise InputError("overfitting is about a choice: pass the returns of at least two variants, one a column")
    if blocks % 2 or not 2 <= blocks <= 20:
        raise InputError(f"blocks is an even number from 2 to 20, got {blocks}")
    size = len(r) // blocks
    if size < 2:
        raise InputError(f"{len(r)} returns do not fill {blocks} blocks: give more, or fewer blocks")
    if not np.isfinite(r).all():
        raise InputError("returns must be finite: a variant that lost everything cannot be compared")
    cut = r[len(r) - size * blocks :].reshape(blocks, size, -1)
    sums, squares = cut.sum(axis=1), np.square(cut).sum(axis=1)
    n = size * blocks // 2
    chosen = np.zeros((math.comb(blocks, blocks // 2), blocks))
    for row, half in zip(chosen, itertools.combinations(range(blocks), blocks // 2), strict=True):
        row[list(half)] = 1.0
    logits, inside, outside = np.empty(len(chosen)), np.empty(len(chosen)), np.empty(len(chosen))
    step = max(1, 2**22 // r.shape[1])
    for at in range(0, len(chosen), step):
        part = chosen[at : at + step]
        seen, unseen = (_sharpes(half @ sums, half @ squares, n) for half in (part, 1.0 - part))
        best = np.argmax(seen, axis=1)[:, None]
        mine = np.take_along_axis(unseen, best, axis=1)
        rank = (unseen < mine).sum(axis=1) + ((unseen == mine).sum(axis=1) + 1) / 2.0
        share = rank / (r.shape[1] + 1)
        stop = at + len(part)
        logits[at:stop] = np.log(share / (1.0 - share))
        inside[at:stop], outside[at:stop] = np.take_along_axis(seen, best, axis=1)[:, 0], mine[:, 0]
    slope = float(np.polyfit(inside, outside, 1)[0]) if np.ptp(inside) > 0 else float("nan")
    return Overfitting(float(np.mean(logits <= 0)), float(np.mean(outside < 0)), slope, logits, len(chosen))


def _sharpes(sums: Floats, squares: Floats, n: int) -> Floats:
    mean = sums / n
    deviation = np.sqrt(np.maximum(squares / n - mean**2, 0.0))
    # a variant that never trades in a half has no Sharpe ratio: it is worth nothing, neither good nor bad
    return np.divide(mean, deviation, out=np.zeros_like(mean), where=deviation > 1e-12 * np.abs(mean))

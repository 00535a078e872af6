"""The best of many variants against luck: Hansen's test for superior predictive ability, White's and StepM.

The bootstraps are those of the `arch` package. Its SPA does not divide by the standard errors (checked in 8.0: the
`studentize` argument changes the recentering alone), so differences are standardised here before it sees them.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quantai.backtest.asked import whole_number
from quantai.backtest.sweep import Sweep
from quantai.backtest.swept import Swept
from quantai.core.errors import DataError, InputError, MissingExtra
from quantai.data.bars import Bars
from quantai.report.returns import Floats

MOST_RETURNS = 10_000
"""Of a variant: the work of `arch` grows with the square of their number."""


@dataclass(frozen=True, eq=False)
class Snooping:
    """What `data_snooping` found."""

    spa: float
    """p-value of "no variant is better than the benchmark" (Hansen, consistent)."""
    spa_lower: float
    spa_upper: float
    reality_check: float
    """The same by White's reality check: not standardised, and worsened by bad variants."""
    superior: tuple[Any, ...]
    """Variants that beat the benchmark even so, by StepM: wrong about any of them with probability `size` at most."""
    best: Any
    """The variant with the highest mean return above the benchmark, in standard errors."""
    variants: int
    observations: int
    block: int
    size: float
    benchmark: str

    @property
    def passed(self) -> bool:
        """Whether something beats the benchmark beyond luck, at `size`."""
        return self.spa < self.size

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        says = "something beats" if self.passed else "nothing is shown to beat"
        return (
            f"Snooping({says} {self.benchmark}: SPA p = {self.spa:.3f}, reality check p = {self.reality_check:.3f}, "
            f"{len(self.superior)} of {self.variants:,} variants stand, {self.observations:,} returns)"
        )


def data_snooping(
    swept: Swept | pd.DataFrame | Any,
    benchmark: Any = None,
    *,
    every: str | None = "1D",
    size: float = 0.05,
    reps: int = 1000,
    block: int | None = None,
    seed: int = 0,
) -> Snooping:
    """Test whether the best of many variants beats a benchmark by more than the luck of having tried so many.

    `swept` is a sweep over bars or a tape, whose variants are run again for their returns over `every` span (None: each
    bar, or sample of a replay's equity), or returns as a frame or array, one column a variant. `benchmark` is None
    (cash: a return of zero), "hold" (the bars' instruments bought at equal weights and held, for a sweep over bars) or
    returns of the same length. Resampled are blocks of returns of
    mean length `block` (see `block_length`), `reps` times (stationary bootstrap).

    Sources: Hansen, "A Test for Superior Predictive Ability", Journal of Business & Economic Statistics 23(4), 2005;
    White, "A Reality Check for Data Snooping", Econometrica 68(5), 2000; Romano and Wolf, "Stepwise Multiple Testing as
    Formalized Data Snooping", Econometrica 73(4), 2005.

    >>> noise = np.random.default_rng(1).normal(0, 0.01, (250, 5))
    >>> data_snooping(noise, reps=200).passed, data_snooping(noise + [0, 0, 0.004, 0, 0], reps=200).superior
    (False, (2,))

    Raises MissingExtra without `arch` (extra `research`), InputError or DataError with one line that says why.
    """
    if not 0.0 < size < 1.0:
        raise InputError(f"size is the probability of being wrong, between 0 and 1, got {size}")
    for name, least, value in (("reps", 10, reps), ("block", 1, 1 if block is None else block)):
        whole_number(name, value, least)
    returns = returns_of(swept, every) if isinstance(swept, Swept) else _table(swept)
    against, name = benchmark_of(swept, benchmark, returns)
    return against_luck(returns, against, name, size=size, reps=reps, block=block, seed=seed)


def returns_of(swept: Swept, every: str | None) -> pd.DataFrame:
    """Return what `swept.returns(every=every)` does; InputError where `every` is no length of time."""
    if every is not None:
        try:
            pd.DatetimeIndex([0], tz="UTC").floor(every)
        except (ValueError, TypeError, AttributeError, ZeroDivisionError):
            raise InputError(f"every is a length of time such as '7D' or '5min', or None, not {every!r}") from None
    return swept.returns(every=every)


def _table(returns: Any) -> pd.DataFrame:
    try:
        return pd.DataFrame(returns).astype(np.float64)
    except (ValueError, TypeError):
        kind = type(returns).__name__
        raise InputError(f"a sweep is tested, or returns in an array, one column a variant, not {kind}") from None


def against_luck(
    returns: pd.DataFrame, against: Floats, name: str, *, size: float, reps: int, block: int | None, seed: int
) -> Snooping:
    """Return `data_snooping` of returns, one column a variant, against the returns of a benchmark called `name`."""
    try:
        from arch.bootstrap import SPA, RealityCheck, StepM
    except ImportError:
        raise MissingExtra("arch", "research") from None
    excess = returns.to_numpy(np.float64) - against[:, None]
    if len(excess) < 30:
        raise DataError(f"{len(excess)} returns are too few to resample: choose a shorter span, or every=None")
    if not np.isfinite(excess).all():
        raise DataError("returns must be finite: leave out the bars before all variants have one")
    if len(excess) > MOST_RETURNS:
        raise InputError(f"{len(excess):,} returns would take hours to resample: choose a longer span, every='1D'")
    length = block or block_length(excess)
    scale = standard_errors(excess, length)
    # one that never differs from the benchmark can neither beat it nor be compared with it
    moves = scale > 1e-12 * np.abs(excess).max(initial=0.0)
    names = returns.columns[moves]
    if not moves.any():
        raise DataError("no variant ever differs from the benchmark: there is nothing to test")
    excess, standard = excess[:, moves], (excess / np.where(moves, scale, 1.0))[:, moves]
    cash = np.zeros(len(excess))
    spa = SPA(cash, -standard, block_size=length, reps=reps, seed=seed)
    spa.compute()
    white = RealityCheck(cash, -excess, block_size=length, reps=reps, seed=seed, studentize=False)
    white.compute()
    # named by position: arch takes names from frames only, and sorts them
    stepped = StepM(cash, -standard, size=size, block_size=length, reps=reps, seed=seed)
    stepped.compute()
    p, q = (test.pvalues.to_dict() for test in (spa, white))
    numbers: Any = stepped.superior_models
    superior = tuple(names[int(k)] for k in numbers)
    return Snooping(
        p["consistent"], p["lower"], p["upper"], q["upper"], superior, names[int(standard.mean(axis=0).argmax())],
        returns.shape[1], len(excess), length, size, name,
    )  # fmt: skip


def block_length(series: Floats) -> int:
    """Return how long blocks have to be to keep what neighbours have in common: 1 for independent returns.

    The mean over the columns (100 of them at most) of the length that is best for each: Politis and White, "Automatic
    Block-Length Selection for the Dependent Bootstrap", Econometric Reviews 23(1), 2004. A fixed length, such as the
    square root of the number of returns, makes p-values of independent returns too small: 11 % of them below 5 %.
    """
    from arch.bootstrap import optimal_block_length

    moving = series[:, series.std(axis=0) > 0]
    if not moving.shape[1]:
        return 1
    some = moving[:, np.unique(np.linspace(0, moving.shape[1] - 1, 100).astype(int))]
    lengths = np.asarray(optimal_block_length(some)["stationary"], np.float64)
    return int(np.clip(np.ceil(np.nanmean(lengths) - 0.5), 1, len(series) // 5))


def standard_errors(series: Floats, block: int) -> Floats:
    """Return, for each column, the standard deviation of its mean under the stationary bootstrap, times sqrt(n).

    Source: Politis and Romano, "The Stationary Bootstrap", Journal of the American Statistical Association 89, 1994,
    lemma 1: sample autocovariances weighted by how often two rows that far apart stay neighbours.

    >>> standard_errors(np.array([[1.0], [-1.0]] * 50), block=2).round(3)
    array([0.581])
    """
    n = len(series)
    centred = series - series.mean(axis=0)
    power = np.abs(np.fft.rfft(centred, 2 * n, axis=0)) ** 2
    covariance = np.fft.irfft(power, 2 * n, axis=0)[:n] / n
    lag = np.arange(1, n)
    stay = 1.0 - 1.0 / block
    weight = (1.0 - lag / n) * stay**lag + lag / n * stay ** (n - lag)
    return np.sqrt(np.maximum(covariance[0] + 2.0 * weight @ covariance[1:], 0.0))


def benchmark_of(swept: Any, benchmark: Any, frame: pd.DataFrame) -> tuple[Floats, str]:
    """Return the benchmark's returns at the rows of `frame`, and what it is called; see `data_snooping`."""
    if benchmark is None:
        return np.zeros(len(frame)), "cash"
    if isinstance(benchmark, str):
        if benchmark != "hold" or not isinstance(swept, Sweep):
            raise InputError(f"benchmark is None, 'hold' (with a sweep over bars) or returns, got {benchmark!r}")
        return _held(swept.bars, frame.index), "buy and hold"
    if isinstance(benchmark, pd.Series) and isinstance(frame.index, pd.DatetimeIndex):
        benchmark = benchmark.reindex(frame.index)
    against = np.asarray(benchmark, np.float64)
    if against.shape != (len(frame),):
        raise InputError(f"the benchmark has shape {against.shape}, the variants {len(frame):,} returns: align them")
    missing = np.flatnonzero(~np.isfinite(against))
    if len(missing):
        where = f"{len(missing):,} of {len(against):,} rows, first at {frame.index[missing[0]]}"
        raise InputError(f"the benchmark has no return at {where}: give one for each, or fillna(0.0)")
    if len(against) and np.median(np.abs(against)) > 1.0:
        raise InputError("the benchmark looks like prices: give its returns, prices.pct_change().fillna(0.0)")
    return against, "the benchmark"


def _held(bars: Bars, index: Any) -> Floats:
    """Returns of equal amounts of each instrument, bought at its first open and held."""
    worth = np.zeros(len(index))
    for symbol in bars.symbols:
        one = bars.only(symbol).rows
        at = np.searchsorted(one["ts_close"], index.as_unit("ns").asi8, side="right") - 1
        worth += np.where(at >= 0, one["close"][np.maximum(at, 0)] / one["open"][0], 1.0) / len(bars.symbols)
    return worth / np.concatenate([[1.0], worth[:-1]]) - 1.0

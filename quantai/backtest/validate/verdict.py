"""The verdict on a sweep, in plain words with the numbers: whether its best variant shows more than luck."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from quantai.backtest.swept import Swept
from quantai.backtest.validate.overfitting import (
    Overfitting,
    Sample,
    deflated_sharpe,
    expected_best_sharpe,
    overfitting_probability,
    probabilistic_sharpe,
    track_record_needed,
)
from quantai.backtest.validate.snooping import Snooping, against_luck, benchmark_of, returns_of
from quantai.core.errors import DataError, InputError
from quantai.report.periods import periods_per_year

CONFIDENT = 0.95
OVERFIT = 0.25
"""A choice that is below the median out of sample this often says too little; without skill it is half of the time."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """What the best variant of a sweep is worth."""

    params: dict[str, Any]
    """Of the best variant; `venue` with them, a place in `ReplaySweep.venues`, where venues vary."""
    variants: int
    """Different ones: a variant named twice is one try."""
    observations: int
    per_year: float
    """Observations a year."""
    sharpe: float
    """Annual, of the observations the tests looked at."""
    luck: float
    """The annual Sharpe ratio that the best of as many tries without skill would be expected to show."""
    probabilistic: float
    """Probability that the true Sharpe ratio is above zero, were this the only variant tried."""
    deflated: float
    """The same, given how many were tried."""
    years_needed: float
    """Years after which a Sharpe ratio like this one is above zero with 95 % confidence; were it the only one."""
    overfitting: Overfitting
    snooping: Snooping

    @property
    def checks(self) -> dict[str, bool]:
        """What was asked, and whether the answer is good."""
        return {
            "deflated Sharpe ratio": self.deflated >= CONFIDENT,
            "chosen well out of sample": self.overfitting.probability < OVERFIT,
            "beats the benchmark": self.snooping.passed,
        }

    @property
    def passed(self) -> bool:
        """Whether all checks are good."""
        return all(self.checks.values())

    def __bool__(self) -> bool:
        return self.passed

    @property
    def text(self) -> str:
        """The verdict and its reasons, a line each."""
        good = sum(self.checks.values())
        head = {0: "This looks like luck.", 3: "This is more than luck, as far as this data can say."}
        shown = ", ".join(f"{k}={v}" for k, v in self.params.items())
        o, s = self.overfitting, self.snooping
        deflated, chosen, beats = ("yes" if ok else "NO" for ok in self.checks.values())
        years = self.observations / self.per_year
        head_line = f"{head.get(good, 'This is not shown to be more than luck.')} {good} of 3 checks are good."
        tried = f"Best of {self.variants:,} variants ({shown})"
        best = f"{tried}: Sharpe ratio {self.sharpe:.2f} a year over {years:.1f} years."
        skill = (
            f"- Skill, given the tries? {deflated}: {self.deflated:.1%} (wanted {CONFIDENT:.0%}). The best of as many "
            f"tries without skill would show {self.luck:.2f}. Tried alone it would be {self.probabilistic:.1%}, and "
            f"{self._needed()}."
        )
        choice = (
            f"- A choice that holds? {chosen}: chosen in one half of the time it is below the median in the other in "
            f"{o.probability:.0%} of {o.splits:,} splits (wanted below {OVERFIT:.0%}), and loses in {o.loss:.0%}."
        )
        better = (
            f"- Better than {s.benchmark}? {beats}: p = {s.spa:.3f} (SPA, wanted below {s.size:.2g}), "
            f"{s.reality_check:.3f} (reality check); {len(s.superior):,} of {s.variants:,} variants stand on their own."
        )
        return f"{head_line}\n{best}\n{skill}\n{choice}\n{better}"

    def _needed(self) -> str:
        if np.isinf(self.years_needed):
            return "no length of record would show it"
        return f"a record of {self.years_needed:.1f} years would show it"

    def __repr__(self) -> str:
        return self.text


def verdict(
    swept: Swept,
    benchmark: Any = None,
    *,
    every: str | None = "1D",
    blocks: int = 16,
    reps: int = 1000,
    seed: int = 0,
) -> Verdict:
    """Judge the best variant of a sweep, by Sharpe ratio, in the light of all that were tried.

    Returns over `every` span (None: each bar, or sample of a replay's equity) are what is looked at. `benchmark`,
    `reps` and `seed` as in `data_snooping`, `blocks` as in `overfitting_probability`. The number of tries is the number
    of different variants: those tried before this sweep are not known here, and count as well.

    >>> import quantai as qa
    >>> from quantai.strategy.examples import Cross
    >>> swept = qa.sweep(Cross, qa.synth.bars(3000, seed=1), fast=range(3, 9), slow=range(20, 60, 10))
    >>> qa.verdict(swept, every="15min", blocks=8, reps=200).passed
    False
    """
    given: Any = swept
    if not isinstance(given, Swept):
        raise InputError(
            f"verdict judges a sweep, got a {type(given).__name__}: qa.sweep makes one; "
            "returns alone go to data_snooping and overfitting_probability"
        )
    names = [*swept.names, *(n for n in ("venue",) if n in swept.table.columns and n not in swept.names)]
    tried = ~swept.table[names].duplicated().to_numpy()
    if tried.sum() < 2:
        raise InputError("a verdict is about a choice: sweep at least two different variants")
    returns = returns_of(swept, every).loc[:, tried]
    if len(returns) < 60:
        raise DataError(f"{len(returns)} spans of {every} are too few to judge: choose a shorter one, or every=None")
    values = returns.to_numpy(np.float64)
    deviation = values.std(axis=0, ddof=1)
    sharpes = np.divide(values.mean(axis=0), deviation, out=np.full(len(deviation), np.nan), where=deviation > 0)
    if np.isnan(sharpes).all():
        raise DataError("no variant ever traded: there is nothing to judge")
    place = int(np.nanargmax(sharpes))
    best = int(np.flatnonzero(tried)[place])
    sample = Sample.of(values[:, place])
    spread = float(np.nanstd(sharpes, ddof=1)) if np.isfinite(sharpes).sum() > 1 else 0.0
    per_year = periods_per_year(returns.index.as_unit("ns").asi8)  # type: ignore[attr-defined]
    year = float(np.sqrt(per_year))
    return Verdict(
        params={n: swept.table[n].iloc[best].item() for n in names},
        variants=int(tried.sum()),
        observations=len(returns),
        per_year=per_year,
        sharpe=sample.sharpe * year,
        luck=expected_best_sharpe(int(tried.sum()), spread) * year,
        probabilistic=probabilistic_sharpe(sample),
        deflated=deflated_sharpe(sample, int(tried.sum()), spread),
        years_needed=track_record_needed(sample) / per_year,
        overfitting=overfitting_probability(values, blocks),
        snooping=against_luck(
            returns, *benchmark_of(swept, benchmark, returns), size=1.0 - CONFIDENT, reps=reps, block=None, seed=seed
        ),
    )

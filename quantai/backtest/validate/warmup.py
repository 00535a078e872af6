"""Does the start of the data reach a decision? Tested by starting later."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quantai.backtest.asked import whole_number
from quantai.backtest.bar_run import BarRun
from quantai.backtest.settings import Settings
from quantai.backtest.validate.given import bars_of, ends_of, instant, settings_of, strategy_of
from quantai.core.errors import InputError
from quantai.core.rows import Action
from quantai.data.bars import Bars
from quantai.strategy import Strategy
from quantai.strategy.base import fields_of
from quantai.strategy.indicators import Atr, Rsi

ALIKE = 1_000
"""Of the 10^9 that a target of all equity is: smaller differences are none."""
_TERMS = ("instrument", "action", "side", "type", "tif", "flags", "px_ticks", "trigger_ticks", "qty_lots")


@dataclass(frozen=True, eq=False)
class Warmup:
    """What `check_warmup` found; true in a condition when the warm-up is enough."""

    warmup: int
    needed: int | None
    """Bars after the latest start from which all decisions agreed with the whole run, at worst; None: never."""
    starts: tuple[pd.Timestamp, ...]

    @property
    def passed(self) -> bool:
        """Whether decisions after the warm-up did not depend on where history began."""
        return self.needed is not None and self.needed <= self.warmup

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        if self.needed is None:
            return f"WARM-UP: decisions still depend on where history began when it ends ({len(self.starts)} starts)"
        says = "enough" if self.passed else "NOT ENOUGH"
        return f"a warm-up of {self.warmup:,} bars is {says}: {self.needed:,} needed over {len(self.starts)} starts"


def check_warmup(
    strategy: Strategy | type[Strategy], data: Any, *, warmup: int | None = None, starts: int = 6, **settings: Any
) -> Warmup:
    """Check that decisions do not depend on where history begins, once `warmup` instants of bars have passed.

    The strategy runs from the first bar and from `starts` later ones, spread over the first half. Compared are the
    targets in force after each bar, to a millionth of equity, and every other intent by its terms (not its number).
    Unless given, `warmup` is ten times the longest indicator period, twenty times for Wilder's averages (rsi, atr):
    an exponential average never quite forgets its first value. A strategy that decides by its own position or equity
    depends on its past by design, and fails.

    >>> import quantai as qa
    >>> from quantai.strategy.examples import Cross
    >>> bars = qa.synth.bars(3000, seed=1)
    >>> bool(qa.check_warmup(Cross(fast=3, slow=9), bars)), bool(qa.check_warmup(Cross, bars, warmup=10))
    (True, False)
    """
    made = strategy_of(strategy)
    bars = bars_of(data, "to check with")
    chosen = settings_of(settings)
    starts = whole_number("starts", starts, 1)
    if warmup is None:
        # Wilder's 1 / n forgets half as fast as 2 / (n + 1)
        indicators = fields_of(type(made)).indicators.values()
        reach = [(20 if isinstance(i, Rsi | Atr) else 10) * i.resolve(made.params) for i in indicators]
        warmup = max([10, *reach])
    warmup = whole_number("warmup", warmup, 0)
    ends = ends_of(bars.rows)
    if len(ends) // 2 <= warmup:
        raise InputError(
            f"{len(ends):,} instants are too few to test a warm-up of {warmup:,}: give more than twice that"
        )
    whole_targets, whole_terms = _decided(made, bars, chosen)
    needed, late = 0, False
    begins = np.unique(np.linspace(0, len(ends) // 2, starts + 1).astype(int)[1:])
    for begin in begins:
        targets, terms = _decided(made, bars[int(ends[begin - 1]) :], chosen)
        unequal = (np.abs(targets - whole_targets[begin:]) > ALIKE).any(axis=1)
        unequal |= [a != b for a, b in zip(whole_terms[begin:], terms, strict=True)]
        different = np.flatnonzero(unequal)
        if len(different):
            late = late or different[-1] == len(terms) - 1
            needed = max(needed, int(different[-1]) + 1)
    named = tuple(instant(bars.rows["ts_open"][ends[b - 1]]) for b in begins)
    return Warmup(warmup, None if late else needed, named)


def _decided(strategy: Strategy, bars: Bars, settings: Settings) -> tuple[Any, list[list[Any]]]:
    """Return, for each instant, the targets in force, shape (instants, instruments), and the terms of other intents."""
    run = BarRun(strategy, bars.instruments, settings)
    run.feed(bars.rows)
    intents = run.rows("intents")
    ends = ends_of(bars.rows)
    at = np.searchsorted(ends, intents["seq"])
    targets = np.zeros((len(ends), len(bars.instruments)), np.int64)
    terms: list[list[Any]] = [[] for _ in ends]
    for row, k in zip(intents, at.tolist(), strict=True):
        if row["action"] == int(Action.TARGET):
            targets[k:, row["instrument"]] = row["qty_lots"]
        else:
            terms[k].append(tuple(row[name].item() for name in _TERMS))
    return targets, terms

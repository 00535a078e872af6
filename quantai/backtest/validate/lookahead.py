"""Does the future reach a decision? Tested by running again on less of the data.

A compiled handler sees one row at a time and cannot look ahead. What can is everything computed before: a parameter
fitted to the whole history, a column with a label that was shifted the wrong way or a window centred on its row. So the
test takes the functions that make these, and makes them again from each shorter history.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quantai.backtest.asked import whole_number
from quantai.backtest.bar_run import BarRun
from quantai.backtest.settings import Settings
from quantai.backtest.validate.given import (
    Maker,
    bars_of,
    ends_of,
    features_of,
    instant,
    settings_of,
    strategy_of,
)
from quantai.backtest.validate.outside import numbers_of, recognised, unexplained
from quantai.core.errors import DataError
from quantai.core.rows import Action, Rows
from quantai.data.bars import Bars
from quantai.strategy import Strategy

_TARGET = int(Action.TARGET)
_REMEDY = "if made from data, give what makes them: a function bars -> Strategy"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was not the same: where, and how."""

    known_until: pd.Timestamp
    """The last close of the shorter history; the first close where a number came from a later one."""
    at: pd.Timestamp
    """The bar (its close) at which it differs, at or before `known_until`; or at which a number became known."""
    what: str

    def __str__(self) -> str:
        return f"at {self.at}: {self.what} (known until {self.known_until})"


@dataclass(frozen=True, eq=False)
class Lookahead:
    """What `check_lookahead` found; true in a condition when nothing was."""

    findings: tuple[Finding, ...]
    cuts: int
    decisions: int
    """Intents of the whole run."""
    untested: tuple[str, ...] = ()
    """Numbers that look computed and were there before any run: from which data cannot be seen here."""

    @property
    def passed(self) -> bool:
        """Whether every shorter history gave the same."""
        return not self.findings

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        if self.passed:
            text = f"no look-ahead: {self.decisions:,} decisions, the same on {self.cuts} shorter histories"
            return f"{text}\n- not tested: {', '.join(self.untested)}; {_REMEDY}" if self.untested else text
        first = "\n".join(f"- {f}" for f in self.findings[:5])
        known = [f for f in self.findings if f.known_until < f.at]
        if len(known) == len(self.findings):
            return f"LOOK-AHEAD: {len(known)} numbers were taken from the history they are tested on\n{first}"
        cut = len(self.findings) - len(known)
        return f"LOOK-AHEAD on {cut} of {self.cuts} shorter histories: the future changes the past\n{first}"


def check_lookahead(
    strategy: Strategy | type[Strategy] | Maker,
    data: Any,
    *,
    prepare: Callable[[Bars], Any] | None = None,
    cuts: int = 12,
    seed: int = 0,
    **settings: Any,
) -> Lookahead:
    """Check that no decision, and nothing computed for it, depends on bars that came later.

    The strategy runs on the whole of `data` and on shorter histories: `cuts` spread over it, as many that end where a
    decision was made, and as many where a prepared column that seldom changes did. Up to the end of each, intents must
    be the same bytes. Give what is computed from data as the function that computes it: `strategy` may be a function
    `bars -> Strategy`, and `prepare` a function of bars that returns the Bars to run on, or features to look at (a
    frame, series or array with one row a bar), whose values must be the same too, but for rounding (1e-9). A parameter,
    state or constant that no function makes again is a finding where it equals a statistic of the whole history (an
    extreme, mean, median, deviation or quantile of prices, volume or returns), and is named as not tested where it
    looks computed. Keywords are `Settings`.

    >>> import quantai as qa
    >>> from quantai.strategy.examples import Cross
    >>> bars = qa.synth.bars(400, seed=1)
    >>> qa.check_lookahead(Cross(fast=3, slow=9), bars).passed
    True
    >>> centred = lambda bars: bars.df()["close"].rolling(5, center=True).mean()
    >>> qa.check_lookahead(Cross, bars, prepare=centred).passed
    False

    Raises InputError or DataError with one line that says what to change.
    """
    bars = bars_of(data, "to check with")
    chosen = settings_of(settings)
    cuts = whole_number("cuts", cuts, 1)
    whole = _Outcome.of(strategy, bars, prepare, chosen)
    ends = ends_of(bars.rows)
    if len(ends) < 3:
        raise DataError("look-ahead needs at least three instants of bars to cut")
    at = _cuts(whole, ends, cuts, np.random.default_rng(seed))
    made_again = callable(strategy) and not isinstance(strategy, type | Strategy)
    numbers = numbers_of(strategy_of(strategy, bars))
    if made_again:
        middle = numbers_of(strategy_of(strategy, bars[: ends[len(ends) // 2]]))
        numbers = {n: v for n, v in numbers.items() if n in middle and middle[n] == v}
    findings = list[Finding]()
    for k in at:
        known = bars[: ends[k]]
        found = whole.differs(_Outcome.of(strategy, known, prepare, chosen), known)
        if found is not None:
            findings.append(found)
    start = instant(bars.rows["ts_close"][0])
    for name, what, row in recognised(numbers, bars):
        findings.append(Finding(start, instant(bars.rows["ts_close"][row]), f"{name} = {what}, known only then"))
    untested = () if made_again else unexplained(numbers)
    return Lookahead(tuple(findings), len(at), len(whole.intents), untested)


def _cuts(whole: "_Outcome", ends: Any, cuts: int, rng: np.random.Generator) -> list[int]:
    """Return the instants after which histories are cut: spread, the last but one, and where something happened."""
    last = len(ends) - 2
    edges = np.linspace(0, last, min(cuts, len(ends) - 1)).astype(int)
    # off any regular grid; the cut before the last bar sees the shortest leaks
    jitter = max(1, len(ends) // (4 * cuts))
    at = {int(np.clip(e - rng.integers(0, jitter), 0, last)) for e in edges[:-1]} | {last}
    # a leak that needs a special day shows when a history ends on it, and on that day something is decided
    changes = np.empty(0, np.int64) if whole.prepared is None else _seldom(whole.prepared)
    for rows in (whole.intents["seq"] - 1, changes):
        telling = np.unique(np.searchsorted(ends, rows, side="right"))
        telling = telling[telling <= last]
        at |= {int(k) for k in (telling if len(telling) <= cuts else rng.choice(telling, cuts, replace=False))}
    return sorted(at)


def _seldom(frame: pd.DataFrame) -> Any:
    """Return the rows at which columns change that do so on at most a quarter of the rows."""
    out = [np.empty(0, np.int64)]
    for k in range(frame.shape[1]):
        x = frame.iloc[:, k]
        before = x.shift()
        rows = np.flatnonzero(~((x == before) | (x.isna() & before.isna())).to_numpy(bool))
        if len(rows) <= len(frame) // 4:
            out.append(rows)
    return np.concatenate(out)


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What one history leads to: the decisions, and what was computed for them."""

    intents: Rows
    prepared: pd.DataFrame | None

    @classmethod
    def of(cls, strategy: Any, bars: Bars, prepare: Callable[[Bars], Any] | None, settings: Settings) -> "_Outcome":
        made = bars if prepare is None else prepare(bars)
        run_on = made if isinstance(made, Bars) else bars
        run = BarRun(strategy_of(strategy, bars), run_on.instruments, settings)
        run.feed(run_on.rows)
        return cls(run.rows("intents"), None if prepare is None else features_of(made, bars))

    def differs(self, shorter: "_Outcome", known: Bars) -> Finding | None:
        """Return the first thing in which the shorter history differs from the same span of this one."""
        until = instant(known.rows["ts_close"][-1])
        if self.prepared is not None and shorter.prepared is not None:
            before, after = self.prepared.iloc[: len(known)], shorter.prepared
            if list(before.columns) != list(after.columns):
                return Finding(until, until, f"prepared columns are {list(after.columns)}, not {list(before.columns)}")
            same = ((before == after) | (before.isna() & after.isna())).to_numpy() | _rounded(before, after)
            if not same.all():
                row, column = (int(x) for x in np.argwhere(~same)[0])
                a, b = after.iat[row, column], before.iat[row, column]
                what = f"prepared {before.columns[column]!r} was {a} and became {b} when more was known"
                return Finding(until, instant(known.rows["ts_close"][row]), what)
        mine = self.intents[self.intents["seq"] <= len(known)]
        if mine.tobytes() == shorter.intents.tobytes():
            return None
        n = min(len(mine), len(shorter.intents))
        unequal = np.flatnonzero(mine[:n] != shorter.intents[:n])
        k = int(unequal[0]) if len(unequal) else n
        there = mine if k < len(mine) else shorter.intents
        row = int(there["seq"][k]) - 1
        a, b = (_told(rows, k) for rows in (shorter.intents, mine))
        return Finding(until, instant(known.rows["ts_close"][row]), f"decided {a}, but {b} when more was known")


def _rounded(before: pd.DataFrame, after: pd.DataFrame) -> Any:
    """Where two frames of one shape differ by no more than sums taken in another order do."""
    out = np.zeros(before.shape, bool)
    for k, (a, b) in enumerate(zip(before.dtypes, after.dtypes, strict=True)):
        if all(isinstance(kind, np.dtype) and kind.kind == "f" for kind in (a, b)):
            x, y = before.iloc[:, k].to_numpy(np.float64), after.iloc[:, k].to_numpy(np.float64)
            size = np.abs(x[np.isfinite(x)]).max(initial=0.0)
            out[:, k] = np.isclose(x, y, rtol=1e-9, atol=1e-12 * size)
    return out


def _told(rows: Rows, k: int) -> str:
    if k >= len(rows):
        return "nothing"
    row = rows[k]
    if row["action"] == _TARGET:
        return f"a target of {row['qty_lots'] / 1e9:g}"
    return f"{Action(int(row['action'])).name} {row['side'] * row['qty_lots']:+d} lots at {row['px_ticks']} ticks"

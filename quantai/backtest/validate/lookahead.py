"""Does the future reach a decision, or the start of the data? Both are tested by running again on less of the data.

A compiled handler sees one row at a time and cannot look ahead. What can is everything computed before: a parameter
fitted to the whole history, a column with a label that was shifted the wrong way or a window centred on its row. So the
test takes the functions that make these, and makes them again from each shorter history.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quantai.backtest.bar_run import BarRun
from quantai.backtest.settings import Settings
from quantai.core.errors import DataError, InputError, UnknownName
from quantai.core.rows import Action, Rows
from quantai.data.bars import Bars
from quantai.strategy import Strategy
from quantai.strategy.base import fields_of

Maker = Callable[[Bars], Strategy]
"""What makes a strategy from the data it will run on, for example with a threshold fitted to it."""

_TARGET = int(Action.TARGET)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was not the same: where, and how."""

    known_until: pd.Timestamp
    """The last close of the shorter history."""
    at: pd.Timestamp
    """The bar (its close) at which it differs, at or before `known_until`."""
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

    @property
    def passed(self) -> bool:
        """Whether every shorter history gave the same."""
        return not self.findings

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        if self.passed:
            return f"no look-ahead: {self.decisions:,} decisions, the same on {self.cuts} shorter histories"
        first = "\n".join(f"- {f}" for f in self.findings[:5])
        return (
            f"LOOK-AHEAD on {len(self.findings)} of {self.cuts} shorter histories: the future changes the past\n{first}"
        )


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

    The strategy runs on the whole of `data` and on `cuts` shorter histories; up to the end of each, intents must be the
    same bytes. Give what is computed from data as the function that computes it: `strategy` may be a function
    `bars -> Strategy`, and `prepare` a function of bars that returns the Bars to run on, or features to look at (a
    frame, series or array with one row a bar), which must be the same values too. Keywords are `Settings`.

    >>> import quantai as qa
    >>> from quantai.strategy.examples import Cross
    >>> bars = qa.synth.bars(400, seed=1)
    >>> qa.check_lookahead(Cross(fast=3, slow=9), bars)
    no look-ahead: 38 decisions, the same on 12 shorter histories
    >>> centred = lambda bars: bars.df()["close"].rolling(5, center=True).mean()
    >>> qa.check_lookahead(Cross, bars, prepare=centred).passed
    False

    Raises InputError or DataError with one line that says what to change.
    """
    bars = _bars(data)
    chosen = _settings(settings)
    whole = _Outcome.of(strategy, bars, prepare, chosen)
    ends = _ends(bars.rows)
    if len(ends) < 3:
        raise DataError("look-ahead needs at least three instants of bars to cut")
    rng = np.random.default_rng(seed)
    # spread over the history, off any regular grid; the cut before the last bar sees the shortest leaks
    edges = np.linspace(0, len(ends) - 2, max(1, min(cuts, len(ends) - 1))).astype(int)
    jitter = max(1, len(ends) // (4 * cuts))
    at = sorted({int(np.clip(e - rng.integers(0, jitter), 0, len(ends) - 2)) for e in edges[:-1]} | {len(ends) - 2})
    findings = list[Finding]()
    for k in at:
        known = bars[: ends[k]]
        found = whole.differs(_Outcome.of(strategy, known, prepare, chosen), known)
        if found is not None:
            findings.append(found)
    return Lookahead(tuple(findings), len(at), len(whole.intents))


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
    targets in force after each bar, and every other intent by its terms (not its number). `warmup` is ten times the
    longest indicator period unless given: an exponential average never quite forgets its first value. A strategy that
    decides by its own position or equity depends on its past by design, and fails.

    >>> import quantai as qa
    >>> from quantai.strategy.examples import Cross
    >>> bars = qa.synth.bars(3000, seed=1)
    >>> bool(qa.check_warmup(Cross(fast=3, slow=9), bars)), bool(qa.check_warmup(Cross, bars, warmup=10))
    (True, False)
    """
    made = strategy() if isinstance(strategy, type) else strategy
    bars = _bars(data)
    chosen = _settings(settings)
    if warmup is None:
        indicators = fields_of(type(made)).indicators.values()
        warmup = 10 * max([1, *(i.resolve(made.params) for i in indicators)])
    ends = _ends(bars.rows)
    if len(ends) // 2 <= warmup:
        raise InputError(
            f"{len(ends):,} instants are too few to test a warm-up of {warmup:,}: give at least twice that"
        )
    whole = _decided(made, bars, chosen)
    needed, late = 0, False
    begins = np.linspace(0, len(ends) // 2, starts + 1).astype(int)[1:]
    for begin in begins:
        part = _decided(made, bars[int(ends[begin - 1]) :], chosen)
        different = np.flatnonzero([a != b for a, b in zip(whole[begin:], part, strict=True)])
        if len(different):
            late = late or different[-1] == len(part) - 1
            needed = max(needed, int(different[-1]) + 1)
    named = tuple(_instant(bars.rows["ts_open"][ends[b - 1]]) for b in begins)
    return Warmup(warmup, None if late else needed, named)


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What one history leads to: the decisions, and what was computed for them."""

    intents: Rows
    prepared: pd.DataFrame | None

    @classmethod
    def of(cls, strategy: Any, bars: Bars, prepare: Callable[[Bars], Any] | None, settings: Settings) -> "_Outcome":
        made = bars if prepare is None else prepare(bars)
        run_on = made if isinstance(made, Bars) else bars
        run = BarRun(_strategy(strategy, bars), run_on.instruments, settings)
        run.feed(run_on.rows)
        return cls(run.rows("intents"), None if prepare is None else _frame(made, bars))

    def differs(self, shorter: "_Outcome", known: Bars) -> Finding | None:
        """Return the first thing in which the shorter history differs from the same span of this one."""
        until = _instant(known.rows["ts_close"][-1])
        if self.prepared is not None and shorter.prepared is not None:
            before, after = self.prepared.iloc[: len(known)], shorter.prepared
            if list(before.columns) != list(after.columns):
                return Finding(until, until, f"prepared columns are {list(after.columns)}, not {list(before.columns)}")
            same = ((before == after) | (before.isna() & after.isna())).to_numpy()
            if not same.all():
                row, column = (int(x) for x in np.argwhere(~same)[0])
                a, b = after.iat[row, column], before.iat[row, column]
                what = f"prepared {before.columns[column]!r} was {a} and became {b} when more was known"
                return Finding(until, _instant(known.rows["ts_close"][row]), what)
        mine = self.intents[self.intents["seq"] <= len(known)]
        if mine.tobytes() == shorter.intents.tobytes():
            return None
        n = min(len(mine), len(shorter.intents))
        unequal = np.flatnonzero(mine[:n] != shorter.intents[:n])
        k = int(unequal[0]) if len(unequal) else n
        there = mine if k < len(mine) else shorter.intents
        row = int(there["seq"][k]) - 1
        a, b = (_told(rows, k) for rows in (shorter.intents, mine))
        return Finding(until, _instant(known.rows["ts_close"][row]), f"decided {a}, but {b} when more was known")


def _decided(strategy: Strategy, bars: Bars, settings: Settings) -> list[Any]:
    """Return, for each instant, the targets in force and the terms of every other intent."""
    run = BarRun(strategy, bars.instruments, settings)
    run.feed(bars.rows)
    intents = run.rows("intents")
    ends = _ends(bars.rows)
    at = np.searchsorted(ends, intents["seq"])
    targets = [0] * len(bars.instruments)
    others = ("instrument", "action", "side", "type", "tif", "flags", "px_ticks", "trigger_ticks", "qty_lots")
    out = list[Any]()
    k = 0
    for instant in range(len(ends)):
        terms = list[Any]()
        while k < len(intents) and at[k] <= instant:
            row = intents[k]
            if row["action"] == _TARGET:
                targets[row["instrument"]] = int(row["qty_lots"])
            else:
                terms.append(tuple(row[name].item() for name in others))
            k += 1
        out.append((*targets, *terms))
    return out


def _strategy(strategy: Any, bars: Bars) -> Strategy:
    made = strategy if isinstance(strategy, Strategy) else strategy() if isinstance(strategy, type) else strategy(bars)
    if not isinstance(made, Strategy):
        raise InputError(f"a function given as strategy has to return one, it returned a {type(made).__name__}")
    return made


def _frame(made: Any, bars: Bars) -> pd.DataFrame:
    if isinstance(made, Bars):
        columns = ("open", "high", "low", "close", "volume", "trades")
        made = pd.DataFrame({name: made.rows[name] for name in columns})
    frame = made.to_frame() if isinstance(made, pd.Series) else pd.DataFrame(made)
    if len(frame) != len(bars):
        raise InputError(f"prepare has to return one row a bar: it returned {len(frame):,} for {len(bars):,} bars")
    return frame.reset_index(drop=True)


def _bars(data: Any) -> Bars:
    bars = data if isinstance(data, Bars) else Bars.from_frame(data, "ASSET")
    if len(bars) == 0:
        raise DataError("there are no bars to check with")
    return bars


def _settings(given: dict[str, Any]) -> Settings:
    for name in given:
        if name not in Settings.__dataclass_fields__:
            raise UnknownName("setting", name, Settings.__dataclass_fields__)
    return Settings(**given)


def _ends(rows: Rows) -> Any:
    """Return the row after the last of each instant."""
    close = rows["ts_close"]
    return np.flatnonzero(np.append(close[1:] != close[:-1], True)) + 1


def _told(rows: Rows, k: int) -> str:
    if k >= len(rows):
        return "nothing"
    row = rows[k]
    if row["action"] == _TARGET:
        return f"a target of {row['qty_lots'] / 1e9:g}"
    return f"{Action(int(row['action'])).name} {row['side'] * row['qty_lots']:+d} lots at {row['px_ticks']} ticks"


def _instant(ns: Any) -> Any:
    return pd.Timestamp(int(ns), tz="UTC")

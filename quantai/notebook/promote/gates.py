"""The gates: what a strategy has to pass before it may be served. Each says pass, warn or fail, and why."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from quantai.backtest import Result, Sweep, check_lookahead, check_warmup, sweep, verdict
from quantai.backtest.validate.overfitting import Sample, probabilistic_sharpe
from quantai.core.errors import InputError, QuantaiError
from quantai.data.bars import Bars
from quantai.data.tape import Tape
from quantai.execution.limits import Limits
from quantai.notebook.promote.candidate import Candidate
from quantai.notebook.promote.golden import Golden, first_difference
from quantai.notebook.promote.source import load_class
from quantai.strategy import Strategy

Outcome = Literal["pass", "warn", "fail"]
OnStep = Callable[[str], None]
"""Called with what is done next, in words."""

ALWAYS = ("compiles", "deterministic", "parity")
"""Gates without an override: a service would refuse what fails them."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What one gate says."""

    name: str
    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What the gates hold a strategy to; drawdowns are fractions of the peak.

    `least_trades` are round trips on bars and fills on ticks. `checks` is how many of the three checks of a verdict
    must be good to pass; one less is a warning.
    """

    max_drawdown: float = 0.5
    warn_drawdown: float = 0.3
    least_trades: int = 30
    checks: int = 3

    def __post_init__(self) -> None:
        for name in ("max_drawdown", "warn_drawdown"):
            if not getattr(self, name) >= 0.0:  # NaN is not: every loss would pass
                raise InputError(f"{name} is a fraction of the peak, such as 0.5, got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class Trial:
    """What the gates look at: the candidate, its source as it will be stored, and what it must meet."""

    candidate: Candidate
    source: Path
    thresholds: Thresholds
    warmup: int | None = None
    limits: Limits | None = None
    benchmark: Any = None


def compiles(trial: Trial) -> tuple[Outcome, str]:
    """Say whether the stored text, alone, gives a strategy that compiles, and the one that was tried."""
    theirs = _stored(trial)
    if theirs.source_hash() != type(trial.candidate.strategy).source_hash():
        return "fail", (
            "its source gives another strategy when it is read again: a default or a field is computed when the class "
            "is defined; write the value down"
        )
    theirs(**trial.candidate.strategy.params)
    return "pass", "its source stands alone and compiles"


def deterministic(trial: Trial, golden: Golden) -> tuple[Outcome, str]:
    """Say whether it asks for the same bytes when it is run again and made again."""
    c = trial.candidate
    if c.make is not None:
        again = c.make(c.data)
        if again.params != c.strategy.params:
            return "fail", f"made twice from the same data it has other parameters: {c.strategy.params}, {again.params}"
    if c.prepare is not None:
        difference = _prepared_differ(c.prepare(c.data), c.prepare(c.data))  # type: ignore[arg-type]
        if difference:
            return "fail", f"prepare, called twice on the same bars, returns different ones{difference}"
    if found := golden.differences(c.strategy):
        return "fail", f"run again it decides differently: {found[0]}"
    return "pass", f"{len(golden.intents):,} intents, the same bytes each time"


def lookahead(trial: Trial) -> tuple[Outcome, str]:
    """Say whether the future reaches a decision."""
    c = trial.candidate
    if isinstance(c.data, Tape):
        if c.make is not None and (made := c.make(_head(c.data))).params != c.strategy.params:
            return "fail", f"made from the first half of the tape it has other parameters: {made.params}"
        return "pass", "ticks are seen one by one (see parity)"
    settings = c.result.settings.as_dict()  # type: ignore[union-attr]
    if c.make is None and c.prepare is None:
        found = check_lookahead(c.strategy, c.data, **settings)
    else:
        found = check_lookahead(c.make or c.strategy, c.data, prepare=c.prepare, **settings)
    if not found:
        return "fail", f"the future changes the past: {found.findings[0]}"
    return "pass", repr(found)


def warmup(trial: Trial) -> tuple[Outcome, str]:
    """Say whether decisions forget where the data began, within the warm-up a service gives it."""
    c = trial.candidate
    if not isinstance(c.result, Result):
        return "warn", "warm-up is not tested on ticks"
    try:
        found = check_warmup(c.strategy, c.result.bars, warmup=trial.warmup, **c.result.settings.as_dict())
    except InputError as error:
        return "fail", str(error)
    return ("pass" if found else "fail"), repr(found)


def parity(trial: Trial, golden: Golden) -> tuple[Outcome, str]:
    """Say whether sweep, replay, row by row and the trade loop decide the same on the golden rows."""
    c = trial.candidate
    if isinstance(c.result, Result) and c.result.bars.fingerprint != c.data.fingerprint:  # type: ignore[union-attr]
        return "fail", "prepare changes the bars, and a service sees them as they come: put it into the handlers"
    stepped = golden.run(c.strategy, by_row=True)
    if stepped.tobytes() != golden.intents.tobytes():
        return "fail", f"row by row it decides differently: {first_difference(golden.intents, stepped)}"
    data: Bars | Tape = (
        Bars(golden.rows, golden.instruments, golden.interval)
        if golden.on_bars
        else Tape.from_events(golden.rows, golden.instruments)
    )
    how: dict[str, Any] = golden.settings if golden.on_bars else {"venue": golden.venue}
    swept = sweep(type(c.strategy), data, variants=[c.strategy.params], **how)
    if swept.run(0).intents.tobytes() != golden.intents.tobytes():
        return "fail", f"a sweep decides differently: {first_difference(golden.intents, swept.run(0).intents)}"
    plain = golden.run(c.strategy.python(), rows=300)
    compiled = golden.run(c.strategy, rows=300)
    if plain.tobytes() != compiled.tobytes():
        return "fail", f"uncompiled it decides differently: {first_difference(compiled, plain)}"
    rows = f"sweep, replay and row by row are the same bytes on {len(golden.rows):,} golden rows"
    if golden.targets(golden.intents) != golden.targets(golden.loop_intents):
        return "warn", f"{rows}; the trade loop aims differently, because fills reach it differently"
    return "pass", f"{rows}; so are the aims of the trade loop" if golden.targets(golden.intents) else rows


def costs(trial: Trial) -> tuple[Outcome, str]:
    """Say whether costs are counted, and whether there is a profit after them."""
    c = trial.candidate
    currency = c.instruments[0].settle
    shown = ", ".join(f"{name} {bps:g} bp" for name, bps in c.costs.items())
    if not any(bps > 0 for bps in c.costs.values()):
        return "fail", (
            f"no costs are counted: {c.profit:+,.2f} {currency} without, {c.charged(5.0):+,.2f} at 5 bp a fill; "
            "backtest with fee_bps"
        )
    if c.profit <= 0:
        return "fail", f"no profit after costs ({shown}): {c.profit:+,.2f} {currency}"
    more = sum(bps for bps in c.costs.values() if bps > 0)
    if (worse := c.charged(more)) <= 0:
        return "warn", f"profit {c.profit:+,.2f} {currency} after costs ({shown}), {worse:+,.2f} at twice those"
    return "pass", f"profit {c.profit:+,.2f} {currency} after costs ({shown}), {worse:+,.2f} at twice those"


def trades(trial: Trial) -> tuple[Outcome, str]:
    """Say whether it traded often enough to say anything."""
    result, least = trial.candidate.result, trial.thresholds.least_trades
    n, what = (len(result.trades), "round trips") if isinstance(result, Result) else (len(result.fill_rows), "fills")
    if n < least:
        return "fail", f"{n:,} {what} are too few to say anything: at least {least:,} are wanted"
    return "pass", f"{n:,} {what}"


def drawdown(trial: Trial) -> tuple[Outcome, str]:
    """Say whether the worst loss from a peak was within bounds."""
    equity = trial.candidate.result.equity_rows["equity"]
    peak = np.maximum.accumulate(equity) if len(equity) else equity
    worst = float(np.max(1.0 - equity / peak)) if len(equity) else 0.0
    t = trial.thresholds
    said = f"worst drawdown {worst:.1%}, at most {t.max_drawdown:.0%} is allowed"
    return ("fail" if worst > t.max_drawdown else "warn" if worst > t.warn_drawdown else "pass"), said


def validation(trial: Trial) -> tuple[Outcome, str]:
    """Say whether it is more than luck, given how many were tried."""
    c = trial.candidate
    if isinstance(c.sweep, Sweep):
        found = verdict(c.sweep, trial.benchmark)
        good, wanted = sum(found.checks.values()), trial.thresholds.checks
        bad = ", ".join(name for name, ok in found.checks.items() if not ok)
        said = (
            f"{good} of 3 checks are good over {found.variants:,} variants: "
            f"deflated Sharpe ratio {found.deflated:.1%}, probability of overfitting "
            f"{found.overfitting.probability:.0%}, p against {found.snooping.benchmark} "
            f"{found.snooping.spa:.3f}" + (f"; not good: {bad}" if bad else "")
        )
        return ("pass" if good >= wanted else "warn" if good == wanted - 1 else "fail"), said
    equity: Any = c.result.equity["equity"]
    every = "1D" if c.on_bars and equity.index[-1] - equity.index[0] > pd.Timedelta("60D") else "1min"
    returns = equity.resample(every).last().dropna().pct_change().dropna().to_numpy(np.float64)
    if len(returns) < 10 or float(returns.std()) == 0.0:
        return "warn", "too short to judge; without a sweep nobody knows how many were tried"
    skill = float(probabilistic_sharpe(Sample.of(returns)))
    said = f"a Sharpe ratio above zero with {skill:.1%}; without a sweep nobody knows how many were tried"
    return ("fail" if skill < 0.5 else "warn"), said


def limits(trial: Trial) -> tuple[Outcome, str]:
    """Say whether there are limits of risk."""
    if trial.limits is None:
        return "warn", "no limits of risk: this version can be served in shadow and on paper only"
    return "pass", f"max leverage {trial.limits.max_leverage}, max drawdown {trial.limits.max_drawdown:.0%}"


_ON_GOLDEN: dict[str, Callable[[Trial, Golden], tuple[Outcome, str]]] = {
    "deterministic": deterministic,
    "parity": parity,
}
_REST: dict[str, Callable[[Trial], tuple[Outcome, str]]] = {
    "lookahead": lookahead, "warmup": warmup, "costs": costs, "trades": trades, "drawdown": drawdown,
    "validation": validation, "limits": limits,
}  # fmt: skip
NAMES = ("compiles", *_ON_GOLDEN, *_REST)
"""Every gate, in the order in which they are run."""


def run_gates(trial: Trial, on_step: OnStep = lambda what: None) -> tuple[list[Gate], Golden | None]:
    """Run all gates; returns what each says, and the golden rows unless it does not compile."""

    def ask(name: str, gate: Callable[..., tuple[Outcome, str]], *given: Any) -> Gate:
        on_step(f"gate {NAMES.index(name) + 1} of {len(NAMES)}, {name}")
        return _ask(name, gate, *given)

    found = [ask("compiles", compiles, trial)]
    golden: Golden | None = None
    if found[0].outcome == "pass":
        on_step("running it on its golden rows")
        try:
            golden = Golden.of(trial.candidate)
        except QuantaiError as error:
            found[0] = Gate("compiles", "fail", str(error))
    if golden is None:
        return [*found, *(Gate(name, "fail", "not run: it does not compile") for name in NAMES[1:])], None
    found += [ask(name, gate, trial, golden) for name, gate in _ON_GOLDEN.items()]
    return [*found, *(ask(name, gate, trial) for name, gate in _REST.items())], golden


def _ask(name: str, gate: Callable[..., tuple[Outcome, str]], *given: Any) -> Gate:
    try:
        return Gate(name, *gate(*given))
    except QuantaiError as error:
        return Gate(name, "fail", " ".join(str(error).split()))


def _stored(trial: Trial) -> type[Strategy]:
    return load_class(
        trial.source, type(trial.candidate.strategy).__name__, f"promoted_trial_{trial.source.parent.name}"
    )


def _head(tape: Tape) -> Tape:
    return Tape.from_events(tape.rows[: len(tape) // 2].copy(), tape.instruments)


def _prepared_differ(one: Any, two: Any) -> str:
    one, two = (x.df() if isinstance(x, Bars) else pd.DataFrame(x) for x in (one, two))
    return "" if one.equals(two) else f" ({len(one):,} rows)"

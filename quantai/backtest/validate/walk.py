"""Walk-forward: parameters chosen on one span of time, traded on the next, and again, as one would have done."""

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quantai.backtest.asked import class_of, whole_number
from quantai.backtest.bar_run import BarRun
from quantai.backtest.settings import Settings
from quantai.backtest.sweep import Sweep, sweep
from quantai.backtest.validate.given import bars_of
from quantai.backtest.validate.splits import walk_forward_splits
from quantai.core.errors import DataError, InputError
from quantai.report import drawdown as dd
from quantai.report import returns as rt
from quantai.report.periods import periods_per_year
from quantai.strategy import Strategy

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False)
class WalkForward:
    """What trading the choices out of sample gave."""

    strategy: type[Strategy]
    folds: pd.DataFrame
    """One row a fold: its spans, the parameters chosen, the statistic in sample and out of sample, the return."""
    equity: pd.DataFrame
    """The account over all tests, joined: equity and exposure after each bar, indexed by its close."""
    cash: float
    by: str
    asked: int
    """Folds that were to be walked; more than there are when Ctrl-C ended it early."""

    @property
    def stats(self) -> dict[str, float]:
        """Statistics of the joined curve, from the starting cash; names and units as in `Result.stats`."""
        ts = self.equity.index.as_unit("ns").asi8  # type: ignore[attr-defined]
        curve = np.concatenate([[self.cash], self.equity["equity"].to_numpy()])
        return _statistics(curve, periods_per_year(ts))

    @property
    def efficiency(self) -> float:
        """What is left of the statistic out of sample: its mean over the folds there / its mean in sample."""
        inside, outside = (float(np.nanmean(self.folds[name])) for name in ("in_sample", "out_of_sample"))
        return outside / inside if inside > 0 else float("nan")

    def plot(self, title: str | None = None) -> "go.Figure":
        """Return a figure of the joined curve."""
        from quantai.report.plots import equity_figure

        return equity_figure(self.equity, title=title or f"{self.strategy.__name__}, walk-forward")

    def __repr__(self) -> str:
        s = self.stats
        early = f", stopped after {len(self.folds)} of {self.asked}" if len(self.folds) < self.asked else ""
        return (
            f"WalkForward({self.strategy.__name__}: {len(self.folds)} folds{early}, return {s['total_return']:+.2%}, "
            f"Sharpe {s['sharpe']:.2f}, max drawdown {s['max_drawdown']:.2%}; "
            f"mean {self.by} in sample {self.folds['in_sample'].mean():.2f}, "
            f"out of sample {self.folds['out_of_sample'].mean():.2f})"
        )


def walk_forward(
    strategy: type[Strategy],
    data: Any,
    *,
    train: int | str | dt.timedelta,
    test: int | str | dt.timedelta,
    anchored: bool = False,
    gap: int = 0,
    by: str = "sharpe",
    **given: Any,
) -> WalkForward:
    """Choose parameters on `train`, trade them on the `test` that follows, move on by `test`, and join the tests.

    `train` and `test` are instants of bars (an int), or a length of time ("365D", "6h", a timedelta) turned into
    instants by the spacing of the bars. `anchored` trains on everything so far instead of a moving window; `gap` leaves
    instants out between the two. The other keywords are those of `sweep`: values of parameters, an engine, settings.

    A test is traded as it would have been: the strategy has run over its training span and holds what it holds there,
    with its indicators warm. What the hand-over from one choice to the next trades is charged at the taker fee and
    slippage on the change of exposure. A span in which no variant traded is followed by one in cash. Ctrl-C stops early
    and keeps the folds that were finished.

    >>> import quantai as qa
    >>> from quantai.strategy.examples import Cross
    >>> w = qa.walk_forward(Cross, qa.synth.bars(2000, seed=1), train=800, test=400, fast=(3, 5), slow=(20, 40))
    >>> len(w.folds), len(w.equity)
    (3, 1200)

    Raises the errors of `sweep`, and InputError where the spans do not fit the bars.
    """
    strategy = class_of(strategy)
    bars = bars_of(data, "to walk over")
    gap = whole_number("gap", gap, 0)
    close = bars.rows["ts_close"]
    ends = np.flatnonzero(np.append(close[1:] != close[:-1], True)) + 1  # rows after each instant
    starts = np.concatenate([[0], ends[:-1]])
    settings = Settings(**{n: v for n, v in given.items() if n in Settings.__dataclass_fields__})
    cost_rate = (settings.fee_bps + settings.slip_bps) / 1e4
    spans = [_instants(span, name, close[ends - 1]) for name, span in (("train", train), ("test", test))]
    folds, parts = list[dict[str, Any]](), list[pd.DataFrame]()
    worth, held = settings.cash, 0.0
    splits = list(walk_forward_splits(len(ends), *spans, anchored=anchored, gap=gap))
    for learn, trade in splits:
        first, split, stop = int(starts[learn[0]]), int(ends[learn[-1]]), int(ends[trade[-1]])
        try:
            swept = sweep(strategy, bars[first:split], by=by, **given)
        except KeyboardInterrupt:
            break
        if swept.interrupted:
            break  # a choice among the variants that were done when Ctrl-C came is not the choice
        row = _chosen(swept, by)
        index = pd.DatetimeIndex(close[ends[trade] - 1].astype("datetime64[ns]"), tz="UTC", name="ts")
        if row is None:
            gross, exposure = np.ones(len(trade)), np.zeros(len(trade) + 1)
        else:
            run = BarRun(strategy(**swept.params(row)), bars.instruments, settings)
            run.feed(bars.rows[first:stop])
            rows = run.rows("equity")[-len(trade) - 1 :]
            gross = rows["equity"][1:] / rows["equity"][0] if rows["equity"][0] > 0 else np.zeros(len(trade))
            with np.errstate(divide="ignore", invalid="ignore"):
                exposure = np.where(rows["equity"] > 0, rows["exposure"] / rows["equity"], 0.0)
        worth_at = worth * (1.0 - abs(exposure[0] - held) * cost_rate)
        curve = worth_at * gross
        parts.append(pd.DataFrame({"equity": curve, "exposure": exposure[1:]}, index=index))
        outside = _statistics(np.concatenate([[worth], curve]), periods_per_year(close[ends[trade] - 1]))
        folds.append(
            {
                "train_from": _at(close[ends[learn[0]] - 1]),
                "train_until": _at(close[ends[learn[-1]] - 1]),
                "test_from": index[0],
                "test_until": index[-1],
            }
            | (dict.fromkeys(swept.names) if row is None else swept.params(row))
            | {
                "in_sample": float("nan") if row is None else float(swept.table[by].iloc[row]),
                "out_of_sample": outside.get(by, float("nan")),
                "total_return": float(curve[-1] / worth - 1.0) if worth > 0 else float("nan"),
            }
        )
        worth, held = float(curve[-1]), float(exposure[-1])
    if not folds:
        raise KeyboardInterrupt
    return WalkForward(strategy, pd.DataFrame(folds), pd.concat(parts), settings.cash, by, len(splits))


def _chosen(swept: Sweep, by: str) -> int | None:
    try:
        return swept.best_row(by)
    except DataError:
        return None


def _statistics(curve: rt.Floats, per_year: float) -> dict[str, float]:
    returns = rt.simple_returns(curve)
    annual, deepest = rt.annual_return(curve, per_year), dd.max_drawdown(curve)
    return {
        "total_return": rt.total_return(curve),
        "annual_return": annual,
        "annual_volatility": rt.volatility(returns, per_year),
        "sharpe": rt.sharpe(returns, per_year),
        "sortino": rt.sortino(returns, per_year),
        "calmar": dd.calmar(annual, deepest),
        "max_drawdown": deepest,
    }


def _instants(span: Any, name: str, ts: Any) -> int:
    if isinstance(span, int | np.integer) and not isinstance(span, bool | np.timedelta64):
        return int(span)
    wrong = InputError(f"{name} is a whole number of instants or a length of time like '365D', got {span!r}")
    if not isinstance(span, str | dt.timedelta | np.timedelta64):
        raise wrong
    try:
        length = pd.Timedelta(span).value
    except ValueError:
        raise wrong from None
    if not length > 0:
        raise wrong
    if len(ts) < 2:
        raise InputError("one instant is too little to walk over")
    # by the calendar the bars have, weekends and closed hours included
    spacing = (int(ts[-1]) - int(ts[0])) / (len(ts) - 1)
    return max(1, round(length / spacing))


def _at(ns: Any) -> Any:
    return pd.Timestamp(int(ns), tz="UTC")

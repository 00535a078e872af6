"""Sweep: one strategy under many parameters, each variant run by the same compiled handlers, in parallel."""

import itertools
import os
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quantai.backtest.bar_run import BarRun, backtest, bar_kernel
from quantai.backtest.result import Result
from quantai.backtest.settings import Settings
from quantai.core.errors import DataError, InputError, UnknownName
from quantai.data.bars import Bars
from quantai.ops import progress
from quantai.report.periods import periods_per_year
from quantai.report.running import finish
from quantai.strategy import Strategy
from quantai.strategy.base import fields_of

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False)
class Sweep:
    """The statistics of every variant; the runs themselves are made again, exactly, when asked for."""

    strategy: type[Strategy]
    bars: Bars
    settings: Settings
    names: tuple[str, ...]
    table: pd.DataFrame
    seconds: float

    def frame(self) -> pd.DataFrame:
        """Return one row a variant: its parameters, then its statistics (units as in `Result.stats`)."""
        return self.table.copy()

    def best(self, by: str = "sharpe") -> Result:
        """Return the Result of the variant with the highest `by`; raises UnknownName, or DataError when all are NaN."""
        scores = self._column(by).to_numpy("f8")
        if np.isnan(scores).all():
            raise DataError(f"no variant has a {by}: none of them traded")
        return self.run(int(np.nanargmax(scores)))

    def run(self, variant: int) -> Result:
        """Return the full Result of one variant, by its row in the frame."""
        row = self.table.iloc[variant]
        strategy = self.strategy(**{n: row[n] for n in self.names})
        return backtest(strategy, self.bars, **self.settings.as_dict())

    def heatmap(self, value: str = "sharpe", x: str | None = None, y: str | None = None) -> "go.Figure":
        """Return a heat map of a statistic over two parameters (the first two that vary); others are averaged."""
        from quantai.report.heatmap import heatmap

        self._column(value)
        varying = [n for n in self.names if self.table[n].nunique() > 1]
        if (x is None or y is None) and len(varying) < 2:
            raise InputError(
                f"a heat map needs two parameters that vary, this sweep has {len(varying)}: plot frame() instead"
            )
        return heatmap(self.table, x or varying[0], y or varying[1], value)

    def _column(self, name: str) -> Any:
        if name not in self.table.columns:
            raise UnknownName("statistic", name, self.table.columns)
        return self.table[name]

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        rate = len(self.table) * len(self.bars) / max(self.seconds, 1e-9)
        return (
            f"Sweep({self.strategy.__name__}: {len(self):,} variants x {len(self.bars):,} bars "
            f"in {self.seconds:.2f} s, {rate / 1e6:,.1f} M bars/s)"
        )


def sweep(strategy: type[Strategy], data: Any, *, threads: int | None = None, **given: Any) -> Sweep:
    """Run every combination of the parameter values given and return their statistics.

    Keywords that are parameters of the strategy take one value or an iterable of values; the others are `Settings`
    (fee_bps, cash, …). Nothing is kept of a variant but its statistics. Ctrl-C stops early and keeps the variants that
    were finished.

    >>> import quantai as qa
    >>> from quantai.strategy.examples import Cross
    >>> s = qa.sweep(Cross, qa.synth.bars(500, seed=1), fast=range(5, 8), slow=(20, 30), fee_bps=1.0)
    >>> len(s), s.best("total_return").strategy.params["slow"] in (20, 30)
    (6, True)
    """
    fields = fields_of(strategy)
    grid = {n: v for n, v in given.items() if n in fields.params}
    rest = {n: v for n, v in given.items() if n not in fields.params}
    for name in rest:
        if name not in Settings.__dataclass_fields__:
            raise UnknownName(
                f"parameter of {strategy.__name__} or setting", name, [*fields.params, *Settings.__dataclass_fields__]
            )
    settings = Settings(**rest)
    bars = data if isinstance(data, Bars) else Bars.from_frame(data, "ASSET")
    if len(bars) == 0:
        raise DataError("there are no bars to sweep over")
    variants = [fields.values(strategy.__name__, v) for v in _combinations(grid)]
    if not variants:
        raise InputError("an empty grid: give each parameter at least one value")
    capacities = fields.capacities(variants)
    per_year = periods_per_year(bars.rows["ts_close"])
    kernel = bar_kernel(strategy, fields.dtype(capacities))
    started = time.perf_counter()
    done: dict[int, dict[str, Any]] = {}

    def one(k: int) -> None:
        run = BarRun(
            strategy(**variants[k]), bars.instruments, settings, log=False, capacities=capacities, kernel=kernel
        )
        run.feed(bars.rows)
        stats = finish(run.stats[0], per_year)._asdict()
        fees = float(run.world.positions["fees"].sum())
        done[k] = stats | {"fills": int(run.progress["fills"][0]), "fees": fees}

    one(0)  # compiles once, before the threads start
    with (
        ThreadPoolExecutor(threads or os.cpu_count()) as pool,
        progress(f"sweep {strategy.__name__}", len(variants), unit="variants") as advance,
    ):
        jobs = [pool.submit(one, k) for k in range(1, len(variants))]
        try:
            advance(1)
            for job in jobs:
                job.result()
                advance(1)
        except KeyboardInterrupt:
            for job in jobs:
                job.cancel()
    kept = sorted(done)
    rows = [variants[k] | {n: v for n, v in done[k].items() if n != "bars"} for k in kept]
    return Sweep(strategy, bars, settings, tuple(fields.params), pd.DataFrame(rows), time.perf_counter() - started)


def _combinations(grid: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    axes = {n: (list(v) if isinstance(v, Iterable) and not isinstance(v, str) else [v]) for n, v in grid.items()}
    names = list(axes)
    return (dict(zip(names, values, strict=True)) for values in itertools.product(*axes.values()))

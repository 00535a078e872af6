"""Sweep: one strategy under many parameters, each variant run by the same compiled handlers, in parallel."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quantai.backtest.bar_run import BarRun, backtest
from quantai.backtest.result import Result
from quantai.backtest.search import Params, Study, axes, grid_of, sample_of
from quantai.backtest.settings import Settings
from quantai.backtest.variants import Variants
from quantai.core.errors import DataError, InputError, UnknownName
from quantai.data.bars import Bars
from quantai.ops import progress
from quantai.strategy import Strategy
from quantai.strategy.base import fields_of

if TYPE_CHECKING:
    import plotly.graph_objects as go

ENGINES = ("grid", "random", "optuna")
MOST_BYTES = 512 * 2**20
"""The largest table of returns that `Sweep.returns` builds."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """The statistics of every variant; the runs themselves are made again, exactly, when asked for."""

    strategy: type[Strategy]
    bars: Bars
    settings: Settings
    names: tuple[str, ...]
    table: pd.DataFrame
    seconds: float
    asked: int
    """Variants that were to be run; more than there are rows when Ctrl-C ended it early."""

    def frame(self) -> pd.DataFrame:
        """Return one row a variant: its parameters, then its statistics (units as in `Result.stats`)."""
        return self.table.copy()

    def best(self, by: str = "sharpe") -> Result:
        """Return the Result of the variant with the highest `by`; raises UnknownName, or DataError when all are NaN."""
        return self.run(self.best_row(by))

    def best_row(self, by: str = "sharpe") -> int:
        """Return the row of the variant with the highest `by`; the errors of `best`."""
        scores = self._column(by).to_numpy("f8")
        if np.isnan(scores).all():
            raise DataError(f"no variant has a {by}: none of them traded")
        return int(np.nanargmax(scores))

    def params(self, variant: int) -> Params:
        """Return the parameters of one variant, by its row in the frame."""
        return {n: self.table[n].iloc[variant].item() for n in self.names}

    def run(self, variant: int) -> Result:
        """Return the full Result of one variant, by its row in the frame."""
        return backtest(self.strategy(**self.params(variant)), self.bars, **self.settings.as_dict())

    def returns(self, variants: Iterable[int] | None = None, every: str | None = None) -> pd.DataFrame:
        """Return the simple returns of variants (all of them when None), one column a variant by its row.

        A row is a bar, named by its close, or with `every` ("1D", "1h", …) the span of time that ends there: the
        account at the last bar of the span over that of the span before. The first row is the change from the starting
        cash. Each variant is run again; nothing but these columns is kept. Raises InputError above 512 MB.
        """
        which = list(range(len(self)) if variants is None else variants)
        close = self.bars.rows["ts_close"]
        last = np.flatnonzero(np.append(close[1:] != close[:-1], True))  # of each instant
        index = pd.DatetimeIndex(close[last].astype("datetime64[ns]"), tz="UTC", name="ts")
        keep = np.arange(len(index))
        if every is not None:
            span = index.floor(every)
            keep = np.flatnonzero(np.append(span[1:] != span[:-1], True))
        if 8 * len(keep) * len(which) > MOST_BYTES:
            raise InputError(
                f"returns of {len(which):,} variants at {len(keep):,} instants would take more than "
                f"{MOST_BYTES // 2**20} MB: choose fewer variants, or a longer span, every='1D'"
            )
        out = np.empty((len(keep), len(which)), order="F")

        def one(column: int) -> None:
            run = BarRun(self.strategy(**self.params(which[column])), self.bars.instruments, self.settings)
            run.feed(self.bars.rows)
            equity = run.rows("equity")["equity"][keep]
            before = np.concatenate([[self.settings.cash], equity[:-1]])
            out[:, column] = np.divide(equity, before, out=np.ones(len(equity)), where=before > 0) - 1.0

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(one, range(len(which))))
        return pd.DataFrame(out, index=index[keep], columns=pd.Index(which, name="variant"))

    def heatmap(self, value: str = "sharpe", x: str | None = None, y: str | None = None) -> "go.Figure":
        """Return a heat map of a statistic over two parameters (the first two that vary); others are averaged."""
        from quantai.report.heatmap import heatmap

        self._column(value)
        varying = [n for n in self.names if len(set(self.table[n].tolist())) > 1]
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
        rate = len(self) * len(self.bars) / max(self.seconds, 1e-9)
        early = f", stopped after {len(self):,} of {self.asked:,}" if len(self) < self.asked else ""
        return (
            f"Sweep({self.strategy.__name__}: {len(self):,} variants x {len(self.bars):,} bars "
            f"in {self.seconds:.2f} s, {rate / 1e6:,.1f} M bars/s{early})"
        )


def sweep(
    strategy: type[Strategy],
    data: Any,
    *,
    variants: Sequence[Params] | None = None,
    engine: str = "grid",
    n: int = 100,
    seed: int = 0,
    by: str = "sharpe",
    threads: int | None = None,
    **given: Any,
) -> Sweep:
    """Run a strategy under many parameter values and return the statistics of each variant.

    Keywords that are parameters of the strategy take one value or an iterable of values; the others are `Settings`
    (fee_bps, cash, …). `engine` says which combinations are tried: "grid" all of them, "random" `n` different ones
    drawn with `seed`, "optuna" `n` that Optuna suggests to make the statistic `by` large (extra `research`). Or name
    them, `variants=[{"fast": 5}, …]`, which is also how a parameter called like one of these keywords is given. Nothing
    is kept of a variant but its statistics. Ctrl-C stops early and keeps the variants that were finished.

    >>> import quantai as qa
    >>> from quantai.strategy.examples import Cross
    >>> s = qa.sweep(Cross, qa.synth.bars(500, seed=1), fast=range(5, 8), slow=(20, 30), fee_bps=1.0)
    >>> len(s), s.best("total_return").strategy.params["slow"] in (20, 30)
    (6, True)

    Raises InputError, UnknownName, DataError or StrategyError with one line that says what to change.
    """
    fields = fields_of(strategy)
    grid = {name: v for name, v in given.items() if name in fields.params}
    rest = {name: v for name, v in given.items() if name not in fields.params}
    for name in rest:
        if name not in Settings.__dataclass_fields__:
            known = [*fields.params, *Settings.__dataclass_fields__]
            raise UnknownName(f"parameter of {strategy.__name__} or setting", name, known)
    if engine not in ENGINES:
        raise UnknownName("engine", engine, ENGINES)
    if n < 1:
        raise InputError(f"n is how many variants to try, at least 1, got {n}")
    bars = data if isinstance(data, Bars) else Bars.from_frame(data, "ASSET")
    if len(bars) == 0:
        raise DataError("there are no bars to sweep over")
    if variants is not None and (grid or engine != "grid"):
        raise InputError("variants are the whole list: give neither an engine nor values of parameters beside them")
    values = axes(grid)
    # each value once on its own is enough to know how much history indicators need
    reach = [{name: v} for name, axis in values.items() for v in axis] if variants is None else list(variants)
    runs = Variants(strategy, bars, Settings(**rest), reach, threads or os.cpu_count() or 1)
    started = time.perf_counter()
    if variants is None and engine == "optuna":
        columns = _searched(runs, values, n, seed, by)
    else:
        if variants is None:
            variants = sample_of(values, n, seed) if engine == "random" else grid_of(values)
        if not variants:
            raise InputError("no variants: give at least one")
        n = len(variants)
        with progress(f"sweep {strategy.__name__}", n, unit="variants") as advance:
            columns = runs.run(variants, advance)
    if runs.interrupted and not len(columns):
        raise KeyboardInterrupt
    seconds = time.perf_counter() - started
    return Sweep(strategy, bars, runs.settings, tuple(fields.params), columns, seconds, n)


def _searched(runs: Variants, values: Mapping[str, Sequence[Any]], n: int, seed: int, by: str) -> pd.DataFrame:
    """Ask Optuna for batches of variants and tell it what they scored; one it suggests again is not run again."""
    study = Study(values, seed)
    names, seen = list(values), dict[tuple[Any, ...], float]()
    parts = list[pd.DataFrame]()
    with progress(f"search {runs.strategy.__name__}", n, unit="variants") as advance:
        for start in range(0, n, BATCH):
            asked = study.ask(min(BATCH, n - start))
            keys = [tuple(params[name] for name in names) for _, params in asked]
            fresh = [k for k in dict.fromkeys(keys) if k not in seen]
            if fresh:
                table = runs.run([dict(zip(names, k, strict=True)) for k in fresh], lambda _: None)
                if len(table) and by not in table.columns:
                    raise UnknownName("statistic", by, table.columns)
                parts.append(table)
                if runs.interrupted:
                    break
                seen.update(zip(fresh, table[by].tolist(), strict=True))
            for (trial, _), key in zip(asked, keys, strict=True):
                study.tell(trial, seen[key])
            advance(len(asked))
    return pd.concat(parts, ignore_index=True)


BATCH = 16
"""Variants asked of Optuna at a time: enough for the cores, few enough to learn from."""

"""Sweep: one strategy under many parameters, each variant run by the same compiled handlers, in parallel."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import pandas as pd

from quantai.backtest.asked import class_of, variants_of, whole_number
from quantai.backtest.bar_run import BarRun, backtest
from quantai.backtest.replay_sweep import ReplaySweep
from quantai.backtest.result import Result
from quantai.backtest.search import Params, Study, axes, grid_of, sample_of
from quantai.backtest.settings import Settings
from quantai.backtest.swept import Swept
from quantai.backtest.tick_variants import SETTINGS, TickVariants
from quantai.backtest.variants import Variants
from quantai.core.errors import DataError, InputError, UnknownName
from quantai.data.bars import Bars
from quantai.data.tape import Tape
from quantai.ops import progress
from quantai.strategy import Strategy
from quantai.strategy.base import fields_of

ENGINES = ("grid", "random", "optuna")
MOST_BYTES = 512 * 2**20
"""The largest table of returns that `Sweep.returns` builds."""


@dataclass(frozen=True, eq=False)
class Sweep(Swept):
    """A sweep over bars."""

    bars: Bars
    settings: Settings

    def best(self, by: str = "sharpe") -> Result:
        """Return the Result of the variant with the highest `by`; raises UnknownName, or DataError when all are NaN."""
        return self.run(self.best_row(by))

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
        fields = fields_of(self.strategy)
        # one kernel for all of them, whatever their indicators look back on
        capacities = fields.capacities(fields.values(self.strategy.__name__, self.params(k)) for k in which)

        def one(column: int) -> None:
            strategy = self.strategy(**self.params(which[column]))
            run = BarRun(strategy, self.bars.instruments, self.settings, capacities=capacities)
            run.feed(self.bars.rows)
            equity = run.rows("equity")["equity"][keep]
            before = np.concatenate([[self.settings.cash], equity[:-1]])
            out[:, column] = np.divide(equity, before, out=np.ones(len(equity)), where=before > 0) - 1.0

        name = f"returns of {self.strategy.__name__}"
        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            with progress(name, len(which), unit="variants") as advance:
                for job in [pool.submit(one, column) for column in range(len(which))]:
                    job.result()
                    advance(1)
        finally:
            pool.shutdown(cancel_futures=True)  # after Ctrl-C, what has not begun does not
        return pd.DataFrame(out, index=index[keep], columns=pd.Index(which, name="variant"))

    def __repr__(self) -> str:
        return self._rated(len(self.bars), "bars")


# bars may be a frame of any kind, so the two forms overlap as types
@overload
def sweep(  # pyright: ignore[reportOverlappingOverload]
    strategy: type[Strategy], data: Tape, **how: Any
) -> ReplaySweep: ...


@overload
def sweep(strategy: type[Strategy], data: Any, **how: Any) -> Sweep: ...


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
) -> Swept:
    """Run a strategy under many parameter values and return the statistics of each variant.

    `data` are bars, or a Tape of ticks: then all variants share one pass over it, and its books.

    Keywords that are parameters of the strategy take one value or an iterable of values; the others are `Settings`
    (fee_bps, cash, …), and over a tape those of `replay` (venue, cash, max_orders, sample_ns), where a list of venues
    is one more thing that varies. `engine` says which combinations are tried: "grid" all of them, "random" `n`
    different ones drawn with `seed`, "optuna" `n` that Optuna suggests to make the statistic `by` large (extra
    `research`). Or name them, `variants=[{"fast": 5}, …]`, which is also how a parameter called like one of these
    keywords is given. A parameter called like a statistic keeps its default, and is no column of the frame. `threads`
    are as many as there are cores unless given. Nothing is kept of a variant but its statistics. Ctrl-C stops early and
    keeps the variants that were finished.

    >>> import quantai as qa
    >>> from quantai.strategy.examples import Cross
    >>> s = qa.sweep(Cross, qa.synth.bars(500, seed=1), fast=range(5, 8), slow=(20, 30), fee_bps=1.0)
    >>> len(s), s.best("total_return").strategy.params["slow"] in (20, 30)
    (6, True)

    Raises InputError, UnknownName, DataError or StrategyError with one line that says what to change.
    """
    fields = fields_of(class_of(strategy))
    grid = {name: v for name, v in given.items() if name in fields.params}
    rest = {name: v for name, v in given.items() if name not in fields.params}
    settings = SETTINGS if isinstance(data, Tape) else Settings.__dataclass_fields__
    for name in rest:
        if name not in settings:
            raise UnknownName(f"parameter of {strategy.__name__} or setting", name, [*fields.params, *settings])
    if engine not in ENGINES:
        raise UnknownName("engine", engine, ENGINES)
    n, seed = whole_number("n", n, 1), whole_number("seed", seed, 0)
    many = os.cpu_count() or 1 if threads is None else whole_number("threads", threads, 1)
    variants = None if variants is None else variants_of(variants)
    if variants is not None and (grid or engine != "grid"):
        raise InputError("variants are the whole list: give neither an engine nor values of parameters beside them")
    values = axes(grid)
    # each value once on its own is enough to know how much history indicators need
    reach = [{name: v} for name, axis in values.items() for v in axis] if variants is None else variants
    if isinstance(data, Tape):
        runs = TickVariants(strategy, data, rest, reach, many)
        if variants is None and runs.several_venues:
            values["venue"] = list(range(runs.several_venues))
    else:
        bars = data if isinstance(data, Bars) else Bars.from_frame(data, "ASSET")
        if len(bars) == 0:
            raise DataError("there are no bars to sweep over")
        runs = Variants(strategy, bars, Settings(**rest), reach, many)
    if by not in (columns := [*runs.names, *runs.statistics]):
        raise UnknownName("statistic", by, columns)
    started = time.perf_counter()
    if variants is None and engine == "optuna":
        table = _searched(runs, values, n, seed, by)
    else:
        if variants is None:
            variants = sample_of(values, n, seed) if engine == "random" else grid_of(values)
        if not variants:
            raise InputError("no variants: give at least one")
        n = len(variants)
        with progress(f"sweep {strategy.__name__}", n, unit="variants") as advance:
            table = runs.run(variants, advance)
    if runs.interrupted and not len(table):
        raise KeyboardInterrupt
    common = (strategy, tuple(runs.names), table, time.perf_counter() - started, n, runs.interrupted)
    if isinstance(runs, TickVariants):
        return ReplaySweep(*common, runs.tape, runs.venues, runs.settings)
    return Sweep(*common, runs.bars, runs.settings)


def _searched(
    runs: Variants | TickVariants, values: Mapping[str, Sequence[Any]], n: int, seed: int, by: str
) -> pd.DataFrame:
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

"""Variants of one strategy run over the same bars."""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from quantai.backtest.asked import shown
from quantai.backtest.bar_four import FOUR
from quantai.backtest.bar_run import bar_kernel
from quantai.backtest.blocks import Columns, run_blocks
from quantai.backtest.lanes import Lanes, tiles
from quantai.backtest.settings import Settings
from quantai.core.errors import InputError
from quantai.core.rows import BAR, Rows
from quantai.data.bars import Bars
from quantai.ops import progress
from quantai.report.periods import periods_per_year
from quantai.report.running import FINISHED
from quantai.strategy import Strategy
from quantai.strategy.base import fields_of

LANES = 32
"""The most variants that a thread moves along the bars together."""
_COLUMNS = {name: FINISHED[name] for name in FINISHED.names or () if name != "bars"} | {
    "fills": np.dtype("i8"),
    "fees": np.dtype("f8"),
}


class Variants:
    """Everything the variants of a sweep have in common: bars, settings, one kernel, and how much history they need.

    `reach` are parameter sets (defaults filled in) whose indicators need at least as much history as any that is run.
    """

    def __init__(
        self,
        strategy: type[Strategy],
        bars: Bars,
        settings: Settings,
        reach: Sequence[Mapping[str, Any]],
        threads: int,
    ) -> None:
        if len({i.settle for i in bars.instruments}) > 1:
            names = ", ".join(f"{i.symbol} in {i.settle}" for i in bars.instruments)
            raise InputError(f"one account holds one settlement currency: {names}; run them apart")
        self.strategy, self.bars, self.settings, self._threads = strategy, bars, settings, threads
        self.interrupted = False
        self._fields = fields_of(strategy)
        self.statistics = list(_COLUMNS)
        self.names = shown(strategy, self._fields.params, reach, _COLUMNS)
        checked = [self._fields.values(strategy.__name__, v) for v in [*reach, {}]]
        self._dtype = self._fields.dtype(self._fields.capacities(checked))
        self._kernel = bar_kernel(strategy, self._dtype)
        rows = np.ascontiguousarray(bars.rows, BAR).view()
        rows.flags.writeable = False  # numba tells read-only arrays apart: one kind, one compiled kernel
        self._rows, self._tiles = rows, tiles(rows)
        self._per_year = periods_per_year(rows["ts_close"])
        with progress(f"compile {strategy.__name__}, once", quiet=not self._kernel.fresh):
            self._lanes(1).feed(rows, 0, 0)  # before there are threads

    def run(self, variants: Sequence[Mapping[str, Any]], advance: Callable[[float], None]) -> pd.DataFrame:
        """Return parameters and statistics, one row a variant; after Ctrl-C (`interrupted`) only those finished."""
        filled = [self._fields.values(self.strategy.__name__, v) for v in variants]

        def block(lanes: Lanes, first: int, end: int) -> Generator[float, None, Columns]:
            lanes.start()
            self._write(lanes.records[: end - first], filled[first:end])
            for stop in self._tiles:
                lanes.feed(self._rows, stop, end - first)
                yield stop / len(self._rows)
            return lanes.finished(end - first, self._per_year)

        named = [{name: v[name] for name in self.names} for v in filled]
        table, self.interrupted = run_blocks(named, _COLUMNS, self._threads, LANES, self._lanes, block, advance, FOUR)
        return table

    def _lanes(self, size: int) -> Lanes:
        return Lanes(self.bars.instruments, self.settings, self._kernel, self._dtype, size)

    def _write(self, records: Rows, variants: list[dict[str, Any]]) -> None:
        """Write the initial record of each variant."""
        records[:] = self._fields.record(self._dtype, variants[0])[0]
        for name in self._fields.params:
            records[name] = [v[name] for v in variants]
        for name, indicator in self._fields.indicators.items():
            if isinstance(indicator.period, str):
                periods, which = np.unique([indicator.resolve(v) for v in variants], return_inverse=True)
                fresh: Rows = np.zeros(len(periods), self._dtype[name])
                for row, period in zip(fresh, periods.tolist(), strict=True):
                    indicator.initial(row, period)
                records[name] = fresh[which]

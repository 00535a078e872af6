"""Swept: the table of a sweep, one row a variant, with what can be asked of it; the runs are made again when needed."""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quantai.backtest.search import Params
from quantai.core.errors import DataError, InputError, UnknownName
from quantai.strategy import Strategy

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False)
class Swept:
    """The statistics of every variant; the runs themselves are made again, exactly, when asked for."""

    strategy: type[Strategy]
    names: tuple[str, ...]
    table: pd.DataFrame
    seconds: float
    asked: int
    """Variants that were to be run: more than there are rows where Optuna suggested some again, or after Ctrl-C."""
    interrupted: bool
    """Whether Ctrl-C ended it early."""

    def frame(self) -> pd.DataFrame:
        """Return one row a variant: its parameters, then its statistics (units as in `Result.stats`)."""
        return self.table.copy()

    def best(self, by: str = "sharpe") -> Any:
        """Return the result of the variant with the highest `by`; raises UnknownName, or DataError when all are NaN."""
        return self.run(self.best_row(by))

    @abstractmethod
    def run(self, variant: int) -> Any:
        """Return the full result of one variant, by its row in the frame."""

    @abstractmethod
    def returns(self, variants: Iterable[int] | None = None, every: str | None = None) -> pd.DataFrame:
        """Return the simple returns of variants over spans of time, one column a variant by its row."""

    def best_row(self, by: str = "sharpe") -> int:
        """Return the row of the variant with the highest `by`; the errors of `best`."""
        scores = self._column(by).to_numpy("f8")
        if np.isnan(scores).all():
            raise DataError(f"no variant has a {by}: none of them traded")
        return int(np.nanargmax(scores))

    def params(self, variant: int) -> Params:
        """Return the parameters of one variant, by its row in the frame; raises InputError where there is none."""
        row = self.row(variant)
        return {n: self.table[n].iloc[row].item() for n in self.names}

    def row(self, variant: Any) -> int:
        """Return a row of the frame as given; raises InputError where there is none."""
        if isinstance(variant, bool) or not isinstance(variant, int | np.integer) or not 0 <= variant < len(self):
            raise InputError(f"a variant is named by its row in the frame, 0 to {len(self) - 1}; got {variant!r}")
        return int(variant)

    def axes(self) -> list[str]:
        """Return what varies in this sweep, by the names of its columns."""
        return [n for n in self.names if len(set(self.table[n].tolist())) > 1]

    def heatmap(self, value: str = "sharpe", x: str | None = None, y: str | None = None) -> "go.Figure":
        """Return a heat map of a statistic over two parameters (the first two that vary); others are averaged."""
        from quantai.report.heatmap import heatmap

        self._column(value)
        varying = self.axes()
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

    def _rated(self, rows: int, unit: str) -> str:
        rate = len(self) * rows / max(self.seconds, 1e-9)
        early = ""
        if self.interrupted:
            early = f", stopped after {len(self):,} of {self.asked:,}"
        elif len(self) < self.asked:
            early = f", {self.asked:,} suggestions were {len(self):,} different ones"
        return (
            f"Sweep({self.strategy.__name__}: {len(self):,} variants x {rows:,} {unit} "
            f"in {self.seconds:.2f} s, {rate / 1e6:,.1f} M {unit}/s{early})"
        )

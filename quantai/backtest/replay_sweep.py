"""ReplaySweep: the variants of a strategy over one tape."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from quantai.backtest.replay import replay
from quantai.backtest.replay_result import ReplayResult
from quantai.backtest.swept import Swept
from quantai.backtest.tick_run import Venues
from quantai.data.tape import Tape
from quantai.ops import progress


@dataclass(frozen=True, eq=False)
class ReplaySweep(Swept):
    """A sweep over a tape; where venues vary, the column `venue` of the frame is a place in `venues`."""

    tape: Tape
    venues: tuple[Venues | None, ...]
    settings: dict[str, Any]

    def best(self, by: str = "sharpe") -> ReplayResult:
        """Return the ReplayResult of the variant with the highest `by`; the errors of `Swept.best`."""
        return self.run(self.best_row(by))

    def run(self, variant: int) -> ReplayResult:
        """Return the full ReplayResult of one variant, by its row in the frame."""
        return replay(self.strategy(**self.params(variant)), self.tape, self.venue(variant), **self.settings)

    def venue(self, variant: int) -> Venues | None:
        """Return the venue, or venues by name, of one variant."""
        return self.venues[int(self.table["venue"].iloc[self.row(variant)]) if "venue" in self.table.columns else 0]

    def axes(self) -> list[str]:
        """Return what varies in this sweep, by the names of its columns; `venue` is one where there are several."""
        venues: list[int] = self.table["venue"].tolist() if "venue" in self.table.columns else []
        return [*super().axes(), *(["venue"] if len(set(venues)) > 1 else [])]

    def returns(self, variants: Iterable[int] | None = None, every: str | None = "1min") -> pd.DataFrame:
        """Return the simple returns of variants over spans of time, one column a variant by its row.

        A row is a sample of the account, with `every` ("1s", "1h", …) the span that ends at its name: the account at
        its last sample over that of the span before. Each variant is run again; nothing but these columns is kept.
        """
        which = list(range(len(self)) if variants is None else variants)
        columns = dict[int, Any]()
        with progress(f"returns of {self.strategy.__name__}", len(which), unit="variants") as advance:
            for k in which:
                equity: Any = self.run(k).equity["equity"]
                equity = equity[~equity.index.duplicated(keep="last")]
                columns[k] = equity if every is None else equity.resample(every, label="right", closed="right").last()
                advance(1)
        return pd.DataFrame(columns).ffill().pct_change().iloc[1:].rename_axis(columns="variant")

    def __repr__(self) -> str:
        return self._rated(len(self.tape), "rows")

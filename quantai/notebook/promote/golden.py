"""Golden rows: a piece of the data kept with a version, and what the strategy asked for on it, byte for byte.

Whoever runs the version later (another process, machine, year) runs it over these rows first, through the engine of
backtests and through the trade loop, and does not trade where a byte differs.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from quantai.backtest import BarRun, Settings
from quantai.backtest.tick_run import TickRun
from quantai.core.errors import DataError
from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import BAR, EVENT, INTENT, Action, Rows
from quantai.data.bars import Bars
from quantai.data.tape import Tape
from quantai.notebook.promote.candidate import Candidate
from quantai.notebook.promote.loop_run import loop_intents
from quantai.strategy import Strategy
from quantai.venues.rules import SimVenue

MOST_BARS, MOST_ROWS = 500, 10_000
"""How much of the data is kept."""
BY_ROW = 2_000
"""How many leading rows of ticks are fed one by one; bars all are."""
FILES = ("golden.json", "golden_rows.npy", "golden_intents.npy", "golden_loop_intents.npy")


@dataclass(frozen=True, eq=False, kw_only=True)
class Golden:
    """Rows (BAR or EVENT), how they are run, and the INTENT rows of both engines."""

    rows: Rows
    instruments: Instruments
    interval: str
    settings: dict[str, Any]
    maker_bps: float
    taker_bps: float
    intents: Rows
    loop_intents: Rows

    @property
    def on_bars(self) -> bool:
        """Whether the rows are bars."""
        return self.rows.dtype == BAR

    @property
    def venue(self) -> SimVenue:
        """The simulated exchange they are run against."""
        return SimVenue(maker_bps=self.maker_bps, taker_bps=self.taker_bps)

    @classmethod
    def of(cls, candidate: Candidate) -> "Golden":
        """Take rows of a candidate's data and run the candidate over them."""
        data = candidate.data
        if isinstance(data, Bars):
            close = data.rows["ts_close"]
            first = int(np.searchsorted(close, close[-MOST_BARS], "left")) if len(data) > MOST_BARS else 0
            rows, interval = data.rows[first:].copy(), data.interval
            settings = candidate.result.settings.as_dict()  # type: ignore[union-attr]
        else:
            rows, interval, settings = data.rows[:MOST_ROWS].copy(), "", {}
            rows["ts_exch"] = np.maximum.accumulate(rows["ts_exch"])  # fed row by row it is known in its order
        none, venue = np.zeros(0, INTENT), candidate.venue
        bare = cls(
            rows=rows, instruments=data.instruments, interval=interval, settings=settings,
            maker_bps=venue.maker_bps, taker_bps=venue.taker_bps, intents=none, loop_intents=none,
        )  # fmt: skip
        return bare.with_intents(bare.run(candidate.strategy), bare.run_loop(candidate.strategy))

    def with_intents(self, intents: Rows, loop_intents: Rows) -> "Golden":
        """Return the same rows with what was asked for on them."""
        return replace(self, intents=intents, loop_intents=loop_intents)

    def run(self, strategy: Strategy, *, by_row: bool = False, rows: int | None = None) -> Rows:
        """Return the INTENT rows of the backtest engine, fed at once or row by row; `rows` takes only the first."""
        fed = self.rows[:rows]
        if self.on_bars:
            run: Any = BarRun(strategy, self.instruments, Settings(**self.settings))
            for k in range(len(fed)) if by_row else ():
                run.feed(fed[k : k + 1])
            if not by_row:
                run.feed(fed)
            return run.rows("intents")
        run = TickRun(strategy, self.instruments, self.venue)
        if not by_row:
            run.feed_tape(Tape.from_events(fed, self.instruments))
            return run.rows("intents")
        for k in range(min(BY_ROW, len(fed))):
            run.feed(fed[k : k + 1])
        run.feed(fed[BY_ROW:])
        run.finish()
        return run.rows("intents")

    def run_loop(self, strategy: Strategy) -> Rows:
        """Return the INTENT rows of the trade loop over the same rows, against the paper venue."""
        return loop_intents(strategy, self.instruments, self.rows, self.venue)

    def targets(self, intents: Rows) -> list[tuple[int, int]]:
        """Return what was aimed at, each change once: (instrument, fraction of equity in billionths)."""
        aims = intents[intents["action"] == Action.TARGET]
        found, last = list[tuple[int, int]](), dict[int, int]()
        for i, aim in zip(aims["instrument"].tolist(), aims["qty_lots"].tolist(), strict=True):
            if last.get(i) != aim:  # a live desk aims again when it did not get there
                found.append((i, aim))
            last[i] = aim
        return found

    def differences(self, strategy: Strategy) -> list[str]:
        """Run the strategy over the rows again; returns in words what differs from what is kept, empty = nothing."""
        found: list[str] = []
        for name, kept, now in (
            ("backtest", self.intents, self.run(strategy)),
            ("trade loop", self.loop_intents, self.run_loop(strategy)),
        ):
            if kept.tobytes() != now.tobytes():
                found.append(f"{name}: {first_difference(kept, now)}")
        return found

    def save(self, folder: Path) -> None:
        """Write the files of FILES into `folder`."""
        said = {
            "instruments": [i.as_dict() for i in self.instruments], "interval": self.interval,
            "settings": self.settings, "maker_bps": self.maker_bps, "taker_bps": self.taker_bps,
        }  # fmt: skip
        (folder / FILES[0]).write_text(json.dumps(said, indent=1))
        for name, rows in zip(FILES[1:], (self.rows, self.intents, self.loop_intents), strict=True):
            np.save(folder / name, rows, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> "Golden":
        """Read what `save` wrote; raises DataError where it is not that."""
        try:
            said = json.loads((folder / FILES[0]).read_text())
            rows, intents, loop_intents = (np.load(folder / name, allow_pickle=False) for name in FILES[1:])
            instruments = Instruments([Instrument.from_dict(i) for i in said.pop("instruments")])
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{folder}: the golden rows cannot be read: {error}") from None
        if rows.dtype not in (BAR, EVENT) or intents.dtype != INTENT or loop_intents.dtype != INTENT:
            raise DataError(f"{folder}: the golden rows are of another version of quantai: promote again")
        return cls(rows=rows, instruments=instruments, intents=intents, loop_intents=loop_intents, **said)


def first_difference(kept: Rows, now: Rows) -> str:
    """Return in words where two runs of INTENT rows part.

    >>> first_difference(np.zeros(1, INTENT), np.zeros(3, INTENT))
    'intent 2 of 3 was not asked for before'
    """
    n = min(len(kept), len(now))
    unequal = [k for k in range(n) if kept[k].tobytes() != now[k].tobytes()]
    if unequal:
        k = unequal[0]
        names = [name for name in INTENT.names or () if kept[k][name] != now[k][name]]
        shown = ", ".join(f"{name} {kept[k][name]} became {now[k][name]}" for name in names[:3])
        return f"intent {k + 1} at row {int(kept['seq'][k])} differs: {shown}"
    if len(now) > len(kept):
        return f"intent {n + 1} of {len(now)} was not asked for before"
    return f"intent {n + 1} of {len(kept)} is not asked for any more"

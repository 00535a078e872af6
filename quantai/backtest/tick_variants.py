"""Variants of one strategy over one tape; those of a block share a pass and its books."""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from quantai.backtest.asked import shown
from quantai.backtest.blocks import Columns, run_blocks
from quantai.backtest.replay import refuse_many_samples
from quantai.backtest.tick_lanes import TickLanes, columns_of
from quantai.backtest.tick_pass import tick_kernel
from quantai.backtest.tick_run import TickRun
from quantai.core.errors import DataError, InputError
from quantai.core.rows import SEC
from quantai.data.tape import Tape
from quantai.ops import progress
from quantai.strategy.base import Strategy, fields_of

LANES = 128
"""The most variants that share a pass."""
SETTINGS = ("venue", "cash", "max_orders", "sample_ns")
"""What a sweep over a tape can be told beside parameters: as `replay`."""
_YEAR_NS = 365.25 * 86_400 * SEC


class TickVariants:
    """Everything the variants of a sweep over a tape have in common.

    `given` are SETTINGS; a list of venues is one more thing that varies, by its place. `reach` are parameter sets
    whose indicators need at least as much history as any that is run.
    """

    def __init__(
        self,
        strategy: type[Strategy],
        tape: Tape,
        given: Mapping[str, Any],
        reach: Sequence[Mapping[str, Any]],
        threads: int,
    ) -> None:
        if tape.facts["head"] == len(tape):
            raise DataError("there are no rows to sweep over: the tape has nothing but a snapshot of the market")
        self.strategy, self.tape, self._threads = strategy, tape, threads
        venue = given.get("venue")
        self.several_venues = len(venue) if isinstance(venue, list | tuple) else 0
        self.venues = tuple(venue) if isinstance(venue, list | tuple) else (venue,)
        if not self.venues:
            raise InputError("venue is an empty list: give one SimVenue, or several")
        defaults = {"cash": 100_000.0, "max_orders": 64, "sample_ns": SEC}
        self.settings = {name: given.get(name, value) for name, value in defaults.items()}
        self.interrupted = False
        refuse_many_samples(tape, self.settings["sample_ns"])
        self._fields = fields_of(strategy)
        self._columns = columns_of(tape.instruments)
        self.statistics = list(self._columns)
        self.names = shown(strategy, self._fields.params, reach, [*self._columns, "venue"])
        checked = [self._fields.values(strategy.__name__, _params(v)) for v in [*reach, {}]]
        self._capacities = self._fields.capacities(checked)
        self._dtype = self._fields.dtype(self._capacities)
        self._kernel = tick_kernel(strategy, self._dtype)
        # a run of its own knows what is wrong with settings and venues, and says so
        self._by_instrument = [
            TickRun(strategy(), tape.instruments, v, capacities=self._capacities, **self.settings).venues
            for v in self.venues
        ]
        for variant in reach:
            self._venue_of(variant)  # before anything is compiled: that takes minutes the first time
        with progress(f"compile {strategy.__name__}, once", quiet=not self._kernel.fresh):
            self._compile()

    def run(self, variants: Sequence[Mapping[str, Any]], advance: Callable[[float], None]) -> pd.DataFrame:
        """Return parameters and statistics, one row a variant; after Ctrl-C (`interrupted`) only those finished."""
        filled = [self._fields.values(self.strategy.__name__, _params(v)) for v in variants]
        which = [self._venue_of(v) for v in variants]
        per_year = _YEAR_NS / self.settings["sample_ns"]

        def block(lanes: TickLanes, first: int, end: int) -> Generator[float, None, Columns]:
            n = end - first
            lanes.start(which[first:end])
            for k in range(n):
                lanes.records[k] = self._fields.record(self._dtype, filled[first + k])[0]
            for horizon in lanes.horizons():
                lanes.move(horizon, n)
                yield int(lanes.market.tiles["first"][0] + lanes.market.tiles["n"][0]) / len(self.tape)
            return lanes.finished(n, per_year, self._alone(filled[first:end], which[first:end]))

        named = [{name: v[name] for name in self.names} for v in filled]
        if self.several_venues:
            named = [v | {"venue": venue} for v, venue in zip(named, which, strict=True)]
        table, self.interrupted = run_blocks(named, self._columns, self._threads, LANES, self._lanes, block, advance)
        return table

    def _alone(self, variants: list[dict[str, Any]], which: list[int]) -> Callable[[int], TickRun]:
        """Return what runs one variant by itself: for those that a shared market cannot serve."""

        def run(k: int) -> TickRun:
            alone = TickRun(
                self.strategy(**variants[k]), self.tape.instruments, self.venues[which[k]],
                capacities=self._capacities, **self.settings,
            )  # fmt: skip
            alone.feed_tape(self.tape)
            return alone

        return run

    def _lanes(self, size: int) -> TickLanes:
        s = self.settings
        return TickLanes(
            self.tape, self._by_instrument, self._kernel, self._dtype, size, s["cash"], s["max_orders"], s["sample_ns"]
        )

    def _compile(self) -> None:
        lanes = self._lanes(1)
        lanes.start([0])
        lanes.move(0, 0)  # before there are threads

    def _venue_of(self, variant: Mapping[str, Any]) -> int:
        place = variant.get("venue", 0)
        if not isinstance(place, int | np.integer) or not 0 <= place < len(self.venues):
            raise InputError(f"venue {place!r} of a variant is no place in the list of {len(self.venues)} venues given")
        return int(place)


def _params(variant: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in variant.items() if name != "venue"}

"""Variants of one strategy over one tape: all cores, each a block of variants that share a pass and its books."""

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

from quantai.backtest.tick_lanes import TickLanes, columns_of, tick_kernel
from quantai.backtest.tick_run import TickRun
from quantai.core.errors import DataError, InputError
from quantai.core.rows import SEC, SNAPSHOT
from quantai.data.tape import Tape
from quantai.strategy.base import Strategy, fields_of

LANES = 64
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
        flags = tape.rows["flags"]
        if not len(tape) or bool(np.all(flags & SNAPSHOT)):
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
        self._fields = fields_of(strategy)
        checked = [self._fields.values(strategy.__name__, _params(v)) for v in [*reach, {}]]
        self._capacities = self._fields.capacities(checked)
        self._dtype = self._fields.dtype(self._capacities)
        self._kernel = tick_kernel(strategy, self._dtype)
        # a run of its own knows what is wrong with settings and venues, and says so
        self._by_instrument = [
            TickRun(strategy(), tape.instruments, v, capacities=self._capacities, **self.settings).venues
            for v in self.venues
        ]
        self._compile()

    def run(self, variants: Sequence[Mapping[str, Any]], advance: Callable[[float], None]) -> pd.DataFrame:
        """Return parameters and statistics, one row a variant; after Ctrl-C (`interrupted`) only those finished."""
        filled = [self._fields.values(self.strategy.__name__, _params(v)) for v in variants]
        which = [self._venue_of(v) for v in variants]
        out = {name: np.zeros(len(filled), kind) for name, kind in columns_of(self.tape.instruments).items()}
        done = np.zeros(len(filled), bool)
        rounds = math.ceil(len(filled) / (self._threads * LANES))
        size = math.ceil(len(filled) / (self._threads * rounds))
        blocks = iter([(at, min(at + size, len(filled))) for at in range(0, len(filled), size)])
        stop = threading.Event()
        args = (blocks, size, filled, which, out, done, advance, stop)
        with ThreadPoolExecutor(self._threads) as pool:
            jobs = [pool.submit(self._work, *args) for _ in range(min(self._threads, math.ceil(len(filled) / size)))]
            try:
                for job in jobs:
                    job.result()
            except KeyboardInterrupt:
                self.interrupted = True
            finally:
                stop.set()
        params = {name: [v[name] for v, is_done in zip(filled, done, strict=True) if is_done] for name in filled[0]}
        venue = {"venue": np.array(which)[done]} if self.several_venues else {}
        return pd.DataFrame(params | venue | {name: column[done] for name, column in out.items()})

    def _work(
        self,
        blocks: Iterator[tuple[int, int]],
        size: int,
        variants: list[dict[str, Any]],
        which: list[int],
        out: dict[str, Any],
        done: Any,
        advance: Callable[[float], None],
        stop: threading.Event,
    ) -> None:
        lanes = self._lanes(size)
        per_year = _YEAR_NS / self.settings["sample_ns"]
        for first, end in blocks:  # an iterator over a list: shared by the threads, each block goes to one
            n, at = end - first, 0
            lanes.start(which[first:end])
            for k in range(n):
                lanes.records[k] = self._fields.record(self._dtype, variants[first + k])[0]
            for horizon in lanes.horizons():
                if stop.is_set():
                    return
                lanes.move(horizon, n)
                reached = int(lanes.market.tiles["first"][0] + lanes.market.tiles["n"][0])
                advance(n * (reached - at) / len(self.tape))
                at = reached
            for name, column in lanes.finished(n, per_year, self._alone(variants[first:end], which[first:end])).items():
                out[name][first:end] = column
            done[first:end] = True

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
        place = variant.get("venue", 0) if "venue" not in self._fields.params else 0
        if not 0 <= place < len(self.venues):
            raise InputError(f"venue {place} of a variant is not one of the {len(self.venues)} venues given")
        return int(place)


def _params(variant: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in variant.items() if name != "venue"}

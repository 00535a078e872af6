"""Lanes: the memory of many runs side by side, which one compiled call moves along the same bars.

A thread of a sweep has one set of lanes and uses it for one block of variants after another, so that nothing is
allocated per variant. Bars are fed in tiles that stay in the processor's cache while every lane passes over them.
"""

from typing import Any

import numpy as np

from quantai.backtest.bar_log import FILLED, PROGRESS
from quantai.backtest.bar_loop import run_bars
from quantai.backtest.bar_matching import FILL, MATCH, RULES
from quantai.backtest.settings import Settings
from quantai.core.instruments import Instruments
from quantai.core.rows import EVENT, INTENT, ORDER, Rows, zeros
from quantai.report.running import FINISHED, finish_all, records
from quantai.strategy.compiler import Kernel
from quantai.strategy.context import BOOK, CTX, MAX_INTENTS, POSITION, World

TILE = 8192
"""Bars of a tile: half a megabyte."""


def run_lanes(
    bars: Any,
    stop: int,
    n: int,
    me: Any,
    ctx: Any,
    insts: Any,
    positions: Any,
    orders: Any,
    intents: Any,
    rules: Any,
    match: Any,
    settings: Any,
    hits: Any,
    open_lots: Any,
    event: Any,
    log_orders: Any,
    log_fills: Any,
    log_intents: Any,
    stats: Any,
    progress: Any,
) -> None:
    """Move the first `n` lanes on to bar `stop`; a driver like `run_bars`, which it calls for each."""
    for k in range(n):
        run_bars(
            bars, stop, me[k : k + 1], ctx[k : k + 1], insts, positions[k], orders[k], intents[k], rules,
            match[k : k + 1], settings, hits, open_lots, event, log_orders, log_fills, log_intents,
            stats[k : k + 1], progress[k : k + 1],
        )  # fmt: skip


class Lanes:
    """Room for `size` runs of one strategy at once; each is what a BarRun without logs would be."""

    def __init__(
        self, instruments: Instruments, settings: Settings, kernel: Kernel, dtype: np.dtype[Any], size: int
    ) -> None:
        most = settings.max_orders
        self._world = World(instruments, settings.cash, most)
        self._insts = self._world.instrument_rows
        self.records: Rows = np.zeros(size, dtype)
        self._ctx: Rows = np.zeros(size, CTX)
        self._positions: Rows = np.zeros((size, len(instruments)), POSITION)
        self._books: Rows = np.zeros((size, len(instruments)), BOOK)
        self._orders: Rows = np.zeros((size, most), ORDER)
        self._intents: Rows = np.zeros((size, MAX_INTENTS), INTENT)
        self._match: Rows = np.zeros(size, MATCH)
        self._stats: Rows = records(size)
        self._progress: Rows = np.zeros(size, PROGRESS)
        self._rules = np.zeros(1, RULES)
        self._rules["slip_bps"], self._rules["limit_touch"] = settings.slip_bps, settings.limit_touch
        self._settings = settings.row(log=False)
        self._hits = np.zeros(2 * most, FILL)
        self._open_lots = np.zeros(most, "i8")
        self._event = zeros(1, EVENT)
        self._logs = zeros(1, ORDER), zeros(1, FILLED), zeros(1, INTENT)  # never written: nothing is logged
        self._run = kernel.function("run_lanes")

    def start(self) -> None:
        """Make every lane a fresh account; `records` are the caller's to set."""
        for rows in (self._positions, self._books, self._orders, self._intents, self._match, self._progress):
            rows[...] = np.zeros((), rows.dtype)
        self._stats[:] = records(1, self._world.ctx["cash"][0])  # as `Result.stats`, from the cash before any bar
        self._ctx[:] = self._world.ctx[0]
        for name in ("positions", "books", "orders", "intents"):
            rows = getattr(self, f"_{name}")
            self._ctx[f"at_{name}"] = rows.ctypes.data + np.arange(len(rows), dtype="u8") * np.uint64(rows.strides[0])

    def feed(self, bars: Rows, stop: int, n: int) -> None:
        """Move the first `n` lanes on to bar `stop` (see `tiles`) of the same read-only array as before."""
        self._run(
            bars, stop, n, self.records, self._ctx, self._insts, self._positions, self._orders, self._intents,
            self._rules, self._match, self._settings, self._hits, self._open_lots, self._event, *self._logs,
            self._stats, self._progress,
        )  # fmt: skip

    def finished(self, n: int, per_year: float) -> dict[str, Any]:
        """Return the statistics of the first `n` lanes, one array a column."""
        out = np.zeros(n, FINISHED)
        finish_all(self._stats[:n], per_year, out)
        columns: dict[str, Any] = {name: out[name] for name in FINISHED.names or () if name != "bars"}
        return columns | {
            "fills": self._progress["fills"][:n].copy(),
            "fees": self._positions["fees"][:n].sum(axis=1),
        }


def tiles(bars: Rows) -> list[int]:
    """Return the ends of the tiles of sorted BAR rows: about TILE bars apart, never between two bars of an instant.

    >>> import quantai as qa
    >>> tiles(qa.synth.bars(20_000, seed=1).rows)
    [8192, 16384, 20000]
    """
    ends = list[int]()
    at = 0
    while at < len(bars):
        at = min(at + TILE, len(bars))
        while at < len(bars) and bars["ts_close"][at] == bars["ts_close"][at - 1]:
            at += 1
        ends.append(at)
    return ends

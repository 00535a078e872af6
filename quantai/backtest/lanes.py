"""Lanes: the memory of many runs side by side, which one compiled call moves along the same bars.

A thread of a sweep has one set of lanes and uses it for one block of variants after another, so that nothing is
allocated per variant. Bars are fed in tiles that stay in the processor's cache while every lane passes over them; the
equity of all lanes lies side by side there, for the statistics of many at once.
"""

from typing import Any

import numpy as np

from quantai.backtest.bar_four import FOUR, are_quiet, run_four
from quantai.backtest.bar_log import FILLED, PROGRESS
from quantai.backtest.bar_loop import answer, run_bars
from quantai.backtest.bar_matching import FILL, MATCH, RULES
from quantai.backtest.settings import Settings
from quantai.core.compiled import uncounted
from quantai.core.instruments import Instruments
from quantai.core.rows import EVENT, INTENT, ORDER, Rows, zeros
from quantai.report.running import FINISHED, finish_all, records
from quantai.report.running_many import ABREAST, ROWS, update_many
from quantai.strategy.compiler import Kernel
from quantai.strategy.context import BOOK, CTX, MAX_INTENTS, POSITION, World
from quantai.strategy.handlers import has_on_timer

TILE = 8192
"""Bars of a tile: half a megabyte."""
SPELL = 512
"""Bars that lanes side by side pass before their statistics are taken: these and their equities stay in the cache."""
SLOWLY = 16
"""Bars that lanes go on one by one once they have to."""
_WHOLE = np.dtype(f"V{CTX.itemsize}")  # a record copied as one: numpy copies those with fields one by one


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
    curves: Any,
    sums: Any,
    stats: Any,
    progress: Any,
) -> None:
    """Move the first `n` lanes (fours of them) on to bar `stop`; a driver that calls `run_four` and `run_bars`."""
    simple = insts.shape[0] == 1 and not has_on_timer
    start = progress[0].next
    while start < stop:
        end = end_of_spell(bars, start, stop)
        for left in range(0, n, ABREAST):
            right = min(left + ABREAST, n)
            for k in range(left, right, FOUR):
                at = start
                while at < end:
                    if simple and are_quiet(
                        ctx[k : k + FOUR], progress[k : k + FOUR], positions[k : k + FOUR], bars[at]
                    ):
                        run_four(
                            bars, end, insts[0], rules[0], settings[0], me[k : k + FOUR], ctx[k : k + FOUR],
                            positions[k : k + FOUR], progress[k : k + FOUR],
                        )  # fmt: skip
                        for j in range(k, k + FOUR):
                            answer(
                                me[j], ctx[j], progress[j], settings[0], insts, positions[j], orders[j], intents[j],
                                log_orders, log_intents,
                            )  # fmt: skip
                        at = progress[k].next
                    until = min(at + SLOWLY, end) if simple else end
                    for j in range(k, k + FOUR if at < end else k):
                        run_bars(
                            bars, until, me[j : j + 1], ctx[j : j + 1], insts, positions[j], orders[j], intents[j],
                            rules, match[j : j + 1], settings, hits, open_lots, event, log_orders, log_fills,
                            log_intents, progress[j : j + 1],
                        )  # fmt: skip
                    at = until
            update_many(stats[left:right], right - left, curves, progress[left].n_equity, sums)
            for k in range(left, right):
                progress[k].n_equity = 0
        start = end


@uncounted
def end_of_spell(bars: Any, start: int, stop: int) -> int:
    """Return the end of a spell from bar `start`: about SPELL bars on, never between two bars of an instant."""
    end = min(start + SPELL, stop)
    while end < stop and bars[end].ts_close == bars[end - 1].ts_close:
        end += 1
    return end


class Lanes:
    """Room for `size` runs of one strategy at once; each is what a BarRun without logs would be."""

    def __init__(
        self, instruments: Instruments, settings: Settings, kernel: Kernel, dtype: np.dtype[Any], size: int
    ) -> None:
        most = settings.max_orders
        size += -size % FOUR
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
        # a spell ends late when many bars share an instant, but they share a row, too
        self._curves, self._sums = np.zeros((SPELL + 1 + ROWS) * ABREAST), np.zeros(7 * ABREAST)
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
            rows.view("u1")[...] = 0
        cash = self._world.ctx["cash"][0]
        self._stats[:] = records(1, cash)  # as `Result.stats`, from the cash before any bar
        # those side by side share the room, one after another
        self._progress["log_size"] = SPELL * ABREAST
        columns = ABREAST + np.arange(len(self._progress), dtype="u8") % ABREAST
        self._progress["at_equity"] = self._curves.ctypes.data + self._curves.itemsize * columns
        self._ctx.view(_WHOLE)[:] = self._world.ctx.view(_WHOLE)
        for name in ("positions", "books", "orders", "intents"):
            rows = getattr(self, f"_{name}")
            self._ctx[f"at_{name}"] = rows.ctypes.data + np.arange(len(rows), dtype="u8") * np.uint64(rows.strides[0])

    def feed(self, bars: Rows, stop: int, n: int) -> None:
        """Move the first `n` lanes on to bar `stop` (see `tiles`) of the same read-only array as before."""
        fours = n + -n % FOUR
        if fours > n and self._progress["seq"][n] == 0:
            self.records[n:fours] = self.records[n - 1]  # the last ones run beside copies of themselves
        self._run(
            bars, stop, fours, self.records, self._ctx, self._insts, self._positions, self._orders, self._intents,
            self._rules, self._match, self._settings, self._hits, self._open_lots, self._event, *self._logs,
            self._curves, self._sums, self._stats, self._progress,
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

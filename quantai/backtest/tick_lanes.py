"""Lanes of a replay sweep: the memory of many runs side by side, moved along one shared market by one compiled call."""

import mmap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from quantai.backtest.tick_funding import DUE, due_after
from quantai.backtest.tick_local import sample_last
from quantai.backtest.tick_market import Market
from quantai.backtest.tick_pass import count_up
from quantai.backtest.tick_run import LOG, RING, TickRun
from quantai.backtest.tick_state import EQUITY, FILLED, LOCAL
from quantai.core.compiled import compiled
from quantai.core.instruments import Instruments
from quantai.core.rows import EVENT, INTENT, ORDER, Rows, zeros
from quantai.data.tape import Tape
from quantai.report.running import FINISHED, finish_all, records, update_all
from quantai.strategy.compiler import Kernel
from quantai.strategy.context import BOOK, CTX, MAX_INTENTS, POSITION, World
from quantai.venues.book import DEPTH
from quantai.venues.rules import SimVenue
from quantai.venues.tiles import EATEN, MOST_EATEN, TILE
from quantai.venues.wire import NEVER, OWN, REPORT, REQUEST, RESTING, SIM

_APART = 7
"""Rows between the tables of lanes: at distances of a power of two, all would fall on the same lines of a cache."""


class TickLanes:
    """Room for `size` runs of one strategy at once; each is what a TickRun on the whole tape would be."""

    def __init__(
        self,
        tape: Tape,
        venues: Sequence[Sequence[SimVenue]],
        kernel: Kernel,
        dtype: np.dtype[Any],
        size: int,
        cash: float,
        max_orders: int,
        sample_ns: int,
    ) -> None:
        n = len(tape.instruments)
        self.market = m = Market(tape)
        self._world = World(tape.instruments, cash, max_orders)
        self._world.ctx["n_orders"] = 0
        self._start = int(m.rows["ts_exch"][m.head])
        self.records: Rows = np.zeros(size, dtype)
        self.ctx: Rows = np.zeros(size, CTX)
        self.local: Rows = np.zeros(size, LOCAL)
        self.sim: Rows = np.zeros(size, SIM)
        self.stats: Rows = records(size)
        self.positions: Rows = np.zeros((size, n), POSITION)
        self._books: Rows = np.zeros((size, n), BOOK)
        self.orders: Rows = np.zeros((size, max_orders), ORDER)
        self._intents: Rows = sparse(size, MAX_INTENTS, INTENT)
        self.own: Rows = np.zeros((size, n), OWN)
        self.resting: Rows = np.zeros((size, max_orders + 1), RESTING)
        self._requests: Rows = sparse(size, RING, REQUEST)
        self._reports: Rows = sparse(size, RING, REPORT)
        self._eaten: Rows = np.zeros((size, MOST_EATEN), EATEN)
        self._scratch = m.depth.copy(), m.cells.copy()
        self._saved = np.zeros(n, DEPTH)
        self._event = zeros(1, EVENT)
        self._logs = {
            "intents": zeros(LOG, INTENT), "orders": zeros(LOG, ORDER), "fills": zeros(LOG, FILLED),
            "refusals": zeros(LOG, REPORT), "equity": zeros(LOG, EQUITY),
        }  # fmt: skip
        self._rules = np.stack([np.concatenate([v.row() for v in row]) for row in venues])
        self._sample_ns, self._max_orders = sample_ns, max_orders
        self._due = due_after(np.zeros(0, DUE), m.rows) if tape.facts.get("funding", 1) else np.zeros(0, DUE)
        self._run = kernel.function("run_tick_lanes")

    def start(self, venues: Sequence[int]) -> None:
        """Make lane after lane a fresh run at the venue of that number; `records` are the caller's to set."""
        m = self.market
        m.start()
        for rows in (self.positions, self._books, self.orders, self._intents, self.own, self.resting):
            rows[...] = np.zeros((), rows.dtype)
        self.stats[:] = records(1, self._world.ctx["cash"][0])
        self.ctx[:] = self._world.ctx[0]
        self.ctx["now"] = self._start
        for name, table in (("positions", self.positions), ("books", self._books), ("orders", self.orders),
                            ("intents", self._intents)):  # fmt: skip
            self.ctx[f"at_{name}"] = _addresses(table)
        s, p = self.sim, self.local
        s[:], p[:] = np.zeros((), SIM), np.zeros((), LOCAL)
        which = np.zeros(len(s), "i8")
        which[: len(venues)] = venues
        s["max_orders"], s["n_instruments"], s["ring"] = self._max_orders, self.own.shape[1], RING
        s["entry_least"] = self._rules["entry_least"].min(axis=1)[which]
        s["response_least"] = self._rules["response_least"].min(axis=1)[which]
        s["round_trip"] = (self._rules["entry_ns"] + self._rules["response_ns"]).max(axis=1)[which]
        s["closing"] = s["round_trip"] + max(int(m.rows_x["ts_exch"][-1]), int(m.rows["ts_recv"][-1]))
        s["done"], s["last"], s["next_expiry"] = self._start - 1, m.rows_x["ts_exch"][-1], NEVER
        s["n_rows"], s["next_recv"], s["next_book"] = len(m.rows), m.head, m.head
        s["n_cells"] = len(m.cells)
        s["at_rows"], s["at_rows_x"] = m.rows.ctypes.data, m.rows_x.ctypes.data
        s["one_order"], s["unwatched"] = m.one_order, -NEVER
        s["at_view"] = _addresses(self.orders)
        depth, cells = self._scratch
        s["at_depth"], s["at_cells"], s["at_keys"] = depth.ctypes.data, cells.ctypes.data, m.keys.ctypes.data
        s["at_insts"] = self._world.instrument_rows.ctypes.data
        s["at_rules"] = _addresses(self._rules)[which]
        s["at_saved"] = self._saved.ctypes.data
        for name, table in (("own", self.own), ("resting", self.resting), ("requests", self._requests),
                            ("reports", self._reports), ("eaten", self._eaten)):  # fmt: skip
            s[f"at_{name}"] = _addresses(table)
        s["at_tile"] = m.tiles.ctypes.data
        s["at_tile_x"] = m.tiles.ctypes.data + TILE.itemsize
        p["sample_ns"], p["next_sample"] = self._sample_ns, self._start + self._sample_ns
        p["log_size"], p["final"], p["quiet"] = LOG, 1, 1
        p["at_due"], p["n_due"] = self._due.ctypes.data, len(self._due)
        for name, table in self._logs.items():
            p[f"at_{name}"] = table.ctypes.data
        p["at_event"] = self._event.ctypes.data

    def horizons(self) -> list[int]:
        """Return the instants to `move` to, one after another."""
        return self.market.horizons(int(self._rules["entry_least"].max()))

    def move(self, horizon: int, n: int) -> None:
        """Move the market and the first `n` lanes on to the instant `horizon`, a tile of the market."""
        self.market.move(horizon)
        self._run(
            self.market.rows, horizon, n, self.records, self.ctx, self.local, self.sim, self.orders, self._books,
            self._event, self.stats,
        )  # fmt: skip

    def finished(self, n: int, per_year: float, alone: Callable[[int], TickRun]) -> dict[str, Any]:
        """Take the last sample of the first `n` lanes and return their statistics, one array a column.

        A lane that took from more levels than are remembered is run again by `alone`.
        """
        _finish(n, self.ctx, self.local, self.sim, self.stats)
        for k in np.flatnonzero(self.sim["lost"][:n]):
            run = alone(int(k))
            self.stats[k] = records(1, self._world.ctx["cash"][0])[0]
            update_all(self.stats[k : k + 1], run.rows("equity")["equity"])
            self.local[k], self.positions[k] = run.local[0], run.world.positions
            self.records[k], self.ctx[k] = run.record[0], run.world.ctx[0]
        out = np.zeros(n, FINISHED)
        finish_all(self.stats[:n], per_year, out)
        columns: dict[str, Any] = {name: out[name] for name in FINISHED.names or () if name != "bars"}
        p, positions = self.local[:n], self.positions[:n]
        return (
            columns
            | {"pnl": self.stats["last"][:n] - self.stats["first"][:n], "fees": positions["fees"].sum(axis=1)}
            | {"fills": p["n_fill_reports"], "volume": p["volume"], "submits": p["submits"], "cancels": p["cancels"]}
            | {"refused": self.ctx["refused"][:n].sum(axis=1) + p["refusals"] + p["unplaced"]}
            | {name: positions["qty"][:, k] for k, name in enumerate(_position_names(self._world.instruments))}
        )


def columns_of(instruments: Instruments) -> dict[str, np.dtype[Any]]:
    """Return the statistics of a variant and their types: those of a curve, P&L, fees, counts, what is held."""
    counts = dict.fromkeys(("fills", "submits", "cancels", "refused"), np.dtype("i8"))
    floats = dict.fromkeys(("pnl", "fees", "volume", *_position_names(instruments)), np.dtype("f8"))
    return {name: FINISHED[name] for name in FINISHED.names or () if name != "bars"} | floats | counts


def _position_names(instruments: Instruments) -> list[str]:
    if len(instruments) == 1:
        return ["position"]
    return [f"position_{i.symbol}" for i in instruments]


@compiled
def _finish(n: int, ctx: Any, local: Any, sim: Any, stats: Any) -> None:
    for k in range(n):
        if local[k].started:
            sample_last(ctx[k], local[k], sim[k])
            count_up(local[k], stats[k])


def sparse(size: int, n: int, dtype: np.dtype[Any]) -> Rows:
    """Return zeroed tables of `n` rows and a few more for `size` lanes; only the rows that are used take memory.

    Those are the first of each table. A large page a table would be made zero for a few of them.
    """
    n += _APART
    room = mmap.mmap(-1, size * n * dtype.itemsize)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        room.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(room, dtype).reshape(size, n)


def _addresses(tables: Rows) -> Any:
    return tables.ctypes.data + np.arange(len(tables), dtype="u8") * np.uint64(tables.strides[0])

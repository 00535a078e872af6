"""A replay in progress: rows go in, in pieces of any size, and its state can be saved and restored as bytes."""

import hashlib
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import numpy as np

from quantai.backtest.tick_funding import DUE, due_after
from quantai.backtest.tick_local import sample_last, send_intents, step_ticks
from quantai.backtest.tick_loop import run_ticks
from quantai.backtest.tick_pass import tick_kernel
from quantai.backtest.tick_receipt import receive_rows
from quantai.backtest.tick_reports import free_order_slot
from quantai.backtest.tick_state import EQUITY, FILLED, LOCAL
from quantai.core.compiled import uncounted
from quantai.core.errors import DataError, InputError, UnknownName
from quantai.core.instruments import Instruments
from quantai.core.rows import EVENT, INTENT, ORDER, SEC, SNAPSHOT, Kind, Rows, zeros
from quantai.data.tape import Tape
from quantai.strategy import Strategy
from quantai.strategy.context import World
from quantai.strategy.place import defined
from quantai.venues.book import DEPTH
from quantai.venues.cells import STANDING, Books
from quantai.venues.columns import COLUMNS, columns_table
from quantai.venues.exchange import MOST_AHEAD, UNDO, catch_up_sim, compact_sim, run_sim
from quantai.venues.rules import SimVenue
from quantai.venues.wire import NEVER, OWN, REPORT, REQUEST, RESTING, SIM

_MAGIC = b"quantai tick run 5\n"
RING = 1 << 15
"""Requests, and reports, of one run that may be on their way."""
LOG = 1 << 12
"""Rows of each log that a run writes before they are drained."""
Venues = SimVenue | Mapping[str, SimVenue]


class TickRun:
    """One strategy stepping over a tape; feeding it at once or in pieces gives the same bytes.

    A run knows everything before its horizon: the instant of the last row fed, on the clock that is behind, since rows
    not yet fed can be of that instant or later. `finish` says that none will come.

    >>> from quantai.core.instruments import Instrument, Instruments
    >>> from quantai.strategy.examples import Quote
    >>> run = TickRun(Quote(), Instruments([Instrument.parse("BTC-USDT", tick="0.1", lot="0.001")]))
    >>> run.finish()
    >>> len(run.rows("fills"))
    0
    """

    def __init__(
        self,
        strategy: Strategy,
        instruments: Instruments,
        venue: Venues | None = None,
        *,
        cash: float = 100_000.0,
        max_orders: int = 64,
        sample_ns: int = SEC,
        capacities: Mapping[str, int] | None = None,
    ) -> None:
        if len({i.settle for i in instruments}) > 1:
            names = ", ".join(f"{i.symbol} in {i.settle}" for i in instruments)
            raise InputError(f"one account holds one settlement currency: {names}; run them apart")
        _refuse_bad_settings(venue, cash, max_orders, sample_ns)
        if defined(type(strategy), "on_bar") is not None:
            raise InputError(
                f"{type(strategy).__name__}.on_bar would never be called: a tape keeps only the closes of bars. "
                "Run it on bars with qa.backtest, or make bars of trades in on_trade"
            )
        self.strategy, self.instruments, self.cash = strategy, instruments, cash
        self.venues = _venues_of([i.venue for i in instruments], venue)
        self.max_orders, self.sample_ns = max_orders, sample_ns
        n = len(instruments)
        self.world = World(instruments, cash, max_orders)
        self.record = strategy.record(capacities)
        self.local: Rows = np.zeros(1, LOCAL)
        self.sim: Rows = np.zeros(1, SIM)
        self.books = Books(instruments)
        self._rules = np.concatenate([v.row() for v in self.venues])
        self._own, self._saved = np.zeros(n, OWN), np.zeros(n, DEPTH)
        self._resting = np.zeros(max_orders + 1, RESTING)
        self._requests, self._reports = np.zeros(RING, REQUEST), np.zeros(RING, REPORT)
        self._undo, self._event = np.zeros(MOST_AHEAD, UNDO), zeros(1, EVENT)
        self._logs = {
            "intents": zeros(LOG, INTENT), "orders": zeros(LOG, ORDER), "fills": zeros(LOG, FILLED),
            "refusals": zeros(LOG, REPORT), "equity": zeros(LOG, EQUITY),
        }  # fmt: skip
        self._kept: dict[str, list[Rows]] = {name: [] for name in self._logs}
        self._tail = self._tail_x = zeros(0, EVENT)
        self._due: Rows = np.zeros(0, DUE)
        self._columns: Rows = np.zeros(0, COLUMNS)
        s = self.sim
        s["max_orders"], s["n_instruments"], s["ring"] = max_orders, n, RING
        s["entry_least"], s["response_least"] = self._rules["entry_least"].min(), self._rules["response_least"].min()
        s["done"], s["last"], s["next_expiry"], s["unwatched"] = -1, -1, NEVER, -NEVER
        s["round_trip"] = (self._rules["entry_ns"] + self._rules["response_ns"]).max()
        self.local["sample_ns"], self.local["log_size"] = sample_ns, LOG
        self._wire()
        self.world.ctx["n_orders"] = 0  # handlers see the slots ever used, not the whole table
        compact_sim(s)
        self._run = self._compiled() if strategy.compiled else self._uncompiled()

    def _wire(self) -> None:
        s, p = self.sim, self.local
        tables = {
            "depth": self.books.depth, "cells": self.books.cells, "depth_x": self.books.depth_x,
            "cells_x": self.books.cells_x, "keys": self.books.keys, "saved": self._saved, "undo": self._undo,
            "insts": self.world.instrument_rows, "rules": self._rules, "own": self._own, "resting": self._resting,
            "requests": self._requests, "reports": self._reports,
        }  # fmt: skip
        for name, table in tables.items():
            s[f"at_{name}"] = table.ctypes.data
        s["n_cells"] = len(self.books.cells)
        for name, table in self._logs.items():
            p[f"at_{name}"] = table.ctypes.data
        p["at_event"] = self._event.ctypes.data

    def _compiled(self) -> Any:
        return tick_kernel(type(self.strategy), self.record.dtype).function("run_ticks")

    def _uncompiled(self) -> Any:
        from quantai.strategy.uncompiled import python_handlers

        handlers = python_handlers(type(self.strategy), self.record, self.world)
        world, local, sim = self.world, self.local, self.sim
        # called for every row; from Python, arrays reach compiled code ten times faster than single records
        handlers["step_ticks"] = lambda _c, _p, _x, wants: _step(world.ctx, local, sim, wants)
        handlers["send_intents"] = lambda _c, _p, _x, wants: _send(world.ctx, local, sim, wants)
        handlers["free_order_slot"] = lambda *_: _free_slot(world.ctx, local)
        plain = FunctionType(run_ticks.__code__, {**run_ticks.__globals__, **handlers})

        def run(*args: Any) -> None:
            # attribute access on rows, as compiled code has it
            plain(*(a.view(np.recarray) for a in args))

        return run

    def feed(self, rows: Rows) -> None:
        """Process EVENT rows that follow those already fed; raises DataError when they do not.

        The exchange's clock must not run backwards in them either: a Tape sorts such rows, and `feed_tape` takes it.
        """
        if len(rows) == 0:
            return
        rows = np.ascontiguousarray(rows, EVENT)
        before = self._tail[-1:] if len(self._tail) else rows[:1]
        for clock in ("ts_recv", "ts_exch"):
            if np.any(np.diff(rows[clock]) < 0) or rows[clock][0] < before[clock][0]:
                raise DataError(f"rows go back in time by {clock}: feed them in order, or replay a Tape of them")
        if rows["instrument"].max() >= len(self.instruments):
            raise DataError(f"a row names instrument {rows['instrument'].max()}, this run has {len(self.instruments)}")
        self._learn(rows)
        whole = np.concatenate([self._tail, rows]) if len(self._tail) else rows
        # a row can be received before it happened, when a clock is wrong: then receipt says what is complete
        self._feed(whole, whole, None, int(min(whole["ts_exch"][-1], whole["ts_recv"][-1])))

    def feed_tape(self, tape: Tape) -> None:
        """Process a whole tape, both clocks in their own order; nothing can be fed after it."""
        if len(self._tail) or self.local["started"][0]:
            raise InputError("a tape is fed whole, to a fresh run: feed its rows in pieces instead")
        self.local["final"] = 1
        # kept, not only pointed to: of threads that replay a tape at once, each may have made columns of its own
        self._fed = (tape.rows, tape.columns), (tape.exchange_rows, tape.exchange_columns)
        self._columns = columns_table(self.world.instrument_rows[0], *self._fed)
        if tape.facts.get("funding", 1):
            self._learn(tape.rows)
        if len(tape):
            self._feed(tape.rows, tape.exchange_rows, tape.facts, NEVER)
        self._finish()

    def finish(self) -> None:
        """Say that no more rows will come, and run on until nothing is on its way."""
        self.local["final"] = 1
        if self.local["started"][0]:
            self._feed(self._tail, self._tail_x, None, NEVER, known=True)
        self._finish()

    def _feed(self, rows: Rows, rows_x: Rows, facts: dict[str, Any] | None, horizon: int, known: bool = False) -> None:
        rows, rows_x = (r.view() for r in (rows, rows_x))
        rows.flags.writeable = False  # numba tells read-only arrays apart: one kind, one compiled kernel
        s, w = self.sim, self.world
        if not known and self.books.make_room(rows, facts):
            self._wire()
        dense = len(self._columns) and not self.books.depth["mask"][0]
        s["at_columns"] = self._columns.ctypes.data if dense else 0
        s["at_rows"], s["at_rows_x"], s["n_rows"] = rows.ctypes.data, rows_x.ctypes.data, len(rows)
        alike = rows.ctypes.data == rows_x.ctypes.data and (facts["skewed"] == 0 if facts else not _skewed(rows))
        s["one_order"], s["horizon"] = alike, horizon
        if len(rows):
            s["last"] = rows_x["ts_exch"][-1]
            s["closing"] = max(int(rows_x["ts_exch"][-1]), int(rows["ts_recv"][-1])) + s["round_trip"]
        if not self.local["started"][0] and not self._begin(rows):
            self._tail = self._tail_x = rows
            return
        while True:
            self._run(rows, self.record, w.ctx, self.local, s, w.orders, w.books, self._event)
            if not self._drain():
                break
        if horizon != NEVER:
            self._settle(rows, horizon)

    def _learn(self, rows: Rows) -> None:
        if not len(self._due) and not np.any(rows["kind"] == Kind.FUNDING):
            return
        self._due = due_after(self._due[int(self.local["first_due"][0]) :], rows)
        self._wire_due()

    def _wire_due(self) -> None:
        self.local["at_due"], self.local["n_due"], self.local["first_due"] = self._due.ctypes.data, len(self._due), 0

    def _begin(self, rows: Rows) -> bool:
        # leading snapshot rows are the market before the run: both sides know them before on_start
        head = 0
        while head < len(rows) and rows["flags"][head] & SNAPSHOT:
            head += 1
        if head == len(rows):
            return False
        s, c, p = self.sim, self.world.ctx, self.local
        start = int(rows["ts_exch"][head])
        c["now"] = start
        if head:
            n = s["n_rows"].copy()
            s["n_rows"] = head
            _receive_rows(c, p, s, NEVER)
            s["n_rows"] = n
            p["seq"] = p["rows"] = 0
        if s["at_rows"][0] != s["at_rows_x"][0] or not s["one_order"][0]:
            self._part()
            s["consumed"] = 1  # it is not what we see and what is on its way: a snapshot has to keep it
        p["next_sample"] = start + self.sample_ns
        s["done"] = start - 1
        return True

    def _part(self) -> None:
        s = self.sim
        self.books.depth_x[:] = self.books.depth
        self.books.cells_x[:] = self.books.cells
        s["split"], s["next_book"] = 1, s["next_recv"]

    def _settle(self, rows: Rows, horizon: int) -> None:
        # bring both sides to the horizon, so that the state says nothing of how the rows were cut
        s = self.sim
        run_sim(s, horizon - 1)
        keep = int(s["next_recv"][0])
        at = int(np.searchsorted(rows["ts_exch"], horizon, "left"))
        if s["n_orders"][0] == 0:
            s["next_scan"] = at
        if s["split"][0]:
            catch_up_sim(s, horizon - 1)
        first = min(keep, int(s["next_scan"][0]))
        self._tail = self._tail_x = rows[first:].copy()
        for name in ("next_recv", "next_scan", "next_book"):
            s[name] = max(int(s[name][0]) - first, 0)

    def _finish(self) -> None:
        w, p = self.world, self.local
        if p["started"][0]:
            _sample(w.ctx, p, self.sim)
            self._drain()

    def _drain(self) -> bool:
        full = False
        for name, buffer in self._logs.items():
            n = int(self.local[f"n_{name}"][0])
            if n:
                self._kept[name].append(buffer[:n].copy())
                self.local[f"n_{name}"] = 0
                full = full or n > LOG // 2
        return full

    def rows(self, name: str) -> Rows:
        """Return the log `intents`, `orders` (those that ended), `fills`, `refusals` or `equity` so far."""
        kept = self._kept[name]
        return np.concatenate(kept) if kept else np.zeros(0, self._logs[name].dtype)

    def snapshot(self) -> bytes:
        """Return the state of the run as bytes: strategy, account, books, what is on its way, rows not yet received."""
        s, p = self.sim.copy(), self.local.copy()
        for row in (s, p):
            for name in row.dtype.names or ():
                if name.startswith("at_"):
                    row[name] = 0
        own_book = int(s["consumed"][0])
        wait = [
            self._requests[s["first_request"][0] : s["end_request"][0]],
            self._reports[s["first_report"][0] : s["end_report"][0]],
        ]
        s["end_request"], s["end_report"] = s["end_request"] - s["first_request"], s["end_report"] - s["first_report"]
        p["row"] = 0  # an index into the piece being fed
        due = self._due[int(p["first_due"][0]) :]
        p["n_due"], p["first_due"] = len(due), 0
        drop = ("first_request", "first_report", "n_rows", "n_cells", "horizon", "one_order")
        for name in drop + (() if own_book else ("split", "next_book")):
            s[name] = 0
        facts = np.stack([self.books.depth[n].astype("f8") for n in ("last", "crossed", "rows")])
        parts = [self.record, p, s, self._own, self._resting[: int(s["n_orders"][0])], *wait, facts, self.books.quotes]
        for own in (False, True)[: 1 + own_book]:
            levels = self.books.standing(own)
            parts += [np.array([len(levels)]), levels, self.books.tops(own)]
        parts += [due, np.array([len(self._tail)]), self._tail]
        body = b"".join(a.tobytes() for a in parts)
        self.world.ctx["n_orders"] = self.max_orders
        account = self.world.snapshot()
        self.world.ctx["n_orders"] = self.local["slots"]
        return _MAGIC + self._identity() + body + account

    def _identity(self) -> bytes:
        names = [(i.venue, i.symbol) for i in self.instruments]
        said = (type(self.strategy).source_hash(), self.strategy.params, self.record.dtype.descr, names)
        rules = self._rules.copy()
        rules["at_table"] = 0
        tables = [v.latency.table.tobytes() for v in self.venues if v.latency.table is not None]
        rows = [rules.tobytes(), self.world.instrument_rows.tobytes(), *tables]
        text = repr((*said, self.max_orders, self.sample_ns)).encode()
        return hashlib.blake2b(b"".join([text, *rows]), digest_size=16).digest()

    @classmethod
    def restored(
        cls,
        snapshot: bytes,
        strategy: Strategy,
        instruments: Instruments,
        venue: Venues | None = None,
        *,
        max_orders: int = 64,
        sample_ns: int = SEC,
    ) -> "TickRun":
        """Rebuild a run from its snapshot; raises DataError when it is damaged, or not of what is given here."""
        run = cls(strategy, instruments, venue, max_orders=max_orders, sample_ns=sample_ns)
        head = _MAGIC + run._identity()
        if not snapshot.startswith(head):
            raise DataError(
                "the snapshot belongs to another strategy, other parameters, other instruments or another venue: "
                "start afresh"
            )
        try:
            run._take_over(snapshot, len(head))
        except ValueError as e:
            raise DataError(f"the snapshot does not fit: {e}") from None
        return run

    def _take_over(self, snapshot: bytes, at: int) -> None:
        def take(n: int, dtype: Any) -> Any:
            nonlocal at
            rows = np.frombuffer(snapshot, dtype, n, at).copy()
            at += rows.nbytes
            return rows

        s, n = self.sim, len(self.instruments)
        for part in (self.record, self.local, s, self._own):
            part[:] = take(len(part), part.dtype)
        self._resting[: s["n_orders"][0]] = take(int(s["n_orders"][0]), RESTING)
        self._requests[: s["end_request"][0]] = take(int(s["end_request"][0]), REQUEST)
        self._reports[: s["end_report"][0]] = take(int(s["end_report"][0]), REPORT)
        facts, self.books.quotes[:] = take(3 * n, "f8").reshape(3, n), take(n, "i8")
        books = [
            (take(int(take(1, "i8")[0]), STANDING), take(2 * n, "i8").reshape(n, 2))
            for _ in range(1 + int(s["consumed"][0]))
        ]
        self._due = take(int(self.local["n_due"][0]), DUE)
        self._tail = self._tail_x = take(int(take(1, "i8")[0]), EVENT)
        self.books.take_over(books, self._tail, facts)
        world = World.restored(snapshot[at:], self.instruments)
        for name in ("ctx", "positions", "books", "orders"):
            getattr(self.world, name)[:] = getattr(world, name)
        self.world.wire()
        self.world.ctx["n_orders"] = self.local["slots"]
        self._wire()
        self._wire_due()


def _refuse_bad_settings(venue: Any, cash: Any, max_orders: Any, sample_ns: Any) -> None:
    for found in venue.values() if isinstance(venue, Mapping) else (venue,):
        if not isinstance(found, SimVenue | None):
            raise InputError(f"venue is a SimVenue, or a SimVenue by venue name; got {found!r}")
    if not (isinstance(cash, int | float | np.number) and 0 < cash < np.inf):
        raise InputError(f"cash must be a positive amount, got {cash!r}")
    if not (isinstance(max_orders, int | np.integer) and 1 <= max_orders <= 4096):
        raise InputError(f"max_orders must be within 1 to 4096, got {max_orders!r}")
    if not isinstance(sample_ns, int | np.integer) or sample_ns < 1:
        raise InputError(f"sample_ns is how often equity is sampled, in whole nanoseconds; got {sample_ns!r}")


def _venues_of(names: list[str], venue: Venues | None) -> list[SimVenue]:
    if venue is None or isinstance(venue, SimVenue):
        return [venue or SimVenue()] * len(names)
    missing = [name for name in names if name not in venue]
    strange = [name for name in venue if name not in names]
    if missing and strange:
        raise UnknownName("venue of these instruments", strange[0], set(names))
    if missing:
        raise InputError(
            f"no SimVenue for {missing[0]}, which has instruments here: venue has {', '.join(venue) or 'none'}"
        )
    return [venue[name] for name in names]


def _skewed(rows: Rows) -> bool:
    return bool(np.any(rows["ts_recv"] < rows["ts_exch"]))


@uncounted
def _step(ctx: Any, local: Any, sim: Any, wants: int) -> int:
    return step_ticks(ctx[0], local[0], sim[0], wants)


@uncounted
def _send(ctx: Any, local: Any, sim: Any, wants: int) -> None:
    send_intents(ctx[0], local[0], sim[0], wants)


@uncounted
def _free_slot(ctx: Any, local: Any) -> None:
    free_order_slot(ctx[0], local[0])


@uncounted
def _receive_rows(ctx: Any, local: Any, sim: Any, until: int) -> None:
    receive_rows(ctx[0], local[0], sim[0], until)


@uncounted
def _sample(ctx: Any, local: Any, sim: Any) -> None:
    sample_last(ctx[0], local[0], sim[0])

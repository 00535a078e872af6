"""The strategy of one desk while it trades: rows and reports in, intents out, state as bytes.

It steps through the same compiled handlers as a replay. Rows may come one by one or many at a time: the intents and the
state are the same. No clock is read: what it decides is a function of the rows.
"""

import hashlib
from collections.abc import Mapping
from types import FunctionType
from typing import Any, Self

import numpy as np

from quantai.core.compiled import uncounted
from quantai.core.errors import DataError, InputError
from quantai.core.instruments import Instruments
from quantai.core.packing import pack, unpack
from quantai.core.rows import (
    BAR,
    EVENT,
    INTENT,
    ORDER,
    REDUCE_ONLY,
    TIF,
    Action,
    Kind,
    OrderState,
    OrderType,
    Rows,
    zeros,
)
from quantai.execution.ladder import LADDER, LEVEL, Ladders
from quantai.execution.live_loop import run_live
from quantai.execution.sight import MOST_ORDERS, OF_THIS_PIECE, SIGHT, free_slot, look, settle
from quantai.strategy import Strategy
from quantai.strategy.base import fields_of
from quantai.strategy.context import BOOK, CTX, MAX_INTENTS, POSITION, World

TITLE = "quantai desk 2"
_DRIFT = 1e-9  # of a quantity kept in floating point, relative
_NO_ROWS, _NO_BARS = zeros(0, EVENT), zeros(0, BAR)
for _rows in (_NO_ROWS, _NO_BARS):
    _rows.flags.writeable = False
TRIES = 3
"""How often closing a position is tried at a venue before anything trades."""
_WORKING = (int(OrderState.WAITING), int(OrderState.PARTIAL))


class Stepper:
    """One strategy over the rows of a run, in step with what it is told of its orders.

    `bar_ns` is the length of the bars that `on_bar` is called for, 0 for any. `cash` is what it starts from, in
    settlement currency.

    >>> from quantai.core.instruments import Instrument
    >>> from quantai.strategy.examples import Quote
    >>> desk = Stepper(Quote(), Instruments([Instrument.parse("BTC-USDT", tick="0.1", lot="0.001")]))
    >>> len(desk.start(seq=1, ts=10**18)), desk.next_timer
    (0, 1000000000100000000)
    """

    def __init__(self, strategy: Strategy, instruments: Instruments, *, cash: float = 0.0, bar_ns: int = 0) -> None:
        self.strategy, self.instruments = strategy, instruments
        self.world = World(instruments, cash, MOST_ORDERS)
        self.world.ctx["n_orders"] = 0  # handlers see the slots ever used, not the whole table
        self.record = strategy.record()
        self._params = strategy.params
        self._ladders = Ladders(self.world.instrument_rows)
        self._sight: Rows = np.zeros(1, SIGHT)
        self._sight["slot"], self._sight["bar_ns"] = -1, bar_ns
        self._event = zeros(1, EVENT)
        self._wire()
        self._run = self._compiled() if strategy.compiled else self._uncompiled()

    def _wire(self) -> None:
        self._sight["at_ladders"] = self._ladders.rows.ctypes.data

    def _compiled(self) -> Any:
        return self.strategy.kernel(self.record.dtype, (run_live,)).function("run_live")

    def _uncompiled(self) -> Any:
        from quantai.strategy.uncompiled import python_handlers

        handlers = python_handlers(type(self.strategy), self.record, self.world)
        world, sight = self.world, self._sight
        handlers["look"] = lambda _c, _s, wants: _look(world.ctx, sight, wants)
        handlers["settle"] = lambda *_: _settle(world.ctx, sight)
        handlers["free_slot"] = lambda *_: _free_slot(world.ctx, sight)
        plain = FunctionType(run_live.__code__, {**run_live.__globals__, **handlers})

        def run(*args: Any) -> None:
            plain(*(a.view(np.recarray) for a in args))  # attribute access on rows, as compiled code has it

        return run

    @property
    def next_timer(self) -> int:
        """When the strategy's timer is due next, ns UTC; 0 while it asked for none."""
        ctx = self.world.ctx[0]
        return int(ctx["next_timer"]) if ctx["timer_ns"] > 0 else 0

    @property
    def params(self) -> dict[str, Any]:
        """The parameter values in force."""
        return dict(self._params)

    @property
    def muted(self) -> bool:
        """Whether it may only cancel."""
        return bool(self._sight["muted"][0])

    def mute(self, muted: bool) -> None:
        """Let only cancels of the strategy out from now on, or everything again."""
        self._sight["muted"] = muted

    def start(self, *, seq: int, ts: int, warm: bool = False) -> Rows:
        """Call `on_start` at row `seq`, received at `ts`, and return its intents; none go out while `warm`."""
        self._sight["start"], self._sight["warm"] = 1, warm
        self._at(seq, ts)
        return self._take(_NO_ROWS, _NO_BARS, 0)

    def step(self, rows: Rows, bars: Rows = _NO_BARS, first_bar: int = 0) -> tuple[int, Rows]:
        """Take leading EVENT rows, up to the first that makes the strategy ask; returns how many, and its INTENT rows.

        `bars` are the BAR rows that BAR events name by index, `first_bar` the index of the first of them. Rows are
        numbered, `instrument` counts in this desk's instruments. Reports among the rows only move the clock.
        """
        intents = self._take(_read_only(rows, EVENT), _read_only(bars, BAR), first_bar)
        return int(self._sight["row"][0]), intents

    def tell(self, order: Rows, event: Rows | None, *, seq: int, ts: int) -> Rows:
        """Tell of an order: its ORDER row as it stands now and, for an execution, the FILL row; returns INTENT rows."""
        sight, orders = self._sight, self.world.orders
        self._at(seq, ts)
        found = np.flatnonzero((orders["order"] == order["order"][0]) & (orders["state"] > 0))
        sight["slot"] = found[0] if len(found) else -1
        if len(found):
            known = orders[found[0]]
            for name in ("px_ticks", "trigger_ticks", "qty_lots", "filled_lots", "avg_px", "state", "reason", "side"):
                known[name] = order[name][0]
            known["flags"] = order["flags"][0]
            if known["state"] == OrderState.REJECTED:  # what was refused may be asked for again
                self.world.positions["target"][known["instrument"]] = np.nan
        sight["traded"], sight["told"] = event is not None, 1
        if event is not None:
            self._event[:] = event
            sight["tries"] = TRIES
        return self._take(_NO_ROWS, _NO_BARS, 0)

    def hold(self, qty: np.ndarray, cost: np.ndarray, realised: np.ndarray, fees: np.ndarray, cash: float) -> None:
        """Take over what the desk holds (units, by instrument) and its cash in settlement currency."""
        positions, insts = self.world.positions, self.world.instrument_rows
        positions["qty"], positions["cost"], positions["realised"], positions["fees"] = qty, cost, realised, fees
        exact = qty * insts["lot_den"] / insts["lot_num"]
        near = np.rint(exact)
        whole = np.abs(exact - near) < _DRIFT * np.maximum(1.0, np.abs(exact))
        # a fee taken in base leaves part of a lot: to close it one would have to open the rest of it
        positions["lots"] = np.where(whole, near, np.trunc(exact)).astype(np.int64)
        self.world.ctx["cash"] = cash

    def change(self, params: Mapping[str, Any]) -> None:
        """Change parameters while running; an indicator whose period changes begins afresh.

        Raises UnknownName or InputError, and changes nothing, for values that do not fit.
        """
        fields = fields_of(type(self.strategy))
        new = fields.values(type(self.strategy).__name__, {**self._params, **params})
        fits = fields.dtype(fields.capacities([new]))
        if fits.itemsize > self.record.dtype.itemsize:
            raise InputError("the new periods need more history than was set aside: stop, and start with them")
        for name, indicator in fields.indicators.items():
            period = indicator.resolve(new)
            if period != indicator.resolve(self._params):
                part = self.record[name]
                part[:] = np.zeros(1, part.dtype)
                indicator.initial(self.record[0][name], period)
        for name, value in new.items():
            self.record[name] = value
        self._params = new

    def cancel_all(self, *, seq: int, ts: int) -> Rows:
        """Return the INTENT rows that cancel every order of the desk at work."""
        return self._emit(self._cancels(), seq, ts)

    def flatten(self, *, seq: int, ts: int, most: np.ndarray | None = None, flags: np.ndarray | None = None) -> Rows:
        """Cancel every order of the desk, and close its positions at the market once none works any more.

        Returns INTENT rows, bounded as in `close`, which gives those that follow. What was canceled can have traded on
        its way, so a position is closed only when nothing can change it.
        """
        self._sight["closing"], self._sight["tries"] = 1, TRIES
        cancels = self.cancel_all(seq=seq, ts=ts)
        return np.concatenate([cancels, self.close(seq=seq, ts=ts, most=most, flags=flags)])

    def close(self, *, seq: int, ts: int, most: np.ndarray | None = None, flags: np.ndarray | None = None) -> Rows:
        """Return the INTENT rows that close what is held, if that is due; a venue may refuse it a few times in a row.

        By instrument, `most` is how many lots an order may close (all that is held unless said; with 0 none goes out),
        and `flags` those of its order (reduce-only unless said).
        """
        if not self.is_closing or not self._sight["tries"][0] or self.works:
            return zeros(0, INTENT)
        held = self.world.positions["lots"]
        rows = zeros(len(held), INTENT)
        rows["action"], rows["type"], rows["tif"] = Action.NEW, OrderType.MARKET, TIF.IOC
        rows["instrument"], rows["side"] = np.arange(len(held)), np.where(held > 0, -1, 1)
        rows["qty_lots"] = np.abs(held) if most is None else np.minimum(np.abs(held), most)
        rows["flags"] = REDUCE_ONLY if flags is None else flags
        rows = rows[rows["qty_lots"] > 0]
        if not len(rows):
            return rows
        self._sight["tries"] -= 1
        return self._emit(rows, seq, ts)

    def spare(self) -> None:
        """Give a try back that risk let nothing of out: only what a venue was asked for counts."""
        if self.is_closing and not self.works:
            self._sight["tries"] = min(int(self._sight["tries"][0]) + 1, TRIES)

    def keep_positions(self) -> None:
        """Close nothing any more."""
        self._sight["closing"] = self._sight["tries"] = 0

    @property
    def is_closing(self) -> bool:
        """Whether it is to be flat: told to, and not otherwise since."""
        return bool(self._sight["closing"][0])

    @property
    def works(self) -> bool:
        """Whether any of its orders works."""
        return len(self._working()) > 0

    def _working(self) -> Rows:
        orders = self.world.orders
        return orders[(orders["state"] >= _WORKING[0]) & (orders["state"] <= _WORKING[1])]

    def _cancels(self) -> Rows:
        live = self._working()
        rows = zeros(len(live), INTENT)
        for row, order in zip(rows, live, strict=True):
            row["action"], row["order"], row["instrument"] = Action.CANCEL, order["order"], order["instrument"]
            row["side"], row["type"], row["tif"] = order["side"], order["type"], order["tif"]
        return np.sort(rows, order="order")

    def _emit(self, rows: Rows, seq: int, ts: int) -> Rows:
        """Number intents of our own making and enter them as if the strategy had asked for them."""
        self._at(seq, ts)
        ctx, was = self.world.ctx[0], int(self._sight["muted"][0])
        for row in rows:
            row["seq"], row["k"] = seq, ctx["k"]
            ctx["k"] += 1
            if row["action"] == Action.NEW:
                ctx["last_order"] += 1
                row["order"] = ctx["last_order"]
        self._sight["muted"] = self._sight["warm"] = 0
        out = [zeros(0, INTENT)]
        for at in range(0, len(rows), MAX_INTENTS):  # more orders may work than a strategy may ask for at one row
            some = rows[at : at + MAX_INTENTS]
            self.world.intents[: len(some)], ctx["n_intents"] = some, len(some)
            _settle(self.world.ctx, self._sight)
            out.append(self._out())
        self._sight["muted"] = was
        return np.concatenate(out)

    def _at(self, seq: int, ts: int) -> None:
        ctx = self.world.ctx[0]
        if seq != ctx["seq"]:
            ctx["seq"], ctx["k"] = seq, 0
        ctx["now"] = max(int(ctx["now"]), ts)

    def _take(self, rows: Rows, bars: Rows, first_bar: int) -> Rows:
        w, s = self.world, self._sight
        s["row"], s["n_rows"], s["at_rows"] = 0, len(rows), rows.ctypes.data
        s["n_bars"], s["first_bar"] = len(bars), first_bar
        while True:
            self._run(rows, bars, self.record, w.ctx, s, w.orders, w.books, self._event)
            if not s["full"][0]:
                return self._out()
            s["full"] = 0
            self._ladders.grow()
            self._wire()

    def _out(self) -> Rows:
        ctx = self.world.ctx
        intents = self.world.intents[: int(ctx["n_intents"][0])].copy()
        ctx["n_intents"] = 0
        return intents

    _PARTS: Mapping[str, np.dtype[Any]] = {
        "ctx": CTX, "positions": POSITION, "books": BOOK, "orders": ORDER, "sight": SIGHT, "ladders": LADDER,
        "levels": LEVEL,
    }  # fmt: skip

    def snapshot(self) -> bytes:
        """Return the state as bytes: equal after equal rows, whichever way they came."""
        ctx, sight = self.world.ctx.copy(), self._sight.copy()
        for rows in (ctx, sight):
            for name in rows.dtype.names or ():
                if name.startswith("at_") or (rows is sight and name in OF_THIS_PIECE):
                    rows[name] = 0
        orders = self.world.orders[: int(sight["slots"][0])].copy()
        orders[orders["state"] == 0] = np.zeros(1, ORDER)
        parts: dict[str, np.ndarray] = {
            "ctx": ctx, "positions": self.world.positions, "books": self.world.books, "orders": orders, "sight": sight,
        } | self._ladders.arrays()  # fmt: skip
        record = np.frombuffer(self.record.tobytes(), np.uint8)
        who = np.frombuffer(self._identity(), np.uint8)
        return pack(TITLE, {"who": who, "record": record} | parts)

    def _identity(self) -> bytes:
        names = [(i.venue, i.symbol) for i in self.instruments]
        said = (type(self.strategy).source_hash(), self.record.dtype.descr, names)
        return hashlib.blake2b(repr(said).encode(), digest_size=16).digest()

    def load(self, body: bytes) -> Self:
        """Take over the state of `snapshot`; raises DataError when it is of another strategy or instruments."""
        byte = np.dtype("u1")
        parts = unpack(TITLE, body, {"who": byte, "record": byte, **self._PARTS})
        if parts["who"].tobytes() != self._identity():
            raise DataError("the state is that of another strategy, or of other instruments: start afresh")
        w = self.world
        w.ctx[:], w.positions[:], w.books[:] = parts["ctx"], parts["positions"], parts["books"]
        w.orders[:] = np.zeros(1, ORDER)
        w.orders[: len(parts["orders"])] = parts["orders"]
        w.wire()
        self.record[:] = np.frombuffer(parts["record"].tobytes(), self.record.dtype)
        self._ladders.load(parts)
        self._sight[:] = parts["sight"]
        self._wire()
        self._params = {name: self.record[name][0].item() for name in self._params}
        return self


def _read_only(rows: Rows, dtype: np.dtype[Any]) -> Rows:
    rows = np.ascontiguousarray(rows, dtype).view()
    rows.flags.writeable = False  # numba tells read-only arrays apart: one kind, one compiled kernel
    return rows


def fill_row(report: Any, instrument: int, side: int, px: float, qty: float, ts: int) -> Rows:
    """Return the FILL row (shape (1,)) that a REPORT row stands for, as `on_fill` gets it."""
    row = zeros(1, EVENT)
    row["ts_exch"], row["ts_recv"], row["seq"], row["px"], row["qty"] = report["ts"], ts, report["seq"], px, qty
    row["px_ticks"], row["aux"] = report["px_ticks"], report["order"].astype(np.int64)
    row["instrument"], row["side"], row["kind"] = instrument, side, Kind.FILL
    row["flags"] = 1 | (int(report["flags"]) & 1 << 3)
    return row


@uncounted
def _look(ctx: Any, sight: Any, wants: int) -> int:
    return look(ctx[0], sight[0], wants)


@uncounted
def _settle(ctx: Any, sight: Any) -> bool:
    return settle(ctx[0], sight[0])


@uncounted
def _free_slot(ctx: Any, sight: Any) -> None:
    free_slot(ctx[0], sight[0])

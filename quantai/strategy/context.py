"""What a handler sees of the world: one CTX record, and the tables it points to.

A CTX record is passed to compiled handlers by reference. Tables of varying length (instruments, positions, orders,
books, intents) hang off it by address, so that one compiled strategy serves any number of instruments.
"""

from typing import Any

import numpy as np
from numba import from_dtype

from quantai.core.instruments import INSTRUMENT
from quantai.core.memory import pasted, rows_at
from quantai.core.rows import INTENT, ORDER, OrderState, Rows

MAX_INTENTS = 256
"""Intents one row may cause; more are refused and counted."""

CTX = np.dtype(
    [
        ("now", "i8"),  # the instant of the current row
        ("seq", "i8"),
        ("cash", "f8"),
        ("equity", "f8"),
        ("instrument", "i8"),  # of the current row
        ("timer_ns", "i8"),  # 0 = no timer
        ("next_timer", "i8"),
        ("last_order", "i8"),  # the highest order number given out
        ("k", "i8"),  # intents of the current row so far
        ("n_intents", "i8"),  # intents waiting in the buffer
        ("n_instruments", "i8"),
        ("n_orders", "i8"),
        ("refused", "i8", (16,)),  # by Reason
        ("at_instruments", "u8"),
        ("at_positions", "u8"),
        ("at_orders", "u8"),
        ("at_books", "u8"),
        ("at_intents", "u8"),
    ]
)

POSITION = np.dtype(
    [
        ("lots", "i8"),
        ("qty", "f8"),  # lots in units
        ("cost", "f8"),  # what the open quantity cost, in settlement currency: sum of qty * multiplier * g(px)
        ("realised", "f8"),
        ("fees", "f8"),
        ("px", "f8"),  # its price as last shown, 0 before the first
        ("target", "f8"),  # last weight asked for
        ("target_nano", "i8"),  # the same weight x 1e9, as the intent carries it
        ("target_ts", "i8"),  # when it was asked for
        ("target_order", "i8"),  # order number of a target not yet executed, 0 = none
    ]
)
"""One instrument of the account, as the strategy sees it."""

BOOK = np.dtype(
    [
        ("bid_ticks", "i8"),
        ("ask_ticks", "i8"),
        ("bid", "f8"),
        ("ask", "f8"),
        ("bid_qty", "f8"),
        ("ask_qty", "f8"),
        ("ts", "i8"),
        ("valid", "i8"),  # 1 when both sides are known and do not cross
    ]
)
"""Top of one instrument's book at receipt; prices in quote currency, quantities in units."""

CTX_TYPE = from_dtype(CTX)


@pasted
def instruments_of(ctx: Any) -> Any:
    """The INSTRUMENT rows of the run."""
    return rows_at(ctx.at_instruments, ctx.n_instruments, INSTRUMENT)


@pasted
def positions_of(ctx: Any) -> Any:
    """The POSITION rows, one an instrument."""
    return rows_at(ctx.at_positions, ctx.n_instruments, POSITION)


@pasted
def books_of(ctx: Any) -> Any:
    """The BOOK rows, one an instrument."""
    return rows_at(ctx.at_books, ctx.n_instruments, BOOK)


@pasted
def orders_of(ctx: Any) -> Any:
    """The slots of the order table; a slot whose state is FREE holds nothing."""
    return rows_at(ctx.at_orders, ctx.n_orders, ORDER)


@pasted
def intents_of(ctx: Any) -> Any:
    """The buffer of INTENT rows; the first ctx.n_intents are set."""
    return rows_at(ctx.at_intents, MAX_INTENTS, INTENT)


class World:
    """The memory behind one CTX record: allocated once, wired by address, copied as bytes.

    >>> from quantai.core.instruments import Instrument, Instruments
    >>> world = World(Instruments([Instrument.parse("BTC-USDT")]), cash=1000.0)
    >>> World.restored(world.snapshot(), world.instruments).ctx["cash"]
    array([1000.])
    """

    def __init__(self, instruments: Any, cash: float, max_orders: int = 64) -> None:
        self.instruments = instruments
        n = len(instruments)
        self.ctx: Rows = np.zeros(1, CTX)
        self.instrument_rows: Rows = instruments.rows()
        self.positions: Rows = np.zeros(n, POSITION)
        self.books: Rows = np.zeros(n, BOOK)
        self.orders: Rows = np.zeros(max_orders, ORDER)
        self.intents: Rows = np.zeros(MAX_INTENTS, INTENT)
        self.ctx["cash"] = self.ctx["equity"] = cash
        self.ctx["n_instruments"], self.ctx["n_orders"] = n, max_orders
        self.wire()

    def wire(self) -> None:
        """Point the CTX record at the tables; needed after its bytes were replaced."""
        for name in ("positions", "books", "orders", "intents"):
            self.ctx[f"at_{name}"] = getattr(self, name).ctypes.data
        self.ctx["at_instruments"] = self.instrument_rows.ctypes.data

    def __deepcopy__(self, memo: Any) -> "World":
        # a plain copy would go on pointing at the tables of the original
        return World.restored(self.snapshot(), self.instruments)

    def working(self) -> Rows:
        """Return a copy of the orders that may still trade, by order number."""
        live = self.orders[(self.orders["state"] >= OrderState.WAITING) & (self.orders["state"] <= OrderState.PARTIAL)]
        return live[np.argsort(live["order"])]

    def snapshot(self) -> bytes:
        """Return everything but the addresses and the intents already handed out, as bytes."""
        ctx = self.ctx.copy()
        for name in CTX.names or ():
            if name.startswith("at_"):
                ctx[name] = 0
        return b"".join(a.tobytes() for a in (ctx, self.positions, self.books, self.orders))

    @classmethod
    def restored(cls, snapshot: bytes, instruments: Any) -> "World":
        """Rebuild the memory a snapshot was taken of; raises ValueError when it does not fit these instruments."""
        ctx = np.frombuffer(snapshot[: CTX.itemsize], CTX).copy()
        if int(ctx["n_instruments"][0]) != len(instruments):
            raise ValueError("the snapshot was taken with another number of instruments")
        world = cls(instruments, 0.0, int(ctx["n_orders"][0]))
        at = CTX.itemsize
        world.ctx[:] = ctx
        for part in (world.positions, world.books, world.orders):
            part[:] = np.frombuffer(snapshot[at : at + part.nbytes], part.dtype)
            at += part.nbytes
        if at != len(snapshot):
            raise ValueError(f"the snapshot has {len(snapshot)} bytes, {at} were expected")
        world.wire()
        return world

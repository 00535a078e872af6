"""The rows everything is made of: one cache line (64 bytes) each, no hidden padding, always allocated as zeros.

A row never holds a string, a pointer or a timezone. Instants are int64 nanoseconds since 1970-01-01 UTC. Prices appear
twice: `px` as float64 for arithmetic and `px_ticks` as an exact integer count of the instrument's tick. `seq` is the
only authority on order: two rows with equal time stamps are ordered by `seq`, never by luck.
"""

from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.void]
"""A one-dimensional structured array of EVENT, BAR, INTENT or ORDER rows."""

NS, US, MS, SEC, MIN, HOUR, DAY = 1, 1_000, 1_000_000, 10**9, 60 * 10**9, 3_600 * 10**9, 86_400 * 10**9
"""Durations in nanoseconds."""


class Kind(IntEnum):
    """What an EVENT row reports."""

    TRADE = 1  # px, qty, side = aggressor
    LEVEL = 2  # book level: px, side = +1 bid / -1 ask, qty = new absolute size, 0 deletes
    CLEAR = 3  # drop the book; the LEVEL rows that follow rebuild it
    QUOTE = 4  # best price of one side: two rows (bid then ask) carry one venue message
    BAR = 5  # aux = index into the BAR rows beside the stream
    FUNDING = 6  # px = rate as a fraction per interval, aux = next funding instant
    MARK = 7  # px = mark (or index) price
    LIQUIDATION = 8  # px, qty, side = side of the liquidation order
    OPEN_INTEREST = 9  # qty
    STATUS = 10  # aux = Status
    TIMER = 11  # aux = scheduled instant
    GAP = 12  # rows are missing before this one; aux = how many when the venue numbers them, else 0
    CONTROL = 13  # aux = execution.controls.Control: what a person, or our own start, decided
    ACK = 20
    REJECT = 21
    FILL = 22
    CANCELED = 23
    EXPIRED = 24
    REPLACED = 25
    CANCEL_REJECT = 26
    REPLACE_REJECT = 27
    TRIGGERED = 28
    ADJUST = 29  # px_ticks = portfolio.adjustments.Adjust: cash, fees, dividends, splits, settlements, rates
    PENDING_CANCEL = 30
    PENDING_REPLACE = 31
    DONE_FOR_DAY = 32
    RESTATED = 33
    STOPPED = 34
    SUSPENDED = 35
    TRADE_CANCEL = 36
    TRADE_CORRECT = 37
    ORDER_STATUS = 38
    SUBMIT = 40  # from here on our own: what we asked for and what we noticed
    CANCEL_REQUEST = 41
    REPLACE_REQUEST = 42
    TIMEOUT = 43


class Status(IntEnum):
    """What a STATUS row says of a connection (in `aux`)."""

    CONNECTED = 1
    DISCONNECTED = 2
    STALE = 3
    RESUMED = 4
    HALTED = 5


class Action(IntEnum):
    """What an INTENT asks for."""

    NEW = 1
    CANCEL = 2
    REPLACE = 3
    TARGET = 4  # be at a weight of equity: qty_lots holds the weight in units of 1e-9


class OrderType(IntEnum):
    """How an order is priced."""

    MARKET = 1
    LIMIT = 2
    STOP = 3  # becomes a market order at trigger_ticks
    STOP_LIMIT = 4  # becomes a limit order at trigger_ticks
    TRAILING_STOP = 5  # trigger_ticks holds the distance; the stop ratchets behind the best price


class TIF(IntEnum):
    """Time in force."""

    GTC = 0
    IOC = 1
    FOK = 2
    GTD = 3  # until expire_ts
    DAY = 4


BUY, SELL = 1, -1

LAST = 1 << 0  # EVENT: last row of one venue message
SNAPSHOT = 1 << 1  # EVENT: part of a full snapshot
DERIVED = 1 << 2  # EVENT: made by us (a synthetic market, an importer), not received
MAKER = 1 << 3  # EVENT FILL: the fill added liquidity
POST_ONLY = 1 << 4  # INTENT, ORDER: reject rather than take
REDUCE_ONLY = 1 << 5  # INTENT, ORDER: never increases or flips a position
QUOTING = 1 << 6  # INTENT, ORDER: placed by ctx.quote, which owns one order a side
CHILD = 1 << 7  # INTENT, ORDER: sleeps until the order numbered `link` fills
OCO = 1 << 8  # INTENT, ORDER: when one order of the same `link` fills or ends, the others are canceled
WARM_UP = 1 << 14  # EVENT: of the time before a run: seen by its strategies, who cannot ask for anything yet

EVENT = np.dtype(
    [
        ("ts_exch", "i8"),
        ("ts_recv", "i8"),
        ("seq", "u8"),
        ("px", "f8"),
        ("qty", "f8"),
        ("px_ticks", "i8"),
        ("aux", "i8"),
        ("instrument", "u4"),
        ("flags", "u2"),
        ("kind", "u1"),
        ("side", "i1"),
    ]
)
"""Anything that happens: market data and execution reports in one stream."""

BAR = np.dtype(
    [
        ("ts_open", "i8"),  # inclusive
        ("ts_close", "i8"),  # exclusive end: a one-minute bar closes 60 s after it opens
        ("open", "f8"),
        ("high", "f8"),
        ("low", "f8"),
        ("close", "f8"),
        ("volume", "f8"),
        ("trades", "u4"),
        ("instrument", "u4"),
    ]
)
"""One bar of one instrument over [ts_open, ts_close)."""

INTENT = np.dtype(
    [
        ("seq", "u8"),  # the row that caused it
        ("order", "u8"),  # our order number, counted from 1 within a run; never reused
        ("px_ticks", "i8"),
        ("qty_lots", "i8"),  # for TARGET: weight of equity x 1e9
        ("trigger_ticks", "i8"),
        ("expire_ts", "i8"),
        ("instrument", "u4"),
        ("link", "u4"),  # CHILD: the parent's order number; OCO: the number shared by the group
        ("flags", "u2"),
        ("k", "u2"),  # index among the intents of the same row
        ("action", "u1"),
        ("side", "i1"),
        ("type", "u1"),
        ("tif", "u1"),
    ]
)
"""What a strategy wants done. (run, seq, k) names it for ever: the client order id is made of nothing else."""

ORDER = np.dtype(
    [
        ("order", "u8"),
        ("seq", "u8"),  # the row that caused it
        ("ts", "i8"),  # when it was decided
        ("px_ticks", "i8"),
        ("trigger_ticks", "i8"),  # TRAILING_STOP: the distance
        ("stop_ticks", "i8"),  # TRAILING_STOP: where the stop stands now, 0 before it is armed
        ("qty_lots", "i8"),
        ("filled_lots", "i8"),
        ("expire_ts", "i8"),
        ("avg_px", "f8"),
        ("instrument", "u4"),
        ("link", "u4"),
        ("flags", "u2"),
        ("state", "u1"),
        ("reason", "u1"),
        ("type", "u1"),
        ("tif", "u1"),
        ("side", "i1"),
        ("triggered", "u1"),
    ]
)
"""One order as a simulator or a strategy sees it; 96 bytes."""


class OrderState(IntEnum):
    """Where an ORDER row stands; a zeroed row is a free slot."""

    FREE = 0
    WAITING = 1  # a child whose parent has not filled
    PENDING = 2  # sent, not yet acknowledged
    OPEN = 3
    PARTIAL = 4
    FILLED = 5
    CANCELED = 6
    REJECTED = 7
    EXPIRED = 8


class Reason(IntEnum):
    """Why an order ended without filling (ORDER.reason, EVENT.aux of REJECT / CANCELED / EXPIRED)."""

    NONE = 0
    BY_USER = 1
    POST_ONLY = 2
    IOC = 3
    FOK = 4
    REDUCE_ONLY = 5
    OCO = 6
    GTD = 7
    OFF_GRID = 8
    BAD_QTY = 9
    NO_CASH = 10
    NOT_A_PRICE = 11
    PARENT = 12  # a child whose parent never traded
    TOO_MANY = 13  # more intents in one row than the buffer holds
    SELF_TRADE = 14  # would have traded with an order of ours


for _dtype in (EVENT, BAR, INTENT):
    if _dtype.itemsize != 64 or sum(_dtype[n].itemsize for n in _dtype.names or ()) != 64:
        raise AssertionError(f"row layout broken: {_dtype}")


def zeros(n: int, dtype: np.dtype[Any]) -> Rows:
    """Return `n` zeroed rows: the only way rows are made, so that equal rows have equal bytes.

    >>> zeros(2, EVENT).nbytes
    128
    """
    return np.zeros(n, dtype)

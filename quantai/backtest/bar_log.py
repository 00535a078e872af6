"""What a run on bars writes down: its progress, and the logs of orders, fills and equity, drained between calls."""

from typing import Any

import numpy as np

from quantai.core.compiled import inlined, uncounted
from quantai.core.memory import pasted, rows_at
from quantai.report.running_many import ABREAST
from quantai.strategy.account import exposure_of
from quantai.strategy.context import MAX_INTENTS

EQUITY = np.dtype([("ts", "i8"), ("equity", "f8"), ("cash", "f8"), ("exposure", "f8")])
"""The account after the last bar of an instant; exposure is the signed value of all positions."""

FILLED = np.dtype(
    [
        ("ts", "i8"),  # when it is known: the bar's open for a fill there, else its close
        ("order", "u8"),
        ("lots", "i8"),
        ("px", "f8"),
        ("fee", "f8"),
        ("notional", "f8"),
        ("bar", "i8"),  # row of the equity curve
        ("instrument", "u4"),
        ("side", "i1"),
        ("where", "u1"),  # 1 open, 2 limit, 3 stop
        ("maker", "u1"),
        ("_pad", "u1"),
    ]
)
"""One fill as the log keeps it."""

PROGRESS = np.dtype(
    [
        ("next", "i8"),  # the next bar of the array being fed
        ("instant_end", "i8"),  # the first bar of that array after the instant at hand
        ("seq", "i8"),  # bars processed in all
        ("working", "i8"),  # orders in the table
        ("slots", "i8"),  # slots of the table ever used
        ("bars", "i8"),  # rows of the equity curve in all
        ("fills", "i8"),  # in all
        ("clipped", "i8"),  # targets beyond what the leverage leaves room for
        ("unplaced", "i8"),  # intents that found no room in the table, or no order to act on
        ("n_orders", "i8"),  # rows waiting in each log buffer
        ("n_fills", "i8"),
        ("n_intents", "i8"),
        ("n_equity", "i8"),
        ("log_size", "i8"),  # rows of each log buffer
        ("at_equity", "u8"),  # address of the equity buffer; without logs, of a lane's column in one of all lanes
    ]
)
"""Where a run stands, and how much of each log buffer is filled.

What is called for every bar takes records and addresses only: numba counts references to each array passed to a
function, with atomic operations that cost more than the work itself (measured: 57 ns a bar with arrays, 18 ns without).
"""

_F8 = np.dtype("f8")

ROUNDS = 4
"""How often within one row a handler may answer the refusal of what it asked for."""


@uncounted
def worst_case(max_orders: int, n_instruments: int) -> int:
    """Return the most rows that the bars of an instant, and the decisions at one of them, can add to any log buffer."""
    return (ROUNDS + 2) * (max_orders + MAX_INTENTS) + n_instruments


@uncounted
def is_full(p: Any, max_orders: int, n_instruments: int) -> bool:
    """Say whether one more bar might overflow a log buffer."""
    return max(p.n_orders, p.n_fills, p.n_intents, p.n_equity) + worst_case(max_orders, n_instruments) > p.log_size


@inlined
def close_instant(c: Any, p: Any, s: Any) -> None:
    """Write the account at the end of the instant `c.now`."""
    if s.log == 1:
        _log_equity(c, p)
    else:
        curve_of(p)[p.n_equity * ABREAST] = c.equity
        p.n_equity += 1
    p.bars += 1


@pasted
def curve_of(p: Any) -> Any:
    """The equity buffer of a run without logs; every ABREAST-th value is of this run."""
    return rows_at(p.at_equity, p.log_size, _F8)


@uncounted
def _log_equity(c: Any, p: Any) -> None:
    row = rows_at(p.at_equity, p.log_size, EQUITY)[p.n_equity]
    row.ts = c.now
    row.equity = c.equity
    row.cash = c.cash
    row.exposure = exposure_of(c)
    p.n_equity += 1


@uncounted
def log_order(p: Any, s: Any, orders: Any, k: int, log_orders: Any) -> None:
    """Move an ended order from the table to the log and free its slot."""
    if s.log == 1:
        log_orders[p.n_orders] = orders[k]
        p.n_orders += 1
    orders[k].state = 0
    p.working -= 1


@uncounted
def log_fill(
    p: Any, s: Any, log_fills: Any, event: Any, lots: int, fee: float, notional: float, where: int, maker: int
) -> None:
    """Write one fill, described by the EVENT row a handler gets, to the log."""
    p.fills += 1
    if s.log == 0:
        return
    e, row = event[0], log_fills[p.n_fills]
    row.ts = e.ts_exch
    row.order = e.aux
    row.lots = lots
    row.px = e.px
    row.fee = fee
    row.notional = notional
    row.bar = p.bars
    row.instrument = e.instrument
    row.side = e.side
    row.where = where
    row.maker = maker
    p.n_fills += 1

"""Funding in a replay: the payments that FUNDING rows announce, and their booking at the instant they fall due.

A row whose next instant lies ahead announces a rate, and the last one before that instant is charged at it; a row
without one (history) is a payment at its own instant. Longs pay a positive rate: quantity x value of a unit at our own
mid x rate.
"""

from typing import Any

import numpy as np

from quantai.core.compiled import uncounted
from quantai.core.memory import rows_at
from quantai.core.rows import Kind, Rows
from quantai.strategy.account import unit_value
from quantai.strategy.context import instruments_of, positions_of

DUE = np.dtype([("ts", "i8"), ("instrument", "i8"), ("rate", "f8")])
"""One payment that falls due."""


def due_after(due: Rows, rows: Rows) -> Rows:
    """Return the payments that `rows` (EVENT, in order) announce beside those already known, sorted by instant.

    >>> from quantai.core.rows import EVENT, zeros
    >>> rows = zeros(2, EVENT)
    >>> rows["kind"], rows["ts_exch"], rows["aux"], rows["px"] = Kind.FUNDING, [10, 20], 100, [1e-4, 2e-4]
    >>> due_after(np.zeros(0, DUE), rows).tolist()
    [(100, 0, 0.0002)]
    """
    known = {(int(d["ts"]), int(d["instrument"])): float(d["rate"]) for d in due}
    for row in rows[rows["kind"] == Kind.FUNDING]:
        ts, next_ts = int(row["ts_exch"]), int(row["aux"])
        known[max(ts, next_ts), int(row["instrument"])] = float(row["px"])
    return np.array([(*key, rate) for key, rate in sorted(known.items())], DUE)


@uncounted
def next_due(p: Any, never: int) -> int:
    """Return the instant of the next payment, `never` when there is none."""
    return rows_at(p.at_due, p.n_due, DUE)[p.first_due].ts if p.first_due < p.n_due else never


@uncounted
def pay_funding(c: Any, p: Any) -> None:
    """Book the payment that is due; the prices of positions are those of now."""
    d = rows_at(p.at_due, p.n_due, DUE)[p.first_due]
    p.first_due += 1
    position = positions_of(c)[d.instrument]
    paid = position.qty * abs(unit_value(instruments_of(c)[d.instrument], position.px)) * d.rate
    c.cash -= paid
    p.funding += paid

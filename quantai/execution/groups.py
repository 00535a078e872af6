"""Orders that depend on each other: children that sleep until their parent traded, rivals of which one may live.

The rules are those of a backtest (docs/fills.md): a child wakes when its parent has ended or is filled, no larger than
what the parent traded, and ends with a parent that never traded. The first execution or the end of one of a
one-cancels-other group cancels the rest; a rejected order takes nobody with it. Live, a cancel can come too late: both
rivals may then trade, which is booked, and visible in the position. Risk counts the exits of one group once.
"""

from typing import Any

from quantai.core.errors import InputError
from quantai.core.rows import CHILD, OCO, REDUCE_ONLY, Action, Rows


def oco(*orders: Rows, link: int) -> Rows:
    """Return NEW intents (each of shape (1,)) as one group of which the first to trade cancels the others.

    `link` is any number the run has not used for another group.
    """
    if len(orders) < 2:
        raise InputError("a one-cancels-other group needs at least two orders")
    return _join(orders, OCO, link)


def bracket(entry: Rows, *exits: Rows) -> Rows:
    """Return an entry and its exits: these sleep until it traded, only reduce, and cancel each other.

    Every argument is a NEW intent of shape (1,); the exits are usually a limit (profit) and a stop (loss).

    >>> from quantai.core.rows import BUY, INTENT, SELL, zeros
    >>> entry, profit, loss = zeros(1, INTENT), zeros(1, INTENT), zeros(1, INTENT)
    >>> for number, row, side in ((1, entry, BUY), (2, profit, SELL), (3, loss, SELL)):
    ...     row["action"], row["order"], row["side"] = Action.NEW, number, side
    >>> rows = bracket(entry, profit, loss)
    >>> rows["link"].tolist(), bool(rows["flags"][1] & CHILD and rows["flags"][1] & OCO)
    ([0, 1, 1], True)
    """
    first = entry[0]
    if not exits:
        raise InputError("a bracket needs at least one exit")
    for row in exits:
        if row["side"][0] != -first["side"] or row["instrument"][0] != first["instrument"]:
            raise InputError("the exits of a bracket are in its instrument, on the other side of its entry")
    number = int(first["order"]) & (1 << 32) - 1
    return _join([entry, _join(exits, CHILD | OCO | REDUCE_ONLY, number)], 0, 0)


def _join(orders: Any, flags: int, link: int) -> Rows:
    import numpy as np

    rows = np.concatenate(orders)
    if (rows["action"] != Action.NEW).any():
        raise InputError("only new orders form a group")
    if flags:
        rows["flags"] |= flags
        rows["link"] = link
    return rows

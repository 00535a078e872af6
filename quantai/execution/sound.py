"""Rows that nobody can mean, found before they are journaled: a slip of a strategy, or of a venue's connector."""

from typing import Any

import numpy as np

from quantai.core.compiled import uncounted
from quantai.core.rows import TIF, Action, Kind, OrderType

_NEW, _TARGET = int(Action.NEW), int(Action.TARGET)
_FILL, _CORRECT, _ADJUST = int(Kind.FILL), int(Kind.TRADE_CORRECT), int(Kind.ADJUST)
_SUBMIT = int(Kind.SUBMIT)


def _known(*codes: int) -> np.ndarray:
    table = np.zeros(256, np.bool_)
    table[list(codes)] = True
    return table


_ACTIONS, _TYPES, _TIFS, _KINDS = _known(*Action), _known(*OrderType), _known(*TIF), _known(*Kind)
_FIRST_KIND = int(Kind.ACK)


@uncounted
def unsound_intent(rows: Any) -> int:
    """Return the first INTENT row that asks for nothing that can be, or -1.

    A new order has a side, a known type and time in force; lots are never negative; orders are numbered from 1.
    """
    for n in range(len(rows)):
        row = rows[n]
        if not _ACTIONS[row.action] or row.order & np.uint64((1 << 40) - 1) == 0:
            return n
        if row.action != _TARGET and row.qty_lots < 0:
            return n
        if row.action == _NEW and not (_TYPES[row.type] and _TIFS[row.tif] and row.side in (-1, 1)):
            return n
    return -1


@uncounted
def unsound_report(rows: Any) -> int:
    """Return the first REPORT row that no venue can say, or -1: a kind of ours, negative lots, a fill of nothing."""
    for n in range(len(rows)):
        row = rows[n]
        if not _FIRST_KIND <= row.kind < _SUBMIT or not _KINDS[row.kind] or row.kind == _ADJUST:
            return n
        if row.qty_lots < 0 or (row.kind == _FILL and row.qty_lots == 0):
            return n
    return -1


@uncounted
def execution_at_nothing(rows: Any, start: int) -> int:
    """Return the first REPORT row from `start` on that executes at a price of 0 or less, or -1."""
    for n in range(start, len(rows)):
        if rows[n].kind in (_FILL, _CORRECT) and rows[n].px_ticks <= 0:
            return n
    return -1

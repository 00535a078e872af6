"""Moving a dense book along the columns of a tape, and finding in them the rows that concern our orders.

Both do what `book.advance` and a look at every row would do; `mark` carries the sign of a side, so that hardly a branch
depends on the row (see `data.tape_columns`).
"""

from typing import Any

import numpy as np

from quantai.core.compiled import uncounted
from quantai.core.memory import int64s, pasted, rows_at
from quantai.core.rows import EVENT, Kind, Rows
from quantai.data.tape_columns import Columns
from quantai.venues.book import DEPTH, F8, I8, TRASH, apply

COLUMNS = np.dtype(
    [
        ("at_rows", "u8"),
        ("at_ts", "u8"),
        ("at_qty", "u8"),
        ("at_mark", "u8"),
        ("base", "i8"),
        ("tick_num", "i8"),
        ("tick_den", "i8"),
    ]
)
"""Where rows and their columns are, in the order of one clock."""

I4 = np.dtype("i4")
_TRADE, _LEVEL = int64s(Kind.TRADE, Kind.LEVEL)


def columns_table(inst: Rows, *clocks: tuple[Rows, Columns | None]) -> Rows:
    """Return the COLUMNS of rows and their columns, as received and as they happened; empty where there are none.

    They hold addresses: whatever they are of must outlive them.
    """
    table = [
        (
            rows.ctypes.data,
            c.ts.ctypes.data,
            c.qty.ctypes.data,
            c.mark.ctypes.data,
            c.base,
            inst["tick_num"],
            inst["tick_den"],
        )
        for rows, c in clocks
        if c is not None
    ]
    return np.array(table, COLUMNS)


@pasted
def columns_of(x: Any, clock: int) -> Any:
    """The COLUMNS of a run, as received or as it happened."""
    return rows_at(x.at_columns, 2, COLUMNS)[clock]


@uncounted
def rows_until(at_ts: int, n: int, i: int, until: int) -> int:
    """Return the first row from `i` on whose instant lies beyond `until`; a few steps away, as a rule."""
    ts = rows_at(at_ts, n, I8)
    while i + 8 < n and ts[np.uint64(i + 8)] <= until:
        i += 8
    while i < n and ts[np.uint64(i)] <= until:
        i += 1
    return i


@uncounted
def advance_marked(x: Any, at_depth: int, at_cells: int, i: int, until: int, clock: int) -> int:
    """Apply the rows from `i` up to the instant `until` (inclusive) to the one book; returns the first row left."""
    c = columns_of(x, clock)
    d = rows_at(at_depth, 1, DEPTH)[0]
    end = rows_until(c.at_ts, x.n_rows, i, until)
    while i < end:
        i = glide(d, c, at_cells, x.n_cells, i, end)
        if i < end:
            cells, keys = rows_at(at_cells, x.n_cells, F8), rows_at(x.at_keys, x.n_cells, I8)
            apply(d, cells, keys, rows_at(c.at_rows, x.n_rows, EVENT)[i])
            i += 1
    return i


@uncounted
def glide(d: Any, c: Any, at_cells: int, n_cells: int, first: int, end: int) -> int:
    """Apply the rows [first, end) as far as their marks tell all; returns the first that has to be looked at itself.

    Best prices are bounds here: a best level that empties is looked past only when the other side comes near, or at the
    end. That leaves one branch a row that is ever guessed wrong.
    """
    n, half = end - first, d.half
    cells = rows_at(at_cells, n_cells, F8)
    qty = rows_at(c.at_qty + np.uint64(8 * first), n, F8)
    mark = rows_at(c.at_mark + np.uint64(4 * first), n, I4)
    shift = c.base - d.lo
    # prices count from the base: 1 is the lowest, and nothing shows below `low` and above `high`
    to_bid, to_ask = d.at_bid + shift, d.at_ask + shift
    low, high = -shift, d.hi - c.base + 2
    bid, ask = d.bid - c.base + 1, d.ask - c.base + 1
    k, last = 0, -1
    while k < n:
        v, size = np.int64(mark[np.uint64(k)]), qty[np.uint64(k)]
        if v == 0:
            break
        is_level, is_shown = size >= 0.0, size >= half
        at = to_bid + v if v > 0 else to_ask - v
        at = at if is_level else TRASH
        last = last if is_level else k
        shown = v if is_shown else 0
        cells[np.uint64(at)] = size
        bid = max(bid, shown if shown > 0 else low)
        ask = min(ask, -shown if shown < 0 else high)
        k += 1
        if bid >= ask:
            if v < 0:
                bid = down(cells, to_bid, bid, half)
                if bid >= ask:
                    d.crossed += 1
                    bid = down(cells, to_bid, ask - 1, half)
            else:
                ask = up(cells, to_ask, ask, half)
                if bid >= ask:
                    d.crossed += 1
                    ask = up(cells, to_ask, bid + 1, half)
    if d.quotes == 0:  # what is quoted is the best price, however little it is
        bid, ask = down(cells, to_bid, bid, half), up(cells, to_ask, ask, half)
    d.bid, d.ask = bid + c.base - 1, ask + c.base - 1
    if last >= 0:
        d.last = px_of(c, c.base + abs(np.int64(mark[last])) - 1)
    d.rows += k
    return first + k


@pasted
def shown_by(c: Any, i: int) -> Any:
    """Return kind, side, price in ticks and quantity of row `i`."""
    v = np.int64(rows_at(c.at_mark, i + 1, I4)[np.uint64(i)])
    if v == 0:
        r = rows_at(c.at_rows, i + 1, EVENT)[i]
        return np.int64(r.kind), np.int64(r.side), r.px_ticks, r.qty
    qty = rows_at(c.at_qty, i + 1, F8)[np.uint64(i)]
    return _LEVEL if qty >= 0.0 else _TRADE, 1 if v > 0 else -1, c.base + abs(v) - 1, abs(qty)


@pasted
def px_of(c: Any, px_ticks: int) -> float:
    """Return a price of a marked row, as the row has it."""
    return px_ticks * c.tick_num / c.tick_den


@pasted
def down(cells: Any, base: int, px: int, half: float) -> int:
    """Return the best price at or below `px` that shows a quantity; the sentinel below all of them does."""
    while cells[np.uint64(base + px)] < half:
        px -= 1
    return px


@pasted
def up(cells: Any, base: int, px: int, half: float) -> int:
    """Return the best price at or above `px` that shows a quantity; the sentinel above all of them does."""
    while cells[np.uint64(base + px)] < half:
        px += 1
    return px


@uncounted
def met(c: Any, own: Any, first: int, n: int) -> Any:
    """Return which of the `n` (at most 64) rows from `first` on may concern our orders, a bit a row.

    Those are what reaches our price from the other side, what changes our level from ours, and what no mark tells.
    """
    mark = rows_at(c.at_mark + np.uint64(4 * first), n, I4)
    shift = 1 - c.base
    buy_lo, buy_hi = own.buy_lo + shift, own.buy_hi + shift
    sell_lo, sell_hi = own.sell_lo + shift, own.sell_hi + shift
    bits = np.uint64(0)
    for k in range(n):
        v = np.int64(mark[k])
        buy = ((v >= buy_lo) & (v <= buy_hi)) | ((v <= 0) & (v >= -buy_hi))
        sell = (v >= sell_lo) | ((v <= -sell_lo) & (v >= -sell_hi))
        bits |= np.uint64(buy | sell | (v == 0)) << np.uint64(k)
    return bits

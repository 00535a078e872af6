"""The market's books at every row of a tile: built once, read by every run that shares the tape.

A tile is a stretch of rows on one clock. One pass over it writes down what each row left behind (best prices, and which
cell it wrote), so that a run at any instant within the tile finds the book of that instant without keeping one. What a
run takes from the book is its own affair: it is remembered beside the run until the venue shows the level anew.
"""

from typing import Any

import numpy as np

from quantai.core.compiled import uncounted
from quantai.core.memory import pasted, rows_at
from quantai.core.rows import EVENT, Kind
from quantai.venues.book import DEPTH, EMPTY, F8, I8, TRASH, advance, apply, at_clock, cell_of
from quantai.venues.wire import NEVER

AFTER = np.dtype(
    [
        ("bid", "i8"),
        ("ask", "i8"),
        ("bid_qty", "f8"),
        ("ask_qty", "f8"),
        ("last", "f8"),
        ("no_bids", "i8"),  # the latest row of the tile that emptied the side, -1 when none did
        ("no_asks", "i8"),
    ]
)
"""The book of a row's instrument after that row."""

WRITE = np.dtype([("qty", "f8"), ("before", "i4"), ("cell", "i4")])
"""What a row wrote to a cell, and the write to that cell before it, -1 for none in the tile; two places a row."""

TILE = np.dtype(
    [
        ("at_rows", "u8"),  # all rows in the order of the clock
        ("n_rows", "i8"),
        ("clock", "i8"),
        ("first", "i8"),  # the first row of the tile, and how many there are
        ("n", "i8"),
        ("n_instruments", "i8"),
        ("n_cells", "i8"),
        ("at_keys", "u8"),
        ("at_depth", "u8"),  # the books before the tile
        ("at_cells", "u8"),
        ("at_depth_end", "u8"),  # and behind its last row
        ("at_cells_end", "u8"),
        ("at_newest", "u8"),  # by cell: its last write in the tile, -1 when there is none
        ("at_after", "u8"),
        ("at_writes", "u8"),
        ("at_times", "u8"),
        ("at_latest", "u8"),  # by row and instrument: the latest row of that instrument, -1 before its first
    ]
)
"""One tile on one clock."""

EATEN = np.dtype([("cell", "i8"), ("qty", "f8"), ("row", "i8"), ("instrument", "i8"), ("side", "i8")])
"""A level that a run took from: what is left of it (units), as of the rows before `row`."""

MOST_EATEN = 512
I4 = np.dtype("i4")
_LEVEL, _CLEAR, _QUOTE = int(Kind.LEVEL), int(Kind.CLEAR), int(Kind.QUOTE)


@pasted
def _after(t: Any) -> Any:
    return rows_at(t.at_after, t.n, AFTER)


@uncounted
def first_beyond(t: Any, i: int, ts: int) -> int:
    """Return the first row from `i` on whose instant is beyond `ts`; the end of the tile when there is none."""
    times = rows_at(t.at_times, t.n, I8)
    lo, width = i - t.first, 1
    while lo + width <= t.n and times[lo + width - 1] <= ts:
        lo += width
        width *= 2
    hi = min(lo + width - 1, t.n)
    while lo < hi:
        mid = (lo + hi) // 2
        if times[mid] <= ts:
            lo = mid + 1
        else:
            hi = mid
    return t.first + lo


@uncounted
def count_rows(t: Any, until: int) -> int:
    """Return how many rows from the start of the tile are not later than `until`."""
    rows = rows_at(t.at_rows, t.n_rows, EVENT)
    i, step = t.first, 1
    while i + step <= t.n_rows and at_clock(rows[i + step - 1], t.clock) <= until:
        i += step
        step *= 2
    hi = min(i + step - 1, t.n_rows)
    while i < hi:
        mid = (i + hi) // 2
        if at_clock(rows[mid], t.clock) <= until:
            i = mid + 1
        else:
            hi = mid
    return i - t.first


@uncounted
def build(t: Any) -> None:
    """Write down the book after each of the `n` rows of a tile."""
    rows, depth = rows_at(t.at_rows, t.n_rows, EVENT), rows_at(t.at_depth_end, t.n_instruments, DEPTH)
    cells, keys = rows_at(t.at_cells_end, t.n_cells, F8), rows_at(t.at_keys, t.n_cells, I8)
    after, times = _after(t), rows_at(t.at_times, t.n, I8)
    latest = rows_at(t.at_latest, t.n * t.n_instruments, I4)
    for k in range(t.n):
        r = rows[t.first + k]
        d = depth[r.instrument]
        old = latest[(k - 1) * t.n_instruments + r.instrument] if k > 0 else -1
        no_bids, no_asks = (after[old].no_bids, after[old].no_asks) if old >= 0 else (-1, -1)
        if r.kind == _QUOTE and d.quotes:
            _write(t, 2 * k, cell_of(d, keys, r.side, d.ask if r.side < 0 else d.bid), 0.0)
        elif r.kind == _CLEAR:
            no_bids = k if r.side >= 0 else no_bids
            no_asks = k if r.side <= 0 else no_asks
        at = apply(d, cells, keys, r)
        if r.kind == _LEVEL:
            _write(t, 2 * k, at, r.qty)
        elif r.kind == _QUOTE and d.quotes:
            at = cell_of(d, keys, r.side, r.px_ticks)
            _write(t, 2 * k + 1, at, cells[at])
        a = after[k]
        a.bid, a.ask, a.last = d.bid, d.ask, d.last
        a.bid_qty = cells[cell_of(d, keys, 1, d.bid)]
        a.ask_qty = cells[cell_of(d, keys, -1, d.ask)]
        a.no_bids, a.no_asks = no_bids, no_asks
        times[k] = at_clock(r, t.clock)
        for j in range(t.n_instruments):
            latest[k * t.n_instruments + j] = latest[(k - 1) * t.n_instruments + j] if k > 0 else -1
        latest[k * t.n_instruments + r.instrument] = k


@pasted
def _write(t: Any, j: int, cell: int, qty: float) -> None:
    if cell > TRASH:
        newest, w = rows_at(t.at_newest, t.n_cells, I4), rows_at(t.at_writes, 2 * t.n, WRITE)[j]
        w.qty = qty
        w.before = newest[cell]
        w.cell = cell
        newest[cell] = j


@uncounted
def leave(t: Any) -> None:
    """Go on behind the tile: forget its writes, and bring the books before it to its end."""
    newest, writes = rows_at(t.at_newest, t.n_cells, I4), rows_at(t.at_writes, 2 * t.n, WRITE)
    for j in range(2 * t.n):
        newest[writes[j].cell] = -1
    stop = t.first + t.n
    advance(
        t.at_depth, t.n_instruments, t.at_cells, t.n_cells, t.at_keys, t.at_rows, stop, t.first, NEVER, t.clock
    )  # fmt: skip
    t.first, t.n = stop, 0


@pasted
def latest_of(t: Any, k: int, instrument: int) -> int:
    """Return the latest row (of the tile) of an instrument at row `k`; -1 before its first."""
    if k < 0 or t.n_instruments == 1:
        return k
    return rows_at(t.at_latest, t.n * t.n_instruments, I4)[k * t.n_instruments + instrument]


@uncounted
def qty_at(t: Any, side: int, cell: int, k: int, latest: int) -> float:
    """Return what stood in a cell after row `k` of the tile (-1: before it); `latest` is its instrument's row."""
    j = rows_at(t.at_newest, t.n_cells, I4)[cell]
    writes = rows_at(t.at_writes, 2 * t.n, WRITE)
    while j > 2 * k + 1:
        j = writes[j].before
    emptied = -1
    if latest >= 0:
        a = _after(t)[latest]
        emptied = a.no_bids if side > 0 else a.no_asks
    if j < 0:
        return 0.0 if emptied >= 0 else rows_at(t.at_cells, t.n_cells, F8)[cell]
    return 0.0 if j // 2 < emptied else writes[j].qty


@uncounted
def shown_since(t: Any, e: Any, k: int) -> bool:
    """Say whether the venue has shown a level anew by row `k` of the tile since a run took from it."""
    j = rows_at(t.at_newest, t.n_cells, I4)[e.cell]
    writes = rows_at(t.at_writes, 2 * t.n, WRITE)
    while j > 2 * k + 1:
        j = writes[j].before
    if j >= 0 and t.first + j // 2 >= e.row:
        return True
    latest = latest_of(t, k, e.instrument)
    if latest < 0:
        return False
    a = _after(t)[latest]
    emptied = a.no_bids if e.side > 0 else a.no_asks
    return emptied >= 0 and t.first + emptied >= e.row


@uncounted
def standing_at(t: Any, x: Any, d: Any, instrument: int, side: int, px: int, k: int) -> float:
    """Return the quantity a run meets at a price after row `k`: what is shown, less what it took."""
    cell = cell_of(d, rows_at(t.at_keys, t.n_cells, I8), side, px)
    if cell == EMPTY:
        return 0.0
    eaten = rows_at(x.at_eaten, MOST_EATEN, EATEN)
    n = x.n_eaten
    while n > 0:
        n -= 1
        if eaten[n].cell == cell:
            if not shown_since(t, eaten[n], k):
                return eaten[n].qty
            x.n_eaten -= 1
            eaten[n] = eaten[x.n_eaten]
    return qty_at(t, side, cell, k, latest_of(t, k, instrument))


@uncounted
def forget_eaten(t: Any, x: Any) -> None:
    """Forget what a run took from levels that the venue has shown anew by the end of the tile."""
    eaten, n = rows_at(x.at_eaten, MOST_EATEN, EATEN), 0
    for i in range(x.n_eaten):
        if not shown_since(t, eaten[i], t.n - 1):
            if n < i:
                eaten[n] = eaten[i]
            n += 1
    x.n_eaten = n


@uncounted
def shown_at(t: Any, stop: int, instrument: int) -> tuple[int, int, float, float, float]:
    """Return best bid and ask (ticks), last trade, and the quantities at the best prices, before row `stop`."""
    latest = latest_of(t, stop - t.first - 1, instrument)
    if latest >= 0:
        a = _after(t)[latest]
        return a.bid, a.ask, a.last, a.bid_qty, a.ask_qty
    d = rows_at(t.at_depth, t.n_instruments, DEPTH)[instrument]
    cells, keys = rows_at(t.at_cells, t.n_cells, F8), rows_at(t.at_keys, t.n_cells, I8)
    return d.bid, d.ask, d.last, cells[cell_of(d, keys, 1, d.bid)], cells[cell_of(d, keys, -1, d.ask)]

"""The market at every row of a tile: written down once, read by every run that shares the tape.

A tile is a stretch of rows on one clock, with an index of what they left behind: the best prices after each row, the
writes to each level and the prints at its price in order, and how far into either side the rows reach. A run at any
instant within the tile finds the book of that instant without keeping one, and an order at a price finds the next row
that can fill it without reading those between. What a run takes from the book is its own affair: it is remembered
beside the run until the venue shows the level anew. `tile_index` builds what is read here.
"""

from typing import Any

import numpy as np

from quantai.core.compiled import uncounted, uncounted_inlined
from quantai.core.hints import apart, rarely
from quantai.core.memory import above_8, above_16, above_64, first_bit, pasted, rows_at
from quantai.core.rows import EVENT
from quantai.venues.book import EMPTY, F8, I8, at_clock, cell_of

AFTER = np.dtype(
    [
        ("bid", "i8"),
        ("ask", "i8"),
        ("bid_qty", "f8"),
        ("ask_qty", "f8"),
        ("last", "f8"),
        ("bid_px", "f8"),
        ("ask_px", "f8"),
        ("no_bids", "i4"),  # the latest row of the tile that emptied the side, -1 when none did
        ("no_asks", "i4"),
    ]
)
"""The book of a row's instrument after that row; a line of a cache."""

LIST = np.dtype([("first", "i4"), ("n", "i4"), ("number", "i4"), ("_pad", "i4")])
"""Where the entries of a cell stand among all of the tile, and the list's number.

For a cell the tile does not concern, both are 0 and the number is FAR. The list of prints is always there.
"""

STOOD = np.dtype([("qty", "f8"), ("lots", "f8"), ("shown", "i4"), ("_pad", "i4")])
"""An entry: what stands in the cell after it, the lots that its row shows or prints (NaN: it concerns no order), and
the latest row (of the tile) that wrote the cell, -1 for none in the tile."""

ASKED = np.dtype([("ts", "i8"), ("row", "i8")])
"""An instant that some run asked for, and the first row of the tile beyond it."""

SPREAD = np.dtype([("first", "i8"), ("n", "i8"), ("base", "i8"), ("no_bids", "i4"), ("no_asks", "i4")])
"""An instrument: where its rows stand among those by instrument, how many, the price (ticks) reach is told from, and
the latest row of the tile that emptied either side, -1 for none."""

TILE = np.dtype(
    [
        ("at_rows", "u8"),  # all rows in the order of the clock
        ("n_rows", "i8"),
        ("clock", "i8"),
        ("first", "i8"),  # the first row of the tile, and how many there are
        ("n", "i8"),
        ("n_instruments", "i8"),
        ("n_cells", "i8"),
        ("cleared", "i8"),  # 1 = a row of the tile empties a side
        ("at_insts", "u8"),
        ("at_keys", "u8"),
        ("at_depth", "u8"),  # the books before the tile
        ("at_cells", "u8"),
        ("at_depth_end", "u8"),  # and behind its last row
        ("at_cells_end", "u8"),
        ("at_spread", "u8"),
        ("at_after", "u8"),  # by instrument, then by row
        ("at_latest", "u8"),  # by row and instrument: the place of its latest row in `after`, -1 before its first
        ("at_row", "u8"),  # by place in `after`: the row
        ("at_lists", "u8"),  # by cell
        ("at_touched", "u8"),  # the cells that have lists
        ("n_touched", "i8"),
        ("at_entries", "u8"),  # in the order of rows
        ("n_entries", "i8"),
        ("n_prints", "i8"),  # rows that printed
        ("at_spots", "u8"),  # by list: the row of each entry, and FAR behind the last
        ("at_stood", "u8"),
        ("at_heads", "u8"),  # by stretch of rows and list: its first entry from there on
        ("stretch", "i8"),  # 2**stretch rows
        ("at_reach", "u8"),  # by side and place in `after`
        ("room", "i8"),  # rows there is memory for
        ("at_times", "u8"),  # by row, and NEVER behind the last
        ("at_marks", "u8"),  # by stretch of time: its first row
        ("since", "i8"),  # the instant of the first row
        ("shift", "i8"),  # a stretch is 2**shift ns
        ("n_marks", "i8"),
        ("at_asked", "u8"),  # what runs have asked for, by instant
        ("shift_asked", "i8"),
        ("n_asked", "i8"),
    ]
)
"""One tile on one clock."""

EATEN = np.dtype([("cell", "i8"), ("qty", "f8"), ("row", "i8"), ("instrument", "i8"), ("side", "i8")])
"""A level that a run took from: what is left of it (units), as of the rows before `row`."""

MOST_EATEN = 512
I2, I4 = np.dtype("i2"), np.dtype("i4")
FAR = 2**31 - 1
"""A row beyond all others."""
NOTHING, EVERYTHING = 2**15 - 1, -(2**15)
"""What a row reaches that meets no order of a side, and one that meets every one."""
BLOCK = 64
"""Rows whose reach is looked at at once; as many places behind a table may be read, and are not used."""
MOST_ASKED = 512
"""Instants that a tile remembers: runs of one strategy ask for the same ones, run after run."""
_MOST = 2**15 - 2


@uncounted_inlined
def first_beyond(t: Any, i: int, ts: int) -> int:
    """Return the first row from `i` on whose instant is beyond `ts`; the end of the tile when there is none."""
    # a request comes one nanosecond after what was looked at before it: two neighbours do not share a place
    stretch = (ts - t.since) >> t.shift_asked
    if stretch < 0:
        return max(i, t.first)
    if stretch >= t.n_asked >> 1:
        return max(i, t.first + t.n)
    a = rows_at(t.at_asked, MOST_ASKED, ASKED)[2 * stretch + (ts & 1)]
    if rarely(a.ts != ts):
        a.ts, a.row = ts, look_up(t, ts)
    return max(i, a.row)


@uncounted
def look_up(t: Any, ts: int) -> int:
    """Return the first row of the tile whose instant is beyond `ts`, which is no earlier than that of its first row."""
    apart()
    stretch = (ts - t.since) >> t.shift
    if stretch >= t.n_marks:
        return t.first + t.n
    k = np.int64(rows_at(t.at_marks, t.n_marks, I4)[stretch])
    bits = above_8(t.at_times + np.uint64(8 * k), ts)
    while bits == 0:  # NEVER stands behind the last
        k += 8
        bits = above_8(t.at_times + np.uint64(8 * k), ts)
    return t.first + k + first_bit(bits)


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


@pasted
def latest_of(t: Any, k: int, instrument: int) -> int:
    """Return the place in `after` of the latest row of an instrument at row `k` of the tile; -1 before its first."""
    if k < 0 or t.n_instruments == 1:
        return k
    return rows_at(t.at_latest, t.n * t.n_instruments, I4)[k * t.n_instruments + instrument]


@uncounted_inlined
def place_of(t: Any, cell: int, k: int) -> int:
    """Return the place of the first entry of a cell beyond row `k`; that of FAR when there is none."""
    entries = rows_at(t.at_lists, t.n_cells, LIST)[cell]
    place = int(entries.first)
    if entries.n > 0 and k >= 0:
        # no other list is looked at, so the memory may be taken for as long as this needs it
        at = (k >> t.stretch) * t.n_touched + entries.number
        place = int(rows_at(t.at_heads, at + 1, I4)[at])
        bits = above_16(t.at_spots + np.uint64(4 * place), k)
        while bits == 0:  # FAR stands behind the last
            place += 16
            bits = above_16(t.at_spots + np.uint64(4 * place), k)
        place += first_bit(bits)
    return place


@uncounted_inlined
def emptied_at(t: Any, side: int, latest: int) -> int:
    """Return the row of the tile that emptied a side by its instrument's `latest` row; -1 when none did."""
    if rarely(t.cleared != 0) and latest >= 0:
        a = rows_at(t.at_after, t.n, AFTER)[latest]
        return int(a.no_bids if side > 0 else a.no_asks)
    return -1


@uncounted_inlined
def qty_at(t: Any, side: int, cell: int, place: int, latest: int) -> float:
    """Return what stood in a cell after the entry before `place`; `latest` is its instrument's row by then."""
    emptied = emptied_at(t, side, latest)
    if place <= rows_at(t.at_lists, t.n_cells, LIST)[cell].first:
        return 0.0 if emptied >= 0 else rows_at(t.at_cells, t.n_cells, F8)[cell]
    if rows_at(t.at_spots, t.n_entries, I4)[place - 1] < emptied:
        return 0.0
    return rows_at(t.at_stood, t.n_entries, STOOD)[place - 1].qty


@uncounted
def shown_since(t: Any, e: Any, k: int) -> bool:
    """Say whether the venue has shown a level anew by row `k` of the tile since a run took from it."""
    place, since = place_of(t, e.cell, k), max(e.row - t.first, 0)
    listed = place > rows_at(t.at_lists, t.n_cells, LIST)[e.cell].first
    if listed and rows_at(t.at_stood, t.n_entries, STOOD)[place - 1].shown >= since:
        return True
    return emptied_at(t, e.side, latest_of(t, k, e.instrument)) >= since


@uncounted
def standing_at(t: Any, x: Any, d: Any, instrument: int, side: int, px: int, k: int) -> float:
    """Return the quantity a run meets at a price after row `k`: what is shown, less what it took."""
    apart()
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
    return qty_at(t, side, cell, place_of(t, cell, k), latest_of(t, k, instrument))


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


@pasted
def reach_of(base: int, side: int, px: int) -> int:
    """Return a price as orders of a side meet it: the lower, the more of them it reaches. Bounded, so never too high.

    An order at a price is met by whatever reaches no higher than the price itself does.
    """
    from_base = min(max(px - base, -_MOST), _MOST)
    return from_base if side > 0 else -from_base


@uncounted_inlined
def first_reached(t: Any, instrument: int, side: int, key: int, i: int, until: int) -> int:
    """Return the first row of the tile in [i, until) that reaches `key` on a side of an instrument, else `until`."""
    lo, hi = i, until
    if rarely(t.n_instruments > 1):
        start = rows_at(t.at_spread, t.n_instruments, SPREAD)[instrument].first
        lo, hi = max(latest_of(t, i - 1, instrument) + 1, start), max(latest_of(t, until - 1, instrument) + 1, start)
    at = lo if side > 0 else t.room + BLOCK + lo
    while lo < hi:
        bits = ~above_64(t.at_reach + np.uint64(2 * at), key)
        if bits != 0:
            lo += first_bit(bits)
            break
        lo += BLOCK
        at += BLOCK
    if lo >= hi:
        return until
    return lo if t.n_instruments == 1 else int(rows_at(t.at_row, t.n, I4)[lo])

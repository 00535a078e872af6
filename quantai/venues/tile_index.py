"""How the index of a tile is made: one pass over its rows, and their entries sorted by level."""

from typing import Any

import numpy as np

from quantai.core.compiled import uncounted
from quantai.core.grid import price_of
from quantai.core.instruments import INSTRUMENT
from quantai.core.memory import int64s, pasted, rows_at
from quantai.core.rows import EVENT, Kind
from quantai.venues.book import DEPTH, EMPTY, F8, I8, TRASH, advance, apply, at_clock, cell_of
from quantai.venues.matching import to_lots
from quantai.venues.tiles import (
    AFTER,
    ASKED,
    BLOCK,
    FAR,
    I4,
    LIST,
    MOST_ASKED,
    SPREAD,
    STOOD,
    latest_of,
    place_of,
    qty_at,
    reach_of,
)
from quantai.venues.wire import NEVER

ENTRY = np.dtype([("qty", "f8"), ("lots", "f8"), ("row", "i4"), ("list", "i4")])
"""A row and a list it concerns, as STOOD has it; a row that only printed there is its complement."""

MOST_ENTRIES = 3
"""Cells that one row can concern."""
HEADS = 4
"""Heads of lists there is room for, a row; where a tile has so many lists, stretches are longer."""
PRINTS = TRASH
"""The cell that stands for all prints: a waiting stop hears every one."""
_TRADE, _LEVEL, _CLEAR, _QUOTE = int64s(Kind.TRADE, Kind.LEVEL, Kind.CLEAR, Kind.QUOTE)
ALL = -(2**31)
"""A reach that meets every order of its side."""


@uncounted
def build(t: Any) -> None:
    """Write down what each of the `n` rows of a tile leaves behind, and index it."""
    spread_rows(t)
    rows, depth = rows_at(t.at_rows, t.n_rows, EVENT), rows_at(t.at_depth_end, t.n_instruments, DEPTH)
    cells, keys = rows_at(t.at_cells_end, t.n_cells, F8), rows_at(t.at_keys, t.n_cells, I8)
    after, reach = rows_at(t.at_after, t.n, AFTER), rows_at(t.at_reach, 2 * (t.room + BLOCK), I4)
    spread = rows_at(t.at_spread, t.n_instruments, SPREAD)
    latest, row_at = rows_at(t.at_latest, t.n * t.n_instruments, I4), rows_at(t.at_row, t.n, I4)
    n, to_sells = t.n_instruments, t.room + BLOCK
    t.n_entries, t.n_touched, t.cleared = 0, 0, 0
    for k in range(t.n):
        r = rows[t.first + k]
        inst = rows_at(t.at_insts, t.n_instruments, INSTRUMENT)[r.instrument]
        d, s, kind, p, side = depth[r.instrument], spread[r.instrument], r.kind, r.px_ticks, r.side
        here = s.first + s.n
        no_bids, no_asks = (after[here - 1].no_bids, after[here - 1].no_asks) if s.n > 0 else (-1, -1)
        to_buy = to_sell = FAR
        if kind == _QUOTE and d.quotes:
            best = d.ask if side < 0 else d.bid
            if best != p:
                note(t, k, cell_of(d, keys, side, best), 0.0, np.nan)
        at = apply(d, cells, keys, r)
        if kind == _TRADE:
            lots = to_lots(d, r.qty)
            note(t, ~k, PRINTS, 0.0, lots)
            if side <= 0:
                cell = cell_of(d, keys, 1, p)
                note(t, ~k, cell, cells[cell], lots)
                to_buy = reach_of(s.base, 1, p)
            if side >= 0:
                cell = cell_of(d, keys, -1, p)
                note(t, ~k, cell, cells[cell], lots)
                to_sell = reach_of(s.base, -1, p)
        elif kind == _LEVEL or (kind == _QUOTE and d.quotes):
            at = at if kind == _LEVEL else cell_of(d, keys, side, p)
            alive = r.qty >= d.half
            if at != TRASH:
                note(t, k, at, cells[at], to_lots(d, r.qty) if alive else 0.0)
            if alive:
                to_buy = reach_of(s.base, 1, p) if side <= 0 else FAR
                to_sell = reach_of(s.base, -1, p) if side >= 0 else FAR
        elif kind == _CLEAR:
            t.cleared = 1
            if side >= 0:
                no_bids, to_buy = k, ALL
            if side <= 0:
                no_asks, to_sell = k, ALL
        a = after[here]
        a.bid, a.ask, a.last = d.bid, d.ask, d.last
        a.bid_px, a.ask_px = price_of(d.bid, inst), price_of(d.ask, inst)
        a.bid_qty, a.ask_qty = cells[cell_of(d, keys, 1, d.bid)], cells[cell_of(d, keys, -1, d.ask)]
        a.no_bids, a.no_asks = no_bids, no_asks
        reach[here], reach[to_sells + here] = to_buy, to_sell
        s.n += 1
        if n > 1:
            for j in range(n):
                latest[k * n + j] = latest[(k - 1) * n + j] if k > 0 else -1
            latest[k * n + r.instrument] = here
            row_at[here] = k
    sort_entries(t)


@uncounted
def spread_rows(t: Any) -> None:
    """Give the rows of each instrument their places."""
    rows, spread = rows_at(t.at_rows, t.n_rows, EVENT), rows_at(t.at_spread, t.n_instruments, SPREAD)
    depth = rows_at(t.at_depth, t.n_instruments, DEPTH)
    for i in range(t.n_instruments):
        spread[i].first = spread[i].n = 0
        spread[i].base = depth[i].lo
    if t.n_instruments > 1:
        for k in range(t.first, t.first + t.n):
            spread[rows[k].instrument].n += 1
        at = 0
        for i in range(t.n_instruments):
            spread[i].first = at
            at += spread[i].n
            spread[i].n = 0


@pasted
def note(t: Any, row: int, cell: int, qty: float, lots: float) -> None:
    """Add an entry, unless nobody can read its cell."""
    if cell != EMPTY:
        entries = rows_at(t.at_lists, t.n_cells, LIST)[cell]
        if entries.n == 0:
            rows_at(t.at_touched, MOST_ENTRIES * t.room, I4)[t.n_touched] = cell
            entries.number = t.n_touched
            t.n_touched += 1
        entries.n += 1
        e = rows_at(t.at_entries, MOST_ENTRIES * t.room, ENTRY)[t.n_entries]
        e.qty, e.lots, e.row, e.list = qty, lots, row, entries.number
        t.n_entries += 1


@uncounted
def sort_entries(t: Any) -> None:
    """Bring the entries into lists by cell, each in the order of rows and closed by FAR; list 0 is empty."""
    entries, noted = rows_at(t.at_entries, MOST_ENTRIES * t.room, ENTRY), t.n_entries
    lists, touched = rows_at(t.at_lists, t.n_cells, LIST), rows_at(t.at_touched, MOST_ENTRIES * t.room, I4)
    t.n_entries, n = noted + t.n_touched + 1, t.n_touched
    spots, stood = rows_at(t.at_spots, t.n_entries, I4), rows_at(t.at_stood, t.n_entries, STOOD)
    # stretches of 128 rows, few of which a level has: from its head on, `place_of` looks at 16 entries at once
    stretch = 7
    while ((t.n >> stretch) + 2) * n > HEADS * t.room:
        stretch += 1
    t.stretch = stretch
    heads = rows_at(t.at_heads, HEADS * t.room, I4)
    spots[0] = FAR
    at = 1
    for j in range(n):
        of = lists[touched[j]]
        of.first = heads[j] = at
        at += of.n + 1
        spots[at - 1] = FAR
    done = carry(heads, n, -1, 0)
    for j in range(noted):
        e = entries[j]
        printed = e.row < 0
        k = ~e.row if printed else e.row
        done = carry(heads, n, done, k >> stretch)
        at = heads[(done + 1) * n + e.list]
        heads[(done + 1) * n + e.list] = at + 1
        spots[at] = k
        stood[at].qty, stood[at].lots, stood[at].shown = e.qty, e.lots, k
        if printed:
            stood[at].shown = stood[at - 1].shown if at > heads[e.list] else -1
    carry(heads, n, done, t.n >> stretch)


@pasted
def carry(heads: Any, n: int, done: int, stretch: int) -> int:
    """Begin every stretch up to `stretch` where the one before it ended; the heads behind the last move with it."""
    while done < stretch:
        done += 1
        for j in range(n):
            heads[(done + 1) * n + j] = heads[done * n + j]
    return done


@uncounted
def mark_times(t: Any) -> None:
    """Write down the instants of the rows of a tile, and where each stretch of time begins."""
    rows, times = rows_at(t.at_rows, t.n_rows, EVENT), rows_at(t.at_times, t.n + 1, I8)
    if t.n == 0:
        t.n_marks = t.n_asked = 0
        return
    n, first, clock = t.n, t.first, t.clock
    for k in range(n):
        times[k] = at_clock(rows[first + k], clock)
    times[n] = NEVER
    since, shift = times[0], 0
    while (times[n - 1] - since) >> shift > n >> 1:
        shift += 1
    t.since, t.shift, t.n_marks = since, shift, ((times[n - 1] - since) >> shift) + 1
    marks, stretch = rows_at(t.at_marks, t.n_marks, I4), 0
    for k in range(n):
        while stretch <= (times[k] - since) >> shift:
            marks[stretch] = k
            stretch += 1
    asked, span = rows_at(t.at_asked, MOST_ASKED, ASKED), times[n - 1] - since
    while span >> shift >= MOST_ASKED // 2:
        shift += 1
    t.shift_asked, t.n_asked = shift, 2 * ((span >> shift) + 1)
    for k in range(t.n_asked):
        asked[k].ts = NEVER


@uncounted
def leave(t: Any, stop: int) -> None:
    """Go on to the row `stop` within the tile or at its end: the books of both ends become those before it."""
    cells, cells_end = rows_at(t.at_cells, t.n_cells, F8), rows_at(t.at_cells_end, t.n_cells, F8)
    depth, depth_end = rows_at(t.at_depth, t.n_instruments, DEPTH), rows_at(t.at_depth_end, t.n_instruments, DEPTH)
    lists, touched = rows_at(t.at_lists, t.n_cells, LIST), rows_at(t.at_touched, MOST_ENTRIES * t.room, I4)
    k = stop - t.first - 1
    if t.cleared:
        advance(t.at_depth, t.n_instruments, t.at_cells, t.n_cells, t.at_keys, t.at_rows, stop, t.first, NEVER, t.clock)
        for cell in range(t.n_cells):
            cells_end[cell] = cells[cell]
    else:
        for i in range(t.n_instruments):
            latest = latest_of(t, k, i)
            if latest >= 0:
                a = rows_at(t.at_after, t.n, AFTER)[latest]
                depth[i].bid, depth[i].ask, depth[i].last = a.bid, a.ask, a.last
        for j in range(t.n_touched):
            cell = touched[j]
            if cell != PRINTS:
                cells[cell] = qty_at(t, 0, cell, place_of(t, cell, k), -1)
                cells_end[cell] = cells[cell]
    for j in range(t.n_touched):
        lists[touched[j]].first = lists[touched[j]].n = 0
    for i in range(t.n_instruments):
        depth_end[i] = depth[i]
    t.first, t.n, t.n_touched, t.n_entries, t.cleared = stop, 0, 0, 1, 0

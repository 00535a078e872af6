"""How the index of a tile is made: one pass over its rows, and their entries sorted by level."""

from typing import Any

import numpy as np

from quantai.core.compiled import uncounted
from quantai.core.grid import price_of
from quantai.core.hints import rarely
from quantai.core.instruments import INSTRUMENT
from quantai.core.memory import int64s, pasted, rows_at
from quantai.core.rows import EVENT, Kind
from quantai.venues.book import DEPTH, EMPTY, F8, I8, TRASH, advance, apply, at_clock, cell_of
from quantai.venues.matching import to_lots
from quantai.venues.tiles import (
    AFTER,
    ASKED,
    BLOCK,
    EVERYTHING,
    FAR,
    I2,
    I4,
    LIST,
    MOST_ASKED,
    NOTHING,
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
"""Lists that one row can concern."""
HEADS = 4
"""Heads of lists there is room for, a row; where a tile has so many lists, stretches are longer."""
PRINTS = TRASH
"""The cell that stands for all prints: a waiting stop hears every one."""
_TRADE, _LEVEL, _CLEAR, _QUOTE = int64s(Kind.TRADE, Kind.LEVEL, Kind.CLEAR, Kind.QUOTE)


@uncounted
def build(t: Any, other: Any) -> None:
    """Write down what each of the `n` rows of a tile leaves behind, and index it.

    `other` is a tile on another clock that orders the rows alike, or the same one: its instants are written down, too.
    """
    spread_rows(t)
    d = rows_at(t.at_depth_end, t.n_instruments, DEPTH)[0]
    plain = t.n_instruments == 1 and d.mask == 0 and d.quotes == 0
    lists = rows_at(t.at_lists, t.n_cells, LIST)
    lists[PRINTS].first, lists[PRINTS].number = 1, 0
    rows_at(t.at_touched, 1, I4)[0] = PRINTS
    t.n_entries, t.n_touched, t.n_prints, t.cleared = 0, 1, 0, 0
    k = 0
    while k < t.n:
        if plain:
            k = write_plain(t, other, k)
            if k == t.n:
                break
        write_row(t, other, k)
        k += 1
    sort_entries(t)


@uncounted
def write_plain(t: Any, other: Any, k: int) -> int:
    """Do what `write_row` does, of the rows from `k` on of a tape with one dense book, up to the first that is rare.

    That is one that is neither trade nor level, has no side, or is at a price without a cell; its number is returned.
    Nothing is asked here that each row answers in its own way: kinds and sides come as they like, and a branch on them
    would be guessed wrong at every third row.
    """
    rows = rows_at(t.at_rows, t.n_rows, EVENT)
    d = rows_at(t.at_depth_end, 1, DEPTH)[0]
    inst, s = rows_at(t.at_insts, 1, INSTRUMENT)[0], rows_at(t.at_spread, 1, SPREAD)[0]
    cells, after = rows_at(t.at_cells_end, t.n_cells, F8), rows_at(t.at_after, t.n, AFTER)
    reach = rows_at(t.at_reach, 2 * (t.room + BLOCK), I2)
    times, times_too = rows_at(t.at_times, t.n + 1, I8), rows_at(other.at_times, t.n + 1, I8)
    lists, touched = rows_at(t.at_lists, t.n_cells, LIST), rows_at(t.at_touched, MOST_ENTRIES * t.room, I4)
    entries = rows_at(t.at_entries, MOST_ENTRIES * t.room, ENTRY)
    spots, stood = rows_at(t.at_spots, MOST_ENTRIES * t.room, I4), rows_at(t.at_stood, MOST_ENTRIES * t.room, STOOD)
    clock, clock_too = t.clock, other.clock
    n, to_sells, first = t.n, t.room + BLOCK, t.first
    n_entries, n_touched, n_prints = t.n_entries, t.n_touched, t.n_prints
    bid, ask, last, half, lo, hi = d.bid, d.ask, d.last, d.half, d.lo, d.hi
    to_bid, to_ask = d.at_bid + 1 - lo, d.at_ask + 1 - lo
    no_bids, no_asks, base = s.no_bids, s.no_asks, s.base
    while k < n:
        r = rows[first + k]
        kind, side, p, qty, px = r.kind, np.int64(r.side), r.px_ticks, r.qty, r.px
        if rarely(kind > _LEVEL or side == 0 or p < lo or p > hi):
            break
        times[k], times_too[k] = at_clock(r, clock), at_clock(r, clock_too)
        level, up = kind == _LEVEL, side > 0
        at = (to_bid if up == level else to_ask) + p
        stands = cells[at]  # a load inside of a choice would make the choice a branch
        stands = qty if level else stands
        cells[at] = stands
        alive = qty >= half
        lots = to_lots(d, qty)
        of, e = lists[at], entries[n_entries]
        # the list of a cell that is concerned for the first time has the number FAR
        number = min(np.int64(of.number), n_touched)
        of.n, of.number, touched[n_touched] = of.n + 1, number, at
        n_touched = max(n_touched, number + 1)
        e.qty, e.lots, e.row, e.list = stands, lots if alive | (not level) else 0.0, k if level else ~k, number
        n_entries += 1
        # what is written here of a level, the next row writes over
        spots[1 + n_prints] = k
        e = stood[1 + n_prints]
        e.qty, e.lots, e.shown = 0.0, lots, -1
        n_prints += 1 - level
        last = last if level else px
        shows = level & alive
        bid = max(bid, p if shows & up else lo - 1)
        ask = min(ask, p if shows & (not up) else hi + 1)
        bid_qty, ask_qty = cells[to_bid + bid], cells[to_ask + ask]
        if rarely((bid >= ask) | (bid_qty < half) | (ask_qty < half)):
            # a newcomer beyond the other side makes that side step back; an empty side ends at a sentinel
            if bid >= ask and up:
                ask = bid + 1
            elif bid >= ask:
                bid = ask - 1
            while cells[to_bid + bid] < half:
                bid -= 1
            while cells[to_ask + ask] < half:
                ask += 1
            bid_qty, ask_qty = cells[to_bid + bid], cells[to_ask + ask]
        reach[to_sells * (1 - up) + k] = NOTHING
        reach[to_sells * up + k] = reach_of(base, -1 if up else 1, p) if alive | (not level) else NOTHING
        a = after[k]
        a.bid, a.ask, a.last = bid, ask, last
        a.bid_px, a.ask_px = price_of(bid, inst), price_of(ask, inst)
        a.bid_qty, a.ask_qty = bid_qty if bid_qty < np.inf else 0.0, ask_qty if ask_qty < np.inf else 0.0
        a.no_bids, a.no_asks = no_bids, no_asks
        k += 1
    d.bid, d.ask, d.last, s.n = bid, ask, last, k
    t.n_entries, t.n_touched, t.n_prints = n_entries, n_touched, n_prints
    return k


@uncounted
def write_row(t: Any, other: Any, k: int) -> None:
    """Write down what row `k` of a tile leaves behind."""
    r = rows_at(t.at_rows, t.n_rows, EVENT)[t.first + k]
    rows_at(t.at_times, t.n + 1, I8)[k] = at_clock(r, t.clock)
    rows_at(other.at_times, t.n + 1, I8)[k] = at_clock(r, other.clock)
    kind, p, side, n = r.kind, r.px_ticks, r.side, t.n_instruments
    d, s = rows_at(t.at_depth_end, n, DEPTH)[r.instrument], rows_at(t.at_spread, n, SPREAD)[r.instrument]
    cells, keys = rows_at(t.at_cells_end, t.n_cells, F8), rows_at(t.at_keys, t.n_cells, I8)
    here = s.first + s.n
    to_buy = to_sell = NOTHING
    if kind == _QUOTE and d.quotes:
        best = d.ask if side < 0 else d.bid
        if best != p:
            note(t, k, cell_of(d, keys, side, best), 0.0, np.nan)
    at = apply(d, cells, keys, r)
    if kind == _TRADE:
        lots = to_lots(d, r.qty)
        t.n_prints += 1  # the list of prints is the first of all, and in place
        rows_at(t.at_spots, t.n_prints + 1, I4)[t.n_prints] = k
        e = rows_at(t.at_stood, t.n_prints + 1, STOOD)[t.n_prints]
        e.qty, e.lots, e.shown = 0.0, lots, -1
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
            to_buy = reach_of(s.base, 1, p) if side <= 0 else NOTHING
            to_sell = reach_of(s.base, -1, p) if side >= 0 else NOTHING
    elif kind == _CLEAR:
        t.cleared = 1
        if side >= 0:
            s.no_bids, to_buy = k, EVERYTHING
        if side <= 0:
            s.no_asks, to_sell = k, EVERYTHING
    a, inst = rows_at(t.at_after, t.n, AFTER)[here], rows_at(t.at_insts, n, INSTRUMENT)[r.instrument]
    a.bid, a.ask, a.last = d.bid, d.ask, d.last
    a.bid_px, a.ask_px = price_of(d.bid, inst), price_of(d.ask, inst)
    a.bid_qty, a.ask_qty = cells[cell_of(d, keys, 1, d.bid)], cells[cell_of(d, keys, -1, d.ask)]
    a.no_bids, a.no_asks = s.no_bids, s.no_asks
    reach = rows_at(t.at_reach, 2 * (t.room + BLOCK), I2)
    reach[here], reach[t.room + BLOCK + here] = to_buy, to_sell
    s.n += 1
    if n > 1:
        latest = rows_at(t.at_latest, t.n * n, I4)
        for j in range(n):
            latest[k * n + j] = latest[(k - 1) * n + j] if k > 0 else -1
        latest[k * n + r.instrument] = here
        rows_at(t.at_row, t.n, I4)[here] = k


@uncounted
def spread_rows(t: Any) -> None:
    """Give the rows of each instrument their places."""
    rows, spread = rows_at(t.at_rows, t.n_rows, EVENT), rows_at(t.at_spread, t.n_instruments, SPREAD)
    depth = rows_at(t.at_depth, t.n_instruments, DEPTH)
    for i in range(t.n_instruments):
        spread[i].first = spread[i].n = 0
        d = depth[i]
        spread[i].base = max(d.bid, d.lo)
        spread[i].no_bids = spread[i].no_asks = -1
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
        if entries.number == FAR:
            rows_at(t.at_touched, MOST_ENTRIES * t.room, I4)[t.n_touched] = cell
            entries.number = t.n_touched
            t.n_touched += 1
        entries.n += 1
        e = rows_at(t.at_entries, MOST_ENTRIES * t.room, ENTRY)[t.n_entries]
        e.qty, e.lots, e.row, e.list = qty, lots, row, entries.number
        t.n_entries += 1


@uncounted
def sort_entries(t: Any) -> None:
    """Bring the entries into lists by cell, each in the order of rows and closed by FAR; list 0 is empty.

    The next list is that of prints, whose entries are in place.
    """
    entries, noted = rows_at(t.at_entries, MOST_ENTRIES * t.room, ENTRY), t.n_entries
    lists, touched = rows_at(t.at_lists, t.n_cells, LIST), rows_at(t.at_touched, MOST_ENTRIES * t.room, I4)
    t.n_entries, n = noted + t.n_prints + t.n_touched + 1, t.n_touched
    lists[PRINTS].n = t.n_prints
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
        stood[at - 1].shown = -1  # what the first entry of the next list finds before it
    done = carry(heads, n, -1, 0)
    for j in range(noted):
        e = entries[j]
        k = max(e.row, ~e.row)  # of a print it is the complement, and so below whatever was shown before
        done = carry(heads, n, done, k >> stretch)
        at = heads[(done + 1) * n + e.list]
        heads[(done + 1) * n + e.list] = at + 1
        spots[at] = k
        stood[at].qty, stood[at].lots, stood[at].shown = e.qty, e.lots, max(stood[at - 1].shown, e.row)
    done = carry(heads, n, done, t.n >> stretch)
    at = 1
    for j in range(done + 1):  # the heads of prints, which were not counted
        while spots[at] < j << stretch:
            at += 1
        heads[j * n] = at


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
    """Write down where each stretch of time of a tile begins."""
    n, times = t.n, rows_at(t.at_times, t.n + 1, I8)
    times[n] = NEVER
    if n == 0:
        t.n_marks = t.n_asked = 0
        return
    since, span, shift = times[0], times[n - 1] - times[0], 0
    while span >> shift > n >> 1:
        shift += 1
    n_marks = (span >> shift) + 1
    t.since, t.shift, t.n_marks = since, shift, n_marks
    marks = rows_at(t.at_marks, n_marks, I4)
    for k in range(n_marks):
        marks[k] = n
    for k in range(n - 1, -1, -1):
        marks[(times[k] - since) >> shift] = k
    before = n
    for k in range(n_marks - 1, -1, -1):
        down = np.int64(marks[k]) - before
        before += down & (down >> 63)  # the lower of both: said so, it would become a branch, often guessed wrong
        marks[k] = before
    asked = rows_at(t.at_asked, MOST_ASKED, ASKED)
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
        lists[touched[j]].first, lists[touched[j]].n, lists[touched[j]].number = 0, 0, FAR
    for i in range(t.n_instruments):
        depth_end[i] = depth[i]
    t.first, t.n, t.n_touched, t.n_entries, t.cleared = stop, 0, 0, 1, 0

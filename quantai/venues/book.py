"""Books of a simulated run: resting quantity by tick and side, dense over the price range of a tape or hashed.

Cells are one array of float64 quantities (units) for all instruments. A dense side is a run of cells between two
sentinels that never empty, so that a search for the next best price needs no bounds. Cell 0 is always empty and cell 1
takes what nobody reads: with both, applying a row needs hardly a branch.
"""

import math
from typing import Any

import numpy as np

from quantai.core.compiled import uncounted
from quantai.core.memory import int64s, pasted, prefetch, rows_at
from quantai.core.rows import EVENT, Kind

DEPTH = np.dtype(
    [
        ("bid", "i8"),  # best prices in ticks; lo - 1 and hi + 1 when a side is empty
        ("ask", "i8"),
        ("lo", "i8"),
        ("hi", "i8"),
        ("at_bid", "i8"),  # first cell of each side
        ("at_ask", "i8"),
        ("at_key", "i8"),  # first key of a hashed book
        ("mask", "i8"),  # 0 = dense
        ("half", "f8"),  # half a lot in units: what is smaller is nothing
        ("per_unit", "f8"),  # lots in one unit
        ("last", "f8"),  # last trade
        ("quotes", "i8"),  # 1 = the tape has no levels of this instrument: best quotes make its book
        ("crossed", "i8"),  # rows after which the book had to be uncrossed
        ("rows", "i8"),  # trades and changes of the book so far
    ]
)
"""One instrument's book; which side is being read is decided by the caller."""

F8, I8 = np.dtype("f8"), np.dtype("i8")
EMPTY, TRASH = 0, 1
NO_KEY = -(2**63)
RECEIVED, HAPPENED = int64s(0, 1)
"""Which clock a book follows."""
_NEAR = 64
_SOON = 80  # rows: what the next batch will read first
EVENT_BYTES = EVENT.itemsize
_TRADE, _LEVEL, _CLEAR, _QUOTE = int(Kind.TRADE), int(Kind.LEVEL), int(Kind.CLEAR), int(Kind.QUOTE)


@uncounted
def slot_of(d: Any, keys: Any, px: int) -> int:
    """Return where a hashed book keeps a price, or where it would."""
    h = (px * 0x9E3779B97F4A7C1) >> 17 & d.mask
    while keys[d.at_key + h] != px and keys[d.at_key + h] != NO_KEY:
        h = (h + 1) & d.mask
    return h


@pasted
def cell_of(d: Any, keys: Any, side: int, px: int) -> int:
    """Return the cell of a price; EMPTY for one the tape never shows."""
    base = d.at_ask if side < 0 else d.at_bid
    if d.mask == 0:
        if px < d.lo or px > d.hi:
            return EMPTY
        return base + px - d.lo + 1
    h = slot_of(d, keys, px)
    return base + h if keys[d.at_key + h] == px else EMPTY


@uncounted
def next_bid(d: Any, cells: Any, keys: Any, px: int) -> int:
    """Return the best bid at or below `px`, lo - 1 when there is none."""
    if d.mask == 0:
        i = d.at_bid + px - d.lo + 1
        while cells[i] < d.half:
            i -= 1
        return i - d.at_bid - 1 + d.lo
    for p in range(px, max(px - _NEAR, d.lo - 1), -1):
        if cells[cell_of(d, keys, 1, p)] >= d.half:
            return p
    best = d.lo - 1
    for h in range(d.mask + 1):
        p = keys[d.at_key + h]
        if best < p and p <= px and cells[d.at_bid + h] >= d.half:
            best = p
    return best


@uncounted
def next_ask(d: Any, cells: Any, keys: Any, px: int) -> int:
    """Return the best ask at or above `px`, hi + 1 when there is none."""
    if d.mask == 0:
        i = d.at_ask + px - d.lo + 1
        while cells[i] < d.half:
            i += 1
        return i - d.at_ask - 1 + d.lo
    for p in range(px, min(px + _NEAR, d.hi + 1)):
        if cells[cell_of(d, keys, -1, p)] >= d.half:
            return p
    best = d.hi + 1
    for h in range(d.mask + 1):
        p = keys[d.at_key + h]
        if p != NO_KEY and p < best and p >= px and cells[d.at_ask + h] >= d.half:
            best = p
    return best


@pasted
def apply(d: Any, cells: Any, keys: Any, r: Any) -> int:
    """Apply one market row to the book of its instrument; returns the cell it wrote."""
    k, p, qty = r.kind, r.px_ticks, r.qty
    if k > _LEVEL:
        apply_rare(d, cells, keys, r)
        return TRASH
    level = k == _LEVEL
    ask = r.side < 0
    if d.mask == 0:
        at = (d.at_ask if ask else d.at_bid) + p - d.lo + 1 if level else TRASH
    else:
        at = max(cell_of(d, keys, r.side, p), TRASH) if level else TRASH
    cells[at] = qty
    d.last = d.last if level else r.px
    d.rows += 1
    write(d, cells, keys, level, ask, p, qty >= d.half)
    return at


@pasted
def write(d: Any, cells: Any, keys: Any, level: bool, ask: bool, p: int, alive: bool) -> None:
    """Move the best prices after a cell changed; a newcomer beyond the other side makes that side step back."""
    bid, best_ask = d.bid, d.ask
    new_bid = p if level & alive & (not ask) & (p > bid) else bid
    new_ask = p if level & alive & ask & (p < best_ask) else best_ask
    d.bid = new_bid
    d.ask = new_ask
    if level & (not alive) & (p == (best_ask if ask else bid)):
        if ask:
            d.ask = next_ask(d, cells, keys, p)
        else:
            d.bid = next_bid(d, cells, keys, p)
    elif new_bid >= new_ask:
        d.crossed += 1
        if new_bid > bid:
            d.ask = next_ask(d, cells, keys, new_bid + 1) if new_bid < d.hi else d.hi + 1
        else:
            d.bid = next_bid(d, cells, keys, new_ask - 1) if new_ask > d.lo else d.lo - 1


@uncounted
def apply_rare(d: Any, cells: Any, keys: Any, r: Any) -> None:
    """Apply a CLEAR row, or the QUOTE row of an instrument whose book is made of quotes; other rows change no book."""
    if r.kind == _CLEAR:
        d.rows += 1
        if r.side >= 0:
            clear(d, cells, d.at_bid)
            d.bid = d.lo - 1
        if r.side <= 0:
            clear(d, cells, d.at_ask)
            d.ask = d.hi + 1
    elif r.kind == _QUOTE and d.quotes:
        d.rows += 1
        ask = r.side < 0
        cells[cell_of(d, keys, r.side, d.ask if ask else d.bid)] = 0.0
        alive = r.qty > 0.0 or math.isnan(r.qty)
        # a quote without a size is worth one lot: its price is what it says
        cells[cell_of(d, keys, r.side, r.px_ticks)] = r.qty if r.qty > 0.0 else (2.0 * d.half if alive else 0.0)
        if ask:
            d.ask = r.px_ticks if alive else d.hi + 1
            d.bid = d.bid if d.bid < d.ask else d.lo - 1
        else:
            d.bid = r.px_ticks if alive else d.lo - 1
            d.ask = d.ask if d.bid < d.ask else d.hi + 1
    cells[EMPTY] = 0.0


@uncounted
def clear(d: Any, cells: Any, base: int) -> None:
    """Empty one side."""
    if d.mask == 0:
        for i in range(base + 1, base + d.hi - d.lo + 2):
            cells[i] = 0.0
    else:
        for i in range(base, base + d.mask + 1):
            cells[i] = 0.0


@pasted
def at_clock(r: Any, clock: int) -> int:
    """Return the instant of a row on one of the two clocks."""
    return r.ts_recv if clock == RECEIVED else r.ts_exch


@uncounted
def advance(
    at_depth: int, n: int, at_cells: int, n_cells: int, at_keys: int, at_rows: int, n_rows: int, i: int, until: int,
    clock: int,
) -> int:  # fmt: skip
    """Apply the rows from `i` up to the instant `until` (inclusive) of one clock; returns the first row left."""
    rows, depth = rows_at(at_rows, n_rows, EVENT), rows_at(at_depth, n, DEPTH)
    cells, keys = rows_at(at_cells, n_cells, F8), rows_at(at_keys, n_cells, I8)
    while i < n_rows and at_clock(rows[i], clock) <= until:
        if n == 1 and depth[0].mask == 0:
            i = rush(depth[0], cells, at_rows, n_rows, i, until, clock)
            if i == n_rows or at_clock(rows[i], clock) > until:
                break
        apply(depth[rows[i].instrument], cells, keys, rows[i])
        i += 1
    return i


@uncounted
def rush(d: Any, cells: Any, at_rows: Any, n_rows: int, i: int, until: int, clock: int) -> int:
    """Apply rows of one dense book as `advance` does, up to the first that is neither trade nor level.

    Best prices are bounds here: a best level that empties is looked past only when the other side comes near, or at the
    end. That leaves one branch a row that is ever guessed wrong, and none that depends on the side.
    """
    rows = rows_at(at_rows, n_rows, EVENT)
    first, bid, ask, lo, half, last = i, d.bid, d.ask, d.lo, d.half, d.last
    to_bid, to_ask = d.at_bid + 1 - lo, d.at_ask + 1 - lo
    none_bid, none_ask = d.lo - 1, d.hi + 1
    while i < n_rows:
        r = rows[i]
        prefetch(at_rows + np.uint64((i + _SOON) * EVENT_BYTES))
        k = r.kind
        if at_clock(r, clock) > until or k > _LEVEL:
            break
        # all loads come first: one inside a choice would make the choice a branch
        p, qty, px = r.px_ticks, r.qty, r.px
        is_level, is_ask = k == _LEVEL, r.side < 0
        at = (to_ask if is_ask else to_bid) + p
        at = at if is_level else TRASH
        cells[at] = qty
        last = last if is_level else px
        shows = is_level & (qty >= half)
        bid = max(bid, p if shows & (not is_ask) else none_bid)
        ask = min(ask, p if shows & is_ask else none_ask)
        i += 1
        if bid >= ask:
            if is_ask:
                while cells[to_bid + bid] < half:
                    bid -= 1
                if bid >= ask:
                    d.crossed += 1
                    bid = ask - 1
                    while cells[to_bid + bid] < half:
                        bid -= 1
            else:
                while cells[to_ask + ask] < half:
                    ask += 1
                if bid >= ask:
                    d.crossed += 1
                    ask = bid + 1
                    while cells[to_ask + ask] < half:
                        ask += 1
    if d.quotes == 0:  # what is quoted is the best price, however little it is
        while cells[to_bid + bid] < half:
            bid -= 1
        while cells[to_ask + ask] < half:
            ask += 1
    d.bid, d.ask, d.last = bid, ask, last
    d.rows += i - first
    return i

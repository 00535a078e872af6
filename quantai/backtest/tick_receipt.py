"""What our side of a replay receives of the market: rows, one by one or in batches, and the books they leave."""

from typing import Any

import numpy as np

from quantai.core.compiled import uncounted, uncounted_inlined
from quantai.core.grid import price_of
from quantai.core.hints import rarely
from quantai.core.memory import prefetch, rows_at
from quantai.core.rows import EVENT
from quantai.strategy.account import equity_of
from quantai.strategy.context import instruments_of
from quantai.strategy.heard import NOTHING, hear
from quantai.strategy.shown import show_top
from quantai.venues.book import DEPTH, F8, I8, RECEIVED, advance, apply, cell_of
from quantai.venues.columns import advance_marked
from quantai.venues.matching import depth_of, own_of
from quantai.venues.tiles import AFTER, TILE, first_beyond, latest_of

_AFTER_BYTES = AFTER.itemsize


@uncounted_inlined
def receive_rows(c: Any, p: Any, x: Any, t: int) -> None:
    """Receive every row up to the instant `t`."""
    first = x.next_recv
    if x.at_tile != 0:
        tile = rows_at(x.at_tile, 1, TILE)[0]
        x.next_recv = first_beyond(tile, first, t)
        if x.n_instruments == 1:  # what is shown next is still far away
            prefetch(tile.at_after + np.uint64(_AFTER_BYTES * (x.next_recv - tile.first - 1)))
    elif x.at_columns != 0:
        x.next_recv = advance_marked(x, x.at_depth, x.at_cells, first, t, RECEIVED)
    else:
        x.next_recv = advance(
            x.at_depth, x.n_instruments, x.at_cells, x.n_cells, x.at_keys, x.at_rows, x.n_rows, first, t, RECEIVED
        )
    p.rows += x.next_recv - first
    p.seq += x.next_recv - first


@uncounted
def receive_row(c: Any, p: Any, x: Any, wants: int) -> int:
    """Receive one row and say which handler it concerns; a book is shown once a message is complete."""
    row = rows_at(x.at_rows, x.n_rows, EVENT)[x.next_recv]
    if x.at_tile == 0:
        d = depth_of(x)[row.instrument]
        apply(d, rows_at(x.at_cells, x.n_cells, F8), rows_at(x.at_keys, x.n_cells, I8), row)
    p.row = x.next_recv
    x.next_recv += 1
    p.rows += 1
    p.seq += 1
    c.seq = p.seq
    c.k = 0
    c.now = row.ts_recv
    c.instrument = row.instrument
    what, complete = hear(own_of(x)[row.instrument], row.kind, row.flags, wants)
    # of several instruments, a handler called for one can ask for the book and price of another
    if what != NOTHING or (complete and x.n_instruments > 1):
        refresh_one(c, x, row.instrument)
    if what != NOTHING:
        c.equity = equity_of(c)
    return what


@uncounted_inlined
def refresh(c: Any, x: Any) -> None:
    """Bring the BOOK and the last price of every instrument up to date."""
    for i in range(x.n_instruments):
        refresh_one(c, x, i)


@uncounted_inlined
def refresh_one(c: Any, x: Any, i: int) -> None:
    """Bring the BOOK and the last price of one instrument up to date."""
    d = depth_of(x)[i]
    if x.at_tile != 0:
        show_tile(c, x, d, i)
        return
    has_bid, has_ask, bid_qty, ask_qty = d.bid >= d.lo, d.ask <= d.hi, 0.0, 0.0
    if has_bid or has_ask:
        cells, keys = rows_at(x.at_cells, x.n_cells, F8), rows_at(x.at_keys, x.n_cells, I8)
        bid_qty, ask_qty = cells[cell_of(d, keys, 1, d.bid)], cells[cell_of(d, keys, -1, d.ask)]
    inst = instruments_of(c)[i]
    bid_px, ask_px = price_of(d.bid, inst), price_of(d.ask, inst)
    show_top(c, i, has_bid, has_ask, d.bid, d.ask, bid_px, ask_px, bid_qty, ask_qty, d.last, False)


@uncounted_inlined
def show_tile(c: Any, x: Any, d: Any, i: int) -> None:
    """Do what `refresh_one` does, for a run that shares its market."""
    t = rows_at(x.at_tile, 1, TILE)[0]
    latest = latest_of(t, x.next_recv - t.first - 1, i)
    if rarely(latest < 0):
        show_before(c, t, i)
        return
    a = rows_at(t.at_after, t.n, AFTER)[latest]
    show_top(
        c, i, a.bid >= d.lo, a.ask <= d.hi, a.bid, a.ask, a.bid_px, a.ask_px, a.bid_qty, a.ask_qty, a.last, False
    )  # fmt: skip


@uncounted
def show_before(c: Any, t: Any, i: int) -> None:
    """Show the book of instrument `i` as it was before the tile."""
    d, inst = rows_at(t.at_depth, t.n_instruments, DEPTH)[i], instruments_of(c)[i]
    cells, keys = rows_at(t.at_cells, t.n_cells, F8), rows_at(t.at_keys, t.n_cells, I8)
    bid_qty, ask_qty = cells[cell_of(d, keys, 1, d.bid)], cells[cell_of(d, keys, -1, d.ask)]
    bid_px, ask_px = price_of(d.bid, inst), price_of(d.ask, inst)
    show_top(c, i, d.bid >= d.lo, d.ask <= d.hi, d.bid, d.ask, bid_px, ask_px, bid_qty, ask_qty, d.last, False)

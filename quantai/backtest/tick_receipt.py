"""What our side of a replay receives of the market: rows, one by one or in batches, and the books they leave."""

from typing import Any

from quantai.core.compiled import uncounted, uncounted_inlined
from quantai.core.memory import rows_at
from quantai.core.rows import EVENT
from quantai.strategy.account import equity_of
from quantai.strategy.heard import NOTHING, hear
from quantai.strategy.shown import show_top
from quantai.venues.book import F8, I8, RECEIVED, advance, apply, cell_of
from quantai.venues.columns import advance_marked
from quantai.venues.matching import depth_of, own_of
from quantai.venues.tiles import TILE, first_beyond, shown_at


@uncounted_inlined
def receive_rows(c: Any, p: Any, x: Any, t: int) -> None:
    """Receive every row up to the instant `t`."""
    first = x.next_recv
    if x.at_tile != 0:
        x.next_recv = first_beyond(rows_at(x.at_tile, 1, TILE)[0], first, t)
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


@uncounted
def refresh(c: Any, x: Any) -> None:
    """Bring the BOOK and the last price of every instrument up to date."""
    for i in range(x.n_instruments):
        refresh_one(c, x, i)


@uncounted_inlined
def refresh_one(c: Any, x: Any, i: int) -> None:
    """Bring the BOOK and the last price of one instrument up to date."""
    d = depth_of(x)[i]
    bid, ask, last, bid_qty, ask_qty = d.bid, d.ask, d.last, 0.0, 0.0
    if x.at_tile != 0:
        bid, ask, last, bid_qty, ask_qty = shown_at(rows_at(x.at_tile, 1, TILE)[0], x.next_recv, i)
    has_bid, has_ask = bid >= d.lo, ask <= d.hi
    if x.at_tile == 0 and (has_bid or has_ask):
        cells, keys = rows_at(x.at_cells, x.n_cells, F8), rows_at(x.at_keys, x.n_cells, I8)
        bid_qty, ask_qty = cells[cell_of(d, keys, 1, bid)], cells[cell_of(d, keys, -1, ask)]
    show_top(c, i, has_bid, has_ask, bid, ask, bid_qty, ask_qty, last, False)

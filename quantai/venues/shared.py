"""The exchange of a run that shares its market: requests meet the book of their instant, as the tile tells it.

The few levels that a request can meet are laid out in a scratch book, the request is answered on it as on any other,
and what was taken is written down.
"""

from typing import Any

import numpy as np

from quantai.core.compiled import uncounted
from quantai.core.memory import rows_at
from quantai.core.rows import Action
from quantai.venues.book import DEPTH, EMPTY, F8, I8, cell_of
from quantai.venues.matching import depth_of, resting_of, to_lots
from quantai.venues.requests import answer
from quantai.venues.tiles import (
    AFTER,
    EATEN,
    MOST_EATEN,
    TILE,
    first_beyond,
    latest_of,
    qty_at,
    standing_at,
)
from quantai.venues.wire import requests_of

MOST_LAID = 4096
"""Prices of one side that an order may walk over; beyond, the run is run by itself."""
_CANCEL = int(Action.CANCEL)


@uncounted
def serve_shared(x: Any, at: int) -> None:
    """Answer every request that arrives at the instant `at`."""
    t = rows_at(x.at_tile_x, 1, TILE)[0]
    depth, cells = depth_of(x), rows_at(x.at_cells, x.n_cells, F8)
    keys = rows_at(x.at_keys, x.n_cells, I8)
    x.next_book = first_beyond(t, max(x.next_book, t.first), at)
    x.next_scan = x.next_book
    k = x.next_book - t.first - 1
    requests = requests_of(x)
    while x.first_request < x.end_request and requests[x.first_request].at == at:
        q = requests[x.first_request]
        if q.action == _CANCEL:
            answer(x, q, x.at_depth, x.at_cells, False)
        else:
            d = depth[q.instrument]
            find_tops(t, x, d, q.instrument, k)
            cell = cell_of(d, keys, q.side, price_of_request(x, q))
            if cell != EMPTY:
                latest = latest_of(t, k, q.instrument)
                cells[cell] = (
                    qty_at(t, q.side, cell, k, latest)
                    if x.n_eaten == 0
                    else standing_at(t, x, d, q.instrument, q.side, price_of_request(x, q), k)
                )
            if answer(x, q, x.at_depth, x.at_cells, False):
                take(t, x, d, q, k)
            cells[cell] = 0.0
        x.first_request += 1


@uncounted
def price_of_request(x: Any, q: Any) -> int:
    """Return the price at which a request may come to rest: its own, or that of the order it changes."""
    if q.px > 0:
        return q.px
    rows = resting_of(x)
    for k in range(x.n_orders):
        if rows[k].order == q.order:
            return rows[k].px
    return 0


@uncounted
def find_tops(t: Any, x: Any, d: Any, instrument: int, k: int) -> None:
    """Write the best prices that a run meets after row `k` to its scratch book: behind what it has eaten up."""
    latest = latest_of(t, k, instrument)
    if latest >= 0:
        a = rows_at(t.at_after, t.n, AFTER)[latest]
        d.bid, d.ask, d.last = a.bid, a.ask, a.last
    else:
        before = rows_at(t.at_depth, t.n_instruments, DEPTH)[instrument]
        d.bid, d.ask, d.last = before.bid, before.ask, before.last
    if x.n_eaten > 0:
        if is_eaten(t, x, d, instrument, -1, d.ask, k):
            d.ask += 1
            while d.ask <= d.hi and standing_at(t, x, d, instrument, -1, d.ask, k) < d.half:
                d.ask += 1
        if is_eaten(t, x, d, instrument, 1, d.bid, k):
            d.bid -= 1
            while d.bid >= d.lo and standing_at(t, x, d, instrument, 1, d.bid, k) < d.half:
                d.bid -= 1


@uncounted
def is_eaten(t: Any, x: Any, d: Any, instrument: int, side: int, px: int, k: int) -> bool:
    """Say whether a run has eaten up a level that is still shown."""
    cell = cell_of(d, rows_at(t.at_keys, t.n_cells, I8), side, px)
    eaten = rows_at(x.at_eaten, MOST_EATEN, EATEN)
    for n in range(x.n_eaten):
        if eaten[n].cell == cell and cell != EMPTY:
            return standing_at(t, x, d, instrument, side, px, k) < d.half
    return False


@uncounted
def take(t: Any, x: Any, d: Any, q: Any, k: int) -> None:
    """Let a request take: lay out the levels it can reach, answer it, and remember what it left of them."""
    cells, keys = rows_at(x.at_cells, x.n_cells, F8), rows_at(x.at_keys, x.n_cells, I8)
    eaten = rows_at(x.at_eaten, MOST_EATEN, EATEN)
    side, first = q.side, d.ask if q.side > 0 else d.bid
    need, rows = q.lots, resting_of(x)
    for n in range(x.n_orders):
        if rows[n].order == q.order:
            need = max(need, rows[n].open)
    px, found, laid = first, 0, 0
    # one level beyond what it needs: the best price once it has taken
    while d.lo <= px and px <= d.hi and laid < MOST_LAID:
        qty = standing_at(t, x, d, q.instrument, -side, px, k)
        cells[cell_of(d, keys, -side, px)] = qty
        laid += 1
        px += side
        if qty >= d.half:
            if found >= need:
                break
            found += int(np.floor(to_lots(d, qty)))
    if laid == MOST_LAID or d.quotes:
        x.lost = 1  # in a book made of quotes, what a quote replaces depends on what was eaten
    answer(x, q, x.at_depth, x.at_cells, True)
    px = first
    for _ in range(laid):
        cell = cell_of(d, keys, -side, px)
        if cell != EMPTY:
            if cells[cell] != standing_at(t, x, d, q.instrument, -side, px, k):
                n = 0
                while n < x.n_eaten and eaten[n].cell != cell:
                    n += 1
                if n == MOST_EATEN:
                    x.lost = 1
                else:
                    x.n_eaten = max(x.n_eaten, n + 1)
                    e = eaten[n]
                    e.cell, e.qty, e.row = cell, cells[cell], t.first + k + 1
                    e.instrument, e.side = q.instrument, -side
            cells[cell] = 0.0
        px += side

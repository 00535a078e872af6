"""The simulated exchange: market rows meet our resting orders, our requests meet the book, reports go back.

Nobody sees the exchange between our requests: it is run in batches, up to the next instant at which a decision of ours
could reach it. Its book is the one we see plus the rows still on their way to us; it gets one of its own only once we
take from it, or when the rows on their way are many.
"""

from typing import Any

import numpy as np

from quantai.core.compiled import uncounted, uncounted_inlined
from quantai.core.hints import distinct, rarely
from quantai.core.memory import first_bit, int64s, pasted, rows_at
from quantai.core.rows import EVENT, Action, Kind, Reason
from quantai.venues.book import DEPTH, F8, HAPPENED, I8, advance, apply, cell_of, write
from quantai.venues.columns import advance_marked, columns_of, met, px_of, rows_until, shown_by
from quantai.venues.matching import compact, depth_of, expire, match, own_of
from quantai.venues.requests import answer, cancel
from quantai.venues.shared import is_met_by, scan_shared, serve_shared
from quantai.venues.stops import STOP
from quantai.venues.wire import NEVER, ROOM, requests_of

UNDO = np.dtype([("cell", "i8"), ("qty", "f8")])
MOST_AHEAD = 256
"""Rows on their way to us beyond which the exchange keeps a book of its own."""
_LEVEL, _CLEAR, _QUOTE = int(Kind.LEVEL), int(Kind.CLEAR), int(Kind.QUOTE)
_CANCEL = int(Action.CANCEL)
_EXPIRED, _GTD = int64s(Kind.EXPIRED, Reason.GTD)


@uncounted
def scan(x: Any, stop: int) -> bool:
    """Let our resting orders meet the rows up to `stop`; False when the reports left no room before that."""
    if x.at_columns != 0:
        return scan_marked(x, stop)
    rows, own = rows_at(x.at_rows_x, x.n_rows, EVENT), own_of(x)
    i, n, several = x.next_scan, x.n_rows, x.n_instruments > 1
    w = own[0]
    buy_lo, buy_hi, sell_lo, sell_hi = w.buy_lo, w.buy_hi, w.sell_lo, w.sell_hi
    while i < n:
        r = rows[i]
        if r.ts_exch > stop:
            break
        i += 1
        p, s = r.px_ticks, r.side
        if several:
            w = own[r.instrument]
            buy_lo, buy_hi, sell_lo, sell_hi = w.buy_lo, w.buy_hi, w.sell_lo, w.sell_hi
        # ours are met by what reaches their price from the other side, and by what changes their level
        buy = (p <= buy_hi) & ((s <= 0) | (p >= buy_lo))
        sell = (p >= sell_lo) & ((s >= 0) | (p <= sell_hi))
        if buy | sell | (r.kind == _CLEAR):
            if match(x, r.kind, r.instrument, s, p, r.qty, r.ts_exch):
                w = own[r.instrument]
                buy_lo, buy_hi, sell_lo, sell_hi = w.buy_lo, w.buy_hi, w.sell_lo, w.sell_hi
                if is_interrupted(x, stop):
                    break
            if x.ring - (x.end_report - x.first_report) < ROOM // 2:
                x.next_scan = i
                x.done = r.ts_exch - 1
                return False
    x.next_scan = i
    return True


@uncounted
def scan_marked(x: Any, stop: int) -> bool:
    """Do what `scan` does by the columns of a tape."""
    own, c = own_of(x)[0], columns_of(x, HAPPENED)
    i, n = x.next_scan, x.n_rows
    end = rows_until(c.at_ts, n, i, stop)
    while i < end:
        first, i = i, min(i + 64, end)
        bits = met(c, own, first, i - first)
        while bits != 0:
            at = first + first_bit(bits)
            bits &= bits - np.uint64(1)
            k, side, p, qty = shown_by(c, at)
            ts = rows_at(c.at_ts, n, I8)[np.uint64(at)]
            ended = match(x, k, 0, side, p, qty, ts)
            if ended:
                i, bits = at + 1, np.uint64(0)  # ours are other prices now
                if is_interrupted(x, stop):
                    x.next_scan = i
                    return True
            if x.ring - (x.end_report - x.first_report) < ROOM // 2:
                x.next_scan = at + 1
                x.done = ts - 1
                return False
    x.next_scan = i
    return True


@uncounted
def is_interrupted(x: Any, stop: int) -> bool:
    """Say whether, after an order ended, none is left to be met or a stop has woken that arrives before `stop`."""
    return x.n_orders == 0 or (x.first_request < x.end_request and requests_of(x)[x.first_request].at < stop)


@uncounted
def serve(x: Any, at: int) -> None:
    """Answer every request that arrives at the instant `at`, on the book as it is then."""
    n = -1
    if x.split == 0:
        n = look_ahead(x, at)
        if n < 0:
            part(x)
    if x.split == 1:
        catch_up(x, at)
        x.next_scan = x.next_book
    requests = requests_of(x)
    while x.first_request < x.end_request and requests[x.first_request].at == at:
        request = requests[x.first_request]
        if request.action == _CANCEL:
            cancel(x, request)
        else:
            if x.split == 0 and answer(x, request, x.at_depth, x.at_cells, False, True):
                # it takes from the book: from here on the exchange's differs from the one we see
                ahead = x.next_scan
                step_back(x, n)
                part(x)
                catch_up(x, at)
                x.next_scan = ahead
            if x.split == 1:
                answer(x, request, x.at_depth_x, x.at_cells_x, True, True)
        x.first_request += 1
    if x.split == 0:
        step_back(x, n)


@uncounted
def look_ahead(x: Any, at: int) -> int:
    """Apply the rows on their way to us up to `at`, remembering what was there; returns how many, -1 if too many."""
    rows, depth = rows_at(x.at_rows, x.n_rows, EVENT), depth_of(x)
    saved = rows_at(x.at_saved, x.n_instruments, DEPTH)
    cells, keys = rows_at(x.at_cells, x.n_cells, F8), rows_at(x.at_keys, x.n_cells, I8)
    undo = rows_at(x.at_undo, MOST_AHEAD, UNDO)
    for k in range(x.n_instruments):
        saved[k] = depth[k]
    i, n, marked = x.next_recv, 0, x.at_columns != 0
    while i < x.n_rows:
        if marked:
            c = columns_of(x, HAPPENED)
            if rows_at(c.at_ts, x.n_rows, I8)[i] > at:
                break
            k, side, p, qty = shown_by(c, i)
            if n < MOST_AHEAD and k <= _LEVEL:
                d = depth[0]
                if k == _LEVEL:
                    cell = cell_of(d, keys, side, p)
                    undo[n].cell, undo[n].qty = cell, cells[cell]
                    n += 1
                    cells[cell] = qty
                    write(d, cells, keys, True, side < 0, p, qty >= d.half)
                else:
                    d.last = px_of(c, p)
                i += 1
                continue
        r = rows[i]
        if r.ts_exch > at:
            break
        d = depth[r.instrument]
        if n == MOST_AHEAD or r.kind == _CLEAR or (r.kind == _QUOTE and d.quotes):
            step_back(x, n)
            return -1
        if r.kind == _LEVEL:
            cell = cell_of(d, keys, r.side, r.px_ticks)
            undo[n].cell = cell
            undo[n].qty = cells[cell]
            n += 1
        apply(d, cells, keys, r)
        i += 1
    x.next_scan = i
    return n


@uncounted
def step_back(x: Any, n: int) -> None:
    """Take back the `n` changes of `look_ahead`."""
    depth, saved = depth_of(x), rows_at(x.at_saved, x.n_instruments, DEPTH)
    cells, undo = rows_at(x.at_cells, x.n_cells, F8), rows_at(x.at_undo, MOST_AHEAD, UNDO)
    for k in range(n - 1, -1, -1):
        cells[undo[k].cell] = undo[k].qty
    for k in range(x.n_instruments):
        depth[k] = saved[k]


@uncounted
def catch_up(x: Any, at: int) -> None:
    """Bring the exchange's own book to the instant `at`."""
    if x.at_columns != 0:
        x.next_book = advance_marked(x, x.at_depth_x, x.at_cells_x, x.next_book, at, HAPPENED)
        return
    x.next_book = advance(
        x.at_depth_x, x.n_instruments, x.at_cells_x, x.n_cells, x.at_keys, x.at_rows_x, x.n_rows, x.next_book, at,
        HAPPENED,
    )  # fmt: skip


@uncounted
def part(x: Any) -> None:
    """Give the exchange a book of its own, which starts as the one we see."""
    cells, cells_x = rows_at(x.at_cells, x.n_cells, F8), rows_at(x.at_cells_x, x.n_cells, F8)
    depth, depth_x = depth_of(x), rows_at(x.at_depth_x, x.n_instruments, DEPTH)
    for k in range(x.n_cells):
        cells_x[k] = cells[k]
    for k in range(x.n_instruments):
        depth_x[k] = depth[k]
    x.split = 1
    x.next_book = x.next_recv


@pasted
def process(x: Any, until: int, scan: Any, serve: Any) -> None:
    """Do `run_exchange`: orders meet the market by `scan`, and requests by `serve`.

    At one instant: market rows, then expiries, then our requests in the order they were sent. Where a replay ends, no
    order expires after the last row: whether the exchange is run so far depends on what else is on its way.
    """
    while True:
        if x.ring - (x.end_report - x.first_report) < ROOM:
            return
        at = requests_of(x)[x.first_request].at if x.first_request < x.end_request else NEVER
        expiry = x.next_expiry if x.next_expiry <= x.last or x.closing == 0 else NEVER
        stop = min(until, at, expiry)
        if x.n_orders > 0 and not scan(x, stop):
            return
        if x.first_request < x.end_request and requests_of(x)[x.first_request].at < at:
            continue  # a stop has woken: it is the next to arrive
        if rarely(x.n_orders > 0 and expiry <= stop):
            expire(x, expiry, _EXPIRED, _GTD)
        elif at <= stop:
            serve(x, at)
        elif stop == until:
            break
    x.done = max(x.done, until)


@uncounted
def run_exchange(x: Any, until: int) -> None:
    """Process what happens at the exchange up to `until` (inclusive), or until reports must be fetched first."""
    process(x, until, scan, serve)


@uncounted_inlined
def run_shared(x: Any, until: int) -> None:
    """Do `run_exchange` for a run that shares its market."""
    distinct()
    process(x, until, scan_shared, serve_shared)


@uncounted
def serve_next(x: Any) -> None:
    """Answer what arrives at the very next instant, where `run_shared` would have nothing to do before it.

    As a rule the exchange has been run up to that instant before a decision is made: requests that take no longer than
    they must are answered as they are sent. Not so where a stop is concerned: one that wakes is a request of its own,
    which comes after all that are sent at this instant.
    """
    distinct()
    if x.first_request == x.end_request or x.n_stops > 0 or x.ring - (x.end_report - x.first_report) < ROOM:
        return
    requests = requests_of(x)
    at = requests[x.first_request].at
    if at != x.done + 1 or at >= x.horizon or (x.n_orders > 0 and (x.next_expiry <= at or is_met_by(x, at))):
        return
    for k in range(x.first_request, x.end_request):
        if rarely(requests[k].type >= STOP):
            return
    serve_shared(x, at)


@uncounted
def run_sim(sim: Any, until: int) -> None:
    """Do `run_exchange` for a caller in Python: it passes a SIM array of one quicker than the record."""
    run_exchange(sim[0], until)


@uncounted
def catch_up_sim(sim: Any, until: int) -> None:
    """Do `catch_up` for a caller in Python."""
    catch_up(sim[0], until)


@uncounted
def compact_sim(sim: Any) -> None:
    """Do `compact` for a caller in Python."""
    compact(sim[0])

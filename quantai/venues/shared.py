"""The exchange of a run that shares its market: requests meet the book of their instant, as the tile tells it.

The few levels that a request can meet are laid out in a scratch book, the request is answered on it as on any other,
and what was taken is written down.
"""

from typing import Any

import numpy as np

from quantai.core.compiled import uncounted, uncounted_inlined
from quantai.core.hints import apart, distinct, rarely, usually
from quantai.core.memory import int64s, pasted, rows_at
from quantai.core.rows import EVENT, Action, Kind
from quantai.venues.book import DEPTH, EMPTY, F8, I8, cell_of
from quantai.venues.matching import depth_of, drop, fill, match, resting_of, rules_of, to_lots
from quantai.venues.queue import join, on_level, on_print
from quantai.venues.requests import answer, cancel
from quantai.venues.tile_index import PRINTS
from quantai.venues.tiles import (
    AFTER,
    BLOCK,
    EATEN,
    I4,
    MOST_EATEN,
    SPREAD,
    STOOD,
    TILE,
    first_beyond,
    first_reached,
    latest_of,
    place_of,
    qty_at,
    reach_of,
    standing_at,
)
from quantai.venues.wire import ROOM, requests_of

MOST_LAID = 4096
"""Prices of one side that an order may walk over; beyond, the run is run by itself."""
_NEW, _CANCEL, _REPLACE = int(Action.NEW), int(Action.CANCEL), int(Action.REPLACE)
_TRADE, _CLEAR = int(Kind.TRADE), int(Kind.CLEAR)
(_MAKER,) = int64s(1)


@uncounted
def aim(x: Any) -> None:
    """Find where the lists that concern our resting orders go on in a tile just built."""
    t = rows_at(x.at_tile_x, 1, TILE)[0]
    orders = resting_of(x)
    for n in range(x.n_orders):
        o = orders[n]
        o.next, o.clear, o.key = place_in(t, x, o, x.next_scan - t.first - 1), 0, key_of(t, o)


@pasted
def key_of(t: Any, o: Any) -> int:
    """Return an order's price as the rows of the tile reach it."""
    return reach_of(rows_at(t.at_spread, t.n_instruments, SPREAD)[o.instrument].base, o.side, o.px)


@uncounted_inlined
def place_in(t: Any, x: Any, o: Any, k: int) -> int:
    """Return the place of the first entry beyond row `k` of the list that concerns an order."""
    d = depth_of(x)[o.instrument]
    cell = PRINTS if o.stop != 0 else cell_of(d, rows_at(x.at_keys, x.n_cells, I8), o.side, o.px)
    return place_of(t, cell, k)


@uncounted_inlined
def scan_shared(x: Any, stop: int) -> bool:
    """Let our resting orders meet the rows up to `stop`, as `scan` does, going only to those that can fill one.

    Those are the rows that reach an order's price and, for a waiting stop, all prints. Between them an order stays
    behind: what the rows of its level do to its place in the queue matters to nobody before it can be filled.
    """
    if not is_met_by(x, stop):
        return True
    t = rows_at(x.at_tile_x, 1, TILE)[0]
    i, end = x.next_scan - t.first, first_beyond(t, x.next_scan, stop) - t.first
    while i < end:
        k = first_reaching(t, x, i, end)
        if k == end:
            i = end
            break
        i = k + 1
        r = rows_at(x.at_rows_x, x.n_rows, EVENT)[np.uint64(t.first + k)]
        who = only_reached(x, k)
        if rarely(who < 0 or r.kind == _CLEAR):
            queue_up(t, x, k)
            ended = match(x, r.kind, r.instrument, r.side, r.px_ticks, r.qty, r.ts_exch)
            pass_over(t, x, k)
        else:
            ended = meet(t, x, who, r, k)
        if ended and (x.n_orders == 0 or is_due(x, stop)):
            break
        if rarely(x.ring - (x.end_report - x.first_report) < ROOM // 2):
            x.next_scan = t.first + i
            x.done = r.ts_exch - 1
            return False
    x.next_scan = t.first + i
    return True


@uncounted_inlined
def is_met_by(x: Any, stop: int) -> bool:
    """Say whether there are rows up to `stop` that our resting orders have not met."""
    t = rows_at(x.at_tile_x, 1, TILE)[0]
    return rows_at(t.at_times, t.n + 1, I8)[x.next_scan - t.first] <= stop  # NEVER stands behind the last


@pasted
def is_due(x: Any, stop: int) -> bool:
    """Say whether a request waits that arrives before `stop`: that of a stop that has woken."""
    return x.first_request < x.end_request and requests_of(x)[x.first_request].at < stop


@uncounted_inlined
def first_reaching(t: Any, x: Any, i: int, end: int) -> int:
    """Return the first row of the tile in [i, end) that can fill one of our orders or wake a stop, else `end`."""
    orders = resting_of(x)
    for n in range(x.n_orders):
        o = orders[n]
        if rarely(o.stop != 0):
            spots, place = rows_at(t.at_spots, t.n_entries, I4), o.next
            while spots[place] < i:
                place += 1
            o.next = place
            end = min(end, int(spots[place]))
        elif o.clear < end:
            # no more work than to look at what is asked for, and a quote is often gone by then
            until = max(end, min(i + BLOCK, t.n))
            clear = first_reached(t, o.instrument, o.side, o.key, max(i, int(o.clear)), until)
            o.clear = clear
            end = min(end, clear)
    return end


@uncounted
def queue_up(t: Any, x: Any, k: int) -> None:
    """Bring the places of our orders in their queues up to date with the rows before `k`, none of which fills one."""
    orders = resting_of(x)
    for n in range(x.n_orders):
        move_up(t, x, orders[n], k)


@uncounted_inlined
def move_up(t: Any, x: Any, o: Any, k: int) -> None:
    """Bring the place of one order in its queue up to date, as `queue_up` does."""
    if o.next < 0:
        join_late(t, x, o, -2 - int(o.next))
    rules = rules_of(x)[o.instrument]
    spots, stood = rows_at(t.at_spots, t.n_entries, I4), rows_at(t.at_stood, t.n_entries, STOOD)
    place = np.uint64(o.next)
    while spots[place] < k:
        lots = stood[place].lots
        if o.stop == 0 and lots >= 0.0:
            on_level(rules.queue, rules.power, o, lots)
        place += np.uint64(1)
    o.next = place


@uncounted
def join_late(t: Any, x: Any, o: Any, k: int) -> None:
    """Give an order the place in its queue that it took after row `k`."""
    d = depth_of(x)[o.instrument]
    cell = cell_of(d, rows_at(x.at_keys, x.n_cells, I8), o.side, o.px)
    place = place_of(t, cell, k)
    there = 0.0 if cell == EMPTY else qty_at(t, o.side, cell, place, latest_of(t, k, o.instrument))
    join(rules_of(x)[o.instrument].queue, o, to_lots(d, there))
    o.next = place


@uncounted_inlined
def only_reached(x: Any, k: int) -> int:
    """Return the one order that row `k` can fill; negative where that may be several, or where a stop waits."""
    orders, who = resting_of(x), -1
    for n in range(x.n_orders):
        if orders[n].stop != 0 or (orders[n].clear == k and who >= 0):
            return -1
        who = n if orders[n].clear == k else who
    return who


@uncounted_inlined
def meet(t: Any, x: Any, who: int, r: Any, k: int) -> bool:
    """Let one order meet row `k`, which reaches no other, as `match` does; returns whether it ended."""
    o = resting_of(x)[who]
    rules, lots = rules_of(x)[o.instrument], o.open
    if r.kind == _TRADE and r.px_ticks == o.px:
        move_up(t, x, o, k)
        o.next += 1 if rows_at(t.at_spots, t.n_entries, I4)[np.uint64(o.next)] == k else 0
        printed = to_lots(depth_of(x)[o.instrument], r.qty)
        past = on_print(rules.queue, o, printed, printed)
        if past == 0:
            return False
        lots = min(past, lots) if rules.partial else lots
    elif (o.px - r.px_ticks) * o.side < 0:
        return False  # so far beyond the market that reach does not tell them apart
    fill(x, o, lots, o.px, r.ts_exch, _MAKER)
    if o.open > 0:
        return False
    drop(x, who)
    return True


@pasted
def pass_over(t: Any, x: Any, k: int) -> None:
    """Go on behind row `k`, which our orders have met."""
    spots, orders = rows_at(t.at_spots, t.n_entries, I4), resting_of(x)
    for n in range(x.n_orders):
        o = orders[n]
        if spots[o.next] == k:
            o.next += 1


@uncounted
def serve_shared(x: Any, at: int) -> None:
    """Answer every request that arrives at the instant `at`."""
    distinct()
    t = rows_at(x.at_tile_x, 1, TILE)[0]
    # resting orders have met all rows up to now
    x.next_book = x.next_scan if x.n_orders > 0 else first_beyond(t, t.first, at)
    x.next_scan = x.next_book
    k = x.next_book - t.first - 1
    requests = requests_of(x)
    while x.first_request < x.end_request and requests[x.first_request].at == at:
        q = requests[x.first_request]
        if q.action == _CANCEL:
            cancel(x, q)
        else:
            serve_order(t, x, q, k)
        x.first_request += 1


@uncounted_inlined
def serve_order(t: Any, x: Any, q: Any, k: int) -> None:
    """Answer a request that may leave an order, on the book as it is after row `k`."""
    d, cells = depth_of(x)[q.instrument], rows_at(x.at_cells, x.n_cells, F8)
    if rarely(q.action == _REPLACE):
        queue_up(t, x, k + 1)  # at the same price it keeps its place
    find_tops(t, x, d, q.instrument, k)
    # its place in the queue matters once something can fill it, and most orders are gone by then
    late = q.action == _NEW and x.n_eaten == 0
    cell, place = EMPTY, -2 - max(k, -1)  # a lane that is lost may be behind the tile
    if rarely(not late):
        px = price_of_request(x, q)
        cell = cell_of(d, rows_at(x.at_keys, x.n_cells, I8), q.side, px)
        place = place_of(t, cell, k)
        if cell != EMPTY:
            cells[cell] = standing_at(t, x, d, q.instrument, q.side, px, k)
    if rarely(answer(x, q, x.at_depth, x.at_cells, False, not late)):
        take(t, x, d, q, k)
    if rarely(not late):
        cells[cell] = 0.0
    if x.n_orders > 0:
        o = resting_of(x)[x.n_orders - 1]  # who comes to rest is the last of them
        if o.order == q.order:
            o.next, o.clear = place if o.stop == 0 else place_of(t, PRINTS, k), 0
            o.key = key_of(t, o)


@uncounted_inlined
def price_of_request(x: Any, q: Any) -> int:
    """Return the price at which a request may come to rest: its own, or that of the order it changes."""
    if usually(q.px > 0):
        return q.px
    rows = resting_of(x)
    for k in range(x.n_orders):
        if rows[k].order == q.order:
            return rows[k].px
    return 0


@uncounted_inlined
def find_tops(t: Any, x: Any, d: Any, instrument: int, k: int) -> None:
    """Write the best prices that a run meets after row `k` to its scratch book: behind what it has eaten up."""
    latest = latest_of(t, k, instrument)
    if latest >= 0:
        a = rows_at(t.at_after, t.n, AFTER)[latest]
        d.bid, d.ask, d.last = a.bid, a.ask, a.last
    else:
        before = rows_at(t.at_depth, t.n_instruments, DEPTH)[instrument]
        d.bid, d.ask, d.last = before.bid, before.ask, before.last
    if rarely(x.n_eaten > 0):
        pass_eaten(t, x, d, instrument, k)


@uncounted
def pass_eaten(t: Any, x: Any, d: Any, instrument: int, k: int) -> None:
    """Move the best prices of a scratch book behind the levels that a run has eaten up."""
    apart()
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
    apart()
    cells, keys = rows_at(x.at_cells, x.n_cells, F8), rows_at(x.at_keys, x.n_cells, I8)
    eaten = rows_at(x.at_eaten, MOST_EATEN, EATEN)
    side, first = q.side, d.ask if q.side > 0 else d.bid
    need, rows = q.lots, resting_of(x)
    queue_up(t, x, k + 1)  # what is taken from a level is seen by orders of ours behind it
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
    answer(x, q, x.at_depth, x.at_cells, True, True)
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

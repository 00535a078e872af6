"""The order flow of a synthetic market: market orders that walk a book, and limit orders that refill it.

The book is two dense arrays of lots, indexed by tick offset from `base`. One step is one arrival: either a market
order, reported as one trade message a price level and then one message with the levels it changed, or one message
with one to three new limit sizes; a change of the best prices or sizes adds a quote message. A hidden fair value
diffuses and arrivals lean towards it, so the price follows. Randomness comes from the generator that is passed in and
from nowhere else.
"""

from typing import Any

import numpy as np

from quantai.core.compiled import compiled
from quantai.core.rows import BUY, DERIVED, LAST, SELL, SNAPSHOT, Kind, Rows

TRADE, LEVEL, CLEAR, QUOTE = int(Kind.TRADE), int(Kind.LEVEL), int(Kind.CLEAR), int(Kind.QUOTE)

WIDTH = 1 << 18  # ticks the book can hold
DEPTH = 500  # ticks filled on each side at the start
MARGIN = 2 * DEPTH  # the fair value is reflected this far from the ends of the arrays
SWEEP = 10  # levels one market order can take
FEWEST = 20  # levels a side keeps, whatever happens
ROWS_PER_STEP = 2 * SWEEP + 2
ROWS_AT_START = 2 * DEPTH + 3

STATE = np.dtype(
    [
        ("ts_exch", "i8"),
        ("ts_recv", "i8"),
        ("seq", "u8"),
        ("base", "i8"),  # tick number of index 0
        ("bid", "i8"),  # index of the best bid
        ("ask", "i8"),
        ("bids", "i8"),  # levels on the bid side
        ("asks", "i8"),
        ("quoted_bid", "i8"),  # what the last quote message said
        ("quoted_ask", "i8"),
        ("quoted_bid_lots", "i8"),
        ("quoted_ask_lots", "i8"),
        ("fair", "f8"),  # hidden fair value, as an index
        ("sigma", "f8"),  # its standard deviation per arrival, ticks
        ("gap_ns", "f8"),  # mean time between arrivals
        ("tick_num", "i8"),
        ("tick_den", "i8"),
        ("lot_num", "i8"),
        ("lot_den", "i8"),
        ("burst", "i8"),
        ("done", "i8"),
    ]
)
"""Everything besides the book that one step leaves to the next."""


@compiled
def _put(out: Rows, k: int, s: Any, kind: int, side: int, index: Any, lots: Any, flags: int) -> int:
    row = out[k]
    row.ts_exch = s.ts_exch
    row.ts_recv = s.ts_recv
    row.seq = s.seq
    s.seq += 1
    row.kind = kind
    row.side = side
    row.flags = DERIVED | flags
    if kind != CLEAR:
        row.px_ticks = s.base + index
        row.px = (s.base + index) * s.tick_num / s.tick_den
        row.qty = lots * s.lot_num / s.lot_den
    return k + 1


@compiled
def _set(s: Any, bid: Any, ask: Any, side: int, index: Any, lots: Any) -> None:
    levels = bid if side == BUY else ask
    change = int(lots > 0) - int(levels[index] > 0)
    levels[index] = lots
    if side == BUY:
        s.bids += change
        if lots > 0 and index > s.bid:
            s.bid = index
        while bid[s.bid] == 0:
            s.bid -= 1
    else:
        s.asks += change
        if lots > 0 and index < s.ask:
            s.ask = index
        while ask[s.ask] == 0:
            s.ask += 1


@compiled
def _quote(out: Rows, k: int, s: Any, bid: Any, ask: Any) -> int:
    b, a = bid[s.bid], ask[s.ask]
    if s.bid == s.quoted_bid and s.ask == s.quoted_ask and b == s.quoted_bid_lots and a == s.quoted_ask_lots:
        return k
    s.quoted_bid, s.quoted_ask, s.quoted_bid_lots, s.quoted_ask_lots = s.bid, s.ask, b, a
    s.ts_recv += 1_000
    k = _put(out, k, s, QUOTE, BUY, s.bid, b, 0)
    return _put(out, k, s, QUOTE, SELL, s.ask, a, LAST)


@compiled
def open_book(state: Any, bid: Any, ask: Any, out: Rows, rng: np.random.Generator) -> int:
    """Fill the book around `state.fair` and write the snapshot message; return the number of rows written."""
    s = state[0]
    s.bid = np.int64(s.fair)
    s.ask = s.bid + 1
    k = _put(out, 0, s, CLEAR, 0, 0, 0, SNAPSHOT)
    for side in (BUY, SELL):
        for d in range(DEPTH):
            if d < FEWEST or rng.random() < 0.6:
                index = s.bid - d if side == BUY else s.ask + d
                lots = 1 + np.int64(np.exp(5.5 + 0.004 * d + 1.1 * rng.standard_normal()))
                if side == BUY:
                    bid[index] = lots
                    s.bids += 1
                else:
                    ask[index] = lots
                    s.asks += 1
                k = _put(out, k, s, LEVEL, side, index, lots, SNAPSHOT)
    out[k - 1].flags |= LAST
    return _quote(out, k, s, bid, ask)


@compiled
def run(state: Any, bid: Any, ask: Any, out: Rows, k: int, enough: int, end_ts: int, rng: np.random.Generator) -> int:
    """Step until `enough` rows are written, `out` is full, or an arrival would come at or after `end_ts`.

    Returns the number of rows in `out`; sets `state.done` in the last case. Calling again continues the same market, so
    the rows do not depend on how the work was cut. `out` is full when it cannot hold another step.
    """
    s = state[0]
    taken = np.zeros(SWEEP, np.int64)
    while k < enough and k + ROWS_PER_STEP <= len(out):
        if rng.random() < (0.004 if s.burst else 0.0008):
            s.burst = 1 - s.burst
        gap = 1_000 + np.int64(rng.standard_exponential() * s.gap_ns * (0.25 if s.burst else 1.15))
        if s.ts_exch + gap >= end_ts:
            s.done = 1
            break
        s.ts_exch += gap
        latency = 900_000 + min(np.int64(np.exp(13.6 + 0.55 * rng.standard_normal())), 7_000_000)
        s.ts_recv = max(s.ts_recv + 1, s.ts_exch + latency)
        s.fair += s.sigma * rng.standard_normal() * (1.6 if s.burst else 0.9)
        s.fair = min(max(s.fair, 2.0 * MARGIN - s.fair), 2.0 * (WIDTH - MARGIN) - s.fair)
        if rng.random() < 0.3:
            k = _market_order(out, k, s, bid, ask, taken, rng)
        else:
            k = _limit_orders(out, k, s, bid, ask, rng)
        k = _quote(out, k, s, bid, ask)
    return k


@compiled
def _market_order(out: Rows, k: int, s: Any, bid: Any, ask: Any, taken: Any, rng: np.random.Generator) -> int:
    lean = s.fair - 0.5 * (s.bid + s.ask)
    side = BUY if rng.random() < 0.5 + 0.45 * np.tanh(lean / 8.0) else SELL
    edge = lean * side
    lots = 1 + np.int64(np.exp(3.2 + 1.6 * rng.standard_normal()))
    if edge > 4.0 and rng.random() < 0.6:
        lots *= 50  # somebody who knows the fair value: takes what stands on the wrong side of it
    else:
        edge = np.inf
    touch = s.ask if side == BUY else s.bid
    book = ask if side == BUY else bid
    left = lots
    n = 0
    while left > 0 and n < SWEEP and (s.asks if side == BUY else s.bids) > FEWEST:
        index = s.ask if side == BUY else s.bid
        if n > 0 and (index - touch) * side > edge:
            break
        fill = min(left, book[index])
        left -= fill
        k = _put(out, k, s, TRADE, side, index, fill, LAST)
        _set(s, bid, ask, -side, index, book[index] - fill)
        taken[n] = index
        n += 1
    if n > 0:
        s.ts_recv += 1_000
    for i in range(n):
        k = _put(out, k, s, LEVEL, -side, taken[i], book[taken[i]], LAST if i == n - 1 else 0)
    return k


@compiled
def _limit_orders(out: Rows, k: int, s: Any, bid: Any, ask: Any, rng: np.random.Generator) -> int:
    u = rng.random()
    many = 1 + int(u < 0.4) + int(u < 0.12)
    for i in range(many):
        flags = LAST if i == many - 1 else 0
        lean = s.fair - 0.5 * (s.bid + s.ask)
        spread = s.ask - s.bid
        if spread > 1 and rng.random() < 0.8:
            # refill the spread from the side that the fair value is pushing
            side = BUY if rng.random() < 0.5 + 0.45 * np.tanh(lean / 4.0) else SELL
            step = 1 + np.int64(rng.random() * min(spread - 1, 8))
            index = s.bid + step if side == BUY else s.ask - step
            lots = 1 + np.int64(np.exp(5.0 + 1.2 * rng.standard_normal()))
        else:
            side = BUY if rng.random() < 0.5 else SELL
            u = rng.random()
            away = 0.0
            if u > 0.35:
                away = rng.standard_exponential() * (12.0 if u < 0.9 else 120.0)
            index = s.bid - np.int64(away) if side == BUY else s.ask + np.int64(away)
            index = min(max(index, 0), WIDTH - 1)
            lots = _resize(s, bid[index] if side == BUY else ask[index], -side * lean, side, rng)
        _set(s, bid, ask, side, index, lots)
        k = _put(out, k, s, LEVEL, side, index, lots, flags)
    return k


@compiled
def _resize(s: Any, lots: Any, adverse: float, side: int, rng: np.random.Generator) -> Any:
    """Return the new size of a level of `lots`; levels on the wrong side of the fair value shrink and vanish faster."""
    if lots > 0 and rng.random() < 0.48 + 0.3 * np.tanh(adverse / 8.0):
        if rng.random() < (0.6 if adverse > 6.0 else 0.22) and (s.bids if side == BUY else s.asks) > FEWEST:
            return 0
        return max(1, np.int64(lots * rng.random()))
    grown = lots + 1 + np.int64(np.exp(4.6 + 1.3 * rng.standard_normal()))
    return 20_000 if grown > 60_000 else grown

"""What one desk sees while it trades: the rows so far, as books, prices, orders and a clock. Compiled, row by row.

Nothing here reads a clock or knows of other desks. Rows come in the order of their numbers; a row that makes the
strategy ask for something ends the step, because the order management must see the same rows before it is asked.
"""

from typing import Any

import numpy as np

from quantai.core.compiled import uncounted
from quantai.core.grid import price_of
from quantai.core.memory import rows_at
from quantai.core.rows import EVENT, WARM_UP, Action, Kind, OrderState, OrderType, Status
from quantai.execution.ladder import LADDER, NO_ASK, NO_BID, apply_row, is_full, quantity
from quantai.strategy.account import equity_of
from quantai.strategy.context import books_of, instruments_of, intents_of, orders_of, positions_of
from quantai.strategy.heard import FUNDED, NOTHING, START, TICK, hear
from quantai.strategy.shown import show_top

BAR_ROW, REPORTED = FUNDED + 1, FUNDED + 2
"""What a step brought besides what is heard of the market."""

SIGHT = np.dtype(
    [
        ("start", "i8"),  # 1 = on_start is due
        ("told", "i8"),  # 1 = a report is due
        ("muted", "i8"),  # 1 = paused or stopped: only cancels go out
        ("closing", "i8"),  # 1 = positions are to be closed once no order works
        ("tries", "i8"),  # how often that may still be tried before anything trades
        ("warm", "i8"),  # 1 = the row at hand is of the time before the run
        ("slot", "i8"),  # the order a report is about, -1 when it is gone
        ("traded", "i8"),  # 1 = that report is a fill
        ("slots", "i8"),  # slots of the order table ever used
        ("unplaced", "i8"),  # orders for which the table had no room
        ("bar_ns", "i8"),  # length of the bars it listens to; 0 = any
        ("last_order", "i8"),  # before the row at hand
        ("full", "i8"),  # 1 = a book has no room for the next row
        ("row", "i8"),  # of the piece at hand: the next row
        ("bar", "i8"),  # of the bars at hand: the one a handler is called for
        ("n_rows", "i8"),
        ("n_bars", "i8"),
        ("first_bar", "i8"),  # the index that rows use for the first of the bars at hand
        ("at_rows", "u8"),
        ("at_ladders", "u8"),
    ]
)
"""Where a desk stands."""

OF_THIS_PIECE = ("full", "row", "bar", "n_rows", "n_bars", "first_bar", "at_rows", "at_ladders")
"""What of SIGHT is no state."""

ON_BAR = 16
"""What a strategy listens to besides the market's rows, as a bit."""

_LEVEL, _CLEAR, _QUOTE, _BAR = (int(k) for k in (Kind.LEVEL, Kind.CLEAR, Kind.QUOTE, Kind.BAR))
_STATUS, _TIMER = int(Kind.STATUS), int(Kind.TIMER)
_STALE, _DISCONNECTED = int(Status.STALE), int(Status.DISCONNECTED)
_NEW, _TARGET, _CANCEL = int(Action.NEW), int(Action.TARGET), int(Action.CANCEL)
_PENDING, _FILLED, _MARKET = int(OrderState.PENDING), int(OrderState.FILLED), int(OrderType.MARKET)


@uncounted
def look(c: Any, s: Any, wants: int) -> int:
    """Go on to the next thing the strategy listens to and say what it is; NOTHING at the end of the piece."""
    s.last_order = c.last_order
    if s.start == 1:
        s.start = 0
        return START
    if s.told == 1:
        s.told = 0
        show_all(c, s)
        c.equity = equity_of(c)
        return REPORTED
    while s.row < s.n_rows:
        row = rows_at(s.at_rows, s.n_rows, EVENT)[s.row]
        kind = row.kind
        if (kind in (_LEVEL, _QUOTE)) and is_full(rows_at(s.at_ladders, c.n_instruments, LADDER)[row.instrument]):
            s.full = 1
            return NOTHING
        s.row += 1
        c.seq = np.int64(row.seq)
        c.k = 0
        c.now = max(c.now, row.ts_recv)
        s.warm = 1 if row.flags & WARM_UP else 0
        if kind == _TIMER:
            if c.timer_ns > 0 and c.next_timer <= c.now:
                c.next_timer += ((c.now - c.next_timer) // c.timer_ns + 1) * c.timer_ns
                show_all(c, s)
                c.equity = equity_of(c)
                return TICK
            continue
        what = take(c, s, row, kind, wants)
        if what != NOTHING:
            return what
    return NOTHING


@uncounted
def take(c: Any, s: Any, row: Any, kind: int, wants: int) -> int:
    """Take one row of the market and say which handler it concerns; a book is shown once a message is complete."""
    if kind > _STATUS:
        return NOTHING
    i = row.instrument
    d = rows_at(s.at_ladders, c.n_instruments, LADDER)[i]
    c.instrument = i
    apply_row(d, row)
    if kind == _BAR:
        return take_bar(c, s, d, row, wants)
    if kind in (_LEVEL, _CLEAR, _QUOTE):
        d.stale = 0
    elif kind == _STATUS and (row.aux == _STALE or row.aux == _DISCONNECTED):
        d.stale = 1
        books_of(c)[i].valid = 0
    what, complete = hear(d, kind, row.flags, wants)
    # a handler called for one instrument can ask for the book and price of another; those of bars see closes
    if what != NOTHING or (complete and c.n_instruments > 1 and wants & ON_BAR == 0):
        show(c, d, i)
    if what != NOTHING:
        c.equity = equity_of(c)
    return what


@uncounted
def take_bar(c: Any, s: Any, d: Any, row: Any, wants: int) -> int:
    """Take the row of a bar; BAR_ROW when it is of the length this desk listens to."""
    at = row.aux - s.first_bar
    if at < 0 or at >= s.n_bars:
        return NOTHING
    positions_of(c)[row.instrument].px = row.px
    if wants & ON_BAR or d.last == 0.0:
        d.last = row.px  # who is shown bars alone knows no later trade
    if wants & ON_BAR:
        s.bar = at
        show(c, d, row.instrument)
        positions_of(c)[row.instrument].px = row.px
        c.equity = equity_of(c)
        return BAR_ROW
    return NOTHING


@uncounted
def show_all(c: Any, s: Any) -> None:
    """Bring the BOOK and the last price of every instrument up to date."""
    ladders = rows_at(s.at_ladders, c.n_instruments, LADDER)
    for i in range(c.n_instruments):
        show(c, ladders[i], i)


@uncounted
def show(c: Any, d: Any, i: int) -> None:
    """Bring the BOOK and the last price of one instrument up to date."""
    has_bid, has_ask = d.bid != NO_BID, d.ask != NO_ASK
    bid_qty = quantity(d, False, d.bid) if has_bid else 0.0
    ask_qty = quantity(d, True, d.ask) if has_ask else 0.0
    inst = instruments_of(c)[i]
    bid_px, ask_px = price_of(d.bid, inst), price_of(d.ask, inst)
    show_top(c, i, has_bid, has_ask, d.bid, d.ask, bid_px, ask_px, bid_qty, ask_qty, d.last, d.stale == 1)


@uncounted
def settle(c: Any, s: Any) -> bool:
    """Keep the intents that go out, enter new orders into our own view, and say whether anything goes out.

    Before the run nothing does; a desk that is muted can still cancel. What is dropped leaves no order number.
    """
    intents, n, dropped = intents_of(c), 0, False
    for k in range(c.n_intents):
        action = intents[k].action
        opens = action in (_NEW, _TARGET)
        if s.warm == 1 or (s.muted == 1 and action != _CANCEL):
            dropped = dropped or opens
            positions_of(c)[intents[k].instrument].target = np.nan
            continue
        if opens and not enlist(c, s, intents[k]):
            s.unplaced += 1
            continue
        intents[n] = intents[k]
        n += 1
    if dropped:
        c.last_order = s.last_order
    c.n_intents = n
    return n > 0


@uncounted
def enlist(c: Any, s: Any, intent: Any) -> bool:
    """Write a new order to our own table; False when it has no free slot. Handlers see the slots ever used."""
    most = s.slots
    c.n_orders = MOST_ORDERS
    orders = orders_of(c)
    k = 0
    while k < MOST_ORDERS and orders[k].state > 0:
        k += 1
    c.n_orders = most
    if k == MOST_ORDERS:
        return False
    s.slots = max(most, k + 1)
    c.n_orders = s.slots
    o = orders[k]
    o.order, o.seq, o.ts = intent.order, intent.seq, c.now
    o.px_ticks, o.trigger_ticks, o.stop_ticks = intent.px_ticks, intent.trigger_ticks, 0
    o.qty_lots = intent.qty_lots if intent.action == _NEW else 0  # a target is sized by the order management
    o.filled_lots = 0
    o.expire_ts, o.avg_px = intent.expire_ts, 0.0
    o.instrument, o.link, o.flags = intent.instrument, intent.link, intent.flags
    o.state, o.reason = _PENDING, 0
    o.type = intent.type if intent.action == _NEW else _MARKET
    o.tif, o.side, o.triggered = intent.tif, intent.side, 0
    return True


@uncounted
def free_slot(c: Any, s: Any) -> None:
    """Free the slot of the order of the last report when it has ended."""
    if s.slot >= 0 and orders_of(c)[s.slot].state >= _FILLED:
        orders_of(c)[s.slot].state = 0


MOST_ORDERS = 1024
"""Orders a desk can have at work."""

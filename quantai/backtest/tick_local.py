"""Our side of a replay: what has been received so far, the account it makes, and what is sent.

Everything here happens at an instant of receipt. At one instant: market rows, then reports, then timers.
"""

from typing import Any

import numpy as np

from quantai.backtest.order_table import price_of
from quantai.backtest.tick_funding import next_due, pay_funding
from quantai.core.compiled import uncounted
from quantai.core.memory import rows_at
from quantai.core.rows import EVENT, INTENT, LAST, MAKER, ORDER, Action, Kind, OrderState, OrderType, Reason
from quantai.strategy.account import apply_fill, equity_of, exposure_of, lots_to_qty, target_lots
from quantai.strategy.context import books_of, instruments_of, intents_of, orders_of, positions_of
from quantai.strategy.verbs import PENDING_CANCEL
from quantai.venues.book import F8, I8, RECEIVED, advance, apply, cell_of
from quantai.venues.columns import advance_marked
from quantai.venues.exchange import ROOM, run_exchange
from quantai.venues.latency import entry_ns
from quantai.venues.matching import depth_of, own_of, rules_of
from quantai.venues.tiles import TILE, first_beyond, shown_at
from quantai.venues.wire import NEVER, REPORT, reports_of, request_slot, requests_of

NOTHING, START, TICK, TRADE_ROW, BOOK_ROW, QUOTE_ROW, FUNDED, REPORTED = range(8)
"""What a step brought."""

EQUITY = np.dtype([("ts", "i8"), ("equity", "f8"), ("cash", "f8"), ("exposure", "f8")])
"""The account at one instant; exposure is the signed value of all positions."""

FILLED = np.dtype(
    [
        ("ts", "i8"),  # when we were told
        ("ts_exch", "i8"),  # when it happened
        ("order", "i8"),
        ("lots", "i8"),
        ("px_ticks", "i8"),
        ("px", "f8"),
        ("fee", "f8"),
        ("instrument", "u4"),
        ("side", "i1"),
        ("maker", "u1"),
        ("_pad", "u2"),
    ]
)
"""One fill as the log keeps it."""

LOCAL = np.dtype(
    [
        ("started", "i8"),
        ("seq", "i8"),  # rows, reports and timers so far
        ("rows", "i8"),  # rows so far, over all pieces
        ("row", "i8"),  # the row a handler is called for
        ("pending", "i8"),  # rows of the current message changed a book: bit by kind
        ("slot", "i8"),  # the order a report was about, -1 when it is gone
        ("kind", "i8"),  # the Kind of that report
        ("slots", "i8"),  # slots of the order table ever used
        ("next_sample", "i8"),
        ("sample_ns", "i8"),
        ("final", "i8"),  # 1 = no more rows will be fed
        ("unplaced", "i8"),  # intents that found no room, or no order to act on
        ("n_fill_reports", "i8"),
        ("volume", "f8"),  # units traded
        ("value", "f8"),  # absolute notional traded
        ("submits", "i8"),
        ("cancels", "i8"),
        ("funding", "f8"),  # paid, in settlement currency
        ("at_due", "u8"),  # funding that falls due
        ("n_due", "i8"),
        ("first_due", "i8"),
        ("log_size", "i8"),
        ("quiet", "i8"),  # 1 = nobody reads the logs but that of equity
        ("n_intents", "i8"),
        ("n_orders", "i8"),
        ("n_fills", "i8"),
        ("n_refusals", "i8"),
        ("n_equity", "i8"),
        ("at_intents", "u8"),
        ("at_orders", "u8"),
        ("at_fills", "u8"),
        ("at_refusals", "u8"),
        ("at_equity", "u8"),
        ("at_event", "u8"),
    ]
)
"""Where our side stands, and how much of each log buffer is filled."""

_ON_TRADE, _ON_BOOK, _ON_QUOTE, _ON_FUNDING, _ON_REPORT = 1, 2, 4, 8, 16
_BY_ROW = _ON_TRADE | _ON_BOOK | _ON_QUOTE | _ON_FUNDING
_TRADE, _LEVEL, _CLEAR, _QUOTE, _FUNDING = (
    int(k) for k in (Kind.TRADE, Kind.LEVEL, Kind.CLEAR, Kind.QUOTE, Kind.FUNDING)
)
_ACK, _REJECT, _FILL, _CANCELED, _EXPIRED, _REPLACED = (
    int(k) for k in (Kind.ACK, Kind.REJECT, Kind.FILL, Kind.CANCELED, Kind.EXPIRED, Kind.REPLACED)
)
_CANCEL_REJECT, _REPLACE_REJECT, _TRIGGERED = (
    int(k) for k in (Kind.CANCEL_REJECT, Kind.REPLACE_REJECT, Kind.TRIGGERED)
)
_PENDING, _OPEN, _PARTIAL, _FILLED = (int(OrderState[s]) for s in ("PENDING", "OPEN", "PARTIAL", "FILLED"))
_S_CANCELED, _S_REJECTED, _S_EXPIRED = int(OrderState.CANCELED), int(OrderState.REJECTED), int(OrderState.EXPIRED)
_NEW, _CANCEL, _TARGET = int(Action.NEW), int(Action.CANCEL), int(Action.TARGET)
_MARKET, _IOC = int(OrderType.MARKET), 1
_TOO_MANY = int(Reason.TOO_MANY)
_MARGIN = 1024
"""Rows that one step can add to a log."""


@uncounted
def step_ticks(c: Any, p: Any, x: Any, wants: int) -> int:
    """Go on to the next thing the strategy listens to and say what it is; NOTHING at the horizon or with full logs."""
    if p.started == 0:
        p.started = 1
        return START
    while True:
        if max(p.n_intents, p.n_orders, p.n_fills, p.n_refusals, p.n_equity) + _MARGIN > p.log_size:
            return NOTHING
        more = x.next_recv < x.n_rows
        row_at = NEVER
        if more:
            rows = rows_at(x.at_rows, x.n_rows, EVENT)
            row_at = rows[x.next_recv].ts_recv if wants & _BY_ROW else min(rows[x.n_rows - 1].ts_recv, x.horizon - 1)
        report_at = reports_of(x)[x.first_report].ts_recv if x.first_report < x.end_report else NEVER
        request_at = requests_of(x)[x.first_request].at if x.first_request < x.end_request else NEVER
        timer_at = c.next_timer if c.timer_ns > 0 else NEVER
        sample_at = p.next_sample
        due_at = next_due(p, NEVER) if p.n_due > 0 else NEVER
        ended = not more and p.final and x.done >= x.last
        if ended and ((report_at == NEVER and request_at == NEVER) or min(timer_at, sample_at, due_at) > x.closing):
            # the clock stops with what was on its way when the market ended, not with what is sent in answer to it
            timer_at, sample_at, due_at = NEVER, NEVER, NEVER
        told_at = report_at if wants & _ON_REPORT or wants & _BY_ROW else NEVER
        t = min(row_at, told_at, timer_at, sample_at, due_at)
        if t == NEVER:
            t = report_at
        full = x.ring - (x.end_report - x.first_report) < ROOM
        # a stop that wakes meets the book of that instant, so its venue may not fall behind what we have received
        behind = x.response_least if x.n_stops == 0 else 0
        if (t - behind > x.done or request_at < t) and not full:
            # no decision is made before t: what it may send arrives `entry_least` later at the earliest
            first = t if t != NEVER else max(x.last, request_at if request_at != NEVER else 0)
            until = min(first + x.entry_least - 1, x.horizon - 1) if t != NEVER else min(first, x.horizon - 1)
            if until > x.done:
                run_exchange(x, until)
                continue
        if t == NEVER or t >= x.horizon:
            return NOTHING
        if wants & _BY_ROW:
            if row_at == t:
                what = receive_row(c, p, x, wants)
                if what != NOTHING:
                    return what
                continue
        elif more:
            receive_rows(c, p, x, min(t, report_at) if full else t)
        if report_at <= t:
            if wants & _ON_REPORT:
                p.seq += 1
                c.seq = p.seq
                receive_report(c, p, x)
                refresh(c, x)
                return REPORTED
            receive_unheard(c, p, x, min(t, report_at) if full else t)
            continue
        if due_at == t:
            refresh(c, x)
            pay_funding(c, p)
            continue
        if timer_at == t:
            c.now = t
            p.seq += 1
            c.seq = p.seq
            c.k = 0
            c.next_timer = t + c.timer_ns
            refresh(c, x)
            c.equity = equity_of(c)
            return TICK
        if sample_at == t:
            sample(c, p, x, t)
            p.next_sample = t + p.sample_ns
        elif (x.next_recv == x.n_rows or t == x.horizon - 1) and not (p.final and x.next_recv == x.n_rows):
            return NOTHING


@uncounted
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
    k = row.kind
    if k == _TRADE:
        if wants & _ON_TRADE:
            refresh_one(c, x, row.instrument)
            return TRADE_ROW
        return NOTHING
    if k in (_LEVEL, _CLEAR):
        p.pending |= 1
    elif k == _QUOTE:
        p.pending |= 2
    elif k == _FUNDING and wants & _ON_FUNDING:
        refresh_one(c, x, row.instrument)
        return FUNDED
    if row.flags & LAST:
        what = NOTHING
        if p.pending & 1 and wants & _ON_BOOK:
            what = BOOK_ROW
        elif p.pending & 2 and wants & _ON_QUOTE:
            what = QUOTE_ROW
        p.pending = 0
        if what != NOTHING:
            refresh_one(c, x, row.instrument)
        return what
    return NOTHING


@uncounted
def refresh(c: Any, x: Any) -> None:
    """Bring the BOOK and the last price of every instrument up to date."""
    for i in range(x.n_instruments):
        refresh_one(c, x, i)


@uncounted
def refresh_one(c: Any, x: Any, i: int) -> None:
    """Bring the BOOK and the last price of one instrument up to date."""
    d, book, inst, position = depth_of(x)[i], books_of(c)[i], instruments_of(c)[i], positions_of(c)[i]
    bid, ask, last, bid_qty, ask_qty = d.bid, d.ask, d.last, 0.0, 0.0
    if x.at_tile != 0:
        bid, ask, last, bid_qty, ask_qty = shown_at(rows_at(x.at_tile, 1, TILE)[0], x.next_recv, i)
    has_bid, has_ask = bid >= d.lo, ask <= d.hi
    if has_bid or has_ask:
        if x.at_tile == 0:
            cells, keys = rows_at(x.at_cells, x.n_cells, F8), rows_at(x.at_keys, x.n_cells, I8)
            bid_qty, ask_qty = cells[cell_of(d, keys, 1, bid)], cells[cell_of(d, keys, -1, ask)]
        book.bid_ticks = bid if has_bid else 0
        book.ask_ticks = ask if has_ask else 0
        book.bid = price_of(bid, inst) if has_bid else 0.0
        book.ask = price_of(ask, inst) if has_ask else 0.0
        book.bid_qty = bid_qty if has_bid else 0.0
        book.ask_qty = ask_qty if has_ask else 0.0
    book.valid = 1 if has_bid and has_ask and bid < ask else 0
    book.ts = c.now
    if book.valid == 1:
        position.px = 0.5 * (book.bid + book.ask)
    elif last > 0.0:
        position.px = last


@uncounted
def receive_unheard(c: Any, p: Any, x: Any, t: int) -> None:
    """Receive the reports up to the instant `t`, to which the strategy does not listen.

    They leave no number: in a batch it would say how many rows came before.
    """
    reports = reports_of(x)
    while x.first_report < x.end_report and reports[x.first_report].ts_recv <= t:
        p.seq += 1
        receive_report(c, p, x)
        free_order_slot(c, p)


@uncounted
def receive_report(c: Any, p: Any, x: Any) -> None:
    """Receive the first report that waits: our view of the order, the account, the log, the row for `on_fill`."""
    r = reports_of(x)[x.first_report]
    x.first_report += 1
    c.now = r.ts_recv
    c.k = 0
    c.instrument = r.instrument
    p.kind = r.kind
    orders, inst = orders_of(c), instruments_of(c)[r.instrument]
    k = 0
    while k < p.slots and not (orders[k].state > 0 and orders[k].order == np.uint64(r.order)):
        k += 1
    p.slot = k if k < p.slots else -1
    if r.kind == _FILL:
        book_fill(c, p, x, r, inst)
    if (r.kind == _CANCEL_REJECT or r.kind == _REPLACE_REJECT or r.kind == _REJECT) and p.quiet == 0:
        rows_at(p.at_refusals, p.log_size, REPORT)[p.n_refusals] = r
        p.n_refusals += 1
    if p.slot < 0:
        return
    o = orders[p.slot]
    if r.kind == _FILL:
        o.avg_px = (o.avg_px * o.filled_lots + price_of(r.px, inst) * r.lots) / (o.filled_lots + r.lots)
        o.filled_lots += r.lots
        o.state = _FILLED if r.open == 0 else _PARTIAL
    elif r.kind == _ACK:
        o.state = _OPEN
    elif r.kind == _TRIGGERED:
        o.triggered = 1
    elif r.kind == _REPLACED:
        o.px_ticks = r.px
        o.trigger_ticks = r.lots if r.lots > 0 else o.trigger_ticks
        o.qty_lots = o.filled_lots + r.open
        o.state = _PARTIAL if o.filled_lots > 0 else _OPEN
    elif r.kind == _CANCEL_REJECT:
        o.flags &= ~PENDING_CANCEL
    elif r.kind == _CANCELED or r.kind == _EXPIRED or r.kind == _REJECT:
        o.state = _S_CANCELED if r.kind == _CANCELED else (_S_EXPIRED if r.kind == _EXPIRED else _S_REJECTED)
        o.reason = r.reason


@uncounted
def book_fill(c: Any, p: Any, x: Any, r: Any, inst: Any) -> None:
    """Book a fill to the account and write it to the log and to the row that `on_fill` gets."""
    rules, position = rules_of(x)[r.instrument], positions_of(c)[r.instrument]
    px = price_of(r.px, inst)
    fee = apply_fill(c, position, inst, r.side, r.lots, px, rules.maker_rate if r.maker else rules.taker_rate)
    qty = lots_to_qty(inst, r.lots)
    p.n_fill_reports += 1
    p.volume += qty
    p.value += qty * px
    e = rows_at(p.at_event, 1, EVENT)[0]
    e.ts_exch, e.ts_recv = r.ts_exch, r.ts_recv
    e.seq = c.seq
    e.px, e.px_ticks, e.qty = px, r.px, qty
    e.aux = r.order
    e.instrument = r.instrument
    e.flags = MAKER | LAST if r.maker else LAST
    e.kind = _FILL
    e.side = r.side
    if p.quiet:
        return
    row = rows_at(p.at_fills, p.log_size, FILLED)[p.n_fills]
    p.n_fills += 1
    row.ts, row.ts_exch = r.ts_recv, r.ts_exch
    row.order, row.lots = r.order, r.lots
    row.px_ticks, row.px, row.fee = r.px, px, fee
    row.instrument = r.instrument
    row.side = r.side
    row.maker = r.maker


@uncounted
def free_order_slot(c: Any, p: Any) -> None:
    """Move the order of the last report to the log when it has ended."""
    if p.slot < 0:
        return
    o = orders_of(c)[p.slot]
    if o.state >= _FILLED:
        if p.quiet == 0:
            rows_at(p.at_orders, p.log_size, ORDER)[p.n_orders] = o
            p.n_orders += 1
        o.state = 0


@uncounted
def sample(c: Any, p: Any, x: Any, ts: int) -> None:
    """Write the account as it stands at `ts` to the equity log."""
    refresh(c, x)
    row = rows_at(p.at_equity, p.log_size, EQUITY)[p.n_equity]
    p.n_equity += 1
    row.ts = ts
    row.equity = equity_of(c)
    row.cash = c.cash
    row.exposure = exposure_of(c)


@uncounted
def send_intents(c: Any, p: Any, x: Any) -> None:
    """Send the intents of one row: each is logged, enters our own view, and is on its way to the exchange."""
    intents, log = intents_of(c), rows_at(p.at_intents, p.log_size, INTENT)
    for k in range(c.n_intents):
        if p.quiet == 0:
            log[p.n_intents] = intents[k]
            p.n_intents += 1
        request(c, p, x, intents[k])
    c.n_intents = 0


@uncounted
def request(c: Any, p: Any, x: Any, intent: Any) -> None:
    """Put one intent on the wire; a target becomes a market order of the size that it takes now."""
    i = intent.instrument
    own, rules, inst = own_of(x)[i], rules_of(x)[i], instruments_of(c)[i]
    lots, side, action, kind, tif = intent.qty_lots, intent.side, intent.action, intent.type, intent.tif
    if action == _TARGET:
        refresh_one(c, x, i)
        position = positions_of(c)[i]
        signed = target_lots(inst, position.lots, equity_of(c), lots / 1e9, position.px, rules.taker_rate)
        if signed == 0:
            return
        lots, side, action, kind, tif = abs(signed), 1 if signed > 0 else -1, _NEW, _MARKET, _IOC
    if action == _NEW and not enlist(c, p, intent, lots, side, kind, tif, x.max_orders):
        p.unplaced += 1
        return
    own.last_request = max(own.last_request, c.now + entry_ns(rules, c.now, x.sent))
    x.sent += 1
    slot = request_slot(x, own.last_request)
    if slot < 0:
        p.unplaced += 1
        return
    p.submits += 1 if action == _NEW else 0
    p.cancels += 1 if action == _CANCEL else 0
    q = requests_of(x)[slot]
    q.order = np.int64(intent.order)
    q.px, q.lots, q.trigger, q.expire = intent.px_ticks, lots, intent.trigger_ticks, intent.expire_ts
    q.instrument, q.side, q.action = i, side, action
    q.type, q.tif, q.flags = kind, tif, intent.flags


@uncounted
def enlist(c: Any, p: Any, intent: Any, lots: int, side: int, kind: int, tif: int, most: int) -> bool:
    """Write a new order to our own table; False when it has no free slot. Handlers see the slots ever used."""
    orders = rows_at(c.at_orders, most, ORDER)
    k = 0
    while k < orders.shape[0] and orders[k].state > 0:
        k += 1
    if k == orders.shape[0]:
        return False
    p.slots = max(p.slots, k + 1)
    c.n_orders = p.slots
    o = orders[k]
    o.order, o.seq, o.ts = intent.order, intent.seq, c.now
    o.px_ticks, o.trigger_ticks, o.stop_ticks = intent.px_ticks, intent.trigger_ticks, 0
    o.qty_lots, o.filled_lots = lots, 0
    o.expire_ts, o.avg_px = intent.expire_ts, 0.0
    o.instrument, o.link, o.flags = intent.instrument, intent.link, intent.flags
    o.state, o.reason = _PENDING, 0
    o.type, o.tif, o.side, o.triggered = kind, tif, side, 0
    return True

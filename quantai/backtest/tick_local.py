"""Our side of a replay: what comes next, the account it makes, and what is sent.

Everything here happens at an instant of receipt. At one instant: market rows, then reports, then timers.
"""

from typing import Any

import numpy as np

from quantai.backtest.tick_funding import next_due, pay_funding
from quantai.backtest.tick_receipt import receive_row, receive_rows, refresh, refresh_one
from quantai.backtest.tick_reports import receive_report, receive_unheard
from quantai.backtest.tick_state import BY_ROW, EQUITY, ON_REPORT, REPORTED
from quantai.core.compiled import uncounted, uncounted_inlined
from quantai.core.hints import distinct
from quantai.core.memory import rows_at
from quantai.core.rows import EVENT, INTENT, ORDER, Action, OrderState, OrderType, Reason
from quantai.strategy.account import equity_of, exposure_of, target_lots
from quantai.strategy.context import instruments_of, intents_of, positions_of
from quantai.strategy.heard import NOTHING, START, TICK
from quantai.venues.exchange import run_exchange, run_shared, serve_next
from quantai.venues.latency import entry_ns
from quantai.venues.matching import own_of, rules_of
from quantai.venues.wire import NEVER, ROOM, reports_of, request_slot, requests_of

_PENDING = int(OrderState.PENDING)
_NEW, _CANCEL, _TARGET = int(Action.NEW), int(Action.CANCEL), int(Action.TARGET)
_MARKET, _IOC = int(OrderType.MARKET), 1
_NOT_A_PRICE, _BAD_QTY, _NO_CASH = int(Reason.NOT_A_PRICE), int(Reason.BAD_QTY), int(Reason.NO_CASH)
_MARGIN = 1024
"""Rows that one step can add to a log."""


@uncounted_inlined
def step_ticks(c: Any, p: Any, x: Any, wants: int) -> int:
    """Go on to the next thing the strategy listens to and say what it is; NOTHING at the horizon or with full logs."""
    distinct()
    if p.started == 0:
        p.started = 1
        return START
    heard = wants & (BY_ROW | ON_REPORT) != 0
    while True:
        logged = p.n_equity
        if p.quiet == 0:
            logged = max(p.n_intents, p.n_orders, p.n_fills, p.n_refusals, p.n_equity)
        if logged + _MARGIN > p.log_size:
            return NOTHING
        more = x.next_recv < x.n_rows
        row_at = NEVER
        if more:
            rows = rows_at(x.at_rows, x.n_rows, EVENT)
            row_at = rows[x.next_recv].ts_recv if wants & BY_ROW else min(rows[x.n_rows - 1].ts_recv, x.horizon - 1)
        report_at = reports_of(x)[x.first_report].ts_recv if x.first_report < x.end_report else NEVER
        request_at = requests_of(x)[x.first_request].at if x.first_request < x.end_request else NEVER
        timer_at = c.next_timer if c.timer_ns > 0 else NEVER
        sample_at = p.next_sample
        due_at = next_due(p, NEVER) if p.n_due > 0 else NEVER
        over = not more and p.final
        ended = over and x.done >= x.last
        on_its_way = report_at != NEVER or request_at != NEVER
        if ended and min(timer_at, sample_at, due_at) > (x.closing if on_its_way else x.closing - x.round_trip):
            # the clock stops with what was on its way when the market ended, not with what is sent in answer to it
            timer_at, sample_at, due_at = NEVER, NEVER, NEVER
        told_at = report_at if heard else NEVER
        t = min(row_at, told_at, timer_at, sample_at, due_at)
        if t == NEVER:
            t = report_at
        full = x.ring - (x.end_report - x.first_report) < ROOM
        # a stop that wakes meets the book of that instant, so its venue may not fall behind what we have received
        behind = x.response_least if x.n_stops == 0 else 0
        # whether the market has ended may not depend on how far the exchange happens to have been run
        if (t - behind > x.done or request_at < t or (over and not ended)) and not full:
            # no decision is made before t: what it may send arrives `entry_least` later at the earliest
            first = t if t != NEVER else max(x.last, request_at if request_at != NEVER else 0)
            until = min(first + x.entry_least - 1, x.horizon - 1) if t != NEVER else min(first, x.horizon - 1)
            if until > x.done:
                if x.at_tile_x != 0:
                    if not heard and x.n_instruments == 1:
                        x.unwatched = t if t != NEVER else x.done
                    run_shared(x, until)
                else:
                    run_exchange(x, until)
                if heard or x.done < until or not more or t == NEVER:
                    continue
                # nothing but reports is new, and they wait for the instant that comes next anyway
                report_at = reports_of(x)[x.first_report].ts_recv if x.first_report < x.end_report else NEVER
                full = x.ring - (x.end_report - x.first_report) < ROOM
        if t == NEVER or t >= x.horizon:
            return NOTHING
        if wants & BY_ROW:
            if row_at == t:
                what = receive_row(c, p, x, wants)
                if what != NOTHING:
                    return what
                continue
        elif more:
            receive_rows(c, p, x, min(t, report_at) if full else t)
        if report_at <= t:
            if wants & ON_REPORT:
                p.seq += 1
                c.seq = p.seq
                receive_report(c, p, x)
                refresh(c, x)
                c.equity = equity_of(c)
                return REPORTED
            receive_unheard(c, p, x, min(t, report_at) if full else t)
            if heard or full or x.next_recv == x.n_rows:
                continue
        if due_at == t:
            refresh(c, x)
            pay_funding(c, p)
            continue
        if timer_at == t:
            hear_told(c, p, x)
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


@uncounted_inlined
def hear_told(c: Any, p: Any, x: Any) -> None:
    """Count the reports that were not sent because nothing was looked at before they came (see `reporting.tell`)."""
    if x.told > 0:
        p.seq += x.told
        x.told = 0
        c.now = max(c.now, x.told_at)
        c.k = 0


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
def sample_last(c: Any, p: Any, x: Any) -> None:
    """Write the account as it stands at the end: that of the market at the exchange, or of what followed from it."""
    hear_told(c, p, x)
    sample(c, p, x, max(c.now, x.last, p.next_sample - p.sample_ns))


@uncounted_inlined
def send_intents(c: Any, p: Any, x: Any, wants: int) -> None:
    """Send the intents of one row: each is logged, enters our own view, and is on its way to the exchange."""
    distinct()
    intents, log = intents_of(c), rows_at(p.at_intents, p.log_size, INTENT)
    for k in range(c.n_intents):
        if p.quiet == 0:
            log[p.n_intents] = intents[k]
            p.n_intents += 1
        request(c, p, x, intents[k])
    c.n_intents = 0
    if x.at_tile_x != 0:
        if wants & (BY_ROW | ON_REPORT) == 0 and x.n_instruments == 1:
            timer_at = c.next_timer if c.timer_ns > 0 else NEVER
            x.unwatched = min(timer_at, p.next_sample, next_due(p, NEVER) if p.n_due > 0 else NEVER)
        serve_next(x)


@uncounted_inlined
def request(c: Any, p: Any, x: Any, intent: Any) -> None:
    """Put one intent on the wire; a target becomes a market order of the size that it takes now."""
    i = intent.instrument
    own, rules, inst = own_of(x)[i], rules_of(x)[i], instruments_of(c)[i]
    lots, side, action, kind, tif = intent.qty_lots, intent.side, intent.action, intent.type, intent.tif
    if action == _TARGET:
        refresh_one(c, x, i)
        position, equity = positions_of(c)[i], equity_of(c)
        signed = target_lots(inst, position.lots, equity, lots / 1e9, position.px, rules.taker_rate)
        if signed == 0:
            if lots != 0 and position.lots == 0:
                # it cannot be traded at all, and may be asked for again
                position.target = np.nan
                c.refused[why_untraded(position.px, equity)] += 1
            return
        lots, side, action, kind, tif = abs(signed), 1 if signed > 0 else -1, _NEW, _MARKET, _IOC
    if action == _NEW and not enlist(c, p, intent, lots, side, kind, tif, x.max_orders):
        p.unplaced += 1
        positions_of(c)[i].target = np.nan
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
def why_untraded(px: float, equity: float) -> int:
    """Return why a target moved nothing (a Reason): without a price, without money, or for less than a lot."""
    if px <= 0.0:
        return _NOT_A_PRICE
    return _BAD_QTY if equity > 0.0 else _NO_CASH


@uncounted_inlined
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

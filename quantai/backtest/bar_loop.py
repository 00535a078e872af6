"""The driver of a backtest on bars: one function, specialised to each strategy by the compiler, run also uncompiled.

For the bars of one instant: targets at their opens, orders against them, and their closes mark the account. Then, for
each of them: a timer that fell due, `on_bar`, and what the strategy asked for becomes orders, live from the
instrument's next bar. A driver is pasted into the strategy's kernel, where `on_bar` and the other handlers are the
user's; the names below it are the engine's and are compiled once for all strategies.
"""

import math
from typing import Any

import numpy as np

from quantai.backtest.bar_log import ROUNDS, close_instant, is_full, log_fill, log_order
from quantai.backtest.bar_matching import match_bar, open_price
from quantai.backtest.order_table import PARTIAL, TRAILING_STOP, WAITING, end, place, settle
from quantai.core.compiled import inlined, uncounted
from quantai.core.grid import price_of
from quantai.core.memory import kept, put_back
from quantai.core.rows import CHILD, LAST, MAKER, REDUCE_ONLY, Action, Kind, OrderState, OrderType, Reason
from quantai.strategy.account import apply_fill, equity_of, gross_of, lots_to_qty, target_lots, unit_value
from quantai.strategy.handlers import (
    has_on_bar,
    has_on_fill,
    has_on_order,
    has_on_start,
    has_on_timer,
    on_bar,
    on_fill,
    on_order,
    on_start,
    on_timer,
)

_FILLED, _REJECTED = int(OrderState.FILLED), int(OrderState.REJECTED)
NO_CASH, _NOT_A_PRICE, BAD_QTY = int(Reason.NO_CASH), int(Reason.NOT_A_PRICE), int(Reason.BAD_QTY)
_NEW, _TARGET = int(Action.NEW), int(Action.TARGET)
_MARKET = int(OrderType.MARKET)
_KIND_FILL = int(Kind.FILL)
_EPS = 1.0 + 1e-9


def run_bars(
    bars: Any,
    stop: int,
    me: Any,
    ctx: Any,
    insts: Any,
    positions: Any,
    orders: Any,
    intents: Any,
    rules: Any,
    match: Any,
    settings: Any,
    hits: Any,
    open_lots: Any,
    event: Any,
    log_orders: Any,
    log_fills: Any,
    log_intents: Any,
    progress: Any,
) -> None:
    """Process bars from progress.next up to `stop`, or until a log buffer has to be drained."""
    c, p, s = ctx[0], progress[0], settings[0]
    # a copy that only inlined code sees stays in registers; in memory, each row would wait for the stores of the last
    m = kept(me[0])
    i, end_of = p.next, p.instant_end
    while i < stop:
        if s.log == 1 and is_full(p, orders.shape[0], insts.shape[0]):
            break
        if i >= end_of:
            # a new instant: what traded during its bars comes before any decision at their close
            end_of = i + 1
            while end_of < stop and bars[end_of].ts_close == bars[i].ts_close:
                end_of += 1
            c.k = 0
            if has_on_start:
                if p.seq == 0:
                    c.now = bars[i].ts_open
                    c.instrument = bars[i].instrument
                    # the first price there is, so that an order of on_start can be valued
                    positions[c.instrument].px = bars[i].open
                    on_start(m, c)
                    accept(c, p, s, insts, positions, orders, intents, log_intents)
            c.now = bars[i].ts_close
            # all targets first: sizing one at its open must not see another instrument's later close
            for r in range(i, end_of):
                bar = bars[r]
                c.seq = p.seq + 1 + r - i
                c.instrument = bar.instrument
                position = positions[bar.instrument]
                if position.target_order != 0 and position.target_ts <= bar.ts_open:
                    if execute_target(c, p, s, insts, positions, bar, rules[0], log_orders, log_fills, event):
                        if has_on_fill:
                            on_fill(m, c, event[0])
            for r in range(i, end_of):
                bar = bars[r]
                position = positions[bar.instrument]
                if p.working > 0:
                    c.seq = p.seq + 1 + r - i
                    c.instrument = bar.instrument
                    match[0].position_lots = position.lots
                    n = match_bar(orders, p.slots, open_lots, bar, insts[bar.instrument], rules[0], match[0], hits)
                    for k in range(n):
                        book_hit(c, p, s, insts[bar.instrument], position, hits[k], log_fills, event)
                        if has_on_fill:
                            on_fill(m, c, event[0])
                    for k in range(p.slots):
                        if orders[k].state >= _FILLED:
                            if has_on_order:
                                on_order(m, c, orders[k])
                            log_order(p, s, orders, k, log_orders)
                position.px = bar.close
            c.equity = equity_of(c)
        bar = bars[i]
        p.seq += 1
        c.seq = p.seq
        c.instrument = bar.instrument
        if has_on_timer:
            if c.timer_ns > 0 and c.next_timer <= c.now:
                on_timer(m, c)
                c.next_timer += ((c.now - c.next_timer) // c.timer_ns + 1) * c.timer_ns
        if has_on_bar:
            on_bar(m, c, bar)
        answer(m, c, p, s, insts, positions, orders, intents, log_orders, log_intents)
        i += 1
        if i == end_of:
            close_instant(c, p, s)
    p.next, p.instant_end = i, end_of
    put_back(me[0], m)


@inlined
def answer(
    m: Any,
    c: Any,
    p: Any,
    s: Any,
    insts: Any,
    positions: Any,
    orders: Any,
    intents: Any,
    log_orders: Any,
    log_intents: Any,
) -> None:
    """Turn what was asked for at one bar into orders; what is refused at once is reported at once."""
    rounds = 0
    while c.n_intents > 0 and rounds < ROUNDS:
        # the handler may ask for something else when it hears of a refusal
        accept(c, p, s, insts, positions, orders, intents, log_intents)
        for k in range(p.slots):
            if orders[k].state >= _FILLED:
                if has_on_order:
                    on_order(m, c, orders[k])
                log_order(p, s, orders, k, log_orders)
        rounds += 1


@uncounted
def report_fill(
    c: Any, inst: Any, event: Any, order: int, side: int, lots: int, px: float, maker: int, ts: int
) -> None:
    """Fill the EVENT row of an execution at instant `ts`."""
    e = event[0]
    e.ts_exch = ts
    e.ts_recv = ts
    e.seq = c.seq
    e.px = px
    e.qty = lots_to_qty(inst, lots)
    e.aux = order
    e.instrument = inst.id
    e.flags = MAKER | LAST if maker else LAST
    e.kind = _KIND_FILL
    e.side = side


@uncounted
def book_hit(c: Any, p: Any, s: Any, inst: Any, position: Any, hit: Any, log_fills: Any, event: Any) -> None:
    """Book one fill of `match_bar` to the account and the log."""
    rate = s.maker_rate if hit.maker else s.taker_rate
    position.target = math.nan  # whatever weight was asked for last is no longer what is held
    fee = apply_fill(c, position, inst, hit.side, hit.qty_lots, hit.px, rate)
    notional = abs(lots_to_qty(inst, hit.qty_lots) * unit_value(inst, hit.px))
    report_fill(c, inst, event, hit.order, hit.side, hit.qty_lots, hit.px, hit.maker, hit.ts)
    log_fill(p, s, log_fills, event, hit.qty_lots, fee, notional, hit.where, hit.maker)


@uncounted
def execute_target(
    c: Any,
    p: Any,
    s: Any,
    insts: Any,
    positions: Any,
    bar: Any,
    rules: Any,
    log_orders: Any,
    log_fills: Any,
    event: Any,
) -> bool:
    """Trade the bar's instrument to its target weight at the open; returns whether anything traded.

    The size is worked out at the price it fills at, with this instrument marked there and the others at their last
    close. A weight beyond what the leverage leaves room for is clipped to it. A target that cannot be traded at all,
    for want of room or because it is less than a lot, is refused and may be asked for again.
    """
    inst, position = insts[bar.instrument], positions[bar.instrument]
    order = position.target_order
    position.target_order = 0
    position.px = bar.open
    others = gross_of(c) - abs(position.qty * unit_value(inst, position.px))
    lots, px, reason = size_target(p, s, inst, position, bar, rules, equity_of(c), others)
    if reason != 0:
        c.refused[reason] += 1
    if lots == 0:
        return False
    side = 1 if lots > 0 else -1
    fee = apply_fill(c, position, inst, side, abs(lots), px, s.taker_rate)
    report_fill(c, inst, event, order, side, abs(lots), px, 0, bar.ts_open)
    log_fill(p, s, log_fills, event, abs(lots), fee, abs(lots_to_qty(inst, lots) * unit_value(inst, px)), 1, 0)
    if s.log == 1:
        row = log_orders[p.n_orders]
        row.order = order
        row.seq = c.seq
        row.ts = position.target_ts
        row.px_ticks = 0
        row.trigger_ticks = 0
        row.stop_ticks = 0
        row.qty_lots = abs(lots)
        row.filled_lots = abs(lots)
        row.expire_ts = 0
        row.avg_px = px
        row.instrument = bar.instrument
        row.link = 0
        row.flags = 0
        row.state = _FILLED
        row.reason = 0
        row.type = _MARKET
        row.tif = 0
        row.side = side
        row.triggered = 0
        p.n_orders += 1
    return True


@inlined
def size_target(
    p: Any, s: Any, inst: Any, position: Any, bar: Any, rules: Any, equity: float, others: float
) -> tuple[int, float, int]:
    """Return the signed lots to trade for a target at the bar's open, their price, and why it is refused (a Reason).

    `others` is what the other positions are worth in all, long or short.
    """
    weight = position.target_nano / 1e9
    if weight != 0.0 and equity > 0.0:
        room = max(0.0, s.leverage - (others / equity if others != 0.0 else 0.0))
        if abs(weight) > room * _EPS:
            p.clipped += 1
        weight = min(max(weight, -room), room)
    # the side decides the slipped price, and the slipped price the size: try the side the open itself suggests
    lots = target_lots(inst, position.lots, equity, weight, bar.open, s.taker_rate)
    if lots == 0:
        if position.lots == 0 and position.target_nano != 0:
            position.target = math.nan
            return 0, 0.0, BAD_QTY if weight != 0.0 else NO_CASH
        return 0, 0.0, 0
    side = 1 if lots > 0 else -1
    px = open_price(bar, side, rules)
    if px != bar.open:
        lots = target_lots(inst, position.lots, equity, weight, px, s.taker_rate)
    if lots * side <= 0:
        return 0, 0.0, 0
    return lots, px, 0


@uncounted
def accept(c: Any, p: Any, s: Any, insts: Any, positions: Any, orders: Any, intents: Any, log_intents: Any) -> None:
    """Turn the intents of one row into orders; what is refused ends at once in the table, with its reason."""
    for k in range(c.n_intents):
        intent = intents[k]
        j = intent.instrument
        if s.log == 1:
            log_intents[p.n_intents] = intent
            p.n_intents += 1
        if intent.action == _TARGET:
            positions[j].target_order = np.int64(intent.order)
            positions[j].target_nano = intent.qty_lots
            positions[j].target_ts = c.now
            continue
        slot = place(orders, p.slots, intent, insts[j], c.now)
        if slot < 0:
            p.unplaced += 1
            continue
        p.slots = max(p.slots, slot + 1)
        if intent.action == _NEW:
            p.working += 1
            o = orders[slot]
            if o.state < _FILLED:
                reason = opens_beyond(c, s, insts, positions, orders, p.slots, slot)
                if reason != 0:
                    end(orders, p.slots, slot, _REJECTED, reason)
                    settle(orders, p.slots)
    c.n_intents = 0


@uncounted
def opens_beyond(c: Any, s: Any, insts: Any, positions: Any, orders: Any, slots: int, slot: int) -> int:
    """Return why an order may not open (a Reason), or 0: leverage x equity must suffice for all orders at work.

    Each instrument counts with the worse of its two sides. Orders are valued at their limit or stop, else at the last
    price; an instrument without one cannot be opened at market. Children and reduce-only orders never open.
    """
    o = orders[slot]
    if o.flags & (CHILD | REDUCE_ONLY):
        return 0
    held = positions[o.instrument].lots
    if abs(side_lots(positions, orders, slots, o.instrument, o.side)) <= abs(held):
        return 0
    if order_price(o, positions, insts) == 0.0:
        return _NOT_A_PRICE
    gross = 0.0
    for j in range(positions.shape[0]):
        px = order_price(o, positions, insts) if j == o.instrument else positions[j].px
        buys = abs(side_lots(positions, orders, slots, j, 1))
        sells = abs(side_lots(positions, orders, slots, j, -1))
        gross += lots_to_qty(insts[j], max(buys, sells)) * abs(unit_value(insts[j], px))
    return NO_CASH if gross > s.leverage * c.equity * _EPS else 0


@uncounted
def side_lots(positions: Any, orders: Any, slots: int, instrument: int, side: int) -> int:
    """Return the position of an instrument in lots, were all its opening orders of one side filled."""
    lots = positions[instrument].lots
    for k in range(slots):
        o = orders[k]
        live = o.state >= WAITING and o.state <= PARTIAL
        if live and o.instrument == instrument and o.side == side and o.flags & (CHILD | REDUCE_ONLY) == 0:
            lots += side * (o.qty_lots - o.filled_lots)
    return lots


@uncounted
def order_price(o: Any, positions: Any, insts: Any) -> float:
    """Return the price an order is valued at: its limit, its stop, or the last price; 0.0 where there is none."""
    if o.px_ticks > 0:
        return price_of(o.px_ticks, insts[o.instrument])
    if o.trigger_ticks > 0 and o.type != TRAILING_STOP:
        return price_of(o.trigger_ticks, insts[o.instrument])
    return positions[o.instrument].px

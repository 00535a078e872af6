"""What one bar can reach: which order is next within it, and where prices and ticks meet.

All comparisons are made on mirrored prices: `side * px`, so that a sell order reads exactly as a buy order does.
"""

import math
from typing import Any

from quantai.backtest.order_table import (
    DAY,
    FOK,
    GTD,
    IOC,
    LIMIT,
    MARKET,
    PARTIAL,
    PENDING,
    STOP,
    STOP_LIMIT,
    TRAILING_STOP,
    are_rivals,
    is_live,
)
from quantai.core.compiled import uncounted
from quantai.core.grid import price_of


@uncounted
def is_stop(order: Any) -> bool:
    """Say whether an order still waits for its trigger."""
    return order.type >= STOP and order.triggered == 0


@uncounted
def has_limit(order: Any) -> bool:
    """Say whether an order never pays more than a limit."""
    return order.type == LIMIT or order.type == STOP_LIMIT


@uncounted
def stop_price(order: Any, inst: Any) -> float:
    """Return the price at which an order triggers; a trailing stop's moves, and is 0.0 before the order has arrived."""
    return price_of(order.stop_ticks if order.type == TRAILING_STOP else order.trigger_ticks, inst)


@uncounted
def expires_by(order: Any, ts: int) -> bool:
    """Say whether an order has expired at instant `ts`."""
    return (order.tif == GTD or order.tif == DAY) and order.expire_ts > 0 and order.expire_ts <= ts


@uncounted
def slipped(px: float, side: int, rules: Any) -> float:
    """Return `px` moved against `side` by rules.slip_bps; the form keeps 97 less 20 bp at the float of 96.806."""
    return (px * 1e4 + side * abs(px) * rules.slip_bps) / 1e4


@uncounted
def fills_at(px: float, limit: float, rules: Any) -> bool:
    """Say whether a trade at mirrored `px` fills a mirrored `limit`: through it, or on a touch where rules say so."""
    return px < limit or (px == limit and rules.limit_touch != 0)


@uncounted
def extremes(side: int, high: float, low: float) -> tuple[float, float]:
    """Return the mirrored (high, low)."""
    if side > 0:
        return high, low
    return -low, -high


@uncounted
def ticks_below(px: float, inst: Any) -> int:
    """Return the highest tick at or below `px`."""
    exact = px * inst.tick_den / inst.tick_num
    near = round(exact)
    return near if price_of(near, inst) == px else math.floor(exact)


@uncounted
def ticks_above(px: float, inst: Any) -> int:
    """Return the lowest tick at or above `px`."""
    return -ticks_below(-px, inst)


@uncounted
def takes_part(order: Any, bar: Any) -> bool:
    """Say whether an order is in the market during `bar`: its instrument, awake, decided no later than the open."""
    works = order.state >= PENDING and order.state <= PARTIAL
    return works and order.instrument == bar.instrument and order.ts <= bar.ts_open


@uncounted
def leg_of(order: Any, bar: Any, inst: Any, rules: Any) -> int:
    """Return the direction in which the price would fill `order` within the bar (+1 up, -1 down), 0 when it cannot."""
    side = int(order.side)
    high, low = extremes(side, bar.high, bar.low)
    if not takes_part(order, bar):
        return 0
    if is_stop(order):
        stop = stop_price(order, inst)
        return side if stop != 0.0 and high >= side * stop else 0
    if order.type == LIMIT or (order.type == STOP_LIMIT and order.triggered == 1):
        return -side if fills_at(low, side * price_of(order.px_ticks, inst), rules) else 0
    return 0


@uncounted
def next_by_number(orders: Any, n_orders: int, bar: Any, after: int) -> int:
    """Return the slot of the smallest order number above `after` that takes part in the bar, or -1."""
    best = -1
    for k in range(n_orders):
        o = orders[k]
        if o.order > after and takes_part(o, bar):
            best = k if best < 0 or o.order < orders[best].order else best
    return best


@uncounted
def next_expired(orders: Any, n_orders: int, bar: Any) -> int:
    """Return the slot of the smallest order number that is live and has expired by the end of the bar, or -1."""
    best = -1
    for k in range(n_orders):
        o = orders[k]
        if is_live(o) and o.instrument == bar.instrument and expires_by(o, bar.ts_close):
            best = k if best < 0 or o.order < orders[best].order else best
    return best


@uncounted
def next_within(orders: Any, n_orders: int, bar: Any, inst: Any, rules: Any, match: Any) -> int:
    """Return the slot of the order that fills next within the bar, or -1; children just woken (PENDING) are left out.

    The nearest stop, unless a limit stands on the way to it; with no stop in reach, the nearest limit. A limit whose
    rival stop is in reach in the other direction waits: of an exit pair the stop comes first.
    """
    stop, gap = -1, math.inf
    for k in range(n_orders):
        o = orders[k]
        if o.state == PENDING or not is_stop(o) or leg_of(o, bar, inst, rules) == 0:
            continue
        if not _lapses(o, bar, match):
            distance = abs(stop_price(o, inst) - bar.open)
            if stop < 0 or distance < gap or (distance == gap and o.order < orders[stop].order):
                stop, gap = k, distance
    leg = 0 if stop < 0 else leg_of(orders[stop], bar, inst, rules)
    limit = -1
    for k in range(n_orders):
        o = orders[k]
        its_leg = 0 if o.state == PENDING or is_stop(o) else leg_of(o, bar, inst, rules)
        if its_leg == 0 or (leg != 0 and its_leg != leg) or _lapses(o, bar, match):
            continue
        distance = max(0.0, o.side * (bar.open - price_of(o.px_ticks, inst)))
        nearer = distance < gap or (limit >= 0 and distance == gap and o.order < orders[limit].order)
        if nearer and not _yields(orders, n_orders, k, its_leg, bar, inst, rules):
            limit, gap = k, distance
    return stop if limit < 0 else limit


@uncounted
def _lapses(order: Any, bar: Any, match: Any) -> bool:
    """Whether an order in reach expires within the bar: it may have filled before that, which the bar cannot say."""
    if not expires_by(order, bar.ts_close - 1):
        return False
    match.unsure = 1
    return True


@uncounted
def _yields(orders: Any, n_orders: int, k: int, leg: int, bar: Any, inst: Any, rules: Any) -> bool:
    """Whether a rival stop of limit order `k` is in reach on the other leg."""
    for c in range(n_orders):
        if is_stop(orders[c]) and are_rivals(orders[k], orders[c]) and leg_of(orders[c], bar, inst, rules) == -leg:
            return True
    return False


@uncounted
def next_child(orders: Any, n_orders: int, parent: int, now: float, bar: Any, inst: Any) -> int:
    """Return the slot of the next child of order number `parent` to work from price `now` within the bar, or -1.

    Stops before limits, the nearest first, then by number. A child that is judged at an open (market, IOC, FOK), or
    that expires within the bar, is left for the next open.
    """
    best, best_stop, gap = -1, False, 0.0
    for k in range(n_orders):
        o = orders[k]
        if o.state != PENDING or o.link != parent or not takes_part(o, bar) or expires_by(o, bar.ts_close - 1):
            continue
        if o.type == MARKET or (o.type == LIMIT and (o.tif == IOC or o.tif == FOK)):
            continue
        if o.type == TRAILING_STOP and o.stop_ticks == 0:
            distance = price_of(o.trigger_ticks, inst)
        else:
            distance = abs((stop_price(o, inst) if is_stop(o) else price_of(o.px_ticks, inst)) - now)
        first = best < 0 or (is_stop(o) and not best_stop)
        if is_stop(o) == best_stop and best >= 0:
            first = distance < gap or (distance == gap and o.order < orders[best].order)
        if first:
            best, best_stop, gap = k, is_stop(o), distance
    return best

"""The pre-trade check: `check(book, limits, request)` returns the first reason to deny, or 0. Compiled, pure, no clock.

The same function decides in a replay and live. A cancel always passes. "Opening" means: not fully closing the position,
with the orders already out on the same side counted first; only what opens meets the quote, exposure and loss checks. A
change of an order is judged on what it adds.

Amounts closer than one part in 10^12 are equal (`exposure.over`): that is what makes a boundary written in decimals
exact although the arithmetic is binary, and it is far below one tick or one lot of anything.
"""

import math
from typing import Any

from quantai.core.compiled import uncounted
from quantai.core.rows import DAY, POST_ONLY, REDUCE_ONLY, Action
from quantai.execution.exposure import (
    N_RECENT,
    N_SENT,
    N_WORKING,
    TRAILING_STOP,
    RiskBook,
    Standing,
    amount,
    is_priced,
    is_stop,
    meets_at,
    notional,
    over,
    stand,
    trigger_of,
    valued_at,
)
from quantai.execution.reasons import RiskReason, TradingState

NEW, CANCEL = int(Action.NEW), int(Action.CANCEL)
HALTED, REDUCING = int(TradingState.HALTED), int(TradingState.REDUCING)
OK, RECONCILING = int(RiskReason.OK), int(RiskReason.RECONCILING)
STATE_HALTED, STATE_REDUCING = int(RiskReason.STATE_HALTED), int(RiskReason.STATE_REDUCING)
INSTRUMENT_UNKNOWN, SESSION_CLOSED = int(RiskReason.INSTRUMENT_UNKNOWN), int(RiskReason.SESSION_CLOSED)
INSTRUMENT_NOT_TRADABLE = int(RiskReason.INSTRUMENT_NOT_TRADABLE)
PRICE_INVALID, PRICE_NOT_POSITIVE = int(RiskReason.PRICE_INVALID), int(RiskReason.PRICE_NOT_POSITIVE)
PRICE_TICK, QTY_INVALID, QTY_LOT = int(RiskReason.PRICE_TICK), int(RiskReason.QTY_INVALID), int(RiskReason.QTY_LOT)
QTY_MIN, QTY_MAX = int(RiskReason.QTY_MIN), int(RiskReason.QTY_MAX)
DUPLICATE_CLIENT_ID, DUPLICATE_ORDER = int(RiskReason.DUPLICATE_CLIENT_ID), int(RiskReason.DUPLICATE_ORDER)
RATE_LIMIT, MAX_OPEN_ORDERS = int(RiskReason.RATE_LIMIT), int(RiskReason.MAX_OPEN_ORDERS)
NOT_REDUCING, STALE_QUOTE = int(RiskReason.REDUCE_ONLY), int(RiskReason.STALE_QUOTE)
PRICE_COLLAR, PASSIVE_CROSS = int(RiskReason.PRICE_COLLAR), int(RiskReason.PASSIVE_CROSS)
NOTIONAL_MIN, NOTIONAL_MAX = int(RiskReason.NOTIONAL_MIN), int(RiskReason.NOTIONAL_MAX)
ORDER_NOTIONAL, SELF_TRADE = int(RiskReason.ORDER_NOTIONAL), int(RiskReason.SELF_TRADE)
POSITION_LIMIT, GROSS_LIMIT = int(RiskReason.POSITION_LIMIT), int(RiskReason.GROSS_LIMIT)
NET_LIMIT, LEVERAGE, MARGIN = int(RiskReason.NET_LIMIT), int(RiskReason.LEVERAGE), int(RiskReason.MARGIN)
LOSS_LIMIT, DRAWDOWN_LIMIT = int(RiskReason.LOSS_LIMIT), int(RiskReason.DRAWDOWN_LIMIT)
REJECT_RATIO = int(RiskReason.REJECT_RATIO)


@uncounted
def check(book: RiskBook, limits: Any, request: Any) -> int:
    """Return the first RiskReason to deny `request` (a REQUEST row) under `limits` (a LIMITS row); 0 = it may be sent.

    Nothing is written: `exposure.commit` counts a request once it has passed.
    """
    if request.action == CANCEL:
        return OK
    account = book.account[0]
    standing = stand(book, request)
    grows = standing.opening and standing.added > 0.0
    opens = grows or (standing.opening and standing.bolder)
    if account.reconciling:
        return RECONCILING
    if account.state == HALTED:
        return STATE_HALTED
    if account.state == REDUCING and opens:
        return STATE_REDUCING
    if request.instrument >= len(book.watch):
        return INSTRUMENT_UNKNOWN
    watch, instrument = book.watch[request.instrument], book.instruments[request.instrument]
    reason = _check_form(watch, instrument, request)
    if reason == OK:
        reason = _check_flow(book, limits, request)
    if reason == OK and opens and request.flags & REDUCE_ONLY:
        reason = NOT_REDUCING
    if reason == OK and standing.opening:
        reason = _check_quote(watch, limits, request)
    if reason == OK:
        reason = _check_size(book, limits, request, standing, grows)
    if reason == OK and grows:
        reason = _check_exposure(book, limits, request, standing)
    if reason == OK and opens:
        reason = _check_losses(limits, account)
    return reason


@uncounted
def _off_grid(value: float, num: int, den: int) -> bool:
    # the double nearest to the decimal on the grid is steps * num / den, rounded once: equality is exact
    return round(value * den / num) * num / den != value


@uncounted
def _is_expired(instrument: Any, ts: int) -> bool:
    expiry = instrument.expiry_ts
    if expiry == 0:
        return False
    return ts >= (expiry + DAY if expiry % DAY == 0 else expiry)  # a symbol names a day, and trades on it


@uncounted
def _check_form(watch: Any, instrument: Any, request: Any) -> int:
    """The instrument trades, and price and quantity are ones it can have."""
    if not watch.tradable or _is_expired(instrument, request.ts):
        return INSTRUMENT_NOT_TRADABLE
    if not (watch.open and watch.in_session):
        return SESSION_CLOSED
    if is_priced(request):
        if not math.isfinite(request.px):
            return PRICE_INVALID
        if request.px <= 0.0 and not watch.negative_ok:
            return PRICE_NOT_POSITIVE
        if _off_grid(request.px, instrument.tick_num, instrument.tick_den):
            return PRICE_TICK
    if is_stop(request) or request.type == TRAILING_STOP:
        if not math.isfinite(request.trigger):
            return PRICE_INVALID
        if request.trigger <= 0.0 and not (watch.negative_ok and is_stop(request)):
            return PRICE_NOT_POSITIVE
        if _off_grid(request.trigger, instrument.tick_num, instrument.tick_den):
            return PRICE_TICK
    if not (math.isfinite(request.qty) and request.qty > 0.0):
        return QTY_INVALID
    if _off_grid(request.qty, instrument.lot_num, instrument.lot_den):
        return QTY_LOT
    lots = round(request.qty * instrument.lot_den / instrument.lot_num)
    if lots < instrument.min_qty_lots:
        return QTY_MIN
    if 0 < instrument.max_qty_lots < lots:
        return QTY_MAX
    return OK


@uncounted
def _is_same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


@uncounted
def _check_flow(book: RiskBook, limits: Any, request: Any) -> int:
    """Not sent before, not in a loop, not too many."""
    if request.action == NEW:
        if request.order <= book.account[0].last_order:
            return DUPLICATE_CLIENT_ID
        count = book.counts[N_RECENT]
        for k in range(1, min(count, len(book.recent)) + 1):  # newest first
            r = book.recent[(count - k) % len(book.recent)]
            if request.ts - r.ts >= limits.duplicate_window_ns:
                break
            same_px = _is_same(r.px, request.px) and _is_same(r.trigger, trigger_of(request))
            if same_px and r.qty == request.qty and r.side == request.side and r.instrument == request.instrument:
                return DUPLICATE_ORDER
    count = book.counts[N_SENT]
    if limits.rate_max == 0:
        return RATE_LIMIT
    if count >= limits.rate_max:
        oldest = book.sent[(count - limits.rate_max) % len(book.sent)]
        if request.ts - oldest < limits.rate_window_ns:
            return RATE_LIMIT
    if request.action == NEW and book.counts[N_WORKING] >= limits.max_open_orders:
        return MAX_OPEN_ORDERS
    return OK


@uncounted
def _check_quote(watch: Any, limits: Any, request: Any) -> int:
    """There is a fresh quote, and the price is a sane distance from it."""
    older = min(watch.bid_ts, watch.ask_ts)
    quoted = older != 0 and not (math.isnan(watch.bid) or math.isnan(watch.ask))
    if not quoted or request.ts - older > limits.max_quote_age_ns:
        return STALE_QUOTE
    if over(watch.bid, watch.ask):  # nobody offers that: one of the sides is gone, and we have not heard of it
        return STALE_QUOTE
    mid = (watch.bid + watch.ask) / 2.0
    if is_stop(request) and over(abs(request.trigger - mid), limits.collar * abs(mid)):
        return PRICE_COLLAR
    if not is_priced(request):
        return OK
    if over(abs(request.px - mid), limits.collar * abs(mid)):
        return PRICE_COLLAR
    if request.flags & POST_ONLY:
        crossed = watch.ask if request.side > 0 else watch.bid
        if over(request.side * (request.px - crossed), limits.passive_cross * abs(crossed)):
            return PASSIVE_CROSS
    return OK


@uncounted
def _check_size(book: RiskBook, limits: Any, request: Any, standing: Standing, grows: bool) -> int:
    """The order is neither too small nor too large, and would not trade with one of ours."""
    watch, instrument = book.watch[request.instrument], book.instruments[request.instrument]
    px = valued_at(watch, request)
    worth = notional(instrument, px, request.qty)
    is_exempt = watch.reduces_below_min and request.flags & REDUCE_ONLY
    if not is_exempt and over(instrument.min_notional, worth):
        return NOTIONAL_MIN
    if instrument.max_notional > 0.0 and over(worth, instrument.max_notional):
        return NOTIONAL_MAX
    ours = amount(book, request.instrument, px, request.qty)
    if over(ours, limits.max_order_notional) or (grows and math.isnan(ours)):
        return ORDER_NOTIONAL
    if limits.stp_deny and not math.isnan(standing.best_opposite):
        apart = request.side * (standing.best_opposite - meets_at(watch, request))
        if not over(apart, 0.0):  # without a quote nobody knows: deny
            return SELF_TRADE
    return OK


@uncounted
def _check_exposure(book: RiskBook, limits: Any, request: Any, standing: Standing) -> int:
    """What could be held after it stays within position, gross, net, leverage and margin."""
    account, watch = book.account[0], book.watch[request.instrument]
    worst = request.side * standing.position + standing.same_side + request.qty
    if over(worst, watch.max_position):
        return POSITION_LIMIT
    added = amount(book, request.instrument, valued_at(watch, request), standing.added)
    gross = account.gross_notional + added
    if over(gross, limits.max_gross):
        return GROSS_LIMIT
    # what buys can lead to and what sells can lead to are two figures: orders of the two sides do not cancel out
    before = account.net_long if request.side > 0 else account.net_short
    net = abs(before + request.side * added)
    if over(net, limits.max_net) and net > abs(before):
        return NET_LIMIT
    if over(gross, limits.max_leverage * account.equity):
        return LEVERAGE
    if over(added * watch.initial_margin, account.free_margin):
        return MARGIN
    return OK


@uncounted
def _check_losses(limits: Any, account: Any) -> int:
    """Nothing has tripped: a loss and a drawdown trip when they are reached, a ratio when it is passed."""
    if not over(limits.max_day_loss, -account.day_pnl):
        return LOSS_LIMIT
    if not over(limits.max_drawdown * account.peak_equity, account.peak_equity - account.equity):
        return DRAWDOWN_LIMIT
    enough = account.recent_requests >= limits.reject_min_requests
    if enough and over(account.recent_rejects, limits.max_reject_ratio * account.recent_requests):
        return REJECT_RATIO
    return OK

"""Why risk denies a request: the first reason that applies, in the order of the numbers."""

from enum import IntEnum


class TradingState(IntEnum):
    """The kill switch."""

    ACTIVE = 0
    REDUCING = 1  # only what fully closes may go out
    HALTED = 2  # only cancels may go out


class RiskReason(IntEnum):
    """The answer to a request; OK is 0. Cancels are always OK."""

    OK = 0
    RECONCILING = 1  # the books are not yet reconciled with the venue
    STATE_HALTED = 2  # trading is halted
    STATE_REDUCING = 3  # trading is reduced to closing, and this opens
    INSTRUMENT_UNKNOWN = 4  # no such instrument
    INSTRUMENT_NOT_TRADABLE = 5  # the venue has suspended it, or it has expired
    SESSION_CLOSED = 6  # its session is closed
    PRICE_INVALID = 7  # a limit price or a trigger is missing, infinite or not a number
    PRICE_NOT_POSITIVE = 8  # a price or a trigger of 0 or less, where the instrument cannot have one
    PRICE_TICK = 9  # the price or the trigger is not a multiple of the tick
    QTY_INVALID = 10  # the quantity is 0, negative, infinite or not a number
    QTY_LOT = 11  # the quantity is not a multiple of the lot
    QTY_MIN = 12  # below the venue's smallest quantity
    QTY_MAX = 13  # above the venue's largest quantity
    DUPLICATE_CLIENT_ID = 14  # an order of this number was sent before
    DUPLICATE_ORDER = 15  # same instrument, side, quantity, price and trigger within duplicate_window_ms: a loop
    RATE_LIMIT = 16  # rate_max requests within rate_window_ms
    MAX_OPEN_ORDERS = 17  # max_open_orders are working
    REDUCE_ONLY = 18  # a reduce-only order that would open, with the closing orders already out
    STALE_QUOTE = 19  # no bid or no ask, one older than max_quote_age_ms, or the bid above the ask
    PRICE_COLLAR = 20  # limit or trigger further than collar_bps from the middle of the quote
    PASSIVE_CROSS = 21  # a post-only order that crosses the quote by more than passive_cross_bps
    NOTIONAL_MIN = 22  # below the venue's smallest notional
    NOTIONAL_MAX = 23  # above the venue's largest notional
    ORDER_NOTIONAL = 24  # above max_order_notional, or it opens and its currency has no rate
    SELF_TRADE = 25  # would trade with an order of our own, and stp is deny
    POSITION_LIMIT = 26  # beyond max_position when every working order on this side fills
    GROSS_LIMIT = 27  # gross notional above max_gross
    NET_LIMIT = 28  # net notional, with every working order of this side filled, above max_net and further from 0
    LEVERAGE = 29  # gross notional above max_leverage x equity
    MARGIN = 30  # initial margin above the free margin
    LOSS_LIMIT = 31  # the day's loss has reached max_day_loss
    DRAWDOWN_LIMIT = 32  # equity has fallen max_drawdown below its peak
    REJECT_RATIO = 33  # more than max_reject_ratio of recent requests were rejected


Scope = dict[RiskReason, str]

SCOPE: Scope = {
    **dict.fromkeys(RiskReason, "orders and changes"),
    **dict.fromkeys(
        (RiskReason.DUPLICATE_CLIENT_ID, RiskReason.DUPLICATE_ORDER, RiskReason.MAX_OPEN_ORDERS), "new orders"
    ),
    **dict.fromkeys(
        (
            RiskReason.STATE_REDUCING,
            RiskReason.REDUCE_ONLY,
            RiskReason.STALE_QUOTE,
            RiskReason.PRICE_COLLAR,
            RiskReason.PASSIVE_CROSS,
            RiskReason.POSITION_LIMIT,
            RiskReason.GROSS_LIMIT,
            RiskReason.NET_LIMIT,
            RiskReason.LEVERAGE,
            RiskReason.MARGIN,
            RiskReason.LOSS_LIMIT,
            RiskReason.DRAWDOWN_LIMIT,
            RiskReason.REJECT_RATIO,
        ),
        "what opens",
    ),
    RiskReason.OK: "everything",
}
"""What each reason is asked of."""

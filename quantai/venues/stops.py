"""Stops that wait at the exchange: prints wake them, and what wakes arrives anew, as a market or a limit order.

A stop wakes at the instant of the print that reaches it, after the other market rows of that instant: it becomes a
request of its own, in the same queue as ours.
"""

from typing import Any

from quantai.core.compiled import uncounted
from quantai.core.memory import int64s
from quantai.core.rows import Kind, OrderType
from quantai.venues.reporting import report
from quantai.venues.wire import request_slot, requests_of

WAKE = 100
"""REQUEST.action of a stop that has woken."""
FAR = 2**60
"""Where a trailing stop wakes before it has seen a print: nowhere."""
MARKET, LIMIT, STOP, STOP_LIMIT, TRAILING = (int(t) for t in OrderType)
_TRIGGERED, _ZERO = int64s(Kind.TRIGGERED, 0)


@uncounted
def follow(x: Any, o: Any, px: int, ts: int) -> bool:
    """Let a print reach a waiting stop: it wakes, which is returned, or follows when it trails."""
    if (px - o.stop) * o.side >= 0:
        return wake(x, o, ts)
    if o.trail > 0:
        stop = min(o.stop, px + o.trail) if o.side > 0 else max(o.stop, px - o.trail)
        o.stop = stop if stop != 0 else -1  # which is as far below every price; 0 would say that it works
    return False


@uncounted
def wake(x: Any, o: Any, ts: int) -> bool:
    """Turn a stop into a request that arrives now; False, and it goes on waiting, when there is no room for one."""
    slot = request_slot(x, ts)
    if slot < 0:
        return False
    report(x, ts, o.order, o.instrument, o.side, _TRIGGERED, _ZERO, o.stop, o.open, _ZERO, _ZERO)
    q = requests_of(x)[slot]
    q.order, q.px, q.lots, q.trigger, q.expire = o.order, o.px, o.open, 0, o.expire
    q.instrument, q.side, q.action = o.instrument, o.side, WAKE
    q.type = LIMIT if o.type == STOP_LIMIT else MARKET
    q.tif, q.flags = o.tif, o.flags
    o.open = 0
    return True

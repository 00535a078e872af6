"""What the exchange tells us of an order, and the tables it looks at for that."""

from typing import Any

import numpy as np

from quantai.core.compiled import uncounted_inlined
from quantai.core.memory import int64s, pasted, rows_at
from quantai.core.rows import ORDER, Kind, OrderState
from quantai.venues.latency import response_ns
from quantai.venues.rules import RULES
from quantai.venues.wire import OWN, report_slot, reports_of

_ACK, _CANCELED = int64s(Kind.ACK, Kind.CANCELED)
_FREE, _OPEN = int(OrderState.FREE), int(OrderState.OPEN)


@pasted
def own_of(x: Any) -> Any:
    """What the exchange knows of us, one row an instrument."""
    return rows_at(x.at_own, x.n_instruments, OWN)


@pasted
def rules_of(x: Any) -> Any:
    """The RULES, one row an instrument."""
    return rows_at(x.at_rules, x.n_instruments, RULES)


@uncounted_inlined
def report(
    x: Any,
    ts: int,
    order: int,
    instrument: int,
    side: int,
    kind: int,
    lots: int,
    px: int,
    left: int,
    maker: int,
    reason: int,
) -> None:
    """Send one report about an order; it never overtakes an earlier one of the same instrument."""
    own = own_of(x)[instrument]
    at = max(own.last_report, ts + response_ns(rules_of(x)[instrument], ts, x.reported))
    own.last_report = at
    x.reported += 1
    if at <= x.unwatched and kind in (_ACK, _CANCELED) and x.first_report == x.end_report:
        tell(x, order, kind, reason, at)
        return
    r = reports_of(x)[report_slot(x, at)]
    r.ts_exch = ts
    r.order = order
    r.lots = lots
    r.px = px
    r.open = left
    r.kind = kind
    r.maker = maker
    r.reason = reason
    r.instrument = instrument
    r.side = side


@uncounted_inlined
def tell(x: Any, order: int, kind: int, reason: int, at: int) -> None:
    """Do to the order what its owner would when told at the instant `at`, who looks at nothing before that."""
    view, number, k = rows_at(x.at_view, x.max_orders, ORDER), np.uint64(order), 0
    while k < x.max_orders and view[k].order != number:
        k += 1
    x.told += 1
    x.told_at = at
    if k < x.max_orders and view[k].state > 0:
        view[k].state = _OPEN if kind == _ACK else _FREE
        view[k].reason = reason

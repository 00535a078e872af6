"""What the exchange tells us of an order, and the tables it looks at for that."""

from typing import Any

from quantai.core.compiled import uncounted_inlined
from quantai.core.memory import pasted, rows_at
from quantai.venues.latency import response_ns
from quantai.venues.rules import RULES
from quantai.venues.wire import OWN, report_slot, reports_of


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
    own.last_report = max(own.last_report, ts + response_ns(rules_of(x)[instrument], ts, x.reported))
    x.reported += 1
    r = reports_of(x)[report_slot(x, own.last_report)]
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

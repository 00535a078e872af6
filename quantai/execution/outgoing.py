"""What the order management hands out: requests for a venue, and reports for whoever listens."""

from dataclasses import dataclass, field
from enum import IntEnum

from quantai.core.reports import REPORT
from quantai.core.rows import Rows, zeros

LOCAL = 1 << 11
"""REPORT.flags: said by us, not by the venue."""

DENIED = 1 << 12
"""REPORT.flags: risk denied it; `code` is a RiskReason."""

UNCLAIMED = 1 << 13
"""REPORT.flags: about an order that is not ours."""


class Ask(IntEnum):
    """What a venue is asked for."""

    NEW = 1
    CANCEL = 2
    REPLACE = 3
    QUERY = 4  # the order's status and every execution of it, by client id


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request for a venue; sent at most once, and only after what caused it is in the journal.

    `client_id` names this request, `order_id` the order it is about (the same for NEW); `request` is its number within
    the order (0 = the order itself). A REPLACE says the new total in `qty_lots` and the new limit in `px_ticks`.
    """

    ask: Ask
    order: int
    request: int
    client_id: str
    order_id: str
    instrument: int
    side: int
    type: int
    tif: int
    flags: int
    qty_lots: int
    px_ticks: int
    trigger_ticks: int
    expire_ts: int


@dataclass(slots=True)
class Step:
    """What one row led to: requests to send, and what became of orders as REPORT rows, in this order."""

    requests: list[Request] = field(default_factory=list[Request])
    _events: list[Rows] = field(default_factory=list[Rows])

    def say(self, report: Rows) -> None:
        """Add a REPORT row (shape (1,)); it must not change afterwards."""
        self._events.append(report)

    @property
    def events(self) -> Rows:
        """The REPORT rows."""
        if not self._events:
            return zeros(0, REPORT)
        joined = zeros(len(self._events), REPORT)
        for i, report in enumerate(self._events):
            joined[i] = report[0]
        return joined

    def add(self, other: "Step") -> None:
        """Append what a later row led to."""
        self.requests += other.requests
        self._events += other._events

"""What the order management hands out: requests for a venue, and reports for whoever listens."""

from dataclasses import dataclass, field

from quantai.core.reports import REPORT
from quantai.core.rows import Rows, zeros
from quantai.venues.venue import Request

LOCAL = 1 << 11
"""REPORT.flags: said by us, not by the venue."""

DENIED = 1 << 12
"""REPORT.flags: risk denied it; `code` is a RiskReason."""

UNCLAIMED = 1 << 13
"""REPORT.flags: about an order that is not ours."""


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

"""What a loop counts while it trades, a few instructions for each piece of rows and each decision; read when asked."""

import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from quantai.core.reports import Refusal
from quantai.core.rows import Kind, Reason, Rows
from quantai.execution.alarms import Alarms
from quantai.execution.outgoing import DENIED, LOCAL
from quantai.execution.reasons import RiskReason

_log = logging.getLogger(__name__)
EDGES_NS = tuple(
    int(ms * 1e6) for ms in (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1_000, 5_000)
)  # fmt: skip
"""Upper ends of the buckets of a latency."""


class Latency:
    """How long something took, in buckets that end at `EDGES_NS`; the last one has no end.

    >>> latency = Latency()
    >>> latency.take(300_000)
    >>> latency.counts[:4], latency.total_ns
    ([0, 0, 1, 0], 300000)
    """

    def __init__(self) -> None:
        self.counts = [0] * (len(EDGES_NS) + 1)
        self.total_ns = 0

    def take(self, ns: int) -> None:
        """Count one; below zero, where two clocks meet, is none."""
        self.counts[bisect_left(EDGES_NS, ns)] += 1
        self.total_ns += max(ns, 0)


@dataclass
class Counts:
    """What a loop has done since it began."""

    rows: int = 0
    reports: int = 0
    intents: int = 0
    reconnects: int = 0
    quarantined: int = 0
    fees_left_out: int = 0
    alarms: Alarms = field(default_factory=Alarms)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])  # by whom, why
    received: Latency = field(default_factory=Latency)  # from receipt to the strategies: the oldest row of each piece
    decided: Latency = field(default_factory=Latency)  # from the receipt of a row to what it led to being handed out
    heeded: NDArray[np.int64] | None = (
        None  # what strategies had asked for in vain when `heed` was called last, by Reason
    )

    def refuse(self, events: Rows) -> None:
        """Count the refusals among REPORT rows; people are told of those of risk, at first and ever more rarely."""
        for by, why in refusals(events):
            self.refused[by, why] += 1
            n = self.refused[by, why]
            if by == "risk" and why != RiskReason.RECONCILING.name and n.bit_count() == 1:
                _log.warning("risk denies a request: %s%s", why, f" ({n} times by now)" if n > 1 else "")

    def heed(self, asked: NDArray[np.int64]) -> None:
        """Count and tell what strategies asked for since the call before that can be no order, by Reason.

        It is no row and no order. The first call says what was there before.
        """
        more = np.zeros_like(asked) if self.heeded is None else asked - self.heeded
        self.heeded = asked
        for reason in np.flatnonzero(more):
            why = Reason(int(reason)).name
            before = self.refused["us", why]
            self.refused["us", why] = n = before + int(more[reason])
            if n.bit_length() > before.bit_length():
                _log.warning("a strategy asks for what is no order: %s%s", why, f" ({n} times by now)" if n > 1 else "")


_REFUSED = (Kind.REJECT, Kind.CANCEL_REJECT, Kind.REPLACE_REJECT)


def refusals(events: Rows) -> Iterator[tuple[str, str]]:
    """Yield (by whom, why) for each REPORT row that refuses a request: by risk, by the order management, by a venue.

    >>> from quantai.core.reports import REPORT
    >>> from quantai.core.rows import zeros
    >>> row = zeros(1, REPORT)
    >>> row["kind"], row["flags"], row["code"] = Kind.REJECT, DENIED, RiskReason.STALE_QUOTE
    >>> list(refusals(row))
    [('risk', 'STALE_QUOTE')]
    """
    for row in events:
        kind, flags, code = int(row["kind"]), int(row["flags"]), int(row["code"])
        if kind not in _REFUSED:
            continue
        word = RiskReason if flags & DENIED else Reason if kind == Kind.REJECT else Refusal
        by = "risk" if flags & DENIED else "us" if flags & LOCAL else "venue"
        yield by, word(code).name if code in word else str(code)

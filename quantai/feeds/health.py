"""How a feed is, at a glance: connections, silence, delays, clocks, and what was missing."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

State = Literal["connecting", "up", "silent", "down"]
"""`silent`: a connection has not sent for as long as makes it be opened again. `down`: a connection is not open."""


@dataclass(frozen=True, slots=True)
class Delay:
    """Receipt minus the venue's own time, over the newest messages that carry one; milliseconds, NaN when none did.

    A delay below zero is a clock: `ahead_ms` is by how much, at least, the venue's is ahead of this machine's.
    """

    p50_ms: float
    p99_ms: float
    ahead_ms: float

    @classmethod
    def of(cls, delays_ns: "list[int]") -> "Delay":
        """Summarise delays in nanoseconds.

        >>> Delay.of([2_000_000, 4_000_000, -1_000_000])
        Delay(p50_ms=2.0, p99_ms=3.96, ahead_ms=1.0)
        """
        if not delays_ns:
            return cls(float("nan"), float("nan"), 0.0)
        p50, p99 = np.percentile(np.array(delays_ns, np.float64) / 1e6, [50, 99])
        return cls(float(p50), float(p99), max(0.0, -min(delays_ns) / 1e6))


@dataclass(frozen=True, slots=True)
class Health:
    """How one feed is at one instant.

    `silent_s` is how long ago the last message came, NaN before the first. `gaps` counts GAP rows, `trips` connections
    that were closed because they were silent, `quarantined` messages that could not be read.
    """

    venue: str
    state: State
    connections: int
    received: int
    silent_s: float
    reconnects: int
    trips: int
    gaps: int
    quarantined: int
    delay: Delay

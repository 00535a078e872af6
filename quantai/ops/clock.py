"""A clock that nobody can set: what waits, or asks how old something is, must not believe the wall clock."""

import sys
import time


def passed_ns() -> int:
    """Return nanoseconds since some instant before the process began, sleep of the machine included where it is known.

    A price from before the sleep of a laptop is as old as it is.
    """
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic_ns()


class SteadyClock:
    """Ns UTC as the wall clock had it at the start, and as much later as time has passed: nobody can set it.

    A wall clock that is put back an hour would stop every timer for an hour, and every price would count as stale.

    >>> clock = SteadyClock()
    >>> before = clock()
    >>> clock.reach(before + 3_600 * 10**9)
    >>> clock() - before >= 3_600 * 10**9
    True
    """

    def __init__(self) -> None:
        self._ahead = time.time_ns() - passed_ns()

    def __call__(self) -> int:
        """Return the instant."""
        return self._ahead + passed_ns()

    def reach(self, ts: int) -> None:
        """Go on from `ts` where that is later: a run whose journal is ahead would wait for the clock to catch up."""
        self._ahead += max(0, ts - self())

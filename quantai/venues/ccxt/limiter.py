"""The rate limit of an exchange: a budget that refills, given to orders first and to polling last.

ccxt has one queue for every call of an object, so an order waits behind whatever is polled. Here an order passes at
once while there is budget, and polling leaves a part of it untouched. Where more is wanted than there is, one call in
four is the one that has waited longest, whatever it is: questions about orders must be answered even then. A cancel
waits for no call but other cancels.
"""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from enum import IntEnum


class Priority(IntEnum):
    """Who goes first."""

    CANCEL = 0
    ORDER = 1
    QUERY = 2
    POLL = 3


_Waiting = tuple[Priority, int, float, asyncio.Future[None]]

EVERY = 4
"""Of so many calls that had to wait, one is the oldest."""


class RateLimiter:
    """`budget` units within `window_s`, refilled evenly; `reserve` of it is for orders, changes and cancels only.

    >>> async def demo():
    ...     limiter = RateLimiter(budget=2.0, window_s=60.0)
    ...     return [limiter.take(1.0, Priority.ORDER) for _ in range(3)]
    >>> asyncio.run(demo())
    [True, True, False]
    """

    def __init__(
        self, budget: float, window_s: float, *, reserve: float = 0.3, clock: Callable[[], float] | None = None
    ) -> None:
        self._budget, self._rate, self._reserve = budget, budget / window_s, budget * reserve
        self._clock = clock or asyncio.get_running_loop().time
        self._left, self._at = budget, self._clock()
        self._waiting: list[_Waiting] = []
        self._numbers = itertools.count()
        self._paused_until = 0.0
        self._granted = 0
        self._timer: asyncio.TimerHandle | None = None

    def take(self, weight: float, priority: Priority) -> bool:
        """Take from the budget at once; False when somebody waits already or there is not enough."""
        return not self._waiting and self._grant(weight, self._floor(priority))

    async def wait(self, weight: float, priority: Priority) -> None:
        """Wait until there is budget for a call, behind those of higher priority."""
        if self.take(weight, priority):
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._numbers), min(weight, self._budget), turn))
        self._serve()
        await turn

    def pause(self, seconds: float) -> None:
        """Let nothing pass for a while: the exchange has said that it is too much."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)
        self._left = 0.0

    def _grant(self, weight: float, floor: float) -> bool:
        now = self._clock()
        if now < self._paused_until:
            return False
        self._left = min(self._budget, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left - weight < min(floor, self._budget - weight):
            return False
        self._left -= weight
        return True

    def _floor(self, priority: Priority) -> float:
        return self._reserve if priority >= Priority.QUERY else 0.0

    def _serve(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            is_turn_of_oldest = self._granted % EVERY == EVERY - 1 and self._waiting[0][0] is not Priority.CANCEL
            entry = min(self._waiting, key=lambda e: e[1]) if is_turn_of_oldest else self._waiting[0]
            priority, _, weight, turn = entry
            floor = 0.0 if is_turn_of_oldest else self._floor(priority)
            if turn.done():  # its call was given up
                self._forget(entry)
            elif self._grant(weight, floor):
                self._forget(entry)
                self._granted += 1
                turn.set_result(None)
            else:
                self._later(weight, floor)
                return

    def _forget(self, entry: _Waiting) -> None:
        if entry is self._waiting[0]:
            heapq.heappop(self._waiting)
        else:
            self._waiting.remove(entry)
            heapq.heapify(self._waiting)

    def _later(self, weight: float, floor: float) -> None:
        short = max(weight + min(floor, self._budget - weight) - self._left, 0.0) / self._rate
        delay = max(short, self._paused_until - self._clock(), 0.001)
        self._timer = asyncio.get_running_loop().call_later(delay, self._serve)

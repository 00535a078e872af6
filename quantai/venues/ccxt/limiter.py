"""The rate limit of an exchange: a budget that refills, given to orders first and to polling last.

ccxt has one queue for every call of an object, so an order waits behind whatever is polled. Here an order passes at
once while there is budget, and polling leaves a part of it untouched.
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
        self._waiting: list[tuple[Priority, int, float, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._paused_until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def take(self, weight: float, priority: Priority) -> bool:
        """Take from the budget at once; False when somebody waits already or there is not enough."""
        return not self._waiting and self._grant(weight, priority)

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

    def _grant(self, weight: float, priority: Priority) -> bool:
        now = self._clock()
        if now < self._paused_until:
            return False
        self._left = min(self._budget, self._left + (now - self._at) * self._rate)
        self._at = now
        floor = self._reserve if priority >= Priority.QUERY else 0.0
        if self._left - weight < min(floor, self._budget - weight):
            return False
        self._left -= weight
        return True

    def _serve(self) -> None:
        self._timer = None
        while self._waiting:
            priority, _, weight, turn = self._waiting[0]
            if turn.done():  # its call was given up
                heapq.heappop(self._waiting)
            elif self._grant(weight, priority):
                heapq.heappop(self._waiting)
                turn.set_result(None)
            else:
                self._later(weight, priority)
                return

    def _later(self, weight: float, priority: Priority) -> None:
        floor = min(self._reserve, self._budget - weight) if priority >= Priority.QUERY else 0.0
        short = max(weight + floor - self._left, 0.0) / self._rate
        delay = max(short, self._paused_until - self._clock(), 0.001)
        self._timer = asyncio.get_running_loop().call_later(delay, self._serve)

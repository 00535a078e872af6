"""What waits for the one task that decides the order of rows: market data, answers, commands."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quantai.core.errors import VenueError
from quantai.core.rows import BAR, EVENT, Kind, Rows, zeros
from quantai.execution.controls import ALL, Control
from quantai.venues.venue import Answer

MOST_WAITING = 20_000
"""Items at which reading of a feed is held: the venue's own flow control does the rest."""


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """EVENT rows in the run's numbering of instruments, not numbered yet; `bars` are what their BAR rows point into."""

    rows: Rows
    bars: Rows = field(default_factory=lambda: zeros(0, BAR))


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """What a venue said."""

    venue: str
    answer: Answer


@dataclass(frozen=True, slots=True, eq=False)
class Command:
    """What a person wants; `done` is told the row it became, or why it cannot be."""

    what: Control
    desk: int = ALL
    text: str = ""
    done: "asyncio.Future[int] | None" = None


@dataclass(frozen=True, slots=True, eq=False)
class Ended:
    """A source that will say nothing more; `error` where that was not wanted."""

    source: str
    error: VenueError | None = None


def merged(items: list[Market]) -> Market:
    """Return what waits as one piece; rows that point into bars keep their order with the others.

    >>> len(merged([Market(zeros(1, EVENT)), Market(zeros(2, EVENT))]).rows)
    3
    """
    if len(items) == 1:
        return items[0]
    bars, rows = list[Rows](), list[Rows]()
    for item in items:
        part = item.rows
        if len(item.bars):
            part = part.copy()
            part["aux"][part["kind"] == Kind.BAR] += sum(map(len, bars))
            bars.append(item.bars)
        rows.append(part)
    return Market(_joined(rows, EVENT), _joined(bars, BAR))


def _joined(parts: list[Rows], dtype: np.dtype[Any]) -> Rows:
    """Return rows of one dtype as one array: NumPy's own takes ten times as long over rows with fields."""
    return np.frombuffer(bytearray().join(part.tobytes() for part in parts), dtype)


Item = Market | Heard | Command | Ended


class Inbox:
    """A queue with one reader; putting never waits, because neither feeds nor venues stop talking.

    >>> async def demo():
    ...     inbox = Inbox()
    ...     inbox.put(Ended("BINANCE"))
    ...     await inbox.wait(1.0)
    ...     return len(inbox.take())
    >>> asyncio.run(demo())
    1
    """

    def __init__(self) -> None:
        self._waiting: deque[Item] = deque()
        self._more, self._room = asyncio.Event(), asyncio.Event()
        self._room.set()
        self.is_awaited = False  # whoever takes things out does nothing but wait

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, item: Item) -> None:
        """Add an item, from any task of the event loop."""
        self._waiting.append(item)
        self._more.set()
        if len(self._waiting) >= MOST_WAITING:
            self._room.clear()

    async def room(self) -> None:
        """Return once fewer than MOST_WAITING items wait: who can hold back what it brings should."""
        await self._room.wait()

    def take(self) -> list[Item]:
        """Return everything that waits, in order."""
        items = list(self._waiting)
        self._waiting.clear()
        self._more.clear()
        self._room.set()
        return items

    async def wait(self, seconds: float) -> None:
        """Return once something waits, or after `seconds`."""
        self.is_awaited = True
        try:
            if self._waiting:
                await asyncio.sleep(0)  # whoever brings things must come to it, however much there is to do
                return
            waker = asyncio.get_running_loop().call_later(max(seconds, 0.0), self._more.set)
            await self._more.wait()
            waker.cancel()
            self._more.clear()
        finally:
            self.is_awaited = False

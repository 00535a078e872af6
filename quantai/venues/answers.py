"""The answers of a venue on their way to whoever reads them: in order, without a bound, ending or failing once."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from quantai.core.errors import VenueError
from quantai.venues.venue import Answer


class AnswerQueue:
    """A queue with one reader; putting never waits, because a venue does not stop talking either.

    >>> async def demo():
    ...     queue = AnswerQueue()
    ...     queue.put(Answer())
    ...     queue.close()
    ...     return [answer async for answer in queue.read()]
    >>> len(asyncio.run(demo()))
    1
    """

    def __init__(self) -> None:
        self._waiting: deque[Answer] = deque()
        self._more = asyncio.Event()
        self._closed = False
        self._error: VenueError | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, answer: Answer) -> None:
        """Add an answer; after `close` or `fail` nobody would read it, and it is dropped."""
        if not self._closed:
            self._waiting.append(answer)
            self._more.set()

    def close(self) -> None:
        """End: what waits is read, then reading stops."""
        self._closed = True
        self._more.set()

    def fail(self, error: VenueError) -> None:
        """End with an error, raised once what waits is read."""
        if not self._closed:
            self._error = error
            self.close()

    async def read(self) -> AsyncIterator[Answer]:
        """Yield the answers in order, until closed; raises the VenueError of `fail`."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._closed:
                break
            self._more.clear()
            await self._more.wait()
        if self._error is not None:
            raise self._error

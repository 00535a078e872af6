"""The answers of a venue on their way to whoever reads them: in order, without a bound, ending or failing once."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

from quantai.core.errors import VenueError
from quantai.venues.venue import Answer


class AnswerQueue:
    """A queue with one reader; putting never waits, because a venue does not stop talking either.

    Its reader iterates over it, or has itself told: then nothing waits.

    >>> async def demo():
    ...     queue = AnswerQueue()
    ...     queue.put(Answer())
    ...     queue.close()
    ...     return [answer async for answer in queue]
    >>> len(asyncio.run(demo()))
    1
    """

    def __init__(self) -> None:
        self._waiting: deque[Answer] = deque()
        self._more = asyncio.Event()
        self._hear: Callable[[Sequence[Answer]], None] | None = None
        self._closed = False
        self._error: VenueError | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, *answers: Answer) -> None:
        """Add answers that belong together; after `close` or `fail` nobody would read them, and they are dropped."""
        if self._closed or not answers:
            return
        if self._hear is not None:
            self._hear(answers)
        else:
            self._waiting += answers
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

    async def tell(self, hear: Callable[[Sequence[Answer]], None]) -> None:
        """Call `hear` with what waits, then with what is put while it is being put, until closed; raises as reading.

        `hear` is called from wherever the venue learns something: it must return soon and raise nothing. It may be
        called again before it has returned, when it makes the venue say something.
        """
        waiting = tuple(self._waiting)
        self._waiting.clear()
        self._hear = hear
        try:
            if waiting:
                hear(waiting)
            await self._end()
        finally:
            self._hear = None

    async def _end(self) -> None:
        """Wait for the end; raises the VenueError of `fail`."""
        while not self._closed:
            self._more.clear()
            await self._more.wait()
        if self._error is not None:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[Answer]:
        """Yield the answers in order, until closed; raises the VenueError of `fail`."""
        while True:
            while self._waiting:
                yield self._waiting.popleft()
            if self._closed:
                break
            self._more.clear()
            await self._more.wait()
        await self._end()

"""Hearing: what venues say, taken in the moment in which it is said where nothing else is being done.

A queue and a task between a venue and the loop cost a turn of the event loop each, and in a turn every socket that has
brought something comes first. So an answer is processed within the call that brings it, while the loop only waits.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import copy_context
from typing import Any

from quantai.core.errors import VenueError
from quantai.execution.inbox import Ended, Heard, Inbox, Item
from quantai.venues.answers import AnswerQueue
from quantai.venues.venue import Answer, Venue


class Hearing:
    """Hands what venues say to the one who takes things out of an inbox.

    `process` takes items in their order. While its caller waits for the inbox to fill, it is called at once, with what
    waits already before what is new; at any other time answers wait in the inbox like everything else. Its caller
    awaits `finished` before it goes on.
    """

    def __init__(self, inbox: Inbox, process: Callable[[list[Item]], Coroutine[Any, Any, None]]) -> None:
        self._inbox, self._process = inbox, process
        self._is_busy = False
        self._work: asyncio.Task[None] | None = None
        self._context = copy_context()

    def listen(self, venues: Mapping[str, Venue]) -> list[asyncio.Task[None]]:
        """Hear the venues from now on; returns the tasks that do, to be canceled."""
        self._context = copy_context()  # lines of a log say which run they are of, whoever brought an answer
        return [asyncio.create_task(self._listen(name, venue)) for name, venue in venues.items()]

    async def finished(self) -> None:
        """Return once nothing is being processed; raises what went wrong with what was processed at once."""
        if self._work is None:
            return
        try:
            await self._work
        finally:
            self._work, self._is_busy = None, False

    def leave(self) -> None:
        """Give up what is being processed: nobody will await it."""
        if self._work is not None:
            self._work.cancel()

    async def _listen(self, name: str, venue: Venue) -> None:
        def hear(said: Sequence[Answer]) -> None:
            self._take([Heard(name, answer) for answer in said])

        answers = venue.answers()
        try:
            if isinstance(answers, AnswerQueue):
                await answers.tell(hear)
            else:
                async for answer in answers:
                    hear((answer,))
        except VenueError as error:
            self._inbox.put(Ended(name, error))

    def _take(self, said: list[Heard]) -> None:
        for item in said:
            self._inbox.put(item)
        if self._is_busy or not self._inbox.is_awaited:
            return
        self._is_busy = True
        self._work = work = asyncio.Task(
            self._process(self._inbox.take()),
            loop=asyncio.get_running_loop(), context=self._context, eager_start=True,
        )  # fmt: skip
        if work.done() and not work.cancelled() and work.exception() is None:
            self._work, self._is_busy = None, False

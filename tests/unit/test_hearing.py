"""What venues say reaches the one who decides the order of rows: at once while it only waits, else in its turn."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from quantai.core.errors import StorageError, VenueError
from quantai.core.rows import Status
from quantai.execution.controls import Control
from quantai.execution.hearing import Hearing
from quantai.execution.inbox import Command, Ended, Heard, Inbox, Item
from quantai.venues.answers import AnswerQueue
from quantai.venues.venue import Answer

UP, DOWN = Answer(link=Status.CONNECTED), Answer(link=Status.DISCONNECTED)


class Queued:
    """A venue that says what is put into its queue."""

    def __init__(self) -> None:
        self.queue = AnswerQueue()

    def answers(self) -> AnswerQueue:
        return self.queue


class Written:
    """A venue as somebody else writes it: its answers are iterated over."""

    async def answers(self) -> AsyncIterator[Answer]:
        yield UP
        raise VenueError("it is gone")


class Desk:
    """Takes items as the trade loop does, and notes what it took."""

    def __init__(self, work: Callable[["Desk", Item], Coroutine[Any, Any, None]] | None = None) -> None:
        self.inbox, self.taken, self.work = Inbox(), list[Item](), work
        self.hearing = Hearing(self.inbox, self.process)

    async def process(self, items: list[Item]) -> None:
        for item in items:
            self.taken.append(item)
            if self.work is not None:
                await self.work(self, item)

    async def step(self) -> None:
        await self.inbox.wait(60.0)
        await self.hearing.finished()
        await self.process(self.inbox.take())

    @property
    def said(self) -> list[Answer]:
        return [item.answer for item in self.taken if isinstance(item, Heard)]


def heard(venue: Any, desk: Desk, then: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        tasks = desk.hearing.listen({"X": venue})
        await asyncio.sleep(0)
        try:
            async with asyncio.timeout(60.0):
                await then()
        finally:
            desk.hearing.leave()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())


async def waiting(desk: Desk) -> asyncio.Task[None]:
    """Return the task of a desk that waits for its inbox."""
    task = asyncio.create_task(desk.step())
    while not desk.inbox.is_awaited:  # noqa: ASYNC110 -- it becomes so within a turn
        await asyncio.sleep(0)
    return task


def test_an_answer_is_taken_within_the_call_that_brings_it() -> None:
    venue, desk = Queued(), Desk()

    async def then() -> None:
        step = await waiting(desk)
        venue.queue.put(UP, DOWN)
        assert desk.said == [UP, DOWN]
        await step
        assert desk.said == [UP, DOWN]

    heard(venue, desk, then)


def test_what_waits_already_comes_first() -> None:
    venue, desk = Queued(), Desk()

    async def then() -> None:
        step = await waiting(desk)
        desk.inbox.put(Command(Control.PAUSE))
        venue.queue.put(UP)
        assert [type(item) for item in desk.taken] == [Command, Heard]
        await step

    heard(venue, desk, then)


def test_an_answer_waits_while_something_is_being_done() -> None:
    venue, desk = Queued(), Desk()

    async def then() -> None:
        venue.queue.put(UP)
        assert desk.said == []
        assert len(desk.inbox) == 1
        await desk.step()
        assert desk.said == [UP]

    heard(venue, desk, then)


def test_answers_to_what_an_answer_led_to_come_after_it() -> None:
    venue = Queued()

    async def work(desk: Desk, item: Item) -> None:
        if isinstance(item, Heard) and item.answer is UP:
            venue.queue.put(DOWN)
            assert desk.said == [UP]

    desk = Desk(work)

    async def then() -> None:
        step = await waiting(desk)
        venue.queue.put(UP)
        await step
        assert desk.said == [UP, DOWN]

    heard(venue, desk, then)


def test_nothing_overtakes_an_answer_that_takes_longer() -> None:
    venue, ready = Queued(), asyncio.Event()

    async def work(desk: Desk, item: Item) -> None:
        if desk.said == [UP]:
            await ready.wait()

    desk = Desk(work)

    async def then() -> None:
        step = await waiting(desk)
        venue.queue.put(UP)
        venue.queue.put(DOWN)
        assert desk.said == [UP]
        ready.set()
        await step
        assert desk.said == [UP, DOWN]

    heard(venue, desk, then)


def test_what_goes_wrong_is_raised_where_the_inbox_is_taken() -> None:
    venue = Queued()

    async def work(desk: Desk, item: Item) -> None:
        raise StorageError("the disk is full")

    desk = Desk(work)

    async def then() -> None:
        step = await waiting(desk)
        venue.queue.put(UP)
        venue.queue.put(DOWN)
        with pytest.raises(StorageError, match="the disk is full"):
            await step
        assert desk.said == [UP]

    heard(venue, desk, then)


def test_any_venue_is_heard_and_its_failure_is_an_end() -> None:
    desk = Desk()

    async def then() -> None:
        while not any(isinstance(item, Ended) for item in desk.taken):
            await desk.step()
        assert desk.said == [UP]
        ended = desk.taken[-1]
        assert isinstance(ended, Ended)
        assert str(ended.error) == "it is gone"

    heard(Written(), desk, then)

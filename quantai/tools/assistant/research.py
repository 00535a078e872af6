"""One question under way: its steps as they happen, for an event loop or for a plain loop."""

import asyncio
import contextlib
import inspect
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from quantai.tools.assistant.report import Report, Step
from quantai.tools.permissions import Approver, Request

Ask = Callable[[Request], bool] | Approver
"""Asks a person about a call: a plain function (of the thread that reads the steps) or a coroutine function."""

_END = object()


class Work(Protocol):
    """Answers the question: tells steps as they happen, asks a person through `approve`, returns the report."""

    async def __call__(self, tell: Callable[[Step], None], approve: Approver | None) -> Report:
        """Do it."""
        ...


class Research:
    """A question that is being answered: iterate, with `for` or `async for`, for its steps; then take `.report`.

    In a plain loop the work is done in a thread of its own, so that it runs where an event loop is running already, as
    in a notebook, and a plain `ask` function is called between two steps, where it may use the terminal. Leaving the
    loop ends the work.
    """

    def __init__(self, work: Work, ask: Ask | None) -> None:
        self._work, self._ask = work, ask
        self._report: Report | None = None

    @property
    def report(self) -> Report:
        """What came of it; what is not done yet is waited for."""
        if self._report is None:
            for _ in self:
                pass
        if self._report is None:
            raise RuntimeError("this question is being answered, or was given up")
        return self._report

    async def finish(self) -> Report:
        """As `report`, for a program that has an event loop."""
        async for _ in self:
            pass
        return self.report

    async def __aiter__(self) -> AsyncIterator[Step]:
        steps: asyncio.Queue[Any] = asyncio.Queue()
        task = asyncio.create_task(self._work(steps.put_nowait, self._asking(None)))
        task.add_done_callback(lambda _: steps.put_nowait(_END))
        try:
            while (step := await steps.get()) is not _END:
                yield step
            self._report = task.result()
        finally:
            task.cancel()

    def __iter__(self) -> Iterator[Step]:
        steps: queue.SimpleQueue[Any] = queue.SimpleQueue()
        loop, threads = asyncio.new_event_loop(), ThreadPoolExecutor()
        loop.set_default_executor(threads)
        task = loop.create_task(self._work(steps.put, self._asking(steps)))
        task.add_done_callback(lambda _: steps.put(_END))

        def work() -> None:
            asyncio.set_event_loop(loop)
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            threads.shutdown(wait=False)  # a tool that was given up on may still be at it
            loop.close()

        thread = threading.Thread(target=work, name="assistant")
        thread.start()
        try:
            while (step := steps.get()) is not _END:
                if isinstance(step, tuple):
                    self._answer(*step)
                else:
                    yield step
        finally:
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(task.cancel)
            thread.join()
        self._report = task.result()

    def _answer(self, request: Request, reply: "Future[bool]") -> None:
        """Ask in the reader's thread; what interrupts the reader interrupts the work, too."""
        try:
            reply.set_result(self._ask(request) is True)  # pyright: ignore[reportOptionalCall]
        except Exception as error:  # noqa: BLE001 -- whatever the asking did, the work must hear of it
            reply.set_exception(error)

    def _asking(self, steps: "queue.SimpleQueue[Any] | None") -> Approver | None:
        ask = self._ask
        if ask is None or inspect.iscoroutinefunction(ask):
            return ask

        async def approve(request: Request) -> bool:
            if steps is None:
                return await asyncio.to_thread(ask, request) is True  # pyright: ignore[reportReturnType]
            reply: Future[bool] = Future()
            steps.put((request, reply))
            return await asyncio.wrap_future(reply)

        return approve

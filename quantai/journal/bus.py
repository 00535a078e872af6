"""The event bus of one process: whoever publishes rows need not know who wants them.

Rows travel in arrays. Every subscriber has a queue of its own with a policy for when it is full, so that a slow one
delays nobody but the publishers it was given the right to delay, and a failing one is detached while the others go on.
"""

import asyncio
import inspect
import itertools
import logging
from collections.abc import Awaitable, Callable, Collection
from types import TracebackType
from typing import Protocol, Self

import numpy as np

from quantai.core.errors import InputError
from quantai.core.rows import Rows
from quantai.journal.frames import Stream, stream_of
from quantai.journal.subscription import Counters, Policy, Subscription

Handler = Callable[[Rows], Awaitable[None]]
"""What is called with each array of rows, one at a time and in order."""

_BURST = 256  # arrays handled before others get their turn on the event loop
_log = logging.getLogger(__name__)


class EventBus(Protocol):
    """What a bus of any reach does; `Bus` serves one process, `NatsBus` many."""

    async def publish(self, rows: Rows) -> None:
        """Hand EVENT, BAR, INTENT or REPORT rows to every subscriber they match, after those published before."""
        ...

    async def subscribe(
        self,
        stream: Stream = Stream.EVENT,
        *,
        name: str = "",
        kinds: Collection[int] | None = None,
        instruments: Collection[int] | None = None,
        policy: Policy = Policy.BLOCK,
        capacity_rows: int = 65_536,
        patience_s: float | None = 10,
    ) -> Subscription:
        """Rows of one stream that are published from now on, to be iterated over."""
        ...

    async def close(self, *, drain_s: float = 10) -> dict[str, Counters]:
        """Take no more rows, wait until subscribers have taken theirs, and return what was counted."""
        ...


class Bus:
    """Publish and subscribe inside one process and event loop.

    >>> import asyncio
    >>> from quantai.core.rows import EVENT, zeros
    >>> async def demo() -> int:
    ...     bus, seen = Bus(), []
    ...
    ...     async def handle(rows):
    ...         seen.append(len(rows))
    ...
    ...     await bus.attach(handle, name="counter")
    ...     await bus.publish(zeros(3, EVENT))
    ...     return (await bus.close())["counter"].delivered
    >>> asyncio.run(demo())
    3
    """

    def __init__(self) -> None:
        self._subscriptions: dict[str, Subscription] = {}
        self._by_stream: dict[Stream, tuple[Subscription, ...]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._unnamed: set[str] = set()
        self._numbers = itertools.count(1)
        self._closed = False
        self.published_rows = 0

    async def publish(self, rows: Rows) -> None:
        """Hand EVENT, BAR, INTENT or REPORT rows to every subscriber they match, after those published before.

        Subscribers share one read-only copy. Returns at once unless the queue of a BLOCK subscriber is full; all others
        have the rows even then.

        Raises InputError for other rows and on a closed bus.
        """
        if self._closed:
            raise InputError("the bus is closed: publish before close()")
        stream = stream_of(rows)
        shared = np.frombuffer(rows.tobytes(), rows.dtype)  # read-only, and five times faster than copy()
        self.published_rows += len(rows)
        full = [subscription for subscription in self._by_stream.get(stream, ()) if subscription.push(shared)]
        for subscription in full:
            await subscription.wait_room()

    async def subscribe(
        self,
        stream: Stream = Stream.EVENT,
        *,
        name: str = "",
        kinds: Collection[int] | None = None,
        instruments: Collection[int] | None = None,
        policy: Policy = Policy.BLOCK,
        capacity_rows: int = 65_536,
        patience_s: float | None = 10,
    ) -> Subscription:
        """Rows of one stream that are published from now on, to be iterated over.

        kinds: Kind of EVENT and REPORT rows, Action of INTENT rows. capacity_rows: how many may wait (a BLOCK queue
        holds one array more). patience_s: how long a full BLOCK queue may make publishing wait before the subscriber is
        detached; None = for ever.

        Raises InputError for a condition or policy that the stream does not allow, or the name of one that is there.
        """
        if self._closed:
            raise InputError("the bus is closed: subscribe before close()")
        if name in self._subscriptions and not self._subscriptions[name].closed:
            raise InputError(f"there is a subscriber {name!r} already: choose another name")
        subscription = Subscription(
            name or f"{Stream(stream).name.lower()}-{next(self._numbers)}",
            stream,
            kinds=kinds,
            instruments=instruments,
            policy=policy,
            capacity_rows=capacity_rows,
            patience_s=patience_s,
        )
        self._forget_unnamed()
        self._subscriptions[subscription.name] = subscription
        heard = [one for one in self._by_stream.get(subscription.stream, ()) if not one.closed]
        self._by_stream[subscription.stream] = (*heard, subscription)
        if not name:
            self._unnamed.add(subscription.name)
        return subscription

    async def attach(
        self,
        handler: Handler,
        stream: Stream = Stream.EVENT,
        *,
        name: str = "",
        kinds: Collection[int] | None = None,
        instruments: Collection[int] | None = None,
        policy: Policy = Policy.BLOCK,
        capacity_rows: int = 65_536,
        patience_s: float | None = 10,
        retries: int = 0,
        retry_delay_s: float = 0.1,
    ) -> Subscription:
        """Call an async function with the rows that `subscribe` would give, from a task of the bus.

        retries: how often the same rows are given again after an exception, each time after twice the delay; after the
        last the subscriber is detached, its error kept in `Subscription.error` and logged. Nobody else notices.

        Raises InputError as `subscribe` does, and for a handler that is no async function.
        """
        check_handler(handler, retries)
        subscription = await self.subscribe(
            stream,
            name=name,
            kinds=kinds,
            instruments=instruments,
            policy=policy,
            capacity_rows=capacity_rows,
            patience_s=patience_s,
        )
        serve = deliver(subscription, handler, retries=retries, retry_delay_s=retry_delay_s)
        self._tasks[subscription.name] = asyncio.create_task(serve, name=f"bus {subscription.name}")
        return subscription

    def counters(self) -> dict[str, Counters]:
        """What was counted so far, by subscriber; detached and closed ones stay until their name is taken again."""
        return {name: subscription.counters for name, subscription in self._subscriptions.items()}

    async def close(self, *, drain_s: float = 10) -> dict[str, Counters]:
        """Take no more rows, wait until subscribers have taken theirs, and return what was counted.

        One that is not done after `drain_s` is detached with a TimeoutError, and what waited for it counts as dropped.
        """
        self._closed = True
        for subscription in self._subscriptions.values():
            subscription.close()
        waits = [subscription.wait_empty() for subscription in self._subscriptions.values()]
        done = asyncio.gather(*self._tasks.values(), *waits, return_exceptions=True)
        try:
            await asyncio.wait_for(done, drain_s)
        except TimeoutError:
            for subscription in self._subscriptions.values():
                if subscription.counters.queued or not self._finished(subscription.name):
                    late = TimeoutError(f"subscriber {subscription.name!r} was given {drain_s} s to finish")
                    subscription.detach(late)
                    if subscription.name in self._tasks:
                        self._tasks[subscription.name].cancel()
        return self.counters()

    def _forget_unnamed(self) -> None:
        # nobody asks for their counts by name, and a process may make one for each page that somebody opens
        over = [name for name in self._unnamed if self._subscriptions[name].closed and self._finished(name)]
        for name in over:
            self._unnamed.remove(name)
            del self._subscriptions[name]
            self._tasks.pop(name, None)

    def _finished(self, name: str) -> bool:
        return name not in self._tasks or (self._tasks[name].done() and not self._tasks[name].cancelled())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def deliver(
    subscription: Subscription, handler: Handler, *, retries: int = 0, retry_delay_s: float = 0.1
) -> None:
    """Give a handler everything a subscription gets, until that ends or the handler has failed once too often."""
    handled = 0
    while True:
        rows = subscription.pop()
        if rows is None:
            rows = await subscription.take()
            if rows is None:
                return
        error = await _handle(subscription, handler, rows)
        for attempt in range(retries):
            if error is None:
                break
            await asyncio.sleep(retry_delay_s * 2**attempt)
            error = await _handle(subscription, handler, rows)
        if error is not None:
            _log.error("bus: subscriber %s is detached", subscription.name, exc_info=error)
            subscription.detach(error)
            return
        handled += 1
        if handled % _BURST == 0:
            await asyncio.sleep(0)


async def _handle(subscription: Subscription, handler: Handler, rows: Rows) -> BaseException | None:
    """Give rows to a handler; what it raised, which is its own affair, or None."""
    try:
        await handler(rows)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        subscription.count_failure()  # it was something of the handler's own that was canceled
        return error
    except Exception as error:  # noqa: BLE001 -- as above
        subscription.count_failure()
        return error
    return None


def check_handler(handler: Handler, retries: int) -> None:
    """Raise InputError for what cannot be called with rows and awaited."""
    call = getattr(handler, "__call__", None)  # noqa: B004 -- an object may have an async one
    if not (inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)):
        raise InputError(f"{handler!r} is no async function: define it with `async def`")
    if retries < 0:
        raise InputError(f"retries must be 0 or more, not {retries}")

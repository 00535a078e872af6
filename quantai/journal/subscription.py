"""One subscriber's queue on a bus, and what happens when it fills."""

import asyncio
import operator
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

import numpy as np

from quantai.core.errors import InputError, UnknownName
from quantai.core.rows import DERIVED, EVENT, Kind, Rows, zeros
from quantai.journal.frames import KIND, ROWS, Stream


class Policy(Enum):
    """What a full queue does."""

    BLOCK = "block"  # publishing waits until there is room: nothing is lost
    DROP_OLDEST = "drop_oldest"  # the oldest rows go; a GAP row in their place says how many
    CONFLATE = "conflate"  # only the newest row of each instrument and kind (and side of a QUOTE) waits


STATES = frozenset(
    {
        Kind.TRADE,
        Kind.QUOTE,
        Kind.BAR,
        Kind.FUNDING,
        Kind.MARK,
        Kind.LIQUIDATION,
        Kind.OPEN_INTEREST,
        Kind.STATUS,
        Kind.TIMER,
    }
)
"""Kinds of which the newest row stands for those before it; of a book's levels or a fill it does not."""


@dataclass(slots=True)
class Counters:
    """What passed through a subscription, in rows unless said otherwise."""

    received: int = 0  # matched its filter
    delivered: int = 0  # handed to the subscriber, GAP rows not counted
    dropped: int = 0
    conflated: int = 0  # replaced by a newer row before delivery
    queued: int = 0  # waiting now
    failures: int = 0  # exceptions of its handler
    waits: int = 0  # times that publishing had to wait for it


class Subscription:
    """Rows of one stream for one subscriber, in the order they were published: iterate over it with `async for`.

    A bus makes them (`subscribe`, `attach`). An iteration yields read-only arrays, ends after `close` or `bus.close()`
    when what waits was taken, and raises the error that detached it, if one did.
    """

    def __init__(
        self,
        name: str,
        stream: Stream,
        *,
        kinds: Collection[int] | None,
        instruments: Collection[int] | None,
        policy: Policy,
        capacity_rows: int,
        patience_s: float | None,
    ) -> None:
        policy = _policy(policy)
        _check(name, stream, kinds, instruments, policy, capacity_rows, patience_s)
        self.name, self.stream, self.policy, self.capacity_rows = name, stream, policy, capacity_rows
        self.patience_s = patience_s
        self.error: BaseException | None = None
        self.closed = False
        self.returned_rows = 0  # delivered and dealt with
        self._counters = Counters()
        self._kind_field = KIND.get(stream, "")
        self._kinds = None if kinds is None else _table(kinds, 256)
        self._instruments = None if instruments is None else _table(instruments, max(instruments, default=0) + 2)
        self._queue: deque[Rows] = deque()
        self._newest: dict[tuple[int, int, int], Rows] = {}
        self._rows = 0
        self._gap: Rows | None = None
        self._wake: asyncio.Future[None] | None = None
        self._room: list[tuple[int, bool, asyncio.Future[None]]] = []
        self._room_level = -1  # the highest level somebody waits for

    @property
    def counters(self) -> Counters:
        """A copy of what was counted so far."""
        now = self._counters
        return Counters(now.received, now.delivered, now.dropped, now.conflated, self._rows, now.failures, now.waits)

    def count_failure(self) -> None:
        """Note an exception of the subscriber's handler."""
        self._counters.failures += 1

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Rows:
        rows = await self.take()
        if rows is None:
            if self.error is not None:
                raise self.error
            raise StopAsyncIteration
        return rows

    async def take(self) -> Rows | None:
        """The next rows, or None when there will be no more."""
        while (rows := self.pop()) is None:
            if self.closed:
                return None
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        return rows

    def push(self, rows: Rows) -> bool:
        """Queue what matches of some rows; whether publishing has to wait for room now."""
        rows = self._match(rows)
        count = len(rows)
        if count == 0 or self.closed:
            return False
        self._counters.received += count
        if self.policy is Policy.CONFLATE:
            self._conflate(rows)
        else:
            self._queue.append(rows)
            self._rows += count
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
        if self._rows <= self.capacity_rows:
            return False
        if self.policy is Policy.DROP_OLDEST:
            self._drop(self._rows - self.capacity_rows)
        return self.policy is Policy.BLOCK

    def push_gap(self, gap: Rows) -> None:
        """Queue a GAP row that the subscriber must see whatever its filter."""
        self._queue.append(gap)
        self._rows += 1
        self._counters.received += 1
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def pop(self) -> Rows | None:
        """The next rows if any wait; asking for them says that those before were dealt with."""
        self.returned_rows = self._counters.delivered
        if self._gap is not None:
            gap, self._gap = self._gap, None
            return gap
        if self._queue:
            rows = self._queue.popleft()
        elif self._newest:
            rows = np.concatenate(list(self._newest.values()))
            self._newest.clear()
        else:
            return None
        self._rows -= len(rows)
        self._counters.delivered += len(rows)
        if self._rows <= self._room_level:
            self._tell_room()
        return rows

    async def wait_room(self) -> None:
        """Wait until half the queue is free again; a subscriber that takes longer than its patience is detached.

        Nothing is raised for it here: the TimeoutError is the subscriber's (`error`).
        """
        if self._rows <= self.capacity_rows // 2 or self.closed:
            return
        self._counters.waits += 1
        try:
            await asyncio.wait_for(self._when(self.capacity_rows // 2, or_closed=True), self.patience_s)
        except TimeoutError:
            self.detach(TimeoutError(f"subscriber {self.name!r} made publishing wait for {self.patience_s} s"))

    async def wait_empty(self) -> None:
        """Wait until everything that waits was taken, or the subscriber is detached."""
        if self._rows:
            await self._when(0, or_closed=False)

    def close(self) -> None:
        """Take no more rows; what waits can still be taken."""
        self.closed = True
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)
        self._tell_room()

    def detach(self, error: BaseException) -> None:
        """Take no more rows and forget those that wait, because of an error; the first one is kept."""
        self.error = self.error or error
        self._counters.dropped += self._rows
        self._queue.clear()
        self._newest.clear()
        self._gap = None
        self._rows = 0
        self.close()

    def _when(self, level: int, *, or_closed: bool) -> asyncio.Future[None]:
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._room.append((level, or_closed, room))
        self._room_level = max(self._room_level, level)
        return room

    def _tell_room(self) -> None:
        waiting: list[tuple[int, bool, asyncio.Future[None]]] = []
        for level, or_closed, room in self._room:
            if room.done():
                continue
            if self._rows <= level or (or_closed and self.closed):
                room.set_result(None)
            else:
                waiting.append((level, or_closed, room))
        self._room = waiting
        self._room_level = max((level for level, _, _ in waiting), default=-1)

    def _match(self, rows: Rows) -> Rows:
        if len(rows) == 1:  # one row is looked up five times faster than an array of one
            kind = self._kinds is None or self._kinds[rows[self._kind_field][0]]
            at = self._instruments is None or self._instruments[min(rows["instrument"][0], len(self._instruments) - 1)]
            return rows if kind and at else rows[:0]
        if self._kinds is not None:
            keep = self._kinds[rows[self._kind_field]]
            if not keep.all():
                rows = rows[keep]
        if self._instruments is not None:
            keep = self._instruments[np.minimum(rows["instrument"], len(self._instruments) - 1)]
            if not keep.all():
                rows = rows[keep]
        return rows

    def _drop(self, excess: int) -> None:
        self._counters.dropped += excess
        self._rows -= excess
        gap = zeros(1, EVENT)
        gap["aux"] = excess
        while excess:
            oldest = self._queue.popleft()
            gone = oldest[:excess]
            for name in ("seq", "ts_recv", "ts_exch"):
                gap[name] = gone[name][-1]
            if len(oldest) > excess:
                self._queue.appendleft(oldest[excess:])
            excess -= len(gone)
        gap["kind"], gap["flags"] = Kind.GAP, DERIVED
        if self._gap is not None:
            gap["aux"] += self._gap["aux"]
        self._gap = gap

    def _conflate(self, rows: Rows) -> None:
        self._counters.conflated += len(rows)
        before = len(self._newest)
        for at in _last_of_each(rows, self.stream):
            row = rows[at : at + 1]
            key = _key(row, self.stream)
            self._newest.pop(key, None)  # so that the order is that of the newest rows
            self._newest[key] = row
        self._rows = len(self._newest)
        self._counters.conflated -= self._rows - before


def _policy(policy: Policy) -> Policy:
    try:
        return Policy(policy)
    except ValueError:
        raise UnknownName("policy", policy, [known.value for known in Policy]) from None


def _check(
    name: str,
    stream: Stream,
    kinds: Collection[int] | None,
    instruments: Collection[int] | None,
    policy: Policy,
    capacity_rows: int,
    patience_s: float | None,
) -> None:
    if stream not in ROWS:
        raise UnknownName("stream of rows", stream, [known.name for known in ROWS])
    if capacity_rows < 1:
        raise InputError(f"subscriber {name!r}: capacity_rows must be 1 or more, not {capacity_rows}")
    if patience_s is not None and not patience_s >= 0:
        raise InputError(f"subscriber {name!r}: patience_s must be 0 or more, or None for ever, not {patience_s}")
    _check_numbers(name, "kinds", kinds, 255)
    _check_numbers(name, "instruments", instruments, 2**32 - 1)
    if kinds is not None and stream not in KIND:
        raise InputError(f"subscriber {name!r}: {stream.name} rows have no kinds to choose from")
    if instruments is not None and stream is Stream.REPORT:
        raise InputError(f"subscriber {name!r}: REPORT rows name an order and no instrument")
    if policy is Policy.DROP_OLDEST and stream is not Stream.EVENT:
        raise InputError(f"subscriber {name!r}: only EVENT rows can leave a GAP row, {stream.name} rows need BLOCK")
    if policy is Policy.CONFLATE:
        if stream not in (Stream.EVENT, Stream.BAR):
            raise InputError(f"subscriber {name!r}: {stream.name} rows do not stand for each other: use BLOCK")
        if stream is Stream.EVENT and (kinds is None or not STATES.issuperset(kinds)):
            known = ", ".join(sorted(kind.name for kind in STATES))
            raise InputError(f"subscriber {name!r}: say which kinds to conflate, of {known}")


def _check_numbers(name: str, what: str, values: Any, most: int) -> None:
    if values is None:
        return
    try:
        wrong = [value for value in values if not 0 <= operator.index(value) <= most]
    except TypeError:
        raise InputError(f"subscriber {name!r}: {what} must be a collection of numbers, not {values!r}") from None
    if wrong:
        raise InputError(f"subscriber {name!r}: {what} cannot be {wrong[0]}: they are from 0 to {most}")


def _table(values: Collection[int], size: int) -> Any:
    """A look-up table of booleans: much faster than a set for arrays."""
    table = np.zeros(size, np.bool_)
    table[list(values)] = True
    return table


def _key(row: Rows, stream: Stream) -> tuple[int, int, int]:
    if stream is Stream.BAR:
        return int(row["instrument"][0]), 0, 0
    kind = int(row["kind"][0])
    return int(row["instrument"][0]), kind, int(row["side"][0]) if kind == Kind.QUOTE else 0


def _last_of_each(rows: Rows, stream: Stream) -> list[int]:
    """Where the last row of each key stands, in the order of the rows."""
    if len(rows) == 1:
        return [0]
    key = rows["instrument"].astype(np.int64) << 16
    if stream is Stream.EVENT:
        key |= rows["kind"].astype(np.int64) << 8
        key |= np.where(rows["kind"] == Kind.QUOTE, rows["side"].astype(np.int64) & 0xFF, 0)
    _, first = np.unique(key[::-1], return_index=True)
    return sorted(len(rows) - 1 - int(at) for at in first)

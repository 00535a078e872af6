"""Consuming from JetStream in order, without holes, and acknowledging what the subscriber is done with."""

import asyncio
import logging
import time
from collections import deque

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from quantai.core.errors import DataError
from quantai.core.rows import EVENT, Kind, zeros
from quantai.journal.frames import Stream
from quantai.journal.subscription import Policy, Subscription
from quantai.journal.wire import decode

_FETCH = 16  # messages asked for at a time
_log = logging.getLogger(__name__)


class Inbox:
    """Feeds one subscription from one durable consumer.

    Messages lost on the way when a connection breaks are sent again by the server after `ack_wait_s`; those that
    overtook them wait here until then, so that the subscriber sees every row once and in order.
    """

    def __init__(
        self,
        jetstream: JetStreamContext,
        consumer: JetStreamContext.PullSubscription,
        subscription: Subscription,
        *,
        stream: str,
        expected: int,
        ack_wait_s: float,
    ) -> None:
        self._jetstream, self._consumer, self._subscription = jetstream, consumer, subscription
        self._stream, self._ack_wait_s = stream, ack_wait_s
        self._expected = expected
        self._held: dict[int, Msg] = {}
        self._held_since = 0.0
        self._done = expected - 1
        self._handed: deque[tuple[int, Msg]] = deque()  # what the subscription got, with its count of rows by then

    async def run(self) -> None:
        """Fetch until the subscription is closed; what goes wrong for good detaches it."""
        try:
            await self._fetch_all()
        except Exception as error:  # noqa: BLE001 -- whatever it is, the subscriber must learn of it
            self._subscription.detach(error)

    async def _fetch_all(self) -> None:
        while not self._subscription.closed:
            try:
                for message in await self._consumer.fetch(_FETCH, timeout=0.5):
                    await self._take(message)
            except TimeoutError:  # nats-py raises its own kind or the plain one
                pass  # nothing new
            except nats.errors.Error:
                await asyncio.sleep(0.1)  # the connection is being restored
            await self._hand_over()
            await self.acknowledge()

    async def acknowledge(self) -> None:
        """Tell the server what the subscriber is done with."""
        done: Msg | None = None
        while self._handed and self._handed[0][0] <= self._subscription.returned_rows:
            _, done = self._handed.popleft()
        if done is None:
            return
        self._done = done.metadata.sequence.stream
        try:
            await done.ack()  # the consumer's policy makes it stand for all before it
        except nats.errors.Error:
            return  # the server sends it again, and is told then

    async def _take(self, message: Msg) -> None:
        seq = message.metadata.sequence.stream
        if seq >= self._expected:
            self._held[seq] = message
        elif seq <= self._done:
            await message.ack()

    async def _hand_over(self) -> None:
        while (message := self._held.pop(self._expected, None)) is not None:
            self._expected += 1
            self._held_since = 0.0
            full = self._push(message.data)
            # a subscriber that may lose rows need not see them to be done with them
            done_at = self._subscription.counters.received if self._subscription.policy is Policy.BLOCK else 0
            self._handed.append((done_at, message))
            if full:
                await self._subscription.wait_room()
        if self._held and not self._held_since:
            self._held_since = time.monotonic()
        if self._held and time.monotonic() > self._held_since + 2 * self._ack_wait_s:
            await self._skip_deleted()

    def _push(self, body: bytes) -> bool:
        """Queue the rows of a message; a foreign or damaged one is counted, and must not hold up those behind it."""
        try:
            stream, rows = decode(body)
            if stream is not self._subscription.stream:
                raise DataError(f"{stream.name} rows do not belong there")
        except DataError as error:
            _log.error("a message of NATS stream %s was left out: %s", self._stream, error)
            self._subscription.count_failure()
            self._push_gap()
            return False
        return self._subscription.push(rows)

    def _push_gap(self) -> None:
        if self._subscription.stream is Stream.EVENT:
            gap = zeros(1, EVENT)
            gap["kind"] = Kind.GAP  # aux stays 0: nobody knows how many rows they held
            self._subscription.push_gap(gap)

    async def _skip_deleted(self) -> None:
        """Go on after messages that the stream has deleted; a GAP row says so where there can be one."""
        self._held_since = time.monotonic()
        try:
            info = await self._jetstream.stream_info(self._stream)
        except (nats.errors.Error, TimeoutError):
            return  # asked again after the next wait
        if info.state.first_seq <= self._expected:
            return
        self._expected = info.state.first_seq
        self._held = {seq: message for seq, message in self._held.items() if seq >= self._expected}
        self._push_gap()

"""The event bus between processes and machines, over NATS JetStream: the interface of `Bus`, and rows that survive.

Rows of a run travel in messages of up to 4 096 rows on one subject for each stream of rows (`quantai.<run>.event`, …),
kept on disk by the server. Publishing is acknowledged, rows sent twice are kept once, and a named subscriber goes on
where it was when its process or the server comes back. See docs/journal.md for what is promised when.
"""

import asyncio
import re
import secrets
from collections.abc import Collection
from types import TracebackType
from typing import Any, Literal, Self

from quantai.core.errors import InputError, MissingExtra, StorageError
from quantai.core.rows import Rows
from quantai.journal.bus import Handler, check_handler, deliver
from quantai.journal.frames import Stream, stream_of
from quantai.journal.subscription import Counters, Policy, Subscription
from quantai.journal.wire import MESSAGE_ROWS, encode, message_id

try:
    import nats
    import nats.errors
    from nats.aio.client import Client
    from nats.js import api

    from quantai.journal.inbox import Inbox
    from quantai.journal.outbox import Outbox
except ImportError:
    raise MissingExtra("nats-py", "live") from None

_NAME = re.compile(r"[A-Za-z0-9_-]+")


class NatsBus:
    """Publish and subscribe to the rows of one run through a NATS server with JetStream; made by `connect`.

    A run has one publisher at a time for each stream of rows, as it has one journal: the last one that began. One that
    was overtaken learns it with its next message. A run may have many subscribers.
    """

    def __init__(self, run: str, client: Client, *, window: int, ack_wait_s: float) -> None:
        self.run = run
        self._client = client
        self._jetstream = client.jetstream()
        self._window, self._ack_wait_s = window, ack_wait_s
        self._outboxes: dict[Stream, Outbox] = {}
        self._opening = asyncio.Lock()
        self._subscriptions: dict[str, Subscription] = {}
        self._inboxes: dict[str, Inbox] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._temporary: list[tuple[str, str]] = []
        self._closed = False
        self.published_rows = 0

    @classmethod
    async def connect(
        cls,
        run: str,
        servers: str | list[str] = "nats://127.0.0.1:4222",
        *,
        window: int = 64,
        ack_wait_s: float = 5,
        timeout_s: float = 5,
        **options: Any,
    ) -> Self:
        """Connect to a server that runs with JetStream; the connection is restored for as long as the bus is open.

        run: letters, digits, `_` and `-`. window: how many messages may be on their way to the server unacknowledged.
        ack_wait_s: after how long an unanswered message is sent again, to the server and to a subscriber. options:
        those of `nats.connect` (credentials, TLS).

        Raises InputError for a run name that cannot be part of a subject, StorageError when no server answers.
        """
        if not _NAME.fullmatch(run):
            raise InputError(f"run {run!r} cannot be part of a NATS subject: use letters, digits, _ and -")
        try:
            async with asyncio.timeout(timeout_s):
                client = await nats.connect(
                    servers,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.2,
                    allow_reconnect=True,
                    error_cb=_ignore,
                    **options,
                )
        except (nats.errors.Error, OSError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise StorageError(
                f"no NATS server answers at {servers} ({why}): start one with `nats-server -js`"
            ) from None
        return cls(run, client, window=window, ack_wait_s=ack_wait_s)

    async def publish(self, rows: Rows) -> None:
        """Send EVENT, BAR, INTENT or REPORT rows after those sent before.

        Returns when they are on their way; `flush` waits until they are kept. Waits itself while a full window is not
        acknowledged, which is for as long as the server is away.

        Raises InputError for other rows and on a closed bus, StorageError when somebody else publishes to the run too.
        """
        stream = stream_of(rows)
        if self._closed:
            raise InputError("the bus is closed: publish before close()")
        outbox = self._outboxes.get(stream) or await self._open_outbox(stream)
        for at in range(0, len(rows), MESSAGE_ROWS):
            part = rows[at : at + MESSAGE_ROWS]
            body = encode(part)
            await outbox.put(message_id(self.run, part, body), body)
            self.published_rows += len(part)

    async def flush(self, timeout_s: float | None = None) -> None:
        """Wait until everything published is acknowledged by the server.

        Raises StorageError when it is not after `timeout_s`; sending goes on.
        """
        for outbox in self._outboxes.values():
            await outbox.flush(timeout_s)

    async def subscribe(
        self,
        stream: Stream = Stream.EVENT,
        *,
        name: str = "",
        kinds: Collection[int] | None = None,
        instruments: Collection[int] | None = None,
        policy: Policy = Policy.BLOCK,
        capacity_rows: int = 65_536,
        patience_s: float | None = None,
        start: Literal["new", "first"] = "new",
    ) -> Subscription:
        """Rows of one stream, to be iterated over.

        name: a named subscriber is durable: when it subscribes again it gets what it had not taken (rows it was given
        last may come a second time, as `seq` shows). Without a name it starts anew each time. start: where a subscriber
        that is not known yet begins. A full BLOCK queue delays only this subscriber: the server keeps the rows.

        Raises InputError for a condition or policy that the stream does not allow, or a name that is taken.
        """
        if self._closed:
            raise InputError("the bus is closed: subscribe before close()")
        if name and not _NAME.fullmatch(name):
            raise InputError(f"name {name!r} cannot be that of a NATS consumer: use letters, digits, _ and -")
        durable = name or f"once-{secrets.token_hex(8)}"
        if durable in self._subscriptions and not self._subscriptions[durable].closed:
            raise InputError(f"there is a subscriber {durable!r} already: choose another name")
        subscription = Subscription(
            durable,
            stream,
            kinds=kinds,
            instruments=instruments,
            policy=policy,
            capacity_rows=capacity_rows,
            patience_s=patience_s,
        )
        where = await self._open_stream(stream)
        if not name:
            self._temporary.append((where, durable))
        try:
            state = (await self._jetstream.stream_info(where)).state
            config = api.ConsumerConfig(
                deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=max(1, state.first_seq) if start == "first" else state.last_seq + 1,
                ack_policy=api.AckPolicy.ALL,
                ack_wait=self._ack_wait_s,
                max_ack_pending=1024,
                inactive_threshold=None if name else 3600,
            )
            consumer = await self._jetstream.pull_subscribe(self._subject(stream), durable, stream=where, config=config)
            info = await consumer.consumer_info()
        except (nats.errors.Error, TimeoutError) as error:
            raise StorageError(f"NATS refused subscriber {durable!r} of {where} ({error})") from None
        done = info.ack_floor.stream_seq if info.ack_floor else 0
        expected = max(done + 1, (info.config and info.config.opt_start_seq) or 1)
        self._subscriptions[durable] = subscription
        self._inboxes[durable] = inbox = Inbox(
            self._jetstream, consumer, subscription, stream=where, expected=expected, ack_wait_s=self._ack_wait_s
        )
        self._tasks.append(asyncio.create_task(inbox.run(), name=f"inbox {durable}"))
        return subscription

    async def attach(
        self,
        handler: Handler,
        stream: Stream = Stream.EVENT,
        *,
        retries: int = 0,
        retry_delay_s: float = 0.1,
        **where: Any,
    ) -> Subscription:
        """Call an async function with the rows that `subscribe(stream, **where)` would give, from a task of the bus.

        retries and the rest are those of `Bus.attach`. Rows of a handler that failed for good are not acknowledged: the
        next subscriber of that name gets them again.
        """
        check_handler(handler, retries)
        subscription = await self.subscribe(stream, **where)
        serve = deliver(subscription, handler, retries=retries, retry_delay_s=retry_delay_s)
        self._tasks.append(asyncio.create_task(serve, name=f"bus {subscription.name}"))
        return subscription

    def counters(self) -> dict[str, Counters]:
        """What was counted so far, by subscriber of this process."""
        return {name: subscription.counters for name, subscription in self._subscriptions.items()}

    @property
    def resends(self) -> int:
        """Messages that were sent again because the server was away or refused them."""
        return sum(outbox.resends for outbox in self._outboxes.values())

    async def close(self, *, drain_s: float = 10) -> dict[str, Counters]:
        """Wait until all is acknowledged and taken, disconnect, and return what was counted.

        Raises StorageError when the server has not acknowledged everything after `drain_s`; the bus is closed even so.
        """
        if self._closed:
            return self.counters()
        self._closed = True
        try:
            for subscription in self._subscriptions.values():
                subscription.close()
            waits = [subscription.wait_empty() for subscription in self._subscriptions.values()]
            done = asyncio.gather(*self._tasks, *waits, return_exceptions=True)
            try:
                await asyncio.wait_for(done, drain_s)
            except TimeoutError:
                for subscription in self._subscriptions.values():
                    subscription.detach(
                        TimeoutError(f"subscriber {subscription.name!r} was given {drain_s} s to finish")
                    )
            await self.flush(drain_s)
        finally:
            await self._disconnect()
        return self.counters()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _subject(self, stream: Stream) -> str:
        return f"quantai.{self.run}.{stream.name.lower()}"

    async def _open_stream(self, stream: Stream) -> str:
        name = f"quantai-{self.run}-{stream.name.lower()}"
        config = api.StreamConfig(
            name=name,
            subjects=[self._subject(stream)],
            storage=api.StorageType.FILE,
            discard=api.DiscardPolicy.OLD,
            duplicate_window=120,
        )
        try:
            await self._jetstream.add_stream(config)
        except (nats.errors.Error, TimeoutError) as error:
            raise StorageError(
                f"NATS has no stream {name} and makes none ({error}): the server needs `-js` and disk space"
            ) from None
        return name

    async def _open_outbox(self, stream: Stream) -> Outbox:
        async with self._opening:  # by one of those who publish first
            if stream not in self._outboxes:
                name = await self._open_stream(stream)
                self._outboxes[stream] = Outbox(
                    self._client,
                    self._jetstream,
                    stream=name,
                    subject=self._subject(stream),
                    window=self._window,
                    ack_wait_s=self._ack_wait_s,
                )
            return self._outboxes[stream]

    async def _disconnect(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for outbox in self._outboxes.values():
            await outbox.close()
        try:
            async with asyncio.timeout(2):
                for inbox in self._inboxes.values():
                    await inbox.acknowledge()
                for stream, durable in self._temporary:
                    await self._jetstream.delete_consumer(stream, durable)
                await self._client.flush()
        except (nats.errors.Error, TimeoutError):
            pass  # the server is away: it sends again what was not acknowledged
        finally:
            await self._client.close()


async def _ignore(error: Exception) -> None:
    """Lost connections are restored, and what that costs is counted: nothing to print."""

"""The bus over a real NATS server: order, once only, durable subscribers, and a server that is killed."""

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from quantai.core.errors import InputError, StorageError
from quantai.core.rows import BAR, EVENT, INTENT, Kind, Rows, zeros
from quantai.journal.frames import Stream
from quantai.journal.nats import NatsBus
from quantai.journal.subscription import Policy, Subscription
from quantai.journal.wire import encode
from tests.nats_server import NatsServer, find_server

pytestmark = pytest.mark.skipif(
    find_server() is None, reason="nats-server is not installed (apt-get install nats-server)"
)


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def url(shared_server: NatsServer) -> str:
    return shared_server.url


@pytest.fixture
def run(request: pytest.FixtureRequest) -> str:
    """A run of its own for each test of the shared server."""
    return re.sub(r"\W", "-", request.node.name)


def events(first: int, n: int) -> Rows:
    rows = zeros(n, EVENT)
    rows["seq"] = np.arange(first, first + n)
    rows["kind"], rows["px"] = 1 + rows["seq"] % 3, rows["seq"] / 3
    return rows


async def read(subscription: Subscription, rows: int, timeout_s: float = 20) -> Rows:
    parts: list[Rows] = []
    async with asyncio.timeout(timeout_s):
        while sum(map(len, parts)) < rows:
            parts.append(await anext(subscription))
    return np.concatenate(parts)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 -- a counter gives no event
            await asyncio.sleep(0.01)


async def test_rows_of_every_stream_arrive_whole_and_in_order(url: str, run: str) -> None:
    bars, intents = zeros(5, BAR), zeros(4, INTENT)
    bars["close"], intents["seq"] = np.arange(5), 7
    async with await NatsBus.connect(run, url) as publisher, await NatsBus.connect(run, url) as reader:
        got = {stream: await reader.subscribe(stream) for stream in (Stream.EVENT, Stream.BAR, Stream.INTENT)}
        trades = await reader.subscribe(kinds=[Kind.TRADE], name="trades")
        for at in range(1, 20_001, 1000):
            await publisher.publish(events(at, 1000))
        await publisher.publish(events(20_001, 10_000))  # more than one message holds
        await publisher.publish(bars)
        await publisher.publish(intents)
        await publisher.flush(10)
        rows = events(1, 30_000)
        assert (await read(got[Stream.EVENT], 30_000)).tobytes() == rows.tobytes()
        assert (await read(got[Stream.BAR], 5)).tobytes() == bars.tobytes()
        assert (await read(got[Stream.INTENT], 4)).tobytes() == intents.tobytes()
        assert (await read(trades, 10_000)).tobytes() == rows[rows["kind"] == Kind.TRADE].tobytes()
        assert reader.counters()["trades"].delivered == 10_000


async def test_rows_published_twice_are_kept_once(url: str, run: str) -> None:
    async with await NatsBus.connect(run, url) as bus:
        subscription = await bus.subscribe()
        await bus.publish(events(1, 10))
        await bus.flush(10)
        async with await NatsBus.connect(run, url) as again:  # a publisher that died before it knew, and starts over
            await again.publish(events(1, 10))
            await again.publish(events(11, 10))
            await again.flush(10)
        assert (await read(subscription, 20))["seq"].tolist() == list(range(1, 21))
        await asyncio.sleep(0.1)
        assert subscription.counters.queued == 0


async def test_a_named_subscriber_goes_on_where_it_was(url: str, run: str) -> None:
    async with await NatsBus.connect(run, url) as publisher:
        for at in range(1, 1001, 100):
            await publisher.publish(events(at, 100))
        await publisher.flush(10)
        async with await NatsBus.connect(run, url, ack_wait_s=1) as bus:
            subscription = await bus.subscribe(name="durable", start="first")
            first = await read(subscription, 300)
            subscription.detach(RuntimeError("it dies here, in the middle of the third array"))
        async with await NatsBus.connect(run, url, ack_wait_s=1) as bus:
            rest = await read(await bus.subscribe(name="durable"), 800)
            anew = await read(await bus.subscribe(start="first"), 1000)
    assert first["seq"].tolist() == list(range(1, 301))
    assert rest["seq"].tolist() == list(range(201, 1001))  # the array it had not come back from is given again
    assert len(anew) == 1000


async def test_a_new_subscriber_gets_what_is_new(url: str, run: str) -> None:
    async with await NatsBus.connect(run, url) as bus:
        await bus.publish(events(1, 5))
        await bus.flush(10)
        subscription = await bus.subscribe()
        await bus.publish(events(6, 5))
        assert (await read(subscription, 5))["seq"].tolist() == [6, 7, 8, 9, 10]


async def test_a_handler_that_fails_leaves_its_rows_for_the_next(url: str, run: str) -> None:
    seen: list[int] = []

    async def shaky(rows: Rows) -> None:
        if rows["seq"][0] == 3:
            raise ValueError("no threes")
        seen.extend(rows["seq"].tolist())

    async with await NatsBus.connect(run, url, ack_wait_s=1) as bus:
        subscription = await bus.attach(shaky, name="worker")
        for at in range(1, 6):
            await bus.publish(events(at, 1))
        await until(lambda: subscription.error is not None)
        await bus.flush(10)
    assert (seen, str(subscription.error)) == ([1, 2], "no threes")
    async with await NatsBus.connect(run, url, ack_wait_s=1) as bus:
        assert (await read(await bus.subscribe(name="worker"), 3))["seq"].tolist() == [3, 4, 5]


@pytest.mark.parametrize("policy", [Policy.DROP_OLDEST, Policy.CONFLATE])
async def test_policies_that_drop_do_not_hold_the_server_up(url: str, run: str, policy: Policy) -> None:
    async with await NatsBus.connect(run, url) as bus:
        slow = await bus.subscribe(policy=policy, kinds=[Kind.TRADE], capacity_rows=10)
        for at in range(1, 3001, 100):
            await bus.publish(events(at, 100))
        await bus.flush(10)
        await until(lambda: slow.counters.received == 1000)
        counters = slow.counters
        assert counters.queued == (10 if policy is Policy.DROP_OLDEST else 1)
        assert counters.dropped + counters.conflated + counters.queued == 1000
        while slow.pop() is not None:
            pass


async def test_the_last_publisher_is_the_one_and_the_one_before_learns_it(url: str, run: str) -> None:
    one, two = await NatsBus.connect(run, url), await NatsBus.connect(run, url)
    for at, bus in enumerate([one, two], start=1):
        await bus.publish(events(at, 1))
        await bus.flush(5)
    await one.publish(events(3, 1))  # two was the last to publish
    with pytest.raises(StorageError, match="somebody else publishes to NATS stream"):
        await one.flush(5)
    with pytest.raises(StorageError, match="somebody else"):
        await one.publish(events(4, 1))
    await two.publish(events(3, 1))
    await two.close()
    with pytest.raises(StorageError, match="somebody else"):
        await one.close()


async def test_strange_messages_are_counted_and_hold_up_nothing(url: str, run: str) -> None:
    intents = zeros(1, INTENT)
    for attempt in range(2):  # the second subscriber of the name starts behind them
        async with await NatsBus.connect(run, url) as bus:
            subscription = await bus.subscribe(name="reader")
            if attempt == 0:
                await bus._jetstream.publish(bus._subject(Stream.EVENT), b"hello")
                await bus._jetstream.publish(bus._subject(Stream.EVENT), encode(intents))
            await bus._jetstream.publish(bus._subject(Stream.EVENT), encode(events(1 + attempt, 1)))
            rows = await read(subscription, 1 if attempt else 3)
            assert (rows["kind"] == Kind.GAP).tolist() == [True, True, False][2 * attempt :]
            assert rows["seq"][-1] == 1 + attempt
            assert subscription.counters.failures == (0 if attempt else 2)
            assert subscription.pop() is None, "which also says that the rows before were dealt with"


async def test_those_who_publish_first_at_once_share_one_outbox(url: str, run: str) -> None:
    async with await NatsBus.connect(run, url) as bus:
        subscription = await bus.subscribe()
        await asyncio.gather(*(bus.publish(events(at, 1)) for at in range(1, 6)))
        await bus.flush(30)
        assert sorted((await read(subscription, 5))["seq"].tolist()) == [1, 2, 3, 4, 5]
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("outbox")]


async def test_what_cannot_work_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="cannot be part of a NATS subject"):
        await NatsBus.connect("a.b", url)
    with pytest.raises(StorageError, match=r"no NATS server answers at nats://127.0.0.1:1 "):
        await NatsBus.connect("a", "nats://127.0.0.1:1", timeout_s=0.5)
    bus = await NatsBus.connect("refused", url)
    with pytest.raises(InputError, match="cannot be that of a NATS consumer"):
        await bus.subscribe(name="a b")
    await bus.subscribe(name="a")
    with pytest.raises(InputError, match="there is a subscriber 'a' already"):
        await bus.subscribe(name="a")
    await bus.close()
    await bus.close()
    with pytest.raises(InputError, match="the bus is closed"):
        await bus.publish(events(1, 1))
    with pytest.raises(InputError, match="the bus is closed"):
        await bus.subscribe()


async def test_a_killed_server_loses_doubles_and_reorders_nothing(tmp_path: Path) -> None:
    total = 60_000
    with NatsServer(tmp_path) as server:
        publisher = await NatsBus.connect("live", server.url, ack_wait_s=1)
        reader = await NatsBus.connect("live", server.url, ack_wait_s=1)
        subscription = await reader.subscribe(name="reader")

        async def publish() -> None:
            for at in range(1, total, 50):
                await publisher.publish(events(at, 50))
                await asyncio.sleep(0.001)
            await publisher.flush()

        async def restart() -> None:
            for _ in range(3):
                await asyncio.sleep(0.3)
                server.kill()
                await asyncio.sleep(0.1)
                await asyncio.to_thread(server.start)

        _, _, rows = await asyncio.gather(publish(), restart(), read(subscription, total, 60))
        assert rows.tobytes() == events(1, total).tobytes()
        await asyncio.sleep(0.2)
        assert subscription.counters.queued == 0
        await reader.close()
        await publisher.close()


async def test_a_server_that_stays_away_is_reported(tmp_path: Path) -> None:
    with NatsServer(tmp_path) as server:
        bus = await NatsBus.connect("live", server.url, ack_wait_s=0.2)
        await bus.publish(events(1, 1))
        await bus.flush(10)
        server.kill()
        await bus.publish(events(2, 1))
        with pytest.raises(StorageError, match=r"has not acknowledged 1 messages to quantai.live.event in 0.3 s"):
            await bus.flush(0.3)
        with pytest.raises(StorageError, match="has not acknowledged"):
            await bus.close(drain_s=0.1)


async def test_rows_the_stream_has_deleted_leave_a_gap_row(url: str, run: str) -> None:
    async with await NatsBus.connect(run, url, ack_wait_s=0.2) as bus:
        for at in range(1, 41):
            await bus.publish(events(at, 1))
        await bus.flush(10)
        subscription = await bus.subscribe(start="first", capacity_rows=1)
        await until(lambda: subscription.counters.queued > 1)  # a few wait here, the others still at the server
        await bus._jetstream.purge_stream(f"quantai-{run}-event", seq=35)
        rows = await read(subscription, 10)
        while rows["seq"][-1] != 40:
            rows = np.concatenate([rows, await read(subscription, 1)])
    gaps = rows[rows["kind"] == Kind.GAP]
    seqs = rows["seq"][rows["kind"] != Kind.GAP].tolist()
    assert seqs == sorted(set(seqs))
    assert len(gaps) == 1
    assert seqs[-6:] == [35, 36, 37, 38, 39, 40]

"""The bus: order, filters, full queues by policy, and subscribers that fail alone."""

import asyncio
import logging
from typing import Any, cast

import numpy as np
import pytest

from quantai.core.errors import InputError
from quantai.core.rows import BAR, BUY, DERIVED, EVENT, INTENT, ORDER, SELL, Kind, Rows, zeros
from quantai.journal.bus import Bus
from quantai.journal.frames import Stream
from quantai.journal.subscription import Policy, Subscription


def events(first: int, n: int = 1, *, kind: int = Kind.TRADE, instrument: int = 0) -> Rows:
    rows = zeros(n, EVENT)
    rows["seq"] = np.arange(first, first + n)
    rows["kind"], rows["instrument"] = kind, instrument
    return rows


class Log:
    """A handler that keeps what it gets, after waiting for `gate` if there is one."""

    def __init__(self, gate: asyncio.Event | None = None) -> None:
        self.rows: list[Rows] = []
        self.gate = gate

    async def __call__(self, rows: Rows) -> None:
        if self.gate is not None:
            await self.gate.wait()
        self.rows.append(rows)

    @property
    def seqs(self) -> list[int]:
        return [int(seq) for rows in self.rows for seq in rows["seq"]]


async def waiting(subscription: Subscription) -> list[Rows]:
    """What waits in a queue now, as one array each."""
    parts: list[Rows] = []
    while subscription.counters.queued or not parts:
        parts.append(await anext(subscription))
    return parts


async def test_everybody_gets_everything_in_order() -> None:
    bus, logs = Bus(), [Log(), Log()]
    for log in logs:
        await bus.attach(log)
    for at in range(0, 100, 5):
        await bus.publish(events(at, 5))
    counters = await bus.close()
    assert [log.seqs for log in logs] == [list(range(100))] * 2
    assert all(len(rows) == 5 for rows in logs[0].rows)
    assert [(c.received, c.delivered, c.queued) for c in counters.values()] == [(100, 100, 0)] * 2


async def test_rows_are_copied_once_and_read_only() -> None:
    bus, log = Bus(), Log()
    await bus.attach(log)
    rows = events(1, 2)
    await bus.publish(rows)
    rows["seq"] = 9
    await bus.close()
    assert log.seqs == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        log.rows[0]["seq"] = 1


async def test_streams_kinds_and_instruments_select() -> None:
    bus = Bus()
    chosen: list[tuple[Log, Stream, dict[str, Any]]] = [
        (Log(), Stream.EVENT, {"kinds": [Kind.TRADE, Kind.MARK]}),
        (Log(), Stream.EVENT, {"instruments": [7]}),
        (Log(), Stream.EVENT, {"kinds": [Kind.QUOTE], "instruments": [7, 2]}),
        (Log(), Stream.INTENT, {"kinds": [1]}),
        (Log(), Stream.BAR, {"instruments": [1]}),
    ]
    for log, stream, where in chosen:
        await bus.attach(log, stream, **where)
    for size in (1, 3):
        for at, (kind, instrument) in enumerate([(Kind.TRADE, 7), (Kind.QUOTE, 2), (Kind.MARK, 9), (Kind.QUOTE, 90)]):
            await bus.publish(events(100 * size + 10 * at, size, kind=kind, instrument=instrument))
    mixed = np.concatenate([events(900, kind=Kind.TRADE), events(901, kind=Kind.QUOTE, instrument=7)])
    await bus.publish(mixed)
    await bus.publish(zeros(0, EVENT))
    intents, bars = zeros(2, INTENT), zeros(2, BAR)
    intents["action"], intents["seq"], bars["instrument"] = [1, 2], [5, 6], [0, 1]
    await bus.publish(intents)
    await bus.publish(bars)
    await bus.close()
    kinds, instruments, both, actions, bar = (log for log, _, _ in chosen)
    assert kinds.seqs == [100, 120, 300, 301, 302, 320, 321, 322, 900]
    assert instruments.seqs == [100, 300, 301, 302, 901]
    assert both.seqs == [110, 310, 311, 312, 901]
    assert actions.seqs == [5]
    assert [rows["instrument"].tolist() for rows in bar.rows] == [[1]]


async def test_a_full_block_queue_makes_publishing_wait_and_delays_nobody_else() -> None:
    bus, gate = Bus(), asyncio.Event()
    slow, quick = Log(gate), Log()
    subscription = await bus.attach(slow, capacity_rows=4)
    await bus.attach(quick)

    async def publish() -> None:
        for at in range(20):
            await bus.publish(events(at))

    task = asyncio.create_task(publish())
    for _ in range(50):
        await asyncio.sleep(0)
    assert not task.done()
    assert subscription.counters.queued == 4  # one array is being handled
    assert quick.seqs == [0, 1, 2, 3, 4]
    gate.set()
    await task
    await bus.close()
    assert slow.seqs == quick.seqs == list(range(20))
    assert subscription.counters.waits > 0


async def test_two_publishers_that_wait_keep_their_order() -> None:
    bus, gate = Bus(), asyncio.Event()
    log = Log(gate)
    await bus.attach(log, capacity_rows=1)
    tasks = [asyncio.create_task(bus.publish(events(at))) for at in range(6)]
    await asyncio.sleep(0.01)
    gate.set()
    await asyncio.gather(*tasks)
    await bus.close()
    assert log.seqs == list(range(6))


async def test_a_subscriber_without_patience_left_is_detached() -> None:
    bus, log = Bus(), Log()
    stuck = await bus.subscribe(name="stuck", capacity_rows=1, patience_s=0.01)
    await bus.attach(log, name="log")
    for at in range(10):
        await bus.publish(events(at))
    assert isinstance(stuck.error, TimeoutError)
    with pytest.raises(TimeoutError, match=r"'stuck' made publishing wait for 0.01 s"):
        await anext(stuck)
    counters = await bus.close()
    assert log.seqs == list(range(10))
    assert (counters["stuck"].dropped, counters["stuck"].delivered) == (2, 0)


async def test_drop_oldest_leaves_a_gap_row_that_counts() -> None:
    bus = Bus()
    subscription = await bus.subscribe(policy=Policy.DROP_OLDEST, capacity_rows=5)
    await bus.publish(events(0, 4))
    await bus.publish(events(4, 4))
    gap, left, rest = await waiting(subscription)
    assert (gap["kind"][0], gap["aux"][0], gap["seq"][0], gap["flags"][0]) == (Kind.GAP, 3, 2, DERIVED)
    assert np.concatenate([left, rest])["seq"].tolist() == [3, 4, 5, 6, 7]
    for at in range(8, 30, 2):
        await bus.publish(events(at, 2))
    gap, *parts = await waiting(subscription)
    assert (gap["aux"][0], gap["seq"][0]) == (17, 24)
    assert np.concatenate(parts)["seq"].tolist() == [25, 26, 27, 28, 29]
    await bus.publish(events(30, 50))
    gap, part = await waiting(subscription)
    assert (gap["aux"][0], part["seq"].tolist()) == (45, [75, 76, 77, 78, 79])
    counters = (await bus.close())["event-1"]
    assert (counters.received, counters.delivered, counters.dropped) == (80, 15, 65)


async def test_conflate_keeps_the_newest_row_of_each_instrument_and_kind() -> None:
    bus = Bus()
    subscription = await bus.subscribe(policy=Policy.CONFLATE, kinds=[Kind.QUOTE, Kind.MARK])
    quotes = events(0, 6, kind=Kind.QUOTE)
    quotes["side"] = [BUY, SELL] * 3
    quotes["instrument"] = [0, 0, 1, 1, 0, 0]
    await bus.publish(quotes)
    await bus.publish(events(6, kind=Kind.MARK))
    await bus.publish(events(7, kind=Kind.TRADE))
    await bus.publish(events(8, 3, kind=Kind.MARK))
    (rows,) = await waiting(subscription)
    assert rows["seq"].tolist() == [2, 3, 4, 5, 10]
    await bus.publish(events(11, kind=Kind.MARK, instrument=4))
    (rows,) = await waiting(subscription)
    assert rows["seq"].tolist() == [11]
    counters = (await bus.close())["event-1"]
    assert (counters.received, counters.delivered, counters.conflated) == (11, 6, 5)


async def test_bars_conflate_by_instrument() -> None:
    bus = Bus()
    subscription = await bus.subscribe(Stream.BAR, policy=Policy.CONFLATE)
    bars = zeros(4, BAR)
    bars["instrument"], bars["close"] = [0, 1, 0, 1], [1, 2, 3, 4]
    await bus.publish(bars)
    (rows,) = await waiting(subscription)
    assert rows["close"].tolist() == [3, 4]
    await bus.close()


async def test_a_failing_subscriber_is_detached_and_recorded(caplog: pytest.LogCaptureFixture) -> None:
    bus, log = Bus(), Log()

    async def fail(rows: Rows) -> None:
        if rows["seq"][0] == 2:
            raise ValueError("no twos")

    failing = await bus.attach(fail, name="fail", capacity_rows=1)
    await bus.attach(log, name="log")
    with caplog.at_level(logging.ERROR):
        for at in range(10):
            await bus.publish(events(at))
            await asyncio.sleep(0)
    counters = await bus.close()
    assert log.seqs == list(range(10))
    assert isinstance(failing.error, ValueError)
    assert (counters["fail"].failures, counters["fail"].delivered) == (1, 3)
    assert "subscriber fail is detached" in caplog.text


@pytest.mark.parametrize(("retries", "seqs"), [(1, [0]), (2, [0, 1, 2])])
async def test_retries_give_the_same_rows_again(retries: int, seqs: list[int]) -> None:
    bus, seen, failures = Bus(), list[int](), iter([1, 1])

    async def shaky(rows: Rows) -> None:
        if rows["seq"][0] == 1 and next(failures, 0):
            raise OSError("try again")
        seen.append(int(rows["seq"][0]))

    subscription = await bus.attach(shaky, retries=retries, retry_delay_s=0.001)
    for at in range(3):
        await bus.publish(events(at))
    await bus.close()
    assert seen == seqs
    assert (subscription.error is None) == (retries == 2)
    assert subscription.counters.failures == 2


async def test_closing_drains_and_then_refuses() -> None:
    bus, gate = Bus(), asyncio.Event()
    log = Log(gate)
    await bus.attach(log)
    for at in range(5):
        await bus.publish(events(at))
    asyncio.get_running_loop().call_later(0.02, gate.set)
    await bus.close()
    assert log.seqs == list(range(5))
    with pytest.raises(InputError, match="the bus is closed"):
        await bus.publish(events(5))
    with pytest.raises(InputError, match="the bus is closed"):
        await bus.subscribe()


async def test_closing_does_not_wait_for_ever() -> None:
    bus = Bus()
    stuck = await bus.attach(Log(asyncio.Event()), name="stuck")
    idle = await bus.subscribe(name="idle")
    for at in range(5):
        await bus.publish(events(at))
        await asyncio.sleep(0)
    counters = await bus.close(drain_s=0.01)
    assert (counters["stuck"].dropped, counters["idle"].dropped) == (4, 5)
    assert isinstance(stuck.error, TimeoutError)
    assert isinstance(idle.error, TimeoutError)


async def test_an_iteration_ends_with_the_bus() -> None:
    async with Bus() as bus:
        subscription = await bus.subscribe()

        async def read() -> list[int]:
            return [int(rows["seq"][0]) async for rows in subscription]

        task = asyncio.create_task(read())
        for at in range(3):
            await bus.publish(events(at))
    assert await task == [0, 1, 2]


async def test_a_handler_that_never_waits_leaves_others_their_turn() -> None:
    bus, log, ticks = Bus(), Log(), 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    for at in range(2000):
        await bus.publish(events(at))
    await bus.attach(log)
    for at in range(2000):
        await bus.publish(events(at))
    task = asyncio.create_task(tick())
    await bus.close()
    task.cancel()
    assert ticks >= 2000 // 256


async def test_a_policy_may_be_named() -> None:
    bus = Bus()
    subscription = await bus.subscribe(policy=cast(Any, "drop_oldest"), capacity_rows=5)
    await bus.publish(events(1, 49))
    assert subscription.counters.queued == 5


async def test_a_handler_canceled_from_within_is_detached_and_holds_up_nobody() -> None:
    bus, log = Bus(), Log()

    async def cancels(rows: Rows) -> None:
        raise asyncio.CancelledError

    failing = await bus.attach(cancels, capacity_rows=1)
    await bus.attach(log)
    for at in range(1, 11):
        await bus.publish(events(at))
        await asyncio.sleep(0)
    await bus.close()
    assert isinstance(failing.error, asyncio.CancelledError)
    assert failing.counters.failures == 1
    assert log.seqs == list(range(1, 11))


async def test_names_of_closed_subscribers_are_free_and_unnamed_ones_are_forgotten() -> None:
    bus = Bus()
    for _ in range(3):
        (await bus.subscribe(name="page")).close()
        (await bus.subscribe()).close()
    last = await bus.subscribe()
    assert list(bus.counters()) == ["page", last.name]
    await bus.publish(events(1))
    assert last.counters.received == 1


async def test_what_cannot_work_is_refused() -> None:
    bus = Bus()
    for rows in (zeros(1, ORDER), None, [1]):
        with pytest.raises(InputError, match="EVENT, BAR, INTENT and REPORT rows"):
            await bus.publish(cast(Any, rows))
    for handler in (None, print, lambda rows: None):
        with pytest.raises(InputError, match="is no async function"):
            await bus.attach(cast(Any, handler))
    with pytest.raises(InputError, match="retries must be 0 or more"):
        await bus.attach(Log(), retries=-1)
    refused: list[tuple[Stream, dict[str, Any], str]] = [
        (Stream.EVENT, {"capacity_rows": 0}, "capacity_rows must be 1 or more"),
        (Stream.EVENT, {"policy": "drop"}, "unknown policy 'drop': did you mean 'drop_oldest'"),
        (Stream.EVENT, {"kinds": ["TRADE"]}, "kinds must be a collection of numbers"),
        (Stream.EVENT, {"kinds": 3}, "kinds must be a collection of numbers, not 3"),
        (Stream.EVENT, {"kinds": [300]}, "kinds cannot be 300: they are from 0 to 255"),
        (Stream.EVENT, {"instruments": [-1]}, "instruments cannot be -1"),
        (Stream.EVENT, {"patience_s": -1.0}, "patience_s must be 0 or more"),
        (Stream.TEXT, {}, "unknown stream of rows"),
        (Stream.BAR, {"kinds": [1]}, "BAR rows have no kinds"),
        (Stream.REPORT, {"instruments": [1]}, "REPORT rows name an order"),
        (Stream.INTENT, {"policy": Policy.DROP_OLDEST}, "INTENT rows need BLOCK"),
        (Stream.INTENT, {"policy": Policy.CONFLATE}, "do not stand for each other"),
        (Stream.EVENT, {"policy": Policy.CONFLATE}, "say which kinds to conflate"),
        (Stream.EVENT, {"policy": Policy.CONFLATE, "kinds": [Kind.LEVEL]}, "say which kinds to conflate, of BAR"),
    ]
    for stream, options, why in refused:
        with pytest.raises(InputError, match=why):
            await bus.subscribe(stream, **options)
    await bus.subscribe(name="a")
    with pytest.raises(InputError, match="there is a subscriber 'a' already"):
        await bus.subscribe(name="a")
    await bus.close()

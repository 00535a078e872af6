"""What the journal takes and gives back: rows stored, one intent made durable, rows recovered, rows through JetStream.

The store lies in a temporary folder (`TMPDIR` chooses the disk); `fsync_p50_us` is what that disk takes to make 4 KiB
durable, below which no intent can be. JetStream figures need `nats-server`; without it they are null.
"""

import asyncio
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from quantai.core.rows import EVENT, INTENT, Kind, Rows, zeros
from quantai.journal import EventStore, StoreReader, recover
from tests.nats_server import NatsServer, find_server

N = 10_000_000
ARGS = {"batch": 10_000, "intents": 2000, "messages": 500}


def run(seed: int, n: int, batch: int, intents: int, messages: int) -> dict[str, float | None]:
    """Store and recover `n` rows in batches, make `intents` durable one by one, send `messages` full of rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = zeros(batch, EVENT)
        rows["px"] = np.random.default_rng(seed).random(batch)
        rows["kind"] = Kind.TRADE
        path = folder / "run.journal"
        return {
            "rows_per_s": round(_store(path, rows, n)),
            **_make_intents_durable(folder / "intents.journal", intents),
            "fsync_p50_us": _fsync(folder / "fsync", intents),
            "recovery_rows_per_s": round(_recover(path)),
            "jetstream_rows_per_s": _send(folder, rows[:4096], messages) if find_server() else None,
        }


def _store(path: Path, rows: Rows, n: int) -> float:
    begin = time.perf_counter()
    with EventStore.create(path, {"run": "bench"}) as store:
        for start in range(1, n + 1, len(rows)):
            rows["seq"] = np.arange(start, start + len(rows))
            store.append(rows[: n + 1 - start])
    return n / (time.perf_counter() - begin)


def _make_intents_durable(path: Path, intents: int) -> dict[str, float]:
    took_us = np.zeros(intents)
    event, intent = zeros(1, EVENT), zeros(1, INTENT)
    with EventStore.create(path, {"run": "bench"}) as store:
        for i in range(intents):
            event["seq"] = intent["seq"] = i + 1
            store.append(event)
            begin = time.perf_counter()
            store.append_intents(intent)
            took_us[i] = 1e6 * (time.perf_counter() - begin)
    return {
        "intent_durable_p50_us": round(float(np.percentile(took_us, 50)), 1),
        "p99_us": round(float(np.percentile(took_us, 99)), 1),
    }


def _fsync(path: Path, times: int) -> float:
    took_us = np.zeros(times)
    with path.open("wb", buffering=0) as file:
        for i in range(times):
            begin = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            took_us[i] = 1e6 * (time.perf_counter() - begin)
    return round(float(np.percentile(took_us, 50)), 1)


def _recover(path: Path) -> float:
    """Check the whole store, then read every row of it, as a start without a snapshot must."""
    begin = time.perf_counter()
    found = recover(path)
    with StoreReader(path) as reader:
        count = sum(len(rows) for rows in reader.scan())
    if not found.ok or count != found.rows["EVENT"]:
        raise AssertionError(f"{count} rows recovered: {found}")
    return count / (time.perf_counter() - begin)


def _send(folder: Path, rows: Rows, messages: int) -> int:
    data = folder / "nats"
    data.mkdir()
    with NatsServer(data) as server:
        return round(asyncio.run(_through_jetstream(server.url, rows, messages)))


async def _through_jetstream(url: str, rows: Rows, messages: int) -> float:
    """Rows a second from publish to the subscriber, every one acknowledged by the server."""
    from quantai.journal.nats import NatsBus

    async with await NatsBus.connect("bench", url) as publisher, await NatsBus.connect("bench", url) as reader:
        subscription = await reader.subscribe()

        async def take() -> None:
            left = messages * len(rows)
            while left:
                left -= len(await anext(subscription))

        taken = asyncio.create_task(take())
        begin = time.perf_counter()
        for start in range(1, messages * len(rows), len(rows)):
            rows["seq"] = np.arange(start, start + len(rows))
            await publisher.publish(rows)
        await publisher.flush(60)
        await taken
        return messages * len(rows) / (time.perf_counter() - begin)

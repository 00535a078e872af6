"""How many events a second pass from `Bus.publish` to an async handler: in arrays of `batch` rows, and one by one."""

import asyncio
import time

import numpy as np

from quantai.core.rows import EVENT, Kind, Rows, zeros
from quantai.journal.bus import Bus

N = 10_000_000
ARGS = {"batch": 1000}


def run(seed: int, n: int, batch: int) -> dict[str, float]:
    """Publish `n` rows in arrays and `n` / 20 one by one, and wait until the handler has had them all."""
    rows = zeros(batch, EVENT)
    rows["px"] = np.random.default_rng(seed).random(batch)
    rows["kind"] = Kind.TRADE
    return {
        "batched_events_per_s": round(asyncio.run(_measure(rows, max(1, n // batch)))),
        "single_events_per_s": round(asyncio.run(_measure(rows[:1], max(1, n // 20)))),
    }


async def _measure(rows: Rows, times: int) -> float:
    seen = 0

    async def handle(part: Rows) -> None:
        nonlocal seen
        seen += len(part)

    bus = Bus()
    await bus.attach(handle)
    begin = time.perf_counter()
    for _ in range(times):
        await bus.publish(rows)
    await bus.close(drain_s=600)
    elapsed_s = time.perf_counter() - begin
    if seen != times * len(rows):
        raise AssertionError(f"{seen} of {times * len(rows)} rows arrived")
    return seen / elapsed_s

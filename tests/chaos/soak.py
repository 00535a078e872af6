"""An hour of trading at the loopback exchange: memory, tasks and sockets must stay what they were, and so must latency.

`python -m tests.chaos soak --minutes 60 --rate 2000` runs the exchange in a process of its own and a real trader, with
cryptofeed and ccxt.pro, in this one. The first five minutes (a quarter of a short run) are left out of the comparison:
caches fill there. Latency is from the arrival of a message to the end of the strategy's step on it.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

import quantai as qa
from quantai.core.errors import InputError
from quantai.core.rows import LAST, Kind
from quantai.execution.plan import Plan, paper_limits
from quantai.execution.remote import RunControl
from quantai.execution.trade import Trading
from quantai.journal import StoreReader, Stream

ARGS = {"minutes": 60.0, "rate": 2000.0}

SAMPLE_S = 2.0
LONG_S = 1800.0  # from which on a run must be as flat as an hour's
COLUMNS = {"tasks": 2, "sockets": 3, "threads": 4}  # of a sample
MESSAGES_PER_ACTION = 0.41  # of one symbol's trades, best prices and book, measured
MORE = {"tasks": 3, "sockets": 2, "threads": 2}
"""By how much each may be higher at the end: a request that happens to be under way, and no more."""

_SERVE = """
import sys
from quantai.cli import main
sys.exit(main(["venue", "--port", "0", "--synth", sys.argv[1], "--symbols", "BTC-USDT", "--rate", sys.argv[2]]))
"""


class Pulse(qa.Strategy):
    """Reads every book, keeps a far order for a second, and takes a little every ten seconds, back and forth."""

    books: int = qa.state(0)
    beats: int = qa.state(0)
    order: int = qa.state(0)

    def on_start(self, ctx: Any) -> None:
        """Act twice a second."""
        ctx.every(500 * qa.MS)

    def on_book(self, ctx: Any, book: Any) -> None:
        """Let each message reach the strategy."""
        self.books += 1

    def on_timer(self, ctx: Any) -> None:
        """Place, cancel, and now and then trade."""
        book = ctx.book(0)
        if not book.valid:
            return
        self.beats += 1
        if self.beats % 2 == 1:
            self.order = ctx.buy(0.001, limit=book.bid * 0.9)
        else:
            ctx.cancel(self.order)
        if self.beats % 40 == 10:
            ctx.buy(0.001)
        elif self.beats % 40 == 30:
            ctx.sell(0.001)


class Meter:
    """Latencies counted in bins of a twentieth of a decade, so that measuring takes no memory of its own."""

    edges = np.logspace(0, 9, 181)  # µs

    def __init__(self) -> None:
        self.counts, self.messages = np.zeros(len(self.edges) + 1, np.int64), 0

    def add(self, us: np.ndarray) -> None:
        """Count some latencies (µs)."""
        self.counts += np.bincount(np.searchsorted(self.edges, us), minlength=len(self.counts))
        self.messages += len(us)

    def quantile(self, q: float) -> float:
        """Return the upper edge of the bin in which the quantile lies, µs."""
        at = int(np.searchsorted(np.cumsum(self.counts), q * self.counts.sum()))
        return float(self.edges[min(at, len(self.edges) - 1)])


def run(n: int, seed: int, *, minutes: float = 60.0, rate: float = 2000.0) -> dict[str, Any]:
    """Trade for some minutes at about `rate` messages a second and say what grew."""
    del n
    venue = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(seed), str(rate / MESSAGES_PER_ACTION)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    try:
        assert venue.stdout is not None
        said = json.loads(venue.stdout.readline())
        os.environ["QUANTAI_BINANCE_KEY"], os.environ["QUANTAI_BINANCE_SECRET"] = said["key"], said["secret"]
        with tempfile.TemporaryDirectory() as folder:
            return asyncio.run(_soak(Path(folder) / "soak.journal", said["rest"], minutes * 60, venue.pid))
    finally:
        venue.terminate()
        venue.communicate()


async def _soak(journal: Path, endpoint: str, seconds: float, exchange: int) -> dict[str, Any]:
    plan = Plan(
        strategies=[(Pulse(), "tests.chaos.soak:Pulse")], venues={"BINANCE": ["BTC-USDT"]}, mode="live",
        journal=journal, limits=paper_limits(), understood=True, endpoint=endpoint, seconds=seconds, at_end="flatten",
    )  # fmt: skip
    trading = Trading(plan)
    loop = await trading.open()
    quarters = [Meter() for _ in range(4)]
    samples: list[tuple[float, float, int, int, int]] = []
    begun = time.monotonic()
    look = loop.floor.look

    def watched(rows: Any, *args: Any) -> Any:
        yield from look(rows, *args)
        ends = rows[(rows["flags"] & LAST != 0) & (rows["kind"] != Kind.TIMER)]
        quarter = quarters[min(3, int(4 * (time.monotonic() - begun) / seconds))]
        quarter.add((time.time_ns() - ends["ts_recv"]) / 1e3)

    loop.floor.look = watched  # type: ignore[method-assign]

    async def sample() -> None:
        while True:
            await asyncio.sleep(SAMPLE_S)
            tasks, threads = len(asyncio.all_tasks()), threading.active_count()
            samples.append((time.monotonic() - begun, _own_mb(os.getpid()), tasks, _sockets(), threads))

    async def ask() -> None:
        while True:
            await asyncio.sleep(5 * SAMPLE_S)
            with suppress(InputError):  # the run has just ended
                await RunControl(journal).status()

    asker = asyncio.create_task(ask())
    exchange_mb, sampler = _own_mb(exchange), asyncio.create_task(sample())
    try:
        await trading.run(loop)
        done = trading.outcome(loop)
        lost = _lost(loop)
        exchange_mb = [round(exchange_mb), round(_own_mb(exchange))]
    finally:
        sampler.cancel()
        asker.cancel()
        await trading.close()
    warm = min(300.0, seconds / 4)
    kept = [s for s in samples if warm <= s[0] < seconds - SAMPLE_S]  # the end of the run is not its course
    first, last = _ends(kept)
    growth = statistics.median(s[1] for s in last) / statistics.median(s[1] for s in first) - 1
    p99 = [round(q.quantile(0.99)) for q in quarters]
    figures: dict[str, Any] = {
        "seconds": round(time.monotonic() - begun),
        "messages_per_s": round(sum(q.messages for q in quarters) / seconds), "rows": done.rows, "rows_lost": lost,
        "orders": done.orders, "fills": done.fills,
        "memory_mb": [round(statistics.median(s[1] for s in part), 1) for part in (first, last)],
        "memory_growth_pct": round(100 * growth, 2), "exchange_memory_mb": exchange_mb,
        **{name: [*(_level(part, c) for part in (first, last)), *_range(kept, c)] for name, c in COLUMNS.items()},
        "p50_us": [round(q.quantile(0.5)) for q in quarters], "p99_us": p99,
    }  # fmt: skip
    found = list(done.alarms)
    if growth > (0.02 if seconds >= LONG_S else 0.05):
        found.append(f"memory grew by {100 * growth:.1f} %")
    levels = {name: [_level(part, column) for part in (first, last)] for name, column in COLUMNS.items()}
    for name, (before, after) in levels.items():
        if after > before + MORE[name]:
            found.append(f"{name}: {before} in the first part, {after} in the last")
    if seconds >= LONG_S and p99[-1] > 1.5 * max(p99[:-1]):
        found.append(f"p99 grew to {p99[-1]} µs")
    if lost:
        found.append(f"{lost} rows differ between the journal and what was shown")
    if not done.fills or done.at_work:
        found.append(f"{done.fills} fills, still at work: {done.at_work}")
    return {**figures, "failures": len(found), "found": found}


def _ends(kept: list[Any]) -> tuple[list[Any], list[Any]]:
    """Return the first and the last fifth of what is compared."""
    part = max(1, len(kept) // 5)
    return kept[:part], kept[-part:]


def _level(part: list[Any], column: int) -> int:
    """Return what a part of the run stands at: what waits for a slow machine comes and goes, what leaks stays."""
    return sorted(s[column] for s in part)[len(part) // 4]


def _range(kept: list[Any], column: int) -> list[int]:
    values = [s[column] for s in kept]
    return [min(values), max(values)]


def _own_mb(pid: int) -> float:
    """Return what a process holds of its own: pages of files come and go as the whole machine needs memory."""
    said = dict(line.split(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(said["RssAnon"].split()[0]) / 1024


def _sockets() -> int:
    found = 0
    for path in Path("/proc/self/fd").iterdir():
        try:
            found += str(path.readlink()).startswith("socket:")
        except OSError:  # the listing itself
            continue
    return found


def _lost(loop: Any) -> int:
    """Return by how much the rows shown differ from the market rows of the journal."""
    loop.session.store.flush()
    alone = 0
    with StoreReader(loop.session.store.path) as reader:
        for frame in reader.scan(Stream.EVENT):
            alone += int(((frame["kind"] == Kind.CONTROL) | (frame["kind"] >= Kind.ACK)).sum())
    return loop.counts.rows + alone - (loop.session.store.next_seq - 1)

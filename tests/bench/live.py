"""The trade loop against the loopback exchange: from the socket to the strategy, from the decision to the wire.

The exchange runs in a process of its own; the trader is a real `Trading` with cryptofeed and ccxt.pro in this one.

feed_*_us       from the arrival of a message (cryptofeed's stamp) to the end of the strategy's step on it
order_*_us      from the decision to when the request has been handed to the operating system, the sync included
sync_*_us       what of that the journal took to be on the disk
disk_*_us       what the disk takes to sync as many bytes when nothing but that is done, after the run
overhead_vs_ccxt_us  what our path, from the request to the order management's knowledge of the venue's answer, adds to
                a bare createOrder of ccxt in the same process and at the same time; medians. The bare account is one of
                its own, with a user stream that ccxt.pro watches, as ours has: the exchange tells both of their orders
venue_*_us      from the venue's own stamp, whole milliseconds, to the end of the step: its side and sockets included
rows_lost       rows that were shown to strategies and are not in the journal, or the other way round
cpu_us_per_message  processor time of the trader, everything included
pauses          garbage collections of everything during the run, and the longest in ms
"""

import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import ccxt
import numpy as np

import quantai as qa
from quantai.core.rows import LAST, Kind
from quantai.execution.client_ids import client_id
from quantai.execution.plan import Plan, paper_limits
from quantai.execution.trade import Trading
from quantai.feeds.feed import RECEIPT_TIME
from quantai.journal import StoreReader, Stream
from quantai.venues.ccxt.client import exchange
from quantai.venues.ccxt.keys import Keys
from quantai.venues.ccxt.profiles import profile
from quantai.venues.venue import Ask

N = 1
ARGS = {"seconds": 30.0, "rate": 1000.0}

MESSAGES_PER_ACTION = 0.41
"""Of the synthetic market, on one symbol's trades, best prices and book; measured."""

BARE = "bare", "of-the-bare-calls"
WARM_S = 5.0
"""Left out at the beginning: books and caches fill."""

_SERVE = """
import asyncio, json, sys
from quantai.venues.loopback import LoopbackExchange

async def serve():
    venue = LoopbackExchange(symbols=["BTC-USDT"], seed=int(sys.argv[1]), rate_hz=float(sys.argv[2]))
    venue.exchange.open_account("bare", "of-the-bare-calls", {"USDT": 100_000}, {})
    async with venue:
        print(json.dumps({"rest": venue.http, "key": venue.key, "secret": venue.secret}), flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(serve())
"""


class Prober(qa.Strategy):
    """Keeps a far order in the book ten times a second; reads every book, so that each message reaches it."""

    books: int = qa.state(0)
    beats: int = qa.state(0)
    order: int = qa.state(0)

    def on_start(self, ctx: Any) -> None:
        ctx.every(100 * qa.MS)

    def on_book(self, ctx: Any, book: Any) -> None:
        self.books += 1

    def on_timer(self, ctx: Any) -> None:
        book = ctx.book(0)
        if not book.valid:
            return
        self.beats += 1
        if self.beats % 2 == 1:
            self.order = ctx.buy(0.001, limit=book.bid * 0.9)
        else:
            ctx.cancel(self.order)


def run(seed: int, n: int, *, seconds: float = 30.0, rate: float = 1000.0) -> dict[str, Any]:
    """Measure for some seconds at about `rate` messages a second (of one symbol's streams)."""
    del n
    venue = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(seed), str(rate / MESSAGES_PER_ACTION)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    try:
        assert venue.stdout is not None
        said = json.loads(venue.stdout.readline())
        os.environ["QUANTAI_BINANCE_KEY"], os.environ["QUANTAI_BINANCE_SECRET"] = said["key"], said["secret"]
        with tempfile.TemporaryDirectory() as folder:
            return asyncio.run(_Measure(Path(folder) / "bench.journal", said["rest"], seconds).run())
    finally:
        venue.communicate()  # it ends with its input


class _Measure:
    def __init__(self, journal: Path, endpoint: str, seconds: float) -> None:
        self.journal, self.endpoint, self.seconds = journal, endpoint, seconds
        self.feed: list[np.ndarray] = []  # µs, as all of these
        self.venue: list[np.ndarray] = []
        self.order: list[float] = []
        self.sync: list[float] = []
        self.ours: list[float] = []
        self.bare: list[float] = []
        self.pauses: list[float] = []
        self.messages = self.synced_bytes = self.syncs = 0
        self.sent: dict[str, int] = {}
        self.begun = 0.0

    async def run(self) -> dict[str, Any]:
        """Trade, with clocks at every passage."""
        plan = Plan(
            strategies=[(Prober(), "tests.bench.live:Prober")], venues={"BINANCE": ["BTC-USDT"]}, mode="live",
            journal=self.journal, limits=paper_limits(), understood=True, endpoint=self.endpoint,
            seconds=self.seconds + WARM_S, reconcile_s=0,
        )  # fmt: skip
        trading = Trading(plan)
        loop = await trading.open()
        self._clock(loop)
        gc.callbacks.append(self._collected)
        self.begun = time.monotonic()
        calls = asyncio.create_task(self._bare())
        worked = time.process_time()
        try:
            await trading.run(loop)
            took, worked = time.monotonic() - self.begun, time.process_time() - worked
            lost = loop.counts.rows + _others(loop) - (loop.session.store.next_seq - 1)
        finally:
            gc.callbacks.remove(self._collected)
            calls.cancel()
            with suppress(asyncio.CancelledError):
                await calls
            await trading.close()
        books = int(loop.floor.desks[0].record["books"][0])
        disk = _disk(self.journal.parent, self.synced_bytes // max(1, self.syncs))
        overhead = round(statistics.median(self.ours) - statistics.median(self.bare), 1) if self.ours else None
        return {
            **_quantiles("feed", np.concatenate(self.feed)), **_quantiles("order", self.order),
            "overhead_vs_ccxt_us": overhead, "rows_lost": lost,
            "messages": self.messages, "messages_per_s": round(self.messages / took), "rows": loop.counts.rows,
            "books": books, "orders": len(loop.oms.table), "bare_calls": len(self.bare),
            **_quantiles("sync", self.sync), **_quantiles("disk", disk),
            **_quantiles("venue", np.concatenate(self.venue)),
            "cpu_us_per_message": round(1e6 * worked / max(1, self.messages), 1),
            "pauses": [len(self.pauses), round(max(self.pauses, default=0.0), 1)],
        }  # fmt: skip

    def _clock(self, loop: Any) -> None:
        """Put a clock around what the loop calls."""
        look, send, ask, hear = loop.floor.look, loop.venues["BINANCE"].send, loop.session.ask, loop.hear
        intents, asked = loop.session.store.append_intents, [0]

        def looking(rows: Any, *args: Any) -> Any:
            yield from look(rows, *args)
            now = time.time_ns()
            ends = rows[(rows["flags"] & LAST != 0) & (rows["kind"] != Kind.TIMER)]
            self.messages += len(ends)
            if self._is_warm:
                self.feed.append((now - ends["ts_recv"]) / 1e3)
                stamped = ends[ends["flags"] & RECEIPT_TIME == 0]
                self.venue.append((now - stamped["ts_exch"]) / 1e3)

        async def sending(request: Any) -> None:
            if request.ask is Ask.NEW:
                self.sent[request.client_id] = time.perf_counter_ns()
            await send(request)
            if self._is_warm and request.ask in (Ask.NEW, Ask.CANCEL):
                self.order.append((time.perf_counter_ns() - asked[0]) / 1e3)

        async def asking(rows: Any) -> Any:
            asked[0] = time.perf_counter_ns()
            return await ask(rows)

        def appending(rows: Any) -> None:
            self.syncs += 1
            self.synced_bytes += loop.session.store._waiting.nbytes + rows.nbytes
            begin = time.perf_counter_ns()
            intents(rows)
            if self._is_warm:
                self.sync.append((time.perf_counter_ns() - begin) / 1e3)

        async def hearing(item: Any) -> None:
            reports = item.answer.reports
            for report in reports[reports["kind"] == Kind.ACK]:
                slot = loop.oms.table.slot(report["order"])
                if slot is not None:
                    entry = loop.oms.table.entries[slot]
                    begin = self.sent.pop(client_id(loop.oms.setup.desks[0].run, int(entry["seq"]), int(entry["k"])), 0)
                    if begin and self._is_warm:
                        self.ours.append((time.perf_counter_ns() - begin) / 1e3)
            await hear(item)

        loop.floor.look, loop.venues["BINANCE"].send, loop.session.ask = looking, sending, asking
        loop.session.store.append_intents, loop.hear = appending, hearing

    @property
    def _is_warm(self) -> bool:
        return time.monotonic() - self.begun > WARM_S

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] == 2:
            if phase == "start":
                self.pauses.append(-time.perf_counter() * 1e3)
            elif self.pauses and self.pauses[-1] < 0:
                self.pauses[-1] += time.perf_counter() * 1e3

    async def _bare(self) -> None:
        """Place and cancel through ccxt alone, five times a second."""
        api = exchange(profile("BINANCE"), Keys(*BARE), _Deaf(), endpoint=self.endpoint)
        watching: asyncio.Task[None] | None = None
        try:
            await api.load_markets()
            watching = asyncio.create_task(_watch(api))
            while True:
                await asyncio.sleep(0.2)
                begin = time.perf_counter_ns()
                made = await api.create_order("BTC/USDT", "limit", "buy", "0.001", "20000")
                if self._is_warm:
                    self.bare.append((time.perf_counter_ns() - begin) / 1e3)
                with suppress(ccxt.OrderNotFound):  # a market that falls as far has taken it
                    await api.cancel_order(made["id"], "BTC/USDT")
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
            await api.close()


async def _watch(api: Any) -> None:
    """Follow the orders of an account, as anybody who trades has to."""
    while True:
        await api.watch_orders()


class _Deaf:
    """Nobody listens to the account of the bare calls."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def _quantiles(name: str, us: Any) -> dict[str, float]:
    p50, p99 = np.percentile(us if len(us) else [np.nan], [50, 99])
    return {f"{name}_p50_us": round(float(p50), 1), f"{name}_p99_us": round(float(p99), 1)}


def _disk(folder: Path, size: int) -> list[float]:
    """Return what bare syncs of appended bytes take here, µs."""
    took: list[float] = []
    with (folder / "disk").open("wb", buffering=0) as file:
        for _ in range(300):
            file.write(bytes(size))
            begin = time.perf_counter_ns()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter_ns() - begin) / 1e3)
            time.sleep(0.01)
    return took


def _others(loop: Any) -> int:
    """Return how many rows of the journal are no rows of the market: reports, controls, adjustments."""
    loop.session.store.flush()
    alone = 0
    with StoreReader(loop.session.store.path) as reader:
        for frame in reader.scan(Stream.EVENT):
            alone += int(((frame["kind"] == Kind.CONTROL) | (frame["kind"] >= Kind.ACK)).sum())
    return alone

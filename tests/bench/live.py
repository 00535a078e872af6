"""The trade loop against the loopback exchange: from the socket to the strategy, from the decision to the wire.

The exchange runs in a process of its own; the trader is a real `Trading` with cryptofeed and ccxt.pro in this one. Feed
latency is from the arrival of a message (cryptofeed's stamp) to the end of the strategy's step on it; order latency
from there to when the request has been handed to the operating system, the journal's sync included. `rows_lost` counts
rows that were shown to strategies and are not in the journal, or the other way round. `overhead_vs_ccxt_us` is
what our path adds to a bare createOrder of ccxt, from request to response, at the median.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import quantai as qa
from quantai.core.rows import LAST, Kind
from quantai.execution.client_ids import client_id
from quantai.execution.plan import Plan, paper_limits
from quantai.execution.trade import Trading
from quantai.journal import StoreReader, Stream
from quantai.venues.venue import Ask

N = 1
ARGS = {"seconds": 30.0, "rate": 1000.0}

_SERVE = """
import asyncio, sys
from quantai.cli import main
sys.exit(main(["venue", "--port", "0", "--synth", "7", "--symbols", "BTC-USDT", "--rate", sys.argv[1]]))
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
    del seed, n
    # each action of the market is a trade or a change of the book: a handful of messages on the streams we take
    venue = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(rate)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
    )
    try:
        assert venue.stdout is not None
        said = json.loads(venue.stdout.readline())
        os.environ["QUANTAI_BINANCE_KEY"], os.environ["QUANTAI_BINANCE_SECRET"] = said["key"], said["secret"]
        with tempfile.TemporaryDirectory() as folder:
            return asyncio.run(_measure(Path(folder) / "bench.journal", said["rest"], seconds))
    finally:
        venue.terminate()
        venue.wait(30)


async def _measure(journal: Path, endpoint: str, seconds: float) -> dict[str, Any]:
    plan = Plan(
        strategies=[(Prober(), "tests.bench.live:Prober")], venues={"BINANCE": ["BTC-USDT"]}, mode="live",
        journal=journal, limits=paper_limits(), understood=True, endpoint=endpoint, seconds=seconds, reconcile_s=0,
    )  # fmt: skip
    trading = Trading(plan)
    loop = await trading.open()
    feed_us: list[float] = []
    order_us: list[float] = []
    ours_us: list[float] = []
    messages = 0
    look, send = loop.floor.look, loop.venues["BINANCE"].send
    decided, sent = [0], dict[str, int]()

    def watched(rows: Any, *args: Any) -> Any:
        nonlocal messages
        yield from look(rows, *args)
        decided[0] = now = time.time_ns()
        ends = rows[(rows["flags"] & LAST != 0) & (rows["kind"] != Kind.TIMER)]
        messages += len(ends)
        feed_us.extend(((now - ends["ts_recv"]) / 1e3).tolist())

    async def timed(request: Any) -> None:
        begin = time.perf_counter_ns()
        if request.ask is Ask.NEW:
            sent[request.client_id] = begin
        await send(request)
        if request.ask in (Ask.NEW, Ask.CANCEL):
            order_us.append((time.perf_counter_ns() - asked[0]) / 1e3)

    asked = [0]
    ask = loop.session.ask

    async def asking(intents: Any) -> Any:
        asked[0] = time.perf_counter_ns()
        return await ask(intents)

    hear = loop.hear

    async def heard(item: Any) -> None:
        reports = item.answer.reports
        for report in reports[reports["kind"] == Kind.ACK]:
            slot = loop.oms.table.slot(report["order"])
            if slot is not None:
                entry = loop.oms.table.entries[slot]
                begin = sent.pop(client_id(loop.oms.setup.desks[0].run, int(entry["seq"]), int(entry["k"])), 0)
                if begin:
                    ours_us.append((time.perf_counter_ns() - begin) / 1e3)
        await hear(item)

    loop.floor.look = watched  # type: ignore[method-assign]
    loop.venues["BINANCE"].send = timed  # type: ignore[method-assign]
    loop.session.ask = asking  # type: ignore[method-assign]
    loop.hear = heard  # type: ignore[method-assign]
    before = time.monotonic()
    try:
        await trading.run(loop)
        bare = await _bare(loop.venues["BINANCE"])
        lost = loop.counts.rows + _others(loop) - (loop.session.store.next_seq - 1)
    finally:
        await trading.close()
    took = time.monotonic() - before
    feed = np.percentile(feed_us[len(feed_us) // 10 :] or [np.nan], [50, 99])
    order = np.percentile(order_us or [np.nan], [50, 99])
    books = int(loop.floor.desks[0].record["books"][0])
    return {
        "feed_p50_us": round(feed[0], 1), "feed_p99_us": round(feed[1], 1),
        "order_p50_us": round(order[0], 1), "order_p99_us": round(order[1], 1),
        "overhead_vs_ccxt_us": round(statistics.median(ours_us) - bare, 1) if ours_us else None,
        "rows_lost": lost,
        "messages": messages, "messages_per_s": round(messages / took), "rows": loop.counts.rows, "books": books,
        "orders": len(loop.oms.table),
    }  # fmt: skip


def _others(loop: Any) -> int:
    """Return how many rows of the journal are no rows of the market: reports, controls, adjustments."""
    loop.session.store.flush()
    with StoreReader(loop.session.store.path) as reader:
        rows = reader.rows(Stream.EVENT)
    alone = (rows["kind"] == Kind.CONTROL) | (rows["kind"] >= Kind.ACK)
    return int(alone.sum())


async def _bare(venue: Any) -> float:
    """Return the median time of a bare createOrder of the same ccxt object, in microseconds."""
    api, took = venue._api, list[float]()
    for _ in range(60):
        begin = time.perf_counter_ns()
        made = await api.create_order("BTC/USDT", "limit", "buy", 0.001, 20_000)
        took.append((time.perf_counter_ns() - begin) / 1e3)
        await api.cancel_order(made["id"], "BTC/USDT")
    return statistics.median(took)

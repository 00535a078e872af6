"""Cost of one pre-trade check and of one report applied to an order, compiled, and of journaling both.

Processor time of this thread, the best of some rounds: other work on the machine does not count. `intent_us` and
`report_us` are the whole way of a request and of an answer through a `Session`: checked, journaled, applied, with what
follows for risk and positions, and without what waiting for the disk takes (`tests.bench journal` has that).
"""

import asyncio
import tempfile
import time
from dataclasses import fields
from typing import Any

import numpy as np
from numba import njit

from quantai.core.executions import executions
from quantai.core.instruments import Instrument, Instruments
from quantai.core.orders import apply, submit
from quantai.core.reports import REPORT
from quantai.core.rows import BUY, EVENT, INTENT, MS, SELL, Action, Kind, OrderType, Rows, zeros
from quantai.core.tracked import TRACKED
from quantai.execution.exposure import REQUEST, RiskBook, commit, risk_book
from quantai.execution.limits import Limits
from quantai.execution.oms import OMS
from quantai.execution.risk import check
from quantai.execution.session import Session
from quantai.execution.setup import Setup
from quantai.journal import EventStore, describe_run
from quantai.portfolio import Desk

WIDE = {"max_open_orders": 4096, "rate_max": 4096, "rate_window_ms": 0, "max_quote_age_ms": 10**9,
        "duplicate_window_ms": 0, "max_gross": 10**9, "max_net": 10**9, "max_position": 10**6}  # fmt: skip
ORDERS = 1000
WORKING = 50
ROUNDS = 5
NOW = 10**15
N = 200_000
LIFE = (Kind.ACK, Kind.FILL, Kind.FILL, Kind.FILL, Kind.FILL, Kind.REPLACED, Kind.TRADE_CANCEL, Kind.CANCELED)


@njit
def apply_all(orders: Any, table: Any, reports: Any) -> int:
    outcomes = 0
    for i in range(len(reports)):
        outcomes += apply(orders[reports[i].order], table, reports[i])
    return outcomes


@njit
def check_all(book: Any, limits: Any, requests: Any, answers: Any) -> None:
    for i in range(len(requests)):
        answers[check(book, limits, requests[i])] += 1


def reports(rng: np.random.Generator, n: int) -> Rows:
    """Lives of many orders, interleaved: acknowledged, filled with repeats, replaced, busted, canceled."""
    rows = zeros(n, REPORT)
    rows["order"] = np.sort(rng.integers(0, ORDERS, n), kind="stable")
    rows["kind"] = np.array(LIFE, np.uint8)[rng.integers(0, len(LIFE), n)]
    rows["exec"] = rng.integers(1, n, n)
    rows["ref"] = np.roll(rows["exec"], 1)
    rows["px_ticks"], rows["qty_lots"] = rng.integers(1, 10**6, n), rng.integers(1, 100, n)
    rows["seq"] = np.arange(n)
    return rows[rng.permutation(n)]


def requests(rng: np.random.Generator, n: int) -> tuple[RiskBook, Any, Rows]:
    """A book with 50 working orders and requests of which most pass every check."""
    limits = Limits.example()
    instrument = Instrument.parse("BTC-USDT", tick="0.5", lot="0.001", max_notional="1000000")
    book = risk_book([instrument] * 4, limits)
    book.watch["bid"], book.watch["ask"] = 99.5, 100.5
    book.watch["bid_ts"] = book.watch["ask_ts"] = NOW - 100 * MS
    for name in ("equity", "peak_equity", "free_margin"):
        book.account[name] = 10_000.0
    rows = zeros(n + WORKING - 1, REQUEST)
    rows["order"], rows["action"], rows["type"] = np.arange(1, len(rows) + 1), Action.NEW, OrderType.LIMIT
    rows["side"] = rng.choice([BUY, SELL], len(rows))
    rows["px"] = np.where(rows["side"] == BUY, 98.0, 102.0) + rng.integers(-4, 4, len(rows)) / 2
    rows["qty"], rows["instrument"] = rng.integers(1, 1000, len(rows)) / 1000, rng.integers(0, 4, len(rows))
    rows["ts"] = NOW
    for row in rows[: WORKING - 1]:
        row["ts"] = NOW - 10_000 * MS
        commit(book, row)
    return book, limits.row()[0], rows[WORKING - 1 :]


def best(run: Any, n: int) -> float:
    """Nanoseconds an item, the best of some rounds."""
    times = []
    for _ in range(ROUNDS):
        go = run()
        start = time.thread_time_ns()
        go()
        times.append(time.thread_time_ns() - start)
    return min(times) / n


class Nowhere:
    """A venue that takes every request and says nothing."""

    async def send(self, request: Any) -> None: ...


async def trade(orders: int) -> dict[str, float]:
    """Return the microseconds of processor time of one intent, and of one report, through a session."""
    wide = Limits.of({f.name: getattr(Limits.example(), f.name) for f in fields(Limits)} | WIDE)
    instruments = Instruments([Instrument.parse("BTC-USDT", tick="0.5", lot="0.001")])
    oms = OMS(Setup(desks=(Desk("bench"),), instruments=instruments, limits=wide, currency="USDT"))
    spent = np.zeros((2, orders))
    with tempfile.TemporaryDirectory() as folder:
        manifest = describe_run("bench", oms=oms.setup.as_dict())
        with EventStore.create(f"{folder}/bench.journal", manifest) as store:
            session = Session(oms, store, Nowhere())
            await session.see(oms.portfolio.deposit(0, 1e9, ts=NOW))
            bar = zeros(1, EVENT)
            bar["kind"], bar["px"], bar["ts_recv"] = Kind.BAR, 100.0, NOW
            await session.see(bar)
            intent, report = zeros(1, INTENT), zeros(1, REPORT)
            intent["action"], intent["type"], intent["side"] = Action.NEW, OrderType.LIMIT, BUY
            intent["qty_lots"], intent["px_ticks"], report["kind"] = 10, 199, Kind.ACK
            for i in range(orders):
                intent["seq"], intent["order"], report["order"] = oms.seq, i + 1, i + 1
                begin = time.thread_time_ns()
                await session.ask(intent)
                asked = time.thread_time_ns()
                await session.hear(report)
                spent[:, i] = asked - begin, time.thread_time_ns() - asked
    return dict(zip(("intent_us", "report_us"), np.median(spent, axis=1).round() / 1000, strict=True))


def run(seed: int, n: int) -> dict[str, Any]:
    """Return check_ns, apply_ns, intent_us and report_us; `n` requests, `n` reports over 1000 orders."""
    rng = np.random.default_rng(seed)
    rows, (book, limits, asked) = reports(rng, n), requests(rng, n)
    intents = zeros(ORDERS, INTENT)
    intents["order"], intents["qty_lots"] = np.arange(ORDERS), 10**6
    started = zeros(ORDERS, TRACKED)
    for order, intent in zip(started, intents, strict=True):
        submit(order, intent)

    def applying() -> Any:
        orders, table = started.copy(), executions(2 * n + 2)
        return lambda: apply_all(orders, table, rows)

    answers = np.zeros(64, np.int64)
    apply_all(started.copy(), executions(64), rows[:8])
    check_all(book, limits, asked[:8], answers)
    answers[:] = 0
    check_ns = best(lambda: lambda: check_all(book, limits, asked, answers), n)
    return {
        "check_ns": round(check_ns, 1),
        "apply_ns": round(best(applying, n), 1),
        **asyncio.run(trade(max(100, n // 200))),
        "passed": float(answers[0] / answers.sum()),
        "working_orders": int(book.counts[0]),
        "n": n,
    }

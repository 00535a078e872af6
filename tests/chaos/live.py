"""Kill -9 a process that trades at the loopback exchange, at random moments, through real cryptofeed and real ccxt.

`python -m tests.chaos live --n 50` kills 50 traders, a few of one run after each other, each going on where the one
before died. Then the run is left in peace and ended in good order: what its journal, its books and the exchange say of
orders, executions and holdings must be one and the same, and the journal run again must decide every byte as it did.
"""

import asyncio
import multiprocessing as mp
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import quantai as qa
from quantai.core.reports import exec_number
from quantai.core.rows import Kind
from quantai.execution.plan import Plan, paper_limits
from quantai.execution.retrace import manifest_of as read_manifest
from quantai.execution.retrace import retrace, seats_of, stand, walk
from quantai.execution.trade import trade
from quantai.execution.views import orders
from quantai.journal import StoreReader, Stream
from quantai.venues.loopback import KEY, SECRET, LoopbackExchange

EACH = 5
"""Kills of one run before it is ended and looked at."""

PATIENCE_S = 180.0


class Churn(qa.Strategy):
    """Keeps orders at both sides of the touch and now and then takes: something is always under way."""

    qty: float = 0.002
    beats: int = qa.state(0)

    def on_start(self, ctx: Any) -> None:
        """Act 25 times a second."""
        ctx.every(40 * qa.MS)

    def on_timer(self, ctx: Any) -> None:
        """Quote, cancel and take in turns."""
        self.beats += 1
        book = ctx.book(0)
        if not book.valid:
            return
        if self.beats % 11 == 0:
            ctx.buy(self.qty)
        elif self.beats % 11 == 5:
            ctx.sell(self.qty)
        elif self.beats % 5 == 0:
            ctx.unquote(0, qa.BUY)
        else:
            ctx.quote(0, qa.BUY, book.bid_ticks - self.beats % 3, self.qty, post_only=False)
            ctx.quote(0, qa.SELL, book.ask_ticks + self.beats % 3, self.qty, post_only=False)


def plan_of(journal: Path, endpoint: str) -> Plan:
    return Plan(
        strategies=[(Churn(), "tests.chaos.live:Churn")],
        venues={"BINANCE": ["BTC-USDT"]},
        mode="live",
        journal=journal,
        limits=paper_limits(),
        understood=True,
        endpoint=endpoint,
        patience_s=0.5,
        snapshot_s=1.0,
        reconcile_s=5.0,
    )


class Market:
    """The loopback exchange on a thread of its own: it outlives every trader."""

    def __init__(self, seed: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.exchange = LoopbackExchange(symbols=["BTC-USDT"], seed=seed, rate_hz=30.0)
        self.call(self.exchange.__aenter__())

    def call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def truth(self) -> dict[str, Any]:
        async def ask() -> dict[str, Any]:
            return self.exchange.truth()

        return self.call(ask())

    def fault(self, text: str) -> None:
        self.call(self.exchange.fault(text))

    def heal(self) -> None:
        async def forget() -> None:
            self.exchange.heal()

        self.call(forget())

    def close(self) -> None:
        self.call(self.exchange.__aexit__())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Nursery:
    """A process that has everything imported and compiled, and forks others from that which begin at once."""

    def __init__(self) -> None:
        self._pipe, theirs = mp.Pipe()
        self._process = mp.get_context("spawn").Process(target=nurse, args=(theirs,), daemon=True)
        self._process.start()
        self._answer()  # ready

    def _answer(self) -> Any:
        if not self._pipe.poll(600):
            raise AssertionError("the nursery does not answer")
        return self._pipe.recv()

    def start(self, work: Callable[..., int], *args: Any) -> int:
        """Call `work` (a module's, that returns an exit code) in a process of its own and return its id."""
        self._pipe.send((work, args))
        return int(self._answer())

    def trader(self, journal: Path, endpoint: str) -> int:
        """Start a trader and return its process id."""
        return self.start(live, journal, endpoint)

    def poll(self, pid: int) -> int | None:
        """Return the exit code of a process that has ended, negative for a signal."""
        self._pipe.send(pid)
        return self._answer()

    def wait(self, pid: int) -> int:
        """Return how a process ended: its exit code, negative for a signal."""
        deadline = time.monotonic() + 600
        while (code := self.poll(pid)) is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"process {pid} does not end")
            time.sleep(0.02)
        return code

    def close(self) -> None:
        """End, with every process that has not ended yet."""
        self._pipe.send(None)
        self._process.join(60)


def nurse(pipe: Connection) -> None:
    """Prepare, then start what is asked for, until nothing more is."""
    import ccxt.pro  # noqa: F401 # pyright: ignore[reportUnusedImport] -- seconds, once
    import cryptofeed.exchanges  # noqa: F401 # pyright: ignore[reportUnusedImport]

    from quantai.execution.rehearsal import rehearse

    os.environ["QUANTAI_BINANCE_KEY"], os.environ["QUANTAI_BINANCE_SECRET"] = KEY, SECRET
    rehearse([Churn()], paper_limits(), paper=False)
    pipe.send("ready")
    ended: dict[int, int | None] = {}
    while (asked := _asked(pipe)) is not None:
        if isinstance(asked, int):
            if ended[asked] is None:
                pid, status = os.waitpid(asked, os.WNOHANG)
                ended[asked] = os.waitstatus_to_exitcode(status) if pid else None
            pipe.send(ended[asked])
            continue
        work, args = asked
        pid = os.fork()
        if pid == 0:
            _work(work, args)
        ended[pid] = None
        pipe.send(pid)
    for pid in [pid for pid, code in ended.items() if code is None]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _asked(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except EOFError:  # whoever asks is gone
        return None


def _work(work: Callable[..., int], args: tuple[Any, ...]) -> None:
    """Do it; never returns."""
    code = 1
    try:
        code = work(*args)
    except BaseException:  # noqa: BLE001 -- the end of a process, whatever it is
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def said_of(journal: Path) -> Path:
    """Return where the traders of a journal write what ended them."""
    return Path(f"{journal}.said")


def live(journal: Path, endpoint: str) -> int:
    """Trade until killed or asked to end."""
    try:
        asyncio.run(trade(plan_of(journal, endpoint)))
    except BaseException:
        said_of(journal).write_text(traceback.format_exc())
        raise
    return 0


def run(n: int, seed: int) -> dict[str, Any]:
    """Kill `n` traders and return how many runs were looked at and what was wrong with them."""
    random_ = random.Random(seed)
    nursery, found, runs, kills = Nursery(), list[str](), 0, 0
    fills = 0
    with tempfile.TemporaryDirectory() as folder:
        while kills < n:
            market = Market(seed + runs)
            try:
                journal = Path(folder) / f"{runs}.journal"
                for _ in range(min(EACH, n - kills)):
                    pid = nursery.trader(journal, market.exchange.http)
                    _let_live(market, random_)
                    os.kill(pid, signal.SIGKILL)
                    code = nursery.wait(pid)
                    if code != -signal.SIGKILL:
                        found.append(f"run {runs}: a trader ended by itself with {code}: {_said(journal)}")
                    kills += 1
                found += [f"run {runs}: {what}" for what in _end(nursery, journal, market)]
                fills += len(market.truth()["fills"])
            finally:
                market.close()
            runs += 1
    nursery.close()
    return {"runs": runs, "kills": kills, "fills": fills, "failures": len(found), "found": found}


def _said(journal: Path) -> str:
    path = said_of(journal)
    return path.read_text() if path.exists() else ""


def _let_live(market: Market, random_: random.Random) -> None:
    """Wait for a moment to kill: in its first seconds, or some time after it has sent an order."""
    if random_.random() < 0.25:
        time.sleep(random_.uniform(0.0, 3.0))
        return
    before, until = len(market.truth()["orders"]), time.monotonic() + PATIENCE_S / 3
    while len(market.truth()["orders"]) == before and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(random_.uniform(0.0, 1.5))


def _end(nursery: Nursery, journal: Path, market: Market) -> list[str]:
    """Let a last trader reconcile, end it in good order, and compare everything."""
    pid = nursery.trader(journal, market.exchange.http)
    before, until = len(market.truth()["orders"]), time.monotonic() + PATIENCE_S
    while len(market.truth()["orders"]) < before + 6 and time.monotonic() < until:
        time.sleep(0.1)  # it trades again: what was in doubt has been settled
    os.kill(pid, signal.SIGTERM)
    code = nursery.wait(pid)
    if code:
        return [f"the last trader ended with {code}: {_said(journal)}"]
    if len(market.truth()["orders"]) < before + 6:
        return ["the last trader did not trade again"]
    return compare(journal, market.truth())


def compare(journal: Path, truth: dict[str, Any]) -> list[str]:
    """Say what differs between the journal, run again, and what the exchange knows."""
    found = list(retrace(journal).differences)
    with StoreReader(journal) as reader:
        floor = stand(reader, seats_of(read_manifest(reader)), from_start=True)
        walk(reader, floor)
        reports = reader.rows(Stream.REPORT)
    oms = floor.oms
    theirs = sorted(_executions(truth))
    booked = [int(r["exec"]) for r in oms.table.executions.rows[: int(oms.table.executions.used[0])]]
    if sorted(booked) != theirs:
        lost, more = sorted(set(theirs) - set(booked)), sorted(set(booked) - set(theirs))
        found.append(f"executions: {len(theirs)} there, {len(booked)} here; lost {lost[:5]}, not there {more[:5]}")
    held = float(oms.portfolio.books.positions["qty"].sum())
    there = _held(truth)
    if abs(held - there) > 1e-9:
        found.append(f"holds {there} there and {held} here")
    if still := [o["clientOrderId"] for o in truth["orders"] if o["status"] in ("NEW", "PARTIALLY_FILLED")]:
        found.append(f"orders still at work there: {still[:5]}")
    if still := [o["client_id"] for o in orders(oms, working=True)]:
        found.append(f"orders still at work here: {still[:5]}")
    known = {o["client_id"] for o in orders(oms)}
    if unknown := [o["clientOrderId"] for o in truth["orders"] if o["clientOrderId"] not in known]:
        found.append(f"orders there that the order management does not know: {unknown[:5]}")
    if not len(reports[reports["kind"] == Kind.FILL]):
        found.append("nothing was executed: the test shows nothing")
    return found


def _executions(truth: dict[str, Any]) -> list[int]:
    return [exec_number(str(fill["id"] if "id" in fill else fill["tradeId"])) for fill in truth["fills"]]


def _held(truth: dict[str, Any]) -> float:
    total = 0.0
    for fill in truth["fills"]:
        qty = float(fill.get("qty", fill.get("quantity", 0)))
        total += qty if fill.get("isBuyer", fill.get("side") == "BUY") else -qty
        if fill.get("commissionAsset") == "BTC":
            total -= float(fill["commission"])
    return total

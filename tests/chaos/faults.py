"""Twenty scripts of faults at the loopback exchange, through real cryptofeed, real ccxt and the trade loop.

`python -m tests.chaos faults --seed S` plays all of them, each against an exchange of its own: a trader that always has
orders at work, and faults while it starts, while it trades, or while it comes back from a lost connection. Then the
faults are taken away. The trader has to go on by itself; in the end its books, its journal run again and the exchange
must say the same of every execution, holding, order and of money.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from quantai.core.errors import QuantaiError
from quantai.core.rows import Kind, Status
from quantai.execution.agree import differing_money, differing_positions
from quantai.execution.loop import Loop
from quantai.execution.plan import Plan, paper_limits
from quantai.execution.trade import Trading
from quantai.journal import StoreReader, Stream
from quantai.venues.loopback import KEY, SECRET
from tests.chaos.live import Churn, Market, compare

PATIENCE_S = 600.0  # the first to trade waits for the compiler, on a slow machine for minutes
WINDOW_S = 4.0
"""How long faults last."""

MOST_RECONNECTS = 12
"""Connections opened by one trader in one script, at most, for each of its sockets."""

ATTEMPTS = 20
"""How often a trader that could not start is started again, as a supervisor of processes would."""

When = Literal["start", "open", "reconnect"]
CUT = "disconnect:stream=*,code=0,count=3"


@dataclass(frozen=True)
class Script:
    """Faults at one venue: before the trader starts, while orders are open, or after every connection was cut."""

    name: str
    venue: str
    when: When
    faults: tuple[str, ...]
    cuts: bool = False  # the stream of orders is lost for certain: an alarm must be raised


SPOT, FUTURES = "BINANCE", "BINANCE_FUTURES"
SCRIPTS = {
    s.name: s
    for s in (
        Script("disconnect", SPOT, "open", ("disconnect:stream=user,count=2,every=7", CUT), cuts=True),
        Script("silence", FUTURES, "open", ("silence:stream=user,count=1", "silence:count=2,after=20"), cuts=True),
        Script("slow", SPOT, "open", ("slow:stream=user,ms=700,count=30", "slow:path=*/order,ms=1500,count=4")),
        Script("duplicate", FUTURES, "open", ("duplicate:p=0.6",)),
        Script("reorder", SPOT, "open", ("reorder:p=0.4",)),
        Script("drop", FUTURES, "open", ("drop:p=0.3",)),
        Script("garbage", SPOT, "open", ("garbage:p=0.3",)),
        Script("http-403", FUTURES, "open", ("http:status=403,path=*/order,count=6",)),
        Script("http-503", SPOT, "open", ("http:status=503,path=*,count=15",)),
        Script("http-429", SPOT, "open", ("http:status=429,path=*/order,count=4",)),
        Script("timeout", FUTURES, "open", ("timeout:path=*/order,count=3",)),
        Script("restart", SPOT, "open", ("restart:s=2",), cuts=True),
        Script("start-http", SPOT, "start",
               ("http:status=503,path=*,count=4", "http:status=429,path=*,after=9,count=2")),
        Script("start-disconnect-slow", FUTURES, "start", ("disconnect:count=6", "slow:path=*,ms=200,count=30")),
        Script("start-garbage-drop", SPOT, "start", ("garbage:p=0.4", "drop:p=0.4")),
        Script("start-restart-unknown", FUTURES, "start", ("restart:ms=2500,s=1", "unknown:path=*/order,count=3")),
        Script("reconnect-timeout", SPOT, "reconnect", ("timeout:path=*/order,count=2",), cuts=True),
        Script("reconnect-restart-drop", FUTURES, "reconnect", ("restart:ms=800,s=1.5", "drop:p=0.3"), cuts=True),
        Script("reconnect-silence-503", SPOT, "reconnect",
               ("silence:count=2", "http:status=503,path=*,count=8"), cuts=True),
        Script("reorder-duplicate-unknown", FUTURES, "reconnect",
               ("reorder:p=0.3", "duplicate:p=0.5", "unknown:path=*/order,count=3"), cuts=True),
    )
}  # fmt: skip
"""Every script, by name: each fault alone, then in pairs and more."""


def run(n: int, seed: int) -> dict[str, Any]:
    """Play every script once (the first `n` of them) and say what was wrong."""
    names, found, took = list(SCRIPTS)[:n], list[str](), dict[str, float]()
    for name in names:
        begun = time.monotonic()
        found += [f"{name}: {what}" for what in play(SCRIPTS[name], seed)]
        took[name] = round(time.monotonic() - begun, 1)
    return {"scripts": len(names), "failures": len(found), "found": found, "seconds": took}


def play(script: Script, seed: int) -> list[str]:
    """Play one script and return what was wrong at its end, in words."""
    os.environ[f"QUANTAI_{script.venue}_KEY"], os.environ[f"QUANTAI_{script.venue}_SECRET"] = KEY, SECRET
    market = Market(seed)
    try:
        with tempfile.TemporaryDirectory() as folder:
            return asyncio.run(_Play(script, seed, market, Path(folder) / "run.journal").run())
    finally:
        market.close()


class _Play:
    def __init__(self, script: Script, seed: int, market: Market, journal: Path) -> None:
        self._script, self._seed, self._market, self._journal = script, seed, market, journal
        self._symbol = "BTC-USDT" if script.venue == SPOT else "BTC-USDT-PERP"
        self._found: list[str] = []

    async def run(self) -> list[str]:
        """Start, break, heal, look."""
        if self._script.when == "start":
            await self._break(self._script.faults)
        trading, loop = await self._started()
        trader = asyncio.create_task(trading.run(loop))
        try:
            await self._course(trader, loop)
            loop.end()
            await asyncio.wait_for(trader, PATIENCE_S)
            outcome = trading.outcome(loop)
        except (TimeoutError, QuantaiError) as error:
            trader.cancel()
            await asyncio.gather(trader, return_exceptions=True)
            return [*self._found, f"the trader did not go on: {error!r}; alarms {loop.counts.alarms}"]
        finally:
            await trading.close()
        if outcome.alarms or outcome.at_work:
            self._found.append(f"left at the end: alarms {outcome.alarms}, orders {outcome.at_work}")
        truth = self._market.truth()
        return [*self._found, *compare(self._journal, truth), *self._money(loop, truth), *self._bounds(trading)]

    async def _course(self, trader: "asyncio.Task[None]", loop: Loop) -> None:
        """Let it trade, break what is to break, and wait until it trades again, every alarm cleared."""
        if self._script.when != "start":
            await self._trades_on(trader, loop, 8)
            await self._break((CUT, *self._script.faults) if self._script.when == "reconnect" else self._script.faults)
        await asyncio.sleep(WINDOW_S)
        if self._script.cuts:  # a silent stream takes its time to be noticed
            await _until(lambda: trader.done() or loop.counts.alarms.raised.total() > 0)
        self._market.heal()
        await self._trades_on(trader, loop, 12)

    async def _started(self) -> tuple[Trading, Loop]:
        last = ""
        for attempt in range(ATTEMPTS):
            trading = Trading(self._plan())
            try:
                return trading, await trading.open()
            except QuantaiError as error:
                if "\n" in str(error):
                    self._found.append(f"an error of several lines: {error}")
                if self._market.truth()["orders"]:
                    self._found.append(f"could not start, and sent orders: {error}")
                last = str(error)
            await asyncio.sleep(0.2 * (attempt + 1))
        raise AssertionError(f"{self._script.name}: did not start in {ATTEMPTS} attempts: {last}")

    def _plan(self) -> Plan:
        return Plan(
            strategies=[(Churn(), "tests.chaos.live:Churn")], venues={self._script.venue: [self._symbol]}, mode="live",
            journal=self._journal, limits=paper_limits(), understood=True, endpoint=self._market.exchange.http,
            patience_s=0.5, snapshot_s=2.0, reconcile_s=2.0, stale_s=2.0, at_end="flatten",
        )  # fmt: skip

    async def _break(self, faults: tuple[str, ...]) -> None:
        for text in faults:
            name, _, rest = text.partition(":")
            self._market.fault(f"{name}:{rest},seed={self._seed}")

    async def _trades_on(self, trader: "asyncio.Task[None]", loop: Loop, orders: int) -> None:
        """Wait until it is reconciled, has no alarm, and the exchange has taken some more orders."""
        before = len(self._market.truth()["orders"])
        await _until(
            lambda: (
                trader.done()
                or (
                    loop.reconciled
                    and not loop.counts.alarms
                    and len(self._market.truth()["orders"]) >= before + orders
                )
            )
        )
        if trader.done():
            await trader
            raise QuantaiError("it ended by itself")

    def _money(self, loop: Loop, truth: dict[str, Any]) -> list[str]:
        account = truth["accounts"][KEY]
        if self._script.venue == SPOT:
            there = {a: Decimal(b["free"]) + Decimal(b["locked"]) for a, b in account["spot"].items()}
            held: dict[str, Decimal] = {}
        else:
            there = {a: Decimal(x) for a, x in account["futures"].items()}
            held = {self._symbol: sum((Decimal(p["quantity"]) for p in account["positions"].values()), Decimal(0))}
        return differing_money(loop.oms, there) + differing_positions(loop.oms, self._script.venue, held)

    def _bounds(self, trading: Trading) -> list[str]:
        with StoreReader(self._journal) as reader:
            rows = reader.rows(Stream.EVENT, kinds=[Kind.STATUS])
        opened = int(((rows["aux"] == Status.CONNECTED) | (rows["aux"] == Status.RESUMED)).sum())
        losses = sum(getattr(venue, "losses", 0) for venue in trading.venues.values())
        if opened > 3 * MOST_RECONNECTS or losses > MOST_RECONNECTS:
            return [f"{opened} connections of the feed, {losses} losses of the stream of orders: without bounds"]
        return []


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 -- another thread makes it true
            await asyncio.sleep(0.1)

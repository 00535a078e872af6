"""How a live run ends: by SIGTERM, at a venue that answers and at one that does not, and by kill -9."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import quantai as qa
from quantai.execution.plan import paper_limits
from quantai.execution.retrace import retrace
from quantai.venues.loopback import KEY, SECRET
from tests.chaos.live import Market, Nursery

PATIENCE_S = 600.0  # the first to trade waits for the compiler, on a slow machine for minutes
CHURN = ("tests.chaos.live:Churn", {})
FAR = ("tests.integration.test_trade_end:Far", {})


class Far(qa.Strategy):
    """Adds an order that nothing reaches every second, and never touches it again."""

    beats: int = qa.state(0)

    def on_start(self, ctx: Any) -> None:
        ctx.every(200 * qa.MS)

    def on_timer(self, ctx: Any) -> None:
        book = ctx.book(0)
        if book.valid:
            self.beats += 1
            if self.beats % 5 == 1:
                ctx.buy(0.002, limit=book.bid * 0.97)


def command(words: list[str], keys: dict[str, str], said: Path) -> int:
    """Run a command line of quantai, its output in files."""
    from quantai.cli import main

    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(said.with_suffix(f".{name}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.update(keys)
    return main(words)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    running = Nursery()
    yield running
    running.close()


@pytest.fixture
def market() -> Iterator[Market]:
    running = Market(seed=8)
    yield running
    running.close()


class Trader:
    """`quantai trade`, live, in a process of its own."""

    def __init__(
        self, nursery: Nursery, market: Market, folder: Path, strategy: tuple[str, dict[str, Any]], *options: str
    ) -> None:
        self.nursery, self.market, self.journal = nursery, market, folder / "run.journal"
        limits = folder / "limits.toml"
        limits.write_text(paper_limits().text())
        self._began = self.orders()
        venue = "BINANCE_FUTURES" if "--futures" in options else "BINANCE"
        symbol = "BTC-USDT-PERP" if "--futures" in options else "BTC-USDT"
        words = [
            "trade", strategy[0], "--params", json.dumps(strategy[1]), "--venue", venue, "--symbols", symbol,
            "--mode", "live", "--i-understand", "--limits", str(limits), "--journal", str(self.journal),
            "--endpoint", market.exchange.http, "--json", *(o for o in options if o != "--futures"),
        ]  # fmt: skip
        keys = {f"QUANTAI_{venue}_KEY": KEY, f"QUANTAI_{venue}_SECRET": SECRET}
        self._said = folder / "run"
        self.pid = nursery.start(command, words, keys, self._said)

    def orders(self, *statuses: str) -> int:
        return sum(not statuses or o["status"] in statuses for o in self.market.truth()["orders"])

    def works(self) -> bool:
        """Say whether it has traded for a while and has an order in the book."""
        assert self.nursery.poll(self.pid) is None, self.said("err")
        return self.orders() >= self._began + 2 and self.orders("NEW", "PARTIALLY_FILLED") > 0

    def said(self, where: str) -> str:
        return self._said.with_suffix(f".{where}").read_text()

    def end(self, number: int = signal.SIGTERM) -> tuple[int, dict[str, Any], str]:
        os.kill(self.pid, number)
        code, out = self.nursery.wait(self.pid), self.said("out")
        return code, json.loads(out) if out.strip() else {}, self.said("err")

    def open(self) -> int:
        return self.orders("NEW", "PARTIALLY_FILLED")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_cancel_leaves_no_order(nursery: Nursery, market: Market, tmp_path: Path) -> None:
    trader = Trader(nursery, market, tmp_path, CHURN)
    until(trader.works)
    code, said, err = trader.end()
    assert (code, said["at_work"], trader.open()) == (0, [], 0), err
    assert retrace(trader.journal).same


def test_flatten_leaves_no_order_and_no_position(nursery: Nursery, market: Market, tmp_path: Path) -> None:
    trader = Trader(nursery, market, tmp_path, CHURN, "--futures", "--at-end", "flatten")
    until(lambda: trader.works() and bool(market.truth()["accounts"][KEY]["positions"]))
    code, said, err = trader.end()
    assert (code, said["at_work"], trader.open()) == (0, [], 0), err
    assert not [p for p in market.truth()["accounts"][KEY]["positions"].values() if float(p["quantity"])]
    assert said["positions"] == {"BTC-USDT-PERP": 0.0}


def test_keep_leaves_what_works_to_the_next_start(nursery: Nursery, market: Market, tmp_path: Path) -> None:
    trader = Trader(nursery, market, tmp_path, FAR, "--at-end", "keep")
    until(trader.works)
    code, said, err = trader.end()
    assert (code, len(said["at_work"])) == (0, trader.open()), err
    assert said["at_work"]
    again = Trader(nursery, market, tmp_path, FAR)
    until(again.works)  # it was paused by the end of its first life, and trades
    code, said, err = again.end()
    assert (code, said["fresh"], said["at_work"], again.open()) == (0, False, [], 0), err
    assert retrace(trader.journal).same


def test_a_venue_that_does_not_answer_is_named(nursery: Nursery, market: Market, tmp_path: Path) -> None:
    trader = Trader(nursery, market, tmp_path, FAR)
    until(trader.works)
    market.fault("http:status=503,path=/api*")
    code, said, err = trader.end()
    assert (code, bool(said["at_work"])) == (1, True), err
    assert err.strip().splitlines()[-1].startswith("quantai: error: the venue has not said that these orders ended")
    market.heal()
    again = Trader(nursery, market, tmp_path, FAR)
    until(again.works)
    code, said, err = again.end()
    assert (code, said["at_work"], again.open()) == (0, [], 0), err


def test_a_venue_that_does_not_answer_cancels_by_itself(nursery: Nursery, market: Market, tmp_path: Path) -> None:
    trader = Trader(nursery, market, tmp_path, FAR, "--futures", "--dead-man", "4")
    until(trader.works)
    market.fault("http:status=503,path=/fapi*")
    code, said, err = trader.end()
    until(lambda: trader.open() == 0)
    assert code == bool(said["at_work"]), err


def test_a_killed_trader_is_cleaned_up_after_by_the_venue(nursery: Nursery, market: Market, tmp_path: Path) -> None:
    trader = Trader(nursery, market, tmp_path, FAR, "--futures", "--dead-man", "3")
    until(trader.works)
    assert trader.end(signal.SIGKILL)[0] == -signal.SIGKILL
    until(lambda: trader.open() == 0)

"""Funding of perpetuals: charged on paper when it falls due, taken over from an exchange, booked once."""

import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantai as qa
from quantai.core.rows import EVENT, HOUR, LAST, Kind, Rows, zeros
from quantai.execution.agree import differing_money
from quantai.execution.loop import Loop
from quantai.execution.plan import paper_limits
from quantai.execution.retrace import retrace
from quantai.journal import StoreReader, Stream
from quantai.portfolio.adjustments import Adjust, parties
from quantai.venues.loopback import KEY, SECRET
from tests.chaos.live import Market
from tests.integration.test_trade_router import BUY, FREE, Words, quote, run, trade
from tests.integration.trading import START

PATIENCE_S = 600.0  # the first to trade waits for the compiler, on a slow machine for minutes


class Once(qa.Strategy):
    """Buys until it holds something."""

    trades: int = qa.state(0)

    def on_trade(self, ctx: Any, trade: Any) -> None:
        self.trades += 1
        if ctx.position(0) == 0.0 and self.trades % 8 == 0:
            ctx.buy(0.1)


def funding(journal: Path) -> Rows:
    with StoreReader(journal) as reader:
        rows = reader.rows(Stream.EVENT, kinds=[Kind.ADJUST])
    return rows[rows["px_ticks"] == Adjust.FUNDING]


def announced(rate: float, due: int) -> Rows:
    row = zeros(1, EVENT)
    row["kind"], row["px"], row["aux"], row["flags"] = Kind.FUNDING, rate, due, LAST
    return row


def test_paper_charges_the_last_rate_when_it_falls_due(tmp_path: Path) -> None:
    async def steps(loop: Loop, let: Any) -> None:
        await let(quote(0, 99.9, 100.0), quote(1, 99.5, 101.0), announced(0.5, START + 60 * 10**9), trade(BUY))
        await let(announced(0.01, START + 60 * 10**9))
        await let(announced(0.02, START + HOUR))
        assert not len(loop.oms.portfolio.books.positions["funding"].nonzero()[0]), "nothing is due yet"
        loop._clock.now = START + 61 * 10**9  # type: ignore[attr-defined]
        await let(trade(0.5))
        money = [await venue.balances() for venue in loop.venues.values()]
        total = sum((said.get("USDT", Decimal(0)) for said in money), Decimal(0))
        assert differing_money(loop.oms, {"USDT": total}) == []

    loop = run(tmp_path / "run.journal", Words(), "best_price", steps, FREE)
    (row,) = funding(tmp_path / "run.journal")
    assert (int(row["instrument"]), parties(row["aux"])[0]) == (0, 0)
    assert int(row["ts_exch"]) == START + 60 * 10**9, "the instant that was announced"
    assert float(row["qty"]) == pytest.approx(-1.0 * 100.0 * 0.01), "a long pays the rate announced last for it"
    assert float(loop.oms.portfolio.books.positions["funding"][0, 0]) == pytest.approx(-1.0)
    assert retrace(tmp_path / "run.journal").same


@pytest.fixture(scope="module")
def market() -> Iterator[Market]:
    running = Market(seed=12)
    yield running
    running.close()


def pay(market: Market) -> None:
    async def fund() -> None:
        market.exchange.exchange.fund("BTCUSDT", Decimal("0.01"))

    market.call(fund())


def test_funding_of_an_exchange_is_booked_once_also_after_a_restart(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANTAI_BINANCE_FUTURES_KEY", KEY)
    monkeypatch.setenv("QUANTAI_BINANCE_FUTURES_SECRET", SECRET)
    options: dict[str, Any] = {
        "venue": "BINANCE_FUTURES", "symbols": "BTC-USDT-PERP", "mode": "live", "i_understand": True, "at_end": "keep",
        "limits": paper_limits(), "endpoint": market.exchange.http, "journal": tmp_path / "run.journal",
    }  # fmt: skip

    def wait(started: Any, wanted: Any) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not wanted(started.status()):
            assert time.monotonic() < deadline, started.status()
            time.sleep(0.05)

    with qa.trade(Once(), **options) as started:
        wait(started, lambda s: s.positions["BTC-USDT-PERP"] > 0)
    pay(market)  # while nobody listens
    with qa.trade(Once(), **options) as started:
        wait(started, lambda s: s.state == "trading")
    assert started.result().alarms == []
    rows = funding(tmp_path / "run.journal")
    assert len(np.unique(rows["ts_exch"])) == 1, "what the run missed is asked for"
    with qa.trade(Once(), **{**options, "at_end": "flatten"}) as started:
        wait(started, lambda s: s.state == "trading")
    again = funding(tmp_path / "run.journal")
    assert set(again["ts_exch"]) == set(rows["ts_exch"])
    assert float(rows["qty"][0]) < 0, "a long has paid"
    proof = retrace(tmp_path / "run.journal", [Once])
    assert proof.same, proof.differences

    said = started.status()
    assert said.alarms == []
    assert started.result().unclosed == []

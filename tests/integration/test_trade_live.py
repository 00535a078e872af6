"""Trading at the loopback exchange through real cryptofeed and real ccxt, in processes that are killed."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from quantai.core.errors import QuantaiError
from quantai.execution.alarms import Alarm
from quantai.execution.controls import Control
from quantai.execution.loop import Loop
from quantai.execution.plan import Plan, paper_limits
from quantai.execution.trade import Traded, Trading, trade
from quantai.strategy.examples import Quote
from quantai.venues.loopback import KEY, SECRET, LoopbackExchange
from quantai.venues.loopback.listings import Product
from quantai.venues.loopback.spot_shapes import execution_event
from tests.chaos import live
from tests.integration.refusing import Asks


def test_a_killed_trader_goes_on_and_agrees_with_the_exchange() -> None:
    found = live.run(2, seed=11)
    assert found["failures"] == 0, found["found"]
    assert found["kills"] == 2
    assert found["fills"] > 0


def test_what_is_wrong_is_one_line_and_nothing_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTAI_BINANCE_KEY", KEY)
    monkeypatch.setenv("QUANTAI_BINANCE_SECRET", "not the secret")

    async def attempt(symbol: str) -> tuple[str, int]:
        async with LoopbackExchange(symbols=["BTC-USDT"], seed=3) as exchange:
            plan = Plan(
                strategies=[(Quote(), "quantai.strategy.examples:Quote")],
                venues={"BINANCE": [symbol]},
                mode="live",
                journal=tmp_path / f"{symbol}.journal",
                limits=paper_limits(),
                understood=True,
                endpoint=exchange.http,
                seconds=5,
            )
            with pytest.raises(QuantaiError) as error:
                await trade(plan)
            return str(error.value), len(exchange.truth()["orders"])

    words, orders = asyncio.run(attempt("BTC-USDT"))
    assert ("key" in words, "\n" in words, orders) == (True, False, 0), words
    assert "not the secret" not in words
    words, orders = asyncio.run(attempt("BTC-USDX"))
    assert ("BTC-USDX" in words, "\n" in words, orders) == (True, False, 0), words
    assert not list(tmp_path.glob("*.journal")), "nothing was begun"


async def _say_canceled(exchange: LoopbackExchange) -> str:
    """Tell the owner of an order that it is canceled, which it is not, and have half of it traded."""
    there = exchange.exchange
    order = next(order for order in there.orders.values() if order.is_open)
    event = execution_event(order, "CANCELED", None, there.now_ms(), next(there.report_ids), "")
    there.hub.push(Product.SPOT, KEY, event | {"X": "CANCELED", "w": False})
    half = order.listing.qty(order.lots // 2)
    while not order.filled:
        exchange.act("spot", "BTCUSDT", "take", "SELL", half)
    return order.client_id


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for venue in ("BINANCE", "BINANCE_FUTURES"):
        monkeypatch.setenv(f"QUANTAI_{venue}_KEY", KEY)
        monkeypatch.setenv(f"QUANTAI_{venue}_SECRET", SECRET)


async def _run(plan: Plan, course: Callable[[Loop, Callable[..., Any]], Any]) -> Traded:
    """Run a plan while `course(loop, until)` says what happens, and end it then."""
    trading = Trading(plan)
    loop = await trading.open()
    trader = asyncio.create_task(trading.run(loop))

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(live.PATIENCE_S):
            while not condition():
                assert not trader.done(), trader
                await asyncio.sleep(0.05)

    try:
        await course(loop, until)
        loop.end()
        await asyncio.wait_for(trader, live.PATIENCE_S)
        return trading.outcome(loop)
    finally:
        trader.cancel()
        await asyncio.gather(trader, return_exceptions=True)
        await trading.close()


def test_an_order_that_is_canceled_here_and_works_there_is_canceled_there_and_what_it_traded_is_booked(
    tmp_path: Path, keys: None
) -> None:
    market, numbers = live.Market(seed=6), list[str]()
    plan = Plan(
        strategies=[(Asks(away=0.0005), "tests.integration.refusing:Asks")], venues={"BINANCE": ["BTC-USDT"]},
        mode="live", journal=tmp_path / "run.journal", limits=paper_limits(), understood=True,
        endpoint=market.exchange.http, patience_s=0.5, reconcile_s=1.0,
    )  # fmt: skip

    async def course(loop: Loop, until: Callable[..., Any]) -> None:
        await until(lambda: any(o["status"] == "NEW" for o in market.truth()["orders"]))
        numbers.append(market.call(_say_canceled(market.exchange)))
        await until(lambda: loop.counts.alarms.raised[Alarm.ORDERS_DIFFER] > 0)
        await until(lambda: loop.reconciled and not loop.counts.alarms)

    try:
        asyncio.run(_run(plan, course))
        truth = market.truth()
    finally:
        market.close()
    assert [o["status"] for o in truth["orders"] if o["clientOrderId"] in numbers] == ["CANCELED"]
    assert not live.compare(tmp_path / "run.journal", truth)


@pytest.mark.parametrize("takes", [True, False])
def test_what_is_worth_less_than_the_smallest_order_is_closed_where_the_exchange_takes_it(
    tmp_path: Path, keys: None, *, takes: bool
) -> None:
    async def trades() -> tuple[Traded, list[dict[str, Any]]]:
        async with LoopbackExchange(symbols=["ETH-USDT"], seed=3) as exchange:
            plan = Plan(
                strategies=[(Asks(qty=0.003), "tests.integration.refusing:Asks")],
                venues={"BINANCE_FUTURES": ["ETH-USDT-PERP"]}, mode="live", journal=tmp_path / "run.journal",
                limits=paper_limits(), understood=True, endpoint=exchange.http, patience_s=5.0, at_end="flatten",
            )  # fmt: skip

            async def course(loop: Loop, until: Callable[..., Any]) -> None:
                await until(lambda: loop.floor.held(0) > 0)
                await loop.control(Control.PAUSE)
                await loop.control(Control.LIMITS, text=replace(paper_limits(), max_order_notional=Decimal(4)).text())
                if not takes:
                    await exchange.fault("reject:code=-4164,path=*/order,method=POST")

            done = await _run(plan, course)
            return done, exchange.truth()["orders"]

    done, orders = asyncio.run(trades())
    closing = [(o["side"], o["origQty"]) for o in orders if o["reduceOnly"]]
    lots = sum(round(float(o["executedQty"]) * 1000) for o in orders if not o["reduceOnly"])
    assert (done.alarms, done.at_work) == ([], [])
    assert closing == [("SELL", "0.001")] * lots * takes, "one lot is worth 3, and the exchange takes 5"
    assert round(done.positions["ETH-USDT-PERP"] * 1000) == lots * (not takes)

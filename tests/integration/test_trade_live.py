"""Trading at the loopback exchange through real cryptofeed and real ccxt, in processes that are killed."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from quantai.core.errors import QuantaiError
from quantai.execution.alarms import Alarm
from quantai.execution.plan import Plan, paper_limits
from quantai.execution.trade import Trading, trade
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


def test_an_order_that_is_canceled_here_and_works_there_is_canceled_there_and_what_it_traded_is_booked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANTAI_BINANCE_KEY", KEY)
    monkeypatch.setenv("QUANTAI_BINANCE_SECRET", SECRET)
    market = live.Market(seed=6)
    plan = Plan(
        strategies=[(Asks(away=0.0005), "tests.integration.refusing:Asks")], venues={"BINANCE": ["BTC-USDT"]},
        mode="live", journal=tmp_path / "run.journal", limits=paper_limits(), understood=True,
        endpoint=market.exchange.http, patience_s=0.5, reconcile_s=1.0,
    )  # fmt: skip

    async def course() -> str:
        trading = Trading(plan)
        loop = await trading.open()
        trader = asyncio.create_task(trading.run(loop))

        async def until(condition: Callable[[], bool]) -> None:
            async with asyncio.timeout(live.PATIENCE_S):
                while not condition():
                    assert not trader.done(), trader
                    await asyncio.sleep(0.05)

        try:
            await until(lambda: any(o["status"] == "NEW" for o in market.truth()["orders"]))
            number = market.call(_say_canceled(market.exchange))
            await until(lambda: loop.counts.alarms.raised[Alarm.ORDERS_DIFFER] > 0)
            await until(lambda: loop.reconciled and not loop.counts.alarms)
            loop.end()
            await asyncio.wait_for(trader, live.PATIENCE_S)
        finally:
            trader.cancel()
            await asyncio.gather(trader, return_exceptions=True)
            await trading.close()
        return number

    try:
        number = asyncio.run(course())
        truth = market.truth()
    finally:
        market.close()
    assert [o["status"] for o in truth["orders"] if o["clientOrderId"] == number] == ["CANCELED"]
    assert not live.compare(tmp_path / "run.journal", truth)

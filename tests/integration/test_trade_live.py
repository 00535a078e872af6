"""Trading at the loopback exchange through real cryptofeed and real ccxt, in processes that are killed."""

import asyncio
from pathlib import Path

import pytest

from quantai.core.errors import QuantaiError
from quantai.execution.plan import Plan, paper_limits
from quantai.execution.trade import trade
from quantai.strategy.examples import Quote
from quantai.venues.loopback import KEY, LoopbackExchange
from tests.chaos import live


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

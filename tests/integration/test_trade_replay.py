"""`--mode replay`: a lake's rows through the trade loop and a paper venue, on the clock of the rows."""

import asyncio
from pathlib import Path

import pytest

import quantai as qa
from quantai.core.errors import InputError
from quantai.core.rows import Kind
from quantai.data.lake import Lake
from quantai.execution.plan import Plan
from quantai.execution.retrace import retrace
from quantai.execution.trade import Traded, trade
from tests.integration.trading import BTC, Maker, Trend, market


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lake")
    made, rows = Lake(root), market(20)
    trades, quotes = rows[rows["kind"] == Kind.TRADE], rows[rows["kind"] == Kind.QUOTE]
    bids, asks = quotes[::2], quotes[1::2]
    with made.writer("test") as writer:
        names = ("ts_exch", "ts_recv", "px", "qty", "side")
        writer.append("trades", "X", "BTC-USDT", {name: trades[name] for name in names})
        best = {"bid": bids["px"], "bid_qty": bids["qty"], "ask": asks["px"], "ask_qty": asks["qty"]}
        writer.append("quotes", "X", "BTC-USDT", {n: bids[n] for n in ("ts_exch", "ts_recv")} | best)
        writer.commit({})
    made.instruments.update([BTC])
    return root


def replayed(lake: Path, journal: Path, strategy: qa.Strategy, interval: str = "") -> Traded:
    plan = Plan(
        strategies=[(strategy, f"tests.integration.trading:{type(strategy).__name__}")],
        venues={"X": ["BTC-USDT"]},
        mode="replay",
        journal=journal,
        interval=interval,
        past=(lake, None, None),
        at_end="flatten",
    )
    return asyncio.run(trade(plan))


def test_a_strategy_on_ticks_is_replayed_and_ends_flat(lake: Path, tmp_path: Path) -> None:
    done = replayed(lake, tmp_path / "ticks.journal", Maker())
    assert done.fills > 10
    assert done.at_work == []
    assert done.positions == {"BTC-USDT": pytest.approx(0.0, abs=1e-9)}
    proof = retrace(done.journal)
    assert (proof.same, proof.intents) == (True, done.intents), proof.differences
    with pytest.raises(InputError, match="begins anew"):
        replayed(lake, tmp_path / "ticks.journal", Maker())


def test_a_strategy_on_bars_gets_bars_of_the_trades(lake: Path, tmp_path: Path) -> None:
    done = replayed(lake, tmp_path / "bars.journal", Trend(), "2s")
    assert done.intents > 1
    assert retrace(done.journal).same


def test_the_same_rows_give_the_same_run(lake: Path, tmp_path: Path) -> None:
    one, two = (replayed(lake, tmp_path / f"{n}.journal", Maker()) for n in (1, 2))
    assert (one.intents, one.fills, one.equity) == (two.intents, two.fills, two.equity)

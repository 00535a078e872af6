"""`--mode replay`: a lake's rows through the trade loop and a paper venue, on the clock of the rows."""

import asyncio
import json
from pathlib import Path

import pytest

import quantai as qa
from quantai.cli import main
from quantai.core.errors import InputError
from quantai.core.instruments import Instrument
from quantai.core.rows import REDUCE_ONLY, Kind
from quantai.data.lake import Lake
from quantai.execution.limits import Limits
from quantai.execution.plan import Plan, paper_limits
from quantai.execution.retrace import retrace
from quantai.execution.trade import Traded, trade
from quantai.journal import StoreReader, Stream
from tests.integration.trading import BTC, Lean, Maker, Trend, market


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lake")
    made, rows = Lake(root), market(20)
    trades, quotes = rows[rows["kind"] == Kind.TRADE], rows[rows["kind"] == Kind.QUOTE]
    bids, asks = quotes[::2], quotes[1::2]
    with made.writer("test") as writer:
        names = ("ts_exch", "ts_recv", "px", "qty", "side")
        for venue, cheaper in (("X", 0.0), ("Y", 0.2)):
            writer.append("trades", venue, "BTC-USDT", {name: trades[name] for name in names})
            best = {"bid": bids["px"], "bid_qty": bids["qty"], "ask": asks["px"] - cheaper, "ask_qty": asks["qty"]}
            writer.append("quotes", venue, "BTC-USDT", {n: bids[n] for n in ("ts_exch", "ts_recv")} | best)
        writer.commit({})
    made.instruments.update([BTC, Instrument.parse("BTC-USDT", venue="Y", tick="0.1", lot="0.0001")])
    return root


def replayed(
    lake: Path, journal: Path, strategy: qa.Strategy, interval: str = "", limits: Limits | None = None
) -> Traded:
    plan = Plan(
        strategies=[(strategy, f"tests.integration.trading:{type(strategy).__name__}")],
        venues={"X": ["BTC-USDT"]},
        mode="replay",
        journal=journal,
        interval=interval,
        past=(lake, None, None),
        at_end="flatten",
        limits=limits,
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


def test_a_span_without_rows_is_refused_and_leaves_no_journal(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "trade",
        "tests.integration.trading:Maker",
        "--mode",
        "replay",
        "--lake",
        str(lake),
        "--symbols",
        "X:BTC-USDT",
    ]
    path = tmp_path / "empty.journal"
    assert main([*words, "--start", "1999-01-01", "--end", "1999-01-02", "--journal", str(path)]) == 1
    assert "there are no rows to replay" in capsys.readouterr().err
    assert not list(tmp_path.glob("empty.journal*"))


def test_an_end_above_the_limits_of_an_order_is_flat(lake: Path, tmp_path: Path) -> None:
    fields = {name: getattr(paper_limits(), name) for name in Limits.__dataclass_fields__}
    tight = Limits.of(fields | {"max_order_notional": "12", "duplicate_window_ms": 3000})  # an order is 0.01 of 1 000
    done = replayed(lake, tmp_path / "ticks.journal", Lean(), limits=tight)
    assert (done.positions, done.alarms) == ({"BTC-USDT": pytest.approx(0.0, abs=1e-9)}, [])
    with StoreReader(done.journal) as reader:
        asked = reader.rows(Stream.INTENT)
    closing = asked[asked["flags"] & REDUCE_ONLY != 0]
    assert (len(closing), set(closing["qty_lots"].tolist())) == (3, {10})
    proof = retrace(done.journal)
    assert (proof.same, proof.intents) == (True, done.intents), proof.differences


def test_a_strategy_on_bars_gets_bars_of_the_trades(lake: Path, tmp_path: Path) -> None:
    done = replayed(lake, tmp_path / "bars.journal", Trend(), "2s")
    assert done.intents > 1
    assert retrace(done.journal).same


def test_the_same_rows_give_the_same_run(lake: Path, tmp_path: Path) -> None:
    one, two = (replayed(lake, tmp_path / f"{n}.journal", Maker()) for n in (1, 2))
    assert (one.intents, one.fills, one.equity) == (two.intents, two.fills, two.equity)


def test_a_router_sends_where_it_is_best_and_the_journal_says_so(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "trade", "tests.integration.trading:Trend", "--interval", "2s", "--mode", "replay", "--lake", str(lake),
        "--symbols", "X:BTC-USDT,Y:BTC-USDT", "--router", "best_price", "--at-end", "flatten", "--json",
        "--journal", str(tmp_path / "routed.journal"),
    ]  # fmt: skip
    assert main(words) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["positions"] == {"BTC-USDT": pytest.approx(0.0, abs=1e-9)}
    assert retrace(tmp_path / "routed.journal").same
    with StoreReader(tmp_path / "routed.journal") as reader:
        intents, seat = reader.rows(Stream.INTENT), reader.manifests()[0]["seats"][0]
        lots = {i["lot"] for i in reader.manifests()[0]["oms"]["instruments"]}
    assert seat["route"]["listings"] == [[0, 1]]
    assert lots == {"0.001"}, "the coarser of both"
    assert len(intents) > 1
    assert set(intents["instrument"]) == {1}, "Y asks for less, and what is held there is sold there"

"""`qa.trade`: a run in the background, steered from cells, where an event loop runs and where none does."""

import asyncio
import inspect
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import quantai as qa
from quantai.cli import trade as command
from quantai.core.errors import InputError, QuantaiError, UnknownName
from quantai.core.rows import WARM_UP, Kind
from quantai.data.lake import Lake
from quantai.execution.options import make_plan
from quantai.execution.remote import RunStatus, address_file
from quantai.execution.retrace import retrace
from quantai.journal import StoreReader, Stream
from quantai.notebook.background import BackgroundRun
from tests.chaos.live import Market
from tests.integration.trading import Maker
from tests.integration.trading import market as market_rows

PATIENCE_S = 600.0  # the first to trade waits for the compiler, on a slow machine for minutes


@pytest.fixture(scope="module")
def market() -> Iterator[Market]:
    running = Market(seed=6)
    yield running
    running.close()


@pytest.fixture
def options(market: Market, tmp_path: Path) -> dict[str, Any]:
    where = {"venue": "BINANCE", "symbols": "BTC-USDT", "endpoint": market.exchange.http}
    return {**where, "journal": tmp_path / "run.journal"}


def until(run: BackgroundRun, wanted: Callable[[RunStatus], bool]) -> RunStatus:
    deadline = time.monotonic() + PATIENCE_S
    while not wanted(said := run.status()):
        assert time.monotonic() < deadline, said
        assert run.running, said
        time.sleep(0.05)
    return said


def test_a_cell_starts_steers_and_ends_a_run_where_a_loop_runs(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def cells() -> BackgroundRun:
        run = qa.trade(Maker(), **options)
        assert until(run, lambda s: s.state == "trading" and s.fills > 1).mode == "paper"
        rows = [run.pause()]
        assert run.status().state == "paused"
        rows.append(run.resume())
        rows.append(run.set(offset=3, desk=0))
        assert run.status().desks[0]["parameters"]["offset"] == 3
        with pytest.raises(InputError, match="ofset"):
            run.set(ofset=3)
        rows.append(run.reduce())
        assert run.status().state == "reducing"
        rows += [run.resume(), run.stop()]
        until(run, lambda s: not s.at_work)
        rows.append(run.flatten())
        until(run, lambda s: not s.at_work and abs(s.positions["BTC-USDT"]) < 1e-9)
        rows.append(run.kill())
        assert run.status().state == "halted"
        assert "<td" in run._repr_html_()
        assert "halted" in run._repr_html_()
        assert rows == sorted(rows), "each is a row of the journal"
        with pytest.raises(InputError, match="trades on"):
            run.result(0.0)
        await asyncio.to_thread(run.end)
        return run

    run = asyncio.run(cells())
    done = run.result()
    assert (done.at_work, run.running, run.status().state) == ([], False, "ended")
    assert done.fills == run.status().fills == run.history()["fills"].iloc[-1]
    assert run.plot().data
    assert "ended" in repr(run)
    assert not address_file(done.journal).exists()
    with pytest.raises(InputError, match="is not being traded"):
        run.pause()
    assert retrace(done.journal).same
    caplog.clear()
    with qa.trade(Maker, **options) as again:
        assert again.status().state == "halted"
    assert "goes on as it was left, halted: `quantai control " in caplog.text


def test_a_block_ends_its_run_and_the_same_call_continues_it(options: dict[str, Any]) -> None:
    with qa.trade(Maker, params={"qty": 0.02}, **options) as run:
        until(run, lambda s: s.orders > 0)
        assert run.status().desks[0]["parameters"]["qty"] == 0.02
    before = run.result()
    assert before.fresh
    with pytest.raises(ZeroDivisionError), qa.trade(Maker, params={"qty": 0.02}, **options) as run:
        _ = 1 / (until(run, lambda s: s.orders > before.orders).orders * 0)
    assert not run.running
    assert not run.result().fresh
    assert retrace(run.journal).same


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"mode": "live"}, InputError, "--i-understand"),
        ({"mode": "papper"}, UnknownName, "papper"),
        ({"venue": "", "symbols": ""}, InputError, "say what to trade"),
        ({"journal": None}, InputError, "say where the run is kept"),
        ({"symbol": "BTC-USDT"}, UnknownName, "did you mean 'symbols'"),
        ({"limits": "nowhere.toml"}, QuantaiError, "nowhere.toml"),
        ({"symbols": "BTC-USDX"}, QuantaiError, "BTC-USDX"),
        ({"endpoint": "http://127.0.0.1:9"}, QuantaiError, "127.0.0.1:9"),
        ({"params": {"qty": 1.0}}, InputError, "leave out params"),
    ],
)
def test_what_is_refused_is_refused_in_the_cell(
    options: dict[str, Any], changed: dict[str, Any], error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error) as refused:
        qa.trade(Maker(), **(options | changed))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir()), "nothing was begun"


class Eager(qa.Strategy):
    """Buys at every trade it sees."""

    seen: int = qa.state(0)

    def on_trade(self, ctx: Any, trade: Any) -> None:
        self.seen += 1
        ctx.buy(0.001)


def test_a_strategy_warms_up_on_a_lake_and_asks_for_nothing_there(options: dict[str, Any], tmp_path: Path) -> None:
    lake, rows = Lake(tmp_path / "lake"), market_rows(3)
    past = rows[rows["kind"] == Kind.TRADE]
    with lake.writer("test") as writer:
        names = ("ts_exch", "ts_recv", "px", "qty", "side")
        writer.append("trades", "BINANCE", "BTC-USDT", {name: past[name] for name in names})
        writer.commit({})
    with qa.trade(Eager(), lake=lake.root, warmup="2023-11-14..2023-11-15", **options) as run:
        until(run, lambda s: s.orders > 2)
    with StoreReader(run.journal) as reader:
        seen, intents = reader.rows(Stream.EVENT), reader.rows(Stream.INTENT)
    warm = seen[seen["flags"] & WARM_UP > 0]
    assert int((warm["kind"] == Kind.TRADE).sum()) == len(past) > 100
    assert len(intents) > 2
    assert int(intents["seq"].min()) > int(warm["seq"].max())
    assert retrace(run.journal, [Eager]).same
    with pytest.raises(InputError, match="--lake DIR"):
        qa.trade(Eager(), warmup="3d", **options)


def test_the_options_are_those_of_the_command() -> None:
    mine = set(inspect.signature(make_plan).parameters)
    theirs = set(inspect.signature(command.trade).parameters)
    others = {"log_json", "metrics_port", "metrics_address"}  # of the process, not of the run
    assert theirs - mine - others == {"context", "strategy", "plan", "json"}
    assert mine - theirs == {"strategies", "desks", "venues", "endpoints", "fees_bps"}, "the rest is in a plan file"


def test_python_that_exits_ends_its_runs(options: dict[str, Any]) -> None:
    code = f"""
import time, quantai as qa
run = qa.trade("tests.integration.trading:Maker", venue="BINANCE", symbols="BTC-USDT",
               endpoint={options["endpoint"]!r}, journal={str(options["journal"])!r})
while run.status().orders < 2:
    time.sleep(0.05)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert not address_file(options["journal"]).exists(), "it has ended as it ends"
    proof = retrace(options["journal"])
    assert proof.same, proof.differences

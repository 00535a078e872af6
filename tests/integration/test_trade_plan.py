"""`quantai trade --plan`: several venues and strategies in one run, out of a TOML file."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import quantai as qa
from quantai.cli import main
from quantai.core.errors import InputError
from quantai.core.rows import Kind
from quantai.execution.options import read_options
from quantai.execution.plan import paper_limits
from quantai.execution.remote import RunControl, RunStatus
from quantai.execution.retrace import retrace
from quantai.journal import StoreReader, Stream
from quantai.portfolio.desks import desk_of
from quantai.venues.loopback import KEY, SECRET
from tests.chaos.live import Market

PATIENCE_S = 600.0  # the first to trade waits for the compiler, on a slow machine for minutes
PLAN = """
mode = "{mode}"
journal = "run.journal"
limits = "limits.toml"
endpoint = "{endpoint}"
seconds = 120
at_end = "flatten"

[venue.BINANCE]
symbols = ["BTC-USDT"]
fee_bps = 10

[venue.BINANCE_FUTURES]
symbols = ["BTC-USDT-PERP"]
fee_bps = 5

[[strategy]]
class = "tests.chaos.live:Churn"
symbols = ["BINANCE:BTC-USDT"]

[[strategy]]
class = "tests.integration.trading:Maker"
params = {{ qty = 0.02 }}
symbols = ["BTC-USDT-PERP"]
"""


@pytest.fixture(scope="module")
def market() -> Iterator[Market]:
    running = Market(seed=9)
    yield running
    running.close()


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for venue in ("BINANCE", "BINANCE_FUTURES"):
        monkeypatch.setenv(f"QUANTAI_{venue}_KEY", KEY)
        monkeypatch.setenv(f"QUANTAI_{venue}_SECRET", SECRET)


def written(folder: Path, market: Market, mode: str) -> Path:
    (folder / "limits.toml").write_text(paper_limits().text())
    plan = folder / "run.toml"
    plan.write_text(PLAN.format(mode=mode, endpoint=market.exchange.http))
    return plan


def until(run: Thread, journal: Path, wanted: Callable[[RunStatus], bool]) -> None:
    """Return once a run says so; it says nothing before it listens."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and run.is_alive():
        with suppress(InputError):
            if wanted(asyncio.run(RunControl(journal).status())):
                return
        time.sleep(0.05)
    raise AssertionError("it has ended, or never got there")


@pytest.mark.parametrize("mode", ["paper", "live"])
def test_two_strategies_trade_two_venues_in_one_run(
    market: Market, keys: None, mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["trade", "--plan", str(written(tmp_path, market, mode)), "--json"]
    ended: list[int] = []
    run = Thread(target=lambda: ended.append(main([*words, "--i-understand"])), daemon=True)
    run.start()
    until(run, tmp_path / "run.journal", lambda s: all(s.positions.values()))
    asyncio.run(RunControl(tmp_path / "run.journal").end())
    run.join(PATIENCE_S)
    assert ended == [0], capsys.readouterr().err
    done: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (done["mode"], done["at_work"], done["alarms"]) == (mode, [], [])
    assert set(done["positions"]) == {"BTC-USDT", "BTC-USDT-PERP"}
    assert Path(done["journal"]) == tmp_path / "run.journal"
    with StoreReader(tmp_path / "run.journal") as reader:
        intents = reader.rows(Stream.INTENT)
        rows = reader.rows(Stream.EVENT, kinds=[Kind.QUOTE])
        seats = reader.manifests()[0]["seats"]
    asked = {(desk_of(i["order"]), int(i["instrument"])) for i in intents}
    assert asked == {(0, 0), (1, 1)}, "each desk asks for what it trades, and both ask"
    assert set(rows["instrument"]) == {0, 1}, "rows of both venues in one order"
    assert [seat["parameters"]["qty"] for seat in seats] == [0.002, 0.02]
    assert retrace(tmp_path / "run.journal").same
    assert main([*words, "--i-understand", "--seconds", "0"]) == 0
    again: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (again["fresh"], again["alarms"]) == (False, []), "the account is where it was, on paper as well"
    plan = (tmp_path / "run.toml").read_text()
    for old, new, line in (
        (
            'BTC-USDT"',
            'ETH-USDT"',
            "began with BINANCE:BTC-USDT, BINANCE_FUTURES:BTC-USDT-PERP, not BINANCE:ETH-USDT, ",
        ),
        ("seconds = 120", 'currency = "BTC"', "began with the currency USDT, not the currency BTC"),
    ):
        (tmp_path / "other.toml").write_text(plan.replace(old, new))
        assert main(["trade", "--plan", str(tmp_path / "other.toml"), "--i-understand"]) == 1
        assert line in capsys.readouterr().err
    if mode == "live":
        orders = market.truth()["orders"]
        assert {o["product"] for o in orders} == {"spot", "futures"}
        assert not [o for o in orders if o["status"] in ("NEW", "PARTIALLY_FILLED")]


def test_options_of_the_command_come_before_those_of_the_plan(
    market: Market, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = written(tmp_path, market, "live")
    words = ["trade", "--plan", str(plan), "--json"]
    assert main(words) == 1
    assert "--i-understand" in capsys.readouterr().err, "what a person must say is not in a file"
    other = tmp_path / "other.journal"
    assert main([*words, "--mode", "paper", "--journal", str(other), "--seconds", "0.2"]) == 0
    assert json.loads(capsys.readouterr().out)["journal"] == str(other)
    assert main([*words, "--mode", "paper", "--router", "split"]) == 1
    assert "split has no choice" in capsys.readouterr().err, "before those of its strategies, too"
    assert "fees_bps" in read_options(plan, {})
    assert "fees_bps" not in read_options(plan, {"fee_bps": 1.0}), "before those of its venues, too"


def test_a_cell_takes_a_plan(market: Market, tmp_path: Path) -> None:
    with qa.trade(plan=written(tmp_path, market, "paper")) as run:
        assert [desk["strategy"].partition(":")[2] for desk in run.status().desks] == ["Churn", "Maker"]
    assert run.result().at_work == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('mode = "paper"', "mode =", "is no TOML"),
        ("seconds = 120", "second = 2.5", "did you mean 'seconds'"),
        ("seconds = 120", "seconds = 'long'", "seconds is 'long', which is no value for it"),
        ("fee_bps = 5", "fees = 5", "did you mean 'fee_bps'"),
        ("params = ", "parameters = ", "did you mean 'params'"),
        ('symbols = ["BINANCE:', 'symbols = ["OKX:', "unknown symbol of a strategy 'OKX:BTC-USDT'"),
        (":Churn", ":Curn", "did you mean 'Churn'"),
        ('symbols = ["BINANCE:BTC-USDT"]', 'router = "split"', "split has no choice"),
        ("seconds = 120", "i_understand = true", "unknown option"),
        ("[venue.BINANCE]", "[venue.BINANC]", "BINANC"),
    ],
)
def test_a_plan_that_cannot_be_is_one_line(
    market: Market, tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, words: str
) -> None:
    plan = written(tmp_path, market, "paper")
    text = plan.read_text()
    assert old in text
    plan.write_text(text.replace(old, new))
    assert main(["trade", "--plan", str(plan), "--json"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("quantai: error: ")
    assert words in lines[0]
    assert not list(tmp_path.glob("*.journal"))

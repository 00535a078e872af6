"""A run that trades at a loopback exchange, from outside: JSON lines, metrics over HTTP, alarms, the scene."""

import asyncio
import json
import logging
import re
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from quantai.cli import main
from quantai.core.errors import InputError
from quantai.core.rows import Kind
from quantai.execution.alarms import Alarm
from quantai.execution.monitor.exporter import Exporter, check_address
from quantai.execution.monitor.logs import Event, JsonLines, json_lines
from quantai.execution.monitor.metrics import METRICS, exposition
from quantai.execution.plan import Plan
from quantai.execution.remote import RunControl, address_file
from quantai.execution.trade import trade
from quantai.journal import StoreReader
from quantai.ops.secrets import find_secret
from quantai.venues.loopback import LoopbackExchange
from tests.conftest import REPO
from tests.integration.trading import Maker

PATIENCE_S = 600.0  # the first to trade waits for the compiler, on a slow machine for minutes


@dataclass
class Watched:
    """What was seen of a run."""

    journal: Path
    lines: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    text: str = ""
    scraped: str = ""
    silent: str = ""
    scene: dict[str, Any] = field(default_factory=dict[str, Any])
    asked: dict[str, Any] = field(default_factory=dict[str, Any])
    alarms: list[str] = field(default_factory=list[str])
    most_of_a_feed: int = 0


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    folder = tmp_path_factory.mktemp("monitor")
    found, log = Watched(folder / "run.journal"), folder / "log.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUANTAI_BINANCE_SECRET", "never-in-a-log")
        with json_lines(str(log)):
            asyncio.run(_watched(found, log))
    found.text = log.read_text()
    found.lines = [json.loads(line) for line in found.text.splitlines()]
    return found


async def _watched(found: Watched, log: Path) -> None:
    async with LoopbackExchange(["BTC-USDT"], seed=5, rate_hz=50.0) as exchange:
        plan = Plan(
            strategies=[(Maker(), "tests.integration.trading:Maker")], venues={"BINANCE": ["BTC-USDT"]}, mode="paper",
            journal=found.journal, endpoint=exchange.http, seconds=PATIENCE_S, stale_s=0.5,
        )  # fmt: skip
        run = asyncio.create_task(trade(plan, metrics=("127.0.0.1", 0)))
        control = RunControl(found.journal)
        await _until(lambda: run.done() or (address_file(found.journal).exists() and _served_at(log)))
        if run.done():
            await run
        url = _served_at(log)
        await _until_scraped(url, lambda text: _value(text, "quantai_fills_total") > 2)
        logging.getLogger("quantai.test").warning("told never-in-a-log and signature=abcdef&x=1")
        async with asyncio.timeout(PATIENCE_S):
            while not found.scene.get("orders"):  # for a moment, between a fill and the next quote, there is none
                found.scene = (await control.tell("scene"))["scene"]
        found.asked = (await control.tell("metrics"))["metrics"]
        found.scraped = await _until_scraped(url, lambda text: _value(text, "quantai_orders_working") > 0)
        await exchange.fault("silence")
        found.silent = await _until_scraped(url, lambda text: _value(text, 'quantai_alarm{alarm="feed_silent"}') == 1)
        async with asyncio.timeout(PATIENCE_S):
            while found.alarms != ["BINANCE: its feed sends nothing"]:  # one that is opened again is down for a moment
                found.alarms = (await control.status()).alarms
                found.most_of_a_feed = max(found.most_of_a_feed, sum("its feed" in line for line in found.alarms))
        exchange.heal()
        await _until_scraped(url, lambda text: _value(text, 'quantai_alarm{alarm="feed_silent"}') == 0)
        await control.pause()
        await control.end()
        await run


def _served_at(log: Path) -> str:
    """Where the metrics are, by the log's whole lines; empty until it says so."""
    whole = (line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n"))
    return next((json.loads(line)["url"] for line in whole if "metrics_served" in line), "")


async def _until(true: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110 -- a file says so
            await asyncio.sleep(0.05)


async def _until_scraped(url: str, true: Any) -> str:
    async with asyncio.timeout(PATIENCE_S):
        while not true(text := await asyncio.to_thread(_scrape, url)):  # noqa: ASYNC110 -- a server says so
            await asyncio.sleep(0.05)
    return text


def _scrape(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:  # noqa: S310
        return answer.read().decode()


def _value(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else float("nan")


def test_every_line_is_an_event_of_this_run(seen: Watched) -> None:
    lines = [line for line in seen.lines if line["logger"] != "quantai.test"]
    for line in lines:
        assert {"ts", "level", "event", "message", "logger", "run", "mode", "venue"} <= set(line), line
        assert line["event"] in set(Event), line
        assert (line["mode"], line["venue"]) == ("paper", "BINANCE"), line
    started = next(line for line in seen.lines if line["event"] == "run_started")
    assert {line["run"] for line in lines} == {started["run"]} != {""}
    order = [line["event"] for line in seen.lines]
    assert order.index("run_started") < order.index("reconciled") < order.index("told")
    assert order[-1] == "run_ended"
    assert [line["what"] for line in seen.lines if line["event"] == "told"] == ["PAUSE"]


def test_alarms_are_raised_and_cleared_under_their_names(seen: Watched) -> None:
    said = [(x["event"], x["alarm"]) for x in seen.lines if x["event"].startswith("alarm_")]
    assert said.count(("alarm_raised", "feed_silent")) >= said.count(("alarm_cleared", "feed_silent")) >= 1
    assert seen.alarms == ["BINANCE: its feed sends nothing"]
    assert seen.most_of_a_feed == 1
    assert {line["state"] for line in seen.lines if line["event"] == "feed_state"} >= {"up", "silent"}
    assert _value(seen.silent, 'quantai_alarms_raised_total{alarm="feed_silent"}') >= 1


def test_no_line_has_a_secret(seen: Watched) -> None:
    assert "never-in-a-log" not in seen.text
    assert "abcdef" not in seen.text
    assert "told *** and signature=***&x=1" in seen.text


def test_the_metrics_are_those_of_the_run(seen: Watched) -> None:
    text = seen.scraped
    assert [m.name for m in METRICS if f"\n# TYPE {m.name}" not in f"\n{text}"] == []
    assert _value(text, "quantai_trading") == 1
    assert _value(text, "quantai_receive_latency_seconds_count") > 10
    assert _value(text, "quantai_decision_latency_seconds_count") > 2
    assert 0 < _value(text, "quantai_orders_working") <= 2
    assert (
        0
        <= _value(text, 'quantai_decision_latency_seconds_bucket{le="5"}')
        <= _value(text, 'quantai_decision_latency_seconds_bucket{le="+Inf"}')
    )
    with StoreReader(seen.journal) as reader:
        rows = len(reader.rows())
        fills = len(reader.rows(kinds=[Kind.FILL]))
    assert 0 < _value(text, "quantai_rows_total") < rows
    assert 2 < _value(text, "quantai_fills_total") <= fills
    assert {name: len(v) for name, v in seen.asked.items()}.keys() == {m.name for m in METRICS}
    assert "quantai_rows_total" in exposition(seen.asked), "what crossed a process can be exported there"


def test_the_scene_has_books_orders_and_positions(seen: Watched) -> None:
    book = seen.scene["books"]["BINANCE:BTC-USDT"]
    prices = [px for px, _ in book["bids"]]
    assert len(prices) > 3
    assert prices == sorted(prices, reverse=True)
    assert prices[0] < book["asks"][0][0]
    assert [px for px, _ in book["asks"]] == sorted(px for px, _ in book["asks"])
    assert all(qty > 0 for side in ("bids", "asks") for _, qty in book[side])
    assert {order["symbol"] for order in seen.scene["orders"]} == {"BTC-USDT"}
    assert seen.scene["accounts"][0]["equity"] > 0
    assert seen.scene["positions"][0]["symbol"] == "BTC-USDT"


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    async def twice() -> None:
        first = Exporter(dict, "127.0.0.1", 0)
        await first.start()
        try:
            port = int(first.url.rpartition(":")[2].partition("/")[0])
            with pytest.raises(InputError, match=f"metrics cannot be served at .*:{port}"):
                await Exporter(dict, "127.0.0.1", port).start()
            with pytest.raises(InputError, match=f"metrics cannot be served at .*:{port}/metrics: .*0 for a free one"):
                check_address("127.0.0.1", port)
            journal = tmp_path / "run.journal"
            asked = ["--venue", "BINANCE", "--symbols", "BTC-USDT", "--metrics-port", str(port)]
            ended = await asyncio.to_thread(
                main, ["trade", "quantai.strategy.examples:Quote", *asked, "--journal", str(journal)]
            )
            assert ended == 1
            assert "quantai_trading 0.0" in await asyncio.to_thread(_scrape, first.url)
        finally:
            await first.stop()

    asyncio.run(twice())
    assert not any(tmp_path.iterdir()), "refused before anything was made"


def test_what_a_secret_is_called_hides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTAI_API_KEYS", "operate:out-of-the-environment read:another-of-them")
    found = find_secret("OKX_secret", {"QUANTAI_OKX_SECRET": "given-out-just-now"})
    assert find_secret("OKX_key", {"QUANTAI_OKX_KEY": "t"}) == "t", "no secret: every other word has it in it"
    words = f"{found} out-of-the-environment another-of-them not"
    record = logging.makeLogRecord({"msg": words, "api_key": "short", "nested": {"x": [found]}})
    line = JsonLines().format(record)
    hidden = {"message": "*** *** *** not", "api_key": "***", "nested": {"x": ["***"]}}
    assert json.loads(line) | hidden == json.loads(line)
    assert "\n" not in JsonLines().format(logging.makeLogRecord({"msg": "two\nlines", "odd": object()}))


def test_every_name_in_the_code_is_one_of_the_names() -> None:
    used = set[str]()
    for path in (*(REPO / "quantai").rglob("*.py"), *(REPO / "serving").glob("*.py")):
        used |= set(re.findall(r'"event": "(\w+)"', path.read_text()))
    assert used <= set(Event), used - set(Event)
    assert set(Event) - used == {"message", "run_failed"}, "those are named by the code that writes them"
    assert len(set(Alarm)) == len(Alarm)

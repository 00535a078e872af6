"""A strategy served through real BentoML processes at the loopback exchange, whatever is killed: one loop trades."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantai as qa
from quantai.core.errors import InputError
from quantai.core.rows import Kind
from quantai.execution.monitor.metrics import METRICS
from quantai.execution.retrace import retrace
from quantai.journal import StoreReader
from quantai.notebook.promote.shadow import compare_on
from quantai.notebook.promote.store import get
from quantai.notebook.serve import Served
from quantai.strategy.examples import Quote
from serving.deployment import Deployment, read_json
from serving.loop_process import SteadyClock
from tests.chaos.live import Market
from tests.chaos.serve import Yard
from tests.conftest import REPO
from tests.fuzzing import fuzz, without_a_key
from tests.serving_setting import KEYS, PATIENCE_S, bentoml_home, loops, promoted, served, trading, until


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with bentoml_home(tmp_path_factory.mktemp("bentoml") / "home") as folder:
        yield folder


@pytest.fixture(scope="module")
def tag(home: Path) -> str:
    return promoted()


@pytest.fixture(scope="module")
def market() -> Iterator[Market]:
    found = Market(seed=3)
    yield found
    found.close()


@pytest.fixture(scope="module")
def paper(tag: str, market: Market, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One service on paper for all tests that ask it something."""
    one = served(tag, market, tmp_path_factory.mktemp("paper"))
    until(lambda: trading(one), "the run")
    yield one
    one.stop()


def opened(one: Served, path: str) -> Any:
    """An answer that is not JSON, for `with`."""
    ask = urllib.request.Request(f"{one.address}/{path}", headers={"X-API-Key": KEYS["read"]})  # noqa: S310
    return urllib.request.urlopen(ask, timeout=PATIENCE_S)  # noqa: S310


def reader(one: Served) -> Served:
    """The same service for somebody who may read only."""
    return Served(one.tag, one.address, {"operate": KEYS["read"]}, one.folder, one.process)


def noted(one: Served) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (one.folder / "audit.jsonl").read_text().splitlines()]


def control_rows(one: Served) -> set[int]:
    with StoreReader(one.state["process"]["journal"]) as read:
        return set(read.rows(kinds=[Kind.CONTROL])["seq"].tolist())


def test_the_api_asks_for_keys_and_roles_and_logs_who_decided_what(tag: str, paper: Served) -> None:
    one = paper
    assert (one.state["tag"], one.state["mode"]) == (tag, "paper")
    until(lambda: one.ask("state")["run"]["fills"] > 1, "fills")
    assert one.ask("orders")["order_states"]
    assert one.ask("positions")["positions"][0]["symbol"] == "BTC-USDT"
    assert one.ask("pnl")["accounts"][0]["account"] == "main"
    assert "limit at" in one.ask("intents")["intents"][0]["what"]
    assert one.ask("parameters")["parameters"]["offset"] == 1
    nobody = Served(one.tag, one.address, {}, one.folder, one.process)
    with pytest.raises(InputError, match="401"):
        nobody.ask("state")
    assert reader(one).ask("state")["tag"] == tag
    for path, method in (("kill", "POST"), ("parameters", "PUT"), ("challenger/promote", "POST")):
        with pytest.raises(InputError, match="403"):
            reader(one).ask(path, method, {"offset": 3})
    assert one.ask("pause", "POST")["row"] > 0
    until(lambda: one.state["run"]["state"] == "paused", "the pause")
    assert one.ask("parameters", "PUT", {"offset": 3})["did"] == "set"
    with pytest.raises(InputError, match=r"409 .*ofset"):
        one.ask("parameters", "PUT", {"ofset": 3})
    one.ask("resume", "POST")
    until(lambda: trading(one), "trading again")
    log = noted(one)
    assert [x["did"] for x in log if x["role"] == "operate"] == ["pause", "set", "set", "resume"]
    assert [x["refused"] for x in log if x["role"] == "read"] == ["needs the role operate"] * 3
    assert {x["answer"]["row"] for x in log if "answer" in x} <= control_rows(one)
    with opened(one, "stream") as events:
        assert events.readline() == b"event: state\n"
        assert json.loads(events.readline().removeprefix(b"data: "))["tag"] == tag
    named = {f"{metric.name}{'_total' if metric.kind == 'counter' else ''}" for metric in METRICS}

    def exported() -> set[str]:
        with opened(one, "metrics") as metrics:
            return set(re.findall(r"^# TYPE (quantai_\w+)", metrics.read().decode(), re.MULTILINE))

    until(lambda: named <= exported(), "every metric that dashboards and rules may name")


def test_no_call_that_the_interface_describes_breaks_the_service_or_gets_past_its_keys(paper: Served) -> None:
    operations = fuzz(f"{paper.address}/openapi.json", key=KEYS["operate"])
    codes = without_a_key(paper.address, operations)
    assert {name for name, code in codes.items() if code != 401} == {"GET /livez", "GET /readyz"}
    changing = [one for one in operations if one.method != "get"]
    assert len(changing) == 8
    before = len(noted(paper))
    for operation in changing:
        with pytest.raises(InputError, match="403"):
            reader(paper).ask(operation.path, operation.method.upper(), {"offset": 3})
    assert len(noted(paper)) == before + 8, "who was refused is noted"
    paper.ask("resume", "POST")
    assert {x["answer"]["row"] for x in noted(paper) if "answer" in x} <= control_rows(paper)


def test_the_journal_run_again_decides_the_same_and_is_shown_to_a_challenger(tag: str, paper: Served) -> None:
    journal = Path(paper.state["process"]["journal"])
    paper.stop()
    proof = retrace(journal, [Quote])
    assert (proof.same, proof.intents > 5) == (True, True), proof.differences
    found = compare_on(journal, get(tag))
    assert found.run.intents == proof.intents
    assert min(found.rows, found.challenger.intents, found.challenger.orders) > 5


def test_what_does_not_decide_as_it_was_promoted_does_not_trade(tag: str, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(get(tag).folder, model)
    deployment = Deployment(
        tag=tag,
        model=str(model),
        folder=str(tmp_path),
        venue="BINANCE",
        symbols=["BTC-USDT"],
        endpoint="http://127.0.0.1:9",
    )

    def refused() -> str:
        command = [sys.executable, "-m", "serving.loop_process", str(deployment.save())]
        assert subprocess.run(command, cwd=REPO, capture_output=True, check=False).returncode == 3
        assert read_json(deployment.state)["state"] == "refused"
        return read_json(deployment.state)["reason"]

    kept = model / "golden_loop_intents.npy"
    intents = np.load(kept)
    intents["px_ticks"][-1] += 1
    np.save(kept, intents)
    assert "golden_loop_intents.npy is not what was promoted" in refused()
    manifest = json.loads((model / "manifest.json").read_text())
    manifest["files"][kept.name] = hashlib.sha256(kept.read_bytes()).hexdigest()
    (model / "manifest.json").write_text(json.dumps(manifest))
    assert "does not decide as it was promoted: trade loop: intent" in refused()


def test_the_clock_of_a_run_cannot_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SteadyClock()
    before = clock()
    monkeypatch.setattr(time, "time_ns", lambda: before - 3_600 * qa.SEC)
    assert before <= clock() < before + 60 * qa.SEC
    clock.reach(before + 3_600 * qa.SEC)
    assert clock() >= before + 3_600 * qa.SEC, "a journal may be ahead of the wall clock"


def test_at_no_time_do_two_loops_trade(tag: str, tmp_path: Path) -> None:
    market, before = Market(seed=4), loops()
    yard = Yard(tag, market, tmp_path, at_end="cancel")
    try:
        yard.start(workers=2)
        yard.resumed()
        assert len(loops()) == 1 + len(before), "two workers, one loop"
        journal = yard.journal
        yard.start()  # a replica: it waits
        until(lambda: len(loops()) == 2 + len(before), "the other loop")
        for thing in (yard.kill_loop, yard.kill_worker, yard.fill_disk, yard.remove_lease, yard.kill_parent):
            dead = thing()
            said = yard.resumed(dead)
            assert yard.loop != dead
            assert said["process"]["journal"] == str(journal)
        yard.stop()
        assert len(yard.orders) > 10
        assert yard.found() == []
        assert retrace(journal, [Quote]).same
    finally:
        for one in yard.replicas:
            one.stop()
        market.close()

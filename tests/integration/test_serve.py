"""A strategy served through real BentoML processes at the loopback exchange, whatever is killed: one loop trades.

What is asked over HTTP, by a program and by a browser, is asked of one service for the whole file: a bento that was
built in one home of BentoML, exported to a file, imported into another and started there without a network.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

import quantai as qa
from quantai.core.errors import InputError, StorageError
from quantai.core.rows import LAST, SNAPSHOT, Kind
from quantai.execution.monitor.metrics import METRICS
from quantai.execution.retrace import retrace
from quantai.journal import StoreReader
from quantai.notebook.promote.bento import export_bento, packed_tag
from quantai.notebook.promote.shadow import compare_on
from quantai.notebook.promote.store import get, resolve, rollback, set_alias, versions
from quantai.notebook.serve import Served, serve, wait_ready
from quantai.ops.clock import SteadyClock
from quantai.strategy.examples import Quote
from serving.deployment import Deployment, read_json
from serving.signals import Signals
from tests.bench import gen_ticks
from tests.chaos.live import Market
from tests.chaos.serve import PRELOAD, SHIFT, Yard
from tests.conftest import REPO
from tests.fuzzing import fuzz, without_a_key
from tests.serving_setting import (
    KEYS,
    OFFLINE,
    PATIENCE_S,
    bento,
    bentoml_home,
    loops,
    promoted,
    served_bento,
    trading,
    until,
)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SHOT = os.environ.get("QUANTAI_SHOT_CONTROL", "")
"""A file that the screenshot goes to: docs/control.png is made by this test."""
OTHER = "20260102t030405-0a1b2c3d"
"""Another version of the same strategy, for a challenger."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version in one file, from a home that is not used any more."""
    place = tmp_path_factory.mktemp("there")
    with bentoml_home(place / "home"), pytest.MonkeyPatch.context() as patch:
        for name, value in OFFLINE.items():
            patch.setenv(name, value)
        return export_bento(promoted(), place / "quote.bento")


@pytest.fixture(scope="module")
def home(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Another home, into which the file was imported."""
    with bentoml_home(tmp_path_factory.mktemp("here") / "home") as folder:
        bento("import", str(exported), home=folder)
        yield folder


@pytest.fixture(scope="module")
def tag(home: Path) -> str:
    (version,) = versions("quote")
    set_alias("quote", "champion", version, "imported")
    return f"quote:{version}"


@pytest.fixture(scope="module")
def market() -> Iterator[Market]:
    found = Market(seed=3)
    yield found
    found.close()


@pytest.fixture(scope="module")
def paper(tag: str, market: Market, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The imported bento on paper, for all tests that ask it something."""
    one = served_bento(tag, market, home, tmp_path_factory.mktemp("paper"))
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


def test_a_bento_runs_its_own_code_and_nothing_else_went_along(exported: Path, home: Path, paper: Served) -> None:
    loop = psutil.Process(paper.state["process"]["pid"])
    assert Path(loop.cwd()).is_relative_to(home / "bentos")
    assert loop.environ()["PYTHONPATH"].partition(os.pathsep)[0] == loop.cwd()
    with tarfile.open(exported) as packed:
        members = [packed.extractfile(m) for m in packed.getmembers() if m.isfile() and "/src/" in m.name]
        files = {one.name: one.read() for one in members if one is not None}
    assert any(name.endswith("serving/loop_process.py") for name in files)
    assert packed_tag(exported) == paper.tag
    assert not any(key.encode() in said for said in files.values() for key in KEYS.values())
    kinds = {Path(name).suffix for name in files}
    assert kinds <= {".py", ".html", ".yaml", ".service", ".typed", ".md", ".txt", ""}, "none that may hold a secret"


def test_a_challenger_runs_beside_the_run_on_the_same_rows_and_becomes_the_champion(tag: str, paper: Served) -> None:
    with pytest.raises(InputError, match=r"409 .*no challenger"):
        paper.ask("challenger")
    name, _, version = tag.partition(":")
    other = get(tag).folder.with_name(OTHER)
    shutil.copytree(get(tag).folder, other)
    manifest = other / "manifest.json"
    manifest.write_text(manifest.read_text().replace(version, OTHER))
    set_alias(name, "challenger", OTHER)
    found = until(lambda: (x := paper.ask("challenger")) and x["challenger"]["orders"] > 3 and x, "orders of both")
    assert found["challenger"]["strategy"].startswith(f"{name}:{OTHER} ")
    assert found["run"]["strategy"].startswith("Quote ")
    assert 0 < found["rows"] <= until(lambda: paper.state["run"], "the run")["rows"]
    assert Path(found["journal"]) == Path(paper.state["process"]["journal"])
    command = [sys.executable, "-c", "import sys; from quantai.cli import main; sys.exit(main(sys.argv[1:]))"]
    command += ["compare", name, "--folder", str(paper.folder), "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPO)
    assert ran.returncode == 0, ran.stderr
    assert set(json.loads(ran.stdout.splitlines()[-1])) == {"journal", "rows", "run", "challenger"}
    row = paper.ask("challenger/promote", "POST")["row"]
    assert row in control_rows(paper), "it is in the journal of the run"
    assert resolve(name) == f"{name}:{OTHER}"
    assert rollback(name) == tag


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")
def test_the_control_page_shows_the_run_decides_promotes_and_rolls_back(tag: str, paper: Served) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    url, name, sessions = f"{paper.address}/control", tag.partition(":")[0], set[str]()
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1500})
        page.set_default_timeout(PATIENCE_S * 1000)
        page.on("request", lambda asked: sessions.add(asked.headers.get("marimo-session-id", "")))
        for address in (url, f"{url}?key=wrong"):
            assert page.goto(address).status == 401
        page.goto(f"{url}?key={KEYS['operate']}")
        assert "key" not in page.url
        page.get_by_text("BTC-USDT").first.wait_for()
        page.get_by_role("button", name="pause").click()
        page.get_by_text("pause: row").wait_for()
        until(lambda: paper.state["run"]["state"] == "paused", "the pause")
        page.get_by_role("button", name="resume").click()
        page.get_by_text("resume: row").wait_for()
        until(lambda: trading(paper), "trading again")
        page.locator("select").filter(has_text=OTHER).select_option(OTHER)
        page.get_by_role("button", name="promote").click()
        page.get_by_text(f"promote: champion {name}:{OTHER}").wait_for()
        assert resolve(name) == f"{name}:{OTHER}"
        page.get_by_role("button", name="roll back").click()
        page.get_by_text(f"rollback: champion {tag}").wait_for()
        assert resolve(name) == tag
        if SHOT:
            page.screenshot(path=SHOT)
        (session,) = sessions - {""}
        asked = httpx.post(
            f"{url}/api/kernel/set_ui_element_value", json={"objectIds": [], "values": []}, timeout=PATIENCE_S,
            headers={"X-API-Key": KEYS["read"], "Marimo-Session-Id": session},
        )  # fmt: skip
        assert (asked.status_code, asked.json()) == (403, {"error": "this session is another visitor's"})
        other = browser.new_context().new_page()
        other.set_default_timeout(PATIENCE_S * 1000)
        other.goto(f"{url}?key={KEYS['read']}")
        other.get_by_text("This key may read only.").wait_for()
        assert not other.get_by_role("button", name="pause").count()
        browser.close()
    assert {"pause", "promote", "rollback"} <= {x["did"] for x in noted(paper) if x["who"].startswith("operate")}


def test_a_service_of_another_version_says_who_trades_and_a_port_in_use_is_refused(
    tag: str, paper: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quantai.notebook.serve.PATIENCE_S", 1.0)
    wait_ready(paper)
    other = Served(f"quote:{OTHER}", paper.address, paper.keys, paper.folder, paper.process)
    with pytest.raises(StorageError, match=f"{tag} trades in .*: stop that service first"):
        wait_ready(other)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} cannot be had"):
            serve(tag, port=port, folder=tmp_path)
    with pytest.raises(InputError, match=r"endpoint '\?': write an address"):
        serve(tag, endpoint="?", folder=tmp_path)
    assert not list(tmp_path.glob("deployment*")), "nothing was begun"


def test_the_journal_run_again_decides_the_same_and_is_shown_to_a_challenger(tag: str, paper: Served) -> None:
    journal = Path(paper.state["process"]["journal"])
    paper.stop()
    proof = retrace(journal, [Quote])
    assert (proof.same, proof.intents > 5) == (True, True), proof.differences
    found = compare_on(journal, get(tag))
    assert found.run.intents == proof.intents
    assert min(found.rows, found.challenger.intents, found.challenger.orders) > 5


def test_ticks_are_answered_by_signals_as_a_replay_asks(tag: str) -> None:
    version, tape = get(tag), gen_ticks.tape(1_000, 8)
    items = [
        {
            "kind": Kind(int(row["kind"])).name, "ts_recv": int(row["ts_recv"]), "ts_exch": int(row["ts_exch"]),
            "side": int(row["side"]), "px": float(row["px"]), "qty": float(row["qty"]),
            "last": bool(row["flags"] & LAST), "snapshot": bool(row["flags"] & SNAPSHOT),
        }
        for row in tape.rows
    ]  # fmt: skip
    signals = Signals(version)
    said = signals.batch(items)
    replayed = qa.replay(version.strategy, tape, venue=version.golden.venue)
    asked = [
        (int(x["seq"]) - 1, int(x["order"]), version.golden.instruments[0].price(int(x["px_ticks"])))
        for x in replayed.intents
    ]
    assert [(x["n"], x["order"], x.get("px", 0)) for x in said["intents"]] == asked
    assert len(asked) > 5
    one = signals.stream()
    streamed = [x for item in items for x in one.feed([item])["intents"]]
    assert streamed == said["intents"]


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


def test_at_no_time_do_two_loops_trade(tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    market, before = Market(seed=4), loops()
    yard = Yard(tag, market, tmp_path, at_end="cancel")
    for name in (PRELOAD, SHIFT):
        monkeypatch.setenv(name, "")  # as they were, once this is over
    has_clock = yard.preload_clock()
    try:
        yard.start(workers=2)
        yard.resumed()
        assert len(loops()) == 1 + len(before), "two workers, one loop"
        journal = yard.journal
        yard.start()  # a replica: it waits
        until(lambda: len(loops()) == 2 + len(before), "the other loop")
        loop, sent = yard.loop, len(yard.orders)
        yard.kill_worker()
        until(lambda: len(yard.orders) > sent, "orders while the API is away")
        assert yard.loop == loop, "a worker has nothing to do with the run"
        for thing in (yard.kill_loop, yard.fill_disk, yard.remove_lease, yard.kill_parent):
            dead = thing()
            said = yard.resumed(dead)
            assert yard.loop != dead
            assert said["process"]["journal"] == str(journal)
        if has_clock:
            yard.jump()
        yard.stop()
        assert len(yard.orders) > 10
        assert yard.found() == []
        assert retrace(journal, [Quote]).same
    finally:
        for one in yard.replicas:
            one.stop()
        market.close()

"""A strategy served through real BentoML processes at the loopback exchange, whatever is killed: one loop trades."""

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import quantai as qa
from quantai.core.errors import InputError
from quantai.core.rows import Kind
from quantai.execution.lease import holder
from quantai.execution.plan import paper_limits
from quantai.execution.remote import address_file
from quantai.execution.retrace import retrace
from quantai.journal import StoreReader
from quantai.notebook.promote.shadow import compare_on
from quantai.notebook.promote.store import _bentoml, get
from quantai.notebook.serve import Served, serve
from quantai.strategy.examples import Quote
from quantai.venues.loopback import KEY, SECRET
from serving.deployment import Deployment, read_json
from serving.loop_process import SteadyClock
from tests.bench import gen_ticks
from tests.chaos.live import Market
from tests.conftest import REPO

PATIENCE_S = 240.0
KEYS = {"read": "read-only-key", "operate": "the-operators-key"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An own BentoML home, and keys of the exchange and of the API in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("bentoml")
        (folder / "models").mkdir()
        patch.setenv("BENTOML_HOME", str(folder))
        patch.setenv("QUANTAI_BINANCE_KEY", KEY)
        patch.setenv("QUANTAI_BINANCE_SECRET", SECRET)
        patch.setenv("QUANTAI_API_KEYS", " ".join(f"{role}:{key}" for role, key in KEYS.items()))
        _bentoml()
        from bentoml._internal.configuration.containers import BentoMLContainer

        BentoMLContainer.bentoml_home.set(str(folder))
        yield folder
        BentoMLContainer.bentoml_home.reset()


@pytest.fixture(scope="module")
def tag(home: Path) -> str:
    reasons = dict.fromkeys(("costs", "validation", "trades", "warmup"), "it only has to trade")
    tape = gen_ticks.tape(3_000, 8)
    return qa.promote(Quote(offset=1, qty=0.002), tape, name="quote", limits=paper_limits(), override=reasons).tag


@pytest.fixture
def market() -> Iterator[Market]:
    found = Market(seed=3)
    yield found
    found.close()


def until(true: Callable[[], Any], what: str) -> Any:
    """Wait until something holds and return it; a service that does not answer yet does not."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with suppress(InputError, KeyError, OSError, ValueError, psutil.Error):
            if found := true():
                return found
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:g} s for {what}"
        time.sleep(0.05)


def served(tag: str, market: Market, folder: Path, **more: Any) -> Served:
    one = serve(
        tag, venue="BINANCE", symbols=["BTC-USDT"], endpoint=market.exchange.http, folder=folder, wait=False, **more
    )
    one.keys = dict(KEYS)
    return one


def loops() -> list[int]:
    """The processes below this one that have a lease or wait for one."""
    return [p.pid for p in psutil.Process().children(recursive=True) if "serving.loop_process" in _words(p)]


def _words(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def trading(one: Served) -> dict[str, Any] | None:
    said = one.state
    return said if said.get("run", {}).get("state") == "trading" else None


def orders(market: Market) -> list[Any]:
    return list(market.truth()["orders"])


def test_the_api_asks_for_keys_and_roles_and_logs_who_decided_what(tag: str, market: Market, tmp_path: Path) -> None:
    one = served(tag, market, tmp_path, workers=2)
    try:
        said = until(lambda: trading(one), "the run")
        assert (said["tag"], said["mode"]) == (tag, "paper")
        until(lambda: one.ask("state")["run"]["fills"] > 1, "fills")
        assert one.ask("orders")["order_states"]
        assert one.ask("positions")["positions"][0]["symbol"] == "BTC-USDT"
        assert one.ask("pnl")["accounts"][0]["account"] == "main"
        assert "limit at" in one.ask("intents")["intents"][0]["what"]
        assert one.ask("parameters")["parameters"]["offset"] == 1
        assert len(loops()) == 1, "two workers, one loop"
        nobody = Served(one.tag, one.address, {}, one.folder, one.process)
        reader = Served(one.tag, one.address, {"operate": KEYS["read"]}, one.folder, one.process)
        with pytest.raises(InputError, match="401"):
            nobody.ask("state")
        assert reader.ask("state")["tag"] == tag
        for path, method in (("kill", "POST"), ("parameters", "PUT"), ("challenger/promote", "POST")):
            with pytest.raises(InputError, match="403"):
                reader.ask(path, method, {"offset": 3})
        assert one.ask("pause", "POST")["row"] > 0
        until(lambda: one.state["run"]["state"] == "paused", "the pause")
        assert one.ask("parameters", "PUT", {"offset": 3})["did"] == "set"
        with pytest.raises(InputError, match=r"409 .*ofset"):
            one.ask("parameters", "PUT", {"ofset": 3})
        one.ask("resume", "POST")
        until(lambda: trading(one), "trading again")
        log = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
        assert [x["did"] for x in log if x["role"] == "operate"] == ["pause", "set", "set", "resume"]
        assert [x["refused"] for x in log if x["role"] == "read"] == ["needs the role operate"] * 3
        with opened(one, "stream") as events:
            assert events.readline() == b"event: state\n"
            assert json.loads(events.readline().removeprefix(b"data: "))["tag"] == tag
        with opened(one, "metrics") as metrics:
            assert b"quantai_trading" in metrics.read()
        journal = Path(one.state["process"]["journal"])
        rows = [x["answer"]["row"] for x in log if "answer" in x]
        with StoreReader(journal) as read:
            assert set(rows) <= set(read.rows(kinds=[Kind.CONTROL])["seq"].tolist())
    finally:
        one.stop()
    proof = retrace(journal, [Quote])
    assert (proof.same, proof.intents > 5) == (True, True), proof.differences
    found = compare_on(journal, get(tag))
    assert found.run.intents == proof.intents
    assert min(found.rows, found.challenger.intents, found.challenger.orders) > 5


def opened(one: Served, path: str) -> Any:
    """An answer that is not JSON, for `with`."""
    ask = urllib.request.Request(f"{one.address}/{path}", headers={"X-API-Key": KEYS["read"]})  # noqa: S310
    return urllib.request.urlopen(ask, timeout=PATIENCE_S)  # noqa: S310


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


def test_at_no_time_do_two_loops_trade(tag: str, market: Market, tmp_path: Path) -> None:
    lease, folder = tmp_path / "lease-live", tmp_path

    def holds() -> int:
        return (holder(lease) or (0, 0))[1]

    def resumed(one: Served, before: int) -> dict[str, Any]:
        said = until(lambda: (x := trading(one)) and x["process"]["token"] > before and x, "trading under a new token")
        n = len(orders(market))
        until(lambda: len(orders(market)) > n, "new orders")
        return said

    first = served(tag, market, folder, mode="live", at_end="cancel")
    second: Served | None = None
    try:
        said = resumed(first, 0)
        journal = Path(said["process"]["journal"])
        second = served(tag, market, folder, mode="live", workers=2)  # a replica: it waits
        until(lambda: len(loops()) == 2, "the other loop")

        loop = said["run"]["pid"]  # kill -9 of the loop: somebody takes over, in the same journal
        os.kill(loop, signal.SIGKILL)
        said = resumed(first, said["process"]["token"])
        assert holds() != loop
        assert said["process"]["journal"] == str(journal)

        children = psutil.Process(first.process.pid).children()
        worker = next(p for p in children if "_bentoml_impl.worker.service" in _words(p))
        held = holds()
        worker.kill()  # kill -9 of a worker: nothing happens to the run, and the API comes back
        until(lambda: trading(first), "the API again")
        assert holds() == held

        full = journal.stat().st_size  # a full disk: nothing goes out that is not in the journal
        resource.prlimit(held, resource.RLIMIT_FSIZE, (full, full))
        token = (holder(lease) or (0, 0))[0]
        until(lambda: holds() != held, "another loop, that may write")
        said = resumed(first, token)

        token = said["process"]["token"]
        parents = [first, second]
        owner = next(s for s in parents if holds() in [p.pid for p in psutil.Process(s.process.pid).children(True)])
        other = next(s for s in parents if s is not owner)
        dead = holds()
        owner.process.kill()  # of the parent: its loop ends by itself, and the replica goes on
        owner.process.wait()
        said = resumed(other, token)
        until(lambda: not psutil.pid_exists(dead), "the orphan's end")
    finally:
        for one in (first, second):
            if one is not None:
                one.stop()
    until(lambda: not address_file(journal).exists(), "the end of the run")
    ids = [order["clientOrderId"] for order in orders(market) if order["account"] == KEY]
    assert len(ids) > 10
    assert len(ids) == len(set(ids)), "an order was sent twice"
    run = said["run"]["run"]
    assert all(name.startswith(run) for name in ids), "every order is of the one run"
    proof = retrace(journal, [Quote])
    assert proof.same, proof.differences

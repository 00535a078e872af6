"""A strategy served at the loopback exchange: a BentoML home of one's own, a promoted version, and how to wait."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

import quantai as qa
from quantai.core.errors import InputError
from quantai.execution.plan import paper_limits
from quantai.notebook.promote.store import _bentoml
from quantai.notebook.serve import Served, _keep_port, serve
from quantai.strategy.examples import Quote
from quantai.venues.loopback import KEY, SECRET
from serving.deployment import Deployment
from tests.bench import gen_ticks
from tests.chaos.live import Market

PATIENCE_S = 600.0  # the first to trade waits for the compiler, on a slow machine for minutes
KEYS = {"read": "read-only-key", "operate": "the-operators-key"}
_NOBODY = "http://127.0.0.1:9"
OFFLINE = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), _NOBODY),
    "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost", "PIP_NO_INDEX": "1", "UV_OFFLINE": "1",
}  # fmt: skip
"""The environment of a machine from which only itself can be reached."""


@contextmanager
def bentoml_home(folder: Path) -> Generator[Path]:
    """An own BentoML home, and keys of the exchange and of the API in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        (folder / "models").mkdir(parents=True)
        patch.setenv("BENTOML_HOME", str(folder))
        patch.setenv("QUANTAI_BINANCE_KEY", KEY)
        patch.setenv("QUANTAI_BINANCE_SECRET", SECRET)
        patch.setenv("QUANTAI_API_KEYS", " ".join(f"{role}:{key}" for role, key in KEYS.items()))
        _bentoml()
        from bentoml._internal.bento import BentoStore
        from bentoml._internal.configuration.containers import BentoMLContainer as Known
        from bentoml._internal.models import ModelStore

        chosen = {  # BentoML keeps what it chose in an earlier test
            Known.bentoml_home: str(folder),
            Known.bento_store_dir: str(folder / "bentos"), Known.bento_store: BentoStore(folder / "bentos"),
            Known.model_store_dir: str(folder / "models"), Known.model_store: ModelStore(folder / "models"),
        }  # fmt: skip
        for provider, value in chosen.items():
            provider.set(value)
        try:
            yield folder
        finally:
            for provider in chosen:
                provider.reset()


def promoted(strategy: qa.Strategy | None = None, name: str = "quote", rows: int = 3_000) -> str:
    """Promote a strategy that quotes, whatever it earns, and return its tag."""
    reasons = dict.fromkeys(("costs", "validation", "trades", "warmup", "drawdown"), "it only has to trade")
    what = strategy or Quote(offset=1, qty=0.002)
    done = qa.promote(what, gen_ticks.tape(rows, 8), name=name, limits=paper_limits(), override=reasons)
    return done.tag


def served(tag: str, market: Market, folder: Path, **more: Any) -> Served:
    """Serve a version at an exchange, without waiting for it."""
    return serve(
        tag, venue="BINANCE", symbols=["BTC-USDT"], endpoint=market.exchange.http, folder=folder, wait=False, **more
    )


def bento(*arguments: str, home: Path) -> None:
    """Run a command of BentoML as on a machine without a network."""
    command = [sys.executable, "-m", "bentoml", *arguments]
    said = os.environ | OFFLINE | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    ran = subprocess.run(command, env=said, cwd=home, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def served_bento(tag: str, market: Market, home: Path, folder: Path) -> Served:
    """Serve an imported bento on paper, from its own code alone and without a network; does not wait for it."""
    deployment = Deployment(
        tag=tag, folder=str(folder), venue="BINANCE", symbols=["BTC-USDT"], endpoint=market.exchange.http
    )
    file, port = deployment.save(), _keep_port(0)
    number = port.getsockname()[1]
    said = os.environ | OFFLINE | {"BENTOML_HOME": str(home), "QUANTAI_DEPLOYMENT": str(file), "PYTHONPATH": ""}
    command = [sys.executable, "-m", "bentoml", "serve", tag.partition(":")[0], "--host", "127.0.0.1"]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen([*command, "--port", str(number)], stdout=log, stderr=log, cwd=folder, env=said)
    return Served(tag, f"http://127.0.0.1:{number}", dict(KEYS), folder, process, "paper", file, port)


def until(true: Callable[[], Any], what: str) -> Any:
    """Wait until something holds and return it; a service that does not answer yet does not."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with suppress(InputError, KeyError, OSError, ValueError, psutil.Error):
            if found := true():
                return found
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:g} s for {what}"
        time.sleep(0.05)


def trading(one: Served) -> dict[str, Any] | None:
    """What a service says while its run trades."""
    said = one.state
    return said if said.get("run", {}).get("state") == "trading" else None


def loops() -> list[int]:
    """The processes below this one that have a lease or wait for one."""
    return [p.pid for p in psutil.Process().children(recursive=True) if "serving.loop_process" in words(p)]


def words(process: psutil.Process) -> list[str]:
    """The command line of a process, nothing once it is gone."""
    with suppress(psutil.Error):
        return process.cmdline()
    return []

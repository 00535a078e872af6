"""A strategy served at the loopback exchange: a BentoML home of one's own, a promoted version, and how to wait."""

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
from quantai.notebook.serve import Served, serve
from quantai.strategy.examples import Quote
from quantai.venues.loopback import KEY, SECRET
from tests.bench import gen_ticks
from tests.chaos.live import Market

PATIENCE_S = 240.0
KEYS = {"read": "read-only-key", "operate": "the-operators-key"}


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
        from bentoml._internal.configuration.containers import BentoMLContainer

        BentoMLContainer.bentoml_home.set(str(folder))
        yield folder
        BentoMLContainer.bentoml_home.reset()


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

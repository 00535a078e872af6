"""The strategy service: one promoted version, traded by a process of its own, asked and told over HTTP.

`quantai serve NAME` starts it; `bentoml serve serving.strategy_service:StrategyService` does, with QUANTAI_DEPLOYMENT.
The version is an exact tag: that of the file `model_tag.txt` beside this one in a built bento, else that of the
deployment.
"""

import asyncio
import atexit
import ctypes
import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import bentoml
from bentoml.models import BentoModel
from prometheus_client import Gauge

from quantai.core.errors import QuantaiError
from quantai.notebook.promote.store import get
from serving.deployment import ENV, Deployment
from serving.guard import Guard
from serving.keys import Keys
from serving.rest import Desk, application
from serving.supervisor import Supervisor

PINNED = Path(__file__).with_name("model_tag.txt")
WORKERS = int(os.environ.get("QUANTAI_WORKERS", "1"))
UP = Gauge("quantai_trading", "1 while the run trades", ["tag", "mode"], multiprocess_mode="mostrecent")
EQUITY = Gauge("quantai_equity", "Equity of the account", ["tag", "mode"], multiprocess_mode="mostrecent")
POSITION = Gauge("quantai_position", "Units held", ["tag", "mode", "symbol"], multiprocess_mode="mostrecent")
COUNTS = {
    name: Gauge(f"quantai_{name}", f"{name} of the run so far", ["tag", "mode"], multiprocess_mode="mostrecent")
    for name in ("rows", "intents", "orders", "fills", "reconnects", "quarantined")
}
ALARMS = Gauge("quantai_alarms", "Alarms of the run that stand", ["tag", "mode"], multiprocess_mode="mostrecent")


def tag() -> str:
    """Return the exact tag that is served."""
    return PINNED.read_text().strip() if PINNED.exists() else Deployment.load().tag


@cache
def deployment() -> Deployment:
    """Return what is served, with the folder of its version; a bento serves its own, whatever the file says."""
    return replace(Deployment.load(), tag=tag(), model=str(get(tag()).folder))


@cache
def desk() -> Desk:
    """Return the served strategy, in this process."""
    return Desk(deployment())


def die_with_parent() -> None:
    """Ask for SIGTERM when the server is killed: a worker without one would answer for a run that has ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


@bentoml.asgi_app(application(desk), path="/")
@bentoml.service(
    name="strategy", workers=WORKERS, traffic={"timeout": 60, "max_concurrency": 512}, metrics={"enabled": True},
    logging={"access": {"enabled": False}},
)  # fmt: skip
class StrategyService:
    """One strategy; the process that trades is started once for a deployment, before any worker."""

    if PINNED.exists() or os.environ.get(ENV):
        model = BentoModel(tag())

    @bentoml.on_deployment
    @staticmethod
    def supervise() -> None:
        """Start what trades, in the server's parent process."""
        deployment().save()
        supervisor = Supervisor(deployment())
        supervisor.start()
        atexit.register(supervisor.stop)

    @bentoml.on_startup
    async def start(self) -> None:
        """Be bound to the parent, and keep the metrics up to date."""
        die_with_parent()
        self._task = asyncio.create_task(self._measure())

    @bentoml.on_shutdown
    async def stop(self) -> None:
        """Let go."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    @bentoml.api(route="/version")
    async def version(self) -> dict[str, Any]:
        """Return what is served: tag, class, parameters, gates."""
        found = get(deployment().tag)
        said = found.manifest
        return {"tag": found.tag, "class": said["class"], "parameters": found.params, "gates": found.gates}

    async def __is_alive__(self) -> bool:
        """Whether this worker answers."""
        return True

    async def __is_ready__(self) -> bool:
        """Whether the run trades, or is paused or reducing by somebody's decision."""
        return bool((await desk().status()).get("run"))

    async def _measure(self) -> None:
        while True:
            with suppress(QuantaiError, OSError):
                await self._one()
            await asyncio.sleep(1.0)

    async def _one(self) -> None:
        said = await desk().status()
        labels = (said["tag"], said["mode"])
        run: dict[str, Any] = said.get("run", {})
        UP.labels(*labels).set(run.get("state") == "trading")
        if not run:
            return
        EQUITY.labels(*labels).set(run["equity"])
        ALARMS.labels(*labels).set(len(run["alarms"]))
        for symbol, units in run["positions"].items():
            POSITION.labels(*labels, symbol).set(units)
        for name, gauge in COUNTS.items():
            gauge.labels(*labels).set(run[name])


StrategyService.add_asgi_middleware(
    Guard,  # type: ignore[arg-type]
    keys=lambda: Keys.of(deployment().root),
    folder=lambda: deployment().root,
    reading=("/version",),
)

"""The strategy service: one promoted version, traded by a process of its own, asked and told over HTTP.

`quantai serve NAME` starts it; `bentoml serve serving.strategy_service:StrategyService` does, with QUANTAI_DEPLOYMENT.
The version is an exact tag: that of the file `model_tag.txt` beside this one in a built bento, else that of the
deployment.
"""

import atexit
import ctypes
import os
import signal
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import bentoml
from bentoml.models import BentoModel

from quantai.execution.monitor.metrics import exposition
from quantai.notebook.promote.store import get
from serving.deployment import ENV, Deployment
from serving.guard import Guard
from serving.keys import Keys
from serving.measurements import Measurements
from serving.rest import Desk, application
from serving.supervisor import Supervisor

PINNED = Path(__file__).with_name("model_tag.txt")
WORKERS = int(os.environ.get("QUANTAI_WORKERS", "1"))
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
        """Be bound to the parent."""
        die_with_parent()
        self._measured = Measurements(desk().deployment)

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
        return "run" in desk().status

    async def __metrics__(self, content: str) -> str:
        """Add what the run measures to what BentoML does."""
        return content + exposition(await self._measured())


StrategyService.add_asgi_middleware(
    Guard,  # type: ignore[arg-type]
    keys=lambda: Keys.of(deployment().root),
    folder=lambda: deployment().root,
    reading=("/version",),
)

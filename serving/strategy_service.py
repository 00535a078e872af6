"""The strategy service: one promoted version, traded by a process of its own, asked and told over HTTP.

`quantai serve NAME` starts it; `bentoml serve serving.strategy_service:StrategyService` does, with QUANTAI_DEPLOYMENT.
The version is an exact tag: that of the file `model_tag.txt` beside this one in a built bento, else that of the
deployment.
"""

import atexit
import ctypes
import gc
import os
import signal
import sys
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import bentoml
from bentoml.models import BentoModel

from quantai.notebook.promote.store import get
from serving import pinned
from serving.bound import end_with_starter, stand_back
from serving.deployment import ENV, Deployment
from serving.guard import QUIET, Guard
from serving.keys import Keys
from serving.pinned import PINNED, WORKERS, tag
from serving.rest import PAGE, Desk, application
from serving.supervisor import ShadowSupervisor, Supervisor


@cache
def deployment() -> Deployment:
    """Return what is served, with the folder of its version; a bento serves its own, whatever the file says."""
    return replace(pinned.deployment(), model=str(get(tag()).folder))


@cache
def desk() -> Desk:
    """Return the served strategy, in this process."""
    return Desk(deployment())


def die_with_parent() -> None:
    """Ask for SIGTERM when the server is killed: a worker without one would answer for a run that has ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def control_page() -> Any:
    """Return the control page as an ASGI application, None without marimo.

    With several workers there is none: the calls of one visitor would reach processes that do not know them.
    """
    if WORKERS > 1 or find_spec("marimo") is None:
        return None
    import marimo

    page = str(Path(__file__).with_name("control_page.py"))
    return marimo.create_asgi_app(quiet=True).with_app(path="/", root=page).build()


@bentoml.asgi_app(application(desk, control_page()), path="/")
@bentoml.service(
    name="strategy", workers=WORKERS, traffic={"timeout": 60, "max_concurrency": 512}, **QUIET,
)  # fmt: skip
class StrategyService:
    """One strategy; the process that trades is started once for a deployment, before any worker."""

    if PINNED.exists() or os.environ.get(ENV):
        model = BentoModel(tag())

    @bentoml.on_deployment
    @staticmethod
    def supervise() -> None:
        """Start what trades, in the server's parent process."""
        end_with_starter()
        file = deployment().save()
        atexit.register(file.unlink, missing_ok=True)
        for supervisor in (Supervisor(deployment(), file), ShadowSupervisor(deployment(), file)):
            supervisor.start()
            atexit.register(supervisor.stop)

    @bentoml.on_startup
    async def start(self) -> None:
        """Be bound to the parent, and stand back behind the process that trades."""
        die_with_parent()
        stand_back()
        gc.collect()
        gc.freeze()  # what is there now stays: to look through it again and again would hold up answers

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
        """Whether this version trades, or is paused or reducing by somebody's decision."""
        said = desk().status
        return "run" in said and said["process"].get("tag") == said["tag"]


StrategyService.add_asgi_middleware(
    Guard,  # type: ignore[arg-type]
    keys=lambda: Keys.of(deployment().root),
    folder=lambda: deployment().root,
    reading=("/version",),
    page=PAGE,
)

"""The metrics of a served run: its process is asked at most once a second, however often they are scraped."""

import asyncio
import time
from contextlib import suppress
from typing import Any

from quantai.core.errors import QuantaiError
from quantai.execution.remote import RunControl
from serving.deployment import Deployment, read_json

KEEP_S = 1.0
"""How long an answer is good for."""


class Measurements:
    """What the run of a deployment measures; call it."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._at, self._known = 0.0, dict[str, Any]()
        self._asking = asyncio.Lock()

    async def __call__(self) -> dict[str, Any]:
        """Return it by name of metric; only what is served when the run does not answer."""
        async with self._asking:
            if time.monotonic() - self._at >= KEEP_S:
                self._known = await self._ask()
                self._at = time.monotonic()
            return self._known

    async def _ask(self) -> dict[str, Any]:
        d, said = self._deployment, read_json(self._deployment.state)
        found: dict[str, Any] = {}
        if said.get("journal"):
            with suppress(QuantaiError):
                found |= (await RunControl(said["journal"], timeout_s=5.0).tell("metrics"))["metrics"]
        return found | {"quantai_served": [[[d.tag, d.mode, str(said.get("state", ""))], 1]]}

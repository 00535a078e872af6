"""The reception of a run: takes what people and programs tell it, through the same inbox as everything else."""

import asyncio
import hmac
import json
import logging
from typing import Any, cast

from quantai.core.errors import InputError, QuantaiError, UnknownName
from quantai.core.plain import plain
from quantai.execution.controls import ALL, Control
from quantai.execution.inbox import Command
from quantai.execution.monitor.monitor import Monitor
from quantai.execution.monitor.scene import scene
from quantai.execution.remote import MOST_BYTES, VERBS, Address, announce, withdraw

CONTROLS = {
    "pause": Control.PAUSE,
    "reduce": Control.REDUCING,
    "stop": Control.STOP,
    "flatten": Control.FLATTEN,
    "kill": Control.KILL,
    "set": Control.PARAMETERS,
    "note": Control.NOTE,
    "resume": Control.RESUME,
}
"""The CONTROL row that a verb becomes."""

OF_ACCOUNTS = (Control.REDUCING, Control.KILL)
"""Controls that concern the account of a desk, and so every desk of that account."""

SAYING = ("set", "note")
"""Verbs whose parameters stand beside their row."""

_READ_S = 10.0
_log = logging.getLogger(__name__)


class Reception:
    """Listens for what a run is told while it trades; an asynchronous context manager.

    Raises StorageError when the address cannot be written beside the journal.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._loop, self._monitor = monitor.loop, monitor
        self._address: Address | None = None

    async def __aenter__(self) -> "Reception":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=MOST_BYTES)
        try:
            self._address = announce(self._loop.session.store.path, self._server.sockets[0].getsockname()[1])
        except BaseException:
            self._server.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._address is not None:
            withdraw(self._loop.session.store.path, self._address)
        self._server.close()
        self._server.close_clients()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_READ_S):
                line = await reader.readline()
            answer = await self._answer(line)
            writer.write(json.dumps(plain(answer)).encode() + b"\n")
            await writer.drain()
        except (TimeoutError, OSError, ValueError):  # somebody who says nothing, too much, or is gone
            pass
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            said = _request(line)
            if self._address is None or not hmac.compare_digest(str(said.get("token", "")), self._address.token):
                raise InputError("the token is not that of this run: read it from the .control file")
            return await self._obey(str(said.get("do", "")), int(said.get("desk", ALL)), said.get("parameters") or {})
        except (QuantaiError, TypeError, ValueError) as error:
            return {"error": " ".join(str(error).split())}

    async def _obey(self, verb: str, desk: int, parameters: Any) -> dict[str, Any]:
        loop = self._loop
        if verb == "status":
            return {"status": self._monitor.status().__dict__}
        if verb == "metrics":
            return {"metrics": self._monitor.measure()}
        if verb == "scene":
            return {"scene": scene(loop)}
        if verb == "end":
            loop.end()
            return {}
        if verb not in CONTROLS:
            raise UnknownName("command", verb, VERBS)
        desks = len(loop.oms.setup.desks)
        if not ALL <= desk < desks:
            raise InputError(f"there is no desk {desk}: this run has {desks}, numbered from 0; {ALL} is all of them")
        if verb in SAYING and not parameters:
            raise InputError("no parameter: say which, such as fast=5")
        what, row = CONTROLS[verb], 0
        if verb == "resume" and loop.oms.gate.accounts["state"].any():
            await self._put(Control.ACTIVE, self._account(desk), "")
        where = self._account(desk) if what in OF_ACCOUNTS else desk
        row = await self._put(what, where, json.dumps(parameters) if verb in SAYING else "")
        loop.session.store.flush()  # who is answered may rely on it
        return {"row": row}

    def _account(self, desk: int) -> int:
        return ALL if desk == ALL else int(self._loop.oms.portfolio.books.account[desk])

    async def _put(self, what: Control, desk: int, text: str) -> int:
        _log.warning("told: %s", what.name, extra={"event": "told", "what": what.name, "desk": desk, "said": text})
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._loop.inbox.put(Command(what, desk, text, done))
        return await done


def _request(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise InputError("a command is one line of JSON: token, do, desk, parameters")
    return cast("dict[str, Any]", said)

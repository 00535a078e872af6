"""The reception of a run: takes what people and programs tell it, through the same inbox as everything else."""

import asyncio
import hmac
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast

from quantai.core.errors import InputError, QuantaiError, UnknownName
from quantai.core.plain import plain
from quantai.execution.agree import at_work
from quantai.execution.controls import ALL, Control
from quantai.execution.inbox import Command
from quantai.execution.loop import Loop
from quantai.execution.reasons import TradingState
from quantai.execution.remote import MOST_BYTES, VERBS, Address, RunStatus, announce, withdraw
from quantai.feeds.crypto import CryptoFeed

CONTROLS = {
    "pause": Control.PAUSE,
    "reduce": Control.REDUCING,
    "stop": Control.STOP,
    "flatten": Control.FLATTEN,
    "kill": Control.KILL,
    "set": Control.PARAMETERS,
    "resume": Control.RESUME,
}
"""The CONTROL row that a verb becomes."""

OF_ACCOUNTS = (Control.REDUCING, Control.KILL)
"""Controls that concern the account of a desk, and so every desk of that account."""

_READ_S = 10.0
_log = logging.getLogger(__name__)


class Reception:
    """Listens for what a run is told while it trades; an asynchronous context manager.

    Raises StorageError when the address cannot be written beside the journal.
    """

    def __init__(self, loop: Loop, mode: str, feeds: Sequence[CryptoFeed] = ()) -> None:
        self._loop, self._mode, self._feeds = loop, mode, feeds
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
            return {"status": status_of(loop, self._mode, self._feeds).__dict__}
        if verb == "end":
            loop.end()
            return {}
        if verb not in CONTROLS:
            raise UnknownName("command", verb, VERBS)
        desks = len(loop.oms.setup.desks)
        if not ALL <= desk < desks:
            raise InputError(f"there is no desk {desk}: this run has {desks}, numbered from 0; {ALL} is all of them")
        if verb == "set" and not parameters:
            raise InputError("no parameter: say which, such as fast=5")
        what, row = CONTROLS[verb], 0
        if verb == "resume" and loop.oms.gate.accounts["state"].any():
            await self._put(Control.ACTIVE, self._account(desk), "")
        where = self._account(desk) if what in OF_ACCOUNTS else desk
        row = await self._put(what, where, json.dumps(parameters) if verb == "set" else "")
        loop.session.store.flush()  # who is answered may rely on it
        return {"row": row}

    def _account(self, desk: int) -> int:
        return ALL if desk == ALL else int(self._loop.oms.portfolio.books.account[desk])

    async def _put(self, what: Control, desk: int, text: str) -> int:
        _log.warning("told from outside: %s %s", what.name, text)
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._loop.inbox.put(Command(what, desk, text, done))
        return await done


def status_of(loop: Loop, mode: str, feeds: Sequence[CryptoFeed] = ()) -> RunStatus:
    """Return what a run is doing now."""
    oms, counts = loop.oms, loop.counts
    held = oms.portfolio.books.positions["qty"].sum(axis=0)
    return RunStatus(
        run=oms.setup.desks[0].run,
        mode=mode,
        journal=str(loop.session.store.path),
        pid=os.getpid(),
        state=_state(loop),
        rows=counts.rows,
        reports=counts.reports,
        intents=counts.intents,
        reconnects=counts.reconnects,
        quarantined=counts.quarantined,
        orders=len(oms.table),
        fills=int(oms.table.executions.used[0]),
        at_work=at_work(oms),
        positions={i.symbol: float(q) for i, q in zip(oms.setup.instruments, held, strict=True)},
        equity=sum(oms.portfolio.equity(account) for account in oms.portfolio.accounts),
        currency=oms.setup.currency,
        alarms=list(counts.alarms),
        feeds=[asdict(feed.health()) for feed in feeds],
        desks=[
            {"run": desk.run, "strategy": seat.name, "paused": stepper.muted, "parameters": dict(stepper.params)}
            for desk, seat, stepper in zip(oms.setup.desks, loop.floor.seats, loop.floor.desks, strict=True)
        ],
    )


def _state(loop: Loop) -> str:
    worst = TradingState(int(loop.oms.gate.accounts["state"].max()))
    if loop.ending:
        return "ending"
    if worst is not TradingState.ACTIVE:
        return worst.name.lower()
    if all(desk.muted for desk in loop.floor.desks):
        return "paused"
    return "trading" if loop.reconciled else "reconciling"


def _request(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise InputError("a command is one line of JSON: token, do, desk, parameters")
    return cast("dict[str, Any]", said)

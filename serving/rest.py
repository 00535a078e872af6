"""What can be asked and told over HTTP, as a Starlette application: reads from the journal, decisions to the run."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from quantai.core.errors import QuantaiError
from quantai.core.plain import plain
from quantai.execution.recovery import MANIFEST
from quantai.execution.remote import RunControl
from quantai.execution.retrace import describe, manifest_of
from quantai.execution.setup import Setup
from quantai.execution.trading_views import TradingViews
from quantai.journal import StoreReader, Stream
from quantai.notebook.promote import store
from serving.deployment import Deployment, read_json
from serving.keys import note

DECISIONS = ("pause", "resume", "reduce", "stop", "flatten", "kill")
_KEEP_S = 0.1
"""How long the status of a run is good for: a burst of questions asks it once."""
_MOST = 1_000


class Desk:
    """One served strategy as the HTTP side sees it."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self._status: tuple[float, dict[str, Any]] = (0.0, {})
        self._asking = asyncio.Lock()
        self._views: tuple[str, TradingViews] | None = None
        self._viewing = asyncio.Lock()

    @property
    def process(self) -> dict[str, Any]:
        """What the process that trades says of itself."""
        return read_json(self.deployment.state)

    @property
    def journal(self) -> Path | None:
        """The journal of the run."""
        said = self.process.get("journal")
        return Path(said) if said else None

    async def status(self) -> dict[str, Any]:
        """Return what the run is doing, at most `_KEEP_S` old; only what its process said when it does not answer."""
        async with self._asking:
            at, known = self._status
            if time.monotonic() - at < _KEEP_S:
                return known
            process = self.process
            said: dict[str, Any] = {"tag": self.deployment.tag, "mode": self.deployment.mode, "process": process}
            if process.get("journal"):
                with suppress(QuantaiError):
                    said |= {"run": (await RunControl(process["journal"], timeout_s=5.0).status()).__dict__}
            self._status = time.monotonic(), said
            return said

    async def sql(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of a query over the run's journal."""
        async with self._viewing:
            return await asyncio.to_thread(self._sql, query)

    def _sql(self, query: str) -> list[dict[str, Any]]:
        journal = str(self.journal or "")
        if self._views is None or self._views[0] != journal:
            if self._views is not None:
                self._views[1].close()
                self._views = None
            self._views = journal, TradingViews(journal)
        views = self._views[1]
        views.refresh()
        return views.sql(query).df().to_dict("records")

    def intents(self, after: int, most: int = _MOST) -> list[dict[str, Any]]:
        """Return intents after a row of the journal, in words."""
        with StoreReader(str(self.journal or "")) as reader:
            setup = Setup.of(manifest_of(reader)[MANIFEST])
            rows = reader.rows(Stream.INTENT, start=after + 1)[:most]
            return [{"seq": int(row["seq"]), "order": int(row["order"]), "what": describe(row, setup)} for row in rows]

    async def tell(self, verb: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        """Give the run a decision; raises InputError when it is not there or refuses."""
        self._status = (0.0, {})
        return await RunControl(str(self.journal or "no journal yet")).tell(verb, parameters=parameters)


def application(desk: Callable[[], Desk]) -> Starlette:
    """Return the application; `desk` is asked for at the first request, in the worker that serves it."""

    def answer(found: Any, code: int = 200) -> Response:
        return JSONResponse(plain(found), code)

    async def state(_: Request) -> Response:
        return answer(await desk().status())

    async def pnl(_: Request) -> Response:
        return answer(
            {"pnl": await desk().sql("SELECT * FROM pnl"), "accounts": await desk().sql("SELECT * FROM accounts")}
        )

    def table(name: str) -> Callable[[Request], Any]:
        async def show(_: Request) -> Response:
            return answer({name: await desk().sql(f"SELECT * FROM {name} LIMIT {_MOST}")})  # noqa: S608

        return show

    async def intents(request: Request) -> Response:
        after = request.query_params.get("after", "0")
        if not after.isdigit() or len(after) > 18:
            return answer({"error": f"after is the number of a row, not {after!r}"}, 400)
        return answer({"intents": await asyncio.to_thread(desk().intents, int(after))})

    async def parameters(_: Request) -> Response:
        desks = (await desk().status()).get("run", {}).get("desks", [])
        return answer({"parameters": desks[0]["parameters"] if desks else {}})

    def decision(verb: str) -> Callable[[Request], Any]:
        async def decide(request: Request) -> Response:
            return answer(await _noted(request, desk(), verb, desk().tell(verb)))

        return decide

    async def change(request: Request) -> Response:
        try:
            said: Any = json.loads(await request.body())
        except ValueError:
            said = None
        if not isinstance(said, dict) or not said:
            return answer({"error": 'parameters are a JSON object, for example {"fast": 5}'}, 400)
        return answer(await _noted(request, desk(), "set", desk().tell("set", said), parameters=said))

    async def promote(request: Request) -> Response:
        name = desk().deployment.tag.partition(":")[0]

        async def work() -> dict[str, Any]:
            tag = store.resolve(f"{name}:challenger")
            store.set_alias(name, "champion", tag.partition(":")[2], "over the API")
            return {"champion": tag, "note": "served from the next start on: quantai serve " + name}

        return answer(await _noted(request, desk(), "promote", work()))

    async def stream(request: Request) -> Response:
        return StreamingResponse(_events(request, desk()), media_type="text/event-stream")

    async def refuse(_: Request, error: Exception) -> Response:
        return answer({"error": " ".join(str(error).split())}, 409)

    return Starlette(
        routes=[
            Route("/state", state),
            Route("/positions", table("positions")),
            Route("/orders", table("order_states")),
            Route("/pnl", pnl),
            Route("/intents", intents),
            Route("/parameters", parameters, methods=["GET"]),
            Route("/parameters", change, methods=["PUT"]),
            Route("/challenger/promote", promote, methods=["POST"]),
            Route("/stream", stream),
            *(Route(f"/{verb}", decision(verb), methods=["POST"]) for verb in DECISIONS),
        ],
        exception_handlers={QuantaiError: refuse},
    )


async def _noted(request: Request, desk: Desk, verb: str, work: Any, **more: Any) -> dict[str, Any]:
    """Do something and log who did it, whether it worked or not."""
    key = request.scope.get("quantai.key")
    try:
        done = await work
    except QuantaiError as error:
        await asyncio.to_thread(note, desk.deployment.root, key, verb, refused=str(error), **more)
        raise
    await asyncio.to_thread(note, desk.deployment.root, key, verb, journal=str(desk.journal), answer=done, **more)
    return {"did": verb, **done}


async def _events(request: Request, desk: Desk) -> AsyncIterator[str]:
    """Server-sent events: the status once a second, and every intent."""
    after, journal, last = 0, desk.journal, 0.0
    while not await request.is_disconnected():
        if desk.journal != journal:
            after, journal = 0, desk.journal
        if time.monotonic() - last >= 1.0:
            last = time.monotonic()
            yield f"event: state\ndata: {json.dumps(plain(await desk.status()))}\n\n"
        found: list[dict[str, Any]] = []
        with suppress(QuantaiError):
            found = await asyncio.to_thread(desk.intents, after)
        for intent in found:
            after = intent["seq"]
            yield f"id: {after}\nevent: intent\ndata: {json.dumps(intent)}\n\n"
        await asyncio.sleep(0.25)

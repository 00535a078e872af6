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
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from quantai.core.errors import InputError, QuantaiError
from quantai.core.plain import plain
from quantai.execution.lease import is_free
from quantai.execution.monitor.metrics import exposition
from quantai.execution.recovery import MANIFEST
from quantai.execution.remote import VERBS, RunControl
from quantai.execution.retrace import describe, manifest_of
from quantai.execution.setup import Setup
from quantai.execution.trading_views import TradingViews
from quantai.journal import StoreReader, Stream
from quantai.notebook.promote import store
from serving import openapi
from serving.deployment import MODES, Deployment, read_json
from serving.keys import note
from serving.measurements import Measurements
from serving.openapi import operation, specification

DECISIONS = ("pause", "resume", "reduce", "stop", "flatten", "kill")
PAGE = "/control"
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
_KEEP_S = 0.1
"""How long a look at what the run wrote is good for."""
_SILENT_NS = 10_000_000_000
"""How old that may be: a process that writes nothing more is not known to trade."""
_MOST = 1_000
_TELL_S = 45.0
"""How long a run may take to answer a decision: less than the server gives a request, so it is noted either way."""
_MOST_STREAMS = 64
"""How many may listen at once: each takes one of the places of those who ask, and who decides must find one."""


class Desk:
    """One served strategy as the HTTP side sees it."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self._looked, self._status, self._encoded = 0.0, dict[str, Any](), b""
        self._told: dict[str, Any] = {}
        self._views: tuple[str, TradingViews] | None = None
        self._viewing = asyncio.Lock()
        self.measured, self.listeners = Measurements(deployment), 0

    @property
    def process(self) -> dict[str, Any]:
        """What the process that trades says of itself."""
        return read_json(self.deployment.state)

    @property
    def journal(self) -> Path | None:
        """The journal of the run."""
        said = self.process.get("journal")
        return Path(said) if said else None

    @property
    def status(self) -> dict[str, Any]:
        """What the run is doing, under "run" while it trades, and what its process says; a third of a second old."""
        if time.monotonic() - self._looked >= _KEEP_S:
            process = self.process
            self._status = {"tag": self.deployment.tag, "mode": self.deployment.mode, "process": process}
            if (run := self._run(process)) is not None:
                self._status["run"] = run
            self._encoded = json.dumps(plain(self._status)).encode()
            self._looked = time.monotonic()
        return self._status

    @property
    def encoded(self) -> bytes:
        """The status as JSON."""
        return self._encoded if self.status else b""

    def _run(self, process: dict[str, Any]) -> dict[str, Any] | None:
        """Return what the process wrote last, None where it does not trade or has fallen silent."""
        seen = max(read_json(self.deployment.snapshot), self._told, key=lambda said: said.get("at_ns", 0))
        fresh = 0 <= time.monotonic_ns() - seen.get("at_ns", 0) < _SILENT_NS
        if not fresh or seen["run"]["pid"] != process.get("pid") or is_free(self.deployment.lease):
            return None
        return seen["run"]

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
        control = RunControl(str(self.journal or "no journal yet"), timeout_s=_TELL_S)
        answer = await control.tell(verb, parameters=parameters)
        with suppress(QuantaiError):  # who decides, and asks at once, sees what was decided
            said = plain((await control.status()).__dict__)
            self._told, self._looked = {"at_ns": time.monotonic_ns(), "run": said}, 0.0
        return answer

    async def promote(self, version: str = "", reason: str = "over the API") -> dict[str, Any]:
        """Make the challenger, or another version, the champion; it is served from the next start on."""
        name = self.deployment.tag.partition(":")[0]
        tag = await asyncio.to_thread(store.resolve, f"{name}:{version or 'challenger'}")
        written = {"row": 0}
        with suppress(QuantaiError):  # the alias is beyond the run: it may have ended
            written = await self.tell("note", {"champion": tag, "reason": reason})
        await asyncio.to_thread(store.set_alias, name, "champion", tag.partition(":")[2], reason)
        return {"champion": tag, "note": f"served from the next start on: quantai serve {name}", **written}


def application(desk: Callable[[], Desk], page: Callable[..., Any] | None = None) -> Starlette:
    """Return the application; `desk` is asked for at the first request, in the worker that serves it.

    `page` is an ASGI application to be shown at PAGE.
    """

    def answer(found: Any, code: int = 200) -> Response:
        return JSONResponse(plain(found), code)

    async def state(_: Request) -> Response:
        return Response(desk().encoded, media_type="application/json")

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
        desks = desk().status.get("run", {}).get("desks", [])
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
        return answer(await _noted(request, desk(), "promote", desk().promote()))

    async def compare(_: Request) -> Response:
        found = read_json(desk().deployment.comparison)
        if not found:
            raise InputError("there is no challenger to compare with yet: promote another version")
        return answer(found)

    async def metrics(_: Request) -> Response:
        return PlainTextResponse(exposition(await desk().measured()), media_type=EXPOSITION)

    async def stream(request: Request) -> Response:
        if desk().listeners >= _MOST_STREAMS:
            return answer({"error": f"{_MOST_STREAMS} listen already"}, 429)
        return StreamingResponse(_events(request, desk()), media_type="text/event-stream")

    async def refuse(_: Request, error: Exception) -> Response:
        return answer({"error": " ".join(str(error).split())}, 409)

    async def described(_: Request) -> Response:
        return answer(specification("quantai strategy service", ABOUT, desk().deployment.tag, PATHS))

    async def read_or_change(request: Request) -> Response:
        return await (change if request.method == "PUT" else parameters)(request)

    return Starlette(
        routes=[
            Route("/state", state),
            Route("/positions", table("positions")),
            Route("/orders", table("order_states")),
            Route("/pnl", pnl),
            Route("/intents", intents),
            Route("/parameters", read_or_change, methods=["GET", "PUT"]),
            Route("/challenger", compare),
            Route("/challenger/promote", promote, methods=["POST"]),
            Route("/metrics", metrics),
            Route("/stream", stream),
            Route("/docs.json", described),
            Route("/openapi.json", described),
            *(Route(f"/{verb}", decision(verb), methods=["POST"]) for verb in DECISIONS),
            *([Mount(PAGE, page)] if page is not None else []),
        ],
        exception_handlers={QuantaiError: refuse},
    )


ABOUT = "A promoted strategy that trades. `GET /stream` sends server-sent events: `state` each second, every `intent`."
_DID = openapi.fields({"did": {"type": "string"}, "row": {"type": "integer"}}, ("did",))
PATHS: dict[str, dict[str, Any]] = {
    "/state": {"get": operation("What the run is doing", openapi.fields(
        {"tag": {"type": "string"}, "mode": {"enum": list(MODES)}, "process": openapi.ANY, "run": openapi.ANY},
        ("tag", "mode", "process"),
    ))},
    "/positions": {"get": operation("Positions", openapi.table("positions"), refuses=(409,))},
    "/orders": {"get": operation("Orders, each as it is now", openapi.table("order_states"), refuses=(409,))},
    "/pnl": {"get": operation("Profit and loss, and the accounts", openapi.fields(
        {"pnl": {"type": "array", "items": openapi.ANY}, "accounts": {"type": "array", "items": openapi.ANY}}
    ), refuses=(409,))},
    "/intents": {"get": operation(
        "What the strategy asked for after a row of the journal, in words", openapi.table("intents"),
        query={"after": {"type": "integer", "minimum": 0, "maximum": 10**17}}, refuses=(400, 409),
    )},
    "/parameters": {
        "get": operation("Parameters of the strategy", openapi.fields({"parameters": openapi.ANY})),
        "put": operation("Give the strategy other parameters", _DID, decides=True, takes={
            "type": "object", "minProperties": 1, "additionalProperties": {"type": ["number", "boolean", "string"]},
        }),
    },
    "/challenger": {"get": operation(
        "The run and its challenger on the same rows",
        openapi.fields({"rows": {"type": "integer"}, "run": openapi.ANY, "challenger": openapi.ANY}), refuses=(409,),
    )},
    "/challenger/promote": {"post": operation("Make the challenger the champion", _DID, decides=True)},
    **{f"/{verb}": {"post": operation(VERBS[verb], _DID, decides=True)} for verb in DECISIONS},
    "/livez": openapi.probe("Whether this worker answers"),
    "/readyz": openapi.probe("Whether the run trades"),
}  # fmt: skip
"""The interface as OpenAPI has it; a stream of events is beyond that."""


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
    desk.listeners += 1
    try:
        while not await request.is_disconnected():
            if desk.journal != journal:
                after, journal = 0, desk.journal
            if time.monotonic() - last >= 1.0:
                last = time.monotonic()
                yield f"event: state\ndata: {desk.encoded.decode()}\n\n"
            found: list[dict[str, Any]] = []
            with suppress(QuantaiError):
                found = await asyncio.to_thread(desk.intents, after)
            for intent in found:
                after = intent["seq"]
                yield f"id: {after}\nevent: intent\ndata: {json.dumps(intent)}\n\n"
            await asyncio.sleep(0.25)
    finally:
        desk.listeners -= 1

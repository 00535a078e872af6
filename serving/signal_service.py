"""The signal service: a promoted version as a stateless API, for those who trade elsewhere.

`quantai serve NAME --mode signal` starts it. Bars or rows in, targets out, the same as those of a backtest over the
same data: all at once by `POST /targets`, or one by one, a line of JSON each way, by `POST /stream`.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import bentoml
from bentoml.models import BentoModel
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from quantai.core.errors import DataError, QuantaiError
from quantai.core.plain import plain
from quantai.notebook.promote.store import get
from serving import openapi
from serving.bound import end_with_starter
from serving.deployment import ENV, Deployment
from serving.guard import QUIET, Guard
from serving.keys import Keys
from serving.openapi import operation, specification
from serving.pinned import PINNED, WORKERS, tag
from serving.signals import KINDS, Signals

MOST_LINE = 1 << 20
"""The longest line of a stream, bytes."""


@cache
def deployment() -> Deployment:
    """Return what is served."""
    return Deployment.load()


@cache
def signals() -> Signals:
    """Return the version that answers, after its golden rows have; raises DataError when it decides differently."""
    version = get(tag())
    if found := version.differences():
        raise DataError(f"{version.tag} does not decide as it was promoted: {found[0]}")
    return Signals(version)


async def targets(request: Request) -> Response:
    """Answer a batch."""
    try:
        said: Any = json.loads(await request.body())
    except (ValueError, RecursionError):
        said = None
    items = said.get(signals().takes) if isinstance(said, dict) else None
    if not isinstance(items, list):
        return JSONResponse({"error": f'send a JSON object {{"{signals().takes}": […]}}'}, 400)
    return JSONResponse(plain(await asyncio.to_thread(signals().batch, items)))


class Lines(StreamingResponse):
    """Lines that answer lines: unlike its parent it does not listen for the end, which would take the lines away."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what there is to say while more is read."""
        await self.stream_response(send)


async def stream(request: Request) -> Response:
    """Answer lines as they come."""
    return Lines(_lines(request), media_type="application/x-ndjson")


async def _lines(request: Request) -> AsyncIterator[bytes]:
    """Yield an answer to each line, which is one bar or row or a list of them; a line that is wrong ends the stream."""
    run, left = signals().stream(), b""
    try:
        async for piece in request.stream():
            left += piece
            *whole, left = left.split(b"\n")
            for line in whole:
                if line.strip():
                    yield await _answer(run, line)
            if len(left) > MOST_LINE:
                raise DataError(f"a line is longer than {MOST_LINE:,} bytes")
        if left.strip():
            yield await _answer(run, left)
    except (QuantaiError, ValueError, RecursionError) as error:
        yield json.dumps({"error": " ".join(str(error).split())}).encode() + b"\n"
    except ClientDisconnect:
        return


async def _answer(run: Any, line: bytes) -> bytes:
    said = json.loads(line)
    items = said if isinstance(said, list) else [said]
    return json.dumps(plain(await asyncio.to_thread(run.feed, items))).encode() + b"\n"


async def described(_: Request) -> Response:
    """Answer what the interface is."""
    return JSONResponse(specification("quantai signal service", ABOUT, tag(), paths(signals().takes)))


async def version(_: Request) -> Response:
    """Answer what is served."""
    found = signals().version
    said = {"tag": found.tag, "class": found.manifest["class"], "parameters": found.params, "takes": signals().takes}
    symbols = [i.symbol for i in signals().golden.instruments]
    return JSONResponse(plain(said | {"symbols": symbols, "interval": signals().golden.interval}))


async def refuse(_: Request, error: Exception) -> Response:
    """Answer what cannot be done."""
    return JSONResponse({"error": " ".join(str(error).split())}, 400)


ABOUT = "A promoted strategy that answers what it would ask for: nothing is kept between two calls, nothing is traded."


def paths(takes: str) -> dict[str, Any]:
    """Return the interface of a version that takes bars or rows."""
    nanoseconds = {"type": "integer", "minimum": 0}
    if takes == "bars":
        item = openapi.fields(
            {"ts_close": nanoseconds, **{name: {"type": "number"} for name in ("open", "high", "low", "close")}}
        )
    else:
        item = openapi.fields({"kind": {"enum": list(KINDS)}, "ts_recv": nanoseconds})
    intents: dict[str, Any] = {"type": "array", "items": openapi.ANY}
    answer = openapi.fields({"tag": {"type": "string"}, "intents": intents, "targets": openapi.NUMBERS})
    line = openapi.fields({"intents": intents, "targets": openapi.NUMBERS}, ())
    body = {"type": "array", "items": item}
    streamed = operation("The same, one by one: a line of JSON each way", line, media="application/x-ndjson")
    streamed["requestBody"] = {"required": True, "content": {"application/x-ndjson": {"schema": {"type": "string"}}}}
    return {
        "/targets": {"post": operation("What it asks for over these", answer, takes=openapi.fields({takes: body}))},
        "/stream": {"post": streamed},
        "/version": {"get": operation("What is served", openapi.fields({"tag": {"type": "string"}}))},
        "/livez": openapi.probe("Whether this worker answers"),
        "/readyz": openapi.probe("Whether it has checked what it serves"),
    }


ROUTES = [
    Route("/targets", targets, methods=["POST"]),
    Route("/stream", stream, methods=["POST"]),
    Route("/version", version),
    Route("/docs.json", described),
    Route("/openapi.json", described),
]


@bentoml.asgi_app(Starlette(routes=ROUTES, exception_handlers={QuantaiError: refuse}), path="/")
@bentoml.service(
    name="signal", workers=WORKERS, traffic={"timeout": 600, "max_concurrency": 64}, **QUIET,
)  # fmt: skip
class SignalService:
    """One version, checked at the start; nothing is kept between two calls."""

    if PINNED.exists() or os.environ.get(ENV):
        model = BentoModel(tag())

    @bentoml.on_deployment
    @staticmethod
    def bind() -> None:
        """End with whoever started the server, where that is wanted."""
        end_with_starter()

    def __init__(self) -> None:
        signals()

    @bentoml.api(route="/checked")
    def checked(self) -> str:
        """Return the tag of what was checked at the start."""
        return signals().version.tag


SignalService.add_asgi_middleware(
    Guard,  # type: ignore[arg-type]
    keys=lambda: Keys.of(deployment().root),
    folder=lambda: deployment().root,
    deciding=(),
    streaming=("/stream",),
)

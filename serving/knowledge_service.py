"""The knowledge base and the tools as a service.

    bentoml serve serving.knowledge_service:KnowledgeService

It goes by the settings (QUANTAI_KNOWLEDGE_PATH, QUANTAI_CHAT_MODEL, QUANTAI_LAKE, QUANTAI_SERVICE_EMBEDDING) and by the
keys that `serving/keys.py` describes. Without keys only this machine is answered. One worker: the store has one holder.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncGenerator, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import bentoml
from bentoml.exceptions import BadInput, BentoMLException
from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool
from starlette.routing import Mount

from quantai.core.errors import InputError, QuantaiError
from quantai.knowledge import Knowledge
from quantai.ops.config import settings
from serving.chat import PAGE, chat_page
from serving.guard import QUIET, Guard
from serving.keys import CALLER, Key, Keys
from serving.tool_calls import ToolCalls, mcp_application

DECIDING = ("/add", "/upload", "/remove")
"""What only an operator may ask for, and is noted; calls of tools are, by what the tool may do."""
TOOL_CALLS = ToolCalls(trusts=settings().service.trust)


class Forbidden(BentoMLException):
    """The caller's key does not allow this."""

    error_code = HTTPStatus.FORBIDDEN


def application() -> Starlette:
    """Return what is no API of BentoML's: the tools by MCP, and the page where people ask."""
    made = mcp_application(TOOL_CALLS)
    if (page := chat_page(TOOL_CALLS)) is not None:
        made.router.routes.append(Mount(PAGE, page))
    return made


@bentoml.asgi_app(application(), path="/")
@bentoml.service(name="quantai_knowledge", workers=1, traffic={"timeout": 600, "max_concurrency": 64}, **QUIET)
class KnowledgeService:
    """Search, ask, add, list and remove documents; list and call tools, also by MCP. OpenAPI is at /docs.json."""

    def __init__(self) -> None:
        self.kb = Knowledge(embedding=settings().service.embedding)
        TOOL_CALLS.knowledge = self.kb

    @bentoml.on_shutdown
    def close(self) -> None:
        """Let go of the store."""
        TOOL_CALLS.close()
        self.kb.close()

    @bentoml.api
    async def search(self, query: str, k: int = 10, collection: str = "") -> dict[str, Any]:
        """Return the passages that fit a query best, each with where it stands."""
        within = _within(CALLER.get(), collection)
        hits = await _done(lambda: self.kb.search(query, k, collection=within))
        return hits.as_dict()

    @bentoml.api
    async def ask(self, question: str, k: int = 5, collection: str = "") -> dict[str, Any]:
        """Answer a question from the documents, with citations."""
        within = _within(CALLER.get(), collection)
        answer = await _done(lambda: self.kb.ask(question, k, collection=within))
        return answer.as_dict()

    @bentoml.api
    async def stream(self, question: str, k: int = 5, collection: str = "") -> AsyncGenerator[str]:
        """As `ask`, as server-sent events: {"text": …} as it is written, then {"answer": …}."""
        within = _within(CALLER.get(), collection)
        stream = await _done(lambda: self.kb.stream(question, k, collection=within))
        async for piece in iterate_in_threadpool(iter(stream)):
            yield f"data: {json.dumps({'text': piece})}\n\n"
        yield f"data: {json.dumps({'answer': stream.answer.as_dict()})}\n\n"

    @bentoml.api
    async def add(self, urls: list[str], collection: str = "default", tags: list[str] = []) -> dict[str, Any]:  # noqa: B006
        """Fetch pages and add them; files come by `upload`, because a path here would be one of this machine."""
        within = _within(CALLER.get(), collection)
        if wrong := [url for url in urls if not url.startswith(("http://", "https://"))]:
            raise BadInput(f"{wrong[0]!r} is not the address of a page")
        return (await self._add(urls, within or "default", tags)).as_dict()

    @bentoml.api
    async def upload(self, file: Path, name: str, collection: str = "default", tags: list[str] = []) -> dict[str, Any]:  # noqa: B006
        """Add a file; one of the same name and collection is replaced."""
        within = _within(CALLER.get(), collection) or "default"
        if not re.fullmatch("[A-Za-z0-9_-]{1,60}", within):
            raise BadInput(f"collection {within!r}: use up to 60 letters, digits, - and _")
        path = self.kb.path / "uploads" / within / _file_name(name)
        await asyncio.to_thread(_keep, file, path)
        return (await self._add([str(path)], within, tags)).as_dict()

    @bentoml.api
    async def documents(self, collection: str = "") -> list[dict[str, Any]]:
        """List the documents."""
        key = CALLER.get()
        found = await _done(lambda: self.kb.list(_within(key, collection)))
        fields = ("source", "collection", "title", "kind", "tags", "date", "chunks")
        return [{name: getattr(one, name) for name in fields} for one in found]

    @bentoml.api
    async def remove(self, source: str, collection: str = "") -> dict[str, int]:
        """Remove a document."""
        within = _within(CALLER.get(), collection)
        return {"removed": await _done(lambda: self.kb.remove(source, within))}

    @bentoml.api
    async def tools(self) -> list[dict[str, Any]]:
        """List the tools that the caller may call, with their schemas and what they may do."""
        return [tool.as_dict() for tool in TOOL_CALLS.listed(CALLER.get())]

    @bentoml.api(route="/call")  # its own name would hide a method that BentoML calls
    async def call_tool(self, tool: str, arguments: dict[str, Any] = {}) -> dict[str, Any]:  # noqa: B006
        """Call a tool. What needs a person's approval is refused: here nobody can be asked."""
        if why := TOOL_CALLS.refusal(CALLER.get(), tool):
            raise Forbidden(why)
        answer = await TOOL_CALLS.call(CALLER.get(), tool, arguments)
        return {"tool": answer.tool, "ok": answer.ok, "content": answer.content, "cut": answer.cut}

    async def _add(self, sources: list[str], collection: str, tags: list[str]) -> Any:
        try:
            return await self.kb.aadd(*sources, collection=collection, tags=tags, quiet=True)
        except QuantaiError as error:
            raise BadInput(str(error)) from None


def _within(key: Key, collection: str) -> str | None:
    """Return the collection that the caller means, None for all; raises Forbidden for one that is not theirs."""
    if not key.collections:
        return collection or None
    if not collection and len(key.collections) == 1:
        return next(iter(key.collections))
    if collection not in key.collections:
        raise Forbidden(f"{key.name} may see {', '.join(sorted(key.collections))}: name one of them")
    return collection


async def _done[T](work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except QuantaiError as error:
        raise BadInput(str(error)) from None


def _file_name(name: str) -> str:
    """Return a name that cannot lead elsewhere; raises BadInput when nothing of it is left."""
    base = re.sub(r"[^\w.\- ]", "_", name.replace("\\", "/").rpartition("/")[2]).strip(". ")[-120:]
    if not base:
        raise BadInput(f"{name!r} cannot be the name of a file")
    return base


def _keep(file: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(file.read_bytes())
    temporary.replace(path)


def _keys() -> Keys:
    try:
        return Keys.of()
    except InputError as error:
        raise SystemExit(str(error)) from None


KEYS = _keys()
KnowledgeService.add_asgi_middleware(
    Guard,  # pyright: ignore[reportArgumentType]
    keys=lambda: KEYS,
    folder=lambda: settings().knowledge.path,
    deciding=DECIDING,
    noting=True,
    page=PAGE,
)

"""The knowledge base and the tools as a service.

    bentoml serve serving.knowledge_service:KnowledgeService

Besides the settings (QUANTAI_KNOWLEDGE_PATH, QUANTAI_CHAT_MODEL, QUANTAI_LAKE) it reads QUANTAI_SERVICE_KEYS, the file
of keys that `serving/keys.py` describes, and QUANTAI_SERVICE_EMBEDDING. Without a key file only this machine is
answered. One worker: the store has one holder.
"""

import asyncio
import hashlib
import json
import os
import re
from collections.abc import AsyncGenerator, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import bentoml
from bentoml.exceptions import BadInput, BentoMLException
from starlette.concurrency import iterate_in_threadpool

from quantai.core.errors import InputError, QuantaiError
from quantai.knowledge import Knowledge
from quantai.tools import Workspace, ready_tools
from serving.keys import CALLER, Guard, Key, read_keys

KEYS = os.environ.get("QUANTAI_SERVICE_KEYS", "")
EMBEDDING = os.environ.get("QUANTAI_SERVICE_EMBEDDING", "minilm")


class Forbidden(BentoMLException):
    """The caller's key does not allow this."""

    error_code = HTTPStatus.FORBIDDEN


@bentoml.service(name="quantai_knowledge", workers=1, traffic={"timeout": 600, "max_concurrency": 64})
class KnowledgeService:
    """Search, ask, add, list and remove documents; list and call tools. OpenAPI is at /docs.json."""

    def __init__(self) -> None:
        self.kb = Knowledge(embedding=EMBEDDING)
        self.workspaces: dict[str, Workspace] = {}
        ready_tools()

    @bentoml.on_shutdown
    def close(self) -> None:
        """Let go of the store."""
        for workspace in self.workspaces.values():
            workspace.__exit__()
        self.kb.close()

    @bentoml.api
    async def search(self, query: str, k: int = 10, collection: str = "") -> dict[str, Any]:
        """Return the passages that fit a query best, each with where it stands."""
        within = _within(_allowed("read"), collection)
        hits = await _done(lambda: self.kb.search(query, k, collection=within))
        return hits.as_dict()

    @bentoml.api
    async def ask(self, question: str, k: int = 5, collection: str = "") -> dict[str, Any]:
        """Answer a question from the documents, with citations."""
        within = _within(_allowed("read"), collection)
        answer = await _done(lambda: self.kb.ask(question, k, collection=within))
        return answer.as_dict()

    @bentoml.api
    async def stream(self, question: str, k: int = 5, collection: str = "") -> AsyncGenerator[str]:
        """As `ask`, as server-sent events: {"text": …} as it is written, then {"answer": …}."""
        within = _within(_allowed("read"), collection)
        stream = await _done(lambda: self.kb.stream(question, k, collection=within))
        async for piece in iterate_in_threadpool(iter(stream)):
            yield f"data: {json.dumps({'text': piece})}\n\n"
        yield f"data: {json.dumps({'answer': stream.answer.as_dict()})}\n\n"

    @bentoml.api
    async def add(self, urls: list[str], collection: str = "default", tags: list[str] = []) -> dict[str, Any]:  # noqa: B006
        """Fetch pages and add them; files come by `upload`, because a path here would be one of this machine."""
        within = _within(_allowed("write"), collection)
        if wrong := [url for url in urls if not url.startswith(("http://", "https://"))]:
            raise BadInput(f"{wrong[0]!r} is not the address of a page")
        return (await self._add(urls, within or "default", tags)).as_dict()

    @bentoml.api
    async def upload(self, file: Path, name: str, collection: str = "default", tags: list[str] = []) -> dict[str, Any]:  # noqa: B006
        """Add a file; one of the same name and collection is replaced."""
        within = _within(_allowed("write"), collection) or "default"
        path = self.kb.path / "uploads" / within / _file_name(name)
        await asyncio.to_thread(_keep, file, path)
        return (await self._add([str(path)], within, tags)).as_dict()

    @bentoml.api
    async def documents(self, collection: str = "") -> list[dict[str, Any]]:
        """List the documents."""
        key = _allowed("read")
        found = await _done(lambda: self.kb.list(_within(key, collection)))
        fields = ("source", "collection", "title", "kind", "tags", "date", "chunks")
        return [{name: getattr(one, name) for name in fields} for one in found]

    @bentoml.api
    async def remove(self, source: str, collection: str = "") -> dict[str, int]:
        """Remove a document."""
        within = _within(_allowed("write"), collection)
        return {"removed": await _done(lambda: self.kb.remove(source, within))}

    @bentoml.api
    async def tools(self) -> list[dict[str, Any]]:
        """List the tools with their schemas and what they may do."""
        _allowed("tools")
        return [tool.as_dict() for _, tool in sorted(ready_tools().items())]

    @bentoml.api(route="/call")  # its own name would hide a method that BentoML calls
    async def call_tool(self, tool: str, arguments: dict[str, Any] = {}) -> dict[str, Any]:  # noqa: B006
        """Call a tool. What needs a person's approval is refused: here nobody can be asked."""
        key = _allowed("tools")
        if key.collections:
            raise Forbidden(f"{key.name} may see some collections only, and tools see all")
        if key.name not in self.workspaces:
            folder = self.kb.path / "tools" / hashlib.sha256(key.name.encode()).hexdigest()[:12]
            self.workspaces[key.name] = Workspace(knowledge=self.kb, folder=folder)
        answer = await self.workspaces[key.name].call(tool, arguments)
        return {"tool": answer.tool, "ok": answer.ok, "content": answer.content, "cut": answer.cut}

    async def _add(self, sources: list[str], collection: str, tags: list[str]) -> Any:
        try:
            return await self.kb.aadd(*sources, collection=collection, tags=tags, quiet=True)
        except QuantaiError as error:
            raise BadInput(str(error)) from None


def _allowed(right: str) -> Key:
    """Return the caller, who may do this; raises Forbidden."""
    key = CALLER.get()
    if right not in key.may:
        raise Forbidden(f"{key.name} may not {right} here")
    return key


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


def _keys() -> list[Key] | None:
    if not KEYS:
        return None
    try:
        return read_keys(Path(KEYS))
    except InputError as error:
        raise SystemExit(str(error)) from None


KnowledgeService.add_asgi_middleware(Guard, keys=_keys())  # pyright: ignore[reportArgumentType]

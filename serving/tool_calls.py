"""Tools for the callers of the knowledge service, over REST and the Model Context Protocol: a workspace for each key.

A key that reads may call tools that read; an operator's also those that compute. What writes is asked of the person at
an MCP client that can ask one, and refused to everybody else.
"""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantai.core.errors import InputError
from quantai.knowledge import Knowledge
from quantai.knowledge.passages import Hits
from quantai.tools import Answer, Permission, Tool, Workspace, ready_tools
from quantai.tools.server import ask_client, mcp_server
from serving.keys import Key, note

if TYPE_CHECKING:
    from fastmcp import FastMCP
    from starlette.applications import Starlette


class Within:
    """What a key with collections sees of a knowledge base."""

    def __init__(self, knowledge: Knowledge, collections: frozenset[str]) -> None:
        self._knowledge, self._collections = knowledge, collections

    def search(self, query: str, k: int = 10) -> Hits:
        """As `Knowledge.search`, within its collections; of several the passages are merged by how well they match."""
        known = {document.collection for document in self._knowledge.list()}
        if not (seen := sorted(self._collections & known)):
            raise InputError("there are no documents yet in the collections of this key")
        hits = [self._knowledge.search(query, k, collection=name) for name in seen]
        passages = sorted((hit for one in hits for hit in one), key=lambda hit: -hit.match)
        return Hits(query, tuple(passages[:k]), any(one.found for one in hits), hits[0].notes, hits[0].elapsed_ms)


class ToolCalls:
    """Lets each key call what its role may. `trusts` says that what the knowledge base holds stops no tool."""

    def __init__(self, *, trusts: bool = False) -> None:
        self.knowledge: Knowledge | None = None
        self._trusts = trusts
        self._workspaces: dict[Key, Workspace] = {}

    def listed(self, key: Key) -> list[Tool]:
        """Return the tools that a key may call."""
        return [tool for _, tool in sorted(ready_tools().items()) if may_call(key, tool)]

    def refusal(self, key: Key, tool: str) -> str:
        """Return why a key may not call a tool, and note it; empty when it may."""
        known = ready_tools().get(tool)
        if known is None or may_call(key, known):
            return ""
        note(self._folder, key, "/call", tool=tool, refused=f"{known.permission.value} needs the role operate")
        return f"{key.name} may read only, and {tool} may {known.permission.value}"

    async def call(self, key: Key, tool: str, arguments: Mapping[str, Any], *, asks: bool = False) -> Answer:
        """Call a tool for a key; `asks` says that there is a person at an MCP client who can be asked."""
        known = ready_tools().get(tool)
        if why := self.refusal(key, tool):
            return Answer(tool, False, why)
        if not key.take(time.monotonic(), decides=known is not None and known.permission is not Permission.READ):
            return Answer(tool, False, f"{key.name}: too many calls, slow down")
        workspace = self._of(key)
        answer = await workspace.call(tool, arguments, approve=ask_client if asks else None)
        if self._trusts:
            workspace.trust()
        return answer

    def close(self) -> None:
        """Close the audits."""
        for workspace in self._workspaces.values():
            workspace.__exit__()
        self._workspaces.clear()

    @property
    def _folder(self) -> Path:
        if self.knowledge is None:
            raise InputError("the service has not started")
        return self.knowledge.path

    def _of(self, key: Key) -> Workspace:
        if key not in self._workspaces:  # two keys may have one name, and see other collections
            folder = self._folder / "tools" / hashlib.sha256(f"{key.name}{key.sha256}".encode()).hexdigest()[:12]
            seen = Within(self.knowledge, key.collections) if self.knowledge and key.collections else self.knowledge
            self._workspaces[key] = Workspace(knowledge=seen, folder=folder)
        return self._workspaces[key]


def may_call(key: Key, tool: Tool) -> bool:
    """Say whether a key's role allows a tool at all; what then asks a person is up to the policy."""
    return key.operates or tool.permission is Permission.READ


class _OfCaller:
    """The workspace of whoever sent the message that is answered, which the guard has let in."""

    def __init__(self, calls: ToolCalls) -> None:
        self._calls = calls

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> Answer:
        return await self._calls.call(caller(), tool, arguments, asks=True)


def caller() -> Key:
    """Return the key of the MCP message that is answered: a session may be used by another key than it began with."""
    from fastmcp.server.dependencies import get_http_request

    return get_http_request().scope["quantai.key"]


def mcp_application(calls: ToolCalls) -> "Starlette":
    """Return the MCP endpoint at /mcp (streamable HTTP), behind the guard of the service."""
    from fastmcp.server.middleware import Middleware

    class ByRole(Middleware):
        """Lists what the caller may call."""

        async def on_list_tools(self, context: Any, call_next: Any) -> Any:
            allowed = {tool.name for tool in calls.listed(caller())}
            return [tool for tool in await call_next(context) if tool.name in allowed]

    server: FastMCP[Any] = mcp_server(_OfCaller(calls))
    server.add_middleware(ByRole())
    return server.http_app(path="/mcp", host_origin_protection=False)  # the guard has its own

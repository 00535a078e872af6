"""The tools as an MCP server, over stdio or HTTP."""

import hmac
import ipaddress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from quantai.core.errors import InputError, MissingExtra
from quantai.ops.secrets import find_secret
from quantai.tools.permissions import Request
from quantai.tools.ready import ready_tools
from quantai.tools.workspace import Calls, Workspace

if TYPE_CHECKING:
    from fastmcp import FastMCP

KEY = "QUANTAI_TOOLS_KEY"
"""The environment variable with the key that callers over HTTP send as `Authorization: Bearer …`."""


def mcp_server(workspace: Workspace | Calls, *, key: str | None = None) -> "FastMCP[Any]":
    """Return an MCP server of every registered tool; what needs approval is asked of the person at the client.

    Instead of a workspace it takes anything with its `call`, which then sees to approval. A client that cannot ask its
    user (that has no elicitation) is a client without anybody to ask: such calls are refused. With a `key`, HTTP
    callers have to send it. Raises MissingExtra.
    """
    try:
        from fastmcp import FastMCP
    except ImportError:
        raise MissingExtra("fastmcp", "knowledge") from None
    from quantai.tools.forms import to_mcp

    if isinstance(workspace, Workspace) and workspace.policy.approve is None:
        workspace.policy = replace(workspace.policy, approve=ask_client)
    return FastMCP(
        "quantai",
        instructions="Tools of a workbench for quantitative research. Things have names: load_data gives bars-1.",
        tools=[to_mcp(tool, workspace) for _, tool in sorted(ready_tools().items())],
        auth=_keyed(key) if key else None,
    )


def serve_http(workspace: Workspace, host: str, port: int) -> None:
    """Serve over HTTP until interrupted; anywhere but on loopback a key has to be in the environment.

    On loopback only requests to this machine's own name are answered, and none of a page of another site: a browser
    would pass on what such a page asks, and the page would answer what is asked of the person. Raises InputError
    without a key that is needed.
    """
    key = find_secret("tools_key")
    if not key and not _is_loopback(host):
        raise InputError(f"{host} can be reached from elsewhere: put a key into ${KEY}, or use 127.0.0.1")
    mcp_server(workspace, key=key or None).run(
        transport="http",
        host=host,
        port=port,
        host_origin_protection="auto",
        show_banner=False,
        uvicorn_config={"log_level": "warning"},
    )


def serve_stdio(workspace: Workspace) -> None:
    """Serve over standard input and output until they close."""
    mcp_server(workspace).run(transport="stdio", show_banner=False)


async def ask_client(request: Request) -> bool:
    """Ask the person at the MCP client whose call is being answered."""
    from fastmcp.server.dependencies import get_context

    asked = ", ".join(f"{name}={value!r}" for name, value in request.arguments.items())
    answer = await get_context().elicit(
        f"Run {request.tool}({asked})? It needs approval: {request.why}.", ["yes", "no"]
    )
    return answer.action == "accept" and getattr(answer, "data", None) == "yes"


def _keyed(key: str) -> Any:
    from fastmcp.server.auth import AccessToken, TokenVerifier

    class Keyed(TokenVerifier):
        """Knows one key."""

        async def verify_token(self, token: str) -> AccessToken | None:
            if hmac.compare_digest(token.encode(), key.encode()):
                return AccessToken(token=token, client_id="quantai", scopes=[])
            return None

    return Keyed()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

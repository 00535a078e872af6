"""The forms of a tool: one schema, as JSON, for OpenAI's API, for LangChain and for the Model Context Protocol."""

import asyncio
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from quantai.core.errors import MissingExtra
from quantai.tools.permissions import Approver, Permission
from quantai.tools.registry import Tool

if TYPE_CHECKING:
    from fastmcp.tools import Tool as McpTool
    from langchain_core.tools import StructuredTool

    from quantai.tools.workspace import Calls, Workspace


def to_openai(tool: Tool) -> dict[str, Any]:
    """Return the tool as OpenAI's chat API and everything compatible take it."""
    said = {"name": tool.name, "description": tool.description, "parameters": dict(tool.schema)}
    return {"type": "function", "function": said}


def to_langchain(
    tool: Tool, workspace: "Workspace", approve: Approver | None = None, one: asyncio.Lock | None = None
) -> "StructuredTool":
    """Return the tool for LangChain; its calls go through the workspace. Raises MissingExtra.

    What it returns is text for the model; the `Answer` itself is the artifact of LangChain's message. `approve` is
    asked instead of the policy's; calls that share the lock `one` run one after another.
    """
    try:
        from langchain_core.tools import StructuredTool
    except ImportError:
        raise MissingExtra("langchain", "knowledge") from None

    async def call(**arguments: Any) -> tuple[str, Any]:
        async with one or nullcontext():
            answer = await workspace.call(tool.name, arguments, approve=approve)
        return answer.text(), answer

    return StructuredTool(
        name=tool.name,
        description=tool.description,
        args_schema=dict(tool.schema),
        func=None,
        coroutine=call,
        response_format="content_and_artifact",
    )


def to_mcp(tool: Tool, workspace: "Calls") -> "McpTool":
    """Return the tool for an MCP server; its calls go through the workspace. Raises MissingExtra."""
    try:
        from fastmcp.exceptions import ToolError
        from fastmcp.tools import Tool as McpTool
        from fastmcp.tools import ToolResult
        from mcp_types import ToolAnnotations
    except ImportError:
        raise MissingExtra("fastmcp", "knowledge") from None

    class Called(McpTool):
        """One tool of ours."""

        async def run(self, arguments: dict[str, Any]) -> ToolResult:
            answer = await workspace.call(tool.name, arguments)
            if not answer.ok:
                raise ToolError(answer.text() if answer.foreign else str(answer.content))
            return ToolResult(content=answer.text(), structured_content=answer.said())

    harmless = tool.permission in (Permission.READ, Permission.COMPUTE)
    return Called(
        name=tool.name,
        description=tool.description,
        parameters=dict(tool.schema),
        tags={tool.category, tool.permission.value},
        annotations=ToolAnnotations(read_only_hint=harmless, destructive_hint=not harmless, open_world_hint=False),
    )

"""Tools: typed functions that a model, a program or another machine may call, each registered once.

- `tool`              makes a function a tool: `@qa.tool`
- `search`, `get`, `categories`, `TOOLS`   what there is
- `Workspace`         what the calls of one conversation share; `workspace.call(name, arguments)` is the one door
- `Policy`, `Permission`   what runs unasked, what a person approves, what is refused
- `forms`             the same tool for OpenAI's API, LangChain and the Model Context Protocol
- `server`            all of them as an MCP server
- `audit`             every call in a journal
- `assistant`         a chat model that works with the tools: `qa.Assistant`
- `lake`, `research`, `runs`, `reading`, `orders`   the ready tools; `ready_tools()` registers them
"""

from quantai.core.errors import MissingExtra

try:
    from quantai.tools.permissions import Permission, Policy, Request
    from quantai.tools.ready import ready_tools
    from quantai.tools.registry import TOOLS, Tool, categories, get, search, tool
    from quantai.tools.workspace import Answer, Workspace
except ImportError as error:
    if error.name != "pydantic":
        raise
    raise MissingExtra("pydantic", "knowledge") from None

__all__ = [
    "TOOLS",
    "Answer",
    "Permission",
    "Policy",
    "Request",
    "Tool",
    "Workspace",
    "categories",
    "get",
    "ready_tools",
    "search",
    "tool",
]

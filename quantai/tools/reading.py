"""Tools that read what others wrote: the knowledge base. What they return is data, and leads to nothing by itself."""

from typing import Annotated, Any

from pydantic import Field

from quantai.core.errors import InputError
from quantai.tools.registry import tool
from quantai.tools.workspace import Workspace


@tool(permission="read", category="knowledge", foreign=True, examples=[{"query": "deflated Sharpe ratio", "most": 3}])
def search_knowledge(
    workspace: Workspace,
    query: Annotated[str, "what to look for, in words"],
    most: Annotated[int, Field(ge=1, le=20, description="passages to return")] = 5,
) -> list[dict[str, Any]]:
    """Search the knowledge base; returns passages, each with the number to cite it by, such as [2]."""
    if workspace.knowledge is None:
        raise InputError("this workspace has no knowledge base: pass knowledge=qa.Knowledge()")
    hits = workspace.knowledge.search(query, most)
    return [
        {
            "cite": workspace.cite(hit),
            "where": hit.citation,
            "link": hit.link,
            "match": round(hit.match, 2),
            "text": hit.text,
        }
        for hit in hits
    ]

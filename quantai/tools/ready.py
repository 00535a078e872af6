"""The ready tools."""

from importlib import import_module

from quantai.tools.registry import TOOLS, Tool

_HOMES = (
    "quantai.tools.lake",
    "quantai.tools.orders",
    "quantai.tools.reading",
    "quantai.tools.research",
    "quantai.tools.runs",
    "quantai.notebook.promote.tool",  # above this room: it registers itself here, and is known by name only
)


def ready_tools() -> dict[str, Tool]:
    """Register the ready tools and return every tool by name.

    >>> ready_tools()["backtest"].permission.value
    'compute'
    """
    for home in _HOMES:
        import_module(home)
    return TOOLS

"""The ready tools."""

from importlib import import_module

from quantai.tools.registry import TOOLS, Tool

_HOMES = ("lake", "orders", "reading", "research", "runs")


def ready_tools() -> dict[str, Tool]:
    """Register the ready tools and return every tool by name.

    >>> ready_tools()["backtest"].permission.value
    'compute'
    """
    for home in _HOMES:
        import_module(f"quantai.tools.{home}")
    return TOOLS

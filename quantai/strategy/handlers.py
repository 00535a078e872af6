"""The names a driver is written against: handlers that do nothing, replaced by the user's in each kernel.

A driver (`backtest.bar_loop.run_bars`) imports these, and so is an ordinary function that runs a strategy of no
handlers; the compiler and `uncompiled` put those of a class in their place. `has_on_bar` and the like say whether the
class defines one: constants, by which a compiled driver drops what is never called.
"""

from typing import Any

from quantai.core.rows import BAR, EVENT, ORDER
from quantai.strategy.context import BOOK

HANDLERS: dict[str, tuple[str, ...]] = {
    "on_start": (),
    "on_trade": ("trade",),
    "on_book": ("book",),
    "on_quote": ("book",),
    "on_bar": ("bar",),
    "on_funding": ("funding",),
    "on_timer": (),
    "on_fill": ("fill",),
    "on_order": ("order",),
}
"""Handlers and what each receives after (self, ctx)."""

ROW_FIELDS: dict[str, tuple[str, ...]] = {
    name: dtype.names or ()
    for name, dtype in {
        "trade": EVENT,
        "funding": EVENT,
        "fill": EVENT,
        "bar": BAR,
        "book": BOOK,
        "order": ORDER,
    }.items()
}
"""The fields of what a handler receives."""

UNSIGNED = frozenset(name for dtype in (EVENT, BAR, ORDER) for name in dtype.names or () if dtype[name].kind == "u")
"""Fields of those rows whose arithmetic would wrap below zero."""

has_on_start = has_on_trade = has_on_book = has_on_quote = has_on_bar = False
has_on_funding = has_on_timer = has_on_fill = has_on_order = False


def on_start(self: Any, ctx: Any) -> None:
    """Before the first row."""


def on_trade(self: Any, ctx: Any, trade: Any) -> None:
    """A trade of the market was received."""


def on_book(self: Any, ctx: Any, book: Any) -> None:
    """A book changed: once a venue message, after its last level."""


def on_quote(self: Any, ctx: Any, book: Any) -> None:
    """A best bid and ask were received."""


def on_bar(self: Any, ctx: Any, bar: Any) -> None:
    """A bar closed."""


def on_funding(self: Any, ctx: Any, funding: Any) -> None:
    """A funding rate was received."""


def on_timer(self: Any, ctx: Any) -> None:
    """The period asked for with ctx.every has passed."""


def on_fill(self: Any, ctx: Any, fill: Any) -> None:
    """An order of ours traded."""


def on_order(self: Any, ctx: Any, order: Any) -> None:
    """An order of ours ended: filled, canceled, refused or expired."""

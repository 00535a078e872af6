"""The driver of a replay: one function, specialised to each strategy by the compiler, run also uncompiled.

It asks `step_ticks` for the next thing the strategy is to hear of (a row, a report, a timer) and calls the handler.
Everything the strategy does not listen to is passed over in batches: a strategy that only has `on_timer` never stops
for a row.
"""

from typing import Any

from quantai.backtest.tick_local import send_intents, step_ticks
from quantai.backtest.tick_reports import free_order_slot
from quantai.backtest.tick_state import ON_REPORT, ON_TIMER, REPORTED
from quantai.core.rows import Kind
from quantai.strategy.handlers import (
    has_on_book,
    has_on_fill,
    has_on_funding,
    has_on_order,
    has_on_quote,
    has_on_start,
    has_on_timer,
    has_on_trade,
    on_book,
    on_fill,
    on_funding,
    on_order,
    on_quote,
    on_start,
    on_timer,
    on_trade,
)
from quantai.strategy.heard import (
    BOOK_ROW,
    FUNDED,
    NOTHING,
    ON_BOOK,
    ON_FUNDING,
    ON_QUOTE,
    ON_TRADE,
    QUOTE_ROW,
    START,
    TICK,
    TRADE_ROW,
)

_FILL = int(Kind.FILL)


def run_ticks(rows: Any, me: Any, ctx: Any, local: Any, sim: Any, orders: Any, books: Any, event: Any) -> None:
    """Run the strategy over the rows fed, up to the horizon of the exchange or until the logs have to be drained."""
    m, c, p, x = me[0], ctx[0], local[0], sim[0]
    wants = 0
    if has_on_trade:
        wants |= ON_TRADE
    if has_on_book:
        wants |= ON_BOOK
    if has_on_quote:
        wants |= ON_QUOTE
    if has_on_funding:
        wants |= ON_FUNDING
    if has_on_fill or has_on_order:
        wants |= ON_REPORT
    if has_on_timer:
        wants |= ON_TIMER
    while True:
        what = step_ticks(c, p, x, wants)
        if what == NOTHING:
            break
        if what == TICK:
            if has_on_timer:
                on_timer(m, c)
        elif what == TRADE_ROW:
            if has_on_trade:
                on_trade(m, c, rows[p.row])
        elif what == BOOK_ROW:
            if has_on_book:
                on_book(m, c, books[c.instrument])
        elif what == QUOTE_ROW:
            if has_on_quote:
                on_quote(m, c, books[c.instrument])
        elif what == FUNDED:
            if has_on_funding:
                on_funding(m, c, rows[p.row])
        elif what == REPORTED:
            if has_on_fill and p.kind == _FILL:
                on_fill(m, c, event[0])
            if has_on_order and p.slot >= 0:
                on_order(m, c, orders[p.slot])
            free_order_slot(c, p)
        elif what == START and has_on_start:
            on_start(m, c)
        if c.n_intents > 0:
            send_intents(c, p, x, wants)

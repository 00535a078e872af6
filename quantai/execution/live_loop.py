"""The driver of a run that goes on: one function, specialised to each strategy by the compiler, run also uncompiled.

It is to live trading what `backtest.tick_loop` is to a replay: it asks for the next thing the strategy is to hear of
and calls the same handlers. It returns at the first row that makes the strategy ask for something.
"""

from typing import Any

from quantai.execution.sight import BAR_ROW, ON_BAR, REPORTED, free_slot, look, settle
from quantai.strategy.handlers import (
    has_on_bar,
    has_on_book,
    has_on_fill,
    has_on_funding,
    has_on_order,
    has_on_quote,
    has_on_start,
    has_on_timer,
    has_on_trade,
    on_bar,
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


def run_live(rows: Any, bars: Any, me: Any, ctx: Any, sight: Any, orders: Any, books: Any, event: Any) -> None:
    """Run the strategy over the rows at hand, up to the first after which it asks for something."""
    m, c, s = me[0], ctx[0], sight[0]
    wants = 0
    if has_on_trade:
        wants |= ON_TRADE
    if has_on_book:
        wants |= ON_BOOK
    if has_on_quote:
        wants |= ON_QUOTE
    if has_on_funding:
        wants |= ON_FUNDING
    if has_on_bar:
        wants |= ON_BAR
    while True:
        what = look(c, s, wants)
        if what == NOTHING:
            break
        if what == TICK:
            if has_on_timer:
                on_timer(m, c)
        elif what == TRADE_ROW:
            if has_on_trade:
                on_trade(m, c, rows[s.row - 1])
        elif what == BOOK_ROW:
            if has_on_book:
                on_book(m, c, books[c.instrument])
        elif what == QUOTE_ROW:
            if has_on_quote:
                on_quote(m, c, books[c.instrument])
        elif what == FUNDED:
            if has_on_funding:
                on_funding(m, c, rows[s.row - 1])
        elif what == BAR_ROW:
            if has_on_bar and (s.bar_ns == 0 or bars[s.bar].ts_close - bars[s.bar].ts_open == s.bar_ns):
                on_bar(m, c, bars[s.bar])
        elif what == REPORTED:
            if has_on_fill and s.traded == 1:
                on_fill(m, c, event[0])
            if has_on_order and s.slot >= 0:
                on_order(m, c, orders[s.slot])
            free_slot(c, s)
        elif what == START and has_on_start:
            on_start(m, c)
        if c.n_intents > 0 and settle(c, s):
            break

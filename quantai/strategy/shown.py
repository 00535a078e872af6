"""What a strategy is shown of one instrument, in a replay and live alike: the top of its book, and its price."""

from typing import Any

from quantai.core.compiled import uncounted_inlined
from quantai.core.instruments import Payoff
from quantai.strategy.context import books_of, instruments_of, positions_of

_INVERSE = int(Payoff.INVERSE)


@uncounted_inlined
def show_top(
    c: Any, i: int, has_bid: bool, has_ask: bool, bid: int, ask: int, bid_px: float, ask_px: float, bid_qty: float,
    ask_qty: float, last: float, stale: bool,
) -> None:  # fmt: skip
    """Write the BOOK and the price of instrument `i`: best prices in ticks and in quote currency, quantities in units.

    `last` is the last trade, 0.0 before any.

    All that is shown follows from the rows so far and from what the account holds, never from what was shown before:
    strategies that look more often would otherwise be told other prices. The price is the mid of a valid book, else
    the last trade, else the middle or the one side of what is left of the book, else what the position cost on
    average, else 0.0.
    """
    book, inst, position = books_of(c)[i], instruments_of(c)[i], positions_of(c)[i]
    book.bid_ticks = bid if has_bid else 0
    book.ask_ticks = ask if has_ask else 0
    book.bid = bid_px if has_bid else 0.0
    book.ask = ask_px if has_ask else 0.0
    book.bid_qty = bid_qty if has_bid else 0.0
    book.ask_qty = ask_qty if has_ask else 0.0
    book.valid = 1 if has_bid and has_ask and bid < ask and not stale else 0
    book.ts = c.now
    if book.valid == 1:
        position.px = 0.5 * (book.bid + book.ask)
    elif last > 0.0:
        position.px = last
    elif has_bid and has_ask:
        position.px = 0.5 * (book.bid + book.ask)
    elif has_bid:
        position.px = book.bid
    elif has_ask:
        position.px = book.ask
    else:
        position.px = cost_of_one(position, inst)


@uncounted_inlined
def cost_of_one(position: Any, inst: Any) -> float:
    """Return the price at which a position is worth what it cost: its average entry, 0.0 for no position."""
    if position.lots == 0 or position.cost == 0.0:
        return 0.0
    if inst.payoff == _INVERSE:
        return -inst.multiplier * position.qty / position.cost
    return position.cost / (inst.multiplier * position.qty)

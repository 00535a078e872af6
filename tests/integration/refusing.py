"""A strategy that asks for one order again and again: for the tests of what an exchange refuses."""

from typing import Any

import quantai as qa


class Asks(qa.Strategy):
    """Asks to buy four times a second, `away` (a fraction) below the bid; at the market when that is 0."""

    qty: float = 0.01
    away: float = 0.0

    def on_start(self, ctx: Any) -> None:
        """Begin to ask."""
        ctx.every(250 * qa.MS)

    def on_timer(self, ctx: Any) -> None:
        """Ask."""
        book = ctx.book(0)
        if book.valid and self.away > 0.0:
            ctx.buy(self.qty, limit=book.bid * (1.0 - self.away))
        elif book.valid:
            ctx.buy(self.qty)

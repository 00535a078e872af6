"""Example strategies: a trend follower and a mean reverter on bars, a market maker on ticks."""

from typing import Any

from quantai.core.rows import BUY, MS, SELL
from quantai.strategy import indicators as ind
from quantai.strategy.base import Strategy
from quantai.strategy.fields import state


class Cross(Strategy):
    """Long while a fast exponential average is above a slow one, flat otherwise."""

    fast: int = 10
    slow: int = 50
    ema_fast = ind.ema("fast")
    ema_slow = ind.ema("slow")

    def on_bar(self, ctx: Any, bar: Any) -> None:
        """Compare the averages at each close, once the slow one has seen enough."""
        fast = self.ema_fast.update(bar.close)
        slow = self.ema_slow.update(bar.close)
        if self.ema_slow.ready:
            ctx.target(1.0 if fast > slow else 0.0)


class Reversion(Strategy):
    """Buy below the lower Bollinger band, leave at the mean; at most one entry a swing."""

    period: int = 20
    weight: float = 1.0
    bands = ind.bollinger("period", width=2.0)
    entered: bool = state(False)

    def on_bar(self, ctx: Any, bar: Any) -> None:
        """Enter and leave at closes."""
        middle = self.bands.update(bar.close)
        if not self.bands.ready:
            return
        if not self.entered and bar.close < self.bands.lower:
            self.entered = True
            ctx.target(self.weight)
        elif self.entered and bar.close >= middle:
            self.entered = False
            ctx.target(0.0)


class Quote(Strategy):
    """Quote both sides at the touch, `offset` ticks behind it, within an inventory limit."""

    offset: int = 0
    qty: float = 0.01
    max_position: float = 0.1

    def on_start(self, ctx: Any) -> None:
        """Requote ten times a second."""
        ctx.every(100 * MS)

    def on_timer(self, ctx: Any) -> None:
        """Keep one order a side at the touch; stop adding at the inventory limit."""
        book = ctx.book(0)
        if not book.valid:
            return
        if ctx.position(0) < self.max_position - 1e-9:
            ctx.quote(0, BUY, book.bid_ticks - self.offset, self.qty)
        else:
            ctx.unquote(0, BUY)
        if ctx.position(0) > -self.max_position + 1e-9:
            ctx.quote(0, SELL, book.ask_ticks + self.offset, self.qty)
        else:
            ctx.unquote(0, SELL)

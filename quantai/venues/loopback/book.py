"""An exact book with price-time priority, in whole ticks and lots: client orders and the market in the same queues.

The market's own size at a price has no owner and stands in the same queue as client orders, so that what is ahead of an
order is really ahead of it.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator

from quantai.venues.loopback.orders import Order


class Resting:
    """A place in a queue: an order, or size of the market (None), with the lots it still offers."""

    __slots__ = ("lots", "order")

    def __init__(self, order: Order | None, lots: int) -> None:
        self.order, self.lots = order, lots


class Level:
    """The queue at one price; `total` and `anonymous` (the market's part of it) in lots."""

    __slots__ = ("anonymous", "queue", "total")

    def __init__(self) -> None:
        self.queue: deque[Resting] = deque()
        self.total = self.anonymous = 0


class Book:
    """Bids (+1) and asks (-1) of one symbol.

    `update` numbers every change, as `lastUpdateId` does; `changed` holds the levels touched since it was last cleared.
    """

    def __init__(self) -> None:
        self.levels: dict[int, dict[int, Level]] = {1: {}, -1: {}}
        self.update = 1_000
        self.changed: dict[tuple[int, int], None] = {}
        self._prices: dict[int, list[int]] = {1: [], -1: []}  # ascending; the best bid stands last, the best ask first

    def best(self, side: int) -> int | None:
        """Return the best price of a side in ticks, None when it is empty."""
        prices = self._prices[side]
        return (prices[-1] if side > 0 else prices[0]) if prices else None

    def total(self, side: int, ticks: int) -> int:
        """Return the lots at a price."""
        level = self.levels[side].get(ticks)
        return level.total if level else 0

    def depth(self, side: int, limit: int) -> list[tuple[int, int]]:
        """Return the best `limit` levels of a side as (ticks, lots), best first."""
        prices, levels = self._prices[side], self.levels[side]
        best = prices[: -limit - 1 : -1] if side > 0 else prices[:limit]
        return [(ticks, levels[ticks].total) for ticks in best]

    def join(self, side: int, ticks: int, lots: int, order: Order | None = None) -> None:
        """Put `lots` at the end of the queue at a price."""
        level = self.levels[side].get(ticks)
        if level is None:
            level = self.levels[side][ticks] = Level()
            insort(self._prices[side], ticks)
        if order is None and level.queue and level.queue[-1].order is None:
            level.queue[-1].lots += lots
        else:
            level.queue.append(Resting(order, lots))
        level.total += lots
        if order is None:
            level.anonymous += lots
        self._touch(side, ticks)

    def fill(self, side: int, ticks: int, resting: Resting, lots: int) -> None:
        """Take `lots` from a place in the queue at a price, and the place away when it is empty."""
        level = self.levels[side][ticks]
        resting.lots -= lots
        level.total -= lots
        if resting.order is None:
            level.anonymous -= lots
        if not resting.lots:
            level.queue.remove(resting) if level.queue[0] is not resting else level.queue.popleft()
        self._touch(side, ticks)
        if not level.queue:
            self._drop(side, ticks)

    def leave(self, order: Order) -> None:
        """Take an order out of its queue; nothing happens when it is not there."""
        level = self.levels[order.side].get(order.ticks)
        place = next((place for place in level.queue if place.order is order), None) if level else None
        if place is not None:
            self.fill(order.side, order.ticks, place, place.lots)

    def shrink(self, side: int, ticks: int, lots: int) -> None:
        """Take up to `lots` of the market's own size away, from the end of the queue: who leaves stood behind."""
        level = self.levels[side].get(ticks)
        for place in reversed(list(level.queue) if level else []):
            if place.order is None and lots > 0:
                taken = min(lots, place.lots)
                lots -= taken
                self.fill(side, ticks, place, taken)

    def first(self, side: int, ticks: int) -> Resting:
        """Return the place at the head of the queue at a price."""
        return self.levels[side][ticks].queue[0]

    def queue(self, side: int, limit: int | None = None) -> Iterator[tuple[int, Resting]]:
        """Yield (ticks, place) from the best price on, in order of priority, up to a price."""
        prices = self._prices[side]
        for ticks in list(reversed(prices) if side > 0 else prices):
            if limit is not None and (ticks - limit) * side < 0:
                return
            for place in list(self.levels[side][ticks].queue):
                yield ticks, place

    def prices(self, side: int) -> list[int]:
        """Return the prices of a side in ticks, ascending."""
        return list(self._prices[side])

    def _touch(self, side: int, ticks: int) -> None:
        self.update += 1
        self.changed[side, ticks] = None

    def _drop(self, side: int, ticks: int) -> None:
        del self.levels[side][ticks]
        prices = self._prices[side]
        del prices[bisect_left(prices, ticks)]

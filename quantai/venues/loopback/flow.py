"""A synthetic market from a seed: orders come, go and trade around a hidden fair value in the exchange's own book.

The same seed gives the same market as long as nobody else trades in it. A client's orders change it as they would a
real one: what a client takes is gone until the market quotes again.
"""

import math
import random
from collections.abc import Iterator

from quantai.venues.loopback.matching import Matching

_LEVELS = 30  # quoted prices a side, about
_NS = 10**9


class SyntheticFlow:
    """The market's side of one symbol: about `rate_hz` actions a second of exchange time, drawn from `seed`.

    `volatility` is that of the fair value, a fraction a year.
    """

    def __init__(self, matching: Matching, seed: int, rate_hz: float = 20.0, volatility: float = 0.5) -> None:
        self._matching, self._random, self._rate_hz = matching, random.Random(seed), rate_hz
        listing = matching.listing
        self._fair = float(listing.price / listing.tick)
        self._reach = max(2.0, self._fair * 2e-4)  # how far from the fair value a quote stands on average, in ticks
        self._step = self._fair * volatility / math.sqrt(365.25 * 86_400 * rate_hz)
        self._size = max(1.0, float(200 / listing.price / listing.lot))  # 200 of the quote asset, in lots

    def open(self) -> None:
        """Quote the first book, and print one trade so that there is a last price."""
        for _ in range(_LEVELS):
            for side in (1, -1):
                self._quote(side)
        self._matching.take(1, max(1, int(self._size / 10)))

    def due(self) -> Iterator[int]:
        """Yield the instants of the actions, in ns since the start, without end; arrivals are a Poisson process."""
        at = 0
        while True:
            at += round(self._random.expovariate(self._rate_hz) * _NS)
            yield at

    def act(self) -> Matching:
        """Do one thing, quote, withdraw or trade, and return the engine it was done in."""
        draw = self._random
        self._fair = max(4 * self._reach, self._fair + draw.gauss(0.0, self._step))
        side = 1 if draw.random() < 0.5 else -1
        book = self._matching.book
        crowd = len(book.levels[side])
        what = draw.random()
        if crowd < _LEVELS // 2 or what < 0.45:
            self._quote(side)
        elif what < 0.8 or crowd > 2 * _LEVELS:
            self._withdraw(side, crowd > 2 * _LEVELS)
        else:
            self._matching.take(-side, self._lots())
        return self._matching

    def _quote(self, side: int) -> None:
        away = 0.5 + self._random.expovariate(1 / self._reach)
        ticks = math.floor(self._fair - away) if side > 0 else math.ceil(self._fair + away)
        self._matching.quote(side, max(1, ticks), self._lots())

    def _withdraw(self, side: int, furthest: bool) -> None:
        book = self._matching.book
        prices = book.prices(side)
        worst = prices[0] if side > 0 else prices[-1]
        ticks = worst if furthest or self._random.random() < 0.3 else prices[self._random.randrange(len(prices))]
        level = book.levels[side][ticks]
        self._matching.withdraw(side, ticks, level.anonymous)

    def _lots(self) -> int:
        return max(1, round(self._size * self._random.lognormvariate(0.0, 1.0)))

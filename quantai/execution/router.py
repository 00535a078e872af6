"""Routes: which venue gets an order, and how an order for something listed several times becomes orders for listings.

Pure functions over the tops of books, so that a journal run again routes the same way; `routes` uses them for desks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quantai.core.errors import UnknownName
from quantai.core.instruments import Instruments
from quantai.core.rows import Rows
from quantai.venues.venue import Request, Sends


class ByInstrument:
    """Sends each request to the venue of its instrument.

    >>> ByInstrument(Instruments(), {}).venues
    {}
    """

    def __init__(self, instruments: Instruments, venues: Mapping[str, Sends]) -> None:
        for instrument in instruments:
            if instrument.venue not in venues:
                raise UnknownName(f"venue of {instrument.symbol}", instrument.venue, venues)
        self.venues = dict(venues)
        self._of = [venues[i.venue] for i in instruments]

    async def send(self, request: Request) -> None:
        """Send one request; raises VenueError as its venue does."""
        await self._of[request.instrument].send(request)


def best_price(books: Rows, listings: Sequence[int], side: int, fees: Sequence[float] = ()) -> int:
    """Return the listing (an index of `books`) that trades best for `side` now, fees (fractions) included; -1 = none.

    Only valid books count. Of equal prices the larger size wins, then the first listing.

    >>> from quantai.strategy.context import BOOK
    >>> books = np.zeros(2, BOOK)
    >>> books["bid"], books["ask"], books["ask_qty"], books["valid"] = 99.0, [101.0, 100.5], 1.0, 1
    >>> best_price(books, [0, 1], +1), best_price(books, [0, 1], +1, fees=[0.0, 0.01])
    (1, 0)
    """
    best, found = (np.inf, -np.inf), -1
    for n, i in enumerate(listings):
        if not books["valid"][i]:
            continue
        px, qty = _touch(books[i], side)
        rank = side * px * (1.0 + side * (fees[n] if fees else 0.0)), -qty
        if rank < best:
            best, found = rank, i
    return found


def split(
    books: Rows, listings: Sequence[int], side: int, lots: int, lot: Sequence[float], fees: Sequence[float] = ()
) -> list[tuple[int, int]]:
    """Return (listing, lots) that together make `lots`, taking what is shown at the best price (after `fees`) first.

    `lot` is the size of one lot (units) of each listing; all listings must have the same one for the sum to hold. What
    is shown nowhere goes to the best listing.

    >>> from quantai.strategy.context import BOOK
    >>> books = np.zeros(2, BOOK)
    >>> books["bid"], books["ask"], books["ask_qty"], books["valid"] = 99.0, [100.0, 100.5], [2.0, 5.0], 1
    >>> split(books, [0, 1], +1, 4, lot=[1.0, 1.0])
    [(0, 2), (1, 2)]
    """
    paid = dict(zip(listings, fees or [0.0] * len(listings), strict=True))
    ranked = [i for i in listings if books["valid"][i]]
    ranked.sort(key=lambda i: side * _touch(books[i], side)[0] * (1.0 + side * paid[i]))
    parts: list[tuple[int, int]] = []
    left = lots
    for i in ranked:
        shown = int(_touch(books[i], side)[1] / lot[list(listings).index(i)] + 1e-9)
        take = min(left, shown)
        if take > 0:
            parts.append((i, take))
            left -= take
    if left and ranked:
        first = parts[0] if parts else (ranked[0], 0)
        parts = [(first[0], first[1] + left), *parts[1:]]
    return parts


def _touch(book: Any, side: int) -> tuple[float, float]:
    """Return price and size of what an order of `side` would meet."""
    return (float(book["ask"]), float(book["ask_qty"])) if side > 0 else (float(book["bid"]), float(book["bid_qty"]))

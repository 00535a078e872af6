"""Books of a run that goes on: levels sorted by price, because the prices that will occur are not known beforehand.

They follow the rules of the books of a replay (`venues.book`), so both show the same best prices after the same rows: a
level that crosses the other side makes that side step back, and what it stepped over stays hidden until shown anew.
"""

import math
from typing import Any

import numpy as np

from quantai.core.compiled import uncounted
from quantai.core.memory import rows_at
from quantai.core.rows import Kind, Rows

LEVEL = np.dtype([("px", "i8"), ("qty", "f8")])
"""One level of one side: price in ticks, quantity in units."""

LADDER = np.dtype(
    [
        ("bid", "i8"),  # best prices in ticks; NO_BID and NO_ASK when a side is empty
        ("ask", "i8"),
        ("n_bid", "i8"),
        ("n_ask", "i8"),
        ("room", "i8"),  # levels a side can hold
        ("half", "f8"),  # half a lot in units: what is smaller is nothing
        ("last", "f8"),  # last trade
        ("quotes", "i8"),  # 1 = no level was seen yet: best quotes make the book
        ("stale", "i8"),  # 1 = what feeds it is silent or gone
        ("pending", "i8"),  # rows of the current message changed it: bit by kind
        ("at_bid", "u8"),
        ("at_ask", "u8"),
    ]
)
"""One instrument's book."""

NO_BID, NO_ASK = -(2**62), 2**62
OFF_GRID = -(2**63)
"""`px_ticks` of a price that is on no grid: such a level is left out."""
_TRADE, _LEVEL, _CLEAR, _QUOTE = int(Kind.TRADE), int(Kind.LEVEL), int(Kind.CLEAR), int(Kind.QUOTE)


class Ladders:
    """The memory behind the books of some instruments; every side has room for the same number of levels."""

    def __init__(self, instrument_rows: Rows, room: int = 2048) -> None:
        self.rows: Rows = np.zeros(len(instrument_rows), LADDER)
        self.rows["bid"], self.rows["ask"], self.rows["quotes"] = NO_BID, NO_ASK, 1
        self.rows["half"] = 0.5 * instrument_rows["lot_num"] / instrument_rows["lot_den"]
        self._levels: Rows = np.zeros((len(instrument_rows), 2, room), LEVEL)
        self._wire()

    def _wire(self) -> None:
        self.rows["room"] = self._levels.shape[2]
        for row, (bids, asks) in zip(self.rows, self._levels, strict=True):
            row["at_bid"], row["at_ask"] = bids.ctypes.data, asks.ctypes.data

    def grow(self) -> None:
        """Double the room of every side."""
        old = self._levels
        self._levels = np.zeros((*old.shape[:2], 2 * old.shape[2]), LEVEL)
        self._levels[:, :, : old.shape[2]] = old
        self._wire()

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the state as arrays that say nothing of memory."""
        rows = self.rows.copy()
        for name in ("at_bid", "at_ask", "room"):
            rows[name] = 0
        sides = [
            self._levels[i, side, : int(n)]
            for i, row in enumerate(self.rows)
            for side, n in enumerate((row["n_bid"], row["n_ask"]))
        ]
        return {"ladders": rows, "levels": np.concatenate([np.zeros(0, LEVEL), *sides])}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over the state of `arrays`; raises ValueError when it is of other instruments."""
        rows, levels, at = arrays["ladders"], arrays["levels"], 0
        if len(rows) != len(self.rows):
            raise ValueError(f"books of {len(rows)} instruments, not of {len(self.rows)}")
        most = int(max(rows["n_bid"].max(initial=0), rows["n_ask"].max(initial=0)))
        while self._levels.shape[2] <= most:
            self.grow()
        self.rows[:] = rows
        for i, row in enumerate(rows):
            for side, n in enumerate((int(row["n_bid"]), int(row["n_ask"]))):
                self._levels[i, side, :n] = levels[at : at + n]
                at += n
        self._wire()


@uncounted
def seek(levels: Any, n: int, px: int) -> int:
    """Return the first of `n` levels at `px` or above."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if levels[middle].px < px:
            low = middle + 1
        else:
            high = middle
    return low


@uncounted
def put(d: Any, ask: bool, px: int, qty: float) -> None:
    """Set the quantity at a price; nothing (less than half a lot) removes the level."""
    levels, n = rows_at(d.at_ask if ask else d.at_bid, d.room, LEVEL), d.n_ask if ask else d.n_bid
    k = seek(levels, n, px)
    known = k < n and levels[k].px == px
    if qty >= d.half:
        if not known:
            for j in range(n, k, -1):
                levels[j] = levels[j - 1]
            n += 1
        levels[k].px = px
        levels[k].qty = qty
    elif known:
        n -= 1
        for j in range(k, n):
            levels[j] = levels[j + 1]
    if ask:
        d.n_ask = n
    else:
        d.n_bid = n


@uncounted
def quantity(d: Any, ask: bool, px: int) -> float:
    """Return the quantity at a price, 0.0 where there is none."""
    levels, n = rows_at(d.at_ask if ask else d.at_bid, d.room, LEVEL), d.n_ask if ask else d.n_bid
    k = seek(levels, n, px)
    return levels[k].qty if k < n and levels[k].px == px else 0.0


@uncounted
def next_bid(d: Any, px: int) -> int:
    """Return the best bid at or below `px`, NO_BID when there is none."""
    levels = rows_at(d.at_bid, d.room, LEVEL)
    k = seek(levels, d.n_bid, px + 1)
    return levels[k - 1].px if k > 0 else NO_BID


@uncounted
def next_ask(d: Any, px: int) -> int:
    """Return the best ask at or above `px`, NO_ASK when there is none."""
    levels = rows_at(d.at_ask, d.room, LEVEL)
    k = seek(levels, d.n_ask, px)
    return levels[k].px if k < d.n_ask else NO_ASK


@uncounted
def is_full(d: Any) -> bool:
    """Say whether one more level might not fit."""
    return d.n_bid + 1 >= d.room or d.n_ask + 1 >= d.room


@uncounted
def apply_row(d: Any, r: Any) -> None:
    """Apply one market row to the book of its instrument; the caller knows that there is room."""
    if r.kind == _TRADE:
        d.last = r.px
    elif r.kind == _LEVEL:
        if d.quotes:
            wipe(d, 0)
            d.quotes = 0
        if r.px_ticks != OFF_GRID:
            apply_level(d, r.side < 0, r.px_ticks, r.qty)
    elif r.kind == _CLEAR:
        d.quotes = 0
        wipe(d, r.side)
    elif r.kind == _QUOTE and d.quotes and r.px_ticks != OFF_GRID:
        apply_quote(d, r.side < 0, r.px_ticks, r.qty)


@uncounted
def wipe(d: Any, side: int) -> None:
    """Empty one side (+1 bids, -1 asks) or both (0)."""
    if side >= 0:
        d.n_bid = 0
        d.bid = NO_BID
    if side <= 0:
        d.n_ask = 0
        d.ask = NO_ASK


@uncounted
def apply_level(d: Any, ask: bool, p: int, qty: float) -> None:
    """Set one level and move the best prices."""
    put(d, ask, p, qty)
    if qty >= d.half:
        if ask and p < d.ask:
            d.ask = p
            if d.bid >= p:
                d.bid = next_bid(d, p - 1)
        elif not ask and p > d.bid:
            d.bid = p
            if d.ask <= p:
                d.ask = next_ask(d, p + 1)
    elif ask and p == d.ask:
        d.ask = next_ask(d, p)
    elif not ask and p == d.bid:
        d.bid = next_bid(d, p)


@uncounted
def apply_quote(d: Any, ask: bool, p: int, qty: float) -> None:
    """Set the best price of one side of a book that is made of quotes; one without a size is worth a lot."""
    alive = qty > 0.0 or math.isnan(qty)
    size = qty if qty > 0.0 else 2.0 * d.half
    wipe(d, -1 if ask else 1)
    if alive:
        put(d, ask, p, size)
        if ask:
            d.ask = p
        else:
            d.bid = p
    if d.bid >= d.ask:
        wipe(d, 1 if ask else -1)

"""The memory behind the books of a simulated exchange.

It is laid out for the prices that occur, and saved as the levels that stand.
"""

from typing import Any

import numpy as np

from quantai.core.instruments import Instruments
from quantai.core.rows import Kind, Rows
from quantai.venues.book import DEPTH, NO_KEY, slot_of

STANDING = np.dtype([("px", "i8"), ("qty", "f8"), ("instrument", "i8"), ("side", "i8")])
"""One level of a book, as a snapshot keeps it."""

NONE = -(2**62)
DENSE_TICKS = 1 << 21
"""A wider range of prices gets a hashed book."""


class Books:
    """Two books an instrument (as received, and the exchange's own) over one array of cells each."""

    def __init__(self, instruments: Instruments) -> None:
        self._insts = instruments.rows()
        n = len(self._insts)
        self.lo, self.hi = np.full(n, 2**62), np.full(n, -(2**62))
        self.prices: list[Any] = [np.zeros(0, "i8")] * n
        self.quotes = np.zeros(n, "i8")
        self.depth: Rows = np.zeros(n, DEPTH)
        self.depth_x: Rows = np.zeros(n, DEPTH)
        for depth in (self.depth, self.depth_x):
            depth["lo"], depth["ask"] = 1, 1  # an empty range: no side has a best price
        self.cells = self.cells_x = np.zeros(2)
        self.keys = np.zeros(2, "i8")
        self._lay_out()

    def make_room(self, rows: Rows, facts: dict[str, Any] | None) -> bool:
        """See to it that every price of these rows has a cell; returns whether the memory moved."""
        changed = False
        for i in range(len(self.lo)):
            said = facts["instruments"][i] if facts is not None else _measure(rows, i)
            if said["levels"] + said["quotes"] == 0:
                continue
            if said["levels"] and self.quotes[i]:
                self.quotes[i], changed = 0, True
            elif not said["levels"] and self.lo[i] > self.hi[i]:
                self.quotes[i], changed = 1, True
            lo, hi = min(said["lo_ticks"], self.lo[i]), max(said["hi_ticks"], self.hi[i])
            if lo < self.lo[i] or hi > self.hi[i]:
                self.lo[i], self.hi[i] = lo, hi
                changed = True
            if hi - lo >= DENSE_TICKS:
                of = rows[(rows["instrument"] == i) & np.isin(rows["kind"], (Kind.LEVEL, Kind.QUOTE))]
                merged = np.union1d(self.prices[i], of["px_ticks"])
                changed = changed or len(merged) > len(self.prices[i])
                self.prices[i] = merged
        if changed:
            self._lay_out()
        return changed

    def _lay_out(self) -> None:
        old = [(self.standing(own), self.tops(own)) for own in (False, True)]
        was = self.depth.copy(), self.depth_x.copy()
        at = 2
        for i, d in enumerate(self.depth):
            span = int(self.hi[i] - self.lo[i] + 1)
            d["lo"], d["hi"] = (self.lo[i], self.hi[i]) if span > 0 else (1, 0)
            d["half"] = 0.5 * self._insts["lot_num"][i] / self._insts["lot_den"][i]
            d["quotes"] = self.quotes[i]
            d["per_unit"] = self._insts["lot_den"][i] / self._insts["lot_num"][i]
            if span > DENSE_TICKS:
                size = 1 << (2 * len(self.prices[i])).bit_length()
                d["mask"] = size - 1
            else:
                size, d["mask"] = max(span, 0) + 2, 0
            d["at_bid"], d["at_ask"], d["at_key"] = at, at + size, at
            at += 2 * size
        for name in ("lo", "hi", "half", "per_unit", "quotes", "mask", "at_bid", "at_ask", "at_key"):
            self.depth_x[name] = self.depth[name]
        self.cells, self.cells_x, self.keys = (
            np.zeros(at),
            np.zeros(at),
            np.full(at if self.depth["mask"].any() else 2, NO_KEY),
        )
        for i, d in enumerate(self.depth):
            if d["mask"]:
                for px in self.prices[i]:
                    self.keys[int(d["at_key"]) + slot_of(d, self.keys, int(px))] = px
                continue
            for cells in (self.cells, self.cells_x):
                for side in ("at_bid", "at_ask"):
                    first = int(d[side])
                    cells[first] = cells[first + int(d["hi"] - d["lo"]) + 2] = np.inf
        for own, (levels, tops), before in zip((False, True), old, was, strict=True):
            self.put(levels, tops, own)
            depth = self.depth_x if own else self.depth
            for name in ("last", "crossed", "rows"):
                depth[name] = before[name]

    def standing(self, own: bool) -> Rows:
        """Return the levels that stand, by instrument, side and price; `own` says whose book."""
        parts = [np.zeros(0, STANDING)]
        depth, cells = (self.depth_x, self.cells_x) if own else (self.depth, self.cells)
        for i, d in enumerate(depth):
            for side, name in ((1, "at_bid"), (-1, "at_ask")):
                first = int(d[name])
                if d["mask"]:
                    qty = cells[first : first + int(d["mask"]) + 1]
                    px = self.keys[int(d["at_key"]) : int(d["at_key"]) + int(d["mask"]) + 1]
                else:
                    span = max(int(d["hi"] - d["lo"]) + 1, 0)
                    qty = cells[first + 1 : first + 1 + span]
                    px = np.arange(span) + int(d["lo"])
                keep = np.flatnonzero(qty > 0.0)
                rows = np.zeros(len(keep), STANDING)
                rows["px"], rows["qty"], rows["instrument"], rows["side"] = px[keep], qty[keep], i, side
                parts.append(np.sort(rows, order="px"))
        return np.concatenate(parts)

    def tops(self, own: bool) -> Rows:
        """Return the best bid and ask of each instrument, NONE where a side is empty; shape (instruments, 2)."""
        depth = self.depth_x if own else self.depth
        bid = np.where(depth["bid"] >= depth["lo"], depth["bid"], NONE)
        return np.stack([bid, np.where(depth["ask"] <= depth["hi"], depth["ask"], NONE)], axis=1)

    def put(self, levels: Rows, tops: Rows, own: bool) -> None:
        """Fill one of the two books with levels and best prices; the other keeps what it has."""
        depth, cells = (self.depth_x, self.cells_x) if own else (self.depth, self.cells)
        for i, d in enumerate(depth):
            # a level beyond the best of the other side stays hidden until it is shown anew: best prices are not derived
            d["bid"] = tops[i, 0] if tops[i, 0] != NONE else d["lo"] - 1
            d["ask"] = tops[i, 1] if tops[i, 1] != NONE else d["hi"] + 1
            for side, name in ((1, "at_bid"), (-1, "at_ask")):
                of = levels[(levels["instrument"] == i) & (levels["side"] == side)]
                if d["mask"]:
                    at = int(d[name]) + np.array([slot_of(d, self.keys, int(p)) for p in of["px"]], "i8")
                else:
                    at = int(d[name]) + 1 + of["px"] - int(d["lo"])
                cells[at] = of["qty"]

    def take_over(self, books: list[tuple[Rows, Rows]], rows: Rows, facts: Any) -> None:
        """Rebuild the books of a snapshot: levels and best prices of one or both, rows not yet received, counts."""
        levels = np.concatenate([b[0] for b in books])
        for i in range(len(self.lo)):
            px = levels["px"][levels["instrument"] == i]
            if len(px):
                self.lo[i], self.hi[i], self.prices[i] = px.min(), px.max(), np.unique(px)
        self._lay_out()
        if len(rows):
            self.make_room(rows, None)
        for own, (of, tops) in zip((False, True), books, strict=False):
            self.put(of, tops, own)
        for name, values in zip(("last", "crossed", "rows"), facts, strict=True):
            self.depth[name] = values


def _measure(rows: Rows, instrument: int) -> dict[str, int]:
    of = rows[rows["instrument"] == instrument]
    levels, quotes = of["kind"] == Kind.LEVEL, of["kind"] == Kind.QUOTE
    px = of["px_ticks"][levels | quotes]
    return {
        "levels": int(levels.sum()),
        "quotes": int(quotes.sum()),
        "lo_ticks": int(px.min()) if len(px) else 2**62,
        "hi_ticks": int(px.max()) if len(px) else -(2**62),
    }

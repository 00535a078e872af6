"""The market that the variants of a replay sweep share: both clocks of a tape, a tile at a time."""

from typing import Any

import numpy as np

from quantai.core.compiled import uncounted
from quantai.core.rows import SNAPSHOT, Rows
from quantai.data.tape import Tape
from quantai.venues.book import HAPPENED, RECEIVED, advance
from quantai.venues.cells import Books
from quantai.venues.tiles import AFTER, I4, TILE, WRITE, build, count_rows, leave
from quantai.venues.wire import NEVER

TILE_ROWS = 8192
"""Rows of a tile: its index and the state of a variant share the processor's second cache."""


class Market:
    """Books of a tape that move on a tile at a time; `tiles` holds the TILE records, as received and as it happened."""

    def __init__(self, tape: Tape) -> None:
        rows = tape.rows.view()
        rows.flags.writeable = False  # numba tells read-only arrays apart: one kind, one compiled kernel
        self.rows, self.rows_x = rows, tape.exchange_rows
        flags = rows["flags"]
        self.head = int(np.argmin(flags & SNAPSHOT != 0)) if len(rows) and flags[0] & SNAPSHOT else 0
        books = Books(tape.instruments)
        books.make_room(rows, tape.facts)
        self.depth, self.cells, self.keys = books.depth, books.cells, books.keys
        n, n_cells = len(tape.instruments), len(books.cells)
        self._books = [(books.depth.copy(), books.cells.copy()) for _ in range(4)]
        self._newest = np.full((2, n_cells), -1, I4)
        self.tiles: Rows = np.zeros(2, TILE)
        for t, of, clock, newest in zip(
            self.tiles, (self.rows, self.rows_x), (RECEIVED, HAPPENED), self._newest, strict=True
        ):
            t["at_rows"], t["n_rows"], t["clock"] = of.ctypes.data, len(of), clock
            t["n_instruments"], t["n_cells"], t["at_keys"] = n, n_cells, books.keys.ctypes.data
            t["at_newest"] = newest.ctypes.data
        for k, (depth, cells) in enumerate(self._books):
            end = "_end" if k % 2 else ""
            self.tiles[k // 2][f"at_depth{end}"], self.tiles[k // 2][f"at_cells{end}"] = (
                depth.ctypes.data,
                cells.ctypes.data,
            )
        self._room: list[tuple[Any, ...]] = [(), ()]
        self._made = [0, 0]

    def start(self) -> None:
        """Go to the first row that is not part of the snapshot; the books are those of the snapshot."""
        self._newest[:] = -1
        for depth, cells in self._books:
            depth[:], cells[:] = self.depth, self.cells
            _begin(depth, cells, self.keys, self.rows[: self.head])
        self.tiles["first"], self.tiles["n"] = self.head, 0

    def horizons(self, ahead_ns: int) -> list[int]:
        """Return the instants at which tiles end; NEVER is the last, and no other is so near to the last row's instant.

        A run looks `ahead_ns` ahead of its decisions; near the end of the tape it has to see all of it.
        """
        exch = self.rows_x["ts_exch"]
        ends = np.unique(exch[self.head + TILE_ROWS :: TILE_ROWS])
        return [*ends[ends <= exch[-1] - ahead_ns].tolist(), NEVER]

    def move(self, horizon: int) -> None:
        """Leave the tile and build the next: all rows before `horizon`, on both clocks."""
        for k in (0, 1):
            t = self.tiles[k : k + 1]
            _leave(t)
            n = int(_count(t, horizon - 1))
            if n > self._made[k] or not self._room[k]:
                self._made[k] = n + TILE_ROWS
                self._room[k] = (
                    np.zeros(self._made[k], AFTER), np.zeros(2 * self._made[k], WRITE), np.zeros(self._made[k], "i8"),
                    np.zeros(self._made[k] * int(t["n_instruments"][0]), I4),
                )  # fmt: skip
                for name, table in zip(("after", "writes", "times", "latest"), self._room[k], strict=True):
                    t[f"at_{name}"] = table.ctypes.data
            t["n"] = n
            _build(t)


@uncounted
def _begin(depth: Any, cells: Any, keys: Any, rows: Any) -> None:
    advance(
        depth.ctypes.data, len(depth), cells.ctypes.data, len(cells), keys.ctypes.data, rows.ctypes.data, len(rows),
        0, NEVER, RECEIVED,
    )  # fmt: skip


@uncounted
def _leave(tile: Any) -> None:
    leave(tile[0])


@uncounted
def _count(tile: Any, until: int) -> int:
    return count_rows(tile[0], until)


@uncounted
def _build(tile: Any) -> None:
    build(tile[0])

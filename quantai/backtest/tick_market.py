"""The market that the variants of a replay sweep share: both clocks of a tape, a tile at a time."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from quantai.core.compiled import uncounted
from quantai.core.memory import rows_at
from quantai.core.rows import Rows
from quantai.data.tape import Tape
from quantai.venues.book import HAPPENED, RECEIVED, advance
from quantai.venues.cells import Books
from quantai.venues.tile_index import ENTRY, HEADS, MOST_ENTRIES, build, leave, mark_times
from quantai.venues.tiles import (
    AFTER,
    ASKED,
    BLOCK,
    FAR,
    I2,
    I4,
    LIST,
    MOST_ASKED,
    SPREAD,
    STOOD,
    TILE,
    count_rows,
)
from quantai.venues.wire import NEVER

TILE_ROWS = 4096
"""Rows of a tile: its index, half a megabyte, shares the processor's second cache with the state of many variants."""
LARGE_PAGE = 2 * 2**20
"""Bytes of a large page of memory, of which a processor remembers the place as of a small one."""
LINE = 64
"""Bytes of a line of a cache."""


class Market:
    """Books of a tape that move on a tile at a time; `tiles` holds the TILE records, as received and as it happened.

    Where both clocks order the rows alike, one index serves both tiles: they begin at the same row.
    """

    def __init__(self, tape: Tape) -> None:
        rows = tape.rows.view()
        rows.flags.writeable = False  # numba tells read-only arrays apart: one kind, one compiled kernel
        self.rows, self.rows_x = rows, tape.exchange_rows
        self.head = int(tape.facts["head"])
        self.one_order = bool(tape.facts["exch_sorted"] and not tape.facts["skewed"])
        self._indexed = (1,) if self.one_order else (0, 1)
        books = Books(tape.instruments)
        books.make_room(rows, tape.facts)
        self.depth, self.cells, self.keys = books.depth, books.cells, books.keys
        self._n = len(tape.instruments)
        self.tiles: Rows = np.zeros(2, TILE)
        self._at_tiles = self.tiles.ctypes.data  # a number is passed in half the time that an array takes
        self._tables: list[dict[str, Any]] = [{}, {}]
        self._insts = tape.instruments.rows()
        for k, (of, clock) in enumerate(((self.rows, RECEIVED), (self.rows_x, HAPPENED))):
            t = self.tiles[k]
            lists = np.zeros(len(books.cells), LIST)
            lists["number"] = FAR
            t["at_insts"] = self._insts.ctypes.data
            t["at_rows"], t["n_rows"], t["clock"] = of.ctypes.data, len(of), clock
            t["n_instruments"], t["n_cells"], t["at_keys"] = self._n, len(books.cells), books.keys.ctypes.data
            self._put(
                k, depth=books.depth.copy(), cells=books.cells.copy(), depth_end=books.depth.copy(),
                cells_end=books.cells.copy(), lists=lists, spread=np.zeros(self._n, SPREAD),
            )  # fmt: skip

    def _put(self, k: int, **tables: Any) -> None:
        """Point a tile to its tables, and keep them."""
        for name, table in tables.items():
            self._tables[k][name] = table
            self.tiles[k][f"at_{name}"] = table.ctypes.data

    def start(self) -> None:
        """Go to the first row that is not part of the snapshot; the books are those of the snapshot."""
        for k in self._indexed:
            _go_on(self._at_tiles, k, 0, NEVER)
            for end in ("", "_end"):
                depth, cells = self._tables[k][f"depth{end}"], self._tables[k][f"cells{end}"]
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
        received, happened = (self.tiles["first"] + self.tiles["n"]).tolist()
        for k in self._indexed:
            # what has happened and is not yet received belongs to both tiles where they are one
            n = _go_on(self._at_tiles, k, happened if k and not self.one_order else received, horizon)
            if n >= self.tiles["room"][k]:
                self._make_room(k, n + TILE_ROWS)
            _index(self._at_tiles, k, 0 if self.one_order else k)
        _mark_times(self._at_tiles, self.one_order, horizon)

    def _make_room(self, k: int, n: int) -> None:
        self.tiles[k]["room"] = n
        times: dict[str, tuple[int, Any]] = {
            "times": (n + BLOCK, "i8"), "marks": (n, I4), "asked": (MOST_ASKED, ASKED)
        }  # fmt: skip
        sizes: dict[str, tuple[int, Any]] = {
            "after": (n, AFTER), "latest": (n * self._n, I4), "row": (n, I4), "touched": (MOST_ENTRIES * n, I4),
            "entries": (MOST_ENTRIES * n, ENTRY), "spots": (2 * MOST_ENTRIES * n + 1 + BLOCK, I4),
            "stood": (2 * MOST_ENTRIES * n + 1, STOOD), "heads": (HEADS * n, I4), "reach": (2 * (n + BLOCK), I2),
        }  # fmt: skip
        self._put(k, **together(sizes | times))
        if self.one_order:
            self._put(0, **together(times))


def together(sizes: Mapping[str, tuple[int, Any]]) -> dict[str, Any]:
    """Return uninitialised tables by name, of so many rows of a dtype, side by side in memory made of large pages.

    Runs jump about in an index; in small pages, finding where a page is would take as long as reading it.
    """
    places, at = dict[str, tuple[int, int, np.dtype[Any]]](), 0
    for name, (n, dtype) in sizes.items():
        kind = np.dtype(dtype)
        places[name] = at, n * kind.itemsize, kind
        at += -(-n * kind.itemsize // LINE) * LINE + LINE
    room = np.empty(at + 2 * LARGE_PAGE, "u1")  # so large that numpy asks for such pages itself
    first = -room.ctypes.data % LARGE_PAGE
    return {name: room[first + at : first + at + size].view(kind) for name, (at, size, kind) in places.items()}


@uncounted
def _begin(depth: Any, cells: Any, keys: Any, rows: Any) -> None:
    advance(
        depth.ctypes.data, len(depth), cells.ctypes.data, len(cells), keys.ctypes.data, rows.ctypes.data, len(rows),
        0, NEVER, RECEIVED,
    )  # fmt: skip


@uncounted
def _go_on(at_tiles: int, k: int, stop: int, horizon: int) -> int:
    """Leave a tile for the row `stop`; returns how many rows the next has: all before `horizon`."""
    t = rows_at(at_tiles, 2, TILE)[k]
    leave(t, stop)
    t.n = count_rows(t, horizon - 1)
    return t.n


@uncounted
def _index(at_tiles: int, k: int, other: int) -> None:
    tiles = rows_at(at_tiles, 2, TILE)
    build(tiles[k], tiles[other])


@uncounted
def _mark_times(at_tiles: int, one_order: bool, horizon: int) -> None:
    """Index the instants of both tiles; in one order, the tile as received becomes a view of the exchange's index."""
    tiles = rows_at(at_tiles, 2, TILE)
    if one_order:
        t = tiles[0]
        clock, at_times, at_marks, at_asked = t.clock, t.at_times, t.at_marks, t.at_asked
        tiles[0] = tiles[1]
        t.clock, t.at_times, t.at_marks, t.at_asked = clock, at_times, at_marks, at_asked
        t.n = count_rows(t, horizon - 1)
    for k in range(2):
        mark_times(tiles[k])

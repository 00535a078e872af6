"""Books of a run that goes on show the same best prices as those of a replay, whatever the rows."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from quantai.core.compiled import uncounted
from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import EVENT, LAST, Kind, Rows, zeros
from quantai.execution.ladder import LADDER, NO_ASK, NO_BID, Ladders, apply_row, is_full, quantity
from quantai.venues.book import apply
from quantai.venues.cells import Books

BTC = Instruments([Instrument.parse("BTC-USDT", tick="0.1", lot="0.001")])


@uncounted
def ladder_apply(ladders: Rows, rows: Rows) -> None:
    for i in range(len(rows)):
        apply_row(ladders[0], rows[i])


@uncounted
def cells_apply(depth: Rows, cells: np.ndarray, keys: np.ndarray, rows: Rows) -> None:
    for i in range(len(rows)):
        apply(depth[0], cells, keys, rows[i])


@uncounted
def size_at(ladders: Rows, ask: bool, px: int) -> float:
    return quantity(ladders[0], ask, px)


@uncounted
def full(ladders: Rows) -> bool:
    return is_full(ladders[0])


def levels(said: list[tuple[int, int, int]]) -> Rows:
    rows = zeros(len(said), EVENT)
    for row, (side, px, qty) in zip(rows, said, strict=True):
        row["kind"], row["flags"], row["side"] = Kind.LEVEL, LAST, side
        row["px_ticks"], row["px"], row["qty"] = px, px / 10, qty / 100
        if qty < 0:
            row["kind"], row["qty"] = Kind.TRADE, -qty / 100
    return rows


level = st.tuples(st.sampled_from([1, -1]), st.integers(990, 1010), st.integers(-1, 4))


@settings(max_examples=150, deadline=None)
@given(st.lists(level, min_size=1, max_size=60))
def test_best_prices_are_those_of_a_replay(said: list[tuple[int, int, int]]) -> None:
    rows = levels(said)
    ladders, books = Ladders(BTC.rows()), Books(BTC)
    ladders.rows["quotes"] = 0
    books.make_room(rows, None)
    for n in range(len(rows)):
        one = rows[n : n + 1]
        ladder_apply(ladders.rows, one)
        cells_apply(books.depth, books.cells, books.keys, one)
        ours, theirs = ladders.rows[0], books.depth[0]
        bid = int(theirs["bid"]) if theirs["bid"] >= theirs["lo"] else NO_BID
        ask = int(theirs["ask"]) if theirs["ask"] <= theirs["hi"] else NO_ASK
        assert (int(ours["bid"]), int(ours["ask"])) == (bid, ask)
        assert float(ours["last"]) == float(theirs["last"])


def test_quotes_make_the_book_until_levels_come() -> None:
    rows = zeros(2, EVENT)
    rows["kind"], rows["side"], rows["px_ticks"], rows["qty"] = Kind.QUOTE, [1, -1], [999, 1000], 2.0
    ladders = Ladders(BTC.rows())
    ladder_apply(ladders.rows, rows)
    assert (int(ladders.rows["bid"][0]), int(ladders.rows["ask"][0])) == (999, 1000)
    ladder_apply(ladders.rows, levels([(1, 990, 3)]))
    assert (int(ladders.rows["bid"][0]), int(ladders.rows["ask"][0])) == (990, NO_ASK)
    ladder_apply(ladders.rows, rows)
    assert int(ladders.rows["bid"][0]) == 990, "quotes are not the book once there are levels"


def test_a_book_grows_and_comes_back_from_its_arrays() -> None:
    ladders = Ladders(BTC.rows(), room=4)
    for n in range(50):
        while full(ladders.rows):
            ladders.grow()
        ladder_apply(ladders.rows, levels([(1, 1000 - n, n + 1)]))
    assert size_at(ladders.rows, False, 960) == 0.41
    again = Ladders(BTC.rows(), room=4)
    again.load(ladders.arrays())
    assert size_at(again.rows, False, 960) == 0.41
    assert {n: a.tobytes() for n, a in again.arrays().items()} == {n: a.tobytes() for n, a in ladders.arrays().items()}
    assert again.rows.dtype == LADDER

"""The book drawn is the book that the rows say, at every instant."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantai.core.errors import DataError
from quantai.core.rows import Kind
from quantai.data.synth.market import market
from quantai.report import book

rows = st.lists(
    st.tuples(
        st.integers(0, 3),  # time since the row before
        st.sampled_from([Kind.LEVEL] * 9 + [Kind.CLEAR]),
        st.integers(95, 105),
        st.sampled_from([0.0, 1.0, 2.5]),
        st.sampled_from([1, -1]),
    ),
    min_size=1,
    max_size=60,
)


def frame(some: list[tuple[int, int, int, float, int]]) -> pd.DataFrame:
    dt, kind, px, qty, side = zip(*some, strict=True)
    columns = {"ts_recv": np.cumsum(dt), "kind": [int(k) for k in kind], "px": np.array(px, float)}
    return pd.DataFrame(columns | {"qty": qty, "side": side})


@given(rows, st.integers(1, 12))
def test_equals_a_book_kept_by_hand(some: list[tuple[int, int, int, float, int]], columns: int) -> None:
    levels = frame(some)
    drawn = book.book_history(levels, columns)
    for i, instant in enumerate(drawn.ts_ns):
        by_hand: dict[tuple[float, int], float] = {}
        known: Any = levels[levels["ts_recv"] <= instant]
        for kind, px, qty, side in known[["kind", "px", "qty", "side"]].to_numpy().tolist():
            if kind == Kind.CLEAR:
                by_hand = {}
            else:
                by_hand[(px, int(side))] = qty
        want = {k: v for k, v in by_hand.items() if v > 0}
        live = drawn.qty[:, i] > 0
        got = dict(zip(zip(drawn.px[live], drawn.side[live], strict=True), drawn.qty[live, i], strict=True))
        assert got == want
        bids = [px for px, side in want if side == 1]
        np.testing.assert_equal(drawn.best_bid[i], max(bids) if bids else np.nan)


@pytest.fixture(scope="module")
def synthetic() -> Any:
    events = market(n=20_000, seed=4).events
    events = events[(events["kind"] == Kind.LEVEL) | (events["kind"] == Kind.CLEAR)]
    return pd.DataFrame({k: events[k] for k in ("ts_recv", "px", "qty", "side", "kind")})


def test_a_market_that_never_crosses_is_drawn_uncrossed(synthetic: Any) -> None:
    drawn = book.book_history(synthetic)
    assert (drawn.best_bid < drawn.best_ask).all()


def test_the_figure_shows_both_sides_the_best_prices_and_the_depth(synthetic: Any) -> None:
    middle = int(synthetic["ts_recv"].iloc[len(synthetic) // 2])
    figure: Any = book.book_figure(synthetic, at_ns=middle, columns=100)
    names = [t.name for t in figure.data]
    assert names == ["bids", "asks", "best bid", "best ask", "bids", "asks"]
    drawn = book.book_history(synthetic, columns=100)
    i = int(np.searchsorted(drawn.ts_ns, middle, side="right")) - 1
    depth = figure.data[4]
    assert depth.y[0] == drawn.best_bid[i]
    assert (np.diff(depth.x) >= 0).all()
    low, high = figure.layout.yaxis.range
    inside = (drawn.side == 1) & (drawn.px >= low) & (drawn.px <= high)
    assert depth.x[-1] == pytest.approx(drawn.qty[inside, i].sum())
    sizes = np.asarray(figure.data[0].customdata)
    np.testing.assert_allclose(sizes.sum(axis=0), drawn.qty[inside].sum(axis=0), rtol=1e-5)
    assert len(figure.data[0].y) <= 200


def test_an_arrow_table_from_the_lake_will_do(synthetic: Any) -> None:
    table = pa.Table.from_pandas(synthetic, preserve_index=False)
    np.testing.assert_array_equal(book.book_history(table).qty, book.book_history(synthetic).qty)


def test_no_book_is_refused_by_name(synthetic: Any) -> None:
    with pytest.raises(DataError, match="empty"):
        book.book_history(synthetic.iloc[:0])
    with pytest.raises(DataError, match="'kind'"):
        book.book_history(synthetic.drop(columns="kind"))
    with pytest.raises(DataError, match="never holds"):
        book.book_figure(synthetic.assign(qty=0.0))

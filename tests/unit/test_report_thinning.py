"""Thinned series keep every extreme, and merged fills keep every unit and every cent."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantai.core.rows import DAY
from quantai.report import thinning


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(1, 20))
def test_a_thinned_line_reaches_every_extreme_of_every_bucket(values: list[float], buckets: int) -> None:
    v = np.array(values)
    drawn = thinning.extremes(v, buckets)
    assert (np.diff(drawn) > 0).all()
    assert drawn[0] == 0
    assert drawn[-1] == len(v) - 1
    if len(v) <= 4 * buckets:
        assert len(drawn) == len(v)
        return
    assert len(drawn) <= 4 * buckets
    width = -(-len(v) // buckets)
    for start in range(0, len(v), width):
        whole, kept = v[start : start + width], v[drawn[(drawn >= start) & (drawn < start + width)]]
        assert kept.min() == whole.min()
        assert kept.max() == whole.max()


def test_gaps_are_never_taken_for_extremes() -> None:
    v = np.full(1_000, np.nan)
    v[777], v[778] = 5.0, -5.0
    assert {777, 778} <= set(thinning.extremes(v, buckets=10).tolist())


@given(st.integers(1, 400), st.integers(1, 50))
def test_the_envelope_of_bars_spans_their_highs_and_lows(n: int, buckets: int) -> None:
    rng = np.random.default_rng(n)
    close = rng.normal(size=n)
    bars = pd.DataFrame({"high": close + rng.random(n), "low": close - rng.random(n), "close": close})
    e = thinning.envelope(bars, buckets)
    assert len(e.start) <= buckets
    for i, start in enumerate(e.start):
        bucket = bars.iloc[start : start + e.width]
        assert (e.high[i], e.low[i]) == (bucket["high"].max(), bucket["low"].min())
        assert e.close[i] == bucket["close"].iloc[-1]


def test_merged_fills_keep_quantity_fees_and_notional_a_side() -> None:
    n = 20_000
    rng = np.random.default_rng(5)
    ts = np.sort(rng.integers(0, 3_000 * DAY, n))
    fills = pd.DataFrame(
        {"side": rng.choice([-1, 1], n), "px": 100 + rng.random(n), "qty": rng.random(n), "fee": 0.01, "where": "open"}
    )
    merged: Any = thinning.merged_fills(fills, ts)
    assert len(merged) <= 2 * thinning.BUCKETS
    assert merged["count"].sum() == n
    for side in (-1, 1):
        ours: Any = merged[merged["side"] == side]
        all_of_them: Any = fills[fills["side"] == side]
        assert ours["qty"].sum() == pytest.approx(all_of_them["qty"].sum())
        assert ours["fee"].sum() == pytest.approx(all_of_them["fee"].sum())
        assert (ours["px"] * ours["qty"]).sum() == pytest.approx((all_of_them["px"] * all_of_them["qty"]).sum())


def test_few_fills_stay_as_they_are() -> None:
    fills = pd.DataFrame(
        {"side": [1, -1], "px": [10.0, 11.0], "qty": [2.0, 2.0], "fee": [0.1, 0.2], "where": ["open", "stop"]}
    )
    merged = thinning.merged_fills(fills, np.array([0, DAY]))
    assert merged["where"].tolist() == ["open", "stop"]
    assert merged["count"].tolist() == [1, 1]

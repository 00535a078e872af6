"""Whatever happened in a replay, the parts of its P&L are all of it, and no order trades before it arrives."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import quantai as qa
from quantai.backtest.fill_quality import lives_of
from quantai.data.tape import Tape
from tests.property.test_replay_run import TWO, Busy, Slow, tick_rows, venues


@pytest.mark.parametrize("strategy", [Busy(), Slow()], ids=lambda s: type(s).__name__)
@given(rows=tick_rows(), venue=venues, horizon=st.sampled_from([0, 1, 50, 1000, 10**9]))
@settings(max_examples=60, deadline=None)
def test_the_parts_of_a_pnl_add_up(strategy, rows, venue, horizon):
    r = qa.replay(strategy, Tape.from_events(rows, TWO), venue, cash=1000.0, sample_ns=500)
    split = r.pnl_split(horizon)
    assert sum(split.parts.values()) == pytest.approx(split.total, abs=1e-9)
    assert split.funding == 0.0
    assert split.by_symbol[["spread", "adverse", "inventory", "fees"]].sum().tolist() == pytest.approx(
        [split.spread, split.adverse, split.inventory, split.fees], abs=1e-9
    )
    parts = split.curve[list(split.parts)]
    assert parts.sum(axis=1).to_numpy() == pytest.approx(split.curve["total"].to_numpy(), abs=1e-9)
    last = parts.iloc[-1]
    assert last.to_numpy() == pytest.approx(list(split.parts.values()), abs=1e-9)


@pytest.mark.parametrize("strategy", [Busy(), Slow()], ids=lambda s: type(s).__name__)
@given(rows=tick_rows(), venue=venues)
@settings(max_examples=60, deadline=None)
def test_orders_trade_from_their_arrival_to_their_end(strategy, rows, venue):
    r = qa.replay(strategy, Tape.from_events(rows, TWO), venue, cash=1000.0, sample_ns=500)
    lives = lives_of(r)
    assert (lives["arrival"] >= lives["ts"]).all()
    fills = r.fill_rows
    of = lives[np.searchsorted(lives["order"], fills["order"])]
    replaced = np.isin(fills["order"], r.intents["order"][r.intents["action"] == 3])
    taken = (fills["maker"] == 0) & ~replaced
    if venue.latency.kind == 0:
        assert (fills["ts_exch"] >= of["arrival"]).all()
        assert (fills["ts_exch"][taken] == of["arrival"][taken]).all()
        assert (fills["ts_exch"] <= of["end"]).all()
    rested = lives[lives["rested"] == 1]
    assert (rested["end"] >= rested["arrival"]).all()
    split = r.queue_stats()
    assert split.summary["any_fill"] == len(np.unique(fills["order"]))

"""Two results side by side: the table, and in words where they first parted."""

import numpy as np
import pytest

import quantai as qa
from quantai.strategy.examples import Cross, Quote
from tests.bench import gen_ticks
from tests.unit.test_replay_report import BUY, STORY, Request, play


def test_equal_replays_are_the_same():
    found = qa.compare(play(BUY, *STORY), play(BUY, *STORY))
    assert found.same
    assert not found.first
    assert (found.table["difference"].fillna(0) == 0).all()
    assert "orders and fills are the same" in repr(found)


def test_a_slower_request_fills_less_and_the_first_difference_is_named():
    slow = qa.Latency(entry_ns=200, response_ns=10)
    found = qa.compare(play(BUY, *STORY, maker_bps=10), play(BUY, *STORY, maker_bps=10, latency=slow))
    assert found.first["settings"] == "latency Latency(1e-05 ms + 1e-05 ms) against Latency(0.0002 ms + 1e-05 ms)"
    assert found.first["fate"].startswith("order 1: state PARTIAL against OPEN, filled 2 against 0")
    assert found.first["fill"].startswith("only a has fill 1 of 1: ts 1970-01-01 00:00:00.000001210, ")
    assert "decision" not in found.first
    assert found.table.loc["pnl"].tolist() == pytest.approx([0.8, 0.0, -0.8])
    assert not found.same


def test_another_price_is_the_first_decision_that_differs():
    found = qa.compare(play(BUY, *STORY), play([Request(ts=1100, qty=5, limit=99)], *STORY))
    assert found.first["decision"] == "order 1: limit 100 against 99"


def test_two_backtests():
    bars = qa.synth.bars(600, seed=1)
    a, b = (qa.backtest(Cross(fast=fast), bars) for fast in (5, 6))
    found = qa.compare(a, b)
    assert found.first["settings"] == "strategy Cross(fast=5, slow=50) against Cross(fast=6, slow=50)"
    assert found.first["decision"].startswith("order ")
    difference = found.plot().data[2]
    assert difference.y[-1] == pytest.approx(b.equity["equity"].iloc[-1] - a.equity["equity"].iloc[-1])
    assert found.table.loc["total_return", "difference"] == b.stats["total_return"] - a.stats["total_return"]


def test_the_figure_is_as_of_all_instants_of_both():
    made = gen_ticks.tape(20_000, 4)
    a, b = (qa.replay(Quote(), made, sample_ns=n * qa.SEC) for n in (1, 3))
    figure = qa.compare(a, b).plot()
    assert len(figure.data[0].x) == len(np.union1d(a.equity_rows["ts"], b.equity_rows["ts"]))
    assert figure.data[2].y[-1] == 0.0


def test_different_kinds_are_refused():
    bars = qa.backtest(Cross(), qa.synth.bars(100, seed=1))
    with pytest.raises(qa.InputError, match="one kind, got Result and ReplayResult"):
        qa.compare(bars, play(BUY, *STORY))
    with pytest.raises(qa.InputError, match="got int"):
        qa.compare(bars, 3)

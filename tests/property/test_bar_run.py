"""The same decisions whichever way rows are fed: compiled or plain, at once or in pieces, before or after a restart."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import quantai as qa
from quantai.backtest import BarRun, Settings
from quantai.core.rows import BAR
from quantai.strategy.examples import Cross, Reversion

ONE = qa.Instruments([qa.Instrument(symbol="X", quote="USD")])


class Busy(qa.Strategy):
    """Uses every order verb, state arrays, indicators with history, helpers and timers."""

    period: int = 5
    LIMIT = 0.01
    mean = qa.ind.sma("period")
    range = qa.ind.atr(3)
    rsi = qa.ind.rsi("period")
    channel = qa.ind.extreme(7)
    seen: int = qa.state(0)
    ring: float = qa.state(math.nan, shape=3)
    last: int = qa.state(0)
    filled: float = qa.state(0.0)
    ended: int = qa.state(0)

    def on_start(self, ctx):
        ctx.every(3 * qa.MIN)

    def edge(self, ctx, px):
        return px * (1.0 - self.LIMIT) if ctx.position() >= 0 else px * (1.0 + self.LIMIT)

    def on_bar(self, ctx, bar):
        self.ring[self.seen % 3] = bar.close
        self.seen += 1
        m = self.mean.update(bar.close)
        r = self.range.update(bar)
        q = self.rsi.update(bar.close)
        c = self.channel.update(bar.close)
        if self.seen % 7 == 0:
            self.last = ctx.buy(1.0, limit=self.edge(ctx, bar.close))
        if self.seen % 11 == 0 and q < 60.0:
            ctx.sell(0.5, stop=bar.low - r)
        if self.seen % 13 == 0:
            ctx.cancel(self.last)
        if self.seen % 17 == 0:
            ctx.replace(self.last, 2.0, limit=m)
        if self.seen % 19 == 0:
            ctx.target(0.5 if bar.close > c else -0.25)
        if self.seen % 23 == 0:
            ctx.buy(0.3, trail=r + 0.01, tif=0)

    def on_timer(self, ctx):
        if abs(ctx.position()) > 3.0:
            ctx.target(0.0)

    def on_fill(self, ctx, fill):
        self.filled += fill.side * fill.qty

    def on_order(self, ctx, order):
        self.ended += 1


STRATEGIES = (Cross(fast=3, slow=9), Reversion(period=5), Busy())


@st.composite
def bar_rows(draw, min_size=1, max_size=120):
    n = draw(st.integers(min_size, max_size))
    steps = draw(st.lists(st.integers(-300, 300), min_size=n, max_size=n))
    wicks = draw(
        st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(-100, 100)), min_size=n, max_size=n)
    )
    rows = np.zeros(n, BAR)
    close = 10_000
    for k in range(n):
        up, down, gap = wicks[k]
        open_ = max(close + gap, 500)
        close = max(open_ + steps[k], 500)
        rows[k]["open"], rows[k]["close"] = open_ / 100, close / 100
        rows[k]["high"], rows[k]["low"] = (max(open_, close) + up) / 100, (min(open_, close) - down) / 100
        rows[k]["volume"] = 1.0
    rows["ts_open"] = np.arange(n) * qa.MIN
    rows["ts_close"] = rows["ts_open"] + qa.MIN
    return rows


def run(strategy, rows, **how):
    r = BarRun(strategy, ONE, Settings(cash=10_000.0, fee_bps=2.0, slip_bps=1.0, leverage=2.0), **how)
    r.feed(rows)
    return r


def logs(*runs):
    return [b"".join(r.rows(name).tobytes() for r in runs) for name in ("intents", "orders", "fills", "equity")]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)
@given(rows=bar_rows())
@settings(max_examples=25)
def test_plain_python_decides_like_compiled_code(strategy, rows):
    fast, slow = run(strategy, rows), run(strategy.python(), rows)
    assert fast.rows("intents").tobytes() == slow.rows("intents").tobytes()
    assert logs(fast) == logs(slow)
    assert fast.snapshot() == slow.snapshot()


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda s: type(s).__name__)
@given(rows=bar_rows(min_size=2), data=st.data())
@settings(max_examples=25)
def test_pieces_and_a_restart_change_nothing(strategy, rows, data):
    whole = run(strategy, rows)
    cut = data.draw(st.integers(0, len(rows)))
    head = run(strategy, rows[:cut])
    tail = BarRun.restored(head.snapshot(), strategy, ONE, head.settings)
    for row in range(cut, len(rows)):
        tail.feed(rows[row : row + 1])
    assert logs(whole) == logs(head, tail)
    assert whole.snapshot() == tail.snapshot()


@given(rows=bar_rows(min_size=20), data=st.data())
@settings(max_examples=25)
def test_the_future_changes_no_past_decision(rows, data):
    cut = data.draw(st.integers(1, len(rows)))
    whole, prefix = run(Busy(), rows), run(Busy(), rows[:cut])
    past = prefix.rows("intents")
    assert whole.rows("intents")[: len(past)].tobytes() == past.tobytes()


@given(rows=bar_rows())
@settings(max_examples=25)
def test_money_adds_up(rows):
    """Equity is the cash paid and received plus what is held, recomputed from the fills alone."""
    r = run(Busy(), rows)
    fills = r.rows("fills")
    cash = 10_000.0 - np.sum(fills["side"] * fills["lots"] * 1e-8 * fills["px"]) - fills["fee"].sum()
    held = np.sum(fills["side"].astype("i8") * fills["lots"]) * 1e-8 * rows["close"][-1]
    assert r.rows("equity")["equity"][-1] == pytest.approx(cash + held, rel=1e-9, abs=1e-6)


def test_a_hundred_thousand_rows_plain_and_compiled():
    rows = qa.synth.bars(100_000, seed=3).rows
    fast, slow = run(Cross(), rows), run(Cross().python(), rows)
    assert len(fast.rows("intents")) > 1000
    assert logs(fast) == logs(slow)
    assert fast.snapshot() == slow.snapshot()


def test_a_snapshot_of_another_strategy_is_refused():
    snapshot = run(Cross(fast=3), qa.synth.bars(10, seed=1).rows).snapshot()
    with pytest.raises(qa.DataError, match="other parameters"):
        BarRun.restored(snapshot, Cross(fast=4), ONE, Settings(cash=10_000.0, fee_bps=2.0, slip_bps=1.0, leverage=2.0))

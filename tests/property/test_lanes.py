"""Runs without logs, alone or side by side, are the runs with logs: the same decisions, account and state."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import quantai as qa
from quantai.backtest import BarRun
from quantai.strategy.examples import Cross
from tests.property.test_bar_run import STRATEGIES, Busy, bar_rows, run


class Opens(qa.Strategy):
    """Trades at the start and then only when told by prices: long spells in which nothing happens."""

    turn: float = 99.0
    traded: int = qa.state(0)

    def on_start(self, ctx):
        ctx.buy(3.0)

    def on_bar(self, ctx, bar):
        if bar.close < self.turn and self.traded < 3:
            self.traded += 1
            ctx.sell(1.0)

    def on_fill(self, ctx, fill):
        if fill.side < 0:
            ctx.target(0.25)


def state(r):
    return (
        r.record.tobytes(),
        r.world.snapshot(),
        r.match.tobytes(),
        int(r.progress["fills"][0]),
        int(r.progress["bars"][0]),
    )


@pytest.mark.parametrize("strategy", [*STRATEGIES, Opens()], ids=lambda s: type(s).__name__)
@given(rows=bar_rows(min_size=2), data=st.data())
@settings(max_examples=40)
def test_logs_change_nothing(strategy, rows, data):
    logged = run(strategy, rows)
    cuts = sorted(data.draw(st.lists(st.integers(1, len(rows) - 1), max_size=3, unique=True)))
    silent = run(strategy, rows[:0], log=False)
    for piece in np.split(rows, cuts):
        silent.feed(piece)
    assert state(silent) == state(logged)
    equity = np.append(10_000.0, logged.rows("equity")["equity"])
    assert silent.stats["bars"][0] == len(equity)
    assert silent.stats["last"][0] == equity[-1]
    assert silent.stats["peak"][0] == equity.max()


@pytest.mark.parametrize("strategy", [Cross(fast=3, slow=9), Busy(), Opens()], ids=lambda s: type(s).__name__)
@given(rows=bar_rows(max_size=60))
@settings(max_examples=10)
def test_plain_python_without_logs(strategy, rows):
    assert state(run(strategy, rows, log=False)) == state(run(strategy.python(), rows, log=False))


def test_several_instruments_without_logs():
    parts = [qa.Bars.from_frame(qa.synth.bars(2_000, seed=k).df(), s) for k, s in enumerate(("BTC-USDT", "ETH-USDT"))]
    bars = qa.Bars.concat(parts)
    logged, silent = (BarRun(Cross(fast=3, slow=9), bars.instruments, log=log) for log in (True, False))
    for r in (logged, silent):
        r.feed(bars.rows)
    assert state(logged) == state(silent)

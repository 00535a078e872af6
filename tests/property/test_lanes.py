"""Runs side by side are the runs alone, with logs: the same decisions, account and state, whatever runs beside them."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import quantai as qa
from quantai.backtest import BarRun, Settings
from quantai.backtest.bar_run import bar_kernel
from quantai.backtest.lanes import SPELL, Lanes
from quantai.report.running import finish, records, update_all
from quantai.strategy.examples import Cross, Reversion
from tests.property.test_bar_run import ONE, STRATEGIES, Busy, bar_rows

SETTINGS = Settings(cash=10_000.0, fee_bps=2.0, slip_bps=1.0, leverage=2.0)
POOR = Settings(cash=150.0, fee_bps=20.0, leverage=1.0)
COARSE = qa.Instruments([qa.Instrument(symbol="X", quote="USD", lot="1")])


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


class Flips(qa.Strategy):
    """Asks for a target at every bar, reads the account, and now and then for something else as well."""

    step: int = 1
    seen: int = qa.state(0)
    worth: float = qa.state(0.0)

    def on_bar(self, ctx, bar):
        self.seen += self.step
        self.worth += ctx.equity + ctx.cash + ctx.position()
        ctx.target((self.seen % 5 - 2) * 0.45, rebalance=self.seen % 3 == 0)
        if self.seen % 17 == 0:
            ctx.buy(0.5, limit=bar.close * 0.99)
        if self.seen % 19 == 0:
            ctx.target(1e-12)


def alone(strategy, rows, how, instruments):
    run = BarRun(strategy, instruments, how)
    run.feed(rows)
    stats = records(1, how.cash)
    update_all(stats, run.rows("equity")["equity"])
    return run, finish(stats[0], 252.0)


def beside(strategies, rows, cuts, how, instruments):
    """Run strategies of one class in lanes; the rows come in pieces."""
    dtype = strategies[0].record().dtype
    lanes = Lanes(instruments, how, bar_kernel(type(strategies[0]), dtype), dtype, len(strategies))
    lanes.start()
    for k, strategy in enumerate(strategies):
        lanes.records[k] = strategy.record()[0]
    rows = rows.view()
    rows.flags.writeable = False
    for stop in [*cuts, len(rows)]:
        lanes.feed(rows, stop, len(strategies))
    return lanes


def assert_alike(strategies, rows, cuts=(), how=SETTINGS, instruments=ONE):
    lanes = beside(strategies, rows, cuts, how, instruments)
    columns = lanes.finished(len(strategies), 252.0)
    for k, strategy in enumerate(strategies):
        run, exact = alone(strategy, rows, how, instruments)
        assert lanes.records[k].tobytes() == run.record[0].tobytes()
        for name in ("now", "seq", "cash", "equity", "last_order", "n_intents", "refused"):
            assert np.array_equal(lanes._ctx[name][k], run.world.ctx[name][0]), name
        assert lanes._positions[k].tobytes() == run.world.positions.tobytes()
        # a target that passes the table by leaves nothing in its free slots
        live = lanes._orders[k][lanes._orders[k]["state"] > 0]
        assert live.tobytes() == run.world.orders[run.world.orders["state"] > 0].tobytes()
        for name in ("seq", "bars", "fills", "clipped", "unplaced", "working"):
            assert lanes._progress[name][k] == run.progress[name][0], name
        assert lanes._match[k].tobytes() == run.match[0].tobytes()
        for name in ("total_return", "max_drawdown", "max_drawdown_bars", "longest_drawdown_bars"):
            assert columns[name][k] == pytest.approx(getattr(exact, name), rel=0, abs=0, nan_ok=True)
        for name in ("annual_volatility", "sharpe", "sortino", "calmar"):
            assert columns[name][k] == pytest.approx(getattr(exact, name), rel=1e-9, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("strategy", [*STRATEGIES, Opens(), Flips()], ids=lambda s: type(s).__name__)
@given(rows=bar_rows(min_size=2), data=st.data())
@settings(max_examples=30)
def test_a_lane_is_the_run_it_stands_for(strategy, rows, data):
    cuts = sorted(data.draw(st.lists(st.integers(1, len(rows) - 1), max_size=3, unique=True)))
    assert_alike([strategy], rows, cuts)


@given(rows=bar_rows(min_size=2), steps=st.lists(st.integers(1, 7), min_size=1, max_size=5))
@settings(max_examples=30)
def test_neighbours_do_not_matter(rows, steps):
    assert_alike([Flips(step=s) for s in steps], rows)


@given(rows=bar_rows(min_size=2))
@settings(max_examples=20)
def test_refused_and_clipped_targets(rows):
    assert_alike([Flips(step=1), Flips(step=2)], rows, how=POOR, instruments=COARSE)


@pytest.mark.parametrize(
    "strategies",
    [[Cross(fast=f, slow=s) for f, s in ((3, 9), (5, 40), (20, 30))], [Reversion(period=p) for p in (5, 7)], [Busy()]],
    ids=lambda s: type(s[0]).__name__,
)
def test_many_spells(strategies):
    rows = qa.synth.bars(5 * SPELL + 77, seed=4).rows
    assert_alike(strategies, rows, [100, SPELL, 2 * SPELL + 1])


def test_several_instruments():
    parts = [qa.Bars.from_frame(qa.synth.bars(2_000, seed=k).df(), s) for k, s in enumerate(("BTC-USDT", "ETH-USDT"))]
    bars = qa.Bars.concat(parts)
    assert_alike([Cross(fast=3, slow=9), Cross(fast=5, slow=9)], bars.rows, instruments=bars.instruments)

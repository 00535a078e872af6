"""A sweep's variants are the backtests they stand for, whichever way they were chosen, and survive Ctrl-C."""

import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest

import quantai as qa
from quantai.backtest import BarRun, Settings
from quantai.backtest.asked import shown
from quantai.backtest.search import Study, grid_of, sample_of
from quantai.report.running import finish, records, update_all
from quantai.strategy.examples import Cross, Reversion

COSTS = {"fee_bps": 2.0, "slip_bps": 1.0, "cash": 50_000.0}


class Stops(qa.Strategy):
    """Works orders, so that the table, the intents and the account of each lane are used."""

    every: int = 7
    away: float = 0.002
    mean = qa.ind.sma("every")
    seen: int = qa.state(0)

    def on_bar(self, ctx, bar):
        self.seen += 1
        m = self.mean.update(bar.close)
        if self.seen % self.every == 0:
            ctx.buy(2.0, limit=m * (1.0 - self.away))
            ctx.sell(1.0, stop=m * (1.0 - 2.0 * self.away))


@pytest.fixture(scope="module")
def bars():
    return qa.synth.bars(20_000, seed=5)


def two_instruments():
    frames = {s: qa.synth.bars(9_000, seed=k).df() for k, s in enumerate(("BTC-USDT", "ETH-USDT"))}
    return qa.Bars.concat([qa.Bars.from_frame(f, s) for s, f in frames.items()])


def alone(strategy, bars, settings):
    """One BarRun and the statistics of its equity: what a lane has to reproduce."""
    run = BarRun(strategy, bars.instruments, settings)
    run.feed(bars.rows)
    stats = records(1, settings.cash)
    update_all(stats, run.rows("equity")["equity"])
    return run, stats[0]


@pytest.mark.parametrize(
    ("strategy", "grid"),
    [
        (Cross, {"fast": range(3, 9), "slow": (20, 40)}),
        (Reversion, {"period": range(5, 75)}),
        (Stops, {"every": range(3, 20), "away": (0.001, 0.003)}),
    ],
)
def test_every_variant_is_the_run_it_stands_for(strategy, grid, bars):
    swept = qa.sweep(strategy, bars, **grid, **COSTS)
    assert len(swept) == np.prod([len(v) for v in grid.values()])
    for k in range(0, len(swept), 7):
        run, stats = alone(strategy(**swept.params(k)), bars, Settings(**COSTS))
        row = swept.frame().iloc[k]
        per_year = 365.25 * 24 * 60
        exact = finish(stats, per_year)._asdict()
        for name in ("total_return", "max_drawdown", "max_drawdown_bars", "longest_drawdown_bars"):
            assert row[name] == exact[name]
        assert row["fills"] == run.progress["fills"][0]
        assert row["fees"] == run.world.positions["fees"].sum()
    assert swept.frame()["fills"].sum() > 0


def test_a_variant_run_again_tells_the_same_story(bars):
    swept = qa.sweep(Cross, bars, fast=(5, 9), slow=(30, 50), **COSTS)
    for k in range(len(swept)):
        result, row = swept.run(k), swept.frame().iloc[k]
        backtest = qa.backtest(Cross(**swept.params(k)), bars, **COSTS)
        assert result.intents.tobytes() == backtest.intents.tobytes()
        assert len(result.fills) == row["fills"]
        for name in ("total_return", "annual_volatility", "sharpe", "sortino", "calmar", "max_drawdown"):
            assert row[name] == pytest.approx(result.stats[name], rel=1e-9)


def test_several_instruments_and_tiles_that_end_between_instants():
    bars = two_instruments()
    swept = qa.sweep(Cross, bars, fast=(3, 5), slow=(10, 20), **COSTS)
    for k in range(len(swept)):
        _, stats = alone(Cross(**swept.params(k)), bars, Settings(**COSTS))
        assert swept.frame()["total_return"][k] == stats["last"] / stats["first"] - 1.0


def test_the_number_of_threads_changes_nothing(bars):
    grid = {"fast": range(3, 10), "slow": range(20, 70, 5)}
    one, three = (qa.sweep(Cross, bars, threads=t, **grid) for t in (1, 3))
    pd.testing.assert_frame_equal(one.frame(), three.frame(), check_exact=True)


def test_best_is_the_highest_and_nan_is_none(bars):
    swept = qa.sweep(Cross, bars, fast=(5, 9), slow=(30, 19_999))
    assert swept.best("total_return").stats["total_return"] == pytest.approx(swept.frame()["total_return"].max())
    idle = qa.sweep(Cross, bars, fast=5, slow=1 << 20)
    with pytest.raises(qa.DataError, match="none of them traded"):
        idle.best("sharpe")
    with pytest.raises(qa.UnknownName, match="total_retrun"):
        swept.best("total_retrun")


def test_variants_may_be_named(bars):
    chosen = [{"fast": 3, "slow": 9}, {"fast": 4}]
    swept = qa.sweep(Cross, bars, variants=chosen)
    assert [swept.params(k) for k in range(2)] == [{"fast": 3, "slow": 9}, {"fast": 4, "slow": 50}]
    with pytest.raises(qa.InputError, match="whole list"):
        qa.sweep(Cross, bars, variants=chosen, fast=3)
    with pytest.raises(qa.UnknownName, match="fsat"):
        qa.sweep(Cross, bars, variants=[{"fsat": 3}])
    with pytest.raises(qa.InputError, match="at least one"):
        qa.sweep(Cross, bars, variants=[])


def test_random_variants_are_different_and_repeatable(bars):
    grid = {"fast": range(2, 100), "slow": range(100, 1000)}
    first, again = (qa.sweep(Cross, bars, engine="random", n=20, seed=4, **grid).frame() for _ in range(2))
    other = qa.sweep(Cross, bars, engine="random", n=20, seed=5, **grid).frame()
    assert len(first) == 20
    assert not first.duplicated(["fast", "slow"]).any()
    pd.testing.assert_frame_equal(first, again)
    assert not first["fast"].equals(other["fast"])


def test_a_sample_as_large_as_the_grid_is_the_grid():
    values = {"a": [1, 2], "b": [0.5, 1.5, 2.5]}
    assert sample_of(values, 6, seed=1) == grid_of(values)


def test_optuna_finds_what_the_grid_finds():
    """A smooth hill over two parameters: the search has to climb it, deterministically for one seed."""
    values = {"x": list(range(40)), "kind": ["flat", "steep"]}

    def hill(params):
        return -((params["x"] - 31) ** 2) * (2.0 if params["kind"] == "steep" else 1.0)

    runs = []
    for _ in range(2):
        study, tried = Study(values, seed=7), []
        for _ in range(6):
            for trial, params in study.ask(10):
                tried.append(hill(params))
                study.tell(trial, tried[-1])
        runs.append(tried)
    assert runs[0] == runs[1]
    assert max(runs[0]) >= -1.0
    assert np.mean(runs[0][-20:]) > np.mean(runs[0][:20])


def test_optuna_sweeps(bars):
    swept = qa.sweep(Cross, bars, engine="optuna", n=40, seed=1, by="total_return", fast=range(3, 9), slow=(20, 40))
    frame = swept.frame()
    assert not frame.duplicated(["fast", "slow"]).any()
    assert len(frame) <= 12
    whole = qa.sweep(Cross, bars, fast=range(3, 9), slow=(20, 40)).frame()
    assert frame["total_return"].max() == whole["total_return"].max()
    with pytest.raises(qa.UnknownName, match="luck"):
        qa.sweep(Cross, bars, engine="optuna", by="luck", n=2, fast=(3, 4))


def test_returns_of_variants(bars):
    swept = qa.sweep(Cross, bars, fast=(5, 9), slow=(30, 50), **COSTS)
    returns = swept.returns([1, 3])
    assert list(returns.columns) == [1, 3]
    assert len(returns) == len(bars)
    total = (1.0 + returns).prod() - 1.0
    assert total.to_numpy() == pytest.approx(swept.frame()["total_return"].iloc[[1, 3]], rel=1e-9)
    hourly = swept.returns(every="1h")
    assert ((1.0 + hourly).prod() - 1.0).to_numpy() == pytest.approx(swept.frame()["total_return"], rel=1e-9)
    assert len(hourly) == len(pd.unique(returns.index.floor("1h")))
    with pytest.raises(qa.InputError, match="512 MB"):
        swept.returns([0] * 5000)


def test_what_cannot_be_swept_is_refused(bars):
    with pytest.raises(qa.UnknownName, match="fast_"):
        qa.sweep(Cross, bars, fast_=(1, 2))
    with pytest.raises(qa.InputError, match="slow has no values"):
        qa.sweep(Cross, bars, slow=())
    with pytest.raises(qa.InputError, match="whole number"):
        qa.sweep(Cross, bars, slow=(10, 0))
    with pytest.raises(qa.UnknownName, match="genetic"):
        qa.sweep(Cross, bars, slow=(10, 20), engine="genetic")
    with pytest.raises(qa.InputError, match="at least 1"):
        qa.sweep(Cross, bars, slow=(10, 20), engine="random", n=0)


def test_a_parameter_called_like_a_statistic_is_refused(bars):
    """It would share the statistic's column, and `best` would run the statistic as the parameter."""

    class Named(qa.Strategy):
        sharpe: float = 1.0

        def on_bar(self, ctx, bar):
            ctx.target(self.sharpe)

    with pytest.raises(qa.InputError, match="parameter sharpe of Named is called like a statistic"):
        qa.sweep(Named, bars, sharpe=(0.5, 1.0))

    assert shown(Named, ["sharpe", "size"], [{"size": 1}], ["sharpe", "fills"]) == ["size"]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda bars: qa.sweep(Cross(), bars, fast=[1, 2]), "give the class Cross, not an instance"),
        (lambda bars: qa.sweep(lambda x: 1, bars), "give a Strategy class, got <function"),
        (lambda bars: qa.sweep(Cross, bars, variants=[5]), "variant 0 is not a set of parameters.*got 5"),
        (lambda bars: qa.sweep(Cross, bars, variants={"fast": 5}), "variants is a list of parameter sets"),
        (lambda bars: qa.sweep(Cross, bars, fast=5, threads=-1), "threads is a whole number of at least 1, got -1"),
        (lambda bars: qa.sweep(Cross, bars, fast=5, threads=0), "threads is a whole number of at least 1, got 0"),
        (lambda bars: qa.sweep(Cross, bars, fast=5, n="5"), "n is a whole number of at least 1, got '5'"),
        (lambda bars: qa.sweep(Cross, bars, fast=5, seed=-1), "seed is a whole number of at least 0, got -1"),
        (lambda bars: qa.sweep(Cross, bars, fast=5, by="shapre"), "unknown statistic 'shapre': did you mean 'sharpe'"),
        (lambda bars: qa.sweep(Cross, bars, fast=np.float32(2.5)), "parameter fast is an int"),
        (lambda bars: qa.sweep(Cross, bars, fast=2**70), "parameter fast is an int"),
        (lambda bars: sample_of({str(k): range(300) for k in range(9)}, 5, 1), "too many to draw from"),
        (lambda bars: qa.sweep(Cross, bars, fast=5).run(1), "named by its row in the frame, 0 to 0; got 1"),
        (lambda bars: qa.sweep(Cross, bars, fast=5).run(-1), "named by its row in the frame, 0 to 0; got -1"),
        (lambda bars: qa.sweep(Cross, bars, fast=5).returns(["a"]), "named by its row in the frame, 0 to 0; got 'a'"),
    ],
)
def test_what_a_sweep_is_asked_wrongly_is_named(ask, message, bars):
    with pytest.raises(qa.InputError, match=message):
        ask(bars)


def test_a_search_that_repeats_itself_was_not_stopped(bars):
    swept = qa.sweep(Cross, bars, engine="optuna", n=5, seed=1, by="total_return", fast=(3, 4))
    assert (len(swept), swept.asked, swept.interrupted) == (2, 5, False)
    assert "5 suggestions were 2 different ones" in repr(swept)


def test_a_handler_that_fails_in_a_thread_says_where(bars):
    class Divides(qa.Strategy):
        by: int = 1
        k: int = qa.state(0)

        def on_bar(self, ctx, bar):
            self.k += 1 // self.by

    with pytest.raises(qa.StrategyError, match="divided by zero"):
        qa.sweep(Divides, bars, variants=[{"by": 1}, {"by": 0}])


INTERRUPTED = """
import os, signal
import quantai as qa
from quantai.strategy.examples import Cross
from quantai.backtest.variants import Variants

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started us deaf to it, in the background
run = Variants.run
behind = 0.0
def telling(self, variants, advance):
    def told(amount):
        global behind
        advance(amount)
        behind += amount
        if behind > 64 * os.cpu_count():  # more than what all threads have in hand: some block has ended
            os.kill(os.getpid(), signal.SIGINT)
            behind = float("-inf")
    return run(self, variants, told)
Variants.run = telling
bars = qa.synth.bars(200_000, seed=1)
s = qa.sweep(Cross, bars, fast=range(2, 102), slow=range(200, 400))
print(len(s), s.asked, flush=True)
again = qa.backtest(Cross(**s.params(0)), bars)
assert abs(again.stats["total_return"] - s.frame()["total_return"][0]) < 1e-9
print(repr(s))
"""


def test_ctrl_c_keeps_what_is_done(tmp_path):
    script = tmp_path / "interrupted.py"
    script.write_text(textwrap.dedent(INTERRUPTED))
    command = [sys.executable, str(script)]
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=300, check=True).stdout
    kept, asked = map(int, out.splitlines()[0].split())
    assert 0 < kept < asked == 20_000
    assert f"stopped after {kept:,} of 20,000" in out

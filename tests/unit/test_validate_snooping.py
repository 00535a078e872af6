"""Data-snooping tests: right on noise, right on skill, and equal to their definition; the verdict and walk-forward."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import quantai as qa
from quantai.backtest.validate import data_snooping
from quantai.backtest.validate.snooping import block_length, standard_errors
from quantai.strategy.examples import Cross, Quote

pytest.importorskip("arch")


def distance_from_uniform(p):
    """The Kolmogorov-Smirnov statistic of a sample against the uniform distribution on [0, 1]."""
    p = np.sort(p)
    at = np.arange(len(p))
    return max(((at + 1) / len(p) - p).max(), (p - at / len(p)).max())


def test_p_values_on_noise_are_uniform():
    """A quick version; `python -m tests.bench snooping` runs 200 seeds."""
    p = [data_snooping(np.random.default_rng(s).normal(size=(250, 10)), reps=250, seed=s).spa for s in range(60)]
    assert distance_from_uniform(p) < 1.36 / np.sqrt(len(p))  # the 5 % critical value


def test_skill_is_found_and_named():
    rng = np.random.default_rng(5)
    returns = pd.DataFrame(rng.normal(0.0, 0.01, (500, 20)), columns=[f"v{k}" for k in range(20)])
    returns["v7"] += 0.002
    found = data_snooping(returns, reps=500)
    assert found
    assert found.superior == ("v7",)
    assert found.best == "v7"
    assert found.spa_lower <= found.spa <= found.spa_upper < 0.05
    assert found.reality_check < 0.05


def test_a_benchmark_takes_the_skill_away():
    rng = np.random.default_rng(6)
    market = rng.normal(0.002, 0.01, 500)
    followers = market[:, None] + rng.normal(0.0, 0.002, (500, 8))
    assert data_snooping(followers, reps=300)
    assert not data_snooping(followers, market, reps=300)


def test_bad_variants_weaken_the_reality_check_more_than_spa():
    """What SPA was made for: adding variants that are hopeless and wild must not hide a good one."""
    rng = np.random.default_rng(7)
    good = rng.normal(0.002, 0.01, (500, 1))
    hopeless = rng.normal(-0.02, 0.08, (500, 30))
    found = data_snooping(np.hstack([good, hopeless]), reps=500)
    assert found.spa < 0.05 < found.reality_check


def test_standard_errors_equal_the_sum_over_lags():
    rng = np.random.default_rng(1)
    x = np.cumsum(rng.normal(size=(80, 3)), axis=0) * 0.1 + rng.normal(size=(80, 3))
    n, block = len(x), 6
    d = x - x.mean(axis=0)
    variance = (d**2).sum(axis=0) / n
    for lag in range(1, n):
        stay = (1 - lag / n) * (1 - 1 / block) ** lag + lag / n * (1 - 1 / block) ** (n - lag)
        variance += 2 * stay * (d[: n - lag] * d[lag:]).sum(axis=0) / n
    np.testing.assert_allclose(standard_errors(x, block), np.sqrt(variance), rtol=1e-10)


def test_blocks_are_as_long_as_returns_depend_on_each_other():
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(2_000, 4))
    assert block_length(noise) <= 2
    trending = np.apply_along_axis(lambda e: pd.Series(e).ewm(alpha=0.1).mean().to_numpy(), 0, noise)
    assert block_length(trending) > 10


def test_what_cannot_be_tested_is_refused():
    noise = np.random.default_rng(0).normal(size=(100, 3))
    with pytest.raises(qa.InputError, match="align them"):
        data_snooping(noise, np.zeros(99))
    with pytest.raises(qa.InputError, match="hold"):
        data_snooping(noise, "hold")
    with pytest.raises(qa.DataError, match="too few"):
        data_snooping(noise[:20])
    with pytest.raises(qa.InputError, match="hours"):
        data_snooping(np.zeros((20_000, 2)))
    with pytest.raises(qa.DataError, match="finite"):
        data_snooping(np.where(noise > 2, np.nan, noise))
    with pytest.raises(qa.DataError, match="nothing to test"):
        data_snooping(np.zeros((100, 3)))


@pytest.fixture(scope="module")
def swept():
    return qa.sweep(Cross, qa.synth.bars(20_000, seed=2), fast=range(3, 9), slow=(20, 40, 60), fee_bps=1.0)


def test_a_benchmark_that_is_none_is_refused(swept):
    prices = swept.bars.df()["close"].to_numpy()[: len(swept.returns(every="1h"))]
    with pytest.raises(qa.InputError, match="looks like prices"):
        data_snooping(swept, prices, every="1h")
    with pytest.raises(qa.InputError, match="no return at 1 of"):
        data_snooping(swept, pd.Series(prices).pct_change().to_numpy(), every="1h")
    for wrong in ({"size": 5}, {"reps": 0}, {"block": -3}):
        with pytest.raises(qa.InputError, match=next(iter(wrong))):
            data_snooping(swept, every="1h", **wrong)
    with pytest.raises(qa.InputError, match="one column a variant"):
        data_snooping("returns")


def test_a_sweep_is_tested_from_its_variants_run_again(swept):
    found = qa.data_snooping(swept, every="1h", reps=200)
    assert found.variants == len(swept)
    assert found.observations == len(swept.returns(every="1h"))
    held = qa.data_snooping(swept, "hold", every="1h", reps=200)
    assert held.benchmark == "buy and hold"


def test_holding_is_what_the_bars_say(swept):
    from quantai.backtest.validate.snooping import benchmark_of

    returns = swept.returns(every="1h")
    held, _ = benchmark_of(swept, "hold", returns)
    rows = swept.bars.rows
    assert np.prod(1.0 + held) == pytest.approx(rows["close"][-1] / rows["open"][0], rel=1e-9)


def test_the_verdict_on_a_random_walk_is_luck(swept):
    says = qa.verdict(swept, every="1h", blocks=8, reps=200)
    assert not says
    assert not says.checks["deflated Sharpe ratio"]
    assert says.params == swept.params(int(swept.frame()["sharpe"].argmax())) or says.sharpe <= says.luck
    assert f"Best of {len(swept)} variants" in says.text
    assert says.deflated <= says.probabilistic


def test_the_verdict_on_skill():
    """Prices with momentum that a crossover must find: all three checks are good."""
    rng = np.random.default_rng(4)
    drift = np.repeat(rng.choice([-1.0, 1.0], 400), 100) * 4e-4
    close = 100.0 * np.exp(np.cumsum(drift + rng.normal(0.0, 2e-3, 40_000)))
    index = pd.date_range("2024-01-01", periods=len(close), freq="1h", tz="UTC")
    frame = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), close), index).assign(volume=1.0)
    found = qa.verdict(qa.sweep(Cross, frame, fast=(5, 10, 20), slow=(40, 80, 160)), reps=200, blocks=8)
    assert found, found.text
    assert "more than luck" in found.text.splitlines()[0]


def test_walk_forward_trades_what_was_chosen_before():
    bars = qa.synth.bars(6_000, seed=11)
    grid = {"fast": (3, 6), "slow": (20, 50)}
    walked = qa.walk_forward(Cross, bars, train=2_000, test=1_500, fee_bps=2.0, **grid)
    assert len(walked.folds) == 3
    assert walked.equity.index[0] == bars[2_000:].df().index[0] or len(walked.equity) == 4_000
    first = walked.folds.iloc[0]
    swept = qa.sweep(Cross, bars[:2_000], fee_bps=2.0, **grid)
    assert {n: first[n] for n in grid} == swept.params(swept.best_row())
    assert first["in_sample"] == swept.frame()["sharpe"].max()
    # by hand: that variant over both spans, its change over the test, less the fee on what it held at the hand-over
    curve = qa.backtest(Cross(**swept.params(swept.best_row())), bars[:3_500], fee_bps=2.0).equity
    handed = abs(curve["exposure"].iloc[1_999]) * 2e-4
    expected = curve["equity"].iloc[-1] / curve["equity"].iloc[1_999] * (1.0 - handed) - 1.0
    assert first["total_return"] == pytest.approx(expected, rel=1e-9)
    assert walked.stats["total_return"] == pytest.approx(np.prod(1.0 + walked.folds["total_return"]) - 1.0, rel=1e-9)


def test_walk_forward_never_sees_the_test():
    """Whatever happens after a training span changes nothing about what was chosen in it."""
    bars = qa.synth.bars(3_000, seed=12)
    grid = {"fast": (3, 6), "slow": (20, 50)}
    whole = qa.walk_forward(Cross, bars, train="20h", test="10h", anchored=True, **grid)
    part = qa.walk_forward(Cross, bars[:2_400], train="20h", test="10h", anchored=True, **grid)
    names = ["fast", "slow", "in_sample", "total_return"]
    pd.testing.assert_frame_equal(whole.folds[names].iloc[: len(part.folds)], part.folds[names])
    assert (whole.folds["train_from"] == whole.folds["train_from"][0]).all()
    assert (whole.folds["train_until"] < whole.folds["test_from"]).all()


def test_a_span_without_trades_is_followed_by_cash():
    walked = qa.walk_forward(Cross, qa.synth.bars(400, seed=1), train=100, test=100, fast=5, slow=5_000)
    assert (walked.equity["equity"] == 100_000.0).all()
    assert walked.folds["fast"].isna().all()
    assert walked.plot().data


def test_spans_that_do_not_fit_are_refused():
    bars = qa.synth.bars(100, seed=1)
    with pytest.raises(qa.InputError, match="leave nothing to test"):
        qa.walk_forward(Cross, bars, train=100, test=10)
    with pytest.raises(qa.InputError, match="'365D'"):
        qa.walk_forward(Cross, bars, train="a year", test=10)
    for train in (50.5, None, True, "-5D"):
        with pytest.raises(qa.InputError, match="train is a whole number of instants or a length of time"):
            qa.walk_forward(Cross, bars, train=train, test=10)
    with pytest.raises(qa.InputError, match="gap is a whole number"):
        qa.walk_forward(Cross, bars, train=50, test=10, gap="5D")
    with pytest.raises(qa.InputError, match="give the class Cross"):
        qa.walk_forward(Cross(), bars, train=50, test=10)


def test_a_variant_given_twice_is_one_try():
    bars = qa.synth.bars(3_000, seed=1)
    once = qa.verdict(qa.sweep(Cross, bars, fast=(3, 5, 7), slow=(20, 40)), every="15min", blocks=4, reps=100)
    twice = [{"fast": f, "slow": s} for f in (3, 5, 7, 3) for s in (20, 40)]
    again = qa.verdict(qa.sweep(Cross, bars, variants=twice), every="15min", blocks=4, reps=100)
    assert again.text == once.text
    assert len(qa.sweep(Cross, bars, fast=[3, 3, 3.0], slow=20)) == 1


def test_the_verdict_names_the_venue_where_venues_vary():
    market = qa.synth.market(hours=0.03, seed=7)
    tape = qa.Tape.from_events(market.events, [market.instrument])
    swept = qa.sweep(Quote, tape, offset=(0, 1), venue=[qa.SimVenue(), qa.SimVenue(maker_bps=-1.0)])
    says = qa.verdict(swept, every="1s", blocks=4, reps=100)
    assert says.params["venue"] == 1
    assert "venue=1" in says.text


def test_what_no_verdict_can_be_given_on_is_refused(swept):
    with pytest.raises(qa.InputError, match="judges a sweep, got a Result"):
        qa.verdict(swept.best())
    with pytest.raises(qa.InputError, match="two different variants"):
        qa.verdict(qa.sweep(Cross, swept.bars, variants=[{"fast": 5}] * 3))
    for every in ("foo", "ME", 5.5):
        with pytest.raises(qa.InputError, match="every is a length of time"):
            qa.verdict(swept, every=every)


def test_spans_in_numbers_and_lengths_of_any_library_are_the_same():
    bars, grid = qa.synth.bars(600, seed=1), {"fast": (2, 3), "slow": (10, 20)}
    walked = [
        qa.walk_forward(Cross, bars, train=train, test=100, **grid).folds
        for train in (300, np.int64(300), "300min", pd.Timedelta(minutes=300), np.timedelta64(300, "m"))
    ]
    assert len(walked[0]) == 3
    assert all(w.equals(walked[0]) for w in walked)


INTERRUPTED = """
import os
import signal
import quantai as qa
from quantai.backtest.variants import Variants
from quantai.strategy.examples import Cross

run, folds = Variants.run, 0
def telling(self, variants, advance):
    global folds
    folds += 1
    sent = folds != 2
    def told(amount):
        nonlocal sent
        advance(amount)
        if not sent:
            sent = True
            os.kill(os.getpid(), signal.SIGINT)
    return run(self, variants, told)
Variants.run = telling
bars = qa.synth.bars(60_000, seed=1)
walked = qa.walk_forward(Cross, bars, train=40_000, test=5_000, fast=range(2, 12), slow=range(20, 220, 2))
print(len(walked.folds), walked.asked, folds)
print(repr(walked))
"""


def test_ctrl_c_keeps_the_folds_that_were_finished(tmp_path):
    """A choice among the variants that happened to be done would be told as the choice of the fold."""
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    command = [sys.executable, str(script)]
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=300, check=True).stdout
    assert out.splitlines()[0] == "1 4 2"
    assert "stopped after 1 of 4" in out

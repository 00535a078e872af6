"""Planted leaks are caught, honest strategies pass; a warm-up is enough or it is said how much is needed."""

import numpy as np
import pandas as pd
import pytest

import quantai as qa
from quantai.core.rows import BAR
from quantai.strategy.examples import Cross, Reversion


class Range(qa.Strategy):
    """Long in the lower half of a range given beforehand."""

    low: float = 0.0
    high: float = 1.0

    def on_bar(self, ctx, bar):
        ctx.target(1.0 if bar.close < (self.low + self.high) / 2.0 else 0.0)


class Follow(qa.Strategy):
    """Long when the volume column, which carries a signal here, is positive."""

    def on_bar(self, ctx, bar):
        ctx.target(1.0 if bar.volume > 0.5 else 0.0)


class Orders(qa.Strategy):
    """Orders at the mean, with stops: what an honest strategy with every kind of intent does."""

    period: int = 10
    mean = qa.ind.sma("period")
    last: int = qa.state(0)

    def on_bar(self, ctx, bar):
        m = self.mean.update(bar.close)
        if self.mean.ready and ctx.seq % 5 == 0:
            ctx.cancel(self.last)
            self.last = ctx.buy(1.0, limit=m) if bar.close > m else ctx.sell(1.0, stop=bar.low)


class Remembers(qa.Strategy):
    """Holds for good once it saw a price above 0: decides by what came before any warm-up."""

    seen: int = qa.state(0)

    def on_bar(self, ctx, bar):
        self.seen += 1
        ctx.target(1.0 if self.seen % 1000 < 500 else 0.0)


@pytest.fixture(scope="module")
def bars():
    return qa.synth.bars(3_000, seed=9)


def with_signal(bars, signal):
    rows = np.array(bars.rows, BAR)
    rows["volume"] = np.where(np.asarray(signal), 1.0, 0.0)
    return qa.Bars(rows, bars.instruments, bars.interval)


def in_whole_range(bars):
    return Range(low=float(bars.rows["low"].min()), high=float(bars.rows["high"].max()))


def shifted_label(bars):
    close = pd.Series(bars.rows["close"])
    return with_signal(bars, close.shift(-1) > close)


def centred_window(bars):
    close = pd.Series(bars.rows["close"])
    return with_signal(bars, close > close.rolling(21, center=True, min_periods=1).mean())


def trailing_window(bars):
    close = pd.Series(bars.rows["close"])
    return with_signal(bars, close > close.rolling(21, min_periods=1).mean())


def test_a_parameter_fitted_to_the_whole_range_is_caught(bars):
    found = qa.check_lookahead(in_whole_range, bars)
    assert not found
    assert "target" in repr(found)
    assert found.findings[0].at <= found.findings[0].known_until


@pytest.mark.parametrize("prepare", [shifted_label, centred_window])
def test_a_leaking_column_is_caught_in_the_data_and_in_the_decisions(bars, prepare):
    found = qa.check_lookahead(Follow, bars, prepare=prepare)
    assert not found
    assert "prepared 'volume'" in repr(found)
    assert len(found.findings) > 6

    # the same leak through the strategy alone: what it is run on is not compared, only what it decides
    class Blind(Follow):
        at: int = 0

    decided = [qa.backtest(Blind(), prepare(b)).intents for b in (bars, bars[:2_000])]
    assert decided[0][decided[0]["seq"] <= 2_000].tobytes() != decided[1].tobytes()


@pytest.mark.parametrize(
    "feature",
    [
        lambda b: b.df()["close"].rolling(9, center=True).mean(),
        lambda b: (b.df()["close"] - b.df()["close"].mean()) / b.df()["close"].std(),
        lambda b: pd.DataFrame({"up": np.sign(b.df()["close"].shift(-3) - b.df()["close"])}),
        lambda b: b.df()["close"].bfill().rank(pct=True).to_numpy(),
    ],
    ids=["centred", "z-score of everything", "label", "rank"],
)
def test_leaking_features_are_caught(bars, feature):
    assert not qa.check_lookahead(Cross, bars, prepare=feature)


@pytest.mark.parametrize("strategy", [Cross(fast=3, slow=9), Reversion(period=10), Orders(), Remembers])
def test_honest_strategies_pass(bars, strategy):
    found = qa.check_lookahead(strategy, bars, fee_bps=1.0)
    assert found
    assert found.cuts >= 12
    assert not found.untested
    assert found.decisions > 0


def test_honest_preparation_passes(bars):
    assert qa.check_lookahead(Follow, bars, prepare=trailing_window)
    assert qa.check_lookahead(Cross, bars, prepare=lambda b: b.df()["close"].pct_change())
    assert qa.check_lookahead(lambda b: Range(low=0.9 * float(b.rows["close"][0]), high=200.0), bars)


def test_a_number_that_is_a_statistic_of_the_whole_history_is_recognised(bars):
    high, mean = float(bars.rows["high"].max()), float(bars.rows["close"].mean())
    found = qa.check_lookahead(Range(low=mean, high=high), bars)
    assert not found
    assert "2 numbers" in repr(found)
    assert [f.what.split(" = ")[0] for f in found.findings] == ["parameter low", "parameter high"]
    assert found.findings[1].at.value == bars.rows["ts_close"][bars.rows["high"].argmax()]
    # the same numbers out of a function that does not look at the bars it is given
    assert not qa.check_lookahead(lambda _: Range(low=mean, high=high), bars)


FOREKNOWN = tuple(float(k % 7) for k in range(50))


class Foreknows(qa.Strategy):
    """Trades by a column typed into the program."""

    def on_bar(self, ctx, bar):
        ctx.target(1.0 if ctx.seq < 50 and FOREKNOWN[ctx.seq] > 3.0 else 0.0)


def test_what_no_run_makes_again_is_named(bars):
    found = qa.check_lookahead(Foreknows, bars[:60])
    assert found.untested == ("FOREKNOWN",)
    assert "not tested: FOREKNOWN" in repr(found)


def test_rounding_is_no_look_ahead(bars):
    def smoothed(b):
        spectrum = np.fft.rfft(b.rows["close"], 2 * len(b)) * np.fft.rfft(np.full(20, 0.05), 2 * len(b))
        return np.fft.irfft(spectrum, 2 * len(b))[: len(b)]

    assert smoothed(bars)[:500].tobytes() != smoothed(bars[:500]).tobytes()
    assert qa.check_lookahead(Cross, bars, prepare=smoothed)


@pytest.mark.parametrize("kind", ["pl", "arrow", "category"])
def test_features_of_any_kind(bars, kind):
    def features(b):
        return b.df()["close"].gt(100).astype("category") if kind == "category" else getattr(b, kind)()

    assert qa.check_lookahead(Cross, bars, prepare=features)


def test_several_instruments_are_cut_between_instants():
    frames = [qa.Bars.from_frame(qa.synth.bars(500, seed=k).df(), s) for k, s in enumerate(("BTC-USDT", "ETH-USDT"))]
    assert qa.check_lookahead(Cross(fast=3, slow=9), qa.Bars.concat(frames))


def test_what_cannot_be_checked_is_refused(bars):
    with pytest.raises(qa.InputError, match="one row a bar"):
        qa.check_lookahead(Cross, bars, prepare=lambda b: b.df()["close"].iloc[1:])
    with pytest.raises(qa.InputError, match="it returned a float"):
        qa.check_lookahead(lambda b: 1.0, bars)
    with pytest.raises(qa.DataError, match="three instants"):
        qa.check_lookahead(Cross, bars[:2])
    for made in (3.0, np.zeros((len(bars), 2, 2))):
        with pytest.raises(qa.InputError, match="prepare has to return"):
            qa.check_lookahead(Cross, bars, prepare=lambda _, made=made: made)
    for cuts in (0, -1, 1.5):
        with pytest.raises(qa.InputError, match="cuts is a whole number"):
            qa.check_lookahead(Cross, bars, cuts=cuts)
    with pytest.raises(qa.InputError, match="strategy is a Strategy"):
        qa.check_lookahead("Cross", bars)
    market = qa.synth.market(hours=0.001, seed=1)
    with pytest.raises(qa.InputError, match="bars are needed to check with, not a Tape"):
        qa.check_lookahead(Cross, qa.Tape.from_events(market.events, [market.instrument]))
    with pytest.raises(qa.UnknownName, match="fee_bsp"):
        qa.check_lookahead(Cross, bars, fee_bsp=1.0)


def test_warmup(bars):
    good = qa.check_warmup(Cross(fast=3, slow=9), bars)
    assert good
    assert good.warmup == 90
    assert good.needed is not None
    assert 9 <= good.needed <= 90
    short = qa.check_warmup(Cross(fast=3, slow=9), bars, warmup=good.needed - 1)
    assert not short
    assert f"{good.needed:,} needed" in repr(short)
    assert qa.check_warmup(Reversion(period=10), bars, warmup=1_000).needed is not None


class Sized(qa.Strategy):
    """Sizes by Wilder's average, anew at each bar."""

    period: int = 10
    atr = qa.ind.atr("period")

    def on_bar(self, ctx, bar):
        spread = self.atr.update(bar)
        if self.atr.ready:
            ctx.target(min(1.0, 1e-4 * bar.close / spread), rebalance=True)


def test_an_average_of_wilder_has_enough_by_default(bars):
    found = qa.check_warmup(Sized(), bars)
    assert found
    assert found.warmup == 200


def test_warmups_that_test_nothing_are_refused(bars):
    for name, value in (("starts", 0), ("warmup", -5), ("warmup", 10.5)):
        with pytest.raises(qa.InputError, match=f"{name} is a whole number"):
            qa.check_warmup(Cross(fast=3, slow=9), bars, **{name: value})
    with pytest.raises(qa.InputError, match="strategy is a Strategy"):
        qa.check_warmup(lambda _: Cross(), bars)


def test_a_strategy_that_counts_from_the_beginning_never_agrees(bars):
    found = qa.check_warmup(Remembers, bars, warmup=500)
    assert not found
    assert found.needed is None or found.needed > 500
    with pytest.raises(qa.InputError, match="too few"):
        qa.check_warmup(Cross, bars[:600])


def test_a_column_that_leaks_on_special_days_alone_is_caught(bars):
    def before_falls(b):
        return (b.df()["close"].shift(-1) < b.df()["close"] * 0.998).astype(float)

    assert 0 < before_falls(bars).sum() < 20
    assert not qa.check_lookahead(Cross, bars, prepare=before_falls)

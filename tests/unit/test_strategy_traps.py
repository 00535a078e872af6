"""What a reviewer broke once: names that collide, values that would be dropped, memory that is not the strategy's."""

import math
import sys
from math import sqrt

import numpy as np
import pytest

import quantai as qa
from quantai.backtest import BarRun, Settings

BARS = qa.synth.bars(60, seed=5)
SCALE = np.float64(0.5)
COUNT = np.int64(3)


def equity_of(x):
    """Named like an engine function."""
    return 5.0 * x


def place(x, y=COUNT):
    """Another, with a default taken from outside."""
    return x + y


class Collides(qa.Strategy):
    position: float = qa.state(0.0)
    price: float = qa.state(0.0)

    def accept(self, ctx, bar):
        return bar.close

    def on_bar(self, ctx, bar):
        self.position = equity_of(SCALE) + place(1)
        self.price = sqrt(math.fabs(self.accept(ctx, bar)))
        ctx.target(1.0 if self.position > 0 else 0.0)


def same(strategy, **settings):
    """Run compiled and plain, compare their bytes, and return the compiled run."""
    runs = [BarRun(s, BARS.instruments, Settings(**settings)) for s in (strategy, strategy.python())]
    for run in runs:
        run.feed(BARS.rows)
    assert runs[0].snapshot() == runs[1].snapshot()
    return runs[0]


def test_helpers_named_like_the_engine_take_nobodys_place():
    run = same(Collides(), cash=1_000.0)
    assert run.record["position"][0] == 5.0 * 0.5 + 4
    assert run.rows("equity")["equity"][0] == 1_000.0


class Unsigned(qa.Strategy):
    below: float = qa.state(0.0)

    def on_bar(self, ctx, bar):
        self.below = bar.instrument - bar.trades - 1


def test_unsigned_fields_do_not_wrap():
    assert same(Unsigned()).record["below"][0] == -1 - int(BARS.rows["trades"][-1])


class Ring(qa.Strategy):
    ring: float = qa.state(1.0, shape=4)
    after: float = qa.state(7.0)
    at: int = 4

    def on_bar(self, ctx, bar):
        self.ring[self.at] = bar.close


def test_an_index_beyond_an_array_is_an_error_and_writes_nothing():
    with pytest.raises(qa.StrategyError, match="index that is not there"):
        qa.backtest(Ring(), BARS)
    with pytest.raises(IndexError):
        qa.backtest(Ring().python(), BARS)
    assert same(Ring(at=3)).record["after"][0] == 7.0


class GivesUp(qa.Strategy):
    def on_bar(self, ctx, bar):
        if bar.close > 0.0:
            raise ValueError("too dear")


def test_what_a_handler_raises_names_its_strategy():
    with pytest.raises(qa.StrategyError, match="GivesUp raised ValueError: too dear"):
        qa.backtest(GivesUp(), BARS)
    with pytest.raises(ValueError, match="too dear"):
        qa.backtest(GivesUp().python(), BARS)


class NoSuchInstrument(qa.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(1.0, instrument=50_000_000)


def test_an_instrument_that_is_not_there_is_an_error():
    with pytest.raises(qa.StrategyError, match="no instrument of that number"):
        qa.backtest(NoSuchInstrument(), BARS)


class DropsFraction(qa.Strategy):
    mean: int = qa.state(0)

    def on_bar(self, ctx, bar):
        self.mean += 0.1 * (bar.close - self.mean)


def test_a_float_is_not_stored_in_an_int():
    with pytest.raises(qa.StrategyError, match="a float cannot be stored in an int field"):
        qa.backtest(DropsFraction(), BARS)
    with pytest.raises(TypeError, match="a float cannot be stored in an int field"):
        qa.backtest(DropsFraction().python(), BARS)


class WritesRow(qa.Strategy):
    def on_bar(self, ctx, bar):
        bar.close = 1.0


def test_rows_cannot_be_written():
    before = BARS.rows.tobytes()
    for strategy in (WritesRow(), WritesRow().python()):
        with pytest.raises(qa.StrategyError, match="assigns to its own fields only"):
            qa.backtest(strategy, BARS)
    assert BARS.rows.tobytes() == before


def gate(handler):
    """Never lets a handler run."""
    return lambda self, ctx, bar: None


class Decorated(qa.Strategy):
    @gate
    def on_bar(self, ctx, bar):
        ctx.target(1.0)


class Rounds(qa.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(round(bar.close, 2))


@pytest.mark.parametrize("strategy", [Decorated, Rounds])
def test_what_would_differ_when_compiled_is_refused(strategy):
    with pytest.raises(qa.StrategyError):
        qa.backtest(strategy(), BARS)


def test_field_names_of_the_base_class_are_refused():
    with pytest.raises(qa.StrategyError, match="has a record of its own"):

        class Taken(qa.Strategy):
            record: int = 5  # pyright: ignore[reportIncompatibleMethodOverride]


def test_an_int_without_annotation_says_how_to_write_it():
    class Bare(qa.Strategy):
        seen = qa.state(0)

    with pytest.raises(qa.StrategyError, match="seen: int"):
        Bare()


class Sign(qa.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(level)


level = 1.0


def test_the_source_hash_counts_constants_of_other_cells():
    global level  # noqa: PLW0603
    first = Sign.source_hash()
    level = -1.0
    try:
        assert Sign.source_hash() != first
    finally:
        level = 1.0
    assert Sign.source_hash() == first


class InOneRow(qa.Strategy):
    seen: int = qa.state(0)

    def on_bar(self, ctx, bar):
        if self.seen == 0:
            ctx.cancel(ctx.buy(1.0))
        self.seen += 1


class Limits:
    most = 2.0


def test_a_kernel_is_kept_until_something_it_was_made_of_changes():
    near = 1.0

    class Watches(qa.Strategy):
        factor = 2.0
        x: float = qa.state(0.0)

        def scaled(self, x):
            return x * self.factor

        def on_bar(self, ctx, bar):
            self.x = self.scaled(bar.close) * SCALE + Limits.most + place(1) + near

    def halved(self, x):
        return x / 2.0

    def on_timer(self, ctx):
        self.x = 0.0

    def kernel():
        return Watches.kernel(Watches().record().dtype, ())

    first = kernel()
    assert kernel() is first
    assert not first.fresh
    changes = [
        (sys.modules[__name__], "SCALE", np.float64(0.25)),
        (Limits, "most", 3.0),
        (Watches, "factor", 3.0),
        (Watches, "scaled", halved),
        (place, "__code__", equity_of.__code__),
        (Watches, "on_timer", on_timer),
    ]
    for where, name, value in changes:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(where, name, value, raising=False)
            changed = kernel()
            assert changed is not first
            assert kernel() is changed
        assert kernel() is first
    near = 2.0
    assert kernel() is not first


def test_an_order_can_be_canceled_in_the_row_that_asked_for_it():
    r = qa.backtest(InOneRow(), BARS)
    assert r.orders[["state", "reason"]].values.tolist() == [["CANCELED", "BY_USER"]]


class AtStart(qa.Strategy):
    qty: float = 1e6

    def on_start(self, ctx):
        ctx.buy(self.qty)


def test_leverage_binds_before_the_first_bar_too():
    r = qa.backtest(AtStart(), BARS)
    assert r.orders["reason"].tolist() == ["NO_CASH"]
    assert len(qa.backtest(AtStart(qty=1.0), BARS).fills) == 1


class Everywhere(qa.Strategy):
    buying: bool = False

    def on_bar(self, ctx, bar):
        if self.buying:
            if ctx.position() == 0.0:
                ctx.buy(0.95 * ctx.equity / bar.close)
        else:
            ctx.target(1.0)


@pytest.mark.parametrize("buying", [False, True])
def test_leverage_binds_across_instruments(buying):
    other = qa.synth.bars(60, seed=6)
    renamed = qa.Bars(other.rows, qa.Instruments([other.instruments[0].with_fields(symbol="OTHER")]), other.interval)
    r = qa.backtest(Everywhere(buying=buying), qa.Bars.concat([BARS, renamed]))
    assert r.equity["exposure"].max() < 1.05
    assert sum(r.refused.values()) + (r.orders["reason"] == "NO_CASH").sum() > 0


def test_a_target_smaller_than_a_lot_is_counted_and_asked_again():
    coarse = BARS.instruments[0].with_fields(lot="1000")
    bars = qa.Bars(BARS.rows, qa.Instruments([coarse]), BARS.interval)

    class Small(qa.Strategy):
        def on_bar(self, ctx, bar):
            ctx.target(1.0)

    r = qa.backtest(Small(), bars, cash=100.0)
    assert r.refused["BAD_QTY"] > 10
    assert len(r.fills) == 0


def test_a_snapshot_knows_its_instruments_and_its_length():
    run = BarRun(InOneRow(), BARS.instruments)
    run.feed(BARS.rows)
    snapshot = run.snapshot()
    other = qa.Instruments([BARS.instruments[0].with_fields(lot="1")])
    with pytest.raises(qa.DataError, match="another strategy"):
        BarRun.restored(snapshot, InOneRow(), other)
    with pytest.raises(qa.DataError, match="does not fit"):
        BarRun.restored(snapshot[:-100], InOneRow(), BARS.instruments)

"""A replay sweep is the replays it stands for: variants that share a market end in the same state, to the byte."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import quantai as qa
from quantai.backtest import tick_market
from quantai.backtest.tick_lanes import TickLanes
from quantai.backtest.tick_pass import tick_kernel
from quantai.backtest.tick_run import TickRun
from quantai.core.rows import BUY, EVENT, LAST, TIF, Kind, zeros
from quantai.data.tape import Tape
from quantai.strategy.base import fields_of
from quantai.strategy.examples import Quote
from quantai.venues import Latency, SimVenue, cells
from tests.bench import gen_ticks
from tests.property.test_replay_run import TWO, tick_rows, venues


class Busy(qa.Strategy):
    """Hears of everything and uses every verb, in its own rhythm."""

    every: int = 3
    size: float = 0.004
    seen: int = qa.state(0)
    last: int = qa.state(0)
    filled: float = qa.state(0.0)
    ended: int = qa.state(0)
    top: int = qa.state(0)

    def on_start(self, ctx):
        ctx.every(700)

    def on_trade(self, ctx, trade):
        self.seen += 1
        self.top += ctx.seq
        if self.seen % self.every == 0:
            self.last = ctx.buy(self.size, limit=trade.px, post_only=True)
        if self.seen % 5 == 0:
            ctx.cancel(self.last)
        if self.seen % 7 == 0:
            ctx.replace(self.last, 0.006, limit=trade.px + 0.2)

    def on_book(self, ctx, book):
        self.top += book.bid_ticks
        self.filled += book.ask_qty
        if book.valid and book.ask_ticks % 4 == 0:
            ctx.sell(self.size, limit=book.bid - 0.3, tif=TIF.IOC)

    def on_timer(self, ctx):
        if abs(ctx.position()) > 0.01:
            ctx.target(0.0)
        ctx.buy(0.002, limit=ctx.price() + 0.3, expire_ts=ctx.now + 900)

    def on_fill(self, ctx, fill):
        self.filled += fill.side * fill.qty * ctx.now

    def on_order(self, ctx, order):
        self.ended += order.state


class Taker(qa.Strategy):
    """Only a timer: quotes on both instruments, and takes over several levels, all or nothing too."""

    every: int = 3
    size: float = 0.02
    n: int = qa.state(0)
    sum: float = qa.state(0.0)

    def on_start(self, ctx):
        ctx.every(130)

    def on_timer(self, ctx):
        self.n += 1
        i = self.n % 2
        book = ctx.book(i)
        self.sum += book.bid_qty - book.ask_qty + ctx.equity
        if book.valid:
            ctx.quote(i, qa.BUY, book.bid_ticks, 0.003)
            ctx.quote(i, qa.SELL, book.ask_ticks, 0.003)
        if self.n % self.every == 0:
            ctx.buy(self.size, instrument=i)
        if self.n % 4 == 1:
            ctx.sell(self.size, limit=max(book.bid, 0.1), tif=TIF.FOK, instrument=i)
        if self.n % 7 == 2:
            ctx.sell(2 * self.size, limit=max(book.bid - 0.2, 0.1), instrument=i)


class Guarded(qa.Strategy):
    """Only a timer: stops, stop-limits and trailing stops of every kind, moved, canceled and left to lapse."""

    every: int = 3
    size: float = 0.02
    n: int = qa.state(0)
    last: int = qa.state(0)
    kept: int = qa.state(0)

    def on_start(self, ctx):
        ctx.every(170)

    def on_timer(self, ctx):
        self.n += 1
        i, px = self.n % 2, ctx.price(self.n % 2)
        if px < 50.0:
            return
        if self.n % 3 == 0:
            self.last = ctx.buy(0.003, stop=px + 0.2, instrument=i, expire_ts=ctx.now + 900)
        if self.n % 4 == 1:
            self.last = ctx.sell(self.size, trail=0.3, instrument=i)
        if self.n % 5 == 2:
            self.kept = ctx.sell(0.004, stop=px - 0.1, limit=px - 0.2, instrument=i, reduce_only=self.every == 1)
        if self.n % 6 == self.every:
            ctx.replace(self.last, 0.005, stop=px + 0.1)
            ctx.replace(self.kept, 0.002, limit=px - 0.1, stop=px - 0.3)
        if self.n % 11 == 0:
            ctx.cancel(self.last)
        if self.n % 2 == 0:
            ctx.quote(i, qa.BUY, ctx.book(i).bid_ticks, 0.003)


class Hasty(qa.Strategy):
    """Stops that wake as they arrive beside orders sent at the same instant, and a timer faster than any report."""

    every: int = 3
    size: float = 0.02
    n: int = qa.state(0)
    last: int = qa.state(0)

    def on_start(self, ctx):
        ctx.every(5 + self.every)

    def on_timer(self, ctx):
        if self.n % 7 == self.every:
            ctx.quote(0, qa.SELL, ctx.book(0).ask_ticks, self.size)

    def on_trade(self, ctx, trade):
        self.n += 1
        if self.n % 3 == 0:
            self.last = ctx.buy(0.002, stop=max(trade.px - 0.3, 0.1))
        elif self.n % 3 == 1:
            ctx.buy(self.size, limit=trade.px + 0.1, tif=TIF.IOC)
        elif self.n % 4 == self.every:
            ctx.replace(self.last, 0.003, stop=trade.px + 0.2)


class Unheard(qa.Strategy):
    """One instrument and only a timer: quotes at and off the touch, orders of every kind, changed and canceled."""

    every: int = 3
    size: float = 0.02
    n: int = qa.state(0)
    last: int = qa.state(0)
    sum: float = qa.state(0.0)

    def on_start(self, ctx):
        ctx.every(23 * self.every)

    def on_timer(self, ctx):
        self.n += 1
        book = ctx.book(0)
        self.sum += ctx.equity + ctx.seq
        for order in ctx.orders():
            self.sum += order.state * order.px_ticks
        if not book.valid:
            return
        ctx.quote(0, qa.BUY, book.bid_ticks - self.n % 3, 0.003)
        ctx.quote(0, qa.SELL, book.ask_ticks + self.n % 2, 0.003)
        if self.n % 5 == 0:
            self.last = ctx.buy(self.size, limit=max(book.bid - 0.1, 0.1), expire_ts=ctx.now + 400)
        if self.n % 5 == 1:
            ctx.replace(self.last, self.size + 0.001, limit=max(book.bid - 0.1 * (self.n % 2), 0.1))
        if self.n % 5 == 3:
            ctx.cancel(self.last)
        if self.n % 7 == 0:
            ctx.sell(self.size, tif=TIF.IOC)
        if self.n % 11 == 0:
            ctx.sell(0.004, trail=book.bid)
        if self.n % 13 == 0:
            ctx.buy(0.004, stop=book.ask + 0.1)
        if self.n % 17 == 0:
            ctx.unquote(0, qa.BUY)


some_rows = st.one_of(tick_rows(min_size=20, max_size=300), tick_rows(min_size=20, max_size=300, spread=4_000))
"""Prices a few ticks from each other, or farther than an index tells apart."""
GRID = [{"every": every, "size": size} for every, size in ((1, 0.02), (5, 0.003))]


def shared(strategy, tape, venues_, variants):
    """Run every variant at every venue over one shared market; returns the lanes."""
    fields = fields_of(strategy)
    dtype = fields.dtype(fields.capacities([{}]))
    by_instrument = [TickRun(strategy(), tape.instruments, v, sample_ns=1000).venues for v in venues_]
    which = [k for k in range(len(venues_)) for _ in variants]
    lanes = TickLanes(
        tape, by_instrument, tick_kernel(strategy, dtype), dtype, len(which), 100_000.0, 64, 1000
    )  # fmt: skip
    lanes.start(which)
    for k, params in enumerate(variants * len(venues_)):
        lanes.records[k] = strategy(**params).record()[0]
    for horizon in lanes.horizons():
        lanes.move(horizon, len(which))
    lanes.lost = lanes.sim["lost"].copy()
    lanes.sim["lost"] = 0  # the lanes themselves are looked at here, not what replaces them
    lanes.finished(len(which), 1.0, lambda k: pytest.fail("a variant was lost"))
    return lanes


def placed(resting):
    """Resting orders without what only a shared market knows of them."""
    out = resting.copy()
    out["next"] = out["clear"] = out["key"] = 0
    return out


def state_of(run, k=None):
    """All that a strategy, its account and the venue know of a run, as bytes by name."""
    at = 0 if k is None else k
    out = {}
    if k is None:
        record, ctx, local, sim = run.record, run.world.ctx, run.local, run.sim
        tables = {"positions": run.world.positions, "books": run.world.books, "orders": run.world.orders}
        tables |= {"own": run._own, "resting": placed(run._resting[: run.sim["n_orders"][0]])}
    else:
        record, ctx, local, sim = run.records, run.ctx, run.local, run.sim
        tables = {"positions": run.positions[k], "books": run._books[k], "orders": run.orders[k]}
        tables |= {"own": run.own[k], "resting": placed(run.resting[k][: sim["n_orders"][k]])}
    out["record"] = record[at].tobytes()
    for name in ctx.dtype.names:
        if not name.startswith("at_"):
            out[f"ctx {name}"] = ctx[name][at].tobytes()
    for name in local.dtype.names:
        if not name.startswith(("at_", "n_", "quiet")) or name == "n_fill_reports":
            out[name] = local[name][at].tobytes()
    for name in ("next_expiry", "n_orders", "sent", "reported"):
        out[name] = sim[name][at].tobytes()
    return out | {name: rows.tobytes() for name, rows in tables.items()}


def assert_same(strategy, tape, venues_, variants):
    lanes = shared(strategy, tape, venues_, variants)
    fills = 0
    for k, (venue, params) in enumerate((v, p) for v in venues_ for p in variants):
        alone = TickRun(strategy(**params), tape.instruments, venue, sample_ns=1000)
        alone.feed_tape(tape)
        fills += len(alone.rows("fills"))
        if lanes.lost[k]:
            continue
        assert state_of(alone) == state_of(lanes, k), params
        equity = alone.rows("equity")["equity"]
        assert lanes.stats["last"][k] == equity[-1]
        assert lanes.stats["bars"][k] == len(equity) + 1
    return fills, int(lanes.lost.sum())


@pytest.mark.parametrize("strategy", [Busy, Taker, Guarded, Hasty])
@given(rows=some_rows, venue=venues, tile=st.integers(1, 90), data=st.data())
@settings(max_examples=25)
def test_shared_books_change_nothing(strategy, rows, venue, tile, data):
    if data.draw(st.booleans(), label="exchange in another order"):
        rows["ts_exch"] -= np.random.default_rng(1).integers(0, 300, len(rows))
    if data.draw(st.booleans(), label="one made of quotes"):
        of = (rows["instrument"] == 1) & (rows["kind"] == Kind.LEVEL)
        rows["kind"][of] = Kind.QUOTE
    tape = Tape.from_events(rows, TWO)
    other = SimVenue(latency=Latency(entry_ns=310, response_ns=20), queue="front", self_trade="cancel_oldest")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tick_market, "TILE_ROWS", tile)
        if data.draw(st.booleans(), label="hashed"):
            patch.setattr(cells, "DENSE_TICKS", 0)
        assert_same(strategy, tape, [venue, other], GRID)


@given(rows=some_rows, venue=venues, tile=st.integers(1, 90), data=st.data())
@settings(max_examples=60)
def test_one_shared_book_changes_nothing(rows, venue, tile, data):
    """Of one instrument, what only a timer looks at is not sent: it is done when it is decided."""
    rows = rows[rows["instrument"] == 0]
    if len(rows) == 0:
        return
    if data.draw(st.booleans(), label="made of quotes"):
        rows["kind"][rows["kind"] == Kind.LEVEL] = Kind.QUOTE
    tape = Tape.from_events(rows, TWO[:1])
    other = SimVenue(latency=Latency(entry_ns=31, response_ns=data.draw(st.sampled_from([0, 20, 200]))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tick_market, "TILE_ROWS", tile)
        if data.draw(st.booleans(), label="hashed"):
            patch.setattr(cells, "DENSE_TICKS", 0)
        assert_same(Unheard, tape, [venue, other], GRID)


class Listening(Taker):
    """A Taker that hears of its orders, and does nothing about it: it is woken for every report."""

    def on_order(self, ctx, order):
        pass


@given(rows=tick_rows(min_size=20, max_size=300), venue=venues)
@settings(max_examples=25)
def test_reports_that_nobody_hears_change_nothing(rows, venue):
    tape = Tape.from_events(rows, TWO)
    runs = []
    for strategy in (Taker, Listening):
        run = TickRun(strategy(every=2, size=0.01), tape.instruments, venue, sample_ns=300)
        run.feed_tape(tape)
        runs.append(run)
    for name in ("intents", "orders", "fills", "refusals", "equity"):
        assert runs[0].rows(name).tobytes() == runs[1].rows(name).tobytes(), name


def assert_same_sums(rows, venue, **given):
    """Run a Taker that hears of its orders and one that does not; returns their equity."""
    runs = []
    for strategy in (Taker, Listening):
        run = TickRun(strategy(every=2, size=0.01), Tape.from_events(rows, TWO).instruments, venue, **given)
        run.feed_tape(Tape.from_events(rows, TWO))
        runs.append(run.rows("equity"))
    assert runs[0].tobytes() == runs[1].tobytes()
    return runs[0]


def emptied_book(last_ns):
    """Both sides of two books, which lose a side, then the other, without a single trade."""
    rows = zeros(9, EVENT)
    rows["kind"], rows["flags"], rows["qty"] = Kind.LEVEL, LAST, 5.0
    rows["instrument"] = [0, 0, 1, 1, 0, 0, 1, 1, 1]
    rows["side"] = [1, -1, 1, -1, -1, 1, 1, -1, -1]
    rows["px_ticks"] = [999, 1001, 999, 1001, 1001, 999, 999, 1001, 1002]
    rows["qty"][4:] = 0.0
    rows["ts_recv"] = [50, 50, 50, 50, 400, 800, 850, 860, last_ns]
    rows["ts_exch"], rows["px"], rows["seq"] = rows["ts_recv"] - 50, rows["px_ticks"] / 10, np.arange(1, 10)
    return rows


def test_an_emptied_book_is_worth_what_it_cost_whoever_looks():
    rows = emptied_book(3000)
    rows["qty"][5] = 7.0  # bids alone are left
    venue = SimVenue(latency=Latency(entry_ns=10, response_ns=75))
    equity = assert_same_sums(rows, venue, sample_ns=250)
    one_side = equity[equity["ts"] >= 1000]
    assert len(one_side) > 5
    assert np.all(one_side["exposure"] != 0.0)
    assert np.ptp(one_side["equity"]) == 0.0


@pytest.mark.parametrize("last_ns", [2999, 3000, 3001])
def test_a_sample_at_the_end_of_the_market_is_taken_whoever_listens(last_ns):
    venue = SimVenue(latency=Latency(entry_ns=0, response_ns=1))
    equity = assert_same_sums(emptied_book(last_ns), venue, sample_ns=250)
    assert equity["ts"][:-1].tolist() == [*range(250, last_ns + 1, 250)]
    assert np.all(np.diff(equity["ts"]) >= 0)


def test_an_instant_beyond_all_others_is_asked_for():
    """The last tile is one instant, an order rests, and the next sample and timer are centuries away."""

    class Rests(qa.Strategy):
        every: int = 2**62

        def on_start(self, ctx):
            ctx.quote(0, BUY, 990, 0.1)
            ctx.every(self.every)

        def on_timer(self, ctx):
            ctx.quote(0, BUY, 991, 0.1)

    rows = zeros(30, EVENT)
    rows["kind"], rows["side"] = Kind.LEVEL, [1, -1] * 15
    rows["ts_exch"] = rows["ts_recv"] = [0] * 10 + [1] * 10 + [5] * 10
    rows["px_ticks"] = [1000, 1010] * 15
    rows["px"], rows["qty"], rows["seq"] = rows["px_ticks"] / 10, 0.5, np.arange(1, 31)
    tape = Tape.from_events(rows, [qa.Instrument.parse("BTC-USDT", tick="0.1", lot="0.001")])
    venue = SimVenue(latency=Latency(entry_ns=0, response_ns=1))
    for tile in (10, 20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tick_market, "TILE_ROWS", tile)
            variants = [{"every": n} for n in (2**62, 2**62 + 1, 3)]
            swept = qa.sweep(Rests, tape, variants=variants, venue=venue, sample_ns=2**61)
        assert differences(swept) == []
        assert swept.frame()["submits"].tolist() == [1, 1, 2]


@pytest.mark.parametrize("exchange", ["partial", "no_partial"])
def test_generated_ticks(exchange):
    tape = gen_ticks.tape(20_000, 11)
    venue = SimVenue(queue="power_prob", exchange=exchange, maker_bps=-0.5, taker_bps=7.0)
    fills, lost = assert_same(Quote, tape, [venue], [{"offset": k, "qty": q} for k in (0, 1, 7) for q in (0.01, 0.5)])
    assert (fills > 500, lost) == (True, 0)


def test_a_stop_wakes_on_the_book_of_its_instant():
    """Not on the one received since: reports take longer here than the market does."""
    rows = zeros(6, EVENT)
    rows["kind"] = [Kind.LEVEL, Kind.LEVEL, Kind.TRADE, Kind.TRADE, Kind.LEVEL, Kind.TRADE]
    rows["ts_exch"] = [0, 0, 100, 400, 420, 900]
    rows["ts_recv"] = rows["ts_exch"] + 20
    rows["side"] = [1, -1, -1, -1, 1, -1]
    rows["px_ticks"] = [999, 1001, 999, 999, 1000, 999]
    rows["px"], rows["qty"], rows["seq"] = rows["px_ticks"] / 10, 0.5, np.arange(1, 7)

    class Stop(qa.Strategy):
        sent: int = qa.state(0)

        def on_trade(self, ctx, trade):
            if self.sent == 0:
                self.sent = ctx.sell(0.01, stop=99.9)
                ctx.sell(0.01, stop=99.9, limit=99.0, tif=TIF.GTC)

    tape = Tape.from_events(rows, TWO)
    venue = SimVenue(latency=Latency(entry_ns=200, response_ns=300))
    assert assert_same(Stop, tape, [venue], [{}]) == (2, 0)
    assert qa.replay(Stop(), tape, venue).fill_rows["px_ticks"].tolist() == [999, 999]


class Eater(qa.Strategy):
    """Takes ten times a second, more than the touch has."""

    size: float = 2.0
    side: int = qa.state(1)

    def on_start(self, ctx):
        ctx.every(100 * qa.MS)

    def on_timer(self, ctx):
        self.side = -self.side
        if self.side > 0:
            ctx.buy(self.size)
        else:
            ctx.sell(self.size)


def test_what_one_variant_takes_the_others_still_find():
    tape = gen_ticks.tape(20_000, 4)
    fills, lost = assert_same(Eater, tape, [SimVenue()], [{"size": s} for s in (0.01, 0.3, 2.0)])
    assert (fills > 1000, lost) == (True, 0)


def test_a_variant_that_eats_more_than_is_remembered_runs_by_itself(monkeypatch):
    from quantai.backtest import tick_variants

    tape = gen_ticks.tape(4_000, 4)
    alone = []
    run = tick_variants.TickVariants._alone

    def noted(self, *args):
        inner = run(self, *args)
        return lambda k: alone.append(k) or inner(k)

    monkeypatch.setattr(tick_variants.TickVariants, "_alone", noted)
    swept = qa.sweep(Eater, tape, size=(0.01, 5_000.0), threads=1)
    assert alone == [1]
    for k in (0, 1):
        result, row = swept.run(k), swept.frame().iloc[k]
        assert (len(result.fill_rows), result.positions["BTC-USDT-PERP"]) == (row["fills"], row["position"])
        assert result.equity["equity"].iloc[-1] - result.cash == row["pnl"]


def differences(swept):
    """The variants of a sweep over a tape whose statistics are not those of their replays."""
    out = []
    for k, row in swept.frame().iterrows():
        result = swept.run(k)
        same = (row["fills"], row["submits"], row["cancels"]) == (
            len(result.fill_rows), result.submits, result.cancels
        )  # fmt: skip
        same = same and (row["fees"], row["volume"]) == (result.fee, result.volume)
        same = same and row["refused"] == result.stats["refused"]
        if not (same and row["pnl"] == result.equity_rows["equity"][-1] - result.cash):
            out.append(k)
    return out


@pytest.mark.parametrize(
    ("how", "n"),
    [
        ({"variants": [{"offset": 3}, {"qty": 0.5}, {"offset": 1, "venue": 1}]}, 3),
        ({"engine": "random", "n": 5, "seed": 3, "offset": range(9), "qty": (0.01, 0.3)}, 5),
        ({"engine": "optuna", "n": 6, "seed": 1, "by": "pnl", "offset": range(9)}, None),
    ],
)
def test_variants_chosen_in_every_way_are_their_replays(how, n):
    if how.get("engine") == "optuna":
        pytest.importorskip("optuna")
    tape = gen_ticks.tape(6_000, 3)
    swept = qa.sweep(Quote, tape, venue=[SimVenue(), SimVenue(queue="front", maker_bps=1.0)], threads=2, **how)
    assert len(swept) == (n or len(swept)) > 1
    assert swept.frame()["fills"].sum() > 100
    assert swept.frame()["refused"].sum() > 0
    assert differences(swept) == []
    if n == 5:
        assert swept.axes() == ["offset", "qty", "venue"]
        assert swept.heatmap("pnl", x="venue", y="offset").layout.xaxis.title.text == "venue"


@pytest.mark.parametrize("main_thread", ["waits", "is still starting threads"])
def test_ctrl_c_keeps_the_variants_that_are_done(main_thread, monkeypatch):
    """The second block is interrupted; the thread that runs it goes on only once the main thread knows."""
    from quantai.backtest import tick_variants

    tape = gen_ticks.tape(12_000, 3)
    monkeypatch.setattr(tick_variants, "LANES", 2)
    monkeypatch.setattr(tick_market, "TILE_ROWS", 3_000)
    move, started, known = TickLanes.move, [], threading.Event()

    def interrupted(self, horizon, n):
        started.append(n)
        if known.is_set():
            time.sleep(0.2)  # the main thread has only to say stop
        elif sum(started) > 2 * len(self.horizons()) + 2:
            os.kill(os.getpid(), signal.SIGINT)
            assert known.wait(120)
        move(self, horizon, n)

    def told(*_):
        known.set()
        raise KeyboardInterrupt

    submit = ThreadPoolExecutor.submit

    def slowly(pool, work):
        submit(pool, work)
        known.wait(120)  # which Ctrl-C ends

    if main_thread != "waits":
        monkeypatch.setattr(ThreadPoolExecutor, "submit", slowly)
    before = signal.signal(signal.SIGINT, told)
    try:
        monkeypatch.setattr(TickLanes, "move", interrupted)
        swept = qa.sweep(Quote, tape, offset=range(8), threads=1)
    finally:
        signal.signal(signal.SIGINT, before)
        monkeypatch.undo()
    assert 2 <= len(swept) < swept.asked == 8
    assert differences(swept) == []


def test_a_sweep_over_a_tape_is_tested_against_luck():
    pytest.importorskip("arch")
    tape = gen_ticks.tape(20_000, 5)
    swept = qa.sweep(Quote, tape, offset=range(3))
    found = qa.data_snooping(swept, every=None, reps=100)
    assert (found.variants, found.benchmark) == (3, "cash")
    assert 0.0 <= found.spa <= 1.0
    with pytest.raises(qa.InputError, match="over bars"):
        qa.data_snooping(swept, "hold", every="1s")


class SameInstant(qa.Strategy):
    """Of two prints of one instant, the first sends a stop that wakes as it arrives, the second an IOC order."""

    n: int = qa.state(0)

    def on_trade(self, ctx, trade):
        self.n += 1
        if self.n == 3:
            ctx.buy(0.002, stop=trade.px - 1.0)
        if self.n == 4:
            ctx.buy(0.002, limit=trade.px + 0.1, tif=TIF.IOC)


class Ends(qa.Strategy):
    """A timer much faster than the reports, and one order about a round trip before the last row."""

    n: int = qa.state(0)

    def on_start(self, ctx):
        ctx.every(5)

    def on_timer(self, ctx):
        self.n += 1
        if self.n == 20:
            ctx.buy(0.001, limit=10.0)


@pytest.mark.parametrize(
    ("strategy", "prints", "response_ns"),
    [(SameInstant, (1001, 1500, 2000, 2000, 3000, 9000), 10), (Ends, (1212,), 100), (Ends, (1124, 1312), 300)],
)
def test_what_is_answered_as_it_is_sent_changes_nothing(strategy, prints, response_ns):
    levels = ((1, 999, 0.002), (-1, 1001, 0.002), (-1, 1002, 0.002), (-1, 1003, 0.01))
    spec = [(1000, Kind.LEVEL, *level) for level in levels] + [(ts, Kind.TRADE, 1, 1000, 0.001) for ts in prints]
    rows = zeros(len(spec), EVENT)
    rows["ts_exch"], rows["kind"], rows["side"], rows["px_ticks"], rows["qty"] = zip(*spec, strict=True)
    rows["ts_recv"], rows["px"], rows["flags"] = rows["ts_exch"], rows["px_ticks"] / 10, LAST
    venue = SimVenue(latency=Latency(entry_ns=10, response_ns=response_ns))
    assert_same(strategy, Tape.from_events(rows, TWO[:1]), [venue], [{}])

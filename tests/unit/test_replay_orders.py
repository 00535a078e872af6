"""Every order type, time in force and flag of a replay on a tape small enough to follow by hand."""

import math
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

import quantai as qa
from quantai.backtest.replay import replay, result_of
from quantai.backtest.tick_run import TickRun
from quantai.core.rows import EVENT, LAST, SNAPSHOT, TIF, Kind, OrderState, Reason, zeros
from quantai.data.tape import Tape
from quantai.strategy.examples import Quote
from quantai.venues import Latency, SimVenue
from tests.bench import gen_ticks

BTC = qa.Instrument.parse("BTC-USDT", tick="0.1", lot="0.001", venue="OKX")
UNSET = -math.inf
FAST = SimVenue(latency=Latency(entry_ns=10, response_ns=10))


class Order(qa.Strategy):
    """Sends one order at the start, or at the first timer, after another that gives it a position."""

    side: int = 1
    qty: float = 1.0
    limit: float = UNSET
    stop: float = UNSET
    trail: float = UNSET
    tif: int = 0
    post_only: bool = False
    reduce_only: bool = False
    expire_ts: int = 0
    first: float = 0.0
    restop: float = 0.0
    cancel_at: int = 0
    order: int = qa.state(0)
    triggered: int = qa.state(0)
    calls: int = qa.state(0)

    def on_start(self, ctx):
        if self.first > 0.0:
            ctx.buy(self.first)
        ctx.every(100)

    def on_timer(self, ctx):
        self.calls += 1
        if self.calls == 1 and self.side > 0:
            self.order = ctx.buy(
                self.qty, limit=self.limit, stop=self.stop, trail=self.trail, tif=self.tif, post_only=self.post_only,
                reduce_only=self.reduce_only, expire_ts=self.expire_ts, instrument=0,
            )  # fmt: skip
        elif self.calls == 1:
            self.order = ctx.sell(
                self.qty, limit=self.limit, stop=self.stop, trail=self.trail, tif=self.tif, post_only=self.post_only,
                reduce_only=self.reduce_only, expire_ts=self.expire_ts, instrument=0,
            )  # fmt: skip
        elif self.calls == 2 and self.restop > 0.0:
            ctx.replace(self.order, self.qty, stop=self.restop)
        elif self.calls == self.cancel_at:
            ctx.cancel(self.order)

    def on_order(self, ctx, order):
        self.triggered += order.triggered


def tape(prints=(), levels=()):
    """Five asks of 3 from 100.0 up, five bids of 3 from 99.9 down; then prints (ts, px), levels (ts, side, px, qty)."""
    book = [(0, Kind.LEVEL, s, 100.0 + 0.1 * k if s < 0 else 99.9 - 0.1 * k, 3.0) for k in range(5) for s in (1, -1)]
    rows = book + [(ts, Kind.TRADE, 1, px, 0.001) for ts, px in prints]
    rows += [(ts, Kind.LEVEL, side, px, qty) for ts, side, px, qty in levels] + [(9_000, Kind.TRADE, 1, 150.0, 0.001)]
    rows.sort(key=lambda r: r[0])
    out = zeros(len(rows), EVENT)
    for row, (ts, kind, side, px, qty) in zip(out, rows, strict=True):
        row["ts_exch"], row["ts_recv"], row["kind"], row["side"], row["flags"] = ts, ts + 5, kind, side, LAST
        row["px"], row["px_ticks"], row["qty"] = px, round(px * 10), qty
    return Tape.from_events(out, [BTC])


def send(of, venue=FAST, **params):
    """Replay one order; returns (fills as [(ts at the venue, price, qty, maker)], its final row, the result)."""
    params = {"expire_ts": 0, **params}
    result = replay(Order(**params).python(), of, venue)
    number = 2 if params.get("first") else 1
    fills = result.fill_rows[result.fill_rows["order"] == number]
    said = [(int(f["ts_exch"]), float(f["px"]), float(f["lots"]) / 1000, bool(f["maker"])) for f in fills]
    return said, result.order_rows[result.order_rows["order"] == number][0], result


def test_a_stop_sleeps_until_a_print_reaches_it_and_takes_then():
    of = tape([(300, 100.1), (500, 100.2), (700, 100.3)])
    fills, order, _ = send(of, stop=100.2)
    assert fills == [(500, 100.0, 1.0, False)]
    assert (order["state"], order["triggered"]) == (OrderState.FILLED, 1)
    fills, _, _ = send(of, side=-1, stop=99.9)
    assert fills == []
    fills, _, _ = send(tape([(400, 99.9)]), side=-1, stop=99.9)
    assert fills == [(400, 99.9, 1.0, False)]


def test_a_stop_that_was_reached_before_it_came_takes_at_once():
    fills, order, _ = send(tape([(50, 100.3), (60, 100.2)]), stop=100.2)
    assert fills == [(110, 100.0, 1.0, False)]
    assert order["triggered"] == 1


def test_a_stop_limit_rests_at_its_limit_once_awake():
    of = tape([(300, 100.2)], [(600, -1, 99.7, 5.0)])
    fills, order, _ = send(of, stop=100.2, limit=99.7)
    assert fills == [(600, 99.7, 1.0, True)]
    assert order["px_ticks"] == 997
    fills, _, _ = send(of, stop=100.2, limit=100.0, qty=5.0)
    assert fills[0] == (300, 100.0, 3.0, False)


def test_a_trailing_stop_follows_the_prints():
    of = tape([(300, 100.0), (400, 100.9), (500, 100.5), (600, 100.4), (700, 100.3)])
    fills, _, _ = send(of, side=-1, trail=0.5)
    assert fills == [(600, 99.9, 1.0, False)]
    fills, _, _ = send(of, side=1, trail=0.5)
    assert fills == [(400, 100.0, 1.0, False)]


def test_a_trailing_stop_as_far_away_as_the_price_goes_on_waiting():
    fills, order, _ = send(tape([(300, 100.0), (400, 99.9), (500, 100.0)]), side=-1, trail=100.0)
    assert fills == []
    assert order["state"] == OrderState.OPEN


def test_a_waiting_stop_can_be_moved_canceled_and_can_lapse():
    of = tape([(500, 100.2), (700, 100.3)])
    fills, order, _ = send(of, stop=100.2, restop=100.3)
    assert fills == [(700, 100.0, 1.0, False)]
    assert order["trigger_ticks"] == 1003
    fills, order, _ = send(of, stop=100.2, cancel_at=3)
    assert (fills, order["state"]) == ([], OrderState.CANCELED)
    fills, order, _ = send(of, stop=100.2, expire_ts=400)
    assert (fills, order["state"], order["reason"]) == ([], OrderState.EXPIRED, Reason.GTD)


def test_a_reduce_only_stop_never_opens_a_position():
    of = tape([(500, 99.9)])
    fills, order, result = send(of, side=-1, qty=2.0, stop=99.9, reduce_only=True, first=0.5)
    assert fills == [(500, 99.9, 0.5, False)]
    assert result.positions["BTC-USDT"] == 0.0
    fills, order, _ = send(of, side=-1, stop=99.9, reduce_only=True)
    assert (fills, order["state"], order["reason"]) == ([], OrderState.CANCELED, Reason.REDUCE_ONLY)


def test_immediate_or_cancel_and_fill_or_kill():
    fills, order, _ = send(tape(), qty=5.0, limit=100.0, tif=int(TIF.IOC))
    assert fills == [(110, 100.0, 3.0, False)]
    assert (order["state"], order["reason"]) == (OrderState.EXPIRED, Reason.IOC)
    fills, order, _ = send(tape(), qty=5.0, limit=100.0, tif=int(TIF.FOK))
    assert (fills, order["reason"]) == ([], Reason.FOK)
    fills, order, _ = send(tape(), qty=5.0, limit=100.1, tif=int(TIF.FOK))
    assert fills == [(110, 100.0, 3.0, False), (110, 100.1, 2.0, False)]


def test_post_only_and_good_till_date():
    fills, order, _ = send(tape(), limit=100.0, post_only=True)
    assert (fills, order["state"], order["reason"]) == ([], OrderState.EXPIRED, Reason.POST_ONLY)
    of = tape(levels=[(600, -1, 99.9, 1.0)])
    fills, order, _ = send(of, limit=99.9, post_only=True)
    assert fills == [(600, 99.9, 1.0, True)]
    fills, order, _ = send(of, limit=99.9, expire_ts=500)
    assert (fills, order["state"], order["reason"]) == ([], OrderState.EXPIRED, Reason.GTD)


def test_reduce_only_is_refused_without_a_position_and_clipped_with_one():
    _, order, result = send(tape(), side=-1, limit=99.9, reduce_only=True)
    assert (order["state"], order["reason"]) == (OrderState.REJECTED, Reason.REDUCE_ONLY)
    assert result.refused == {"REDUCE_ONLY": 1}
    fills, _, result = send(tape(), side=-1, qty=2.0, limit=99.9, reduce_only=True, first=1.5)
    assert fills == [(110, 99.9, 1.5, False)]


class Cross(qa.Strategy):
    """Rests a sell, then buys through it."""

    calls: int = qa.state(0)

    def on_start(self, ctx):
        ctx.every(100)

    def on_timer(self, ctx):
        self.calls += 1
        if self.calls == 1:
            ctx.sell(1.0, limit=100.0, instrument=0)
        if self.calls == 2:
            ctx.buy(1.0, limit=100.0, instrument=0)


@pytest.mark.parametrize(
    ("mode", "states"),
    [
        ("ignore", {2: OrderState.FILLED}),
        ("cancel_newest", {2: OrderState.EXPIRED}),
        ("cancel_oldest", {1: OrderState.CANCELED, 2: OrderState.FILLED}),
    ],
)
def test_own_orders_do_not_trade_with_each_other(mode, states):
    venue = SimVenue(latency=FAST.latency, self_trade=mode)
    result = replay(Cross().python(), tape(), venue)
    found = {int(o["order"]): o["state"] for o in result.order_rows}
    for order, state in states.items():
        assert found[order] == state
    assert all(not f["maker"] for f in result.fill_rows if f["ts_exch"] < 1_000)


class Both(qa.Strategy):
    """Buys one unit of each of two instruments at once."""

    def on_start(self, ctx):
        ctx.every(100)

    def on_timer(self, ctx):
        ctx.buy(1.0, instrument=0)
        ctx.buy(1.0, instrument=1)
        ctx.every(0)


def two_venues():
    one = tape().rows.copy()
    two = one.copy()
    two["instrument"] = 1
    rows = np.concatenate([one, two])
    rows = rows[np.argsort(rows["ts_recv"], kind="stable")]
    rows["seq"] = np.arange(1, len(rows) + 1)
    return Tape.from_events(rows, [BTC, qa.Instrument.parse("BTC-USDT", tick="0.1", lot="0.001", venue="BINANCE")])


def test_venues_of_one_run_have_latencies_and_fees_of_their_own():
    venues = {
        "OKX": SimVenue(latency=Latency(entry_ns=10, response_ns=10), taker_bps=2.0),
        "BINANCE": SimVenue(latency=Latency(entry_ns=70, response_ns=300), taker_bps=5.0),
    }
    fills = replay(Both().python(), two_venues(), venues).fill_rows
    assert fills["ts_exch"].tolist() == [110, 170]
    assert fills["ts"].tolist() == [120, 470]
    assert fills["fee"].tolist() == pytest.approx([100.0 * 2e-4, 100.0 * 5e-4])
    with pytest.raises(qa.UnknownName, match="BINANCE"):
        replay(Both().python(), two_venues(), {"OKX": FAST, "BINNACE": FAST})


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"limit": math.nan}, "NOT_A_PRICE"),
        ({"limit": -5.0}, "NOT_A_PRICE"),
        ({"stop": math.nan}, "NOT_A_PRICE"),
        ({"trail": math.nan}, "NOT_A_PRICE"),
        ({"qty": math.nan, "limit": 100.0}, "BAD_QTY"),
        ({"qty": 0.0001, "limit": 100.0}, "BAD_QTY"),
    ],
)
def test_what_is_no_order_is_refused_and_counted(params, reason):
    result = replay(Order(**params).python(), tape(), FAST)
    assert result.refused == {reason: 1}
    assert (len(result.fill_rows), result.submits) == (0, 0)


def test_prices_off_the_grid_go_to_the_passive_tick():
    assert send(tape(), limit=99.97)[1]["px_ticks"] == 999
    assert send(tape(), side=-1, limit=100.03)[1]["px_ticks"] == 1001
    fills, _, _ = send(tape([(500, 100.1), (600, 100.2)]), stop=100.13)
    assert fills == [(600, 100.0, 1.0, False)]


def test_a_crossed_tape_is_counted_and_the_older_side_steps_back():
    of = tape(levels=[(50, 1, 100.1, 2.0)])
    fills, _, result = send(of, qty=1.0)
    assert result.crossed == 1
    assert fills == [(110, 100.2, 1.0, False)]
    assert any("crossed the book" in line for line in result.rules)


def test_an_instrument_that_is_not_there_is_an_error():
    with pytest.raises((qa.StrategyError, IndexError), match="instrument"):
        replay(Both().python(), tape(), FAST)


def test_unsorted_rows_are_refused_by_a_run_too():
    rows = tape().rows.copy()
    run = TickRun(Order().python(), two_venues().instruments)
    rows["ts_recv"][3] = 10_000
    with pytest.raises(qa.DataError, match="go back in time"):
        run.feed(rows)


class Holder(qa.Strategy):
    """Buys one unit and holds it."""

    def on_start(self, ctx):
        ctx.every(100)

    def on_timer(self, ctx):
        ctx.buy(1.0, instrument=0)
        ctx.every(0)


def funded(*rows):
    """The tape with FUNDING rows (ts, rate, next instant)."""
    base = tape().rows
    extra = zeros(len(rows), EVENT)
    for row, (ts, rate, due) in zip(extra, rows, strict=True):
        row["ts_exch"], row["ts_recv"], row["kind"], row["px"], row["aux"] = ts, ts + 5, Kind.FUNDING, rate, due
    whole = np.concatenate([base, extra])
    whole = whole[np.argsort(whole["ts_recv"], kind="stable")]
    whole["seq"] = np.arange(1, len(whole) + 1)
    return Tape.from_events(whole, [BTC])


@pytest.mark.parametrize(
    ("rows", "paid"),
    [
        ([(300, 1e-3, 0)], 99.95e-3),
        ([(300, 1e-3, 2_000), (1_900, -2e-3, 2_000)], -2 * 99.95e-3),
        ([(300, 1e-3, 2_000), (2_100, 5e-3, 4_000)], 6 * 99.95e-3),
        ([(50, 1e-3, 0)], 0.0),
        ([(300, 1e-3, 20_000)], 0.0),
    ],
)
def test_funding_is_charged_when_it_falls_due(rows, paid):
    of = funded(*rows)
    result = replay(Holder().python(), of, FAST)
    assert result.cash - result.equity["cash"].iloc[-1] - 100.0 == pytest.approx(paid, abs=1e-9)
    assert result.balance == pytest.approx(-100.0)
    pieces = TickRun(Holder().python(), of.instruments, FAST)
    for part in np.array_split(of.rows, 7):
        pieces.feed(part)
        pieces = TickRun.restored(pieces.snapshot(), Holder().python(), of.instruments, FAST)
    pieces.finish()
    assert pieces.world.ctx["cash"][0] == result.equity["cash"].iloc[-1]
    assert pieces.local["funding"][0] == pytest.approx(paid, abs=1e-9)


class Restless(qa.Strategy):
    """Sends something at every tick of a clock that is faster than the venue answers."""

    def on_start(self, ctx):
        ctx.every(3)

    def on_timer(self, ctx):
        ctx.buy(0.001, instrument=0)


def test_a_strategy_that_never_rests_ends_with_its_tape():
    result = replay(Restless().python(), tape([(40, 100.1)]), FAST)
    assert 9_005 // 3 <= result.submits <= 9_030 // 3


class Pair(qa.Strategy):
    """Holds one unit of the first instrument; when it prints, looks at the second and at the account."""

    bid_ticks: int = qa.state(0)
    px: float = qa.state(0.0)
    worth: float = qa.state(0.0)

    def on_start(self, ctx):
        ctx.buy(1.0, instrument=0)

    def on_trade(self, ctx, trade):
        if trade.instrument == 0 and self.bid_ticks == 0:
            self.bid_ticks = ctx.book(1).bid_ticks
            self.px = ctx.price(1)
            self.worth = ctx.equity


def test_a_row_of_one_instrument_shows_the_other_and_the_account_as_they_are():
    one, two = tape([(500, 100.0)]).rows.copy(), tape(levels=[(400, 1, 99.9, 0.0)]).rows.copy()
    two["instrument"] = 1
    rows = np.concatenate([one, two])
    rows = rows[np.argsort(rows["ts_recv"], kind="stable")]
    rows["seq"] = np.arange(1, len(rows) + 1)
    run = TickRun(Pair().python(), two_venues().instruments, FAST)
    run.feed_tape(Tape.from_events(rows, two_venues().instruments))
    seen = run.record[0]
    assert (seen["bid_ticks"], seen["px"]) == (998, pytest.approx(99.9))
    assert seen["worth"] == pytest.approx(100_000.0 - 100.0 + 99.95)


class Early(qa.Strategy):
    """Wants half of equity before there is any price, and again at each print."""

    def on_start(self, ctx):
        ctx.target(0.5)

    def on_trade(self, ctx, trade):
        ctx.target(0.5)


def test_a_target_that_cannot_be_sized_is_counted_and_may_be_asked_for_again():
    result = replay(Early().python(), tape([(500, 100.0)]), FAST)
    assert result.refused == {"NOT_A_PRICE": 1}
    assert result.fill_rows["lots"].sum() == 15_000  # all the book has
    poor = replay(Early().python(), tape([(500, 100.0)]), FAST, cash=0.1)
    assert (poor.refused, len(poor.fill_rows)) == ({"NOT_A_PRICE": 1, "BAD_QTY": 2}, 0)


class Steps(qa.Strategy):
    """One thing after another, a hundred nanoseconds apart."""

    which: int = 0
    calls: int = qa.state(0)
    order: int = qa.state(0)

    def on_start(self, ctx):
        ctx.every(100)

    def on_timer(self, ctx):
        self.calls += 1
        if self.which == 0:
            self.close_what_is_closed(ctx)
        elif self.which == 1:
            self.sell_more_than_there_is(ctx)
        elif self.which == 2:
            self.replace_by_too_much(ctx)
        else:
            self.ask_too_often(ctx)

    def close_what_is_closed(self, ctx):
        if self.calls == 1:
            ctx.buy(2.0)
        elif self.calls == 2:
            self.order = ctx.sell(2.0, limit=100.4, reduce_only=True)
        elif self.calls == 3:
            ctx.sell(2.0)
        elif self.calls == 4:
            ctx.replace(self.order, 2.0, limit=99.0)

    def sell_more_than_there_is(self, ctx):
        if self.calls == 1:
            ctx.buy(1.0)
        elif self.calls == 2:
            self.order = ctx.sell(3.0, limit=99.0, reduce_only=True)

    def replace_by_too_much(self, ctx):
        if self.calls == 1:
            self.order = ctx.buy(1.0, limit=99.0)
        elif self.calls == 2:
            ctx.replace(self.order, 5.0, limit=99.1)
        elif self.calls == 3:
            ctx.replace(self.order, 2.0, limit=0.01)

    def ask_too_often(self, ctx):
        if self.calls == 1:
            self.order = ctx.buy(1.0, limit=99.0)
        elif self.calls == 2:
            for _ in range(256):
                ctx.buy(1.0, limit=50.0)
            ctx.cancel(self.order)
        elif self.calls == 3:
            ctx.cancel(self.order)


@pytest.mark.parametrize(
    ("which", "venue", "end"),
    [
        (0, FAST, ("CANCELED", "REDUCE_ONLY", 0.0, 100.4)),
        (1, SimVenue(latency=FAST.latency, exchange="no_partial"), ("CANCELED", "REDUCE_ONLY", 1.0, 99.0)),
        (1, FAST, ("FILLED", "NONE", 1.0, 99.0)),
        (2, FAST, ("OPEN", "NONE", 0.0, 99.0)),
        (3, FAST, ("CANCELED", "BY_USER", 0.0, 99.0)),
    ],
)
def test_no_order_is_lost_without_a_word(which, venue, end):
    small = Tape.from_events(tape([(700, 100.0)]).rows.copy(), [BTC.with_fields(max_qty="3")])
    run = TickRun(Steps(which=which).python(), small.instruments, venue)
    run.feed_tape(small)
    orders = result_of(run, len(small), 0.0).orders.set_index("order")
    told = orders.loc[int(run.record["order"][0])]
    assert (told["state"], told["reason"], told["filled"], told["limit"]) == end
    refusals = {2: {"BAD_QTY"}}.get(which, set())
    assert {Reason(int(r)).name for r in run.rows("refusals")["reason"]} == refusals
    assert run.sim["n_orders"][0] == (orders["state"] == "OPEN").sum()


def test_a_snapshot_at_the_head_happened_before_the_rows_that_follow():
    rows = tape().rows.copy()
    rows["flags"][:-1] |= SNAPSHOT
    later = zeros(2, EVENT)
    later["ts_exch"], later["ts_recv"], later["kind"], later["side"], later["flags"] = (
        [10, 11],
        20,
        Kind.LEVEL,
        -1,
        LAST,
    )
    later["px_ticks"], later["px"], later["qty"] = [1000, 1001], [100.0, 100.1], [0.0, 3.0]
    rows = np.concatenate([rows[:-1], later, rows[-1:]])
    rows["ts_exch"][:10], rows["seq"] = 15, np.arange(1, len(rows) + 1)  # by its own clock after what follows
    fills, _, _ = send(Tape.from_events(rows, [BTC]), qty=1.0)
    assert [px for _, px, *_ in fills] == [100.1]


class Reads(qa.Strategy):
    """Looks at a place of the order table once two orders are in it."""

    place: int = 0
    seen: int = qa.state(0)

    def on_start(self, ctx):
        ctx.buy(1.0, limit=90.0)
        ctx.buy(1.0, limit=91.0)
        ctx.every(100)

    def on_timer(self, ctx):
        self.seen = ctx.orders()[self.place].order


def test_places_of_the_order_table_count_from_either_end():
    for place, order in ((0, 1), (1, 2), (-1, 2), (-2, 1)):
        assert ran(Reads(place=place)).record["seen"][0] == order
        assert ran(Reads(place=place).python()).record["seen"][0] == order


@pytest.mark.parametrize("place", [2, 40, -3])
def test_a_place_that_the_order_table_does_not_have_is_an_error(place):
    with pytest.raises(qa.StrategyError, match="index"):
        ran(Reads(place=place))


def test_a_tape_may_be_replayed_in_several_threads_at_once():
    """Each makes the columns of the tape if it finds none; those of the others go while it still runs."""
    alone = replay(Quote(), gen_ticks.tape(300_000, 3)).fill_rows
    together = Barrier(3)

    def fills(of):
        together.wait(60)
        return replay(Quote(), of).fill_rows

    with ThreadPoolExecutor(3) as pool:
        for _ in range(4):
            for found in pool.map(fills, [gen_ticks.tape(300_000, 3)] * 3):
                assert found.tobytes() == alone.tobytes()


def ran(strategy):
    """Run a strategy over the tape."""
    run = TickRun(strategy, tape().instruments, FAST)
    run.feed_tape(tape())
    return run


class Look(qa.Strategy):
    """Sends an order, far from the market, each time it looks and the book is valid."""

    def on_start(self, ctx):
        ctx.every(10)

    def on_timer(self, ctx):
        if ctx.book(0).valid:
            ctx.buy(0.001, limit=1.0)


def test_a_quote_of_less_than_half_a_lot_is_still_the_best_price():
    rows = zeros(40, EVENT)
    rows["ts_exch"] = rows["ts_recv"] = 1 + np.arange(40) * 7
    rows["kind"], rows["flags"] = np.where(np.arange(40) % 4 < 2, Kind.QUOTE, Kind.TRADE), LAST
    rows["side"] = np.where(np.arange(40) % 2, -1, 1)
    rows["px_ticks"] = np.where(rows["kind"] != Kind.QUOTE, 1000, np.where(rows["side"] > 0, 999, 1001))
    rows["px"], rows["qty"] = rows["px_ticks"] / 10, 0.0003
    tape = Tape.from_events(rows, [BTC])
    looks = 29  # every 10 ns from 11 to 291, one round trip after the last row; both sides are quoted from 8 on
    assert replay(Look(), tape, FAST).submits == looks
    assert qa.sweep(Look, tape, variants=[{}], venue=FAST, threads=1).frame()["submits"].tolist() == [looks]

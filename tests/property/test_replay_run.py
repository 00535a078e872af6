"""A replay is a function of its rows: plain = compiled, pieces = whole, whichever memory holds the books."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import quantai as qa
from quantai.backtest.tick_run import TickRun
from quantai.core.rows import EVENT, LAST, TIF, Kind, zeros
from quantai.data.tape import Tape
from quantai.strategy.examples import Quote
from quantai.venues import RECORDED, Latency, SimVenue, cells
from tests.bench import gen_ticks

TWO = qa.Instruments(
    [qa.Instrument.parse(f"{name}-USDT", tick="0.1", lot="0.001", venue="BINANCE") for name in ("BTC", "ETH")]
)


class Busy(qa.Strategy):
    """Listens to everything and uses every verb a replay knows."""

    seen: int = qa.state(0)
    last: int = qa.state(0)
    filled: float = qa.state(0.0)
    ended: int = qa.state(0)
    top: int = qa.state(0)

    def on_start(self, ctx):
        ctx.every(700)

    def on_trade(self, ctx, trade):
        self.seen += 1
        if self.seen % 3 == 0:
            self.last = ctx.buy(0.004, limit=trade.px, post_only=True)
        if self.seen % 5 == 0:
            ctx.cancel(self.last)
        if self.seen % 7 == 0:
            ctx.replace(self.last, 0.006, limit=trade.px - 0.1)

    def on_book(self, ctx, book):
        self.top += book.bid_ticks
        if book.valid and book.ask_ticks % 4 == 0:
            ctx.sell(0.003, limit=book.bid, tif=TIF.IOC)

    def on_timer(self, ctx):
        if abs(ctx.position()) > 0.01:
            ctx.target(0.0)
        ctx.buy(0.002, limit=ctx.price() + 0.3, expire_ts=ctx.now + 900)

    def on_fill(self, ctx, fill):
        self.filled += fill.side * fill.qty

    def on_order(self, ctx, order):
        self.ended += order.state


class Slow(qa.Strategy):
    """Only a timer: rows and reports pass in batches."""

    n: int = qa.state(0)

    def on_start(self, ctx):
        ctx.every(300)

    def on_timer(self, ctx):
        self.n += 1
        book = ctx.book(self.n % 2)
        if book.valid:
            ctx.quote(self.n % 2, qa.BUY, book.bid_ticks, 0.003)
            ctx.quote(self.n % 2, qa.SELL, book.ask_ticks, 0.003)
        if self.n % 9 == 0:
            ctx.buy(0.002, instrument=self.n % 2)


@st.composite
def tick_rows(draw, min_size=2, max_size=150, spread=1):
    n = draw(st.integers(min_size, max_size))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = zeros(n, EVENT)
    rows["ts_exch"] = np.cumsum(rng.integers(0, 120, n))
    rows["ts_recv"] = np.maximum.accumulate(rows["ts_exch"] + rng.integers(5, 200, n))
    rows["kind"] = rng.choice([Kind.TRADE, Kind.LEVEL, Kind.CLEAR], n, p=[0.3, 0.69, 0.01])
    rows["side"] = np.where(rows["kind"] == Kind.CLEAR, 0, rng.choice([1, -1], n))
    px = 1000 + rng.integers(-6, 7, n) - rows["side"] * (rows["kind"] == Kind.LEVEL) * 3
    rows["px_ticks"] = np.where(rows["kind"] == Kind.CLEAR, 0, px * spread)
    rows["px"] = rows["px_ticks"] / 10
    rows["qty"] = np.where(rows["kind"] == Kind.CLEAR, 0, rng.integers(0, 12, n) / 1000)
    rows["instrument"] = rng.integers(0, 2, n)
    rows["flags"] = np.where(rng.random(n) < 0.7, LAST, 0)
    rows["seq"] = np.arange(1, n + 1)
    return rows


venues = st.builds(
    SimVenue,
    latency=st.sampled_from(
        [Latency(entry_ns=90, response_ns=40), Latency(entry_ns=0, response_ns=1),
         Latency(entry_ns=200, response_ns=300, entry_sd_ns=50.0, response_sd_ns=90.0)]
    ),
    queue=st.sampled_from(["risk_averse", "power_prob", "front", "cross_only"]),
    power=st.sampled_from([1.0, 2.0, 2.5, 3.0]),
    exchange=st.sampled_from(["partial", "no_partial"]),
    self_trade=st.sampled_from(["ignore", "cancel_newest", "cancel_oldest"]),
    replace=st.sampled_from(["total", "open"]),
    maker_bps=st.just(-0.5), taker_bps=st.just(7.0),
)  # fmt: skip


def run(strategy, rows, venue, pieces=()):
    r = TickRun(strategy, TWO, venue, sample_ns=1000)
    for part in np.split(rows, sorted(pieces)):
        r.feed(part)
    return r


def logs(*runs):
    names = ("intents", "orders", "fills", "refusals", "equity")
    return [b"".join(r.rows(name).tobytes() for r in runs) for name in names]


@pytest.mark.parametrize("strategy", [Busy(), Slow()], ids=lambda s: type(s).__name__)
@given(rows=tick_rows(), venue=venues)
@settings(max_examples=20)
def test_plain_python_decides_like_compiled_code(strategy, rows, venue):
    fast, slow = run(strategy, rows, venue), run(strategy.python(), rows, venue)
    assert logs(fast) == logs(slow)
    assert fast.snapshot() == slow.snapshot()


@pytest.mark.parametrize("strategy", [Busy(), Slow()], ids=lambda s: type(s).__name__)
@given(rows=tick_rows(min_size=4), venue=venues, data=st.data())
@settings(max_examples=60)
def test_pieces_and_a_restart_change_nothing(strategy, rows, venue, data):
    whole = run(strategy, rows, venue)
    cuts = data.draw(st.lists(st.integers(1, len(rows) - 1), min_size=1, max_size=6, unique=True))
    head = TickRun(strategy, TWO, venue, sample_ns=1000)
    parts = np.split(rows, sorted(cuts))
    head.feed(parts[0])
    tail = TickRun.restored(head.snapshot(), strategy, TWO, venue, sample_ns=1000)
    for part in parts[1:]:
        tail.feed(part)
    assert logs(whole) == logs(head, tail)
    assert whole.snapshot() == tail.snapshot()
    whole.finish()
    tail.finish()
    assert logs(whole) == logs(head, tail)


@given(rows=tick_rows(), venue=venues)
@settings(max_examples=40)
def test_hashed_books_and_a_book_of_its_own_change_nothing(rows, venue):
    plain = run(Slow(), rows, venue)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "DENSE_TICKS", 0)
        hashed = run(Slow(), rows, venue)
    assert hashed.books.depth["mask"].any() or not np.any(rows["kind"] == Kind.LEVEL)
    assert logs(plain) == logs(hashed)
    apart = TickRun(Slow(), TWO, venue, sample_ns=1000)
    apart._part()
    apart.feed(rows)
    assert logs(plain) == logs(apart)


@given(rows=tick_rows(), venue=venues)
@settings(max_examples=40)
def test_money_and_positions_add_up(rows, venue):
    r = run(Busy(), rows, venue)
    r.finish()
    fills = r.rows("fills")
    signed = fills["side"].astype("i8") * fills["lots"]
    cash = 100_000.0 - np.sum(signed * 1e-3 * fills["px"]) - fills["fee"].sum()
    assert r.world.ctx["cash"][0] == pytest.approx(cash, rel=1e-12)
    for i in (0, 1):
        assert r.world.positions["lots"][i] == signed[fills["instrument"] == i].sum()
    assert np.all(fills["ts"] > fills["ts_exch"])
    filled = {int(o["order"]): int(o["filled_lots"]) for o in r.rows("orders")}
    for order, lots in filled.items():
        assert fills["lots"][fills["order"] == order].sum() == lots


def test_a_tape_in_two_orders_is_one_run_with_each_clock_in_its_own():
    """A message that overtakes another reaches us early, and meets our orders at its own instant."""
    rows = gen_ticks.tape(5_000, 3).rows.copy()
    rng = np.random.default_rng(1)
    at = np.sort(rng.choice(np.arange(700, 5_500), 300, replace=False))
    rows["ts_exch"][at] -= rng.integers(0, 4_000_000, 300)
    tape = Tape.from_events(rows, [gen_ticks.tape(10, 3).instruments[0]])
    assert tape.facts["exch_sorted"] == 0
    run_ = TickRun(Quote(), tape.instruments, SimVenue(queue="power_prob"))
    run_.feed_tape(tape)
    fills = run_.rows("fills")
    assert len(fills) > 50
    assert np.all(np.diff(fills["ts"]) >= 0)
    assert np.all(np.isin(fills["ts_exch"], rows["ts_exch"]))


def test_generated_ticks_plain_and_compiled_and_streamed():
    tape = gen_ticks.tape(20_000, 11)
    venue = SimVenue(queue="power_prob", exchange="no_partial")
    fast, slow, cut = (TickRun(s, tape.instruments, venue) for s in (Quote(), Quote().python(), Quote()))
    fast.feed_tape(tape)
    slow.feed_tape(tape)
    for part in np.array_split(tape.rows, 37):
        cut.feed(part)
    cut.finish()
    assert len(fast.rows("fills")) > 100
    assert logs(fast) == logs(slow) == logs(cut)


def test_rows_that_go_back_in_time_are_refused():
    rows = gen_ticks.tape(1_000, 3).rows
    r = TickRun(Quote(), gen_ticks.tape(10, 3).instruments)
    r.feed(rows[:900])
    with pytest.raises(qa.DataError, match="go back in time"):
        r.feed(rows[:10])


def test_a_snapshot_of_another_venue_is_refused():
    instruments = gen_ticks.tape(10, 3).instruments
    r = TickRun(Quote(), instruments, SimVenue(queue="front"))
    with pytest.raises(qa.DataError, match="another venue"):
        TickRun.restored(r.snapshot(), Quote(), instruments, SimVenue())


def test_a_snapshot_belongs_to_its_instruments_and_recorded_latencies_and_is_whole():
    def run_of(entry_ns=100, tick="0.1"):
        table = np.zeros(1, RECORDED)
        table["entry_ns"] = table["response_ns"] = entry_ns
        one = qa.Instruments([qa.Instrument.parse("BTC-USDT", tick=tick, lot="0.001")])
        return Quote().python(), one, SimVenue(latency=Latency(table=table))

    said = TickRun(*run_of()).snapshot()
    assert TickRun.restored(said, *run_of()).snapshot() == said
    for other in ({"entry_ns": 200}, {"tick": "0.2"}):
        with pytest.raises(qa.DataError, match="other instruments or another venue"):
            TickRun.restored(said, *run_of(**other))
    with pytest.raises(qa.DataError, match="does not fit"):
        TickRun.restored(said[:-900], *run_of())

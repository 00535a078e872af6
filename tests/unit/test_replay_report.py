"""What a replay reports of its fills, by hand: markouts, P&L by cause, queue and latency, the figure."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import quantai as qa
from quantai.backtest.fill_quality import lives_of
from quantai.backtest.marks import marks_at
from quantai.backtest.order_lives import shown_at
from quantai.backtest.scripted import Request, replay_script
from quantai.core.instruments import Payoff
from quantai.core.rows import EVENT, LAST, SNAPSHOT, TIF, Action, Kind, zeros
from quantai.data.tape import Tape
from quantai.report.markouts import markouts
from quantai.report.queue_stats import fill_share
from quantai.strategy.examples import Quote
from tests.bench import gen_ticks

ONE = qa.Instrument.parse("X-Y", tick="1", lot="1")
FAST = qa.Latency(entry_ns=10, response_ns=10)
# the best prices are 100 and 101
BOOK = [(1000, "bid", 100, 10), (1000, "bid", 99, 20), (1000, "ask", 101, 10), (1000, "ask", 102, 20)]
# a seller takes the 10 ahead of us and 2 of ours; the bid falls to 99; the ask rises to 102
STORY = [(1200, "sell", 100, 12), (1202, "bid", 100, 0), (1300, "ask", 101, 0), (3000, "bid", 90, 1)]


def tape(*rows, instrument=ONE):
    out = zeros(len(BOOK) + len(rows), EVENT)
    for row, (ts, what, px, qty) in zip(out, [*BOOK, *rows], strict=True):
        row["ts_exch"], row["ts_recv"], row["flags"] = ts, ts + 5, LAST
        row["kind"] = Kind.CLEAR if what == "clear" else Kind.TRADE if what in ("buy", "sell") else Kind.LEVEL
        row["side"] = 0 if what == "clear" else 1 if what in ("bid", "buy") else -1
        row["px"], row["px_ticks"], row["qty"] = px, px, qty
    return Tape.from_events(out, [instrument])


def play(requests, *rows, instrument=ONE, **venue):
    return replay_script(tape(*rows, instrument=instrument), requests, qa.SimVenue(**({"latency": FAST} | venue)))


BUY = [Request(ts=1100, qty=5, limit=100)]


def test_pnl_split_by_hand():
    # 2 bought at 100; mid 100.5 before, 100 after 5 ns, 100.5 in the end; 10 bp of 200 as fee
    split = play(BUY, *STORY, maker_bps=10).pnl_split(horizon_ns=5)
    assert split.parts == pytest.approx(
        {"spread": 1.0, "adverse": -1.0, "inventory": 1.0, "fees": -0.2, "funding": 0.0}, abs=1e-12
    )
    assert split.total == pytest.approx(0.8, abs=1e-9)
    assert split.by_symbol.loc["X-Y"].tolist() == pytest.approx([1.0, -1.0, 1.0, -0.2])
    assert split.curve.iloc[-1].tolist() == pytest.approx([1.0, -1.0, 1.0, -0.2, 0.0, 0.8], abs=1e-9)
    assert repr(split).startswith("PnlSplit(+0.80 Y = spread +1.00, adverse -1.00, inventory +1.00, fees -0.20")


def test_the_horizon_moves_pnl_between_adverse_selection_and_inventory_only():
    r = play(BUY, *STORY)
    short, long = r.pnl_split(1), r.pnl_split(150)
    assert (short.adverse, short.inventory) == (0.0, 0.0)  # nothing has moved yet; it moves, and comes back
    assert (long.adverse, long.inventory) == (0.0, 0.0)
    assert (r.pnl_split(50).adverse, r.pnl_split(50).inventory) == (-1.0, 1.0)
    assert short.total == long.total
    with pytest.raises(qa.InputError, match="not negative"):
        r.pnl_split(-1)
    with pytest.raises(qa.InputError, match="got '1s'"):
        r.pnl_split("1s")


def test_pnl_split_of_an_inverse_contract_is_in_the_coin():
    inverse = qa.Instrument.parse("BTC-USD-PERP", tick="1", lot="1", multiplier="100", payoff=Payoff.INVERSE)
    split = play(BUY, *STORY, instrument=inverse).pnl_split(horizon_ns=5)
    assert split.spread == pytest.approx(2 * 100 * (1 / 100 - 1 / 100.5))
    assert split.adverse == pytest.approx(2 * 100 * (1 / 100.5 - 1 / 100))
    assert split.currency == "BTC"
    assert sum(split.parts.values()) == pytest.approx(split.total, abs=1e-9)


def test_markouts_by_hand():
    found = play(BUY, *STORY).markouts([0, 5, 150, 2000]).of()
    assert found["mean"].tolist() == pytest.approx([0.5, 0.0, 0.5, np.nan], nan_ok=True)
    assert found["count"].tolist() == [1, 1, 1, 0]
    assert found["bps"].iloc[0] == pytest.approx(50.0)
    assert np.isnan(found["se"].iloc[0]), "one fill has no spread"
    for wrong in ([], [-1], "1s", 5, [0.5]):
        with pytest.raises(qa.InputError, match="horizons_ns"):
            play(BUY, *STORY).markouts(wrong)


def test_markouts_weigh_by_size_and_tell_sides_and_makers_apart():
    # gains 1 and 3 of 1 and 3 units: mean 10 / 4; error sqrt(2 (1.5^2 + (3 * 0.5)^2)) / 4
    m = markouts([1, 1], [1.0, 3.0], [100.0, 100.0], [[101.0], [103.0]], [True, False], [7])
    assert m.of().loc[7].tolist() == pytest.approx([2.5, 0.75, 250.0, 2])
    assert m.of("buy", "maker").loc[7, "mean"] == 1.0
    assert m.of("all", "taker").loc[7, "mean"] == 3.0
    assert not len(m.of("sell"))
    equal = markouts([1, -1, 1], [2.0, 2.0, 2.0], [10.0, 10.0, 10.0], [[11.0], [8.0], [13.0]], [True] * 3, [7])
    assert equal.of().loc[7, "se"] == pytest.approx(np.std([1.0, 2.0, 3.0], ddof=1) / np.sqrt(3))


def test_queue_stats_by_hand():
    taker = Request(ts=1150, side=-1, qty=1, limit=100, tif=TIF.IOC)
    late = Request(ts=1160, side=-1, qty=1, limit=102)
    found = play([*BUY, taker, late, Request(ts=1250, action=Action.CANCEL, order=3)], *STORY).queue_stats()
    orders = found.orders.set_index("order")
    assert orders["entry_ns"].tolist() == [10, 10, 10]
    assert orders["ahead"].tolist() == pytest.approx([10, np.nan, 20], nan_ok=True)
    # 1200 - 1110, and at once; the third never
    assert orders["fill_ns"].tolist() == pytest.approx([90, 0, np.nan], nan_ok=True)
    assert orders["rested"].tolist() == [True, False, True]
    assert orders["maker"].tolist() == [True, False, False]
    s = found.summary
    assert (s["orders"], s["rested"], s["any_fill"], s["canceled"], s["filled"]) == (3, 2, 2, 1, 1)
    assert (s["fill_ratio"], s["cancel_ratio"], s["reached_share"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3), 1)
    assert s["filled_qty_ratio"] == pytest.approx(3 / 7)
    assert found.quantiles.loc["response", ["count", "p50", "max"]].tolist() == [2, 10, 10]


def test_a_print_at_the_price_reaches_and_one_through_it_passes():
    assert play(BUY, *STORY).queue_stats().summary["reached_share"] == 1.0
    through = play(BUY, (1200, "sell", 99, 1), (3000, "bid", 90, 1)).queue_stats()
    assert through.summary["reached_share"] == 0.0
    assert play([], *STORY).queue_stats().summary["orders"] == 0


def test_how_long_orders_rest():
    cancel = Request(ts=1150, action=Action.CANCEL, order=1)
    for requests, until in (
        (BUY, 3000),  # to the end
        ([*BUY, cancel, Request(ts=1150, qty=1, limit=98)], 1160),  # sent with a new order: its instant is known
        ([*BUY, cancel, Request(ts=1170, qty=1, limit=98)], 1180),  # sent alone: at the latest with what came next
        ([Request(ts=1100, qty=2, limit=100)], 1200),  # filled
        ([Request(ts=1100, qty=5, limit=100, expire_ts=1150)], 1150),
    ):
        life = lives_of(play(requests, *STORY))[0]
        assert (life["arrival"], life["end"], life["rested"]) == (1110, until, 1)


def test_drawn_latencies_are_those_of_the_replay():
    made = gen_ticks.tape(20_000, 3)
    latency = qa.Latency(entry_ns=3_000_000, response_ns=2_000_000, entry_sd_ns=600_000, response_sd_ns=300_000)

    class Both(qa.Strategy):
        def on_start(self, ctx):
            ctx.every(50 * qa.MS)

        def on_timer(self, ctx):
            book = ctx.book(0)
            if book.valid:
                ctx.quote(0, qa.BUY, book.bid_ticks, 0.01)
                ctx.sell(0.01, instrument=0)

    r = qa.replay(Both(), made, qa.SimVenue(latency=latency, seed=4))
    arrival = pd.Series({int(x["order"]): int(x["arrival"]) for x in lives_of(r)})
    takers, makers = (r.fill_rows[r.fill_rows["maker"] == k] for k in (0, 1))
    assert len(takers) > 100 < len(makers)
    assert takers["ts_exch"].tolist() == arrival[takers["order"]].tolist()
    assert (makers["ts_exch"] > arrival[makers["order"]]).all()
    entry = r.queue_stats().quantiles.loc["entry"]
    assert 2.9e6 < entry["p50"] < 3.5e6 < entry["p90"]  # later ones never overtake: the median is above the mean


def test_marks_and_levels_are_those_of_a_book_kept_by_hand():
    made = gen_ticks.tape(3_000, 6)
    rows = made.exchange_rows
    rng = np.random.default_rng(1)
    ts = np.sort(rng.choice(rows["ts_exch"], 40))
    r = qa.replay(Quote(), made, qa.SimVenue())
    lives = lives_of(r)[:60]
    book: dict[tuple[int, int], float] = {}
    mids, k = [], 0
    moments = sorted({*ts.tolist(), *lives["arrival"].tolist()})
    at = {}
    for moment in moments:
        while k < len(rows) and rows["ts_exch"][k] <= moment:
            if rows["kind"][k] == Kind.LEVEL:
                book[int(rows["side"][k]), int(rows["px_ticks"][k])] = float(rows["qty"][k])
            k += 1
        at[moment] = dict(book)
    for moment in ts.tolist():
        best = [s * max(s * p for (side, p), q in at[moment].items() if side == s and q > 0) for s in (1, -1)]
        mids.append(sum(best) / 20)
    shown = [at[int(x["arrival"])].get((int(x["side"]), int(x["px_ticks"])), 0.0) for x in lives]
    assert marks_at(made, np.zeros(40, int), ts).tolist() == pytest.approx(mids, abs=1e-9)
    assert shown_at(made, lives).tolist() == shown


def test_a_cleared_book_shows_nothing_ahead():
    clear = (1105, "clear", 0, 0)
    assert play(BUY, clear, *STORY).queue_stats().orders["ahead"].tolist() == [0.0]
    again = play(BUY, clear, (1106, "bid", 100, 4), *STORY)
    assert again.queue_stats().orders["ahead"].tolist() == [4.0]


def test_fill_share_by_place():
    found = fill_share(np.array([1.0, 1.0, 2.0, 3.0, np.nan]), np.array([True, False, True, False, True]), 2)
    assert found["to"].tolist() == [1.0, 3.0]
    assert (found["orders"].tolist(), found["share"].tolist()) == ([2, 2], [0.5, 0.5])


def test_stats_by_hand():
    s = play(BUY, *STORY, maker_bps=10).stats
    # the bid fell before the next sample, so that only the fee shows before the end
    assert s["pnl"] == pytest.approx(0.8)
    assert s["fees"] == pytest.approx(0.2)
    assert s["pnl_bps"] == pytest.approx(40.0)
    assert (s["fills"], s["maker_share"], s["max_position"], s["value"]) == (1, 1.0, 2.0, 200.0)


def trace(figure, name):
    return next(t for t in figure.data if t.name == name)


def test_the_figure_holds_quotes_fills_inventory_and_the_parts():
    r = play([*BUY, Request(ts=1150, side=-1, qty=1, limit=102)], *STORY, maker_bps=10)
    figure = r.plot()
    ours = trace(figure, "our bid")
    assert (ours.y[0], ours.x[0] * 1e6) == (100.0, pytest.approx(1110))
    assert trace(figure, "our ask").y[0] == 102.0
    assert (list(trace(figure, "Buy").y), trace(figure, "Inventory").y[-1]) == ([100.0], 2.0)
    assert trace(figure, "total").y[-1] == pytest.approx(0.8)
    names = {t.name for t in figure.data}
    assert {"spread", "fees"} <= names
    assert not {"adverse", "funding"} & names, "what is always zero is not drawn: within a second the mid came back"
    assert len(r.markouts([1]).plot().data) == 3
    assert r.pnl_split().plot().data[-1].name == "total"
    assert {"entry", "response"} <= {t.name for t in r.queue_stats().plot().data}


def test_a_part_of_a_long_replay_can_be_drawn():
    made = gen_ticks.tape(60_000, 2)
    r = qa.replay(Quote(), made, qa.SimVenue())
    ts = r.equity.index
    figure = r.plot(start=ts[3], end=ts[8])
    assert trace(figure, "Buy").x.min() >= ts[3].value / 1e6
    assert (trace(figure, "total").y[0], trace(figure, "total").x[0]) == (0.0, ts[3].value / 1e6)
    assert trace(figure, "Inventory").x.tolist()[-1] == pytest.approx(ts[8].value / 1e6)
    whole = trace(r.plot(), "our bid")
    assert len(whole.x) > 0
    assert np.nanmax(np.abs(whole.y - np.nanmedian(whole.y))) < 100
    with pytest.raises(qa.InputError, match="nothing was received between"):
        r.plot(start="2030-01-01")
    with pytest.raises(qa.UnknownName, match="unknown symbol 'ETH'"):
        r.plot("ETH")


def test_a_tape_of_trades_alone_is_drawn_without_a_book():
    class Buyer(qa.Strategy):
        def on_trade(self, ctx, trade):
            ctx.buy(0.01, limit=trade.px)

    r = qa.replay(Buyer(), gen_ticks.tape(2_000, 2, trades_only=True), qa.SimVenue(), max_orders=256)
    assert r.stats["fills"] > 0
    assert "Heatmap" not in {type(t).__name__ for t in r.plot().data}
    split = r.pnl_split()
    assert sum(split.parts.values()) == pytest.approx(split.total, abs=1e-6)


def test_a_result_without_its_tape_says_so():
    made = gen_ticks.tape(2_000, 2)
    r = dataclasses.replace(qa.replay(Quote(), made), tape=None)
    for call in (r.markouts, r.pnl_split, r.queue_stats, r.plot):
        with pytest.raises(qa.InputError, match="does not know its tape"):
            call()


def test_nothing_filled_is_reported_as_nothing():
    r = play([], *STORY)
    assert r.markouts().of()["count"].sum() == 0
    assert (r.pnl_split().total, r.stats["fills"]) == (0.0, 0)
    assert np.isnan(r.stats["maker_share"])
    assert r.plot().data
    empty = qa.replay(Quote(), Tape.from_events(zeros(0, EVENT), [ONE]))
    assert empty.stats["pnl"] == 0.0
    assert empty.queue_stats().summary["orders"] == 0
    with pytest.raises(qa.DataError, match="nothing to draw"):
        empty.plot()


def test_rows_before_the_run_are_the_book_it_begins_with():
    rows = tape(*STORY).rows.copy()
    rows["flags"][:4] |= SNAPSHOT
    later = [Request(ts=1250, qty=5, limit=99)]
    r = replay_script(Tape.from_events(rows, [ONE]), later, qa.SimVenue(latency=FAST))
    assert r.queue_stats().orders["ahead"].tolist() == [20.0]

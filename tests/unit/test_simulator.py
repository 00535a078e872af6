"""The simulated exchange, rule by rule, through scripted requests on small tapes."""

import numpy as np
import pytest

import quantai as qa
from quantai.backtest.scripted import Request, replay_script
from quantai.core.rows import EVENT, LAST, TIF, Action, Kind, Reason, zeros
from quantai.data.tape import Tape
from quantai.venues import RECORDED, Latency, SimVenue

ONE = qa.Instrument.parse("X-Y", tick="1", lot="1")
FAST = Latency(entry_ns=10, response_ns=10)
BOOK = [(1000, "bid", 100, 10), (1000, "bid", 99, 20), (1000, "ask", 101, 10), (1000, "ask", 102, 20)]
END = [(3000, "bid", 90, 1)]


def tape(*rows, lag=5):
    out = zeros(len(BOOK) + len(rows) + 1, EVENT)
    for row, (ts, what, px, qty) in zip(out, [*BOOK, *rows, *END], strict=True):
        row["ts_exch"], row["ts_recv"], row["flags"] = ts, ts + lag, LAST
        row["kind"] = Kind.TRADE if what in ("buy", "sell") else Kind.LEVEL
        row["side"] = 1 if what in ("bid", "buy") else -1
        row["px"], row["px_ticks"], row["qty"] = px, px, qty
    return Tape.from_events(out, [ONE])


def play(requests, *rows, **venue):
    return replay_script(tape(*rows), requests, SimVenue(**({"latency": FAST} | venue)))


def fills(result):
    return [(int(f["ts_exch"]), int(f["px_ticks"]), int(f["side"]) * int(f["lots"])) for f in result.fill_rows]


def ends(result):
    return [(row.state, row.reason) for row in result.orders.sort_values("order").itertuples()]


def test_post_only_that_would_take_expires():
    r = play([Request(ts=1100, qty=5, limit=101, post_only=True)])
    assert (fills(r), ends(r)) == ([], [("EXPIRED", "POST_ONLY")])


def test_what_was_taken_stays_gone_until_the_level_is_shown_anew():
    asks = [Request(ts=1100, qty=8, limit=101, tif=TIF.IOC), Request(ts=1200, qty=8, limit=101, tif=TIF.IOC)]
    assert fills(play(asks)) == [(1110, 101, 8), (1210, 101, 2)]
    assert fills(play(asks, (1150, "ask", 101, 10))) == [(1110, 101, 8), (1210, 101, 8)]


def test_no_partial_takes_any_size_at_the_best_price_and_leaves_the_book():
    r = play([Request(ts=1100, qty=50, limit=101), Request(ts=1200, qty=50)], exchange="no_partial")
    assert fills(r) == [(1110, 101, 50), (1210, 101, 50)]


def test_fill_or_kill_takes_all_or_nothing():
    kill = play([Request(ts=1100, qty=31, limit=102, tif=TIF.FOK)])
    assert (fills(kill), ends(kill)) == ([], [("EXPIRED", "FOK")])
    assert fills(play([Request(ts=1100, qty=30, limit=102, tif=TIF.FOK)])) == [(1110, 101, 10), (1110, 102, 20)]


def test_market_orders_walk_and_the_rest_expires():
    r = play([Request(ts=1100, qty=100)])
    assert fills(r) == [(1110, 101, 10), (1110, 102, 20)]
    assert ends(r) == [("EXPIRED", "IOC")]


def test_the_rest_of_a_marketable_limit_rests_at_its_price():
    r = play([Request(ts=1100, qty=15, limit=101)], (1200, "sell", 101, 3))
    assert fills(r) == [(1110, 101, 10), (1200, 101, 3)]


def test_good_till_date_ends_at_its_instant_after_the_market_of_that_instant():
    order = [Request(ts=1100, qty=5, limit=100, expire_ts=1300)]
    assert fills(play(order, (1300, "sell", 99, 1))) == [(1300, 100, 5)]
    late = play(order, (1301, "sell", 99, 1))
    assert (fills(late), ends(late)) == ([], [("EXPIRED", "GTD")])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("ignore", ["OPEN", "FILLED"]),
        ("cancel_newest", ["OPEN", "EXPIRED"]),
        ("cancel_oldest", ["CANCELED", "FILLED"]),
    ],
)
def test_self_trade_prevention(mode, expected):
    r = play([Request(ts=1100, side=-1, qty=1, limit=101), Request(ts=1200, qty=1, limit=101)], self_trade=mode)
    assert [state for state, _ in ends(r)] == expected


def test_a_replace_may_mean_the_total_or_what_is_open():
    # a fill of 4 is on its way when the replace to 5 is sent
    requests = [
        Request(ts=1100, qty=5, limit=100),
        Request(ts=1200, action=Action.REPLACE, order=1, qty=5, limit=100),
    ]
    rows = [(1201, "sell", 100, 14), (1300, "sell", 100, 20)]
    assert sum(f[2] for f in fills(play(requests, *rows))) == 5
    assert sum(f[2] for f in fills(play(requests, *rows, replace="open"))) == 9


def test_a_cancel_that_comes_too_late_is_refused_and_told():
    r = play(
        [Request(ts=1100, qty=5, limit=100), Request(ts=1200, action=Action.CANCEL, order=1)], (1205, "sell", 99, 1)
    )
    assert fills(r) == [(1205, 100, 5)]
    assert r.refusals["kind"].tolist() == ["CANCEL_REJECT"]
    assert r.refused == {"TOO_LATE": 1}


def test_an_order_at_the_front_fills_on_the_first_print():
    order = [Request(ts=1100, qty=5, limit=100)]
    assert fills(play(order, (1200, "sell", 100, 2), queue="front")) == [(1200, 100, 2)]
    assert fills(play(order, (1200, "sell", 100, 2))) == []


def test_fees_go_by_who_made_the_market():
    r = play(
        [Request(ts=1100, qty=5, limit=100), Request(ts=1100, qty=5, limit=101)],
        (1200, "sell", 99, 1), maker_bps=-1.0, taker_bps=10.0,
    )  # fmt: skip
    assert r.fee == pytest.approx(-5 * 100 * 1e-4 + 5 * 101 * 1e-3)
    assert r.balance == pytest.approx(-5 * 100 - 5 * 101)


def test_quantities_that_cannot_be_orders_are_counted_refusals():
    big = ONE.with_fields(max_qty="3")
    made = Tape.from_events(tape().rows.copy(), [big])
    r = replay_script(made, [Request(ts=1100, qty=5, limit=100), Request(ts=1100, qty=0.4, limit=100)])
    assert r.fill_rows.size == 0
    assert r.refused == {Reason.BAD_QTY.name: 2}


def test_latencies_are_drawn_by_number_and_recorded_ones_are_looked_up():
    normal = Latency(entry_ns=100, response_ns=100, entry_sd_ns=30.0, response_sd_ns=30.0)
    order = [Request(ts=1100 + 20 * k, qty=1, limit=103, tif=TIF.IOC) for k in range(20)]
    a, b = (play(order, latency=normal, seed=s) for s in (1, 1))
    other = play(order, latency=normal, seed=2)
    assert fills(a) == fills(b) != fills(other)
    assert len({int(f["ts_exch"]) for f in a.fill_rows}) > 10
    table = np.zeros(2, RECORDED)
    table["ts"], table["entry_ns"], table["response_ns"] = [0, 1150], [10, 70], [20, 30]
    r = play([Request(ts=1100, qty=1), Request(ts=1200, qty=1)], latency=Latency(table=table))
    assert [(int(f["ts_exch"]), int(f["ts"])) for f in r.fill_rows] == [(1110, 1130), (1270, 1300)]


def test_every_choice_is_named_and_a_wrong_one_refused():
    r = play([Request(ts=1100, qty=1)])
    assert "queue: risk_averse" in r.rules[0]
    assert "exchange: partial" in r.rules[0]
    with pytest.raises(qa.InputError, match="did you mean 'no_partial'"):
        SimVenue(exchange="no_partials")
    with pytest.raises(qa.InputError, match="at least 1 ns"):
        Latency(entry_ns=0, response_ns=0)


def test_cancels_that_take_more_than_was_ahead_count_as_in_hftbacktest():
    """20 are ahead, 13 join behind; cancels take 29, which leaves -2.75 ahead, and 4, of which 0.29 is given back."""
    levels = [(1150 + k, "bid", 99, qty) for k, qty in enumerate((33, 4, 0))]
    r = play([Request(ts=1100, qty=20, limit=99)], *levels, (1180, "sell", 99, 5), queue="power_prob", power=3.0)
    back, front = 13.0, 20.0
    for gone in (29.0, 4.0):
        p = back**3 / (back**3 + front**3)
        level = back + front - gone
        front = min(front - (1.0 - p) * gone + min(back - p * gone, 0.0), level)
        back = level - front
    assert round(front, 3) == -2.461
    assert fills(r) == [(1180, 99, round(5 - front))]

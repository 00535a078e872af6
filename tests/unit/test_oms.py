"""The order management: flows of new orders, cancels, changes, time-outs and queries; views; state."""

import re

import numpy as np
import pytest

from quantai.core.errors import DataError, InputError, UnknownName
from quantai.core.reports import Mark, OrdStatus, Refusal
from quantai.core.rows import SEC, SELL, Action, Kind, OrderType
from quantai.core.tracked import leaves, marks, status_local
from quantai.execution.client_ids import OWN_K, client_id, read_client_id, run_tag
from quantai.execution.controls import Control, control
from quantai.execution.kill_switch import outcome
from quantai.execution.oms import OMS
from quantai.execution.outgoing import DENIED, LOCAL, UNCLAIMED
from quantai.execution.reasons import RiskReason
from quantai.execution.views import orders
from tests.unit.oms_setting import Market, asked, limits, said, setup


def status_of(market: Market, order: int) -> str:
    return OrdStatus(int(status_local(market.tracked(order)))).name


def test_a_new_order_goes_out_once_under_an_id_made_of_run_row_and_index() -> None:
    market = Market()
    order = market.new()
    (request,) = market.step.requests
    assert (request.ask.name, request.order, request.qty_lots, request.px_ticks) == ("NEW", order, 1000, 190)
    assert request.client_id == request.order_id == client_id("alpha", market.seq, 0)
    assert read_client_id(request.client_id) == ("alpha", market.seq, 0)
    assert status_of(market, order) == "PENDING_NEW"
    assert market.oms.table.find(0, market.seq, 0) == (order, 0)


@pytest.mark.parametrize("run", ["a", "x" * 17, "x" * 18, "Bitcoin, 5 min", "_hidden", "日経", ""])
def test_client_ids_fit_every_exchange_and_can_be_read_back(run: str) -> None:
    longest = client_id(run, 2**64 - 1, 2**16 - 1)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,36}", longest)
    assert read_client_id(longest) == (run_tag(run), 2**64 - 1, 2**16 - 1)
    assert read_client_id("web_" + longest + "x") is None
    for seq, k in ((-1, 0), (2**64, 0), (0, 2**16)):
        with pytest.raises(InputError, match="no client id"):
            client_id(run, seq, k)


def test_client_ids_of_three_desks_of_one_row_differ() -> None:
    market = Market()
    ids = [next(iter((market.new(desk), market.step)[1].requests)).client_id for desk in (0, 1, 2)]
    assert len(set(ids)) == 3
    assert [read_client_id(x)[0] for x in ids] == ["alpha", "beta", "gamma"]


def test_fills_are_booked_once_and_move_position_cash_and_risk() -> None:
    market = Market()
    order = market.new(lots=3000)
    market.hear(order, Kind.ACK)
    market.fill(order, 1, 1000, 190)
    again = market.fill(order, 1, 1000, 190)
    assert (again.requests, len(again.events)) == ([], 0)
    market.fill(order, 2, 2000, 196)
    book = market.oms.portfolio.positions("strategy")["cross"]["BTC-USDT"]
    assert (book["qty"], book["cost"]) == (3.0, 95.0 + 2 * 98.0)
    assert market.oms.portfolio.cash("main")["USDT"] == 2_000_000 - 291.0
    assert market.oms.portfolio.standing("main")["gross"] == 300.0
    assert market.oms.gate.watch["position"][0, 0] == 3.0
    assert market.oms.gate.books[0].counts[0] == 0
    assert (status_of(market, order), int(market.tracked(order)["duplicates"])) == ("FILLED", 1)


def test_a_bust_and_a_correction_rebuild_the_position() -> None:
    market = Market()
    one, two = market.new(lots=2000), market.new(desk=0, side=SELL, lots=500, px_ticks=210)
    market.fill(one, 1, 2000, 190)
    market.fill(two, 2, 500, 220)
    market.hear(one, Kind.TRADE_CORRECT, exec=3, ref=1, qty_lots=1000, px_ticks=180)
    book = market.oms.portfolio.positions("desk")["alpha"]["BTC-USDT"]
    assert (book["qty"], book["realised"], book["cost"]) == (0.5, 0.5 * (110.0 - 90.0), 0.5 * 90.0)
    market.hear(two, Kind.TRADE_CANCEL, exec=4, ref=2)
    book = market.oms.portfolio.positions("desk")["alpha"]["BTC-USDT"]
    assert (book["qty"], book["realised"], book["cost"]) == (1.0, 0.0, 90.0)
    assert market.oms.portfolio.cash("main")["USDT"] == 2_000_000 - 90.0
    assert market.oms.gate.watch["position"][0, 0] == 1.0


def test_an_execution_that_corrects_itself_ends_no_session() -> None:
    market = Market()
    order = market.new(lots=2000)
    market.fill(order, 1, 1000)
    market.hear(order, Kind.TRADE_CORRECT, exec=5, ref=5, qty_lots=300, px_ticks=180)
    market.hear(order, Kind.TRADE_CANCEL, exec=6, ref=1)
    assert market.oms.portfolio.positions("desk")["alpha"]["BTC-USDT"]["qty"] == 0.3


def test_a_denied_order_is_never_sent_and_says_why() -> None:
    market = Market(max_order_notional=50)
    order = market.new(lots=1000)
    assert asked(market.step) == []
    (report,) = market.step.events
    assert (report["kind"], report["code"]) == (Kind.REJECT, RiskReason.ORDER_NOTIONAL)
    assert report["flags"] & LOCAL
    assert report["flags"] & DENIED
    assert status_of(market, order) == "REJECTED"
    assert orders(market.oms)[0]["reason"] == "ORDER_NOTIONAL"
    assert market.oms.gate.books[0].counts[0] == 0


def test_an_order_number_or_client_id_used_twice_is_refused_and_the_order_unharmed() -> None:
    market = Market()
    order = market.new()
    before = market.tracked(order).tobytes()
    again = market.ask(Action.NEW, order, type=OrderType.LIMIT, side=1, qty_lots=1, px_ticks=1)
    assert (asked(again), said(again)) == ([], [("REJECT", order)])
    market.k = 0
    assert asked(market.ask(Action.NEW, order + 1, type=OrderType.LIMIT, side=1, qty_lots=1, px_ticks=1)) == []
    assert market.tracked(order).tobytes() == before


def test_a_cancel_is_sent_once_and_its_answer_ends_the_order() -> None:
    market = Market()
    order = market.new()
    market.hear(order, Kind.ACK)
    first = market.ask(Action.CANCEL, order)
    assert asked(first) == [("CANCEL", order)]
    assert first.requests[0].order_id == client_id("alpha", market.oms.table.entries["seq"][0].item(), 0)
    assert first.requests[0].client_id != first.requests[0].order_id
    second = market.ask(Action.CANCEL, order)
    assert (asked(second), second.events["code"].tolist()) == ([], [Refusal.ALREADY_PENDING])
    market.hear(order, Kind.CANCELED, request=1)
    third = market.ask(Action.CANCEL, order)
    assert (asked(third), third.events["code"].tolist()) == ([], [Refusal.TOO_LATE])
    assert status_of(market, order) == "CANCELED"
    assert asked(market.ask(Action.CANCEL, 999)) == []


def test_a_change_of_an_order_passes_risk_with_what_it_adds() -> None:
    market = Market(max_position=3)
    order = market.new(lots=2000)
    market.hear(order, Kind.ACK)
    market.fill(order, 1, 500)
    refused = market.ask(Action.REPLACE, order, qty_lots=4000)
    assert (asked(refused), refused.events["code"].tolist()) == ([], [RiskReason.POSITION_LIMIT])
    step = market.ask(Action.REPLACE, order, qty_lots=3000, px_ticks=191)
    assert asked(step) == [("REPLACE", order)]
    assert (step.requests[0].qty_lots, step.requests[0].px_ticks, step.requests[0].request) == (3000, 191, 1)
    assert market.oms.gate.books[0].working["leaves"][0] == 2.5
    market.hear(order, Kind.REPLACED, request=1)
    assert (market.tracked(order)["qty_lots"], market.tracked(order)["px_ticks"]) == (3000, 191)
    step = market.ask(Action.REPLACE, order, qty_lots=500)
    assert asked(step) == [("CANCEL", order)]  # nothing would be left


def test_a_refused_change_gives_its_exposure_back() -> None:
    market = Market()
    order = market.new(lots=1000)
    market.hear(order, Kind.ACK)
    market.ask(Action.REPLACE, order, qty_lots=5000)
    assert market.oms.gate.books[0].working["leaves"][0] == 5.0
    market.hear(order, Kind.REPLACE_REJECT, request=1, code=Refusal.OTHER)
    assert market.oms.gate.books[0].working["leaves"][0] == 1.0


def test_silence_makes_an_order_unknown_and_it_is_asked_about_but_never_sent_again() -> None:
    market = Market()
    order = market.new()
    assert asked(market.pass_time(SEC - 1)) == []
    step = market.pass_time(1)
    assert asked(step) == [("QUERY", order)]
    assert step.requests[0].client_id == client_id("alpha", int(market.oms.table.entries["seq"][0]), 0)
    assert marks(market.tracked(order)) & Mark.UNKNOWN
    assert asked(market.pass_time(SEC)) == []
    assert asked(market.pass_time(SEC)) == [("QUERY", order)]  # not yet answered: patience doubles
    assert asked(market.pass_time(2 * SEC)) == []
    assert asked(market.pass_time(2 * SEC)) == [("QUERY", order)]
    for expected in ([("QUERY", order)], [("QUERY", order)], []):
        market.hear(order, Kind.ORDER_STATUS, code=OrdStatus.NOT_FOUND)
        assert asked(market.pass_time(600 * SEC)) == expected
    assert orders(market.oms)[0]["marks"] == ["LOST"]
    assert market.oms.gate.books[0].counts[0] == 0
    market.fill(order, 1, 400)  # it lives after all
    assert (status_of(market, order), market.oms.gate.books[0].counts[0]) == ("PARTIALLY_FILLED", 1)


def test_an_answer_in_time_asks_nothing() -> None:
    market = Market()
    order = market.new()
    market.hear(order, Kind.ACK)
    assert asked(market.pass_time(100 * SEC)) == []
    market.ask(Action.CANCEL, order)
    assert asked(market.pass_time(SEC)) == [("QUERY", order)]
    assert not marks(market.tracked(order)) & Mark.LOST


def test_a_cancel_lost_on_its_way_is_sent_anew_once_the_venue_says_that_the_order_works() -> None:
    market = Market()
    order = market.new()
    market.hear(order, Kind.ACK)
    market.ask(Action.CANCEL, order)
    market.pass_time(SEC)
    step = market.hear(order, Kind.ORDER_STATUS, code=OrdStatus.NEW)
    assert asked(step) == [("CANCEL", order)]
    assert (step.requests[0].request, read_client_id(step.requests[0].client_id)[2]) == (2, OWN_K)
    market.hear(order, Kind.CANCEL_REJECT, request=2, code=Refusal.TOO_LATE)
    assert asked(market.hear(order, Kind.ORDER_STATUS, code=OrdStatus.NEW)) == []


def test_missing_fills_and_contradictions_are_asked_about_at_once() -> None:
    market = Market()
    order = market.new()
    market.hear(order, Kind.ACK)
    step = market.hear(order, Kind.ORDER_STATUS, code=OrdStatus.PARTIALLY_FILLED, ref=400)
    assert asked(step) == [("QUERY", order)]
    assert asked(market.pass_time(2 * SEC)) == [("QUERY", order)]
    market.hear(order, Kind.ORDER_STATUS, code=OrdStatus.PARTIALLY_FILLED, ref=400)
    market.fill(order, 1, 400)
    assert asked(market.pass_time(600 * SEC)) == []
    assert asked(market.hear(order, Kind.REJECT)) == [("QUERY", order)]


def test_a_report_about_somebody_elses_order_is_passed_on_and_counted() -> None:
    market = Market()
    step = market.hear(77, Kind.FILL, exec=1, qty_lots=5, px_ticks=100)
    assert step.events["flags"][0] & UNCLAIMED
    assert market.oms.point["unclaimed"][0] == 1
    assert market.oms.portfolio.positions() == {}


def test_reducing_halted_and_reconciling() -> None:
    market = Market()
    order = market.new()
    market.hear(order, Kind.ACK)
    for what, reason in (
        (Control.REDUCING, RiskReason.STATE_REDUCING),
        (Control.HALTED, RiskReason.STATE_HALTED),
        (Control.RECONCILE, RiskReason.RECONCILING),
    ):
        market.see(control(what))
        market.new()
        assert market.step.events["code"].tolist() == [reason]
    assert asked(market.ask(Action.CANCEL, order)) == [("CANCEL", order)]
    market.see(control(Control.RECONCILED))
    market.see(control(Control.ACTIVE))
    market.new()
    assert len(market.step.requests) == 1


def test_a_control_of_one_account_leaves_the_other_alone() -> None:
    market = Market()
    market.see(control(Control.HALTED, account=1))
    market.new(desk=2)
    assert asked(market.step) == []
    order = market.new(desk=0)
    assert asked(market.step) == [("NEW", order)]


def test_reconciling_asks_about_every_order_that_may_live() -> None:
    market = Market()
    live, silent, over = market.new(), market.new(), market.new()
    market.hear(live, Kind.ACK)
    market.hear(over, Kind.REJECT)
    step = market.see(control(Control.RECONCILE))
    assert asked(step) == [("QUERY", live), ("QUERY", silent)]
    assert marks(market.tracked(silent)) & Mark.UNKNOWN
    assert not marks(market.tracked(live)) & Mark.UNKNOWN


def test_the_kill_switch_cancels_everything_and_says_what_it_could_not() -> None:
    market = Market()
    good, late, silent, unheard, other = (market.new(desk) for desk in (0, 0, 1, 1, 2))
    for order in (good, late, silent, other):
        market.hear(order, Kind.ACK)
    step = market.see(control(Control.KILL, account=0))
    assert sorted(asked(step)) == sorted(("CANCEL", order) for order in (good, late, silent, unheard))
    names = {row["order"]: row["client_id"] for row in orders(market.oms)}
    assert outcome(market.oms).pending == [names[x] for x in (good, late, silent, unheard)]
    market.hear(good, Kind.CANCELED, request=1)
    market.hear(late, Kind.CANCEL_REJECT, request=1, code=Refusal.TOO_LATE)
    # the cancel overtook the order: the venue does not know it, then takes it, and it is canceled again
    market.hear(unheard, Kind.CANCEL_REJECT, request=1, code=Refusal.UNKNOWN_ORDER)
    assert asked(market.hear(unheard, Kind.ACK)) == [("CANCEL", unheard)]
    market.pass_time(SEC)
    found = outcome(market.oms)
    assert found.canceled == [names[good]]
    assert found.refused == {names[late]: "1000 lots still work: too late"}
    assert set(found.unknown) == {names[silent], names[unheard]}
    assert not found.complete
    again = market.see(control(Control.KILL, account=0))
    assert ("CANCEL", late) in asked(again)
    assert ("CANCEL", other) not in asked(again)
    market.hear(silent, Kind.CANCELED)
    market.hear(unheard, Kind.CANCELED)
    market.hear(late, Kind.CANCELED)
    assert outcome(market.oms).complete
    market.new(0)
    assert market.step.events["code"].tolist() == [RiskReason.STATE_HALTED]


def test_limits_are_loaded_from_the_row_that_brings_them() -> None:
    market = Market()
    market.see(control(Control.LIMITS), limits(max_order_notional=50).text())
    market.new()
    assert market.step.events["code"].tolist() == [RiskReason.ORDER_NOTIONAL]
    before = market.oms.snapshot()
    for text in ("", "max_gross = 1"):
        with pytest.raises(InputError, match="limits"):
            market.oms.process(control(Control.LIMITS)[0], text)
    assert market.oms.snapshot() == before


def test_targets_are_sized_where_they_execute_and_count_what_is_on_its_way() -> None:
    market = Market()
    market.quote(0, 100.0, 100.0)
    step = market.ask(Action.TARGET, market.number(2), qty_lots=500_000_000)
    (request,) = step.requests
    assert (request.side, request.type, request.qty_lots) == (1, OrderType.MARKET, 5_000_000)
    assert asked(market.ask(Action.TARGET, market.number(2), qty_lots=500_000_000)) == []
    market.fill(request.order, 1, 5_000_000, 200)
    step = market.ask(Action.TARGET, market.number(2), qty_lots=0)
    assert (step.requests[0].side, step.requests[0].qty_lots) == (-1, 5_000_000)


def test_rejects_of_the_venue_trip_the_ratio() -> None:
    market = Market(max_reject_ratio="0.5", reject_min_requests=4)
    for answer in (Kind.ACK, Kind.REJECT, Kind.REJECT, Kind.REJECT):
        market.hear(market.new(), answer)
    market.new()
    assert market.step.events["code"].tolist() == [RiskReason.REJECT_RATIO]


def test_views_by_strategy_account_instrument_and_desk() -> None:
    market = Market()
    one, two, three = market.new(0), market.new(1, instrument=1, px_ticks=900, lots=100), market.new(2)
    market.hear(one, Kind.ACK)
    market.fill(two, 1, 100, 900)
    everything = orders(market.oms)
    assert [row["order"] for row in everything] == [one, two, three]
    assert [row["order"] for row in orders(market.oms, strategy="cross")] == [one, three]
    assert [row["order"] for row in orders(market.oms, account="main")] == [one, two]
    assert [row["order"] for row in orders(market.oms, symbol="ETH-USDT-PERP")] == [two]
    assert [row["order"] for row in orders(market.oms, account="main", working=True)] == [one]
    assert (everything[1]["filled"], everything[1]["average"], everything[1]["status"]) == (1.0, 9.0, "FILLED")
    assert market.oms.portfolio.positions("instrument")["ETH-USDT-PERP"]["ETH-USDT-PERP"]["qty"] == 1.0
    assert list(market.oms.portfolio.positions("account")) == ["main"]
    with pytest.raises(UnknownName, match="did you mean 'cross'"):
        orders(market.oms, strategy="cros")


def test_state_as_bytes_comes_back_and_goes_on_the_same() -> None:
    market = Market()
    order, other = market.new(), market.new(1)
    market.hear(order, Kind.ACK)
    market.fill(order, 1, 300)
    market.ask(Action.CANCEL, other)
    twin = OMS.restored(market.oms.snapshot(), market.setup)
    assert twin.snapshot() == market.oms.snapshot()
    first, market.oms = market.oms, twin
    before = len(market.rows)
    market.pass_time(SEC)
    market.fill(order, 1, 300)
    market.fill(order, 2, 700)
    market.new(2)
    for row, text in market.rows[before:]:
        first.process(row, text)
    assert first.snapshot() == twin.snapshot()


def test_state_of_something_else_is_refused() -> None:
    market = Market()
    body = market.oms.snapshot()
    for broken in (b"", b"{}\n", body[:-1], body + b"x", body.replace(b"management 2", b"management 1")):
        with pytest.raises(DataError):
            OMS.restored(broken, market.setup)
    from dataclasses import replace

    with pytest.raises(DataError, match="other desks or instruments"):
        OMS.restored(body, replace(setup(), desks=setup().desks[:1]))


def test_rows_that_cannot_be_of_this_run_change_nothing() -> None:
    market = Market()
    before = market.oms.snapshot()
    bad_desk = market.intent(Action.NEW, 9 << 40 | 1)
    bad_row = market.intent(Action.NEW, 1)
    bad_row["seq"] += 1
    strange = control(Control.ACTIVE)
    strange["aux"] = 99
    nobody = control(Control.KILL, account=7)
    adjust = market.oms.portfolio.deposit(0, 1.0)
    adjust["px_ticks"] = 77
    for rows in (bad_desk, bad_row, strange, nobody, adjust, np.zeros(1, "i8")):
        with pytest.raises(InputError):
            market.oms.process(rows[0])
    assert market.oms.snapshot() == before
    assert leaves(market.tracked(market.new())) == 1000


def test_each_change_brings_the_trigger_it_asked_for() -> None:
    market = Market()
    order = market.new(side=SELL, type=OrderType.STOP, px_ticks=0, trigger_ticks=150)
    market.hear(order, Kind.ACK)
    market.ask(Action.REPLACE, order, trigger_ticks=160)
    market.ask(Action.REPLACE, order, trigger_ticks=170)
    market.hear(order, Kind.REPLACED, request=1)
    assert market.tracked(order)["trigger_ticks"] == 160
    market.hear(order, Kind.REPLACE_REJECT, request=2)
    (request,) = market.ask(Action.REPLACE, order, qty_lots=500).requests
    assert (request.trigger_ticks, request.qty_lots) == (160, 500)
    market.ask(Action.REPLACE, order, trigger_ticks=155)
    market.hear(order, Kind.REPLACED, request=4)
    market.hear(order, Kind.REPLACED, request=3)  # the answers overtook each other: the later request counts
    assert market.tracked(order)["trigger_ticks"] == 155


def test_an_execution_told_again_in_other_words_is_asked_about() -> None:
    market = Market()
    order = market.new()
    market.hear(order, Kind.ACK)
    market.fill(order, 1, 400)
    assert asked(market.fill(order, 1, 400)) == []
    assert asked(market.fill(order, 1, 500)) == [("QUERY", order)]
    market.hear(order, Kind.ORDER_STATUS, code=OrdStatus.PARTIALLY_FILLED, ref=400)
    assert asked(market.pass_time(3600 * SEC)) == []


def test_an_order_meets_our_own_at_every_price_it_may_have() -> None:
    market = Market(stp="deny")
    bid = market.new(px_ticks=200)
    market.hear(bid, Kind.ACK)
    market.ask(Action.REPLACE, bid, px_ticks=180)
    market.new(side=SELL, px_ticks=195)
    assert market.step.events["code"].tolist() == [RiskReason.SELF_TRADE]  # the bid at 200 may still be there
    market.ask(Action.REPLACE, bid, px_ticks=190)
    market.hear(bid, Kind.REPLACED, request=1)
    market.new(side=SELL, px_ticks=190)
    assert market.step.events["code"].tolist() == [RiskReason.SELF_TRADE]  # and so may the one at 190
    market.new(side=SELL, px_ticks=195)
    assert len(market.step.requests) == 1

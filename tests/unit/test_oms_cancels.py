"""Orders that must go, or come back to life: lost cancels, full request slots, the kill switch, what is asked."""

import pytest

from quantai.core.reports import OrdStatus, Refusal
from quantai.core.rows import SEC, Action, Kind
from quantai.core.tracked import leaves, status_local
from quantai.execution.agree import at_work
from quantai.execution.controls import Control, control
from quantai.execution.kill_switch import outcome
from quantai.execution.views import orders
from tests.unit.oms_setting import Market, asked


def working(**fields: int) -> tuple[Market, int]:
    market = Market()
    order = market.new(**fields)
    market.hear(order, Kind.ACK)
    return market, order


def test_however_many_cancels_are_lost_another_one_goes_out() -> None:
    market, order = working()
    market.ask(Action.CANCEL, order)
    for _ in range(30):
        assert asked(market.pass_time(400 * SEC)) == [("QUERY", order)]
        assert asked(market.hear(order, Kind.ORDER_STATUS, code=OrdStatus.NEW, qty_lots=1000)) == [("CANCEL", order)]
    market.hear(order, Kind.CANCELED, request=31)
    assert leaves(market.tracked(order)) == 0


def test_replaces_without_an_answer_leave_room_for_a_cancel() -> None:
    market, order = working()
    sent = [asked(market.ask(Action.REPLACE, order, px_ticks=191 + n)) for n in range(9)]
    assert sent == [[("REPLACE", order)]] * 7 + [[]] * 2
    assert asked(market.see(control(Control.KILL))) == [("CANCEL", order)]
    market.pass_time(400 * SEC)
    assert asked(market.hear(order, Kind.ORDER_STATUS, code=OrdStatus.NEW)) == [("CANCEL", order)]


@pytest.mark.parametrize(
    "sign", [Kind.TRIGGERED, Kind.RESTATED, Kind.REPLACED, Kind.SUSPENDED, Kind.PENDING_REPLACE, Kind.FILL]
)
def test_any_sign_of_life_repeats_a_cancel_that_was_lost(sign: Kind) -> None:
    market, order = working()
    market.ask(Action.CANCEL, order)
    market.pass_time(SEC)
    slot = market.oms.table.slot(order)
    assert slot is not None
    market.oms.table.tracked["request_state"][slot][0] = 1 | 8  # lost: out, and the venue said since that it works
    fields = {"exec": 1, "qty_lots": 10, "px_ticks": 190} if sign is Kind.FILL else {}
    assert asked(market.hear(order, sign, **fields)) == [("CANCEL", order)]
    assert asked(market.hear(order, Kind.ACK)) == []


def test_the_kill_switch_cancels_a_filled_order_that_a_pending_change_raises() -> None:
    market, order = working()
    market.ask(Action.REPLACE, order, qty_lots=2000)
    market.fill(order, 1, 1000)
    assert asked(market.see(control(Control.KILL))) == [("CANCEL", order)]
    assert not outcome(market.oms).complete
    market.hear(order, Kind.CANCEL_REJECT, request=2, code=Refusal.TOO_LATE)
    found = outcome(market.oms)
    assert list(found.refused.values()) == ["1000 lots may still work: too late"]
    assert asked(market.hear(order, Kind.REPLACED, request=1, qty_lots=2000)) == [("CANCEL", order)]
    market.hear(order, Kind.CANCELED, request=3)
    assert outcome(market.oms).complete


def test_a_filled_order_whose_raise_is_refused_is_done() -> None:
    market, order = working()
    market.ask(Action.REPLACE, order, qty_lots=2000)
    market.fill(order, 1, 1000)
    market.see(control(Control.KILL))
    market.hear(order, Kind.CANCEL_REJECT, request=2, code=Refusal.TOO_LATE)
    market.hear(order, Kind.REPLACE_REJECT, request=1, code=Refusal.TOO_LATE)
    assert outcome(market.oms).complete


def lost() -> tuple[Market, int]:
    market = Market()
    order = market.new()
    for _ in range(3):
        market.pass_time(400 * SEC)
        market.hear(order, Kind.ORDER_STATUS, code=OrdStatus.NOT_FOUND)
    return market, order


@pytest.mark.parametrize("sign", [Kind.ACK, Kind.FILL, Kind.ORDER_STATUS])
def test_a_lost_order_that_arrives_after_the_kill_switch_is_canceled(sign: Kind) -> None:
    market, order = lost()
    assert asked(market.see(control(Control.KILL))) == [("QUERY", order)]
    found = outcome(market.oms)
    assert list(found.unknown.values()) == ["the venue does not know it: 1000 lots work if it arrives yet"]
    assert not found.complete
    fields = {"exec": 1, "qty_lots": 10, "px_ticks": 190} if sign is Kind.FILL else {"code": OrdStatus.NEW}
    if sign is Kind.ACK:
        fields = {}
    assert asked(market.hear(order, sign, **fields)) == [("CANCEL", order)]
    market.hear(order, Kind.CANCELED)
    assert outcome(market.oms).complete


def test_a_lost_order_that_is_not_found_again_after_the_kill_switch_is_gone() -> None:
    market, order = lost()
    market.see(control(Control.KILL))
    market.hear(order, Kind.ORDER_STATUS, code=OrdStatus.NOT_FOUND)
    assert outcome(market.oms).complete
    assert asked(market.hear(order, Kind.ACK)) == [("CANCEL", order)]  # and would be canceled all the same
    assert not outcome(market.oms).complete


def test_what_comes_back_to_life_after_the_kill_switch_is_canceled() -> None:
    market, filled = working()
    market.fill(filled, 1, 1000)
    rejected = market.new()
    market.hear(rejected, Kind.REJECT)
    other = market.new(desk=2)
    market.hear(other, Kind.REJECT)
    assert asked(market.see(control(Control.KILL, account=0))) == []
    assert outcome(market.oms).complete
    assert ("CANCEL", filled) in asked(market.hear(filled, Kind.TRADE_CANCEL, exec=2, ref=1))
    assert ("CANCEL", rejected) in asked(market.hear(rejected, Kind.ACK))
    assert ("CANCEL", other) not in asked(market.hear(other, Kind.ACK))
    assert len(outcome(market.oms).pending) == 2


def test_an_order_canceled_by_hand_is_not_of_the_kill_switch() -> None:
    market, order = working()
    market.ask(Action.CANCEL, order)
    assert outcome(market.oms) == ([], [], {}, {})


def _status(market: Market, order: int) -> str:
    return OrdStatus(int(status_local(market.tracked(order)))).name


def test_an_order_that_was_never_found_is_asked_about_when_books_are_compared() -> None:
    market = Market()
    order = market.new()
    market.pass_time(SEC)
    for _ in range(3):
        market.hear(order, Kind.ORDER_STATUS, code=OrdStatus.NOT_FOUND)
        market.pass_time(600 * SEC)
    assert orders(market.oms)[0]["marks"] == ["LOST"]
    assert asked(market.see(control(Control.RECONCILE))) == [("QUERY", order)]
    market.hear(order, Kind.ORDER_STATUS, code=OrdStatus.NOT_FOUND)
    assert asked(market.pass_time(600 * SEC)) == []
    assert asked(market.see(control(Control.RECONCILE))) == [("QUERY", order)]
    market.hear(order, Kind.ORDER_STATUS, code=OrdStatus.NEW, qty_lots=1000)
    assert (_status(market, order), orders(market.oms, working=True)[0]["order"]) == ("NEW", order)


@pytest.mark.parametrize(
    ("end", "status"), [(Kind.REJECT, "PENDING_CANCEL"), (Kind.EXPIRED, "EXPIRED"), (Kind.CANCELED, "CANCELED")]
)
def test_an_order_that_works_after_its_end_is_asked_about_and_canceled_until_it_is_gone(end: Kind, status: str) -> None:
    market = Market()
    order = market.new()
    market.hear(order, end)
    first = market.hear(order, Kind.ACK)
    then = market.hear(order, Kind.RESTATED)  # as a venue says of an order that it hears of for the first time
    assert [*asked(first), *asked(then)] == [("QUERY", order)]
    for number in (1, 2, 3):
        step = market.hear(order, Kind.ORDER_STATUS, code=OrdStatus.NEW)
        assert (asked(step), step.requests[0].request) == ([("CANCEL", order)], number)
        assert (_status(market, order), len(at_work(market.oms))) == (status, 1)
        if number == 2:
            market.hear(order, Kind.CANCEL_REJECT, request=number, code=Refusal.OTHER)
        assert asked(market.pass_time(SEC - 1)) == []
        assert asked(market.pass_time(1)) == [("QUERY", order)], "no answer, or a refusal: is it still there?"
    market.fill(order, 1, 400)
    market.fill(order, 1, 400)
    assert market.oms.portfolio.positions("desk")["alpha"]["BTC-USDT"]["qty"] == 0.4
    market.hear(order, Kind.CANCELED, request=3)
    assert at_work(market.oms) == []
    market.hear(order, Kind.ORDER_STATUS, code=OrdStatus.CANCELED, ref=400)
    assert asked(market.pass_time(600 * SEC)) == []

"""Brackets and one-cancels-other groups: who sleeps, who wakes, who is canceled, and what happens too late."""

from itertools import permutations

import numpy as np
import pytest

from quantai.core.errors import InputError
from quantai.core.reports import OrdStatus
from quantai.core.rows import BUY, CHILD, OCO, REDUCE_ONLY, SEC, SELL, Action, Kind, OrderType, Reason, Rows
from quantai.core.tracked import status_local
from quantai.core.transitions import Life
from quantai.execution.controls import Control, control
from quantai.execution.groups import bracket, oco
from quantai.execution.outgoing import LOCAL, Step
from quantai.execution.reasons import RiskReason
from tests.unit.oms_setting import Market, asked, said


def order(market: Market, side: int, px: int, *, type: OrderType = OrderType.LIMIT, desk: int = 0) -> Rows:
    stop = type is OrderType.STOP
    terms = {"trigger_ticks" if stop else "px_ticks": px}
    return market.intent(Action.NEW, market.number(desk), type=type, side=side, qty_lots=1000, **terms)


def send(market: Market, rows: Rows) -> Step:
    step = Step()
    for row in rows:
        step.add(market.take(row))
    return step


def bracketed(desk: int = 0) -> tuple[Market, list[int], Step]:
    market = Market()
    rows = bracket(
        order(market, BUY, 190, desk=desk),
        order(market, SELL, 220, desk=desk),
        order(market, SELL, 180, type=OrderType.STOP, desk=desk),
    )
    return market, [int(n) for n in rows["order"]], send(market, rows)


def status(market: Market, number: int) -> str:
    return OrdStatus(int(status_local(market.tracked(number)))).name


@pytest.mark.parametrize("desk", [0, 2])
def test_exits_sleep_until_the_entry_has_traded(desk: int) -> None:
    market, (entry, profit, loss), step = bracketed(desk)
    assert asked(step) == [("NEW", entry)]
    market.hear(entry, Kind.ACK)
    assert asked(market.fill(entry, 1, 400)) == []
    assert asked(market.fill(entry, 2, 600)) == [("NEW", profit), ("NEW", loss)]
    assert asked(market.fill(profit, 3, 100, 220)) == [("CANCEL", loss)]
    market.hear(loss, Kind.CANCELED, request=1)
    assert asked(market.fill(profit, 4, 900, 220)) == []
    assert (status(market, profit), status(market, loss)) == ("FILLED", "CANCELED")
    assert market.oms.portfolio.positions("desk")[market.setup.desks[desk].run]["BTC-USDT"]["qty"] == 0.0


def test_exits_are_no_larger_than_what_the_entry_traded() -> None:
    market, (entry, profit, loss), _ = bracketed()
    market.fill(entry, 1, 400)
    step = market.hear(entry, Kind.CANCELED)
    assert [(r.order, r.qty_lots) for r in step.requests] == [(profit, 400), (loss, 400)]


def test_exits_end_with_an_entry_that_never_traded() -> None:
    market, (entry, profit, loss), _ = bracketed()
    step = market.hear(entry, Kind.CANCELED)
    assert said(step)[1:] == [("CANCELED", profit), ("CANCELED", loss)]
    assert all(row["flags"] & LOCAL for row in step.events[1:])
    assert step.events["code"].tolist()[1:] == [Reason.PARENT, Reason.PARENT]
    assert step.requests == []


def test_exits_of_a_denied_entry_end() -> None:
    market = Market(max_order_notional=1)
    rows = bracket(order(market, BUY, 190), order(market, SELL, 220))
    step = send(market, rows)
    assert (asked(step), [status(market, int(n)) for n in rows["order"]]) == ([], ["REJECTED", "REJECTED"])
    assert step.events["code"].tolist() == [RiskReason.ORDER_NOTIONAL, Reason.PARENT]


def test_a_child_that_comes_late_joins_at_once_or_not_at_all() -> None:
    market = Market()
    parent = market.new()
    market.fill(parent, 1, 300)
    market.hear(parent, Kind.CANCELED)
    child = market.new(side=SELL, lots=1000, px_ticks=220, flags=CHILD, link=parent)
    assert [(r.order, r.qty_lots) for r in market.step.requests] == [(child, 300)]
    for link in (99, child + 1):
        orphan = market.new(side=SELL, flags=CHILD, link=link)
        assert (asked(market.step), status(market, orphan)) == ([], "REJECTED")
    elsewhere = market.new(side=SELL, flags=CHILD, link=parent, instrument=1)
    assert status(market, elsewhere) == "REJECTED"


def test_a_sleeping_child_is_changed_and_canceled_without_the_venue() -> None:
    market, (entry, profit, loss), _ = bracketed()
    step = market.ask(Action.REPLACE, profit, px_ticks=230)
    assert (asked(step), said(step)) == ([], [("REPLACED", profit)])
    assert market.tracked(profit)["px_ticks"] == 230
    step = market.ask(Action.CANCEL, loss)
    assert (asked(step), said(step)) == ([], [("CANCELED", loss), ("CANCELED", profit)])
    assert asked(market.fill(entry, 1, 1000)) == []
    assert status(market, profit) == "CANCELED"


def test_the_first_to_trade_cancels_its_rivals_and_a_reject_does_not() -> None:
    market = Market()
    rows = oco(order(market, BUY, 190), order(market, BUY, 180), order(market, BUY, 170), link=7)
    one, two, three = (int(n) for n in rows["order"])
    send(market, rows)
    other = market.new(px_ticks=150, flags=OCO, link=8)
    assert asked(market.hear(one, Kind.REJECT)) == []
    assert asked(market.fill(two, 1, 1)) == [("CANCEL", three)]
    assert asked(market.fill(two, 2, 1)) == []
    market.fill(three, 3, 1000, 170)  # too late: booked, and seen in the position
    assert market.oms.portfolio.positions("desk")["alpha"]["BTC-USDT"]["qty"] == 1.002
    assert status(market, other) == "PENDING_NEW"


@pytest.mark.parametrize(
    "heard", [*permutations(("reject", "ack", "status", "rival acked", "rival fills"))], ids="-".join
)
def test_an_order_that_comes_back_to_life_after_its_rival_traded_is_canceled(heard: tuple[str, ...]) -> None:
    market = Market()
    rows = oco(order(market, BUY, 190), order(market, BUY, 180), link=7)
    one, two = (int(n) for n in rows["order"])
    send(market, rows)
    hear = {
        "reject": lambda: market.hear(one, Kind.REJECT),
        "ack": lambda: market.hear(one, Kind.ACK),
        "status": lambda: market.hear(one, Kind.ORDER_STATUS, code=OrdStatus.NEW, qty_lots=1000),
        "rival acked": lambda: market.hear(two, Kind.ACK),
        "rival fills": lambda: market.fill(two, 1, 1000, 180),
    }
    canceled = [pair for what in heard for pair in asked(hear[what]()) if pair[0] == "CANCEL"]
    # the venue's word on its state stands, unless its refusal is the last that was heard of it
    alive = status(market, one) != "REJECTED"
    assert canceled == ([("CANCEL", one)] if alive else [])


def test_groups_of_different_desks_do_not_mix() -> None:
    market = Market()
    mine = market.new(0, flags=OCO, link=5)
    theirs = market.new(1, flags=OCO, link=5)
    assert asked(market.fill(mine, 1, 1000)) == []
    assert status(market, theirs) == "PENDING_NEW"


def test_the_kill_switch_ends_sleeping_children() -> None:
    market, (entry, profit, loss), _ = bracketed()
    step = market.see(control(Control.KILL))
    assert asked(step) == [("CANCEL", entry)]
    assert [status(market, n) for n in (profit, loss)] == ["CANCELED", "CANCELED"]


def test_exits_that_risk_denies_are_told() -> None:
    market, (entry, profit, loss), _ = bracketed()
    market.see(control(Control.HALTED))
    step = market.fill(entry, 1, 1000)
    assert asked(step) == []
    assert said(step)[1:] == [("REJECT", profit), ("REJECT", loss)]


def test_groups_are_checked() -> None:
    market = Market()
    one, two = order(market, BUY, 190), order(market, SELL, 200)
    cancel = market.intent(Action.CANCEL, 1)
    assert set((bracket(one, two)["flags"]).tolist()) == {0, CHILD | OCO | REDUCE_ONLY}
    with pytest.raises(InputError, match="other side"):
        bracket(one, one)
    with pytest.raises(InputError, match="at least one exit"):
        bracket(one)
    with pytest.raises(InputError, match="at least two"):
        oco(one, link=1)
    with pytest.raises(InputError, match="only new orders"):
        oco(one, cancel, link=1)
    assert np.concatenate([one, two])["flags"].tolist() == [0, 0]  # what was passed is unchanged


def not_found(market: Market, order: int) -> list[tuple[str, int]]:
    """Let the venue say three times that it does not know an order; returns what is asked of it meanwhile."""
    found: list[tuple[str, int]] = []
    for _ in range(3):
        found += asked(market.pass_time(400 * SEC))
        found += asked(market.hear(order, Kind.ORDER_STATUS, code=OrdStatus.NOT_FOUND))
    assert market.tracked(order)["life"] == Life.LOST
    return found


def test_a_lost_exit_leaves_its_rival_at_work_until_it_trades_after_all() -> None:
    market = Market()
    entry = market.new()
    market.hear(entry, Kind.ACK)
    exits = {"side": SELL, "link": entry, "flags": CHILD | OCO | REDUCE_ONLY}
    profit = market.new(px_ticks=220, **exits)
    loss = market.new(px_ticks=0, type=OrderType.STOP, trigger_ticks=150, **exits)
    market.fill(entry, 1, 1000)
    market.hear(loss, Kind.ACK)
    assert ("CANCEL", loss) not in not_found(market, profit)
    assert market.tracked(loss)["life"] == Life.OPEN
    assert asked(market.fill(profit, 2, 300, 220)) == [("CANCEL", loss)]


@pytest.mark.parametrize("lots", [300, 1000])
def test_the_exits_of_a_lost_entry_sleep_until_it_is_known_what_it_traded(lots: int) -> None:
    market = Market()
    entry = market.new()
    flags = CHILD | OCO | REDUCE_ONLY
    exits = {"side": SELL, "px_ticks": 0, "type": OrderType.STOP, "trigger_ticks": 150, "flags": flags}
    early = market.new(link=entry, **exits)
    not_found(market, entry)
    late = market.new(link=entry, **exits)
    assert asked(market.step) == []
    step = market.fill(entry, 1, lots)
    if lots < 1000:
        assert asked(step) == []
        step = market.hear(entry, Kind.CANCELED)
    assert [(r.order, r.qty_lots) for r in step.requests] == [(early, lots), (late, lots)]


def test_the_exits_of_a_lost_entry_end_when_the_venue_says_that_it_never_was() -> None:
    market = Market()
    entry = market.new()
    child = market.new(side=SELL, px_ticks=220, link=entry, flags=CHILD | REDUCE_ONLY)
    not_found(market, entry)
    market.hear(entry, Kind.REJECT)
    assert market.tracked(child)["life"] == Life.CANCELED


def test_an_exit_grows_with_what_its_entry_traded_after_its_end() -> None:
    market = Market()
    entry = market.new()
    market.hear(entry, Kind.ACK)
    flags = CHILD | OCO | REDUCE_ONLY
    stop = {"side": SELL, "px_ticks": 0, "type": OrderType.STOP, "trigger_ticks": 150, "flags": flags}
    full, small = market.new(link=entry, **stop), market.new(lots=400, link=entry, **stop)
    market.fill(entry, 1, 300)
    step = market.hear(entry, Kind.CANCELED)
    assert [r.qty_lots for r in step.requests] == [300, 300]
    for child in (full, small):
        market.hear(child, Kind.ACK)
    step = market.fill(entry, 2, 700)
    assert [(r.ask.name, r.order, r.qty_lots) for r in step.requests] == [
        ("REPLACE", full, 1000),
        ("REPLACE", small, 400),
    ]
    market.hear(full, Kind.REPLACED, request=1)
    market.ask(Action.REPLACE, full, qty_lots=500)  # a smaller exit on purpose stays smaller
    market.hear(full, Kind.REPLACED, request=2)
    assert asked(market.fill(entry, 3, 10)) == []

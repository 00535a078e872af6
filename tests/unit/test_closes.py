"""How much of a holding one order may close: parts that fit every limit, as few as can be, and why there is none."""

from typing import Any

import pytest

from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import BUY, REDUCE_ONLY, SEC, SELL, Kind, OrderType
from quantai.execution.closes import Part, part_of, part_of_listings
from quantai.execution.controls import Control, control
from quantai.execution.reasons import RiskReason
from quantai.execution.setup import Setup
from quantai.portfolio import Desk
from tests.unit.oms_setting import Market, limits

A, B, C = 0, 1, 2


def market(held: dict[int, int], *, limit: dict[str, Any] | None = None, **fields: Any) -> Market:
    """Return a market at 100 in which desks hold lots of 0.001; A and B share an account."""
    grid = {"tick": "0.5", "lot": "0.001"} | fields
    made = Market(
        Setup(
            desks=(Desk("a", "x", "main"), Desk("b", "x", "main"), Desk("c", "x", "other")),
            instruments=Instruments([Instrument.parse("BTC-USDT-PERP", **grid)]),
            limits=limits(),
            currency="USDT",
            patience_ns=SEC,
        )
    )
    made.quote(0, 100.0, 100.0)
    pieces = 5 if {"max_qty", "max_notional"} & fields.keys() else 1
    for desk, lots in held.items():
        for _ in range(pieces):
            send(made, desk, lots // pieces, fill=True)
    if limit:
        made.see(control(Control.LIMITS), limits(**limit).text())
    return made


def send(made: Market, desk: int, lots: int, *, fill: bool = False, flags: int = 0) -> int:
    order = made.new(
        desk, side=BUY if lots > 0 else SELL, lots=abs(lots), type=OrderType.MARKET, px_ticks=0, flags=flags
    )
    assert made.step.requests, "let out"
    if fill:
        made.fill(order, made.seq, abs(lots), px_ticks=200)
    return order


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("held", "limit", "fields", "parts"),
    [
        (2500, {}, {}, [2500]),
        (2500, {"max_order_notional": 60}, {}, [500] * 5),
        (2500, {"max_order_notional": "99.9"}, {}, [834, 833, 833]),  # 0.999 is the most
        (2500, {"max_order_notional": "0.1"}, {}, [1] * 2500),  # one lot, exactly
        (2500, {}, {"max_qty": "0.7"}, [625] * 4),
        (2500, {}, {"max_notional": "130"}, [1250, 1250]),
        (2500, {"max_order_notional": 240}, {"min_qty": "0.5"}, [1250, 1250]),  # not 2400 and a rest that is too small
        (1000, {"max_order_notional": 90}, {"min_qty": "0.6"}, [900]),  # what is left then can never be closed
        (2500, {"max_order_notional": 240, "max_position": 0, "max_gross": 0, "max_day_loss": 0}, {}, [1250, 1250]),
    ],
)
def test_a_holding_is_closed_in_parts_that_fit(
    held: int, limit: dict[str, Any], fields: dict[str, str], parts: list[int], sign: int
) -> None:
    made, found = market({C: sign * held}, limit=limit, **fields), list[int]()
    left = sign * held
    while (part := part_of(made.oms, C, 0, left)).lots and len(found) < 5:
        assert part.flags == REDUCE_ONLY
        send(made, C, -sign * part.lots, fill=True, flags=REDUCE_ONLY)
        found.append(part.lots)
        left -= sign * part.lots
    assert found == parts[:5]


@pytest.mark.parametrize(
    ("limit", "fields", "reason"),
    [
        ({"max_order_notional": "0.05"}, {}, RiskReason.ORDER_NOTIONAL),
        ({"rate_max": 0}, {}, RiskReason.RATE_LIMIT),
        ({"max_open_orders": 0}, {}, RiskReason.MAX_OPEN_ORDERS),
        ({"rate_max": 1, "rate_window_ms": 10_000}, {}, RiskReason.RATE_LIMIT),
    ],
)
def test_what_cannot_go_out_says_why(limit: dict[str, Any], fields: dict[str, str], reason: RiskReason) -> None:
    made = market({C: 2500}, limit=limit, **fields)
    assert part_of(made.oms, C, 0, 2500) == Part(0, 0, REDUCE_ONLY, reason)


def test_what_is_worth_less_than_the_smallest_notional_is_closed_where_that_is_not_for_what_closes() -> None:
    exempt = {"min_notional": "5", "reduces_below_min": True}
    for fields, lots in (({"min_notional": "5"}, 0), (exempt, 40)):
        made = market({C: 5040}, **fields)
        send(made, C, -5000, fill=True, flags=REDUCE_ONLY)
        reason = RiskReason.OK if lots else RiskReason.NOTIONAL_MIN
        assert part_of(made.oms, C, 0, 40) == Part(0, lots, REDUCE_ONLY, reason)
    for _ in range(3):
        assert part_of(made.oms, C, 0, 40).lots == 40
        made.hear(send(made, C, -40, flags=REDUCE_ONLY), Kind.REJECT)
    part = part_of(made.oms, C, 0, 40)
    assert (part, part.is_too_little) == (Part(0, 0, REDUCE_ONLY, RiskReason.NOTIONAL_MIN), True)
    send(made, C, 5000, fill=True)
    assert part_of(made.oms, C, 0, 5040).lots == 5040
    send(made, C, -5000, fill=True, flags=REDUCE_ONLY)
    assert part_of(made.oms, C, 0, 40).lots == 40, "it may be another day"


def test_less_than_the_smallest_quantity_is_not_closed() -> None:
    made = market({C: 500}, min_qty="0.2")
    send(made, C, -400, fill=True)
    assert part_of(made.oms, C, 0, 100) == Part(0, 0, REDUCE_ONLY, RiskReason.QTY_MIN)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (Control.RECONCILE, RiskReason.RECONCILING),
        (Control.HALTED, RiskReason.STATE_HALTED),
        (Control.KILL, RiskReason.STATE_HALTED),
        (Control.REDUCING, RiskReason.OK),
        (Control.CLOSED, RiskReason.SESSION_CLOSED),
    ],
)
def test_decisions_of_people_hold_a_part_back(what: Control, reason: RiskReason) -> None:
    made = market({C: 2500}, limit={"max_order_notional": 60})
    made.see(control(what))
    part = part_of(made.oms, C, 0, 2500)
    assert (part.reason, part.lots) == (reason, 0 if reason else 500)
    before = made.oms.snapshot()
    part_of(made.oms, C, 0, 2500)
    assert made.oms.snapshot() == before, "asking changes nothing"


def test_a_part_waits_for_the_duplicate_window_and_is_not_made_larger_by_it() -> None:
    made = market({C: 2500}, limit={"max_order_notional": 60, "duplicate_window_ms": 200})
    made.pass_time(SEC)
    assert part_of(made.oms, C, 0, 2500).lots == 500
    send(made, C, -500, fill=True)
    assert part_of(made.oms, C, 0, 2000) == Part(0, 0, REDUCE_ONLY, RiskReason.DUPLICATE_ORDER)
    made.pass_time(SEC // 5)
    assert part_of(made.oms, C, 0, 2000).lots == 500


def test_what_another_desk_of_the_account_holds_against_it_is_closed_by_an_order_that_opens() -> None:
    made = market({A: 2000, B: -1500})
    assert part_of(made.oms, A, 0, 2000) == Part(0, 500, REDUCE_ONLY, RiskReason.OK)
    send(made, A, -500, fill=True, flags=REDUCE_ONLY)
    assert part_of(made.oms, A, 0, 1500) == Part(0, 1500, 0, RiskReason.OK), "the account is flat: this opens"
    assert part_of(made.oms, B, 0, -1500) == Part(0, 1500, 0, RiskReason.OK)
    made.see(control(Control.REDUCING))
    assert part_of(made.oms, B, 0, -1500).reason is RiskReason.STATE_REDUCING


def test_closing_orders_that_are_out_leave_the_rest() -> None:
    made = market({A: 1000, B: 1000})
    order = send(made, B, -1000)
    assert part_of(made.oms, A, 0, 1000) == Part(0, 1000, REDUCE_ONLY, RiskReason.OK)
    made.hear(order, Kind.ACK)
    send(made, A, -400)
    assert part_of(made.oms, A, 0, 1000) == Part(0, 500, REDUCE_ONLY, RiskReason.OK), "of the 600 that are left"


def test_of_several_listings_the_first_that_can_be_closed_counts_and_what_is_held_before_it() -> None:
    made = market({C: 2500}, limit={"max_order_notional": 60}, min_qty="0.2")
    assert part_of_listings(made.oms, C, [(0, 2500), (0, 100)]).lots == 500
    assert part_of_listings(made.oms, C, [(0, 100), (0, 2400)]).lots == 100 + 600
    assert part_of_listings(made.oms, C, [(0, 100), (0, 50)]) == Part(0, 0, REDUCE_ONLY, RiskReason.QTY_MIN)
    assert part_of_listings(made.oms, C, []).lots == 0

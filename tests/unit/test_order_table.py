"""The order table on its own: what enters it, what leaves it, and what one bar may and may not touch."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from quantai.backtest.bar_matching import AT_OPEN, FILL, MATCH, RULES, match_bar, open_price
from quantai.backtest.order_table import place, settle
from quantai.core.errors import InputError
from quantai.core.instruments import Instrument
from quantai.core.rows import (
    BAR,
    CHILD,
    DAY,
    INTENT,
    OCO,
    ORDER,
    POST_ONLY,
    REDUCE_ONLY,
    TIF,
    Action,
    OrderState,
    OrderType,
    Reason,
    zeros,
)

INSTRUMENT = Instrument.parse("AAA", tick="0.01", lot="1")
QUIET = (100.0, 101.0, 99.0, 100.0)


class Desk:
    """The order table on its own, bar by bar, as the driver of a backtest uses it."""

    def __init__(self, slots: int = 4, **instrument: Any) -> None:
        self.orders, self.fills, self.match = zeros(slots, ORDER), zeros(2 * slots, FILL), zeros(1, MATCH)
        self.inst = INSTRUMENT.with_fields(**instrument).row()[0]
        self.rules, self.open_lots = np.zeros(1, RULES)[0], np.zeros(slots, "i8")
        self.last = 0

    def ask(self, action: Action = Action.NEW, ts: int = 0, **fields: Any) -> int:
        intent = zeros(1, INTENT)
        if action is Action.NEW:
            self.last += 1
            fields = {"order": self.last, "side": 1, "type": OrderType.MARKET, "qty_lots": 10} | fields
        intent["action"] = action
        for name, value in fields.items():
            intent[name] = value
        return place(self.orders, len(self.orders), intent[0], self.inst, ts)

    def bar(
        self, o: float, h: float, low: float, c: float, ts: int = 0, instrument: int = 0
    ) -> list[tuple[int, float]]:
        row = zeros(1, BAR)
        row["ts_open"], row["ts_close"], row["instrument"] = ts, ts + DAY, instrument
        row["open"], row["high"], row["low"], row["close"] = o, h, low, c
        n = match_bar(
            self.orders, len(self.orders), self.open_lots, row[0], self.inst, self.rules, self.match[0], self.fills
        )
        return [(int(f["order"]), float(f["px"])) for f in self.fills[:n]]

    def state(self, slot: int) -> tuple[str, str]:
        return OrderState(self.orders["state"][slot]).name, Reason(self.orders["reason"][slot]).name


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"qty_lots": 0}, "BAD_QTY"),
        ({"qty_lots": 1}, "BAD_QTY"),
        ({"qty_lots": 101}, "BAD_QTY"),
        ({"type": OrderType.LIMIT}, "NOT_A_PRICE"),
        ({"type": OrderType.LIMIT, "px_ticks": -5}, "NOT_A_PRICE"),
        ({"type": OrderType.LIMIT, "px_ticks": 2**53 + 1}, "NOT_A_PRICE"),
        ({"type": OrderType.STOP}, "NOT_A_PRICE"),
        ({"type": OrderType.STOP_LIMIT, "px_ticks": 9}, "NOT_A_PRICE"),
        ({"type": OrderType.TRAILING_STOP}, "NOT_A_PRICE"),
        ({"type": OrderType.TRAILING_STOP, "trigger_ticks": 9, "px_ticks": -1}, "NOT_A_PRICE"),
        ({"flags": POST_ONLY}, "POST_ONLY"),
        ({"tif": TIF.GTD, "expire_ts": 0}, "GTD"),
        ({"flags": CHILD, "link": 7}, "PARENT"),
        ({"flags": CHILD, "link": 1}, "PARENT"),
    ],
)
def test_what_can_never_be_an_order_is_rejected_with_its_reason(fields: dict[str, Any], reason: str) -> None:
    desk = Desk(min_qty=Decimal(2), max_qty=Decimal(100))
    slot = desk.ask(**fields)
    assert desk.state(slot) == ("REJECTED", reason)
    assert desk.bar(*QUIET) == []


def test_a_full_table_and_an_unknown_order_are_said_so() -> None:
    desk = Desk(slots=2)
    assert [desk.ask(), desk.ask(), desk.ask()] == [0, 1, -1]
    assert desk.ask(Action.CANCEL, order=9) == -1
    assert desk.ask(Action.TARGET, order=1) == -1
    desk.orders["state"][0] = OrderState.FREE
    assert desk.ask() == 0


def test_a_cancel_takes_rivals_and_waiting_children_along() -> None:
    desk = Desk()
    entry = desk.ask(type=OrderType.LIMIT, px_ticks=9000)
    child = desk.ask(type=OrderType.STOP, trigger_ticks=8000, side=-1, flags=CHILD, link=1)
    rival = desk.ask(type=OrderType.STOP, trigger_ticks=11000, flags=OCO, link=5)
    other = desk.ask(type=OrderType.STOP, trigger_ticks=12000, flags=OCO, link=5)
    assert desk.ask(Action.CANCEL, order=1) == entry
    assert (desk.state(entry), desk.state(child)) == (("CANCELED", "BY_USER"), ("CANCELED", "PARENT"))
    assert desk.ask(Action.CANCEL, order=4) == other
    assert desk.state(rival) == ("CANCELED", "OCO")
    assert desk.ask(Action.CANCEL, order=1) == -1


def test_a_replaced_order_arrives_anew() -> None:
    desk = Desk()
    slot = desk.ask(type=OrderType.LIMIT, px_ticks=9000, flags=POST_ONLY)
    assert desk.bar(*QUIET) == []
    assert desk.ask(Action.REPLACE, order=1, px_ticks=9950, ts=DAY) == slot
    assert desk.state(slot) == ("PENDING", "NONE")
    assert desk.bar(*QUIET, ts=0) == []  # decided after this bar opened
    assert desk.state(slot) == ("PENDING", "NONE")
    assert desk.bar(*QUIET, ts=DAY) == [(1, 99.5)]
    assert desk.orders["qty_lots"][slot] == 10


def test_a_replace_that_cannot_be_leaves_the_order_as_it_was() -> None:
    desk = Desk()
    slot = desk.ask(type=OrderType.LIMIT, px_ticks=9000)
    before = desk.orders[slot].tobytes()
    assert desk.ask(Action.REPLACE, order=1, px_ticks=-1, qty_lots=5) == -1
    assert desk.orders[slot].tobytes() == before


def test_a_replace_down_to_what_is_filled_ends_the_order() -> None:
    desk = Desk()
    slot = desk.ask()
    desk.open_lots[slot] = 4
    assert desk.bar(*QUIET) == [(1, 100.0)]
    assert desk.ask(Action.REPLACE, order=1, qty_lots=4, ts=DAY) == slot
    assert desk.state(slot) == ("CANCELED", "BY_USER")
    assert desk.orders["filled_lots"][slot] == 4


def test_a_replaced_trailing_stop_keeps_its_level_unless_given_another() -> None:
    desk = Desk()
    slot = desk.ask(type=OrderType.TRAILING_STOP, trigger_ticks=300, side=-1)
    desk.bar(100, 106, 99, 105)
    assert desk.orders["stop_ticks"][slot] == 10300
    desk.ask(Action.REPLACE, order=1, trigger_ticks=200)
    assert desk.orders["stop_ticks"][slot] == 10300
    desk.ask(Action.REPLACE, order=1, px_ticks=9000)
    assert desk.orders["stop_ticks"][slot] == 9000


def test_the_average_price_is_of_all_fills() -> None:
    desk = Desk()
    slot = desk.ask()
    desk.open_lots[slot] = 4
    for i, px in enumerate((100, 104, 108)):
        desk.bar(px, px, px, px, ts=i * DAY)
    assert desk.orders["avg_px"][slot] == pytest.approx((4 * 100 + 4 * 104 + 2 * 108) / 10)
    assert desk.match["position_lots"][0] == 10


def test_a_child_of_an_order_already_filled_works_at_once_and_no_larger() -> None:
    desk = Desk()
    parent = desk.ask(qty_lots=3)
    desk.bar(*QUIET)
    assert desk.state(parent)[0] == "FILLED"
    child = desk.ask(type=OrderType.STOP, trigger_ticks=9500, side=-1, qty_lots=10, flags=CHILD, link=1, ts=DAY)
    assert (desk.state(child)[0], desk.orders["qty_lots"][child]) == ("PENDING", 3)
    assert desk.bar(100, 101, 94, 95, ts=DAY) == [(2, 95.0)]


def test_a_market_child_of_a_fill_within_the_bar_takes_the_next_open() -> None:
    desk = Desk()
    desk.ask(type=OrderType.LIMIT, px_ticks=9800)
    child = desk.ask(side=-1, flags=CHILD, link=1)
    assert desk.bar(100, 101, 97, 98) == [(1, 98.0)]
    assert desk.state(child)[0] == "PENDING"
    assert desk.bar(99, 99, 99, 99, ts=DAY) == [(2, 99.0)]


def test_orders_of_other_instruments_and_of_later_decisions_are_left_alone() -> None:
    desk = Desk()
    desk.ask(instrument=1)
    late = desk.ask(ts=DAY)
    assert desk.bar(*QUIET, ts=0) == []  # the second was decided when this bar closed: filling it would look ahead
    assert desk.bar(*QUIET, ts=DAY, instrument=1) == [(1, 100.0)]
    assert desk.state(late)[0] == "PENDING"
    assert desk.bar(*QUIET, ts=DAY) == [(2, 100.0)]


def test_an_order_that_expires_within_a_bar_takes_part_in_its_open_only() -> None:
    desk = Desk()
    touched = desk.ask(type=OrderType.LIMIT, px_ticks=9800, tif=TIF.GTD, expire_ts=DAY // 2)
    opened = desk.ask(tif=TIF.GTD, expire_ts=DAY // 2)
    assert desk.bar(100, 101, 97, 98) == [(2, 100.0)]
    assert (desk.state(touched), desk.state(opened)) == (("EXPIRED", "GTD"), ("FILLED", "NONE"))
    assert desk.match["ambiguous_bars"][0] == 1  # the limit may have filled before it expired
    gone = desk.ask(tif=TIF.GTD, expire_ts=2 * DAY)
    assert desk.bar(*QUIET, ts=3 * DAY) == []
    assert desk.state(gone) == ("EXPIRED", "GTD")


def test_no_order_fills_at_what_is_not_a_price() -> None:
    desk = Desk()
    slot = desk.ask()
    for hole in range(4):
        prices = [100.0] * 4
        prices[hole] = float("nan")
        assert desk.bar(*prices) == []
    assert desk.bar(100, float("inf"), 100, 100) == []
    assert desk.state(slot)[0] == "PENDING"


def test_a_buffer_that_could_overflow_is_refused() -> None:
    desk = Desk()
    desk.ask()
    desk.fills = desk.fills[:7]
    with pytest.raises(InputError, match="two rows an order slot"):
        desk.bar(*QUIET)


def test_open_price_is_what_a_market_order_gets() -> None:
    desk = Desk()
    desk.rules["slip_bps"] = 20
    desk.ask()
    desk.ask(side=-1)
    fills = desk.bar(102, 103, 101, 102)
    bar = zeros(1, BAR)
    bar["open"] = 102
    assert fills == [(1, open_price(bar[0], 1, desk.rules)), (2, open_price(bar[0], -1, desk.rules))]
    assert [px for _, px in fills] == pytest.approx([102.204, 101.796], abs=1e-12)
    assert (desk.fills["where"][0], desk.fills["raw_px"][0], desk.fills["ts"][0]) == (AT_OPEN, 102.0, 0)


def test_settle_has_nothing_to_do_twice() -> None:
    desk = Desk()
    desk.ask(flags=OCO, link=5, type=OrderType.LIMIT, px_ticks=1)
    desk.ask(Action.CANCEL, order=1)
    late = desk.ask(flags=OCO, link=5)
    settle(desk.orders, len(desk.orders))
    assert desk.state(late)[0] == "PENDING"


def test_reduce_only_between_bars_follows_the_position() -> None:
    """A position can also change outside matching: settlement, a transfer, another account's trade."""
    desk = Desk()
    desk.match["position_lots"] = 10
    slot = desk.ask(type=OrderType.LIMIT, px_ticks=11000, side=-1, flags=REDUCE_ONLY)
    desk.bar(*QUIET)
    desk.match["position_lots"] = 0
    desk.bar(*QUIET, ts=DAY)
    assert desk.state(slot) == ("CANCELED", "REDUCE_ONLY")

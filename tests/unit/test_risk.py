"""The pre-trade check: the pack, every reason, every boundary, and what a passed request counts for."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantai.core.rows import DAY, MS
from quantai.execution.exposure import ACCOUNT, N_WORKING, RECENT, REQUEST, WATCH, WORKING, work
from quantai.execution.reasons import SCOPE, RiskReason
from quantai.execution.risk import check
from tests.conformance import risk as adapter
from tests.conformance.risk import Desk

PACK = json.loads((Path(__file__).parent.parent / "conformance" / "risk.json").read_text())["cases"]


@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in PACK])
def test_case(case: dict[str, Any]) -> None:
    assert adapter.run(case) == []


def test_the_adapter_sees_a_wrong_answer() -> None:
    assert adapter.run(PACK[0] | {"expect": ["OK"]}) == ["order 0 n1: INSTRUMENT_NOT_TRADABLE, expected OK"]


PLAIN: dict[str, Any] = {
    "now_ms": 100_000,
    "instruments": {
        "X": {
            "tradable": True, "open": True, "tick": "0.5", "lot": "0.001", "min_qty": "0.001", "max_qty": "100",
            "min_notional": "5", "max_notional": "1000000", "multiplier": "1", "initial_margin": "0.1",
            "negative_ok": False,
        }
    },
    "market": {"bid": "99.5", "ask": "100.5", "quote_ts_ms": 99_900},
    "limits": {
        "max_order_notional": "10000", "max_position": "50", "max_gross": "20000", "max_net": "15000",
        "max_leverage": "5", "max_open_orders": 5, "rate_max": 10, "rate_window_ms": 1000, "max_quote_age_ms": 500,
        "collar_bps": "500", "passive_cross_bps": "0", "duplicate_window_ms": 200, "stp": "deny",
        "max_day_loss": "500", "max_drawdown": "0.2", "max_reject_ratio": "0.5", "reject_min_requests": 10,
    },
    "account": {
        "state": "ACTIVE", "reconciling": False, "positions": {}, "equity": "10000", "peak_equity": "10000",
        "free_margin": "10000", "gross_notional": "0", "net_notional": "0", "day_pnl": "0", "seen_ids": ["old"],
        "sent_ms": [], "recent": [], "recent_requests": 0, "recent_rejects": 0,
    },
    "open_orders": [],
    "order": {
        "kind": "new", "id": "n", "instrument": "X", "side": "buy", "type": "limit", "qty": "1", "price": "100",
    },
}  # fmt: skip


def desk(**changes: Any) -> tuple[Desk, dict[str, Any]]:
    """Return the plain case with changes: `order__qty="2"`, `X__tick="0.1"`, `open_orders=[…]`."""
    case = copy.deepcopy(PLAIN)
    for path, value in changes.items():
        where, _, name = path.partition("__")
        place = case["instruments"]["X"] if where == "X" else case[where] if name else case
        place[name or where] = value
    return Desk(case), case["order"]


def answer(**changes: Any) -> str:
    it, order = desk(**changes)
    return it.answer(order)


def mine(side: str, px: str | None, leaves: str, name: str = "w") -> dict[str, Any]:
    return {"id": name, "instrument": "X", "side": side, "price": px, "leaves": leaves}


SOLD = {"side": "sell", "positions": {"X": "2"}}
DENIED: list[tuple[str, dict[str, Any], dict[str, Any] | None]] = [
    # reason, what is denied, and the nearest thing that passes (None where nothing is near)
    ("RECONCILING", {"account__reconciling": True}, {}),
    ("STATE_HALTED", {"account__state": "HALTED"}, {}),
    (
        "STATE_REDUCING",
        {"account__state": "REDUCING", "account__positions": {"X": "-1"}, "order__qty": "1.001"},
        {"account__state": "REDUCING", "account__positions": {"X": "-1"}},
    ),
    ("INSTRUMENT_UNKNOWN", {"order__instrument": "Y"}, {}),
    ("INSTRUMENT_NOT_TRADABLE", {"X__tradable": False}, {}),
    ("SESSION_CLOSED", {"X__open": False}, {}),
    ("PRICE_INVALID", {"order__price": "nan"}, {"order__price": None, "order__type": "market"}),
    ("PRICE_INVALID", {"order__price": "-inf"}, None),
    ("PRICE_INVALID", {"order__price": None, "order__type": "stop_limit"}, None),
    (
        "PRICE_NOT_POSITIVE",
        {"order__price": "0"},
        {"order__price": "0.5", "limits__collar_bps": "10000", "order__qty": "10"},
    ),
    ("PRICE_NOT_POSITIVE", {"order__price": "-100"}, None),
    ("PRICE_TICK", {"order__price": "100.1"}, {"order__price": "100.1", "X__tick": "0.1"}),
    ("PRICE_TICK", {"order__price": "100.00000001"}, {"order__price": "100.00000001", "X__tick": "0.00000001"}),
    ("QTY_INVALID", {"order__qty": "nan"}, {}),
    ("QTY_INVALID", {"order__qty": "inf"}, {}),
    ("QTY_LOT", {"order__qty": "1.0001"}, {"order__qty": "1.001"}),
    ("QTY_MIN", {"X__min_qty": "1.001"}, {"X__min_qty": "1"}),
    ("QTY_MIN", {"X__min_qty": "1.0005"}, {"X__min_qty": "0.9995"}),  # a smallest quantity between two lots
    ("QTY_MAX", {"X__max_qty": "0.999"}, {"X__max_qty": "1"}),
    ("DUPLICATE_CLIENT_ID", {"order__id": "old"}, {}),
    (
        "DUPLICATE_ORDER",
        {"account__recent": [{"instrument": "X", "side": "buy", "qty": "1", "price": "100", "ts_ms": 99_801}]},
        {"account__recent": [{"instrument": "X", "side": "buy", "qty": "1", "price": "100", "ts_ms": 99_800}]},
    ),
    (
        "DUPLICATE_ORDER",
        {
            "order__type": "market",
            "order__price": None,
            "account__recent": [{"instrument": "X", "side": "buy", "qty": "1", "price": None, "ts_ms": 99_999}],
        },
        {"account__recent": [{"instrument": "X", "side": "sell", "qty": "1", "price": "100", "ts_ms": 99_999}]},
    ),
    ("RATE_LIMIT", {"account__sent_ms": [99_001] * 10}, {"account__sent_ms": [99_000] + [99_999] * 9}),
    ("RATE_LIMIT", {"limits__rate_max": 0}, None),
    (
        "MAX_OPEN_ORDERS",
        {"open_orders": [mine("buy", "99", "1", f"w{i}") for i in range(5)]},
        {"open_orders": [mine("buy", "99", "1", f"w{i}") for i in range(4)]},
    ),
    (
        "REDUCE_ONLY",
        {"order__reduce_only": True, "order__qty": "1.001", "account__positions": {"X": "-1"}},
        {"order__reduce_only": True, "account__positions": {"X": "-1"}},
    ),
    ("STALE_QUOTE", {"market__quote_ts_ms": 99_499}, {"market__quote_ts_ms": 99_500}),
    ("STALE_QUOTE", {"market": {"bid": None, "ask": None, "quote_ts_ms": None}}, None),
    ("STALE_QUOTE", {"market__ask": None}, None),
    (
        "STALE_QUOTE",  # a bid above the ask: one of them is gone
        {"market__bid": "105", "market__ask": "95", "order__type": "market", "order__price": None},
        {"market__bid": "95", "market__ask": "105", "order__type": "market", "order__price": None},
    ),
    ("STALE_QUOTE", {"market__bid": "100.5", "market__ask": "100"}, {"market__bid": "100", "market__ask": "100"}),
    ("PRICE_COLLAR", {"order__price": "94.5"}, {"order__price": "95"}),
    ("PRICE_COLLAR", {"order__price": "105.5"}, {"order__price": "105"}),
    (
        "PASSIVE_CROSS",
        {"order__price": "99", "order__side": "sell", "order__post_only": True},
        {"order__price": "99.5", "order__side": "sell", "order__post_only": True},
    ),
    ("NOTIONAL_MIN", {"X__min_notional": "100.5"}, {"X__min_notional": "100"}),
    ("NOTIONAL_MAX", {"X__max_notional": "99.5"}, {"X__max_notional": "100"}),
    ("ORDER_NOTIONAL", {"limits__max_order_notional": "99.99"}, {"limits__max_order_notional": "100"}),
    ("SELF_TRADE", {"open_orders": [mine("sell", "100", "1")]}, {"open_orders": [mine("sell", "100.5", "1")]}),
    (
        "SELF_TRADE",
        {"order__side": "sell", "open_orders": [mine("buy", "90", "1", "a"), mine("buy", "100", "1", "b")]},
        {"order__side": "sell", "open_orders": [mine("buy", "90", "1", "a"), mine("buy", "99.5", "1", "b")]},
    ),
    ("POSITION_LIMIT", {"account__positions": {"X": "49.001"}}, {"account__positions": {"X": "49"}}),
    (
        "POSITION_LIMIT",
        {"account__positions": {"X": "0.1"}, "order__qty": "0.201", "limits__max_position": "0.3"},
        {"account__positions": {"X": "0.1"}, "order__qty": "0.2", "limits__max_position": "0.3"},
    ),
    ("GROSS_LIMIT", {"account__gross_notional": "19900.01"}, {"account__gross_notional": "19900"}),
    (
        "NET_LIMIT",
        {"order__side": "sell", "account__net_notional": "-14900.01"},
        {"order__side": "sell", "account__net_notional": "-14900"},
    ),
    (
        "LEVERAGE",
        {"account__equity": "8000", "account__gross_notional": "900.01", "limits__max_leverage": "0.125"},
        {"account__equity": "9000", "account__gross_notional": "1025", "limits__max_leverage": "0.125"},
    ),
    ("LEVERAGE", {"account__equity": "0", "account__peak_equity": "0"}, None),
    ("MARGIN", {"account__free_margin": "9.99"}, {"account__free_margin": "10"}),
    ("LOSS_LIMIT", {"account__day_pnl": "-500"}, {"account__day_pnl": "-499.99"}),
    ("DRAWDOWN_LIMIT", {"account__equity": "8000"}, {"account__equity": "8000.01"}),
    (
        "REJECT_RATIO",
        {"account__recent_requests": 10, "account__recent_rejects": 6},
        {"account__recent_requests": 9, "account__recent_rejects": 9},
    ),
]


@pytest.mark.parametrize(("reason", "denied", "passes"), DENIED)
def test_reason_and_its_boundary(reason: str, denied: dict[str, Any], passes: dict[str, Any] | None) -> None:
    assert answer(**denied) == reason
    if passes is not None:
        assert answer(**passes) == "OK"


def test_every_reason_is_reached() -> None:
    assert {reason for reason, _, _ in DENIED} == {r.name for r in RiskReason if r}
    assert set(SCOPE) == set(RiskReason)


@pytest.mark.parametrize(("reason", "denied", "passes"), DENIED)
def test_a_cancel_passes_whatever_is_denied(reason: str, denied: dict[str, Any], passes: object) -> None:
    assert answer(**denied, order__kind="cancel", order__target="w") == "OK"


@pytest.mark.parametrize(("reason", "denied", "passes"), DENIED)
def test_what_closes_meets_no_check_of_what_opens(reason: str, denied: dict[str, Any], passes: object) -> None:
    closing = (
        {"account__positions": {"X": "-90"}}
        if denied.get("order__side") != "sell"
        else {"account__positions": {"X": "90"}}
    )
    if SCOPE[RiskReason[reason]] == "what opens":
        assert answer(**(denied | closing)) == "OK"


@pytest.mark.parametrize("first", range(len(DENIED)))
def test_the_earlier_reason_answers(first: int) -> None:
    # an order that a later reason denies too, by changing nothing but the world around it, keeps its reason
    reason, denied, _ = DENIED[first]
    for later, also, _ in DENIED:
        around = all(path.startswith(("account__", "limits__", "X__", "market__")) for path in also)
        if RiskReason[later] > RiskReason[reason] and around and "account__positions" not in also:
            assert answer(**(also | denied)) == reason, later


def modify(at: str = "100", **changes: Any) -> str:
    base = {"order__kind": "modify", "order__target": "w", "open_orders": [mine("buy", at, "1")]}
    return answer(**(base | changes))


def test_a_change_is_judged_on_what_it_adds() -> None:
    full = {"account__positions": {"X": "49"}}
    assert modify(**full) == "OK"
    assert modify(**full, order__qty="1.001") == "POSITION_LIMIT"
    assert modify(account__gross_notional="20000", account__free_margin="0", account__day_pnl="-900") == "OK"
    assert modify(account__gross_notional="19950", order__qty="1.5") == "OK"
    assert modify(account__gross_notional="19950.01", order__qty="1.5") == "GROSS_LIMIT"
    assert modify(account__state="REDUCING", order__qty="0.5") == "OK"
    assert modify(account__state="REDUCING", order__qty="1.5") == "STATE_REDUCING"
    assert modify(order__price="105.5") == "PRICE_COLLAR"
    assert modify(order__id="old") == "OK"


@pytest.mark.parametrize(
    ("reason", "world"),
    [
        ("STATE_REDUCING", {"account__state": "REDUCING"}),
        ("LOSS_LIMIT", {"account__day_pnl": "-900"}),
        ("DRAWDOWN_LIMIT", {"account__equity": "7000"}),
        ("REJECT_RATIO", {"account__recent_requests": 10, "account__recent_rejects": 9}),
        ("REDUCE_ONLY", {"order__reduce_only": True}),
    ],
)
def test_a_bolder_price_opens_and_a_more_cautious_one_does_not(reason: str, world: dict[str, Any]) -> None:
    assert modify(at="99.5", **world) == reason
    assert modify(at="99.5", **world, order__qty="0.5") == reason
    assert modify(at="100", **world) == "OK"
    assert modify(at="100.5", **world) == "OK"
    assert modify(at="100.5", **world, order__qty="1.5") == reason


def stop(**changes: Any) -> str:
    base = {"order__type": "stop", "order__price": None, "order__trigger": "101"}
    return answer(**(base | changes))


def test_a_trigger_is_a_price() -> None:
    assert stop() == "OK"
    assert stop(order__trigger=None) == stop(order__trigger="inf") == "PRICE_INVALID"
    assert stop(order__trigger="0") == stop(order__trigger="-5") == "PRICE_NOT_POSITIVE"
    assert stop(order__trigger="101.1") == "PRICE_TICK"
    assert stop(order__trigger="105") == "OK"
    assert stop(order__trigger="105.5") == stop(order__trigger="94.5", order__side="sell") == "PRICE_COLLAR"
    assert stop(order__trigger="94.5", order__side="sell", account__positions={"X": "1"}) == "OK"
    assert stop(order__trigger="104", limits__max_order_notional="103.5") == "ORDER_NOTIONAL"
    assert stop(order__trigger="96", order__side="sell", limits__max_order_notional="99.5") == "OK"
    both = {"order__type": "stop_limit", "order__price": "102"}
    assert stop(**both) == "OK"
    assert stop(**both, order__trigger="nan") == "PRICE_INVALID"
    assert stop(order__type="trailing_stop", order__trigger="5") == "OK"
    assert stop(order__type="trailing_stop", order__trigger="0", X__negative_ok=True) == "PRICE_NOT_POSITIVE"
    assert stop(order__trigger="-5", X__negative_ok=True, account__positions={"X": "-1"}) == "OK"


def test_stops_at_other_triggers_are_other_orders() -> None:
    stops = [{"type": "stop", "price": None, "trigger": trigger} for trigger in ("101", "102", "101")]
    assert batch(stops) == ["OK", "OK", "DUPLICATE_ORDER"]


@pytest.mark.parametrize(("side", "nearer", "further"), [("buy", "101", "103"), ("sell", "99", "97")])
def test_a_nearer_trigger_of_an_order_that_opens_is_bolder(side: str, nearer: str, further: str) -> None:
    working = mine(side, "0", "1") | {"price": None, "trigger": "102" if side == "buy" else "98"}
    change = {"order__kind": "modify", "order__target": "w", "open_orders": [working], "order__side": side}
    assert stop(**change, account__state="REDUCING", order__trigger=nearer) == "STATE_REDUCING"
    assert stop(**change, account__state="REDUCING", order__trigger=further) == "OK"


def test_an_expired_instrument_does_not_trade_and_a_day_lasts_until_it_ends() -> None:
    it, order = desk()
    for expiry, ts, denied in ((10**15, 10**15 - 1, False), (10**15, 10**15, True), (3 * DAY, 4 * DAY - 1, False)):
        it.book.instruments["expiry_ts"] = expiry
        request = it.request(order)
        request["ts"] = it.book.watch["bid_ts"] = it.book.watch["ask_ts"] = ts
        reason = RiskReason(check(it.book, it.limits.row()[0], request[0]))
        assert (reason is RiskReason.INSTRUMENT_NOT_TRADABLE) == denied


def test_one_fresh_side_is_no_quote() -> None:
    for side in ("bid_ts", "ask_ts"):
        it, order = desk()
        it.book.watch[side] = 99_499 * MS
        assert it.answer(order) == "STALE_QUOTE"


def test_buys_and_sells_have_a_net_worst_case_each() -> None:
    it, order = desk(limits__max_net="1000")
    it.book.account["net_long"], it.book.account["net_short"] = 1000.0, -950.0
    assert it.answer(order) == "NET_LIMIT"
    assert it.answer(order | {"id": "s1", "side": "sell", "price": "100", "qty": "0.5"}) == "OK"
    assert it.answer(order | {"id": "s2", "side": "sell", "price": "100.5", "qty": "0.5"}) == "NET_LIMIT"


def test_what_opens_in_a_currency_without_a_rate_is_denied() -> None:
    it, order = desk()
    it.book.currencies["rate"] = np.nan
    assert it.answer(order) == "ORDER_NOTIONAL"
    it.book.watch["position"] = -1.0
    assert it.answer(order | {"id": "closing"}) == "OK"


def test_a_change_of_an_order_that_is_gone_adds_all_of_it() -> None:
    assert modify(account__positions={"X": "49.5"}, order__target="gone", open_orders=[]) == "POSITION_LIMIT"


def test_closing_orders_already_out_count_first() -> None:
    held = {"account__positions": {"X": "2"}, "order__side": "sell", "order__reduce_only": True}
    assert answer(**held, open_orders=[mine("sell", "104", "1")]) == "OK"
    assert answer(**held, open_orders=[mine("sell", "104", "1.001")]) == "REDUCE_ONLY"
    assert answer(**held, open_orders=[mine("buy", "90", "50")]) == "OK"


def test_orders_of_another_instrument_do_not_count() -> None:
    it, order = desk(account__positions={"X": "49"}, open_orders=[mine("buy", "99", "1") | {"instrument": "Y"}])
    assert it.answer(order) == "OK"


def test_a_market_order_without_a_quote_may_close_but_not_meet_our_own() -> None:
    blind = {
        "market": {"bid": None, "ask": None, "quote_ts_ms": None},
        "account__positions": {"X": "-1"},
        "order__type": "market",
        "order__price": None,
    }
    assert answer(**blind) == "OK"
    assert answer(**blind, open_orders=[mine("sell", "200", "1")]) == "SELF_TRADE"


def test_negative_prices_where_there_are_some() -> None:
    power = {"X__negative_ok": True, "market__bid": "-100.5", "market__ask": "-99.5", "order__price": "-100"}
    assert answer(**power) == "OK"
    assert answer(**power, limits__max_order_notional="99") == "ORDER_NOTIONAL"
    assert answer(**(power | {"order__price": "-105.5"})) == "PRICE_COLLAR"


def batch(orders: list[dict[str, Any]], **changes: Any) -> list[str]:
    it, plain = desk(**changes)
    return [it.answer(plain | {"id": f"b{i}"} | order) for i, order in enumerate(orders)]


def test_what_passed_counts_for_the_next() -> None:
    again = [{"price": "100"}, {"price": "99.5"}]
    assert batch([{}, {}]) == ["OK", "DUPLICATE_ORDER"]
    assert batch([{"id": "a"}, {"id": "a", "price": "99"}]) == ["OK", "DUPLICATE_CLIENT_ID"]
    assert batch(again, account__sent_ms=[99_500] * 9) == ["OK", "RATE_LIMIT"]
    assert batch(again, limits__max_open_orders=1) == ["OK", "MAX_OPEN_ORDERS"]
    assert batch([{}, {"side": "sell", "price": "100"}]) == ["OK", "SELF_TRADE"]
    assert batch(again, account__positions={"X": "48.5"}) == ["OK", "POSITION_LIMIT"]
    assert batch(again, account__gross_notional="19850") == ["OK", "GROSS_LIMIT"]
    assert batch(again, account__net_notional="14850") == ["OK", "NET_LIMIT"]
    assert batch(again, account__free_margin="15") == ["OK", "MARGIN"]
    closing = [{"side": "sell", "price": "101"}, {"side": "sell", "price": "102"}, {"side": "sell", "price": "103"}]
    held = {"account__state": "REDUCING", "account__positions": {"X": "2"}}
    assert batch(closing, **held) == ["OK", "OK", "STATE_REDUCING"]


def test_what_did_not_pass_counts_for_nothing() -> None:
    assert batch([{"price": "100.1"}, {}]) == ["PRICE_TICK", "OK"]
    assert batch([{"kind": "cancel", "target": "w"}] * 20 + [{}], limits__rate_max=1)[-1] == "OK"


def test_a_change_that_passed_moves_the_working_order() -> None:
    bigger = {"kind": "modify", "target": "b0", "qty": "2"}
    held = {"account__positions": {"X": "48"}}
    assert batch([{}, bigger, {"price": "99.5"}], **held) == ["OK", "OK", "POSITION_LIMIT"]


def test_working_orders_shrink_and_leave() -> None:
    it, order = desk(open_orders=[mine("sell", "100", "1", "a"), mine("sell", "105", "1", "b")])
    work(it.book, it.numbers["a"], 0.5, 101.0)
    assert it.answer(order) == "OK"
    work(it.book, it.numbers["a"], 0.0, 0.0)
    work(it.book, 999, 5.0, 100.0)
    assert [float(w["px"]) for w in it.book.working[: it.book.counts[N_WORKING]]] == [100.0, 105.0]


def test_the_rings_keep_the_newest() -> None:
    it, order = desk(limits__rate_max=4096, limits__max_open_orders=4096)
    it.book.sent[:] = 99_999 * MS
    it.book.counts[2] = 10_000
    assert it.answer(order) == "RATE_LIMIT"


def test_rows_have_no_hidden_padding() -> None:
    for dtype in (REQUEST, ACCOUNT, WATCH, WORKING, RECENT):
        assert dtype.itemsize % 8 == 0
        assert sum(dtype[n].itemsize for n in dtype.names or ()) == dtype.itemsize

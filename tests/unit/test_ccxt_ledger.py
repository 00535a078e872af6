"""The ledger of orders at an exchange: what is made of facts that arrive twice, late and in any order."""

from decimal import Decimal

import pytest

from quantai.core.instruments import Instrument
from quantai.core.reports import Refusal
from quantai.core.rows import BUY, POST_ONLY, TIF, Kind, OrderType, Reason
from quantai.venues.ccxt.facts import OrderFact, TradeFact, order_fact
from quantai.venues.ccxt.ledger import Ledger
from quantai.venues.ccxt.order_ids import PLAIN, leg_id
from quantai.venues.venue import CLIENT_ID, VENUE_ID, Ask, Request


def _request(**fields: int) -> Request:
    terms = {"instrument": 0, "side": BUY, "type": OrderType.LIMIT, "tif": TIF.GTC, "flags": 0, "qty_lots": 5,
             "px_ticks": 100_001, "trigger_ticks": 0, "expire_ts": 0}  # fmt: skip
    named = {"client_id": "run-1-0", "order_id": "run-1-0"}
    return Request(ask=Ask.NEW, order=1, request=0, **named, **(terms | fields))


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ({"cancelSource": "31"}, Reason.POST_ONLY),
        ({"cancelType": "UNKNOWN", "rejectReason": "EC_PostOnlyWillTakeLiquidity"}, Reason.POST_ONLY),
        ({"reason": "Post only order"}, Reason.POST_ONLY),
        ({"cancelSource": "1", "rejectReason": "EC_NoError"}, Reason.NONE),
    ],
)
def test_a_post_only_order_that_would_have_traded_says_so(info: dict[str, str], reason: Reason) -> None:
    pair = Instrument.parse("BTC-USDT", venue="OKX")
    ledger = Ledger({"BTC/USDT": pair})
    ledger.follow(_request(flags=POST_ONLY), "BTC/USDT", pair)
    said = {"id": "9", "clientOrderId": "run-1-0", "symbol": "BTC/USDT", "status": "open", "filled": "0"}
    ledger.hear_order(order_fact(said, PLAIN))
    (answer,) = ledger.hear_order(order_fact(said | {"status": "canceled", "info": info}, PLAIN))
    assert (answer.reports["kind"][0], answer.reports["code"][0]) == (Kind.CANCELED, reason)


@pytest.mark.parametrize(("leg", "lots"), [(0, 3), (1, 0)])  # what the legs before it executed is not known yet
def test_an_order_of_an_earlier_life_that_works_is_acknowledged_once(leg: int, lots: int) -> None:
    ledger = Ledger({"BTC/USDT": Instrument.parse("BTC-USDT", venue="OKX", tick="0.5", lot="0.1")})
    said = {"id": "9", "clientOrderId": leg_id("run-1-0", leg), "symbol": "BTC/USDT", "status": "open", "amount": "0.3"}
    ack, terms = ledger.hear_order(order_fact(said | {"price": "50"}, PLAIN), asked_at=0)
    assert ack.reports["kind"].tolist() == [Kind.ACK]
    assert dict(ack.texts) == {CLIENT_ID: "run-1-0", VENUE_ID: "9"}
    assert (terms.reports["kind"].tolist(), terms.reports["qty_lots"].tolist()) == ([Kind.RESTATED], [lots])
    assert dict(terms.texts) == {CLIENT_ID: "run-1-0"}
    assert ledger.hear_order(order_fact(said | {"price": "50"}, PLAIN), asked_at=0) == []


def test_an_order_of_an_earlier_life_that_has_ended_is_not() -> None:
    ledger = Ledger({"BTC/USDT": Instrument.parse("BTC-USDT", venue="OKX")})
    said = {"id": "9", "clientOrderId": "run-1-0", "symbol": "BTC/USDT", "status": "canceled", "filled": "0"}
    kinds = [answer.reports["kind"].tolist() for answer in ledger.hear_order(order_fact(said, PLAIN))]
    assert kinds == [[Kind.CANCELED]]


def test_an_order_that_was_refused_and_works_is_followed_to_its_end() -> None:
    pair = Instrument.parse("BTC-USDT", venue="OKX")
    ledger, request = Ledger({"BTC/USDT": pair}), _request()
    ledger.refuse(ledger.follow(request, "BTC/USDT", pair), request, Refusal.OTHER, "it said so")
    said = {"id": "9", "clientOrderId": "run-1-0", "symbol": "BTC/USDT", "status": "open", "filled": "0"}
    told = [
        [int(answer.reports["kind"][0]) for answer in ledger.hear_order(order_fact(said | {"status": s}, PLAIN))]
        for s in ("open", "open", "canceled")
    ]
    assert told == [[Kind.ACK, Kind.RESTATED], [], [Kind.CANCELED]]


def test_a_leg_that_arrives_once_its_order_was_told_to_have_ended_is_told() -> None:
    pair = Instrument.parse("BTC-USDT", venue="BINANCE", tick="0.5", lot="0.1")
    ledger, terms = Ledger({"BTC/USDT": pair}), {"symbol": "BTC/USDT", "filled": "0", "amount": "1", "price": "50"}
    ledger.follow(_request(), "BTC/USDT", pair)
    said = [
        {"id": "9", "clientOrderId": "run-1-0", "status": "open"},
        {"id": "9", "clientOrderId": "run-1-0", "status": "canceled"},
        {"id": "10", "clientOrderId": "run-1-0_1", "status": "open"},  # of an earlier life, and slow
        {"id": "10", "clientOrderId": "run-1-0_1", "status": "canceled"},
    ]
    told = [
        [int(answer.reports["kind"][0]) for answer in ledger.hear_order(order_fact(one | terms, PLAIN))] for one in said
    ]
    assert told[1:] == [[Kind.CANCELED], [Kind.ACK, Kind.RESTATED], [Kind.CANCELED]]
    assert told[0][0] == Kind.ACK


def _fill(n: int, qty: str, px: str = "100") -> TradeFact:
    return TradeFact(
        trade_id=f"t{n}", venue_id="9", client_id="run-1-0", symbol="BTC/USDT", qty=Decimal(qty), px=Decimal(px),
        is_maker=True, fee=None, fee_currency="", raw={},
    )  # fmt: skip


def test_executions_off_our_grid_are_booked_in_whole_lots_and_said_aloud(caplog: pytest.LogCaptureFixture) -> None:
    pair = Instrument.parse("BTC-USDT", venue="BINANCE", tick="0.5", lot="0.01")
    ledger = Ledger({"BTC/USDT": pair})
    ledger.follow(_request(qty_lots=3, px_ticks=200), "BTC/USDT", pair)
    fills = [_fill(1, "0.004"), _fill(2, "0.011", "99.7"), _fill(3, "0.015")]
    said = [[row for answer in ledger.hear_trade(f) for row in answer.reports.tolist()] for f in fills]
    assert [len(rows) for rows in said] == [0, 1, 1], "no lot is complete with the first"
    told = [a.reports for f in fills for a in ledger.hear_trade(f, again=True)]
    assert [(int(r["qty_lots"][0]), int(r["px_ticks"][0])) for r in told] == [(1, 199), (2, 200)]
    fact = OrderFact(
        venue_id="9", client_id="run-1-0", symbol="BTC/USDT", side=BUY, status="closed", qty=Decimal("0.03"),
        filled=Decimal("0.03"), px=Decimal(100),
    )  # fmt: skip
    ledger.hear_order(fact)
    assert not ledger.unfinished()
    assert caplog.text.count("is not on our grid") == 3


def test_an_execution_of_a_stranger_off_our_grid_stops_nothing() -> None:
    ledger = Ledger({"BTC/USDT": Instrument.parse("BTC-USDT", venue="BINANCE", tick="0.5", lot="0.01")})
    for fact in (_fill(1, "0.004"), _fill(2, "0.025", "99.7")):
        ledger.hear_trade(fact)
    assert [int(answer.reports["qty_lots"][0]) for answer in ledger.strangers()] == [2]

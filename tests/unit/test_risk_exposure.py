"""Limits of exposure from end to end: quotes, fills and working orders valued, and the next order judged by it."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from quantai.core.errors import InputError, UnknownName
from quantai.core.instruments import Instrument, Instruments, Payoff
from quantai.core.rows import BUY, DAY, EVENT, OCO, REDUCE_ONLY, SEC, SELL, Action, Kind, OrderType, zeros
from quantai.execution.controls import Control, control
from quantai.execution.oms import OMS
from quantai.execution.reasons import RiskReason
from quantai.execution.setup import Setup
from quantai.portfolio import Desk
from quantai.portfolio.adjustments import Adjust, adjustment
from tests.unit.oms_setting import Market, limits

BTC = Instrument.parse("BTC-USD", tick="0.5", lot="0.001")
ETH = Instrument.parse("ETH-USD", tick="0.01", lot="0.01")
CROSS = Instrument.parse("ETH-BTC", tick="0.0001", lot="0.01")
INVERSE = Instrument.parse("BTC-USD-PERP", tick="0.5", lot="1", payoff=Payoff.INVERSE)
ADA = Instrument.parse("ADA-USD", tick="0.0001", lot="0.1")


def market(
    *instruments: Instrument, currency: str = "USD", margin: dict[str, str] | None = None, **said: Any
) -> Market:
    return Market(
        Setup(
            desks=(Desk("alpha"), Desk("beta"), Desk("gamma", account="other")),
            instruments=Instruments(list(instruments)),
            limits=limits(**said),
            currency=currency,
            margin={symbol: Decimal(part) for symbol, part in (margin or {}).items()},
            patience_ns=SEC,
        )
    )


def passes(it: Market, **terms: Any) -> str:
    """Ask for an order and return why it was denied, or OK."""
    it.new(**terms)
    assert len(it.step.requests) + len(it.step.events) == 1
    return "OK" if it.step.requests else RiskReason(int(it.step.events["code"][0])).name


def bought(it: Market, lots: int, px_ticks: int, side: int = BUY, **terms: Any) -> None:
    order = it.new(lots=lots, px_ticks=px_ticks, side=side, **terms)
    assert it.step.requests
    it.fill(order, it.seq, lots, px_ticks)


def two(**said: Any) -> Market:
    it = market(BTC, ETH, **said)
    it.quote(0, 99.5, 100.5)
    it.quote(1, 9.5, 10.5)
    return it


def test_gross_counts_holdings_and_working_orders_of_both_instruments() -> None:
    it = two(max_gross=1000)
    bought(it, 4000, 200)  # 4 at 100
    assert passes(it, side=SELL, instrument=1, lots=3000, px_ticks=1000) == "OK"  # 30 at 10
    assert passes(it, lots=3010, px_ticks=200) == "GROSS_LIMIT"
    assert passes(it, lots=3000, px_ticks=200) == "OK"
    assert passes(it, lots=1, px_ticks=200) == "GROSS_LIMIT"
    assert passes(it, desk=2, lots=10_000, px_ticks=200) == "OK"  # the other account's


def test_what_is_marked_higher_counts_for_more() -> None:
    it = two(max_gross=1000)
    bought(it, 5000, 200)
    it.quote(0, 149.5, 150.5)
    assert passes(it, instrument=1, lots=2501, px_ticks=1000) == "GROSS_LIMIT"
    assert passes(it, instrument=1, lots=2500, px_ticks=1000) == "OK"


def test_net_is_not_hidden_by_orders_of_the_other_side() -> None:
    it = two(max_net=1000)
    assert passes(it, lots=10_000, px_ticks=200) == "OK"
    assert passes(it, side=SELL, lots=20_000, px_ticks=200) == "NET_LIMIT"
    assert passes(it, side=SELL, lots=10_000, px_ticks=200) == "OK"
    assert passes(it, lots=1, px_ticks=200) == "NET_LIMIT"
    assert passes(it, instrument=1, side=SELL, lots=10, px_ticks=1000) == "NET_LIMIT"
    assert it.oms.portfolio.standing("main")["net"] == 1000.0


def test_net_lets_out_what_brings_it_nearer_to_nothing() -> None:
    it = two(max_net=1000)
    bought(it, 10_000, 200)
    it.quote(0, 119.5, 120.5)  # net is 1200 by now
    assert passes(it, instrument=1, lots=10, px_ticks=1000) == "NET_LIMIT"
    assert passes(it, instrument=1, side=SELL, lots=10_000, px_ticks=1000) == "OK"


def test_leverage_follows_equity() -> None:
    it = two(max_leverage=2, margin={"BTC-USD": "0.1", "ETH-USD": "0.1"})
    it.see(it.oms.portfolio.deposit(0, -1_999_500.0))  # two desks brought a million each; 500 are left
    assert passes(it, lots=10_010, px_ticks=200) == "LEVERAGE"
    bought(it, 10_000, 200)
    assert passes(it, instrument=1, lots=1, px_ticks=1000) == "LEVERAGE"
    it.quote(0, 109.5, 110.5)  # equity 600, gross 1100
    assert passes(it, instrument=1, lots=1001, px_ticks=1000) == "LEVERAGE"
    assert passes(it, instrument=1, lots=1000, px_ticks=1000) == "OK"


def test_margin_is_a_part_of_what_is_opened() -> None:
    it = market(BTC, INVERSE, margin={"BTC-USD-PERP": "0.1"})
    it.quote(0, 99.5, 100.5)
    it.quote(1, 99.5, 100.5)
    it.see(it.oms.portfolio.deposit(0, -1_999_000.0))
    assert passes(it, instrument=1, lots=10_001, px_ticks=200) == "MARGIN"
    assert passes(it, instrument=1, lots=6000, px_ticks=200) == "OK"
    assert passes(it, lots=4010, px_ticks=200) == "MARGIN"
    assert passes(it, lots=4000, px_ticks=200) == "OK"


CROSSED = [
    ("max_order_notional", "ORDER_NOTIONAL"), ("max_gross", "GROSS_LIMIT"), ("max_net", "NET_LIMIT"),
]  # fmt: skip


@pytest.mark.parametrize(("limit", "reason"), CROSSED)
def test_amounts_in_another_currency_are_converted(limit: str, reason: str) -> None:
    it = market(BTC, CROSS, **{limit: 30_000})
    it.quote(0, 59_999.5, 60_000.5)
    it.quote(1, 0.0499, 0.0501)
    assert passes(it, instrument=1, lots=1001, px_ticks=500) == reason  # 10.01 x 0.05 x 60 000
    assert passes(it, instrument=1, lots=1000, px_ticks=500) == "OK"
    it.quote(0, 29_999.5, 30_000.5)
    if limit == "max_gross":
        assert it.oms.portfolio.standing("main")["gross"] == 15_000.0


def test_leverage_and_margin_in_another_currency() -> None:
    for said, reason in (({"max_leverage": 2}, "LEVERAGE"), ({}, "MARGIN")):
        it = market(BTC, CROSS, **said)
        it.quote(0, 59_999.5, 60_000.5)
        it.quote(1, 0.0499, 0.0501)
        it.see(it.oms.portfolio.deposit(0, -1_970_000.0))  # 30 000 USD are left
        most = 2000 if said else 1000
        if said:
            it.oms.gate.watch["initial_margin"][:] = 0.5
        assert passes(it, instrument=1, lots=most + 1, px_ticks=500) == reason
        assert passes(it, instrument=1, lots=most, px_ticks=500) == "OK"


def test_an_account_in_coin_counts_an_inverse_contract_in_coin() -> None:
    it = market(INVERSE, currency="BTC", max_order_notional=1, max_gross=2, max_net=2)
    it.quote(0, 49_999.5, 50_000.5)
    assert passes(it, lots=50_001, px_ticks=100_000) == "ORDER_NOTIONAL"
    assert passes(it, lots=50_000, px_ticks=100_000) == "OK"
    assert passes(it, lots=50_000, px_ticks=100_000) == "OK"
    assert passes(it, lots=100, px_ticks=100_000) == "GROSS_LIMIT"


def test_an_inverse_contract_counts_its_face_while_its_coin_has_no_rate() -> None:
    it = market(INVERSE, max_gross=20_000, max_order_notional=10_000)
    it.quote(0, 49_999.5, 50_000.5)
    found = [passes(it, lots=10_000, px_ticks=100_000) for _ in range(3)]
    assert found == ["OK", "OK", "GROSS_LIMIT"]
    assert it.oms.portfolio.standing("main")["gross"] == 20_000.0


def test_without_a_rate_nothing_opens() -> None:
    it = market(CROSS)
    it.quote(0, 0.0499, 0.0501)
    assert passes(it, lots=100, px_ticks=500) == "ORDER_NOTIONAL"
    it.see(adjustment(Adjust.RATE, other=it.oms.portfolio.number("BTC"), px=60_000.0))
    assert passes(it, lots=100, px_ticks=500) == "OK"


def test_the_rate_of_the_own_currency_is_one() -> None:
    it = two()
    with pytest.raises(InputError, match="own currency"):
        it.see(adjustment(Adjust.RATE, other=0, px=2.0))
    assert it.oms.portfolio.equity("main") == 2_000_000.0


def test_rivals_that_open_all_count_and_rivals_that_close_count_once() -> None:
    it = two(max_position=2)
    found = [passes(it, lots=2000, px_ticks=190, link=5, flags=OCO) for _ in range(3)]
    assert found == ["OK", "POSITION_LIMIT", "POSITION_LIMIT"]
    it = two(max_position=2)
    bought(it, 2000, 200)
    closing = {"side": SELL, "lots": 2000, "link": 5, "flags": OCO | REDUCE_ONLY}
    assert passes(it, px_ticks=210, **closing) == "OK"
    assert passes(it, px_ticks=0, type=OrderType.STOP, trigger_ticks=150, **closing) == "OK"


@pytest.mark.parametrize("state", [Control.ACTIVE, Control.REDUCING])
def test_the_last_lot_closes_whatever_rounding_has_left_of_it(state: Control) -> None:
    it = market(ADA)
    it.quote(0, 0.9999, 1.0001)
    bought(it, 100_003, 10_000)
    bought(it, 100_002, 10_000, SELL)
    it.see(control(state))
    assert passes(it, side=SELL, lots=2, px_ticks=10_000, flags=REDUCE_ONLY) != "OK"
    assert passes(it, side=SELL, lots=1, px_ticks=10_000, flags=REDUCE_ONLY) == "OK"


def test_lots_of_two_desks_that_offset_each_other_are_whole() -> None:
    it = market(ADA)
    it.quote(0, 0.9999, 1.0001)
    bought(it, 100_003, 10_000)
    bought(it, 100_002, 10_000, SELL, desk=1)
    assert it.oms.gate.watch["position"][0, 0] == 0.1


def test_a_resting_order_is_not_repriced_to_the_market_once_nothing_may_open() -> None:
    for trip in (Control.REDUCING, None):
        it = two(max_day_loss=100)
        resting = it.new(lots=10_000, px_ticks=100)
        it.hear(resting, Kind.ACK)
        if trip:
            it.see(control(trip))
        else:
            bought(it, 10_000, 200)
            it.quote(0, 79.5, 80.5)
        reason = RiskReason.STATE_REDUCING if trip else RiskReason.LOSS_LIMIT
        assert it.ask(Action.REPLACE, resting, px_ticks=161).events["code"].tolist() == [reason]
        assert it.ask(Action.REPLACE, resting, px_ticks=99).requests


def test_a_future_ends_and_a_session_closes() -> None:
    old = market(Instrument.parse("BTC-USD-20200101", tick="0.5", lot="0.001"))
    old.quote(0, 99.5, 100.5)
    assert passes(old) == "INSTRUMENT_NOT_TRADABLE"
    it = market(Instrument.parse("SPY"))
    friday = int(dt.datetime(2023, 11, 17, 14, 30, tzinfo=dt.UTC).timestamp()) * SEC  # the opening in New York
    found: list[str] = []
    for ts in (friday - 1, friday, friday + 23_400 * SEC, friday + 23_400 * SEC + 1, friday + 2 * DAY):
        it.ts = ts
        it.quote(0, 99.5, 100.5)
        found.append(passes(it, lots=1, px_ticks=10_000))
    assert found == ["SESSION_CLOSED", "OK", "OK", "SESSION_CLOSED", "SESSION_CLOSED"]
    it.ts = friday + 3 * DAY  # Monday
    it.quote(0, 99.5, 100.5)
    it.see(control(Control.CLOSED))
    assert passes(it, lots=1, px_ticks=10_000) == "SESSION_CLOSED"  # somebody says so, whatever the calendar
    it.see(control(Control.OPEN))
    assert passes(it, lots=1, px_ticks=10_000) == "OK"
    again = OMS.restored(it.oms.snapshot(), it.setup)
    assert again.snapshot() == it.oms.snapshot()


def test_a_calendar_that_is_none_is_noticed_at_the_start() -> None:
    with pytest.raises(UnknownName, match="exchange calendar"):
        market(Instrument.parse("SPY", calendar="NYSE-2"))


def quote(it: Market, side: int, px: float) -> None:
    row = zeros(1, EVENT)
    row["kind"], row["side"], row["px"] = Kind.QUOTE, side, px
    it.see(row)


def test_a_side_that_is_gone_or_old_is_no_quote() -> None:
    it = two(max_quote_age_ms=500)
    quote(it, 1, float("nan"))
    quote(it, -1, 100.5)
    assert passes(it) == "STALE_QUOTE"
    it.quote(0, 99.5, 100.5)
    assert passes(it) == "OK"
    it.ts += 3600 * SEC
    quote(it, -1, 100.5)
    assert passes(it, side=SELL, type=OrderType.MARKET, px_ticks=0) == "STALE_QUOTE"


def test_the_reject_ratio_counts_each_answer_once_and_ends_with_a_decision() -> None:
    it = two(max_reject_ratio="0.5", reject_min_requests=10)
    for _ in range(9):
        it.hear(it.new(), Kind.REJECT)
    taken = it.new()
    for _ in range(20):
        it.hear(taken, Kind.ACK)
    it.hear(taken, Kind.REPLACED)  # of no request of ours
    assert passes(it) == "REJECT_RATIO"
    it.pass_time(30 * DAY)
    it.quote(0, 99.5, 100.5)
    assert passes(it) == "REJECT_RATIO"
    it.see(control(Control.ACTIVE, account=1))
    assert passes(it) == "REJECT_RATIO"
    it.see(control(Control.ACTIVE, account=0))
    assert passes(it) == "OK"


def test_a_reject_ratio_that_could_never_trip_is_refused() -> None:
    assert limits(reject_min_requests=64).reject_min_requests == 64
    with pytest.raises(InputError, match="above 64"):
        limits(reject_min_requests=65)


def test_a_price_of_nothing_is_no_quote() -> None:
    it = market(BTC, max_order_notional=1000)
    it.quote(0, 99.5, 0.0)
    assert passes(it, type=OrderType.MARKET, px_ticks=0, lots=10**6) == "STALE_QUOTE"
    it.quote(0, 99.5, 100.5)
    assert passes(it, type=OrderType.MARKET, px_ticks=0, lots=10**6) == "ORDER_NOTIONAL"

"""Adjustments that nobody can mean are refused; fees go with their execution; funding is booked once."""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from quantai.core.errors import InputError, UnknownName
from quantai.core.instruments import Instrument, Instruments, Payoff
from quantai.core.rows import BUY, EVENT, HOUR, Kind, Rows, zeros
from quantai.execution.limits import Limits
from quantai.execution.oms import OMS
from quantai.execution.setup import Setup
from quantai.portfolio import Adjust, Desk, Portfolio, adjustment
from quantai.portfolio.state import arrays
from quantai.portfolio.statement import Execution, statement
from tests.unit.oms_setting import Market

SPOT, PERP, COIN, STOCK, PUT, FUTURE, OIL_CALL, OIL, OTHER, COIN_CALL = range(10)
T0 = 20_000 * 24 * HOUR


def table() -> Instruments:
    return Instruments(
        [
            Instrument.parse("BTC-USD", tick="0.5", lot="0.001"),
            Instrument.parse("BTC-USD-PERP", venue="X", tick="0.5", lot="0.001"),
            Instrument.parse("BTC-USD-PERP", venue="Y", payoff=Payoff.INVERSE, settle="BTC", lot="1"),
            Instrument.parse("SPY", tick="0.01"),
            Instrument.parse("SPY-USD-20270326-400-P", multiplier=100, tick="0.01"),
            Instrument.parse("ES-USD-20270326", multiplier=50, tick="0.25"),
            Instrument.parse("ES-USD-20270326-5000-C", multiplier=50, tick="0.25"),
            Instrument.parse("CL-USD-20270326", multiplier=1000, tick="0.01"),
            Instrument.parse("AAPL", tick="0.01"),
            Instrument.parse("BTC-USD-20270326-50000-C", payoff=Payoff.INVERSE, settle="BTC", tick="0.0001"),
        ]
    )


def portfolio() -> Portfolio:
    return Portfolio([Desk("a")], table(), "USD")


def adjust(p: Portfolio, what: Adjust, seq: int = 1, **fields: float) -> None:
    row = adjustment(what, **({"ts": T0} | fields))
    row["seq"] = seq
    p.adjust(row[0])


CANNOT: dict[str, tuple[Adjust, dict[str, float], str]] = {
    "a rate of our own currency": (Adjust.RATE, {"other": 0, "px": 2.0}, "own currency"),
    "funding of spot": (Adjust.FUNDING, {"instrument": SPOT, "qty": 7.0}, "spot, and only a perpetual"),
    "funding without an instant": (Adjust.FUNDING, {"instrument": PERP, "qty": 7.0, "ts": 0}, "pass ts"),
    "a dividend of a perpetual": (Adjust.DIVIDEND, {"instrument": PERP, "px": 5.0}, "only an equity"),
    "a negative dividend": (Adjust.DIVIDEND, {"instrument": STOCK, "px": -5.0}, "a price of -5.0"),
    "a split of spot": (Adjust.SPLIT, {"instrument": SPOT, "px": 2.0}, "only an equity"),
    "a variation of spot": (Adjust.VARIATION, {"instrument": SPOT, "px": 50.0}, "only a future"),
    "settlement of an equity": (Adjust.SETTLE, {"instrument": STOCK, "px": 1.0}, "only a future"),
    "settlement of a perpetual": (Adjust.SETTLE, {"instrument": PERP, "px": 1.0}, "only a future"),
    "settlement at nothing": (Adjust.SETTLE, {"instrument": FUTURE}, "a price of 0.0"),
    "expiry at a negative price": (Adjust.EXPIRE, {"instrument": PUT, "px": -1.0}, "a price of -1.0"),
    "expiry of a future": (Adjust.EXPIRE, {"instrument": FUTURE, "px": 1.0}, "only an option"),
    "exercise of more than is held": (Adjust.EXERCISE, {"instrument": PUT, "other": STOCK, "qty": 5.0}, "holds 1 of"),
    "exercise of nothing": (Adjust.EXERCISE, {"instrument": PUT, "other": STOCK}, "holds 1 of"),
    "assignment of a holder": (Adjust.EXERCISE, {"instrument": PUT, "other": STOCK, "qty": -1.0}, "holds 1 of"),
    "exercise of what nobody holds": (
        Adjust.EXERCISE, {"instrument": OIL_CALL, "other": FUTURE, "qty": 1.0}, "holds 0 of",
    ),
    "exercise into another share": (Adjust.EXERCISE, {"instrument": PUT, "other": OTHER, "qty": 1.0}, "become AAPL"),
    "exercise into itself": (Adjust.EXERCISE, {"instrument": PUT, "other": PUT, "qty": 1.0}, "does not become"),
    "exercise of what pays in coin": (
        Adjust.EXERCISE, {"instrument": COIN_CALL, "other": SPOT, "qty": 1.0}, "book EXPIRE",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CANNOT)
def test_an_adjustment_that_nobody_can_mean_changes_nothing(case: str) -> None:
    what, fields, why = CANNOT[case]
    p = portfolio()
    for i, px in ((SPOT, 100.0), (PERP, 100.0), (STOCK, 400.0), (PUT, 2.0), (FUTURE, 5000.0)):
        p.fill(0, i, BUY, 1.0, px)
    before = {name: part.tobytes() for name, part in arrays(p).items()}
    with pytest.raises(InputError, match=why):
        adjust(p, what, **fields)
    assert {name: part.tobytes() for name, part in arrays(p).items()} == before


def test_a_future_can_settle_below_zero() -> None:
    p = portfolio()
    p.fill(0, OIL, BUY, 1.0, 10.0)
    adjust(p, Adjust.SETTLE, instrument=OIL, px=-37.63)
    assert p.cash("main") == {"USD": (-37.63 - 10.0) * 1000}


def test_an_option_on_a_future_becomes_one_future() -> None:
    p = portfolio()
    p.fill(0, OIL_CALL, BUY, 2.0, 10.0)
    adjust(p, Adjust.EXERCISE, seq=2, instrument=OIL_CALL, other=FUTURE, qty=1.0)
    assert p.books.positions["qty"][0, [OIL_CALL, FUTURE]].tolist() == [1.0, 1.0]
    assert p.books.positions["cost"][0, FUTURE] == 5000.0 * 50
    books = statement(p.instruments, p.currencies, [Execution(1, 0, OIL_CALL, "1", 1, 2, 40)], p.adjustments)
    assert (books[0, FUTURE].qty, books[0, FUTURE].cost) == (1, 250_000)


def test_funding_is_booked_once_for_each_boundary_also_a_late_one() -> None:
    p = portfolio()
    p.fill(0, PERP, BUY, 2.0, 100.0)
    for seq, ts in ((1, T0 + 8 * HOUR), (2, T0 + 8 * HOUR), (3, T0), (4, T0)):  # repeated, then told late, then again
        adjust(p, Adjust.FUNDING, seq=seq, instrument=PERP, qty=-1.5, ts=ts)
    assert p.books.positions["funding"][0, PERP] == -3.0
    again = portfolio()
    again.take_over(arrays(p)["adjustments"])
    adjust(again, Adjust.FUNDING, seq=5, instrument=PERP, qty=-1.5)
    assert again.books.positions["funding"][0, PERP] == 0.0  # it knows of it
    p.rebuild(0, PERP, [(1, BUY, 2.0, 100.0)])
    assert p.books.positions["funding"][0, PERP] == -3.0


@pytest.mark.parametrize(
    ("desk", "instrument", "side", "units", "px"),
    [(0, 99, 1, 1.0, 1.0), (1, 0, 1, 1.0, 1.0), (0, -1, 1, 1.0, 1.0), (0, 0, 3, 1.0, 1.0), (0, 0, 1, 0.0, 1.0),
     (0, 0, 1, -1.0, 1.0), (0, 0, 1, math.nan, 1.0), (0, 0, 1, 1.0, math.nan), (0, COIN, 1, 1.0, 0.0)],
)  # fmt: skip
def test_what_is_no_execution_is_refused(desk: int, instrument: int, side: int, units: float, px: float) -> None:
    p = portfolio()
    with pytest.raises(InputError):
        p.fill(desk, instrument, side, units, px)
    assert p.cash("main") == {}


def test_names_and_margins_that_cannot_be_are_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean 'strategy'"):
        portfolio().positions("stratgy")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="run"):
        Desk("")
    with pytest.raises(InputError, match="account"):
        Desk("a", account="")
    for part in ("-1", "0", "NaN", "Infinity"):
        with pytest.raises(InputError, match="margin of SPY"):
            Portfolio([Desk("a")], table(), "USD", {"SPY": Decimal(part)})
    with pytest.raises(InputError, match="currency"):
        Portfolio([Desk("a")], table(), "")


def report_fill(market: Market, order: int, fee: str, **fields: int) -> None:
    """An execution as the journal has it: its number, and what was paid for it beside it."""
    event = zeros(1, EVENT)
    event["kind"], event["seq"], event["aux"] = Kind.FILL, market.oms.seq + 1, order
    event["ts_recv"] = market.oms.ts
    market.oms.process(event[0])
    row = market.oms.flow.report(order, Kind.FILL, **({"qty_lots": 1000, "px_ticks": 200} | fields))
    market.oms.process(row[0], fee)


@pytest.mark.parametrize("currency", ["USDT", "BTC"])
def test_a_fee_is_booked_with_its_execution_and_goes_with_it(currency: str) -> None:
    market = Market()
    p, paid = market.oms.portfolio, f"0.001 {currency}"
    order = market.new()
    before = p.cash("main")
    report_fill(market, order, paid, exec=1)
    assert p.books.positions["fees"][0, 0] == (0.001 if currency == "USDT" else 0.1)
    once = market.oms.snapshot()
    report_fill(market, order, paid, exec=1)  # the venue says it again
    assert p.books.positions["fees"][0, 0] == (0.001 if currency == "USDT" else 0.1)
    assert len(once) == len(market.oms.snapshot())
    market.hear(order, Kind.TRADE_CORRECT, exec=2, ref=1, qty_lots=500, px_ticks=200)
    assert p.books.positions["fees"][0, 0] == (0.001 if currency == "USDT" else 0.1)
    market.hear(order, Kind.TRADE_CANCEL, exec=3, ref=2)
    assert p.books.positions["qty"][0, 0] == p.books.positions["fees"][0, 0] == 0.0
    assert p.cash("main") == before


def test_a_fee_in_a_third_currency_goes_and_stays_away_with_its_execution() -> None:
    instruments = Instruments([Instrument.parse("BTC-USDT", tick="0.5", lot="0.001"), Instrument.parse("BNB-USDT")])
    p = Portfolio([Desk("a")], instruments, "USDT")
    row = adjustment(Adjust.FEE, other=p.number("BNB"), qty=0.25, px=100.0, ts=T0)
    row["seq"] = 1
    p.fill(0, 0, BUY, 1.0, 100.0)
    p.pay(row[0])
    assert p.cash("main") == {"USDT": -100.0, "BNB": -0.25}
    for fills, cash in (([], {}), ([], {}), ([(1, BUY, 1.0, 100.0)], {"USDT": -100.0, "BNB": -0.25})):
        p.rebuild(0, 0, fills)
        assert p.cash("main") == cash
    book = statement(instruments, p.currencies, [Execution(1, 0, 0, "1", 1, 1000, 200)], p.adjustments)[0, 0]
    assert book.fees == {"BNB": Fraction(1, 4)}


def test_a_fee_of_an_execution_that_was_busted_before_it_came_is_not_booked() -> None:
    market = Market()
    order = market.new()
    before = market.oms.portfolio.cash("main")
    market.hear(order, Kind.TRADE_CANCEL, exec=2, ref=1)
    report_fill(market, order, "0.1 USDT", exec=1)
    assert market.oms.portfolio.cash("main") == before


def spot_and_oil() -> tuple[OMS, Any]:
    instruments = Instruments([Instrument.parse("SPY", tick="0.01"), Instrument.parse("CL-USD-20270326", tick="0.01")])
    oms = OMS(Setup(desks=(Desk("a"),), instruments=instruments, limits=Limits.example()))
    return oms, instruments


@pytest.mark.parametrize(("instrument", "ticks", "refused"), [(0, -200, True), (0, 0, True), (1, -3763, False)])
def test_an_execution_at_a_price_that_cannot_be_is_refused(instrument: int, ticks: int, *, refused: bool) -> None:
    oms, _ = spot_and_oil()
    slot = oms.table.enter(_intent(instrument), 0)
    assert slot == 0
    row = oms.flow.report(1, Kind.FILL, exec=1, qty_lots=1, px_ticks=ticks)
    if refused:
        with pytest.raises(InputError, match=f"at {ticks} ticks"):
            oms.check_reports(row)
    else:
        oms.check_reports(row)


def _intent(instrument: int) -> Any:
    from quantai.core.rows import INTENT, Action, OrderType

    rows: Rows = zeros(1, INTENT)
    rows["order"], rows["action"], rows["type"], rows["side"] = 1, Action.NEW, OrderType.MARKET, BUY
    rows["qty_lots"], rows["instrument"] = 1, instrument
    return rows[0]

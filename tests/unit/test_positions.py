"""Positions and the exact ledger: the pack, the rules one by one, what is refused."""

import json
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from quantai.core import positions
from quantai.core.errors import InputError
from quantai.core.instruments import Instrument, Payoff, Right
from quantai.core.positions import POSITION
from quantai.core.rows import BUY, SELL, zeros
from quantai.core.wide import rounded
from quantai.portfolio.contracts import exact
from quantai.portfolio.ledger import Ledger
from tests.conformance import positions as adapter

PACK = json.loads((Path(__file__).parent.parent / "conformance" / "positions.json").read_text())["cases"]


@pytest.mark.parametrize("case", [pytest.param(c, id=c["id"]) for c in PACK])
def test_history(case: dict[str, Any]) -> None:
    assert adapter.run(case) == []


def test_the_adapter_sees_a_wrong_answer() -> None:
    case = json.loads(json.dumps(PACK[0]))
    case["expect"]["realised"] = "15.000000000001"
    assert adapter.run(case) == ["end: realised is 15.000000000000, expected 15.000000000001"]


def inverse(**fields: Any) -> Instrument:
    return Instrument.parse("BTC-USD-PERP", payoff=Payoff.INVERSE, **fields)


def test_inverse_entry_prices_are_not_averaged_arithmetically() -> None:
    book = Ledger(inverse())
    book.fill("1", BUY, 10_000, 50_000)
    book.fill("2", BUY, 10_000, 25_000)
    assert rounded(book.unrealised(30_000)) == Decimal("-0.066666666667")
    assert book.avg_entry() == Fraction(100_000, 3)


def test_dust_of_binary_fractions_is_not_a_position() -> None:
    row, position = Instrument.parse("BTC-USDT").row()[0], zeros(1, POSITION)
    for qty in (0.1, 0.2):
        positions.fill(position[0], row, BUY, qty, 100.0, 0.0, 0.0)
    positions.fill(position[0], row, SELL, 0.3, 110.0, 0.0, 0.0)
    assert (position["qty"][0], position["cost"][0], position["turnover"][0]) == (0, 0, 0)
    assert math.isclose(position["realised"][0], 3.0, rel_tol=1e-12)
    assert math.isnan(positions.avg_entry(position[0], row))


def test_one_lot_of_a_large_position_is_a_position() -> None:
    row, position = Instrument.parse("BTC-USDT").row()[0], zeros(1, POSITION)
    positions.fill(position[0], row, BUY, 1e9, 1.0, 0.0, 0.0)
    positions.fill(position[0], row, SELL, 1e9 - 0.001, 1.0, 0.0, 0.0)
    assert math.isclose(position["qty"][0], 0.001, rel_tol=1e-3)


def test_a_base_fee_on_a_short_holding_is_borrowed_too() -> None:
    book = Ledger(Instrument.parse("BTC-USDT"))
    book.fill("1", SELL, 1, 100, {"BTC": "0.01"})
    assert (book.qty, book.realised, book.avg_entry()) == (Fraction(-101, 100), 0, 100)


def test_a_rebate_in_base_adds_to_the_holding_at_the_fill_price() -> None:
    book = Ledger(Instrument.parse("BTC-USDT"))
    book.fill("1", BUY, 1, 100, {"BTC": "-0.01"})
    assert (book.qty, book.cost, book.fees) == (Fraction(101, 100), 101, {"BTC": Fraction(-1, 100)})


def test_a_base_fee_of_a_perpetual_does_not_touch_the_position() -> None:
    book = Ledger(Instrument.parse("BTC-USDT-PERP"))
    book.fill("1", BUY, 1, 100, {"BTC": "0.01"})
    assert book.qty == 1


def test_funding_pays_each_boundary_once_in_both_books() -> None:
    instrument = Instrument.parse("BTC-USDT-PERP")
    book, position, row = Ledger(instrument), zeros(1, POSITION), instrument.row()[0]
    book.fill("1", SELL, 2, 100)
    positions.fill(position[0], row, SELL, 2.0, 100.0, 0.0, 0.0)
    paid = [(book.fund(ts, "0.01", 50), positions.fund(position[0], row, ts, 0.01, 50.0)) for ts in (0, 0, 8, 0)]
    assert paid == [(True, True), (False, False), (True, True), (False, False)]
    assert (book.funding, position["funding"][0]) == (2, 2.0)


def test_an_option_expires_by_its_own_terms() -> None:
    put = Instrument.parse("BTC-USD-20270326-50000-P", payoff=Payoff.INVERSE)
    book, position = Ledger(put), zeros(1, POSITION)
    book.fill("1", BUY, 2, "0.05")
    positions.fill(position[0], put.row()[0], BUY, 2.0, 0.05, 0.0, 0.0)
    book.expire(40_000)
    positions.expire(position[0], put.row()[0], 40_000.0)
    assert book.realised == Fraction(2 * 10_000, 40_000) - Fraction(1, 10)
    assert math.isclose(position["realised"][0], 0.4)


@pytest.mark.parametrize(
    ("does", "says"),
    [
        (lambda b: b.fill("1", BUY, 0, 100), "say the direction with side"),
        (lambda b: b.fill("1", BUY, 1, 0), "no value at price 0"),
        (lambda b: b.fill("1", BUY, 1, 0.1), "write the decimal as a string"),
        (lambda b: b.fill("1", BUY, "nan", 100), "not a finite number"),
        (lambda b: b.fill("1", BUY, Decimal("inf"), 100), "not a finite number"),
        (lambda b: b.fill("1", BUY, 1, 100, {"BTC": "much"}), "not a finite number"),
        (lambda b: b.expire(100), "only an option expires"),
    ],
)
def test_what_cannot_be_booked_changes_nothing(does: Any, says: str) -> None:
    book = Ledger(inverse())
    with pytest.raises(InputError, match=says):
        does(book)
    assert (book.qty, book.fees) == (0, {})
    assert book.fill("1", BUY, 1, 100)


def test_exact_reads_decimals_not_floats() -> None:
    assert [exact(x) for x in ("0.1", Decimal("0.1"), 1, Fraction(1, 3))] == [
        Fraction(1, 10),
        Fraction(1, 10),
        1,
        Fraction(1, 3),
    ]


def test_the_row_has_no_hidden_padding() -> None:
    assert POSITION.itemsize == sum(POSITION[n].itemsize for n in POSITION.names or ()) == 64


def test_rights() -> None:
    call = Ledger(Instrument.parse("SPY-USD-20270326-100-C", multiplier=100))
    call.fill("1", SELL, 1, 5)
    call.expire(130, strike=120, right=Right.CALL)
    assert call.realised == 500 - 1000

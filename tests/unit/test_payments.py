"""Funding of an account is shared among its desks once, however often and whenever it is told."""

from decimal import Decimal

import pytest

from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import Rows
from quantai.execution.oms import OMS
from quantai.execution.payments import funding_rows
from quantai.execution.setup import Setup
from quantai.portfolio import Desk
from quantai.venues.venue import Payment
from tests.unit.oms_setting import START, limits

PERP = Instrument.parse("BTC-USDT-PERP", venue="X", tick="0.1", lot="0.001")
PAID = Payment(symbol="BTC-USDT-PERP", amount=Decimal(-10), ts=START)


class Account:
    """Two desks of one account, and the rows they were given."""

    def __init__(self) -> None:
        desks = (Desk("a", "s", "one"), Desk("b", "s", "one"))
        self.oms = OMS(Setup(desks=desks, instruments=Instruments([PERP]), limits=limits(), currency="USDT"))
        self.seq = 0
        self.take(self.oms.portfolio.deposit(0, 1000.0))

    def take(self, row: Rows) -> None:
        self.seq += 1
        row["seq"] = self.seq
        self.oms.process(row[0])

    def hold(self, desk: int, qty: float) -> None:
        self.oms.portfolio.fill(desk, 0, 1 if qty > 0 else -1, abs(qty), 100.0)

    def hear(self, paid: Payment = PAID) -> list[Rows]:
        rows = funding_rows(self.oms, "X", paid, START)
        for row in rows:
            self.take(row)
        return rows

    @property
    def funding(self) -> list[float]:
        return self.oms.portfolio.books.positions["funding"][:, 0].tolist()


def test_a_payment_told_again_when_another_desk_holds_it_changes_nothing() -> None:
    account = Account()
    account.hold(1, 1.0)
    account.hear()
    assert account.funding == [0.0, -10.0]
    account.hold(0, 3.0)
    assert account.hear() == []
    account.hold(1, -1.0)
    assert account.hear() == []
    assert account.funding == [0.0, -10.0]


def test_a_payment_for_what_nobody_holds_any_more_is_not_taken_twice() -> None:
    account = Account()
    account.hold(1, 1.0)
    account.hear()
    account.hold(1, -1.0)
    assert account.hear() == []
    later = Payment(symbol="BTC-USDT-PERP", amount=Decimal(2), ts=START + 1)
    account.hear(later)
    assert account.funding == [2.0, -10.0]


def test_what_a_crash_left_of_a_payment_is_booked_later() -> None:
    account = Account()
    account.hold(0, 3.0)
    account.hold(1, 1.0)
    first, _ = funding_rows(account.oms, "X", PAID, START)
    account.take(first)  # and killed before the second
    account.hold(1, 4.0)
    (rest,) = account.hear()
    assert float(rest["qty"][0]) == pytest.approx(-2.5)
    assert sum(account.funding) == pytest.approx(-10.0)
    assert account.hear() == []


def test_desks_that_hold_the_two_sides_share_no_payment_by_what_rounding_leaves() -> None:
    account = Account()
    account.hold(0, 0.1)
    account.hold(0, 0.2)
    account.hold(1, -0.3)
    account.hear()
    assert account.funding == [-10.0, 0.0]

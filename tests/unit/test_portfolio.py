"""The portfolio: money in several currencies, splits, dividends, settlement, exercise and expiry, value at risk."""

import math
from decimal import Decimal

import numpy as np
import pytest

from quantai.core.errors import InputError, UnknownName
from quantai.core.instruments import Instrument, Instruments, Payoff
from quantai.core.rows import DAY, HOUR, Rows
from quantai.portfolio import Adjust, Desk, Portfolio, adjustment, order_number
from quantai.portfolio.adjustments import parties
from quantai.portfolio.state import DTYPES, arrays, load
from quantai.portfolio.statement import Execution, statement
from quantai.portfolio.var import expected_shortfall, historical_var, parametric_var

SPY, BTC, PERP, INVERSE, CALL, FUTURE = range(6)
T0 = 20_000 * DAY


def table() -> Instruments:
    return Instruments(
        [
            Instrument.parse("SPY"),
            Instrument.parse("BTC-USD", tick="0.01", lot="0.0001"),
            Instrument.parse("ETH-USDT-PERP", tick="0.01", lot="0.01"),
            Instrument.parse("BTC-USD-PERP", payoff=Payoff.INVERSE, tick="0.5", lot="1"),
            Instrument.parse("SPY-USD-20270115-500-C", multiplier=100, tick="0.01", lot="1"),
            Instrument.parse("ES-USD-20270319", multiplier=50, tick="0.25", lot="1"),
        ]
    )


class Books:
    """A portfolio of two desks in two accounts, and everything that was done to it."""

    def __init__(self) -> None:
        desks = (Desk("a", "carry", "main"), Desk("b", "trend", "other"))
        self.p = Portfolio(desks, table(), "USD", {"ETH-USDT-PERP": Decimal("0.1")})
        self.seq, self.fills, self.adjusted = 0, list[Execution](), list[Rows]()

    def fill(self, desk: int, i: int, side: int, lots: int, ticks: int) -> None:
        self.seq += 1
        self.fills.append(Execution(self.seq, desk, i, str(self.seq), side, lots, ticks))
        instrument = self.p.instruments[i]
        self.p.fill(desk, i, side, instrument.qty(lots), instrument.price(ticks))

    def adjust(self, what: Adjust, **fields: float) -> None:
        self.seq += 1
        row = adjustment(what, **({"ts": T0} | fields))
        row["seq"] = self.seq
        self.adjusted.append(row)
        self.p.adjust(row[0])

    def check_exact(self) -> None:
        """The exact books of the same rows say the same."""
        for (desk, i), ledger in statement(self.p.instruments, self.p.currencies, self.fills, self.adjusted).items():
            position = self.p.books.positions[desk, i]
            for name in ("qty", "cost", "realised", "funding"):
                assert math.isclose(position[name], float(getattr(ledger, name)), rel_tol=1e-9, abs_tol=1e-9), name


def test_money_in_currencies_is_converted_at_stamped_rates() -> None:
    books = Books()
    p = books.p
    books.adjust(Adjust.DEPOSIT, other=p.number("USD"), qty=1000.0)
    books.adjust(Adjust.DEPOSIT, other=p.number("USDT"), qty=500.0)
    assert p.equity("main") == 0.0  # 500 of something nobody has priced: worth nothing rather than guessed
    assert p.books.standings["unconverted"][0] == 1
    books.adjust(Adjust.RATE, other=p.number("USDT"), px=0.998, ts=T0 + 5)
    assert p.equity("main") == 1499.0
    assert p.rates()["USDT"] == (0.998, T0 + 5)
    assert p.cash("main") == {"USD": 1000.0, "USDT": 500.0}
    assert p.cash("other") == {}
    books.adjust(Adjust.DEPOSIT, other=p.number("BTC"), qty=2.0)
    p.mark(BTC, 50_000.0, T0 + 9)  # the mark of spot in the portfolio's currency is a rate
    assert p.rates()["BTC"] == (50_000.0, T0 + 9)
    assert p.equity("main") == 101_499.0
    with pytest.raises(UnknownName, match="unknown currency 'EUR'"):
        p.number("EUR")
    with pytest.raises(UnknownName, match="unknown account"):
        p.cash("nobody")


def test_what_is_bought_with_money_leaves_the_cash_and_a_margined_position_does_not() -> None:
    books = Books()
    p = books.p
    books.adjust(Adjust.DEPOSIT, other=0, qty=100_000.0)
    books.adjust(Adjust.RATE, other=p.number("USDT"), px=1.0)
    books.fill(0, SPY, 1, 100, 50_000)
    books.fill(0, PERP, 1, 1000, 200_000)
    p.mark(SPY, 510.0, T0)
    p.mark(PERP, 2_010.0, T0)
    assert p.cash("main") == {"USD": 50_000.0}
    assert p.equity("main") == 50_000.0 + 51_000.0 + 100.0
    standing = p.standing("main")
    assert (standing["gross"], standing["net"]) == (51_000.0 + 20_100.0, 51_000.0 + 20_100.0)
    assert standing["margin"] == 51_000.0 + 2_010.0
    books.fill(0, SPY, -1, 50, 52_000)
    assert p.cash("main") == {"USD": 76_000.0}
    books.check_exact()


def test_fees_in_settlement_base_and_third_currencies() -> None:
    books = Books()
    p = books.p
    books.adjust(Adjust.DEPOSIT, other=0, qty=1000.0)
    books.fill(0, BTC, 1, 10_000, 10_000)
    p.mark(BTC, 100.0, T0)
    books.adjust(Adjust.FEE, instrument=BTC, other=p.number("USD"), qty=0.5, px=100.0)
    books.adjust(Adjust.FEE, instrument=BTC, other=p.number("BTC"), qty=0.001, px=100.0)
    books.adjust(Adjust.FEE, instrument=BTC, other=p.number("USDT"), qty=0.25)
    books.adjust(Adjust.RATE, other=p.number("USDT"), px=1.0)
    assert p.books.positions["qty"][0, BTC] == 0.999
    assert p.cash("main") == {"USD": 899.5, "USDT": -0.25}
    assert math.isclose(p.equity("main"), 1000.0 - 0.5 - 0.1 - 0.25)
    books.check_exact()


def test_splits_and_dividends() -> None:
    books = Books()
    p = books.p
    books.fill(0, SPY, 1, 100, 40_000)
    books.fill(1, SPY, -1, 10, 40_000)
    p.mark(SPY, 400.0, T0)
    before = p.equity("main"), p.equity("other")
    books.adjust(Adjust.SPLIT, instrument=SPY, px=4.0)
    assert p.books.positions["qty"][:, SPY].tolist() == [400.0, -40.0]
    assert (p.equity("main"), p.equity("other")) == before
    books.adjust(Adjust.DIVIDEND, instrument=SPY, px=0.5)
    assert p.cash("main")["USD"] == -40_000.0 + 200.0
    assert p.cash("other")["USD"] == 4_000.0 - 20.0
    books.fill(0, SPY, -1, 400, 10_500)
    assert p.positions("desk")["a"]["SPY"]["realised"] == 400 * 105.0 - 40_000.0
    books.check_exact()
    with pytest.raises(InputError, match=r"a price of 0\.0 cannot be"):
        p.adjust(adjustment(Adjust.SPLIT, instrument=SPY, px=0.0)[0])


def test_futures_settle_daily_and_finally() -> None:
    books = Books()
    books.fill(0, FUTURE, 1, 2, 20_000)
    books.adjust(Adjust.VARIATION, instrument=FUTURE, px=5_010.0)
    assert books.p.cash("main") == {"USD": 1000.0}
    books.adjust(Adjust.SETTLE, instrument=FUTURE, px=5_005.0)
    assert books.p.cash("main") == {"USD": 500.0}
    assert books.p.books.positions["qty"][0, FUTURE] == 0.0
    books.check_exact()


def test_options_expire_and_are_exercised() -> None:
    books = Books()
    books.fill(0, CALL, 1, 3, 1_000)  # three contracts at 10.00
    books.adjust(Adjust.EXERCISE, instrument=CALL, other=SPY, qty=2.0)
    positions = books.p.positions("desk")["a"]
    assert positions["SPY-USD-20270115-500-C"]["qty"] == 1.0
    assert positions["SPY-USD-20270115-500-C"]["realised"] == -2_000.0
    assert (positions["SPY"]["qty"], positions["SPY"]["cost"]) == (200.0, 100_000.0)
    books.adjust(Adjust.EXPIRE, instrument=CALL, px=512.0)
    assert books.p.positions("desk")["a"]["SPY-USD-20270115-500-C"]["realised"] == -3_000.0 + 1_200.0
    books.fill(1, CALL, -1, 1, 900)  # a writer is assigned: the shares are sold at the strike
    books.adjust(Adjust.EXERCISE, desk=1, instrument=CALL, other=SPY, qty=-1.0)
    other = books.p.positions("desk")["b"]
    assert (other["SPY"]["qty"], other["SPY-USD-20270115-500-C"]["realised"]) == (-100.0, 900.0)
    books.check_exact()
    with pytest.raises(InputError, match="SPY has none: it is an equity, and only an option has"):
        books.p.adjust(adjustment(Adjust.EXERCISE, instrument=SPY, other=SPY, qty=1.0)[0])


def test_a_rebuilt_position_is_the_one_that_was_booked() -> None:
    books = Books()
    p = books.p
    books.fill(0, SPY, 1, 100, 40_000)
    books.adjust(Adjust.FEE, instrument=SPY, other=0, qty=1.5)
    books.adjust(Adjust.FEE, desk=1, instrument=SPY, other=0, qty=9.0)
    books.adjust(Adjust.SPLIT, instrument=SPY, px=2.0)
    books.fill(0, SPY, -1, 50, 21_000)
    books.fill(0, CALL, 1, 1, 1_000)
    books.adjust(Adjust.EXERCISE, instrument=CALL, other=SPY, qty=1.0)
    for i in (SPY, CALL):
        before = p.books.positions[0, i].tobytes()
        mine = [
            (f.seq, f.side, float(f.lots), f.px_ticks / 100) for f in books.fills if (f.desk, f.instrument) == (0, i)
        ]
        p.rebuild(0, i, mine)
        assert p.books.positions[0, i].tobytes() == before


def test_days_peaks_and_deposits() -> None:
    books = Books()
    p = books.p
    books.adjust(Adjust.DEPOSIT, other=0, qty=1000.0)
    books.fill(0, SPY, 1, 1, 40_000)
    p.mark(SPY, 400.0, T0)
    p.mark(SPY, 500.0, T0 + HOUR)
    p.mark(SPY, 450.0, T0 + 2 * HOUR)
    said = p.standing("main")
    assert (said["equity"], said["peak"], said["day_pnl"]) == (1050.0, 1100.0, 50.0)
    books.adjust(Adjust.DEPOSIT, other=0, qty=500.0, ts=T0 + 3 * HOUR)  # money from outside is no profit
    said = p.standing("main")
    assert (said["equity"], said["peak"], said["day_pnl"]) == (1550.0, 1600.0, 50.0)
    p.mark(SPY, 440.0, T0 + DAY)
    assert p.standing("main")["day_pnl"] == -10.0


def test_inverse_exposure_is_its_face_and_its_profit_in_coin() -> None:
    books = Books()
    p = books.p
    books.adjust(Adjust.DEPOSIT, other=p.number("BTC"), qty=1.0)
    books.fill(0, INVERSE, 1, 10_000, 100_000)
    p.mark(BTC, 50_000.0, T0)
    p.mark(INVERSE, 40_000.0, T0)
    assert p.standing("main")["gross"] == 10_000
    assert math.isclose(p.equity("main"), (1.0 + 10_000 * (1 / 50_000 - 1 / 40_000)) * 50_000)


def test_views_add_up() -> None:
    books = Books()
    books.fill(0, SPY, 1, 100, 40_000)
    books.fill(1, SPY, 1, 50, 41_000)
    p = books.p
    p.mark(SPY, 420.0, T0)
    by = {how: p.positions(how) for how in ("strategy", "account", "instrument", "desk")}
    assert by["instrument"]["SPY"]["SPY"]["qty"] == 150.0
    assert [by["strategy"][s]["SPY"]["unrealised"] for s in ("carry", "trend")] == [2000.0, 500.0]
    assert set(by["account"]) == {"main", "other"}
    assert set(by["desk"]) == {"a", "b"}


def test_state_comes_back() -> None:
    books = Books()
    books.fill(0, SPY, 1, 100, 40_000)
    books.adjust(Adjust.SPLIT, instrument=SPY, px=2.0)
    books.p.mark(SPY, 210.0, T0)
    parts = arrays(books.p)
    assert {name: part.dtype for name, part in parts.items()} == DTYPES
    fresh = Books().p
    load(fresh, {name: np.frombuffer(part.tobytes(), part.dtype).copy() for name, part in parts.items()})
    assert fresh.positions() == books.p.positions()
    assert fresh.cash("main") == books.p.cash("main")
    assert {n: a.tobytes() for n, a in arrays(fresh).items()} == {n: a.tobytes() for n, a in parts.items()}


def test_adjustments_that_name_what_is_not_there_are_refused() -> None:
    p = Books().p
    for row in (
        adjustment(Adjust.DEPOSIT, desk=9, qty=1.0),
        adjustment(Adjust.DEPOSIT, other=99, qty=1.0),
        adjustment(Adjust.SPLIT, instrument=99, px=2.0),
        adjustment(Adjust.EXERCISE, instrument=CALL, other=99, qty=1.0),
    ):
        with pytest.raises(InputError, match="not there"):
            p.adjust(row[0])
    assert parties(adjustment(Adjust.FEE, desk=3, other=4)["aux"][0]) == (3, 4)
    with pytest.raises(InputError, match="has no number"):
        order_number(1 << 16, 1)


def test_value_at_risk() -> None:
    rng = np.random.default_rng(1)
    returns = rng.normal(0.0, [0.01, 0.02], (100_000, 2))
    exposures = [1000.0, -500.0]
    deviation = math.hypot(1000 * 0.01, 500 * 0.02)
    assert math.isclose(parametric_var(exposures, returns, 0.99), 2.326348 * deviation, rel_tol=0.02)
    assert math.isclose(historical_var(exposures, returns, 0.99), 2.326348 * deviation, rel_tol=0.03)
    assert math.isclose(expected_shortfall(exposures, returns, 0.99), 2.665214 * deviation, rel_tol=0.03)
    losses = np.sort(-(returns @ exposures))
    assert (losses <= historical_var(exposures, returns, 0.95)).mean() >= 0.95
    assert historical_var([1.0], [[0.1]] * 100) == 0.0  # it never lost
    for bad, match in (
        (([1.0], [[0.1]] * 50), "50 periods say nothing of the worst 1.00%: pass 100 or more"),
        (([1.0, 2.0], [[0.1]] * 100), "do not fit"),
        (([math.nan], [[0.1]] * 100), "not a number"),
    ):
        with pytest.raises(InputError, match=match):
            historical_var(*bad)
    with pytest.raises(InputError, match="within"):
        historical_var([1.0], [[0.1]] * 100, confidence=1.0)
    with pytest.raises(InputError, match="two periods"):
        parametric_var([1.0], [[0.1]])

"""10 000 random histories a kind of contract: compiled positions agree with exact fractions, and the cash adds up."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from quantai.core import positions
from quantai.core.instruments import Contract, Instrument, Payoff
from quantai.core.positions import POSITION
from quantai.core.rows import BUY, SELL, zeros
from quantai.portfolio.contracts import notional, value
from quantai.portfolio.ledger import Ledger

HISTORIES = 10_000
KINDS = {
    "linear": Instrument.parse("BTC-USDT-PERP", multiplier="0.01"),
    "inverse": Instrument.parse("BTC-USD-PERP", payoff=Payoff.INVERSE, multiplier=100),
    "quanto": Instrument.parse("ETH-USD-PERP", payoff=Payoff.QUANTO, settle="BTC", multiplier="0.000001"),
    "spot": Instrument.parse("BTC-USDT"),
    "option": Instrument.parse("BTC-USD-20270326-90000-C", multiplier=100),
    "future": Instrument.parse("CL-USD-20270326", multiplier=1000),
}

Event = tuple[str, int, int, int]  # what, side, quantity in thousandths, price in tenths


def history(rng: np.random.Generator) -> Iterator[Event]:
    """Yield 2 to 11 fills around a wandering price, with funding or variation between some."""
    price = int(rng.integers(100, 50_000))
    lots = int(10 ** rng.integers(1, 6))
    for _ in range(int(rng.integers(2, 12))):
        price = max(price + int(rng.normal(0, price * 0.1)), 1)
        yield "fill", BUY if rng.random() < 0.5 else SELL, int(rng.integers(1, lots + 1)), price
        if rng.random() < 0.2:
            yield "fund", 0, int(rng.integers(-30, 31)), price


def play(instrument: Instrument, events: list[Event]) -> tuple[Ledger, np.ndarray, Fraction, Fraction]:
    """Return both books, the exact cash the trades moved, and their gross value."""
    book, hot, row = Ledger(instrument), zeros(1, POSITION), instrument.row()[0]
    cash = gross = Fraction(0)
    for i, (what, side, amount, tenths) in enumerate(events):
        px = Fraction(tenths, 10)
        if what == "fund":
            rate = Fraction(amount, 100_000)
            assert book.fund(i, rate, px) == positions.fund(hot[0], row, i, float(rate), float(px))
            continue
        qty = Fraction(amount, 1000)
        fee = qty / 1000 if instrument.contract is Contract.SPOT and amount % 3 == 0 else Fraction(0)
        assert book.fill(str(i), side, qty, px, {instrument.base: fee} if fee else {})
        positions.fill(hot[0], row, side, float(qty), float(px), 0.0, float(fee))
        cash -= (side * qty - fee) * value(instrument, px)
        gross += qty * notional(instrument, px)
    return book, hot, cash, gross


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_positions_agree_with_exact_fractions(kind: str) -> None:
    instrument, rng = KINDS[kind], np.random.default_rng(list(KINDS).index(kind))
    row = instrument.row()[0]
    for _ in range(HISTORIES):
        events = list(history(rng))
        book, hot, cash, gross = play(instrument, events)
        mark = Fraction(events[-1][3], 10) * Fraction(11, 10)
        # what was traded and what is held is what was gained: a check that knows nothing of average cost
        assert cash + book.qty * value(instrument, mark) == book.realised + book.unrealised(mark)
        noise = 1e-15 * float(gross)  # a sum of cancelling gains keeps the rounding of what was summed
        for name, fast, exact in (
            ("qty", hot["qty"][0], book.qty),
            ("cost", hot["cost"][0], book.cost),
            ("realised", hot["realised"][0], book.realised),
            ("funding", hot["funding"][0], book.funding),
            ("unrealised", positions.unrealised(hot[0], row, float(mark)), book.unrealised(mark)),
        ):
            assert abs(fast - float(exact)) <= 1e-9 * abs(float(exact)) + noise, (name, fast, exact, events)
        entry = book.avg_entry()
        if entry is not None:
            assert abs(positions.avg_entry(hot[0], row) - float(entry)) <= 1e-9 * float(entry), events

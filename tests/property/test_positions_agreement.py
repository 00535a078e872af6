"""10 000 random histories a kind of contract: compiled positions agree with exact fractions, and the cash adds up.

Futures pay variation and settle, options expire, shares are split, pay dividends and are delivered by exercise.
"""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from quantai.core import positions
from quantai.core.instruments import Contract, Instrument, Instruments, Payoff
from quantai.core.positions import POSITION
from quantai.core.rows import BUY, SELL, Rows, zeros
from quantai.portfolio import Adjust, Desk, Portfolio, adjustment
from quantai.portfolio.contracts import notional, value
from quantai.portfolio.ledger import Ledger
from quantai.portfolio.statement import Execution, statement

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


def history(rng: np.random.Generator, contract: Contract) -> Iterator[Event]:
    """Yield 2 to 11 fills around a wandering price, with what a contract pays between some, and its end."""
    between = "vary" if contract is Contract.FUTURE else "fund"
    end = {Contract.FUTURE: "settle", Contract.OPTION: "expire"}.get(contract)
    price = int(rng.integers(100, 50_000))
    lots = int(10 ** rng.integers(1, 6))
    for _ in range(int(rng.integers(2, 12))):
        price = max(price + int(rng.normal(0, price * 0.1)), 1)
        yield "fill", BUY if rng.random() < 0.5 else SELL, int(rng.integers(1, lots + 1)), price
        if rng.random() < 0.2:
            yield between, 0, int(rng.integers(-30, 31)), price
    if end and rng.random() < 0.3:
        yield end, 0, 0, price * (20 if end == "expire" else 1)  # around the strike


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
        if what != "fill":
            held, gained = book.qty, book.realised - book.cost
            getattr(book, what)(px)
            getattr(positions, what)(hot[0], row, float(px))
            cash += book.realised - book.cost - gained  # nothing of a variation, all that an end paid out
            gross += abs(held) * notional(instrument, px)
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
        events = list(history(rng, instrument.contract))
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


SHARE, CALL, PUT = range(3)
STRIKE = 100
SHARES = Instruments(
    [
        Instrument.parse("SPY", tick="0.01", lot="1"),
        Instrument.parse(f"SPY-USD-20270115-{STRIKE}-C", multiplier=100, tick="0.01", lot="1"),
        Instrument.parse(f"SPY-USD-20270115-{STRIKE}-P", multiplier=100, tick="0.01", lot="1"),
    ]
)


def play_shares(rng: np.random.Generator) -> tuple[Portfolio, list[Execution], list[Rows], Fraction]:
    """Trade shares and options on them, with splits, dividends and exercises; also returns the exact cash."""
    p, fills, adjusted = Portfolio([Desk("a")], SHARES, "USD"), list[Execution](), list[Rows]()
    cash = Fraction(0)

    def adjust(what: Adjust, instrument: int, **terms: float) -> None:
        row = adjustment(what, ts=seq, instrument=instrument, **terms)  # pyright: ignore[reportArgumentType]
        row["seq"] = seq
        adjusted.append(row)
        p.adjust(row[0])

    for seq in range(1, int(rng.integers(6, 14))):
        held = p.books.positions["qty"][0]
        match int(rng.integers(0, 8)):
            case 0:
                ratio = Fraction(int(rng.choice([2, 4])), int(rng.choice([1, 8])))  # 4 for 1 … 1 for 4
                adjust(Adjust.SPLIT, SHARE, px=float(ratio))
            case 1:
                cents = int(rng.integers(1, 300))
                cash += Fraction(str(held[SHARE])) * Fraction(cents, 100)
                adjust(Adjust.DIVIDEND, SHARE, px=cents / 100)
            case (2 | 3) as right if held[right - 1]:
                option = right - 1
                units = int(np.sign(held[option])) * int(rng.integers(1, abs(int(held[option])) + 1))
                cash -= (1 if option == CALL else -1) * units * 100 * STRIKE
                adjust(Adjust.EXERCISE, option, other=SHARE, qty=units)
            case _:
                i, side, lots = int(rng.integers(0, 3)), int(rng.choice([-1, 1])), int(rng.integers(1, 50))
                ticks = int(rng.integers(5_000, 20_000) if i == SHARE else rng.integers(1, 900))
                fills.append(Execution(seq, 0, i, str(seq), side, lots, ticks))
                cash -= side * lots * Fraction(ticks, 100) * (100 if i else 1)
                p.fill(0, i, side, float(lots), SHARES[i].price(ticks))
    return p, fills, adjusted, cash


def test_shares_and_options_agree_with_exact_fractions_through_splits_dividends_and_exercise() -> None:
    rng = np.random.default_rng(6)
    for _ in range(HISTORIES):
        p, fills, adjusted, cash = play_shares(rng)
        exact = statement(SHARES, p.currencies, fills, adjusted)
        for (_, i), book in exact.items():
            hot = p.books.positions[0, i]
            for name in ("qty", "cost", "realised", "funding"):
                want = float(getattr(book, name))
                assert abs(hot[name] - want) <= 1e-9 * max(abs(want), 1.0), (name, i, fills, adjusted)
        # every dollar is in one place: what was paid is what is held at cost, less what it gained
        assert cash == sum((b.realised + b.funding - b.cost for b in exact.values()), Fraction(0)), (fills, adjusted)
        assert abs(p.cash("main").get("USD", 0.0) - float(cash)) <= 1e-6

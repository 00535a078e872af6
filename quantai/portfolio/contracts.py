"""What a price is worth, in exact fractions: the cold twin of `core.positions.value`."""

from decimal import Decimal
from fractions import Fraction

from quantai.core.errors import InputError
from quantai.core.instruments import Contract, Instrument, Payoff, Right

Exact = Fraction | Decimal | int | str
"""An exact number. A float is not one: write its decimal as a string."""


def exact(value: Exact) -> Fraction:
    """Return `value` as a fraction; raises InputError for anything that is not an exact finite number.

    >>> exact("0.1") + exact("0.2") == exact("0.3")
    True
    """
    if isinstance(value, float):  # pyright: ignore[reportUnnecessaryIsInstance] - not everyone checks types
        raise InputError(f"{value!r} is a float: write the decimal as a string to be exact")
    try:
        return Fraction(value)
    except (ValueError, OverflowError):
        raise InputError(f"{value!r} is not a finite number") from None


def is_inverse(instrument: Instrument) -> bool:
    """Say whether a unit is worth -multiplier / px; an option's premium never is, whatever it settles in."""
    return instrument.payoff is Payoff.INVERSE and instrument.contract is not Contract.OPTION


def value(instrument: Instrument, px: Exact) -> Fraction:
    """Return what one unit costs at `px`, in settlement currency.

    >>> value(Instrument.parse("BTC-USD-PERP", payoff=Payoff.INVERSE, multiplier=100), 50_000)
    Fraction(-1, 500)
    """
    multiplier, price = Fraction(instrument.multiplier), exact(px)
    if not is_inverse(instrument):
        return multiplier * price
    if price == 0:
        raise InputError(f"{instrument.symbol}: an inverse contract has no value at price 0")
    return -multiplier / price


def notional(instrument: Instrument, mark: Exact) -> Fraction:
    """Return what funding is charged on for one unit: multiplier x mark, inverse multiplier / mark."""
    worth = value(instrument, mark)
    return -worth if is_inverse(instrument) else worth


def price(instrument: Instrument, cost: Fraction) -> Fraction:
    """Return the price at which one unit costs `cost`: the inverse of `value`."""
    multiplier = Fraction(instrument.multiplier)
    return -multiplier / cost if is_inverse(instrument) else cost / multiplier


def intrinsic(instrument: Instrument, underlying: Exact, strike: Exact, right: Right) -> Fraction:
    """Return what one option pays at expiry, in settlement currency.

    max(S - K, 0) for a call, max(K - S, 0) for a put, times the multiplier; a coin-settled (INVERSE) option divides by
    S.

    >>> intrinsic(Instrument.parse("BTC-USD-20270326-50000-C", payoff=Payoff.INVERSE), 60_000, 50_000, Right.CALL)
    Fraction(1, 6)
    """
    spot = exact(underlying)
    paid = max(int(right) * (spot - exact(strike)), Fraction(0))
    if paid and instrument.payoff is Payoff.INVERSE:
        paid /= spot
    return Fraction(instrument.multiplier) * paid

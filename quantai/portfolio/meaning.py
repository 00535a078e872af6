"""What an adjustment can mean: a dividend of a perpetual, or an exercise of what nobody holds, is a slip.

A row that means nothing would be booked as money, so it is refused before it is journaled.
"""

from typing import Any

import numpy as np

from quantai.core.instruments import Contract, Instrument, Instruments, Payoff
from quantai.portfolio.adjustments import Adjust, parties

OF_CONTRACT = {
    Adjust.FUNDING: Contract.PERPETUAL,
    Adjust.DIVIDEND: Contract.EQUITY,
    Adjust.SPLIT: Contract.EQUITY,
    Adjust.VARIATION: Contract.FUTURE,
    Adjust.SETTLE: Contract.FUTURE,
    Adjust.EXPIRE: Contract.OPTION,
    Adjust.EXERCISE: Contract.OPTION,
}
"""The contract that an adjustment is of; the others are of every one or of none."""

_PRICED = (Adjust.DIVIDEND, Adjust.SPLIT, Adjust.VARIATION, Adjust.SETTLE, Adjust.EXPIRE, Adjust.RATE)
_EXACT = 1e-9


def unmeant(row: Any, instruments: Instruments, positions: Any) -> str:
    """Say why nobody can mean an ADJUST row whose numbers name what is there; "" when somebody can.

    `positions` are the holdings now, dtype POSITION, shape (desks, instruments).
    """
    what, (desk, other) = Adjust(int(row["px_ticks"])), parties(row["aux"])
    i, px, qty = int(row["instrument"]), float(row["px"]), float(row["qty"])
    if what is Adjust.RATE and other == 0:
        return "the portfolio's own currency is worth 1 of itself: name another one"
    said = instruments[i]
    kind = OF_CONTRACT.get(what, said.contract)
    if said.contract is not kind:
        return f"{said.symbol} has none: it is {_name(said.contract)}, and only {_name(kind)} has"
    if what in _PRICED and px <= 0.0 and not (px < 0.0 and _can_be_negative(what, said)):
        return f"a price of {px} cannot be: say what one unit is worth, pays or becomes"
    if what is Adjust.FUNDING and int(row["ts_exch"]) <= 0:
        return "it needs the instant of the boundary it is paid for, by which it is booked once: pass ts"
    if what is Adjust.EXERCISE:
        return _unmeant_exercise(said, instruments[other], qty, float(positions["qty"][desk, i]))
    return ""


def _unmeant_exercise(option: Instrument, underlying: Instrument, qty: float, held: float) -> str:
    if option.payoff is Payoff.INVERSE:
        return f"{option.symbol} pays in coin and delivers nothing: book EXPIRE"
    delivers = underlying.contract is not Contract.OPTION and underlying.payoff is Payoff.LINEAR
    if not delivers or underlying.base != option.base or underlying.settle != option.settle:
        return f"{option.symbol} does not become {underlying.symbol}: name its underlying"
    if qty == 0.0 or np.sign(qty) != np.sign(held) or abs(qty) > abs(held) * (1.0 + _EXACT):
        return f"the desk holds {held:g} of {option.symbol}, so {qty:g} cannot be exercised: book its executions first"
    return ""


def _can_be_negative(what: Adjust, said: Instrument) -> bool:
    """Futures have settled below zero: crude oil on 20 April 2020 at -37.63."""
    return what in (Adjust.VARIATION, Adjust.SETTLE) and said.payoff is not Payoff.INVERSE


def _name(contract: Contract) -> str:
    word = contract.name.lower()
    return f"an {word}" if word[0] in "aeiou" else f"a {word}" if contract is not Contract.SPOT else "spot"

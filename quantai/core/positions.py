"""A position is (quantity, cost) in settlement currency; the average price is derived, never averaged.

One function knows contract kinds: a unit bought at `px` costs `value(px) = multiplier * g(px)` with g(px) = px for
spot, linear and quanto contracts and for an option's premium, and g(px) = -1/px for inverse contracts. Cost adds up;
the mean entry price is whatever price gives that cost, so it is harmonic for inverse contracts without anybody saying
so. The rules of each event are in docs/accounting.md.

Compiled, float64, no clock. `portfolio.ledger` is the same arithmetic in exact fractions; a property test holds the two
together at one part in 10^9.

    >>> from quantai.core.instruments import Instrument, Payoff
    >>> from quantai.core.rows import BUY, zeros
    >>> btc = Instrument.parse("BTC-USD-PERP", payoff=Payoff.INVERSE, tick="0.5", lot="1").row()[0]
    >>> position = zeros(1, POSITION)[0]
    >>> fill(position, btc, BUY, 10_000.0, 50_000.0, 0.0, 0.0)
    >>> fill(position, btc, BUY, 10_000.0, 25_000.0, 0.0, 0.0)
    >>> round(avg_entry(position, btc), 6), round(unrealised(position, btc, 30_000.0), 12)
    (33333.333333, -0.066666666667)
"""

from typing import Any

import numpy as np

from quantai.core.compiled import compiled
from quantai.core.instruments import Contract, Payoff

POSITION = np.dtype(
    [
        ("qty", "f8"),  # units (base currency, contracts, shares), short is negative
        ("cost", "f8"),  # sum of units x value(entry price), settlement currency
        ("realised", "f8"),  # without fees and funding
        ("funding", "f8"),  # received is positive
        ("fees", "f8"),  # in settlement currency, paid is positive
        ("turnover", "f8"),  # units traded since the position was last flat
        ("next_funding_ts", "i8"),  # boundaries before this instant have been settled
        ("instrument", "u4"),
        ("pad", "u4"),
    ]
)
"""One position; 64 bytes."""

DUST = 1e-13
"""A remainder below this share of the turnover since flat is rounding, not a holding: 0.1 + 0.2 - 0.3 is nothing."""

INVERSE, OPTION = int(Payoff.INVERSE), int(Contract.OPTION)


@compiled
def value(instrument: Any, px: float) -> float:
    """Return what one unit costs at `px`, in settlement currency."""
    if instrument.payoff == INVERSE and instrument.contract != OPTION:
        return -instrument.multiplier / px
    return instrument.multiplier * px


@compiled
def _trade(position: Any, units: float, cost: float) -> None:
    """Add `units` (signed) at `cost` a unit: average cost, a reduction realises, a flip realises and opens anew."""
    rest = position.qty + units
    position.turnover += abs(units)
    if abs(rest) <= DUST * position.turnover:
        rest = 0.0
    if position.qty * units >= 0.0:
        position.cost += units * cost
    elif rest * position.qty <= 0.0:
        position.realised += position.qty * cost - position.cost
        position.cost = rest * cost
        position.turnover = abs(rest)
    else:
        released = position.cost * (-units / position.qty)
        position.realised += -units * cost - released
        position.cost -= released
    position.qty = rest


@compiled
def fill(position: Any, instrument: Any, side: int, qty: float, px: float, fee: float, base_fee: float) -> None:
    """Book an execution of `qty` > 0 units at `px`.

    `fee` is in settlement currency, `base_fee` in units of a spot holding; paid is positive. A base fee is a disposal
    at the fill price: it leaves the holding at average cost. Executions are told apart before they come here
    (`core.executions`), and fees in third currencies are the ledger's.
    """
    _trade(position, side * qty, value(instrument, px))
    if base_fee != 0.0:
        _trade(position, -base_fee, value(instrument, px))
    position.fees += fee


@compiled
def fund(position: Any, instrument: Any, ts: int, rate: float, mark: float) -> bool:
    """Pay or receive funding at the boundary `ts` (ns UTC); False when that boundary was settled before.

    The payment is -qty x notional(mark) x rate, with notional = multiplier x mark, or multiplier / mark for an inverse
    contract: longs pay a positive rate.
    """
    if ts < position.next_funding_ts:
        return False
    position.next_funding_ts = ts + 1
    worth = value(instrument, mark)
    position.funding -= position.qty * (-worth if instrument.payoff == INVERSE else worth) * rate
    return True


@compiled
def vary(position: Any, instrument: Any, px: float) -> None:
    """Settle the day's variation at `px`: the gain is realised and the cost restarts there."""
    worth = position.qty * value(instrument, px)
    position.realised += worth - position.cost
    position.cost = worth


@compiled
def settle(position: Any, instrument: Any, px: float) -> None:
    """Close the whole position at the final settlement price."""
    _close(position, value(instrument, px))


@compiled
def expire(position: Any, instrument: Any, underlying: float) -> None:
    """Close an option at its intrinsic value; an INVERSE option pays it in coin, divided by the settlement price."""
    intrinsic = max(instrument.right * (underlying - instrument.strike), 0.0)
    if instrument.payoff == INVERSE:
        intrinsic /= underlying
    _close(position, instrument.multiplier * intrinsic)


@compiled
def _close(position: Any, worth: float) -> None:
    position.realised += position.qty * worth - position.cost
    position.qty = 0.0
    position.cost = 0.0
    position.turnover = 0.0


@compiled
def avg_entry(position: Any, instrument: Any) -> float:
    """Return the price at which the whole position has its cost; NaN when flat."""
    if position.qty == 0.0:
        return np.nan
    one = position.cost / position.qty
    if instrument.payoff == INVERSE and instrument.contract != OPTION:
        return -instrument.multiplier / one
    return one / instrument.multiplier


@compiled
def unrealised(position: Any, instrument: Any, mark: float) -> float:
    """Return what closing at `mark` would realise, in settlement currency."""
    if position.qty == 0.0:
        return 0.0
    return position.qty * value(instrument, mark) - position.cost

"""One instrument's book in exact fractions: what `core.positions` computes fast, this computes without rounding."""

from collections.abc import Mapping
from fractions import Fraction

from quantai.core.errors import InputError
from quantai.core.given import instance
from quantai.core.instruments import Contract, Instrument, Right
from quantai.portfolio.contracts import Exact, exact, intrinsic, notional, price, value


class Ledger:
    """The book of one instrument in one account: quantity and cost, and what was realised, funded and paid.

    Average-cost accounting. A reduction leaves the average entry price, a flip realises the old position and opens the
    rest at the fill price. `realised` is in settlement currency and excludes fees and funding, which have columns of
    their own; `fees` holds each currency apart, paid is positive, and leaves out what adds up to nothing. A fee in the
    base currency of a spot instrument also leaves the holding, at average cost, valued at the fill price.

    >>> from quantai.core.rows import BUY, SELL
    >>> book = Ledger(Instrument.parse("BTC-USDT"))
    >>> book.fill("1", BUY, "1", "100", {"BTC": "0.001"}), book.fill("1", BUY, "1", "100", {"BTC": "0.001"})
    (True, False)
    >>> book.fill("2", SELL, "0.5", "120"), float(book.qty), float(book.realised), float(book.unrealised("110"))
    (True, 0.499, 10.0, 4.99)
    """

    def __init__(self, instrument: Instrument) -> None:
        instance("instrument", instrument, Instrument, 'one such as Instrument.parse("SPY")')
        self.instrument = instrument
        self.qty = Fraction(0)
        self.cost = Fraction(0)
        self.realised = Fraction(0)
        self.funding = Fraction(0)
        self.fees: dict[str, Fraction] = {}
        self._executions: set[str] = set()
        self._boundaries: set[int] = set()

    def fill(self, exec: str, side: int, qty: Exact, px: Exact, fees: Mapping[str, Exact] | None = None) -> bool:
        """Book an execution once; False when this id was booked before. `fees` paid are positive, rebates negative."""
        if exec in self._executions:
            return False
        units, cost = exact(qty), value(self.instrument, px)
        if units <= 0:
            raise InputError(
                f"{self.instrument.symbol}: execution {exec} has quantity {qty}; say the direction with side"
            )
        paid = {ccy: exact(fee) for ccy, fee in (fees or {}).items()}
        self._executions.add(exec)
        self._trade(side * units, cost)
        for ccy, fee in paid.items():
            self._charge(ccy, fee, cost)
        return True

    def charge(self, currency: str, fee: Exact, px: Exact) -> None:
        """Book a fee that is told apart from its execution; in the base of spot it leaves the holding, valued at px."""
        self._charge(currency, exact(fee), value(self.instrument, px) if exact(px) else Fraction(0))

    def _charge(self, currency: str, fee: Fraction, cost: Fraction) -> None:
        self.fees[currency] = self.fees.get(currency, Fraction(0)) + fee
        if not self.fees[currency]:
            del self.fees[currency]
        if self.instrument.contract is Contract.SPOT and currency == self.instrument.base:
            self._trade(-fee, cost)

    def fund(self, ts: int, rate: Exact, mark: Exact) -> bool:
        """Pay or receive funding at the boundary `ts` once: -qty x notional(mark) x rate, longs pay a positive rate."""
        if ts in self._boundaries:
            return False
        payment = -self.qty * notional(self.instrument, mark) * exact(rate)
        self._boundaries.add(ts)
        self.funding += payment
        return True

    def vary(self, px: Exact) -> None:
        """Settle a day's variation: the gain to `px` is realised and the cost restarts there."""
        worth = self.qty * value(self.instrument, px)
        self.realised += worth - self.cost
        self.cost = worth

    def settle(self, px: Exact) -> None:
        """Close the whole position at the final settlement price."""
        self._close(value(self.instrument, px))

    def expire(self, underlying: Exact, strike: Exact | None = None, right: Right | None = None) -> None:
        """Close an option at its intrinsic value; strike and right default to the instrument's."""
        strike = self.instrument.strike if strike is None else strike
        right = right or self.instrument.right
        if strike is None or right is Right.NONE:
            raise InputError(f"{self.instrument.symbol} has no strike or right: only an option expires")
        self._close(intrinsic(self.instrument, underlying, strike, right))

    def avg_entry(self) -> Fraction | None:
        """Return the price at which the whole position has its cost; None when flat."""
        return price(self.instrument, self.cost / self.qty) if self.qty else None

    def unrealised(self, mark: Exact) -> Fraction:
        """Return what closing at `mark` would realise, in settlement currency."""
        return self.qty * value(self.instrument, mark) - self.cost if self.qty else Fraction(0)

    def _trade(self, units: Fraction, cost: Fraction) -> None:
        rest = self.qty + units
        if self.qty * units >= 0:
            self.cost += units * cost
        elif rest * self.qty <= 0:
            self.realised += self.qty * cost - self.cost
            self.cost = rest * cost
        else:
            released = self.cost * -units / self.qty
            self.realised += -units * cost - released
            self.cost -= released
        self.qty = rest

    def _close(self, worth: Fraction) -> None:
        self.realised += self.qty * worth - self.cost
        self.qty = self.cost = Fraction(0)

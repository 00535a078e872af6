"""What an account at a venue of our own holds: balances by currency, contracts with what they cost; exact."""

from collections.abc import Mapping
from decimal import Decimal

from quantai.core.instruments import Contract, Instrument, Payoff


class Holdings:
    """Balances and contracts of one account, moved by executions and fees.

    Spot and shares exchange one balance for another. Contracts bind nothing: what they gain or lose is settled when
    they are reduced.

    >>> pair = Instrument.parse("BTC-USDT")
    >>> held = Holdings({"USDT": Decimal(1000)})
    >>> held.fill(pair, 1, Decimal("0.01"), Decimal(50_000), fee=Decimal("0.5"))
    >>> held.balances
    {'USDT': Decimal('499.50'), 'BTC': Decimal('0.01')}
    """

    def __init__(self, balances: Mapping[str, Decimal]) -> None:
        self.balances: dict[str, Decimal] = dict(balances)
        self.positions: dict[str, Decimal] = {}
        self._cost: dict[str, Decimal] = {}

    def take_over(self, balances: Mapping[str, Decimal], contracts: Mapping[str, tuple[Decimal, Decimal]]) -> None:
        """Hold these balances and, by symbol, contracts as (units, cost) instead of what was held; cost is signed."""
        self.balances = {name: amount for name, amount in balances.items() if amount}
        self.positions = {symbol: units for symbol, (units, _) in contracts.items() if units}
        self._cost = {symbol: cost for symbol, (units, cost) in contracts.items() if units}

    def fill(self, instrument: Instrument, side: int, qty: Decimal, px: Decimal, fee: Decimal = Decimal(0)) -> None:
        """Book one execution: `qty` units at `px`, and a fee in the settlement currency."""
        self._move(instrument.settle, -fee)
        if instrument.contract in (Contract.SPOT, Contract.EQUITY):
            self._move(instrument.base, side * qty)
            self._move(instrument.quote, -side * qty * px * instrument.multiplier)
        else:
            self._trade(instrument, side * qty, px)

    def pay(self, currency: str, amount: Decimal) -> None:
        """Book money that arrives (negative: leaves) without an execution."""
        self._move(currency, amount)

    def _trade(self, instrument: Instrument, change: Decimal, px: Decimal) -> None:
        symbol = instrument.symbol
        held, cost = self.positions.get(symbol, Decimal(0)), self._cost.get(symbol, Decimal(0))
        unit = instrument.multiplier * (-1 / px if instrument.payoff is Payoff.INVERSE else px)
        if held * change < 0:
            closed = min(abs(change), abs(held)).copy_sign(change)
            freed = cost * abs(closed) / abs(held)
            self._move(instrument.settle, -closed * unit - freed)
            held, cost, change = held + closed, cost - freed, change - closed
        held, cost = held + change, cost + change * unit
        if held:
            self.positions[symbol], self._cost[symbol] = held, cost
        else:
            self.positions.pop(symbol, None)
            self._cost.pop(symbol, None)

    def _move(self, currency: str, amount: Decimal) -> None:
        if amount:
            total = self.balances.get(currency, Decimal(0)) + amount
            self.balances[currency] = total
            if not total:
                del self.balances[currency]

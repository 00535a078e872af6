"""What is owned and what it made: exact books beside the compiled positions.

- `contracts`: what a price is worth under each kind of contract, in exact fractions
- `ledger`: one instrument's book: fills, fees in any currency, funding, settlement, expiry
- `desks`: who trades what for whom
- `portfolio`: Portfolio: holdings and money of all desks, by strategy, account and instrument
- `adjustments`: money and holdings that move without an execution, as rows
- `meaning`: which of them nobody can mean
- `valuation`: equity, exposure and margin, compiled
- `statement`: the exact books of a portfolio
- `var`: value at risk, historical and parametric
- `state`: a portfolio as arrays, for snapshots
"""

from quantai.portfolio.adjustments import Adjust, adjustment
from quantai.portfolio.desks import Desk, order_number
from quantai.portfolio.ledger import Ledger
from quantai.portfolio.portfolio import Portfolio

__all__ = ["Adjust", "Desk", "Ledger", "Portfolio", "adjustment", "order_number"]

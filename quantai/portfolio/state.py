"""The portfolio's state as arrays, for snapshots."""

import numpy as np

from quantai.core.positions import POSITION
from quantai.core.rows import EVENT
from quantai.portfolio.portfolio import Portfolio
from quantai.portfolio.valuation import CURRENCY, MARKET, STANDING

DTYPES = {
    "positions": POSITION,
    "market": MARKET,
    "currencies": CURRENCY,
    "flows": np.dtype("f8"),
    "standings": STANDING,
    "adjustments": EVENT,
    "portfolio_ts": np.dtype("i8"),
}
"""The row type of each array."""


def arrays(portfolio: Portfolio) -> dict[str, np.ndarray]:
    """Return everything that cannot be derived."""
    books = portfolio.books
    return {
        "positions": books.positions,
        "market": books.market,
        "currencies": books.currencies,
        "flows": books.flows,
        "standings": books.standings,
        "adjustments": np.concatenate([np.zeros(0, EVENT), *portfolio.adjustments]),
        "portfolio_ts": np.array([portfolio.ts], np.int64),
    }


def load(portfolio: Portfolio, parts: dict[str, np.ndarray]) -> None:
    """Take over the state of `arrays`; raises ValueError when it is of other desks, instruments or currencies."""
    books = portfolio.books
    for name in ("positions", "market", "currencies", "flows", "standings"):
        target = getattr(books, name)
        target[...] = parts[name].reshape(target.shape)
    portfolio.take_over(parts["adjustments"])
    portfolio.ts = int(parts["portfolio_ts"][0])

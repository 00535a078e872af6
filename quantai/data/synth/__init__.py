"""Synthetic markets, made from a seed: data for demos, tests and documents that needs no network.

- `market`: trades, book levels and quotes of an order-driven market whose book never crosses
- `bars`: plain bars of a geometric random walk
- `SyntheticMarket`: what `market` returns
- `flow`: the compiled order flow
- `store`: a synthetic market as tables of a lake
"""

from quantai.data.synth.market import SyntheticMarket, market
from quantai.data.synth.walk import bars

__all__ = ["SyntheticMarket", "bars", "market"]

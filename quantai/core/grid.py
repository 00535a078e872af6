"""Prices on the grid of an instrument, for compiled code."""

from typing import Any

from quantai.core.compiled import uncounted_inlined


@uncounted_inlined
def price_of(ticks: int, inst: Any) -> float:
    """Return `ticks` as the float64 nearest to the exact decimal: what a parser makes of that decimal's text."""
    return ticks * inst.tick_num / inst.tick_den

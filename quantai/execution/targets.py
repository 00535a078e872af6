"""Targets: "be at this weight of equity" turned into a market order, sized where it executes."""

import math

MOST_LOTS = 2.0**53


def target_lots(held: float, equity: float, weight: float, unit_value: float, lot: float) -> int:
    """Return the signed lots to trade so that a holding of `held` units is worth `weight` of `equity`.

    Rounded toward zero, so that rounding never exceeds the weight; 0 where equity or price say nothing. `unit_value` is
    what one unit is worth in the currency of `equity`, `lot` the quantity step in units.

    >>> target_lots(held=0.0, equity=1000.0, weight=0.5, unit_value=30.0, lot=1.0)
    16
    >>> target_lots(held=16.0, equity=1000.0, weight=0.0, unit_value=30.0, lot=1.0)
    -16
    """
    if weight == 0.0:
        return -round(held / lot)
    worth = abs(unit_value)
    if not (equity > 0.0 and worth > 0.0 and math.isfinite(equity + worth)):
        return 0
    lots = (weight * equity / worth - held) / lot
    if abs(lots) > MOST_LOTS:
        return 0
    near = round(lots)
    return near if abs(lots - near) <= 1e-6 else math.trunc(lots)

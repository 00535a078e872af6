"""Where a resting order stands in the queue of its price level: estimates from prints and from changes of the level.

`front` is the quantity (lots, with fractions) ahead of the order, `printed` what printed at its price since the level
last changed, `level` the level as the venue shows it (without own orders).
"""

from typing import Any

import numpy as np

from quantai.core.compiled import uncounted_inlined
from quantai.core.memory import pasted

QUEUES = ("front", "risk_averse", "power_prob", "cross_only")
"""`front` always first in line, `risk_averse` only prints move it, `power_prob` cancels ahead with a probability that
depends on the place, `cross_only` prints at its price never fill it."""

FRONT, RISK_AVERSE, POWER_PROB, CROSS_ONLY = range(4)


@uncounted_inlined
def join(queue: int, o: Any, level: float) -> None:
    """Take the last place of a level that shows `level` lots."""
    o.level = level
    o.front = 0.0 if queue == FRONT else level
    o.printed = 0.0


@pasted
def to_power(x: float, n: float) -> float:
    """Return |x|**n with the sign of x, the usual exponents without a call; of a negative x 0.0 where n is below 1."""
    if n == 3.0:
        return x * x * x
    if n == 2.0:
        return x * abs(x)
    if n == 1.0:
        return x
    if x >= 0.0:
        return x**n
    return -((-x) ** n) if n > 1.0 else 0.0


@pasted
def on_level(queue: int, power: float, o: Any, new: float) -> None:
    """Move the order after its level changed to `new` lots.

    A decrease that prints do not explain is ahead of us with weight 1 - p, p = back^n / (back^n + front^n): the
    quantity behind us decides (rigtorp.se, "Estimating order queue position", 2013). Cancels can take more from ahead
    of us than there was: `front` is then below zero, p above one, and part of the excess comes back, as in hftbacktest.
    """
    old = o.level
    o.level = new
    gone = old - new - o.printed
    o.printed = 0.0
    front = o.front
    if queue == POWER_PROB and gone >= 0.0:
        back = old - front
        b, f = to_power(back, power), to_power(front, power)
        if b + f > 0.0:
            p = b / (b + f)
            front = front - (1.0 - p) * gone + min(back - p * gone, 0.0)
    o.front = min(front, new)


@pasted
def on_print(queue: int, o: Any, lots: float, printed: float) -> int:
    """Let `lots` of a print at its price reach the order; returns the whole lots that got past the queue.

    `printed` is the whole print, of which orders of ours ahead of this one may have taken a part. Half a lot rounds up.
    """
    if queue == CROSS_ONLY:
        return 0
    o.front -= lots
    o.printed += printed
    past = int(np.floor(0.5 - o.front))
    if past > 0 or queue == FRONT:
        o.front = 0.0
    return max(past, 0)

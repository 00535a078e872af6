"""The account inside a simulated run: cash, positions and fees in one settlement currency.

A contract of any kind is worth `multiplier * g(px)` a unit, with g(px) = px for linear and quanto contracts and -1/px
for inverse ones. Buying pays that value out of cash and selling receives it, so cash plus the value of positions is
equity for spot, equities, futures and perpetuals alike.
"""

import math
from typing import Any

from quantai.core.compiled import inlined, uncounted
from quantai.core.instruments import Payoff
from quantai.strategy.context import instruments_of, positions_of

_INVERSE = int(Payoff.INVERSE)
MOST_LOTS = 2.0**53
"""No order is larger: beyond it lots are not exact as float64 (a grid far too fine for the money at hand)."""


@inlined
def unit_value(inst: Any, px: float) -> float:
    """Return what one unit is worth at `px`, in settlement currency: negative for inverse, 0.0 before any price."""
    if inst.payoff == _INVERSE:
        return -inst.multiplier / px if px != 0.0 else 0.0
    return inst.multiplier * px


@inlined
def lots_to_qty(inst: Any, lots: int) -> float:
    """Return lots as units: one rounding, so that 3 lots of 0.1 are exactly the float 0.3."""
    return lots * inst.lot_num / inst.lot_den


@uncounted
def apply_fill(ctx: Any, position: Any, inst: Any, side: int, lots: int, px: float, fee_rate: float) -> float:
    """Book one fill and return its fee: `fee_rate` is a fraction of notional, negative for a rebate."""
    paid, fee = book_fill(position, inst, side, lots, px, fee_rate)
    ctx.cash -= paid
    return fee


@uncounted
def book_fill(position: Any, inst: Any, side: int, lots: int, px: float, fee_rate: float) -> tuple[float, float]:
    """Book one fill to its position; returns what it takes out of cash, and the fee within that.

    Average cost: a reduction leaves the average as it was; a flip realises the old side and opens the new one at the
    fill.
    """
    value = unit_value(inst, px)
    qty = lots_to_qty(inst, lots)
    fee = abs(qty * value) * fee_rate
    position.fees += fee
    closing = 0
    if position.lots * side < 0:
        closing = min(lots, abs(position.lots))
        cost = position.cost * closing / abs(position.lots)
        position.realised += -side * lots_to_qty(inst, closing) * value - cost
        position.cost -= cost
    position.cost += side * lots_to_qty(inst, lots - closing) * value
    position.lots += side * lots
    position.qty = lots_to_qty(inst, position.lots)
    if position.lots == 0:
        position.cost = 0.0
    return side * qty * value + fee, fee


@inlined
def equity_of(ctx: Any) -> float:
    """Return cash plus the value of all positions at their last prices."""
    if ctx.n_instruments != 1:
        return _equity_of_many(ctx)
    position = positions_of(ctx)[0]
    if position.lots == 0:
        return ctx.cash
    return ctx.cash + position.qty * unit_value(instruments_of(ctx)[0], position.px)


@uncounted
def _equity_of_many(ctx: Any) -> float:
    positions, insts = positions_of(ctx), instruments_of(ctx)
    total = ctx.cash
    for i in range(positions.shape[0]):
        if positions[i].lots != 0:
            total += positions[i].qty * unit_value(insts[i], positions[i].px)
    return total


@uncounted
def exposure_of(ctx: Any) -> float:
    """Return the signed sum of position values at last prices; an inverse position has the sign of its quantity."""
    positions, insts = positions_of(ctx), instruments_of(ctx)
    total = 0.0
    for i in range(positions.shape[0]):
        if positions[i].lots != 0:
            total += positions[i].qty * abs(unit_value(insts[i], positions[i].px))
    return total


@uncounted
def gross_of(ctx: Any) -> float:
    """Return the sum of absolute position values at last prices."""
    positions, insts = positions_of(ctx), instruments_of(ctx)
    total = 0.0
    for i in range(positions.shape[0]):
        if positions[i].lots != 0:
            total += abs(positions[i].qty * unit_value(insts[i], positions[i].px))
    return total


@uncounted
def target_lots(inst: Any, lots: int, equity: float, weight: float, px: float, fee_rate: float) -> int:
    """Return the signed lots to trade at `px` for the position to be worth `weight` of equity after that trade's fee.

    With E equity, v = |unit value|, f the fee rate and q the position, the trade d solves
    q v + d v = weight (E - f |d| v); its size is rounded toward zero in lots, so the weight is never exceeded by
    rounding. Returns 0 where the account is worth nothing or the size is beyond MOST_LOTS.
    """
    v = abs(unit_value(inst, px))
    if weight == 0.0:
        return -lots
    if v == 0.0 or not equity > 0.0:
        return 0
    held = lots_to_qty(inst, lots) * v
    gap = weight * equity - held
    d = gap / (1.0 + weight * fee_rate) if gap > 0.0 else gap / (1.0 - weight * fee_rate)
    want = d / v * inst.lot_den / inst.lot_num
    if abs(want) > MOST_LOTS:
        return 0
    near = round(want)
    if abs(want - near) <= 1e-6:
        return near
    return math.floor(want) if want > 0.0 else math.ceil(want)

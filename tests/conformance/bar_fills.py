"""Runs the cases of the `bar_fills` pack through `match_orders`; names are translated, nothing is decided here."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from quantai.backtest.matching import BarRules, match_orders
from quantai.core.instruments import Instrument
from quantai.core.rows import OrderState

# The pack's rules give a resting limit the better open: its instruments have sessions. The grid holds every price.
INSTRUMENT = Instrument.parse("BARS", tick="0.0001", lot="0.0001", calendar="XNYS")
STATES = {
    OrderState.WAITING: "Waiting",
    OrderState.PENDING: "Open",
    OrderState.OPEN: "Open",
    OrderState.PARTIAL: "PartiallyFilled",
    OrderState.FILLED: "Filled",
    OrderState.CANCELED: "Canceled",
    OrderState.REJECTED: "Rejected",
    OrderState.EXPIRED: "Expired",
}


def run(case: dict[str, Any]) -> list[str]:
    """Return how the outcome of one case differs from what is expected; an empty list is a pass."""
    options = dict(case["options"])
    rules = BarRules(slip_bps=float(options.pop("slip_bps", 0)), limit_touch=options.pop("limit_touch", False))
    if options:
        return [f"unknown options: {', '.join(options)}"]
    result = match_orders(case["orders"], case["bars"], INSTRUMENT, case["position"], rules)
    got = {
        # float64 is good to 15 digits: 12 of them are what a price is compared at
        "fills": _in_order([f.order, f.bar, Decimal(f"{f.px:.12g}"), f.qty, f.where] for f in result.fills),
        "final": {name: STATES[state] for name, state in result.states.items()},
        "reasons": {name: reason.name for name, reason in result.reasons.items()},
        "ambiguous_bars": result.ambiguous_bars,
        "position": result.position,
    }
    expect = dict(case["expect"])
    expect |= {
        "fills": _in_order([o, bar, Decimal(px), Decimal(qty), where] for o, bar, px, qty, where in expect["fills"]),
        "position": Decimal(expect["position"]),
    }
    return [f"{name}: expected {expect[name]}, got {got[name]}" for name in got if got[name] != expect[name]]


def _in_order(fills: Iterable[list[Any]]) -> list[list[Any]]:
    """Sort fills by bar, then by order: the pack does not say in which sequence orders fill within one bar."""
    return sorted(fills, key=lambda fill: (fill[1], fill[0]))

"""Fees as rows: what a venue says was paid for an execution becomes an adjustment of its desk."""

from collections.abc import Iterable
from typing import Any

from quantai.core.rows import Rows
from quantai.execution.oms import OMS
from quantai.portfolio.adjustments import Adjust, adjustment
from quantai.portfolio.desks import desk_of
from quantai.venues.venue import FEE


def fee_row(oms: OMS, report: Any, texts: Iterable[tuple[str, str]]) -> tuple[Rows | None, str]:
    """Return the ADJUST row of the fee beside a FILL, and in words why there is none where one was said.

    A fee in a currency the portfolio does not know (a venue's own token) cannot be booked.
    """
    said = dict(texts).get(FEE, "")
    slot = oms.table.slot(report["order"])
    if not said or slot is None:
        return None, ""
    amount, _, currency = said.partition(" ")
    if currency not in oms.portfolio.currencies:
        return None, f"a fee of {said} is not in the books: {currency} is no currency of this run"
    try:
        qty = float(amount)
    except ValueError:
        return None, f"a fee of {said!r} is no amount"
    tracked = oms.table.tracked[slot]
    i = int(tracked["instrument"])
    row = adjustment(
        Adjust.FEE,
        ts=int(report["ts"]),
        instrument=i,
        desk=desk_of(tracked["order"]),
        other=oms.portfolio.number(currency),
        px=oms.gate.price(i, int(report["px_ticks"])),
        qty=qty,
    )
    return row, ""

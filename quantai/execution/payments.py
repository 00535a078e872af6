"""Funding as rows: a payment to an account, shared among the desks that hold the perpetual."""

from quantai.core.rows import Rows
from quantai.execution.oms import OMS
from quantai.portfolio.adjustments import Adjust, adjustment
from quantai.venues.venue import Payment


def funding_rows(oms: OMS, venue: str, paid: Payment, now: int) -> list[Rows]:
    """Return the ADJUST rows, shape (1,) each, that a payment known at `now` (ns UTC) makes; none for what is not ours.

    Each desk has the share of what it holds; the first desk takes a payment for what nobody holds any more.
    """
    number = {(i.venue, i.symbol): n for n, i in enumerate(oms.setup.instruments)}
    i = number.get((venue, paid.symbol))
    if i is None:
        return []
    held = oms.portfolio.books.positions["qty"][:, i].astype(float)
    total = float(held.sum())
    shares = held / total if total else [1.0 if d == 0 else 0.0 for d in range(len(held))]
    rows: list[Rows] = []
    for desk, share in enumerate(shares):
        if share:
            qty = float(paid.amount) * float(share)
            rows.append(adjustment(Adjust.FUNDING, ts=paid.ts, instrument=i, desk=desk, qty=qty))
            rows[-1]["ts_recv"] = max(now, paid.ts)
    return rows

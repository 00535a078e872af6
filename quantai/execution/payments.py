"""Funding as rows: a payment to an account, shared among the desks that hold the perpetual."""

from quantai.core.rows import Rows
from quantai.execution.oms import OMS
from quantai.portfolio.adjustments import Adjust, adjustment, parties
from quantai.venues.venue import Payment

ROUNDING = 1e-9
"""What shares of a payment may lack of the whole, relative: they are added up in float64."""


def funding_rows(oms: OMS, venue: str, paid: Payment, now: int) -> list[Rows]:
    """Return the ADJUST rows, shape (1,) each, that a payment known at `now` (ns UTC) makes; none for what is not ours.

    Each desk has the share of what it holds; the first desk takes a payment for what nobody holds any more. What desks
    have of the same payment already is theirs: told again when others hold the perpetual, it is not shared anew.
    """
    number = {(i.venue, i.symbol): n for n, i in enumerate(oms.setup.instruments)}
    i = number.get((venue, paid.symbol))
    if i is None:
        return []
    held = oms.portfolio.books.positions["qty"][:, i].astype(float)
    has = _booked(oms, i, paid.ts)
    left = float(paid.amount) - sum(has.values())
    waiting = [d for d in range(len(held)) if d not in has]
    if not waiting or abs(left) <= ROUNDING * abs(float(paid.amount)):
        return []
    total = sum(float(held[d]) for d in waiting)
    is_held = abs(total) >= 0.5 * float(oms.setup.instruments[i].lot)  # two sides leave what rounding does, not zero
    rows: list[Rows] = []
    for d in waiting:
        share = float(held[d]) / total if is_held else float(d == waiting[0])
        if share:
            rows.append(adjustment(Adjust.FUNDING, ts=paid.ts, instrument=i, desk=d, qty=left * share))
            rows[-1]["ts_recv"] = max(now, paid.ts)
    return rows


def _booked(oms: OMS, i: int, ts: int) -> dict[int, float]:
    """Return what desks have of the payment for instrument `i` at `ts`."""
    has: dict[int, float] = {}
    for row in oms.portfolio.adjustments:
        if (
            int(row["px_ticks"][0]) == Adjust.FUNDING
            and int(row["ts_exch"][0]) == ts
            and int(row["instrument"][0]) == i
        ):
            desk = parties(row["aux"][0])[0]
            has[desk] = has.get(desk, 0.0) + float(row["qty"][0])
    return has

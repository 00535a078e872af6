"""How much of a holding one order may close, as risk judges it at the row at hand.

A position above the limits of an order is closed in parts that fit them. Risk itself is asked, so that no part is sent
that it would deny; what it answers follows from the rows so far, so a journal run again closes in the same parts.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from quantai.core.rows import REDUCE_ONLY, Action, OrderType
from quantai.core.transitions import Life
from quantai.execution.exposure import REQUEST
from quantai.execution.oms import OMS
from quantai.execution.order_table import SENT
from quantai.execution.reasons import RiskReason
from quantai.execution.stepper import TRIES
from quantai.portfolio.desks import desks_of

_TOO_LARGE = frozenset(
    (
        RiskReason.STATE_REDUCING,
        RiskReason.QTY_MAX,
        RiskReason.REDUCE_ONLY,
        RiskReason.NOTIONAL_MAX,
        RiskReason.ORDER_NOTIONAL,
        RiskReason.POSITION_LIMIT,
        RiskReason.GROSS_LIMIT,
        RiskReason.NET_LIMIT,
        RiskReason.LEVERAGE,
        RiskReason.MARGIN,
    )
)
_TOO_SMALL = frozenset((RiskReason.QTY_MIN, RiskReason.NOTIONAL_MIN))
_HELD_AGAINST = frozenset((RiskReason.STATE_REDUCING, RiskReason.REDUCE_ONLY))


class Part(NamedTuple):
    """What one order may close of a holding now; `lots` of 0 says that none may go out, and `reason` why."""

    instrument: int
    lots: int
    flags: int
    reason: RiskReason

    @property
    def is_too_little(self) -> bool:
        """Whether less is held than the venue takes in one order: nobody can close that."""
        return not self.lots and self.reason in _TOO_SMALL


def part_of(oms: OMS, desk: int, instrument: int, held: int) -> Part:
    """Return how much of `held` lots (signed) of an instrument of the run a desk's next order may close.

    As few orders of about one size as the limits allow, so that the last of them is not too small. An order is
    reduce-only, except where other desks of the account hold the other side: what closes here opens there. What is
    worth less than the venue's smallest notional goes out where that is not for reduce-only orders, until it is
    refused.
    """
    asked = _Asked(oms, desk, instrument, held)
    most, flags, reason = asked.most(REDUCE_ONLY), REDUCE_ONLY, asked.reason
    if not most and reason in _HELD_AGAINST:
        most, flags = asked.most(0), 0
    if not most:
        return Part(instrument, 0, flags, asked.reason)
    parts = -(-abs(held) // most)
    lots = -(-abs(held) // parts)
    reason = asked.about(lots, flags)
    if reason in _TOO_SMALL and lots < most:
        lots, reason = most, asked.about(most, flags)
    is_exempt = not reason and flags & REDUCE_ONLY and asked.about(lots, 0) is RiskReason.NOTIONAL_MIN
    if is_exempt and _refusals(oms, desk, instrument, lots) >= TRIES:  # said to take it, and does not
        reason = RiskReason.NOTIONAL_MIN
    return Part(instrument, 0 if reason else lots, flags, reason)


def part_of_listings(oms: OMS, desk: int, held: Iterable[tuple[int, int]]) -> Part:
    """Return the same for what is held at several listings, given as (instrument, signed lots) in the order of closing.

    Its lots are those of the first listing where a part may go out, and all that is held at those before it.
    """
    before, first = 0, None
    for instrument, lots in held:
        part = part_of(oms, desk, instrument, lots)
        if part.lots:
            return part._replace(lots=before + part.lots)
        before, first = before + abs(lots), first or part
    return first or Part(0, 0, 0, RiskReason.OK)


def _refusals(oms: OMS, desk: int, instrument: int, lots: int) -> int:
    """Return how many orders of a desk were refused by the venue one after another that would have closed `lots`."""
    n = len(oms.table)
    tracked, entries = oms.table.tracked[:n], oms.table.entries[:n]
    mine = (desks_of(entries["order"]) == desk) & (tracked["instrument"] == instrument)
    mine &= entries["flags"] & SENT != 0
    refused = (tracked["life"] == Life.REJECTED) & (tracked["qty_lots"] == lots)
    refused &= tracked["flags"] & REDUCE_ONLY != 0
    others = np.flatnonzero(~refused[mine][::-1])
    return int(others[0] if len(others) else mine.sum())


class _Asked:
    """Asks risk about orders of one desk that close a holding; `reason` is the last answer."""

    def __init__(self, oms: OMS, desk: int, instrument: int, held: int) -> None:
        self._gate, self._account = oms.gate, int(oms.portfolio.books.account[desk])
        self._held, self._instrument = abs(held), instrument
        self._row: Any = np.zeros(1, REQUEST)[0]
        self._row["order"], self._row["ts"] = int(oms.point["tickets"][0]) + 1, oms.ts
        self._row["px"] = self._row["trigger"] = np.nan
        self._row["instrument"], self._row["side"] = instrument, -1 if held > 0 else 1
        self._row["type"] = OrderType.MARKET
        self.reason = RiskReason.OK

    def about(self, lots: int, flags: int, action: Action = Action.NEW) -> RiskReason:
        """Return why risk would deny an order of these lots, OK if it would not."""
        self._row["action"], self._row["flags"] = action, flags
        self._row["qty"] = self._gate.units(self._instrument, lots)
        self.reason = RiskReason(self._gate.would_deny(self._account, self._row))
        return self.reason

    def most(self, flags: int) -> int:
        """Return the most lots that are not too large, 0 if one lot is."""
        if not self._is_too_large(self._held, flags):
            return self._held
        low, high = 0, self._held
        while high - low > 1:
            middle = (low + high) // 2
            if self._is_too_large(middle, flags):
                high = middle
            else:
                low = middle
        if not low:
            self.about(1, flags)
        return low

    def _is_too_large(self, lots: int, flags: int) -> bool:
        # as a change of no order: what only new ones are asked, such as whether one of this size was just sent, could
        # hide that it is too large
        return self.about(lots, flags, Action.REPLACE) in _TOO_LARGE

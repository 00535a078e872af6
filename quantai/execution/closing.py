"""Closing what desks hold: asked for again until nothing is held, because one attempt can meet nobody.

A book may be empty for a moment, the venue about to be reconciled, the limits may let out a part of it only. So a desk
that is to be flat is told again, by rows of the journal, once something can go out; what prevents that is an alarm.
What is less than the venue takes in one order is left: that is said, and nothing is wrong.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from quantai.core.rows import MIN, MS, SEC
from quantai.execution.alarms import Alarm, Alarms
from quantai.execution.closes import Part
from quantai.execution.controls import Control
from quantai.execution.floor import Floor
from quantai.execution.reasons import RiskReason

GRACE_NS = 15 * SEC
"""How long closing may get nowhere before it is an alarm, and the end of a run gives up."""

AGAIN_NS = 2 * SEC
"""How often it is asked for: a cancel may be lost, a book may have had nothing left to take."""

_GIVES_UP = (Control.RESUME, Control.STOP, Control.KILL)
_PASSES = (RiskReason.RECONCILING, RiskReason.RATE_LIMIT, RiskReason.DUPLICATE_ORDER, RiskReason.MAX_OPEN_ORDERS)
_WHY: Mapping[RiskReason, str] = {
    RiskReason.RECONCILING: "the books are not yet reconciled with the venue",
    RiskReason.STATE_HALTED: "trading is halted; `quantai control RUN reduce` lets out what closes",
    RiskReason.STATE_REDUCING: "other desks of the account hold the other side, and trading is reduced to closing",
    RiskReason.INSTRUMENT_NOT_TRADABLE: "the venue has suspended it, or it has expired",
    RiskReason.SESSION_CLOSED: "its session is closed",
    RiskReason.QTY_MIN: "less is held than the venue's smallest quantity",
    RiskReason.NOTIONAL_MIN: "what is held is worth less than the venue's smallest notional",
    RiskReason.NOTIONAL_MAX: "one lot is worth more than the venue's largest notional",
    RiskReason.ORDER_NOTIONAL: "one lot is worth more than max_order_notional",
    RiskReason.SELF_TRADE: "it would trade with an order of our own",
    RiskReason.RATE_LIMIT: "rate_max leaves no room for it",
    RiskReason.MAX_OPEN_ORDERS: "max_open_orders leaves no room for it",
    RiskReason.STALE_QUOTE: "other desks of the account hold the other side, and there is no fresh quote",
}

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Told:
    """How closing stands with one desk: lots held, instants in ns UTC."""

    held: int
    since: int  # nothing has traded
    next: int  # not told again before
    waits: int = 0  # ns that a limit may take to let the next order out
    lines: tuple[str, ...] = ()
    left: tuple[str, ...] = ()  # what is too little to close
    is_over: bool = False  # nothing else is held


class Closing:
    """The desks of a floor that are to be flat, until they are or are told otherwise."""

    def __init__(self, floor: Floor, alarms: Alarms) -> None:
        self._floor, self._alarms = floor, alarms
        self._told: dict[int, _Told] = {}

    def take(self, what: Control, desks: Iterable[int], now: int) -> None:
        """Note what desks were told at the instant `now` (ns)."""
        for d in desks:
            if what is Control.FLATTEN:
                told = self._told.setdefault(d, _Told(self._floor.held(d), now, now))
                told.next = now + AGAIN_NS
            elif what in _GIVES_UP:
                self._told.pop(d, None)

    @property
    def until(self) -> int:
        """The instant (ns) until which something can be expected to trade, 0 if nothing is to be closed."""
        waits = (t.since + GRACE_NS + t.waits for d, t in self._told.items() if self._floor.held(d) and not t.is_over)
        return max(waits, default=0)

    @property
    def leaves(self) -> bool:
        """Whether what desks that are to be flat still hold is too little to close."""
        told = [t for d, t in self._told.items() if self._floor.held(d)]
        return bool(told) and all(t.is_over for t in told)

    def due(self, now: int) -> list[int]:
        """Return the desks to tell again now (ns): they hold what can be closed and do nothing about it."""
        found: list[int] = []
        for d, desk in enumerate(self._floor.desks):
            if not desk.is_closing:
                self._told.pop(d, None)
                continue
            held = self._floor.held(d)
            told = self._told.setdefault(d, _Told(held, now, now))
            if held != told.held:
                told.held, told.since, told.next, told.lines, told.is_over = held, now, now, (), False
            if not held:
                told.lines = ()
            elif not desk.works and self._is_due(d, told, now):
                found.append(d)
        self._alarms.stand(Alarm.NOT_CLOSED, [line for told in self._told.values() for line in told.lines])
        return found

    def _is_due(self, d: int, told: _Told, now: int) -> bool:
        parts = self._floor.parts(d)
        is_late = now >= told.since + GRACE_NS + told.waits
        told.waits = max(map(self._wait, parts), default=0)
        self._leave(d, told, [part for part in parts if part.is_too_little])
        parts = [part for part in parts if not part.is_too_little]
        told.is_over = not parts
        told.lines = tuple(self._line(d, part) for part in parts if is_late or self._lasts(part))
        if now < told.next or not any(part.lots for part in parts):
            return False
        told.next = now + (GRACE_NS if is_late else AGAIN_NS)
        return True

    def _leave(self, d: int, told: _Told, parts: list[Part]) -> None:
        """Say once of each part that it is left."""
        lines = tuple(self._line(d, part) for part in parts)
        for line in set(lines) - set(told.left):
            _log.info("%s", line)
        told.left = lines

    def _wait(self, part: Part) -> int:
        """Return how long (ns) a limit may take to let the next order out; what takes longer is not waited for."""
        limits = self._floor.oms.gate.limits
        waits = {
            RiskReason.RATE_LIMIT: limits.rate_window_ms,
            RiskReason.DUPLICATE_ORDER: limits.duplicate_window_ms,
        }
        return min(waits.get(part.reason, 0) * MS, MIN)

    def _lasts(self, part: Part) -> bool:
        """Say whether what keeps a part from going out does not end by itself."""
        limits = self._floor.oms.gate.limits
        never = {RiskReason.RATE_LIMIT: limits.rate_max == 0, RiskReason.MAX_OPEN_ORDERS: limits.max_open_orders == 0}
        return not part.lots and (part.reason not in _PASSES or never.get(part.reason, False))

    def _line(self, d: int, part: Part) -> str:
        setup = self._floor.oms.setup
        what, run = setup.instruments[part.instrument], setup.desks[d].run
        if part.lots:
            why = f"nothing has traded for {GRACE_NS // SEC} s; it is tried again every {GRACE_NS // SEC} s"
        else:
            why = f"{_WHY.get(part.reason, 'risk denies it')} ({part.reason.name})"
        return f"{run} cannot close what it holds of {what.symbol} at {what.venue}: {why}"

"""Alarms: what is wrong with a run now, each under a name that stays the same; raised once, cleared when it is over."""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from enum import StrEnum

_log = logging.getLogger(__name__)


class Alarm(StrEnum):
    """What can be wrong; `docs/runbook.md` says what to do about each."""

    REPORTS_LOST = "reports_lost"  # what a venue says of our orders does not reach us
    ORDER_UNKNOWN = "order_unknown"  # a venue was asked about an order and has not answered
    ORDERS_DIFFER = "orders_differ"  # an order works on one side only
    POSITIONS_DIFFER = "positions_differ"  # a venue holds other contracts for us than our books
    MONEY_DIFFERS = "money_differs"  # a venue holds other money for us than our books
    VENUE_SILENT = "venue_silent"  # a venue does not say what it holds for us
    SOURCE_ENDED = "source_ended"  # a feed or a venue cannot be used any more: the run ends
    FEED_SILENT = "feed_silent"  # a connection of a feed is open and has sent nothing for too long
    FEED_DOWN = "feed_down"  # a connection of a feed is not open
    DEAD_MAN_OFF = "dead_man_off"  # a venue would not cancel our orders if it heard no more of us
    JOURNAL_LATE = "journal_late"  # rows wait for the disk: orders wait with them
    NOT_CLOSED = "not_closed"  # a desk that is to be flat holds what it cannot close
    INBOX_FULL = "inbox_full"  # rows come faster than they are taken: decisions are about the past


RECONCILED = (
    Alarm.REPORTS_LOST, Alarm.ORDER_UNKNOWN, Alarm.ORDERS_DIFFER, Alarm.POSITIONS_DIFFER, Alarm.MONEY_DIFFERS,
    Alarm.VENUE_SILENT,
)  # fmt: skip
"""Alarms that are over once our books and the venue's agree; until then only cancels go out."""


class Alarms:
    """The alarms that stand, in the order in which they were raised; iterating gives their lines.

    Each is known by its name and what it is about, and logged when it is raised and when it is cleared.

    >>> alarms = Alarms()
    >>> alarms.sound(Alarm.FEED_DOWN, "OKX: a connection is not open", venue="OKX")
    >>> alarms.sound(Alarm.FEED_DOWN, "OKX: a connection is not open", venue="OKX")
    >>> list(alarms), alarms.raised.total()
    (['OKX: a connection is not open'], 1)
    >>> alarms.clear([Alarm.FEED_DOWN], venue="OKX")
    >>> len(alarms)
    0
    """

    def __init__(self) -> None:
        self._standing: dict[tuple[Alarm, str], str] = {}  # the venue by alarm and line
        self.raised: Counter[Alarm] = Counter()

    def __iter__(self) -> Iterator[str]:
        return iter([line for _, line in self._standing])

    def __len__(self) -> int:
        return len(self._standing)

    def __repr__(self) -> str:
        return repr(list(self))

    @property
    def standing(self) -> Counter[Alarm]:
        """How many of each stand."""
        return Counter(alarm for alarm, _ in self._standing)

    def sound(self, alarm: Alarm, line: str, *, venue: str = "") -> None:
        """Raise an alarm; one that stands with the same line stays as it is."""
        if (alarm, line) in self._standing:
            return
        self._standing[alarm, line] = venue
        self.raised[alarm] += 1
        _log.error("%s", line, extra={"event": "alarm_raised", "alarm": str(alarm)} | _about(venue))

    def clear(self, alarms: Iterable[Alarm], *, venue: str = "") -> None:
        """Clear all alarms of some names, or those of one venue."""
        wanted = set(alarms)
        self._end([key for key, of in self._standing.items() if key[0] in wanted and venue in ("", of)])

    def stand(self, alarm: Alarm, lines: Collection[str]) -> None:
        """Let exactly these lines of an alarm stand: raise those that are new, clear those that are over."""
        self._end([key for key in self._standing if key[0] is alarm and key[1] not in lines])
        for line in lines:
            self.sound(alarm, line)

    def _end(self, keys: Iterable[tuple[Alarm, str]]) -> None:
        for alarm, line in keys:
            of = self._standing.pop((alarm, line))
            _log.warning("over: %s", line, extra={"event": "alarm_cleared", "alarm": str(alarm)} | _about(of))


def _about(venue: str) -> dict[str, str]:
    return {"venue": venue} if venue else {}

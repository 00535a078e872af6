"""What a recording counted, and what of it survives a crash."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from quantai.core.rows import LAST, MS, Kind, Rows, Status
from quantai.feeds.columns import Pile
from quantai.feeds.feed import CHANNELS, RECEIPT_TIME, STATUS

_STEPS = np.geomspace(1e3, 1e14, 1_000)  # 1 us to a day, 2.6 % apart
_EDGES = np.concatenate([-_STEPS[::-1], [0.0], _STEPS])


def _zeros() -> dict[str, int]:
    return dict.fromkeys(CHANNELS, 0)


@dataclass
class Tally:
    """Counts since the beginning of a source: of one capture, or of all recordings of a venue.

    `messages` and `rows` count by channel, `events` the STATUS and GAP rows. `batches` and `seq` say where to go on.
    """

    messages: dict[str, int] = field(default_factory=_zeros)
    rows: dict[str, int] = field(default_factory=_zeros)
    events: int = 0
    gaps: int = 0
    reconnects: int = 0
    batches: int = 0
    seq: int = 0
    complete: bool = False

    @classmethod
    def of(cls, position: Mapping[str, Any]) -> Self:
        """Return the tally stored in a writer's position; an empty position is a new source."""
        known = {name: position[name] for name in cls.__dataclass_fields__ if name in position}
        return cls(**known)

    def position(self) -> dict[str, Any]:
        """Return everything, to be stored with the rows."""
        return asdict(self)

    def take(self, pile: Pile) -> None:
        """Count what was put together."""
        self.batches += pile.messages
        self.seq = max([self.seq, *pile.events["seq"][-1:].tolist()])
        if pile.channel == STATUS:
            self.events += pile.rows
            for row in pile.events:
                self._event(row)
        else:
            self.messages[pile.channel] += pile.messages
            self.rows[pile.channel] += pile.rows

    def _event(self, row: Any) -> None:
        self.gaps += int(row["kind"] == Kind.GAP)
        # the rows of a connection's symbols are one report, which ends with LAST
        again = row["kind"] == Kind.STATUS and row["aux"] == Status.RESUMED
        self.reconnects += int(again and bool(row["flags"] & LAST))

    @property
    def total(self) -> int:
        """How many rows of the lake that is."""
        return sum(self.rows.values()) + self.events

    def since(self, before: "Tally") -> "Tally":
        """Return what was counted after `before`."""
        return Tally(
            {c: n - before.messages[c] for c, n in self.messages.items()},
            {c: n - before.rows[c] for c, n in self.rows.items()},
            self.events - before.events,
            self.gaps - before.gaps,
            self.reconnects - before.reconnects,
            self.batches - before.batches,
            self.seq,
            self.complete,
        )


class Latency:
    """Receipt minus venue time of messages, to 3 %, in constant memory; negative where the clocks disagree that way.

    >>> latency = Latency()
    >>> latency.percentiles_ms(50)
    [nan]
    """

    def __init__(self) -> None:
        self._counts: npt.NDArray[np.int64] = np.zeros(len(_EDGES) + 1, "i8")

    def take(self, rows: Rows) -> None:
        """Count the messages that end in `rows`, leaving out those without a time of the venue."""
        ends = rows[(rows["flags"] & (LAST | RECEIPT_TIME)) == LAST]
        found = np.searchsorted(_EDGES, ends["ts_recv"] - ends["ts_exch"], side="right")
        self._counts += np.bincount(found, minlength=len(self._counts))

    def percentiles_ms(self, *percents: float) -> list[float]:
        """Return the percentiles in milliseconds, NaN when nothing was counted."""
        total = int(self._counts.sum())
        if total == 0:
            return [float("nan")] * len(percents)
        running = np.cumsum(self._counts)
        at = [int(np.searchsorted(running, max(1.0, p / 100 * total))) for p in percents]
        middles = np.concatenate([[_EDGES[0]], (_EDGES[1:] + _EDGES[:-1]) / 2, [_EDGES[-1]]])
        return [float(middles[i]) / MS for i in at]

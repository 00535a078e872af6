"""Supervision of connections: silence, disconnections and reconnect storms, none of which cryptofeed reports.

Measured with cryptofeed 3.0.1: a venue that closes a connection cleanly is reconnected at once, without a log line, a
callback or a delay, several hundred times a second if it closes every time; and a socket that opens and never sends
is never noticed. So silence is counted here from the moment of connecting, and reopening is slowed down before it
becomes a ban.
"""

from collections import deque
from dataclasses import dataclass
from random import Random
from typing import Any

from quantai.core.errors import VenueError
from quantai.core.rows import Status


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one connection; `hole` says that rows may be missing before this."""

    connection: Any
    status: Status
    detail: str
    hole: bool = False


_AGAIN = Status.RESUMED, "connected again", True


class _State:
    __slots__ = ("connects", "down", "quiet_since", "received", "stale")

    def __init__(self) -> None:
        self.connects, self.received, self.quiet_since = 0, 0, 0.0
        self.down = self.stale = False


class Watch:
    """Compares what connections report with what they reported before.

    A connection is anything with `connects` (how often it was opened), `stats.received`, `stats.open` and `id`:
    cryptofeed's own. `stale_s` is how long it may be silent, None for ever. With `resumed`, the first connection of
    each counts as a hole: an earlier recording ended before it.
    """

    def __init__(self, stale_s: float | None = None, *, resumed: bool = False) -> None:
        self._stale_s = stale_s
        self._first = Status.CONNECTED, "connected; an earlier recording ended" if resumed else "connected", resumed
        self._states: dict[Any, _State] = {}

    def add(self, connection: Any) -> None:
        """Watch `connection` from now on."""
        self._states[connection] = _State()

    @property
    def connections(self) -> list[Any]:
        """The connections that are watched."""
        return list(self._states)

    @property
    def silent(self) -> bool:
        """Whether a connection has been silent for too long and has not come back."""
        return any(state.stale for state in self._states.values())

    def restart(self) -> None:
        """Forget all connections; those added from now on continue them."""
        self._states.clear()
        self._first = _AGAIN

    def stop(self) -> list[Change]:
        """Return that the connections still open are given up."""
        return [
            Change(connection, Status.DISCONNECTED, "recording stopped")
            for connection, state in self._states.items()
            if state.connects and not state.down
        ]

    def reopened(self) -> list[Change]:
        """Return the connections opened since the last look, in order; cheap enough to ask before every message."""
        changes: list[Change] = []
        for connection, state in self._states.items():
            if connection.connects != state.connects:
                changes += self._opened(connection, state)
        return changes

    def look(self, now_s: float) -> list[Change]:
        """Return everything that changed since the last look; a STALE connection is for the caller to close."""
        changes = self.reopened()
        for connection, state in self._states.items():
            stats = connection.stats
            if state.connects and not stats.open and not state.down:
                state.down = True
                changes.append(Change(connection, Status.DISCONNECTED, "connection lost"))
            if stats.received != state.received or not stats.open or not state.quiet_since:
                state.received, state.quiet_since, state.stale = stats.received, now_s, False
            elif self._stale_s is not None and now_s - state.quiet_since > self._stale_s and not state.stale:
                state.stale = True
                changes.append(Change(connection, Status.STALE, f"nothing received for {self._stale_s:g} s"))
        return changes

    def _opened(self, connection: Any, state: _State) -> list[Change]:
        changes: list[Change] = []
        for _ in range(connection.connects - state.connects):
            if state.connects and not state.down:
                changes.append(Change(connection, Status.DISCONNECTED, "connection lost"))
            changes.append(Change(connection, *(_AGAIN if state.connects else self._first)))
            state.connects += 1
            state.down, state.quiet_since = False, 0.0
        return changes


class Pace:
    """How fast one connection may be opened again.

    The first `free` openings within `window_s` are immediate, each further one waits twice as long as the one before,
    from `first_s` up to `most_s`, and up to the fraction `jitter` of that longer, so that many clients do not come back
    at one instant. After `hopeless` openings in a row that the venue closed without having sent
    anything, opening again is refused.

    >>> pace = Pace("BINANCE", first_s=1.0)
    >>> [pace.delay(now_s=0.0, received=n, ours=False) for n in range(6)]
    [0.0, 0.0, 0.0, 1.0, 2.0, 4.0]
    """

    def __init__(
        self,
        venue: str,
        *,
        first_s: float = 1.0,
        most_s: float = 60.0,
        free: int = 3,
        window_s: float = 60.0,
        hopeless: int = 10,
        jitter: float = 0.0,
        seed: int | None = None,
    ) -> None:
        self._venue, self._first_s, self._most_s = venue, first_s, most_s
        self._free, self._window_s, self._hopeless = free, window_s, hopeless
        self._jitter, self._random = jitter, Random(seed)
        self._opened: deque[float] = deque()
        self._received = -1
        self._fruitless = 0

    def delay(self, now_s: float, received: int, *, ours: bool) -> float:
        """Return the seconds to wait before opening; raises VenueError when there is no point.

        `received` counts all frames so far; `ours` says that the last connection was closed by us, for its silence.
        """
        if received != self._received:
            self._received, self._fruitless = received, 0
        elif not ours:
            self._fruitless += 1
        if self._fruitless >= self._hopeless:
            raise VenueError(
                f"{self._venue} closed {self._fruitless} connections in a row without sending anything: stopped "
                "before it bans this address; check that the symbols still trade, or try again later"
            )
        while self._opened and now_s - self._opened[0] > self._window_s:
            self._opened.popleft()
        extra = len(self._opened) - self._free
        self._opened.append(now_s)
        if extra < 0:
            return 0.0
        return min(self._most_s, self._first_s * 2.0**extra) * (1.0 + self._jitter * self._random.random())

"""Closing what desks hold while a run goes on: asked for again for a while, because one attempt can meet nobody.

A book may be empty for a moment, a quote stale, the venue about to be reconciled: each of them ends every attempt of a
desk within a row. So a desk that was told to flatten is told again, by rows of the journal, as at the end of a run.
"""

from collections.abc import Iterable

from quantai.core.rows import SEC
from quantai.execution.controls import Control

GRACE_NS = 15 * SEC
"""How long closing is asked for; the end of a run waits as long for its orders to end."""

AGAIN_NS = 2 * SEC
"""How often: a cancel may be lost, a book may have had nothing left to take."""

_GIVES_UP = (Control.RESUME, Control.STOP, Control.KILL)


class Closing:
    """The desks that were told to flatten, until they are flat, told otherwise, or GRACE_NS is over.

    >>> closing = Closing()
    >>> closing.take(Control.FLATTEN, [0, 1], now=0)
    >>> closing.due(AGAIN_NS), closing.due(AGAIN_NS)
    ([0, 1], [])
    >>> closing.take(Control.RESUME, [1], now=0)
    >>> closing.due(2 * AGAIN_NS), closing.due(GRACE_NS)
    ([0], [])
    """

    def __init__(self) -> None:
        self._until: dict[int, int] = {}
        self._next = 0

    def take(self, what: Control, desks: Iterable[int], now: int) -> None:
        """Note what desks were told at the instant `now` (ns)."""
        for desk in desks:
            if what is Control.FLATTEN:
                self._until[desk], self._next = now + GRACE_NS, now + AGAIN_NS
            elif what in _GIVES_UP:
                self._until.pop(desk, None)

    def due(self, now: int) -> list[int]:
        """Return the desks to look at now (ns): those that hold something and do nothing about it are told again."""
        self._until = {desk: until for desk, until in self._until.items() if now < until}
        if not self._until or now < self._next:
            return []
        self._next = now + AGAIN_NS
        return list(self._until)

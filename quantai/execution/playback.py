"""Rows of the past through the trade loop, as fast as they can be processed, on the clock of the rows themselves."""

import asyncio

import numpy as np

from quantai.core.rows import Rows
from quantai.execution.loop import NO_BARS, Loop
from quantai.execution.sources import pieces

PIECE = 64
"""Rows shown at once: a paper venue answers between two pieces."""


class RowClock:
    """The instant of the last row, ns UTC, as a clock.

    >>> clock = RowClock(5)
    >>> clock.now = 7
    >>> clock()
    7
    """

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        """Return the instant."""
        return self.now


async def play(loop: Loop, clock: RowClock, rows: Rows, bars: Rows = NO_BARS) -> None:
    """Take rows in their order of receipt, with timers where they fall due; `bars` are what BAR rows point into."""
    if len(bars):  # they are few: each is shown with its own bar
        for n in range(len(rows)):
            await _take(loop, clock, rows[n : n + 1], bars)
        return
    for piece in pieces(rows, PIECE):
        await _take(loop, clock, piece, NO_BARS)


async def _take(loop: Loop, clock: RowClock, rows: Rows, bars: Rows) -> None:
    while len(rows):
        due = loop.next_due
        n = int(np.searchsorted(np.maximum.accumulate(rows["ts_recv"]), due, "left")) if due else len(rows)
        if n == 0:
            clock.now = max(clock.now, due)
            await loop.beat()
        else:
            part, rows = rows[:n], rows[n:]
            clock.now = max(clock.now, int(part["ts_recv"][-1]))
            own = bars[part["aux"]] if len(bars) else NO_BARS
            if len(bars):
                part = part.copy()
                part["aux"] = np.arange(len(part))
            await loop.market(part, own)
        await answered(loop)


async def answered(loop: Loop) -> None:
    """Process what venues say to what was just sent, until they say no more."""
    while True:
        for _ in range(3):  # an answer may pass two tasks before it is in the inbox
            await asyncio.sleep(0)
        if not len(loop.inbox):
            return
        await loop.process()

"""The heads of a journal: the columns of all its frames, checked before anything is chosen by them.

A reader that let SQLite choose by columns nobody checked would pass over a frame whose stream or range was changed by a
flipped bit, and say nothing. So the heads are read once, checked by the checksum of their own and kept; choosing, and
finding the ends of the streams, is done here, in memory. 80 bytes a frame, some 2 µs to read one.
"""

import sqlite3
import struct
from pathlib import Path
from typing import Any

import numpy as np

from quantai.core.rows import Rows
from quantai.journal import schema
from quantai.journal.frames import Frame, Stream, head_sum
from quantai.journal.lock import WriterLock

HEAD = np.dtype([(name, "i8") for name in Frame._fields[:-1]])
"""The columns of a frame, without its body."""

_PAGE = 4096  # heads looked up at a time: no read transaction is held for long, or the log only grows


class Heads:
    """The heads of the frames of one file, as far as they were read; `read_on` reads what came since.

    damaged: numbers, as they claim to be, of frames whose columns have a wrong checksum, with their columns. unread:
    the last frame that was acknowledged, where the file ends before it, else 0.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: Rows = np.zeros(64, HEAD)
        self._n = 0
        self.damaged: dict[int, Frame] = {}
        self.unread = 0

    @property
    def rows(self) -> Rows:
        """All intact heads by number, dtype HEAD."""
        return self._rows[: self._n]

    @property
    def last(self) -> int:
        """The number of the newest frame with an intact head; 0 when there is none."""
        return int(self._rows["n"][self._n - 1]) if self._n else 0

    def read_on(self, db: sqlite3.Connection) -> None:
        """Read the heads that were written since the last time; raises what SQLite raises."""
        marked = WriterLock.mark_of(self._path)  # asked first: it never runs ahead of the file
        at = self.last
        while True:
            found = db.execute(f"{schema.SELECT_COLUMNS} WHERE n > ? ORDER BY n LIMIT {_PAGE}", (at,)).fetchall()
            self._take(found)
            if len(found) < _PAGE:
                break
            # a damaged number must not hide the frames behind it
            before, at = at, self.last if self.last > at else max(row[0] for row in found)
            if at <= before:
                break
        self.unread = marked if marked > max([self.last, *(n for n in self.damaged if n <= marked)]) else 0

    def holes(self, after: int, upto: int) -> list[int]:
        """Numbers of frames after < n <= upto that are not there."""
        first, last = np.searchsorted(self.rows["n"], [after, upto], side="right")
        numbers = self.rows["n"][first:last]
        if len(numbers) == upto - after:
            return []
        return [n for n in sorted({*range(after + 1, upto + 1)}.difference(numbers.tolist())) if n not in self.damaged]

    def of(self, stream: Stream) -> Rows:
        """The heads of one stream, by number."""
        rows = self.rows
        return rows[rows["stream"] == stream]

    def newest(self, stream: Stream) -> Any:
        """The newest head of a stream; None when there is none."""
        at = np.flatnonzero(self.rows["stream"] == stream)
        return self.rows[at[-1]] if len(at) else None

    def _take(self, found: list[tuple[Any, ...]]) -> None:
        good: list[tuple[Any, ...]] = []
        last = self.last
        for row in found:
            if _is_intact(row) and row[0] > last:  # a wrong pointer between pages can show a page twice
                good.append(row)
                last = row[0]
            else:
                self.damaged[row[0]] = Frame._make([*row, b""])
        if self._n + len(good) > len(self._rows):
            self._rows = np.concatenate([self.rows, np.zeros(self._n + 2 * len(good), HEAD)])
        if good:
            self._rows[self._n : self._n + len(good)] = good
            self._n += len(good)


def _is_intact(row: tuple[Any, ...]) -> bool:
    try:
        return head_sum(row) == row[9] >> 32 & 0xFFFFFFFF
    except (TypeError, struct.error):  # damage can turn a number into text
        return False

"""What a damaged journal has lost, told from what is left of it."""

from collections.abc import Iterable
from itertools import pairwise

from quantai.core.rows import Kind
from quantai.journal.frames import Frame, Gap, Stream, bitmap, unpack_gaps, unpack_rows

RESERVE_ROWS = 1 << 20
"""Sequence numbers given up when rows may be lost at the end: a number that named an order must never name another."""


class Remains:
    """The frames of a damaged journal, sorted into intact and damaged ones; bodies are not kept."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self.intact: list[Frame] = []
        self.damaged: list[Frame] = []
        self.gaps: list[Gap] = []
        self._top_bar = -1  # the highest index that a BAR event points to
        for frame in frames:
            self._add(frame)

    @property
    def next_frame(self) -> int:
        """The number for the frame that records the gaps: behind every frame that is left or believably was."""
        return max([self._last_frame, *(frame.n for frame in self._believed())]) + 1

    def find_gaps(self, reserve_rows: int) -> list[Gap]:
        """One gap for each lost frame, then the EVENT and BAR rows that the neighbours show to be missing.

        reserve_rows: how many numbers to give up where frames may be lost behind the last one, 0 where they are not.
        """
        recorded = {gap.frame for gap in self.gaps}
        claims = {frame.n: frame for frame in self._believed()}
        bad = sorted({n for n in holes(frame.n for frame in self.intact) if n not in recorded} | claims.keys())
        gaps = [_gap_of(claims.get(n), n) for n in bad]
        event, next_event = self._between(Stream.EVENT, self._next_event())
        bars = any(frame.stream == Stream.BAR for frame in self.intact)
        gaps += event + (self._between(Stream.BAR, self._top_bar + 1)[0] if bars else [])
        if reserve_rows:
            last = next_event + reserve_rows - 1
            gaps.append(Gap(Stream.EVENT, next_event, last, 0, "the end may be lost: these numbers are not used again"))
        return gaps

    def _add(self, frame: Frame) -> None:
        if not frame.intact:
            self.damaged.append(frame._replace(body=b""))
            return
        self.intact.append(frame._replace(body=b""))
        if frame.stream == Stream.GAP:
            self.gaps += unpack_gaps(frame)
        if frame.stream == Stream.EVENT and frame.kinds & bitmap([Kind.BAR]):
            rows = unpack_rows(frame)
            self._top_bar = max(self._top_bar, int(rows["aux"][rows["kind"] == Kind.BAR].max(initial=-1)))

    def _believed(self) -> list[Frame]:
        """Damaged frames whose own number can be right: among the intact ones, or next after the last."""
        return [frame for frame in self.damaged if frame.n <= self._last_frame + 1]

    @property
    def _last_frame(self) -> int:
        return self.intact[-1].n if self.intact else 0

    def _next_event(self) -> int:
        """The next sequence number, as every frame that knows of it tells."""
        known = [frame.seq_first for frame in self.intact if frame.stream in (Stream.MANIFEST, Stream.END)]
        known += [frame.seq_last + 1 for frame in self.intact if frame.stream in _CAUSED]
        return max(known, default=1)

    def _between(self, stream: Stream, least: int) -> tuple[list[Gap], int]:
        """The gaps between the rows of a stream that are left, and the number after them, which is `least` or more."""
        known = [(gap.first, gap.last) for gap in self.gaps if gap.stream is stream and not gap.frame]
        held = sorted([(f.seq_first, f.seq_last) for f in self.intact if f.stream == stream] + known)
        first = min((frame.seq_first for frame in self.intact if frame.stream == Stream.MANIFEST), default=1)
        begin = 0 if stream is Stream.BAR else min([first, *(start for start, _ in held)])
        gaps: list[Gap] = []
        for (_, end), (start, _) in pairwise([(0, begin - 1), *held, (least, least)]):
            if end + 1 < start:
                gaps.append(Gap(stream, end + 1, start - 1, 0, "between the rows that are left"))
        return gaps, max([least, begin, *(end + 1 for _, end in held)])


_CAUSED = (Stream.INTENT, Stream.REPORT, Stream.SNAPSHOT)  # name a row that was there before them


def holes(numbers: Iterable[int]) -> list[int]:
    """The numbers from 1 on that are left out of an increasing sequence.

    >>> holes([1, 2, 5])
    [3, 4]
    """
    found: list[int] = []
    seen = 0
    for n in numbers:
        found += range(seen + 1, n)
        seen = n
    return found


def _gap_of(frame: Frame | None, n: int) -> Gap:
    if frame is None:
        return Gap(None, 0, 0, n, "the frame is missing")
    if frame.stream in (*_CAUSED, Stream.TEXT):
        return Gap(
            Stream(frame.stream), frame.seq_first, frame.seq_last, n, "the frame is damaged; so its columns said"
        )
    return Gap(None, 0, 0, n, "the frame is damaged")

"""What was appended and is not on the disk yet."""

from collections.abc import Iterable

import numpy as np

from quantai.core.rows import Rows
from quantai.journal.frames import ROWS, Frame, Stream, Text, encode_text, pack_rows, pack_texts

FRAME_ROWS = 4096
"""Rows in a full frame, 256 KiB: what one flipped bit can cost."""


class Backlog:
    """Rows and strings that wait in memory for the next write.

    Rows are kept as bytes: appending one row costs a fifth of copying it into an array.

    >>> waiting = Backlog()
    >>> waiting.add_rows(Stream.BAR, np.zeros(2, ROWS[Stream.BAR]))
    >>> waiting.nbytes
    128
    >>> [(frame.n, frame.rows, frame.seq_first) for frame in waiting.frames(9, first_bar=4, ts_ns=0)]
    [(9, 2, 4)]
    """

    def __init__(self) -> None:
        # bars first, so that none is missing behind the event that points to it; reports after what they are about
        streams = (Stream.BAR, Stream.EVENT, Stream.REPORT, Stream.INTENT)
        self._rows = {stream: bytearray() for stream in streams}
        self._texts: list[bytes] = []
        self._text_seqs: list[int] = []
        self._text_bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes that wait."""
        return sum(map(len, self._rows.values())) + self._text_bytes

    def add_rows(self, stream: Stream, rows: Rows) -> None:
        """Let rows wait, as copies."""
        self._rows[stream] += rows.tobytes()

    def add_texts(self, texts: Iterable[Text]) -> None:
        """Let strings wait: all of them, or none when one is refused (InputError)."""
        new = [(text.seq, encode_text(text)) for text in texts]
        for seq, body in new:
            self._text_seqs.append(seq)
            self._texts.append(body)
            self._text_bytes += len(body)

    def frames(self, n: int, *, first_bar: int, ts_ns: int, more: "Backlog | None" = None) -> list[Frame]:
        """Everything that waits, and `more` after it, as frames numbered from `n`.

        first_bar: index of the first bar among them. ts_ns: instant of the newest event before them.
        """
        frames: list[Frame] = []
        for backlog in (self, more) if more else (self,):
            for stream, body in backlog._rows.items():
                part = np.frombuffer(bytes(body), ROWS[stream])
                for at in range(0, len(part), FRAME_ROWS):
                    cut = part[at : at + FRAME_ROWS]
                    frame = pack_rows(n + len(frames), stream, cut, seq=first_bar, ts_ns=ts_ns)
                    frames.append(frame)
                    if stream is Stream.BAR:
                        first_bar += len(cut)
                    elif stream is Stream.EVENT:
                        ts_ns = max(ts_ns, frame.ts_last)
            if backlog._texts:
                frames.append(pack_texts(n + len(frames), backlog._text_seqs, b"".join(backlog._texts), ts_ns))
        return frames

    def put_before(self, later: "Backlog") -> None:
        """Take over everything of a backlog that was filled after this one."""
        for stream, body in later._rows.items():
            self._rows[stream] += body
        self._texts += later._texts
        self._text_seqs += later._text_seqs
        self._text_bytes += later._text_bytes

    def clear(self) -> None:
        """Forget everything: it is on the disk."""
        for body in self._rows.values():
            body.clear()
        self._texts.clear()
        self._text_seqs.clear()
        self._text_bytes = 0

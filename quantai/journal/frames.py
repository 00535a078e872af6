"""Frames: a numbered, checksummed run of rows (or one note), the only thing a journal file holds.

A frame's checksum is two CRC-32 in one number: over its columns, in the upper half, and over its columns and its body.
So a flipped bit in either is found, a frame pasted under another number is too, and what a reader skips by can be
checked without the body: the range of sequence numbers, the range of instants and two 64-bit maps of the kinds and
instruments inside.
"""

import json
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from quantai.core.errors import DataError, InputError
from quantai.core.reports import REPORT
from quantai.core.rows import BAR, EVENT, INTENT, Rows


class Stream(IntEnum):
    """What the body of a frame holds."""

    EVENT = 1  # EVENT rows; seq = the rows' own sequence numbers, contiguous over the whole store
    BAR = 2  # BAR rows; seq = index of the bar, contiguous from 0: what `aux` of a BAR event points to
    INTENT = 3  # INTENT rows; seq = the rows that caused them
    REPORT = 4  # REPORT rows; seq = the rows that say it
    TEXT = 5  # strings beside rows; seq = the rows they belong to
    SNAPSHOT = 6  # one named bytes blob, true after the row numbered seq
    MANIFEST = 7  # JSON: one for each session that wrote to the store
    GAP = 8  # JSON: rows that are missing, and why
    END = 9  # JSON: the session closed the store in good order


ROWS: Mapping[Stream, np.dtype[Any]] = {
    Stream.EVENT: EVENT,
    Stream.BAR: BAR,
    Stream.INTENT: INTENT,
    Stream.REPORT: REPORT,
}
"""The row type of each stream that holds rows."""

KIND: Mapping[Stream, str] = {Stream.EVENT: "kind", Stream.INTENT: "action", Stream.REPORT: "kind"}
"""The field of a stream's rows that says what they are."""

INSTANT: Mapping[Stream, str] = {Stream.EVENT: "ts_recv", Stream.BAR: "ts_close", Stream.REPORT: "ts"}
"""The field of a stream's rows that says when they became known; INTENT rows have none."""

_COLUMNS = struct.Struct("<9q")
_TEXT = struct.Struct("<qII")


class Frame(NamedTuple):
    """One record of the journal; `n` counts from 1 without holes, in the order of writing."""

    n: int
    stream: int
    rows: int
    seq_first: int
    seq_last: int
    ts_first: int
    ts_last: int
    kinds: int
    instruments: int
    crc: int
    body: bytes

    @property
    def intact(self) -> bool:
        """Whether columns and body are those that were written."""
        try:
            return self.crc == checksum(self)
        except (TypeError, struct.error):  # damage can turn a number into text, or a blob into nothing
            return False


class Text(NamedTuple):
    """One string that belongs to the row numbered `seq`: a venue's order id, a raw payload."""

    seq: int
    field: str
    text: str


class Snapshot(NamedTuple):
    """A named state as bytes, true after the row numbered `seq` was applied."""

    seq: int
    name: str
    body: bytes


class Gap(NamedTuple):
    """Rows `first` … `last` of a stream that a store does not hold.

    frame: the frame that was damaged or missing, 0 for a hole between frames. stream: None when nobody can tell any
    more.
    """

    stream: Stream | None
    first: int
    last: int
    frame: int
    why: str


def checksum(frame: Frame) -> int:
    """CRC-32 of a frame's columns (its `crc` left out) x 2^32 + CRC-32 of columns and body, as a signed number."""
    head = head_sum(frame)
    return (head << 32 | zlib.crc32(frame.body, head)) - (head >> 31 << 64)


def head_sum(columns: Sequence[Any]) -> int:
    """CRC-32 of a frame's columns: the upper half of its checksum; struct.error where damage made one no number."""
    return zlib.crc32(_COLUMNS.pack(*columns[:9]))


def bitmap(values: npt.ArrayLike) -> int:
    """A signed 64-bit map with bit `v % 64` set for every v: tells what surely is not inside.

    >>> bitmap([1, 65, 3])
    10
    """
    bits = np.left_shift(np.uint64(1), np.asarray(values, dtype=np.uint64) & np.uint64(63))
    return int(np.bitwise_or.reduce(bits, initial=np.uint64(0)).astype(np.int64))


def stream_of(rows: Rows) -> Stream:
    """The stream that rows of this type belong to.

    Raises InputError for a type the journal does not hold.

    >>> stream_of(np.zeros(1, INTENT)).name
    'INTENT'
    """
    found = getattr(rows, "dtype", None)  # whatever else is passed is told in the same words
    for stream, dtype in ROWS.items():
        if found == dtype:
            return stream
    what = found or type(rows).__name__
    raise InputError(f"the journal holds EVENT, BAR, INTENT and REPORT rows, not {what}: convert them first")


def pack_rows(n: int, stream: Stream, rows: Rows, *, seq: int = 0, ts_ns: int = 0) -> Frame:
    """Make frame `n` of the given rows, with the columns to skip by.

    seq: index of the first row, for BAR only. ts_ns: instant of the frame, for INTENT only (the rows carry none); EVENT
    rows belong to their ts_recv, BAR rows to their ts_close.

    >>> frame = pack_rows(1, Stream.BAR, np.zeros(3, BAR), seq=7)
    >>> frame.seq_first, frame.seq_last, frame.intact
    (7, 9, True)
    """
    ts_first = ts_last = ts_ns
    kinds = 0
    if stream is Stream.BAR:
        first, last = seq, seq + len(rows) - 1
    else:
        first, last = int(rows["seq"].min()), int(rows["seq"].max())
        kinds = bitmap(rows[KIND[stream]])
    if stream in INSTANT:
        ts_first, ts_last = int(rows[INSTANT[stream]].min()), int(rows[INSTANT[stream]].max())
    instruments = 0 if stream is Stream.REPORT else bitmap(rows["instrument"])
    return _seal((n, int(stream), len(rows), first, last, ts_first, ts_last, kinds, instruments), rows.tobytes())


def encode_text(text: Text) -> bytes:
    """One string as a TEXT frame holds it; any Python string comes back as it was, lone surrogates included.

    Raises InputError when the sequence number does not fit 63 bits.
    """
    name, body = _bytes(text.field), _bytes(text.text)
    try:
        return b"".join((_TEXT.pack(text.seq, len(name), len(body)), name, body))
    except struct.error:
        raise InputError(f"a text belongs to the row numbered 0 … 2**63 - 1, not {text.seq!r}") from None


def pack_texts(n: int, seqs: Sequence[int], body: bytes, ts_ns: int) -> Frame:
    """Make frame `n` of encoded strings (joined in `body`) that belong to the rows numbered `seqs`."""
    return _seal((n, int(Stream.TEXT), len(seqs), min(seqs), max(seqs), ts_ns, ts_ns, 0, 0), body)


def pack_snapshot(n: int, snapshot: Snapshot, ts_ns: int) -> Frame:
    """Make frame `n` of a snapshot."""
    name = _bytes(snapshot.name)
    body = b"".join((_TEXT.pack(snapshot.seq, len(name), 0), name, snapshot.body))
    return _seal((n, int(Stream.SNAPSHOT), 1, snapshot.seq, snapshot.seq, ts_ns, ts_ns, 0, 0), body)


def pack_note(n: int, stream: Stream, note: Mapping[str, Any] | list[Any], *, seq: int, ts_ns: int) -> Frame:
    """Make frame `n` of a JSON note (MANIFEST, GAP, END) written when `seq` was the next row."""
    body = json.dumps(note, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    return _seal((n, int(stream), 1, seq, seq, ts_ns, ts_ns, 0, 0), body)


def unpack_rows(frame: Frame) -> Rows:
    """The rows of a frame, as a read-only view of its body."""
    return np.frombuffer(frame.body, ROWS[Stream(frame.stream)])


def unpack_texts(frame: Frame) -> list[Text]:
    """The strings of a TEXT frame, in the order they were appended.

    >>> unpack_texts(pack_texts(1, [5], encode_text(Text(5, "venue_id", "a-1")), 0))
    [Text(seq=5, field='venue_id', text='a-1')]
    """
    texts: list[Text] = []
    at, body = 0, frame.body
    while at < len(body):
        seq, name, size = _TEXT.unpack_from(body, at)
        at += _TEXT.size
        field, text = body[at : at + name], body[at + name : at + name + size]
        texts.append(Text(seq, _str(field), _str(text)))
        at += name + size
    return texts


def unpack_snapshot(frame: Frame) -> Snapshot:
    """The snapshot of a SNAPSHOT frame."""
    seq, name, _ = _TEXT.unpack_from(frame.body)
    at = _TEXT.size + name
    return Snapshot(seq, _str(frame.body[_TEXT.size : at]), frame.body[at:])


def unpack_note(frame: Frame) -> Any:
    """The JSON value of a MANIFEST, GAP or END frame."""
    return json.loads(frame.body)


def unpack_gaps(frame: Frame) -> list[Gap]:
    """The gaps of a GAP frame."""
    gaps = [Gap(**note) for note in unpack_note(frame)]
    return [gap._replace(stream=Stream(gap.stream)) if gap.stream else gap for gap in gaps]


def gap_note(gaps: Iterable[Gap]) -> list[dict[str, Any]]:
    """Gaps as the JSON value a GAP frame holds."""
    return [gap._asdict() for gap in gaps]


def _seal(columns: tuple[int, ...], body: bytes) -> Frame:
    try:
        frame = Frame._make([*columns, 0, body])
        return frame._replace(crc=checksum(frame))
    except struct.error:
        raise DataError(f"sequence numbers and instants must fit 63 bits, got {columns[3:7]}") from None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _str(body: bytes) -> str:
    return body.decode("utf-8", "surrogatepass")

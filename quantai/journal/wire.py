"""Rows as one message between processes: what they are, how many, a checksum, and the rows as they lie in memory."""

import struct
import zlib

import numpy as np

from quantai.core.errors import DataError
from quantai.core.rows import Rows
from quantai.journal.frames import ROWS, Stream, stream_of

MESSAGE_ROWS = 4096
"""Rows in a full message, 256 KiB: a quarter of what a NATS server takes unless told otherwise."""

_HEADER = struct.Struct("<4sBxHII")  # magic, stream, bytes a row, rows, CRC-32 of the rows
_MAGIC = b"qrw1"


def encode(rows: Rows) -> bytes:
    """EVENT, BAR, INTENT or REPORT rows as a message.

    >>> stream, rows = decode(encode(np.zeros(2, ROWS[Stream.BAR])))
    >>> stream.name, len(rows)
    ('BAR', 2)
    """
    body = rows.tobytes()
    return _HEADER.pack(_MAGIC, stream_of(rows), rows.dtype.itemsize, len(rows), zlib.crc32(body)) + body


def decode(message: bytes) -> tuple[Stream, Rows]:
    """The rows of a message, read-only.

    Raises DataError when it is no such message, damaged, or of rows that this version does not know.
    """
    try:
        magic, stream, row_bytes, rows, crc = _HEADER.unpack_from(message)
        dtype = ROWS[Stream(stream)]
    except (struct.error, ValueError, KeyError):
        raise DataError(f"a message of {len(message)} bytes holds no rows: something else uses its subject") from None
    body = message[_HEADER.size :]
    if magic != _MAGIC or row_bytes != dtype.itemsize or len(body) != rows * row_bytes or zlib.crc32(body) != crc:
        raise DataError(f"a message of {len(message)} bytes is damaged or of another version of quantai")
    return Stream(stream), np.frombuffer(body, dtype)


def message_id(run: str, rows: Rows, message: bytes) -> str:
    """What names these rows of this run: the same rows sent twice have one id, and a server keeps one of them.

    It is (run, seq) and a checksum; BAR rows have no seq, there it is the close of the first bar and its instrument.
    """
    stream = stream_of(rows)
    at = f"{rows['ts_close'][0]}.{rows['instrument'][0]}" if stream is Stream.BAR else str(rows["seq"][0])
    return f"{run}.{stream.name}.{at}.{zlib.crc32(message):08x}"

"""SQLite's write-ahead log, read without SQLite: to find the damage that SQLite passes over in silence.

SQLite replays its log up to the first page whose checksum is wrong and forgets the rest, which is right for a torn last
write and loses acknowledged transactions when a page in the middle is damaged. Format:
https://www.sqlite.org/fileformat2.html#walformat
"""

import struct
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from quantai.journal.schema import PAGE_BYTES

_HEADER = struct.Struct(">8I")
_MAGIC = (0x377F0682, 0x377F0683)  # the last bit says whether checksums read words as big-endian
_SLOT = np.dtype([("page", ">u4"), ("size", ">u4"), ("salt", ">u4", 2), ("sum", ">u4", 2), ("data", "u1", PAGE_BYTES)])
_COVERED = np.r_[0:8, 24 : 24 + PAGE_BYTES]  # bytes of a slot that its checksum is over


class Wal(NamedTuple):
    """The log beside a journal: every page image in it, oldest first, earlier generations of the log included.

    trouble: "" when SQLite will replay all of it, up to a torn last transaction; else what it would forget. torn:
    whether pages of a last transaction will not be replayed; if it was acknowledged (the store's mark tells) that is
    damage.
    """

    pages: npt.NDArray[np.uint32]  # page number of each image
    images: npt.NDArray[np.uint8]  # (images, PAGE_BYTES)
    trouble: str
    torn: bool


def read_wal(path: Path) -> Wal:
    """Read the write-ahead log of the journal `path`; without one, there are no images and no trouble."""
    log = path.with_name(path.name + "-wal")
    body = log.read_bytes() if log.is_file() else b""
    count = max(0, len(body) - _HEADER.size) // _SLOT.itemsize
    slots = np.frombuffer(body, _SLOT, count, _HEADER.size) if count else np.zeros(0, _SLOT)
    trouble, torn = _judge(log.name, body, slots) if count else ("", False)
    return Wal(slots["page"].astype(np.uint32), slots["data"], trouble, torn)


def _judge(name: str, body: bytes, slots: npt.NDArray[Any]) -> tuple[str, bool]:
    magic, _, page_bytes, _, *rest = _HEADER.unpack_from(body)
    words = ">u4" if magic & 1 else "<u4"
    start = _advance(np.zeros(2, np.uint32), np.frombuffer(body, words, 6))
    if magic not in _MAGIC or page_bytes != PAGE_BYTES or list(start) != rest[2:]:
        return f"the header of {name} is damaged: {len(slots)} logged pages would be forgotten", True
    current = (slots["salt"] == np.array(rest[:2], dtype=np.uint32)).all(axis=1)
    valid = _valid(slots, start, words, current)
    # Only the last page of a transaction states the size of the file. The first page that is not valid can be a torn
    # write even so, because it is written in two parts.
    lost = int(np.count_nonzero(slots[valid + 1 :][current[valid + 1 :]]["size"]))
    if lost:
        return f"{name} is damaged at page {valid} of {len(slots)}: {lost} transactions would be forgotten", True
    return "", bool(current[valid:].any())


def _valid(slots: npt.NDArray[Any], start: npt.NDArray[np.uint32], words: str, current: npt.NDArray[np.bool_]) -> int:
    """How many leading slots form the chain that SQLite will replay."""
    raw = slots.view(np.uint8).reshape(len(slots), _SLOT.itemsize)
    state = start
    for i in range(len(slots)):
        state = _advance(state, np.ascontiguousarray(raw[i, _COVERED]).view(words))
        if not current[i] or not np.array_equal(state, slots["sum"][i]):
            return i
    return len(slots)


def _advance(state: npt.NDArray[np.uint32], words: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Carry the log's checksum over more words: s0 += x[i] + s1; s1 += x[i+1] + s0, modulo 2**32.

    The recurrence is linear, so it is one matrix product with powers of [[1, 1], [1, 2]].
    """
    weights, power = _weights(len(words) // 2)
    return power @ state + weights @ words.astype(np.uint32)


@cache
def _weights(pairs: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    step = np.array([[1, 1], [1, 2]], dtype=np.uint32)
    power = np.eye(2, dtype=np.uint32)
    enter = np.array([[1, 0], [1, 1]], dtype=np.uint32)  # what x[i] and x[i+1] add to (s0, s1)
    weights = np.zeros((2, 2 * pairs), dtype=np.uint32)
    for i in reversed(range(pairs)):
        weights[:, 2 * i : 2 * i + 2] = power @ enter
        power = power @ step
    return weights, power

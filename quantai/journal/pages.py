"""Frames out of a damaged SQLite file, read page by page without SQLite.

Every leaf page of a table says by itself which records it holds, so frames are found even when the header, the root or
the pages between are gone; the frames' own checksums tell true records from noise. Format:
https://www.sqlite.org/fileformat2.html
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from quantai.journal.frames import Frame
from quantai.journal.schema import PAGE_BYTES
from quantai.journal.wal import read_wal

_LEAF = 0x0D
_MAX_LOCAL, _MIN_LOCAL = PAGE_BYTES - 35, (PAGE_BYTES - 12) * 32 // 255 - 23
_INT_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 0, 9: 0}


class _Cell(NamedTuple):
    """Where a record starts: in which image, at which byte of it."""

    image: int
    at: int


class PageScan:
    """All frames that can still be read from a journal file and its write-ahead log.

    The file must not be open in this process: closing this scan would drop SQLite's locks on it.
    """

    def __init__(self, path: Path) -> None:
        body = path.read_bytes() if path.stat().st_size < PAGE_BYTES else _map(path)
        whole = len(body) // PAGE_BYTES
        main = np.frombuffer(body, np.uint8, whole * PAGE_BYTES).reshape(whole, PAGE_BYTES)
        wal = read_wal(path)
        self._main, self._log = main, wal.images
        self._newest = {int(page): whole + i for i, page in enumerate(wal.pages)}
        self._cells: dict[int, list[_Cell]] = {}
        for image in np.flatnonzero(np.concatenate([main[:, 0], wal.images[:, 0]]) == _LEAF):
            self._index(int(image))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._main = self._log = np.zeros((0, PAGE_BYTES), np.uint8)

    def frames(self) -> Iterator[Frame]:
        """Every frame found, by number; where several images of one exist the intact one, else a damaged one."""
        for n in sorted(self._cells):
            found: Frame | None = None
            for cell in reversed(self._cells[n]):
                for newest in (self._newest, {}):
                    frame = self._read(cell, newest)
                    if frame is not None and (found is None or frame.intact):
                        found = frame
                    if found is not None and found.intact:
                        break
                if found is not None and found.intact:
                    break
            if found is not None:
                yield found

    def _image(self, image: int) -> npt.NDArray[np.uint8]:
        return self._main[image] if image < len(self._main) else self._log[image - len(self._main)]

    def _index(self, image: int) -> None:
        page = self._image(image)
        count = min(int(page[3]) << 8 | int(page[4]), (PAGE_BYTES - 8) // 2)
        for at in page[8 : 8 + 2 * count].tobytes().hex(" ", 2).split():
            cell = _Cell(image, int(at, 16))
            frame = self._read(cell, None)
            if frame is not None:
                cells = self._cells.setdefault(frame.n, [])
                cells.append(cell)

    def _read(self, cell: _Cell, newest: dict[int, int] | None) -> Frame | None:
        """The frame whose record starts at a cell, None where that is no frame's record; newest=None: without body."""
        page = self._image(cell.image).tobytes()
        try:
            size, at = _varint(page, cell.at)
            n, at = _varint(page, at)
            header, body_at = _varint(page, at)
            types: list[int] = []
            while body_at < at + header:
                kind, body_at = _varint(page, body_at)
                types.append(kind)
            if len(types) != len(Frame._fields) or types[0] != 0 or types[-1] < 12 or types[-1] % 2:
                return None
            values = [n]
            for kind in types[1:-1]:
                width = _INT_BYTES[kind]
                value = int.from_bytes(page[body_at : body_at + width], "big", signed=True)
                values.append(value if width else kind - 8)
                body_at += width
        except (IndexError, KeyError):
            return None
        length = (types[-1] - 12) // 2
        if body_at - at + length != size or n <= 0:
            return None
        body = b"" if newest is None else self._body(page, at, size, newest)[body_at - at :]
        return Frame._make([*values, body])

    def _body(self, page: bytes, at: int, size: int, newest: dict[int, int]) -> bytes:
        """A record's bytes, following its chain of overflow pages as far as it goes."""
        if size <= _MAX_LOCAL:
            return page[at : at + size]
        local = _MIN_LOCAL + (size - _MIN_LOCAL) % (PAGE_BYTES - 4)
        if local > _MAX_LOCAL:
            local = _MIN_LOCAL
        parts, have = [page[at : at + local]], local
        link = int.from_bytes(page[at + local : at + local + 4], "big")
        while have < size:
            image = newest.get(link, link - 1)
            if not 0 <= image < len(self._main) + len(self._log) or (link not in newest and image >= len(self._main)):
                break
            overflow = self._image(image)
            parts.append(overflow[4 : 4 + size - have].tobytes())
            have += len(parts[-1])
            link = int.from_bytes(overflow[:4].tobytes(), "big")
        return b"".join(parts)


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _varint(page: bytes, at: int) -> tuple[int, int]:
    """SQLite's variable-length integer (big-endian, 7 bits a byte, 9 bytes at most) and where it ends."""
    value = 0
    for i in range(8):
        byte = page[at + i]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + i + 1
    return value << 8 | page[at + 8], at + 9

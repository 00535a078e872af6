"""One writer per journal: an advisory lock on a file beside it, which the kernel releases when the process dies.

The same file holds a mark: the last frame that was acknowledged. It is written after each commit and never waited for,
so it may lag behind the journal but never runs ahead of it: a journal that ends before its mark has lost acknowledged
frames.
"""

import fcntl
import os
from pathlib import Path

from quantai.core.errors import StorageError

_PID_BYTES = 24


class WriterLock:
    """The right to write to a journal, held from creation until `release`.

    It is a lock on `<journal>.lock`, never on the journal: closing any handle of the journal itself would drop the
    locks SQLite holds on it in the same process. It keeps out other processes and other stores of this process, and
    survives no crash.

    Raises StorageError with the holder's process id when somebody else writes to the journal.
    """

    def __init__(self, path: Path) -> None:
        if path.is_dir():
            raise StorageError(f"{path} is a folder: give the journal a name in it")
        self._path = path.with_name(path.name + ".lock")
        try:
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StorageError(f"{self._path} cannot be made ({error.strerror}): choose a writable folder") from None
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._handle, _PID_BYTES, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._handle)
            raise StorageError(f"{path} is being written by process {holder}: stop that, or only read") from None
        self._write(0, str(os.getpid()))

    @property
    def released(self) -> bool:
        """Whether the right was given back."""
        return self._handle < 0

    @property
    def marked(self) -> int:
        """The last frame that was acknowledged, as far as is known; 0 when nothing is."""
        text = os.pread(self._handle, _PID_BYTES, _PID_BYTES).strip()
        return int(text) if text.isdigit() else 0

    @staticmethod
    def mark_of(path: Path) -> int:
        """The mark of the journal `path`, for whoever only reads; 0 when nothing is known.

        Whoever asks for it before reading the journal must find as many frames.
        """
        try:
            with path.with_name(path.name + ".lock").open("rb") as file:
                text = os.pread(file.fileno(), _PID_BYTES, _PID_BYTES).strip()
        except OSError:
            return 0
        return int(text) if text.isdigit() else 0

    def mark(self, frame: int) -> None:
        """Note the last frame that was acknowledged."""
        self._write(_PID_BYTES, str(frame))

    def release(self) -> None:
        """Give the right back; a second call does nothing."""
        if self._handle >= 0:
            self._write(0, "")
            os.close(self._handle)
            self._handle = -1

    def _write(self, at: int, text: str) -> None:
        os.pwrite(self._handle, text.ljust(_PID_BYTES - 1).encode() + b"\n", at)

"""File locks: one holder at a time, released by the operating system however the holder ends."""

import contextlib
import fcntl
import os
import weakref
from pathlib import Path
from typing import Self

from quantai.core.errors import StorageError
from quantai.data.manifest import storage
from quantai.ops import make_folder


class FileLock:
    """An exclusive lock on `ROOT/locks/NAME.lock`; the file holds the process id of the holder.

    Raises StorageError that names the holder when the lock is taken. A killed process leaves nothing to clean up.
    """

    def __init__(self, root: Path, name: str, what: str) -> None:
        path = root / "locks" / f"{name}.lock"
        with storage(root):
            make_folder(path.parent)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._close = weakref.finalize(self, os.close, fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            self._close()
            raise StorageError(f"lake {root}: {what} is in use by process {holder}: wait for it, or stop it") from None
        os.ftruncate(fd, 0)
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same, only without a name
            os.pwrite(fd, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Give the lock back; calling it again does nothing."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def source_lock(root: Path, source: str) -> FileLock:
    """Take the lock of a source; no source can be called what another lock of the lake is called. Raises StorageError.

    >>> import tempfile
    >>> with source_lock(Path(tempfile.mkdtemp()), "compact") as lock:
    ...     lock.release()
    """
    return FileLock(root, f"source-{source}", f"source {source!r}")

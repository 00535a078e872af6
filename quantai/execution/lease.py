"""A lease: the right to trade under a name, held by one process at a time, with a token that only ever grows.

The lock is the operating system's: it ends with its holder, however that ends, and no clock is asked. Whoever holds it
checks before each batch of requests that the file still says so: after somebody removed or replaced it, nothing more
goes out.
"""

import fcntl
import os
from pathlib import Path
from typing import Self

from quantai.core.errors import StorageError, VenueError
from quantai.ops import durable, make_folder, sync_folder

_BYTES = 64


class Lease:
    """The right to trade, held from `take` until `release` or the end of the process.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "lease"
    >>> one = Lease.take(path)
    >>> one.token, Lease.take(path)
    (1, None)
    >>> one.release()
    >>> Lease.take(path).token
    2
    """

    def __init__(self, path: Path, handle: int, token: int) -> None:
        self.path, self.token = path, token
        self._handle = handle

    @classmethod
    def take(cls, path: Path) -> Self | None:
        """Take the lease and return it with a token above all before, or None while somebody else holds it.

        The token is on the disk at return. Raises StorageError when it cannot be written.
        """
        try:
            make_folder(path.parent)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"{path} cannot be made ({error.strerror}): choose a writable folder") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return None
        try:
            lease = cls(path, handle, _token(handle) + 1)
            os.pwrite(handle, f"{lease.token} {os.getpid()}".ljust(_BYTES).encode(), 0)
            durable(handle)
            sync_folder(path.parent)
        except (OSError, ValueError) as error:
            os.close(handle)
            raise StorageError(f"{path} cannot be written: {error}") from None
        if not lease.is_held:  # replaced between opening and locking
            lease.release()
            return None
        return lease

    @property
    def is_held(self) -> bool:
        """Whether the file under the name is still the one that is locked, and has our token."""
        try:
            own, named = os.fstat(self._handle), self.path.stat()
            return (own.st_ino, own.st_dev) == (named.st_ino, named.st_dev) and _token(self._handle) == self.token
        except (OSError, ValueError):
            return False

    def check(self) -> None:
        """Return while the lease is held; raises VenueError once it is not."""
        if not self.is_held:
            raise VenueError(f"{self.path}: the lease {self.token} is no longer ours: nothing more is sent")

    def release(self) -> None:
        """Give the lease back; calling it again does nothing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def is_free(path: Path) -> bool:
    """Say whether nobody holds a lease."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(handle)


def holder(path: Path) -> tuple[int, int] | None:
    """Return (token, process id) of whoever took the lease last, None when nobody ever did."""
    try:
        token, pid = path.read_text().split()
        return int(token), int(pid)
    except (OSError, ValueError):
        return None


def _token(handle: int) -> int:
    text = os.pread(handle, _BYTES, 0).split()
    return int(text[0]) if text else 0

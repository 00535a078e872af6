"""Files that outlive a power cut."""

import fcntl
import os
from pathlib import Path

_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)  # macOS, whose fsync stops at the cache of the drive


def durable(fd: int) -> None:
    """Return once all that was written to the open file `fd` is on the disk; raises OSError.

    Source: fsync(2) of macOS, fdatasync(2) of Linux, which leaves out the file's times and nothing else.
    """
    if _FULL_SYNC is not None:
        try:
            fcntl.fcntl(fd, _FULL_SYNC)
        except OSError:  # a file system without it, as SQLite does: the plain call is all there is
            os.fsync(fd)
        return
    getattr(os, "fdatasync", os.fsync)(fd)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable, after one was made, changed or removed: a file whose name is lost is lost."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Create `folder` and those above it, names and all, durable when this returns; one that exists is left alone.

    >>> import tempfile
    >>> made = Path(tempfile.mkdtemp()) / "a" / "b"
    >>> make_folder(made)
    >>> made.is_dir()
    True
    """
    new = [at for at in (folder, *folder.parents) if not at.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in new:
        sync_folder(made.parent)


def followed(path: str | Path) -> Path:
    """The file that a link names: what lies beside a journal has one name, whichever of its own was given.

    >>> str(followed("runs/today.journal"))
    'runs/today.journal'
    """
    path = Path(path)
    return path.resolve() if path.is_symlink() else path

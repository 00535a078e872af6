"""Locks that tell whether a process lives: held until it ends, however it ends, a restart of the machine included."""

import fcntl
from io import TextIOWrapper
from pathlib import Path


def hold(path: Path) -> TextIOWrapper | None:
    """Hold the lock file for as long as the returned file is open; None when somebody else holds it.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "lock"
    >>> held = hold(path)
    >>> is_held(path), hold(path)
    (True, None)
    >>> held.close()
    >>> is_held(path)
    False
    """
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def is_held(path: Path) -> bool:
    """Say whether a process that holds the lock file lives."""
    if not path.is_file():
        return False
    file = hold(path)
    if file is None:
        return True
    file.close()
    return False

"""What a run begins with, set apart from what it uses while it goes on, so that its memory stays what it is."""

import ctypes
import gc
from collections.abc import Generator
from contextlib import contextmanager, suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
LARGE_BYTES = 256 << 10
"""Blocks from which on memory is the system's own, given back when it is let go: a state kept in the journal is one."""


@contextmanager
def settled() -> Generator[None]:
    """Let garbage collection leave out what is there now, until the end, and large blocks go back to the system.

    Markets, modules and compiled code live as long as a run that trades. Looking through all of them takes a tenth of a
    second, and because it does the interpreter puts it off until garbage is a quarter of everything.

    >>> with settled():
    ...     gc.get_freeze_count() > 0
    True
    """
    _give_back_large()
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _give_back_large() -> None:
    """Fix what glibc calls large: by itself it raises that with each block that comes back, and keeps the next ones."""
    with suppress(AttributeError, OSError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_TRIM_THRESHOLD, LARGE_BYTES)

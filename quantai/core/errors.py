"""Every exception quantai raises on purpose, drawn as a tree.

    QuantaiError
    ├── InputError            a value the caller passed is wrong; the message says what to do
    │   ├── UnknownName       no such venue, symbol, channel, interval, parameter
    │   └── DataError         rows or files that cannot be what they claim (NaN, unsorted, damaged)
    ├── StrategyError         a handler that cannot be compiled; names the user's file and line
    ├── MissingExtra          an optional package is not installed; names the extra
    ├── StorageError          disk full, folder not writable, store locked
    └── VenueError            a venue refused, failed or answered nonsense

Expected refusals (a risk check, an order rejected by a venue) are values with a reason code, not exceptions.
"""

import difflib
from collections.abc import Iterable


class QuantaiError(Exception):
    """The root: catching it catches every deliberate error of this library and nothing else."""


class InputError(QuantaiError, ValueError):
    """A value passed by the caller is wrong; the message names it and the remedy."""


class UnknownName(InputError):
    """A name that is not in a closed set.

    >>> raise UnknownName("venue", "BINANC", ["BINANCE", "OKX"])
    Traceback (most recent call last):
    quantai.core.errors.UnknownName: unknown venue 'BINANC': did you mean 'BINANCE'? (2 known: BINANCE, OKX)
    """

    def __init__(self, what: str, name: object, known: Iterable[str]) -> None:
        names = sorted(known)
        close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
        if not close:
            close = [n for n in names if n.lower() == str(name).lower()]
        hint = f": did you mean {close[0]!r}?" if close else ":"
        shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
        known_ones = f"{hint} ({len(names)} known: {shown})" if names else ": there is none yet"
        super().__init__(f"unknown {what} {str(name)!r}{known_ones}")


class DataError(InputError):
    """Rows or a file that cannot be what they claim to be; names the file or row and the remedy."""


class StrategyError(QuantaiError):
    """A strategy class that cannot be compiled; the message starts with the user's `file:line`."""


class MissingExtra(QuantaiError, ImportError):
    """An optional dependency is absent.

    >>> raise MissingExtra("cryptofeed", "record")
    Traceback (most recent call last):
    quantai.core.errors.MissingExtra: cryptofeed is not installed: pip install 'quantai[record]'
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'quantai[{extra}]'")


class StorageError(QuantaiError, OSError):
    """The disk is full, a folder is not writable, or a store is held by another process."""


class VenueError(QuantaiError):
    """A venue refused, failed, or answered something its protocol does not allow."""

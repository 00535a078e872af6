"""Instants as people write them, turned exactly into int64 nanoseconds UTC and back."""

import datetime as dt
import re
from typing import Any

import numpy as np

from quantai.core.errors import InputError
from quantai.core.rows import DAY

Instant = str | dt.date | dt.datetime | int
"""What `to_ns` reads: an ISO string, a date, a datetime with a time zone, or nanoseconds since 1970-01-01 UTC."""

_FORMS = (
    "write '2024-08-08', '2024-08-08T12:00:00Z', a date, a datetime with a time zone, or nanoseconds since 1970 UTC"
)
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d{1,9}))?(Z|[+-]\d\d:?\d\d)?", re.IGNORECASE)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
SMALLEST_NS = 10**15
"""A smaller count is seconds, milliseconds or microseconds of this century, not nanoseconds of January 1970."""


def to_ns(value: Any, what: str = "instant") -> int:
    """Return the nanoseconds since 1970-01-01 UTC of `value`; a date is its midnight in UTC. Raises InputError.

    A time of day without a zone is refused: guessing UTC or local time has cost too many people too much.

    >>> to_ns("2024-08-08T00:00:00.000000001Z") - to_ns("2024-08-08")
    1
    >>> to_ns("2024-08-08T12:00", "start")
    Traceback (most recent call last):
    quantai.core.errors.InputError: start 2024-08-08T12:00 has no time zone: add Z for UTC, or an offset such as +02:00
    """
    if isinstance(value, bool):
        raise InputError(f"{what} {value!r} is not an instant: {_FORMS}")
    if isinstance(value, int | np.integer):
        if 0 < abs(int(value)) < SMALLEST_NS:
            raise InputError(
                f"{what} {value} is too small for nanoseconds: multiply seconds by 10**9, milliseconds by 10**6"
            )
        return int(value)
    if isinstance(value, str):
        return _from_text(value.strip(), what)
    if isinstance(value, dt.datetime):
        if value.tzinfo is None or value.utcoffset() is None:
            raise InputError(
                f"{what} {value} has no time zone: use .replace(tzinfo=datetime.UTC) or the zone it was read in"
            )
        whole = (value - _EPOCH) // dt.timedelta(microseconds=1)
        return int(whole) * 1_000 + int(getattr(value, "nanosecond", 0))  # pandas.Timestamp carries three more digits
    if isinstance(value, dt.date):
        return (value - _EPOCH.date()).days * DAY
    raise InputError(f"{what} {value!r} is not an instant: {_FORMS}")


def _from_text(text: str, what: str) -> int:
    try:
        if len(text) == 10:
            return to_ns(dt.date.fromisoformat(text), what)
        m = _ISO.fullmatch(text)
        if m is None:
            raise ValueError
        if m[4] is None:
            raise InputError(f"{what} {text} has no time zone: add Z for UTC, or an offset such as +02:00")
        whole = dt.datetime.fromisoformat(f"{m[1]}T{m[2]}{m[4].upper()}")
        return to_ns(whole, what) + int((m[3] or "0").ljust(9, "0"))
    except InputError:
        raise
    except ValueError:
        raise InputError(f"{what} {text!r} is not an instant: {_FORMS}") from None


def to_iso(ns: int) -> str:
    """Return `ns` as ISO 8601 in UTC, with as many decimals as it needs.

    >>> to_iso(1_723_161_256_298_000_000)
    '2024-08-08T23:54:16.298Z'
    """
    text = str(np.datetime64(int(ns), "ns"))
    head, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    return f"{head}.{fraction}Z" if fraction else f"{head}Z"

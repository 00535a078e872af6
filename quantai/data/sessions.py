"""Wall-clock times of an exchange as instants in UTC, across daylight-saving changes."""

import datetime as dt
import warnings
from functools import cache
from typing import Any

import numpy as np

from quantai.core.errors import DataError, UnknownName
from quantai.core.rows import SEC

NEW_YORK = "America/New_York"
US_EQUITY_OPEN, US_EQUITY_CLOSE = dt.time(9, 30), dt.time(16)


def wall_to_utc(wall: Any, tz: str) -> Any:
    """Return the instants (int64 ns UTC) at which the wall clock in `tz` shows `wall` (datetime64 without a zone).

    The offset is that of the zone on the day. Raises DataError for a time that the clock skips, or shows twice, on the
    night of a change.

    >>> wall = np.array(["2013-11-01T09:30", "2013-11-04T09:30"], "datetime64[ns]")
    >>> [str(np.datetime64(int(t), "ns"))[:16] for t in wall_to_utc(wall, NEW_YORK)]
    ['2013-11-01T13:30', '2013-11-04T14:30']
    """
    import pandas as pd

    times: Any = pd.DatetimeIndex(np.asarray(wall, "datetime64[ns]"))
    try:
        return times.tz_localize(tz, ambiguous="raise", nonexistent="raise").tz_convert("UTC").as_unit("ns").asi8
    except ValueError as error:
        reason = str(error).partition(",")[0]
        raise DataError(f"a wall-clock time names no single instant in {tz}: {reason}") from None


def local_to_utc(dates: Any, at: dt.time, tz: str) -> Any:
    """Return the instants (int64 ns UTC) at which the wall clock in `tz` shows `at` on each of `dates` (numpy days).

    >>> str(np.datetime64(int(local_to_utc(["2024-07-01"], US_EQUITY_CLOSE, NEW_YORK)[0]), "ns"))[:16]
    '2024-07-01T20:00'
    """
    midnight = np.asarray(dates, "datetime64[D]").astype("datetime64[ns]")
    return wall_to_utc(midnight + np.timedelta64(at.hour * 3600 + at.minute * 60 + at.second, "s"), tz)


def local_days(ts: Any, tz: str) -> Any:
    """Return the calendar day (datetime64[D]) in `tz` of each instant (int64 ns UTC).

    >>> str(local_days(np.array([1_704_068_000_000_000_000]), NEW_YORK)[0])
    '2023-12-31'
    """
    import pandas as pd

    times: Any = pd.DatetimeIndex(np.asarray(ts, "i8").astype("datetime64[ns]"), tz="UTC")
    return times.tz_convert(tz).tz_localize(None).to_numpy("datetime64[ns]").astype("datetime64[D]")


def is_in_session(calendar: str, ts: int) -> bool:
    """Say whether an exchange calendar is open at `ts` (ns UTC): from the opening up to and with the close.

    Breaks count as open, and years that the calendar does not know as closed.

    >>> noon = int(np.datetime64("2023-11-17T17:00", "ns").astype("i8"))
    >>> is_in_session("XNYS", noon), is_in_session("XNYS", noon + 2 * 86_400 * SEC)  # a Friday, a Sunday
    (True, False)
    """
    opens, closes = _sessions(calendar, dt.datetime.fromtimestamp(ts // SEC, dt.UTC).year)
    at = int(np.searchsorted(opens, ts, "right")) - 1
    return at >= 0 and ts <= int(closes[at])


def check_calendar(calendar: str) -> None:
    """Raise UnknownName for what is no exchange calendar.

    >>> check_calendar("XNYS")
    """
    import exchange_calendars

    names = exchange_calendars.get_calendar_names()
    if calendar not in names:
        raise UnknownName("exchange calendar", calendar, names)


@cache
def _sessions(calendar: str, year: int) -> tuple[Any, Any]:
    """Return the openings and closes (int64 ns UTC, sorted) of a calendar in a year and a week around it."""
    import exchange_calendars

    start, end = dt.date(year, 1, 1) - dt.timedelta(7), dt.date(year, 12, 31) + dt.timedelta(7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # exchange_calendars 4.13 uses what pandas 3.1 deprecates
        try:
            found: Any = exchange_calendars.get_calendar(calendar, start=str(start), end=str(end))
        except ValueError:
            return np.zeros(0, "i8"), np.zeros(0, "i8")
        return tuple(x.tz_convert(None).to_numpy("datetime64[ns]").astype("i8") for x in _columns(found))


def _columns(found: Any) -> tuple[Any, Any]:
    import pandas as pd

    return pd.DatetimeIndex(found.opens), pd.DatetimeIndex(found.closes)

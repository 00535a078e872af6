"""When a trading day of an exchange opens and closes, as instants in UTC."""

import datetime as dt
from typing import Any

import numpy as np

NEW_YORK = "America/New_York"
US_EQUITY_OPEN, US_EQUITY_CLOSE = dt.time(9, 30), dt.time(16)


def local_to_utc(dates: Any, at: dt.time, tz: str) -> Any:
    """Return the instants (int64 ns UTC) at which the wall clock in `tz` shows `at` on each of `dates`.

    `dates` is anything numpy reads as days. The offset is that of the zone on the day, so a US session opens at 14:30
    UTC in winter and at 13:30 UTC in summer.

    >>> [
    ...     str(np.datetime64(int(t), "ns"))[:16]
    ...     for t in local_to_utc(["2013-11-01", "2013-11-04"], US_EQUITY_OPEN, NEW_YORK)
    ... ]
    ['2013-11-01T13:30', '2013-11-04T14:30']
    """
    import pandas as pd

    midnight = pd.DatetimeIndex(np.asarray(dates, "datetime64[D]").astype("datetime64[ns]"))
    wall = midnight + pd.Timedelta(hours=at.hour, minutes=at.minute, seconds=at.second)
    return wall.tz_localize(tz).tz_convert("UTC").as_unit("ns").asi8

"""What a year, a month and a day are to a series of bars.

Everything is UTC, and a bar belongs to the day in which it closes; one that closes exactly at midnight to the day that
ends there.
"""

import numpy as np
import numpy.typing as npt

from quantai.core.errors import DataError
from quantai.core.rows import DAY, HOUR
from quantai.report.returns import Floats, checked_equity, simple_returns

Instants = npt.NDArray[np.int64]

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

_WEEK = 7 * DAY
_YEAR_DAYS = 365.25
_SLOW_CALENDARS = (52.0, 12.0, 4.0, 1.0)  # weekly, monthly, quarterly, yearly bars


def periods_per_year(ts_ns: npt.ArrayLike) -> float:
    """Return how many bars a year holds, from the instants of the bars themselves.

    Shape (n,) int64 ns UTC, ascending. Rules, in this order:

    1. median spacing of 5 days or more: 365.25 days / spacing, snapped to 52, 12, 4 or 1 where within 5 %;
    2. a full week or more: bars in the median week / w x D, where w counts the weekdays (UTC) holding at least half as
    many
       bars as the busiest one, and D = 365 days if w is 7, else 252 sessions. Daily session bars give 252, daily bars
       around the clock 365, minute bars of a 6.5-hour session 98 280, minute bars around the clock 525 600;
    3. less than a week with a pause of more than 3 hours (and 2.5 spacings): 252 x bars per run between pauses;
    4. otherwise around the clock: 365 days x bars per day over the span.

    Fewer than two bars give NaN. A market that keeps sessions but shows less than one pause cannot be told from one
    that never closes: pass `periods_per_year` explicitly there.

    >>> periods_per_year(np.arange(1_000) * DAY)
    365.0

    Raises DataError when the instants do not ascend.
    """
    ts = np.asarray(ts_ns, dtype=np.int64)
    if len(ts) < 2:
        return float("nan")
    gaps = np.diff(ts)
    least = gaps.min()
    if least < 0:
        raise DataError(f"instants must ascend: row {int(np.argmax(gaps < 0)) + 1} is earlier than the row before it")
    span = int(ts[-1] - ts[0])
    spacing = float(least if least == gaps.max() else np.median(gaps))  # a sweep asks for this each time
    if span <= 0:
        return float("nan")
    if spacing >= 5 * DAY:
        return _snap(_YEAR_DAYS * DAY / spacing)
    if span >= _WEEK - spacing:
        return _by_week(ts, span, spacing)
    pauses = gaps > max(3 * HOUR, 2.5 * spacing)
    if pauses.any():
        return 252.0 * len(ts) / (int(pauses.sum()) + 1)
    return 365.0 * len(gaps) * DAY / span


def _snap(per_year: float) -> float:
    for calendar in _SLOW_CALENDARS:
        if abs(per_year / calendar - 1) < 0.05:
            return calendar
    return per_year


def _by_week(ts: Instants, span: int, spacing: float) -> float:
    # the instants ascend: counting between midnights is a search for each of those, not a division for each bar
    days = np.arange(ts[0] // DAY, ts[-1] // DAY + 1)
    weekday = (days + 3) % 7  # 1970-01-01 was a Thursday
    per_weekday = np.bincount(weekday, _counts(ts, np.append(days, days[-1] + 1) * DAY), minlength=7)
    open_days = int((per_weekday >= per_weekday.max() / 2).sum())
    weeks = int((span + spacing) // _WEEK)
    per_week = float(np.median(_counts(ts, ts[0] + _WEEK * np.arange(weeks + 1))))
    return per_week / open_days * (365.0 if open_days == 7 else 252.0)


def _counts(ts: Instants, edges: Instants) -> npt.NDArray[np.int64]:
    """Return how many instants lie between each edge and the next, the first of the two included."""
    return np.diff(np.searchsorted(ts, edges))


def period_returns(ts_ns: npt.ArrayLike, equity: npt.ArrayLike, unit: str) -> tuple[npt.NDArray[np.datetime64], Floats]:
    """Return (periods, returns) of an equity curve by UTC calendar day, month or year.

    `unit` is "D", "M" or "Y". A bar closing exactly at midnight belongs to the day that ends there. The first period
    starts at the first equity value; each later one at the last value of the period before it. Days without a bar are
    absent. A period that starts at or below zero has no return: NaN.

    >>> days, r = period_returns(np.array([1, 2, 3]) * DAY, [100.0, 110.0, 99.0], "D")
    >>> days.astype(str).tolist(), r.round(12).tolist()
    (['1970-01-01', '1970-01-02', '1970-01-03'], [0.0, 0.1, -0.1])
    """
    ts = np.asarray(ts_ns, np.int64)
    values = checked_equity(equity)
    if len(values) == 0:
        return np.empty(0, f"M8[{unit}]"), np.empty(0)
    period = (ts - 1).view("M8[ns]").astype(f"M8[{unit}]")
    last = np.append(np.flatnonzero(period[1:] != period[:-1]), len(period) - 1)
    return period[last], simple_returns(np.concatenate([values[:1], values[last]]))


def monthly_returns(ts_ns: npt.ArrayLike, equity: npt.ArrayLike) -> tuple[list[int], Floats, Floats]:
    """Return (years, months, annual) as fractions; months has shape (years, 12), NaN where there is no bar.

    >>> years, months, annual = monthly_returns(np.array([10, 40, 400]) * DAY, [100.0, 110.0, 99.0])
    >>> years, months[0, :2].round(12).tolist(), annual.round(12).tolist()
    ([1970, 1971], [0.0, 0.1], [0.1, -0.1])
    """
    periods, returns = period_returns(ts_ns, equity, "M")
    _, by_year = period_returns(ts_ns, equity, "Y")
    if not len(periods):
        return [], np.empty((0, 12)), np.empty(0)
    month = periods.astype(np.int64)
    year = month // 12 - month[0] // 12
    table = np.full((int(year[-1]) + 1, 12), np.nan)
    table[year, month % 12] = returns
    annual = np.full(len(table), np.nan)
    annual[np.unique(year)] = by_year
    return [1970 + int(month[0]) // 12 + i for i in range(len(table))], table, annual

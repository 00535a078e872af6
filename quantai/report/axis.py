"""The time axis of the figures: UTC, closed hours left out, buttons for the usual spans."""

from typing import Any

import numpy as np

from quantai.core.rows import DAY, HOUR, MIN, SEC
from quantai.report.periods import Instants
from quantai.report.returns import Floats


def screen_x(ts_ns: Instants) -> Floats:
    """Return instants as float64 milliseconds: a plotly date axis takes them as UTC, and a page stores 8 bytes each."""
    return ts_ns / 1e6


def spacing_ns(ts_ns: Instants) -> float:
    """Return the median distance between instants; a day when there are fewer than two."""
    return float(np.median(np.diff(ts_ns))) if len(ts_ns) > 1 else float(DAY)


def instant_format(spacing: float) -> str:
    """Return the d3 format that shows an instant as finely as bars `spacing` ns apart need, and not finer."""
    if spacing >= 0.9 * DAY:
        return "%a %Y-%m-%d"
    if spacing >= MIN:
        return "%Y-%m-%d %H:%M"
    return "%Y-%m-%d %H:%M:%S" if spacing >= SEC else "%Y-%m-%d %H:%M:%S.%3f"


def time_axis(ts_ns: Instants, spacing: float) -> dict[str, Any]:
    """Return the settings of a UTC time axis: hover format, closed hours left out, a line through all panels.

    `ts_ns`: every instant that is drawn, in any order; `spacing`: ns between bars.
    """
    return {
        "type": "date",
        "hoverformat": instant_format(spacing),
        "rangebreaks": closed_hours(ts_ns, spacing),
        "range": _range(ts_ns, spacing),
        "rangeslider": {"visible": False},
        "showspikes": True,
        "spikemode": "across",
        "spikesnap": "cursor",
    }


def _range(ts_ns: Instants, spacing: float) -> list[float] | None:
    # Said outright, because plotly leaves a margin of months beside a marker near the edge.
    return [(ts_ns.min() - spacing) / 1e6, (ts_ns.max() + spacing) / 1e6] if len(ts_ns) else None


def closed_hours(ts_ns: Instants, spacing: float) -> list[dict[str, Any]]:
    """Return the plotly range breaks of a market that keeps sessions; none for one that shows no pauses.

    Weekends are left out when no instant falls on one; nights when the bars are short and every instant falls into the
    same part of the day. The break starts after the last instant of any day, so that nothing drawn falls into it.

    >>> weekdays = np.array([d * DAY for d in range(28) if (d + 3) % 7 < 5])
    >>> closed_hours(weekdays, DAY)
    [{'bounds': ['sat', 'mon']}]
    """
    if (
        len(ts_ns) < 10
        or ts_ns.max() - ts_ns.min() < 3 * DAY
        or spacing > 3 * DAY
        or ((ts_ns // DAY + 3) % 7).max() > 4
    ):
        return []
    if spacing > 0.9 * DAY and ts_ns.max() - ts_ns.min() > 5 * 365 * DAY:
        return []
    out: list[dict[str, Any]] = [{"bounds": ["sat", "mon"]}]
    first, last = int((ts_ns % DAY).min()), int((ts_ns % DAY).max())
    if spacing < 6 * HOUR and last - first < 16 * HOUR:
        margin = min(spacing, HOUR / 2)
        start, end = min((last + margin) / HOUR, 24.0), max((first - margin) / HOUR, 0.0)
        out.append({"bounds": [round(start, 4), round(end, 4)], "pattern": "hour"})
    return out


def range_buttons(ts_ns: Instants) -> dict[str, Any]:
    """Return a range selector: spans shorter than the data and longer than a few bars, at most five, and `all`."""
    span = int(ts_ns[-1] - ts_ns[0]) if len(ts_ns) else 0
    steps = (
        (HOUR, 1, "hour", "1h"),
        (6 * HOUR, 6, "hour", "6h"),
        (DAY, 1, "day", "1d"),
        (7 * DAY, 7, "day", "1w"),
        (30 * DAY, 1, "month", "1m"),
        (182 * DAY, 6, "month", "6m"),
        (365 * DAY, 1, "year", "1y"),
        (3 * 365 * DAY, 3, "year", "3y"),
        (5 * 365 * DAY, 5, "year", "5y"),
        (10 * 365 * DAY, 10, "year", "10y"),
    )
    usable = [s for s in steps if 10 * spacing_ns(ts_ns) <= s[0] < 0.9 * span][-5:]
    buttons = [{"count": c, "step": step, "stepmode": "backward", "label": text} for _, c, step, text in usable]
    return {
        "buttons": [*buttons, {"step": "all", "label": "all"}] if buttons else [],
        "visible": bool(buttons),
        "x": 0.008,
        "xanchor": "left",
        "y": 1.01,
        "yanchor": "bottom",
        "font": {"size": 11},
        "bgcolor": "rgba(135,145,160,0.14)",
        "activecolor": "rgba(47,126,188,0.45)",
    }


def drawn_close(close_ts: Instants) -> Instants:
    """Return where a bar close is drawn: for daily and longer bars a moment earlier, so that midnight is in its day."""
    return close_ts - 1_000_000 if spacing_ns(close_ts) >= 0.9 * DAY else close_ts

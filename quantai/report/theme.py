"""The look that all figures share: two plotly templates, colours that survive colour blindness and print, a time axis.

Blue is up, bought, gained; orange is down, sold, lost: the pair that the common kinds of colour blindness keep apart
(Okabe and Ito, "Color Universal Design", 2008). Everything else is grey. The colours are of middle lightness, so the
same traces read on white and on near-black; only paper, ink and grid change with the theme.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio

from quantai.core.errors import UnknownName
from quantai.core.rows import DAY, HOUR, MIN, SEC
from quantai.report.periods import Instants
from quantai.report.returns import Floats

Theme = Literal["light", "dark"]

BLUE, ORANGE, GREY = "#2f7ebc", "#de7326", "#8791a0"
FONT = "Inter, 'Segoe UI', system-ui, -apple-system, Roboto, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"
DIVERGING = {
    "light": [[0.0, "#b4530c"], [0.25, "#ecab78"], [0.5, "#f5f6f8"], [0.75, "#86b8dd"], [1.0, "#175c94"]],
    "dark": [[0.0, "#f0964e"], [0.25, "#8d5024"], [0.5, "#20262f"], [0.75, "#2a628f"], [1.0, "#64b1ec"]],
}
SEQUENTIAL = "Cividis"


class Palette(NamedTuple):
    """The colours that depend on the theme."""

    paper: str
    ink: str
    muted: str
    grid: str
    line: str


PALETTES = {
    "light": Palette(paper="#ffffff", ink="#1c2430", muted="#5c6675", grid="#edf0f3", line="#c9d0d9"),
    "dark": Palette(paper="#12161c", ink="#e4e8ee", muted="#98a2b1", grid="#232a34", line="#3b4552"),
}


def template(theme: Theme = "light") -> go.layout.Template:
    """Return the plotly template of a theme; also registered as `quantai` and `quantai_dark`. Raises UnknownName.

    >>> template("dark").layout.paper_bgcolor
    '#12161c'
    """
    if theme not in PALETTES:
        raise UnknownName("theme", theme, PALETTES)
    p = PALETTES[theme]
    axis: dict[str, Any] = {
        "gridcolor": p.grid,
        "linecolor": p.line,
        "tickcolor": p.line,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "automargin": True,
        "title": {"font": {"size": 12, "color": p.muted}, "standoff": 10},
        "tickfont": {"size": 11, "color": p.muted},
        "spikecolor": p.muted,
        "spikethickness": 1,
        "spikedash": "dot",
    }
    return go.layout.Template(
        layout={
            "paper_bgcolor": p.paper,
            "plot_bgcolor": p.paper,
            "colorway": [BLUE, ORANGE, GREY, "#009e73", "#a35b95", "#b59f00"],
            "font": {"family": FONT, "size": 12, "color": p.ink},
            "title": {
                "x": 0,
                "xref": "paper",
                "xanchor": "left",
                "y": 1,
                "yref": "container",
                "yanchor": "top",
                "pad": {"t": 18},
                "font": {"size": 17, "color": p.ink, "weight": 600},
                "subtitle": {"font": {"size": 12, "color": p.muted}},
            },
            "xaxis": axis | {"showgrid": False, "showline": True},
            "yaxis": axis | {"showline": False, "ticklen": 0, "ticks": ""},
            "legend": {
                "orientation": "h",
                "x": 1,
                "xanchor": "right",
                "y": 1.01,
                "yanchor": "bottom",
                "font": {"size": 11, "color": p.muted},
                "bgcolor": "rgba(0,0,0,0)",
                "traceorder": "normal",
            },
            "hoverlabel": {
                "bgcolor": p.paper,
                "bordercolor": p.line,
                "align": "left",
                "font": {"family": FONT, "size": 12, "color": p.ink},
            },
            "annotationdefaults": {"font": {"size": 11, "color": p.muted}, "showarrow": False},
            "coloraxis": {"colorbar": {"outlinewidth": 0, "tickfont": {"size": 11, "color": p.muted}}},
            # sendChartToCloud would upload the account to a public service at one click.
            "modebar": {
                "bgcolor": "rgba(0,0,0,0)",
                "color": p.line,
                "activecolor": p.muted,
                "remove": ["sendChartToCloud", "select2d", "lasso2d", "autoScale2d"],
            },
            "margin": {"l": 56, "r": 24, "t": 86, "b": 40},
        }
    )


pio.templates["quantai"] = template("light")
pio.templates["quantai_dark"] = template("dark")


def dress(figure: go.Figure, title: str, subtitle: str, theme: Theme, height: int, *, above: int = 34) -> go.Figure:
    """Give a figure its template, title and height in place; `above`: pixels for what stands between title and plot."""
    figure.update_layout(
        template=template(theme),
        title={"text": title, "subtitle": {"text": subtitle}} if subtitle else {"text": title},
        margin={"t": (74 if subtitle else 52) + above},
        height=height,
        hovermode="closest",
    )
    return figure


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
    """Return a range selector with the spans that are shorter than the data, at most five and `all`."""
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
    usable = [s for s in steps if s[0] < 0.9 * span][-5:]
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

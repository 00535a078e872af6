"""The look that all figures share: two plotly templates, colours that survive colour blindness and print.

Blue is up, bought, gained; orange is down, sold, lost: the pair that the common kinds of colour blindness keep apart
(Okabe and Ito, "Color Universal Design", 2008). Everything else is grey. The colours are of middle lightness, so the
same traces read on white and on near-black; only paper, ink and grid change with the theme.
"""

from typing import Any, Literal, NamedTuple

import plotly.graph_objects as go
import plotly.io as pio

from quantai.core.errors import UnknownName

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

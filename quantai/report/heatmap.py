"""Heat maps: a statistic over two parameters of a sweep, and returns by year and month."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from quantai.core.errors import DataError, UnknownName
from quantai.report.glossary import STATISTICS
from quantai.report.periods import MONTHS, monthly_returns
from quantai.report.returns import Floats
from quantai.report.stats import column, instants
from quantai.report.theme import DIVERGING, PALETTES, SEQUENTIAL, Theme, dress

_WRITTEN_CELLS = 225  # more numbers than this are unreadable in their cells


def heatmap(
    frame: pd.DataFrame, x: str, y: str, value: str, *, title: str | None = None, theme: Theme = "light"
) -> go.Figure:
    """Return one statistic of a sweep over two of its parameters, the best cell marked.

    `frame`: one row a variant, with the columns x, y and value. Variants that share a cell (a third parameter) are
    averaged, and the subtitle says so: the best of them would flatter the cell. Values on both sides of zero get
    diverging colours around zero, others a sequential scale. Raises UnknownName for a column that is not there,
    DataError for an empty frame.
    """
    for name in (x, y, value):
        if name not in frame.columns:
            raise UnknownName("column", name, map(str, frame.columns))
    if not len(frame):
        raise DataError("the sweep has no rows: there is nothing to draw")
    cells = frame.pivot_table(index=y, columns=x, values=value, aggfunc="mean", dropna=False)
    z = np.asarray(cells, np.float64)
    known = z[np.isfinite(z)]
    percent = value in STATISTICS and STATISTICS[value].unit == "fraction"
    form = ".1%" if percent else ".3~g"
    label = STATISTICS[value].label if value in STATISTICS else value
    xs, ys = [f"{v:g}" if isinstance(v, float) else str(v) for v in cells.columns], [str(v) for v in cells.index]
    figure = go.Figure(
        go.Heatmap(
            x=xs,
            y=ys,
            z=z,
            xgap=1,
            ygap=1,
            texttemplate=f"%{{z:{form}}}" if z.size <= _WRITTEN_CELLS else None,
            textfont={"size": 11},
            hovertemplate=f"{x} %{{x}}<br>{y} %{{y}}<br><b>{label} %{{z:{form}}}</b><extra></extra>",
            colorbar={
                "title": {"text": label, "font": {"size": 12}},
                "tickformat": form,
                "outlinewidth": 0,
                "thickness": 12,
            },
            **_colours(known, theme),
        )
    )
    note = f"{len(frame):,} variants"
    if len(frame) > z.size or frame.duplicated([x, y]).any():
        note += ", averaged over the other parameters"
    if len(known):
        row, col = np.unravel_index(int(np.nanargmax(np.where(np.isfinite(z), z, -np.inf))), z.shape)
        _outline(figure, int(col), int(row), theme)
        note += f" · highest at {x} {xs[col]}, {y} {ys[row]}"
    dress(figure, title or label, note, theme, height=max(340, min(760, 150 + 26 * len(ys))), above=8)
    figure.update_xaxes(title_text=x, type="category", showline=False)
    figure.update_yaxes(title_text=y, type="category", showgrid=False)
    return figure


def monthly_heatmap(equity: pd.DataFrame, *, title: str = "Monthly returns", theme: Theme = "light") -> go.Figure:
    """Return the returns by year (rows) and month (columns), with the year's own return in the last column."""
    years, table, annual = monthly_returns(instants(equity.index), column(equity, "equity"))
    z = np.concatenate([table, annual[:, None]], axis=1)
    bound = float(np.nanquantile(np.abs(table), 0.95)) if np.isfinite(table).any() else 0.0
    bound = bound or 0.01
    figure = go.Figure(
        go.Heatmap(
            x=[*MONTHS, "Year"],
            y=[str(year) for year in years],
            z=z,
            zmin=-bound,
            zmax=bound,
            colorscale=DIVERGING[theme],
            showscale=False,
            xgap=2,
            ygap=2,
            texttemplate="%{z:.1%}" if len(years) <= 40 else None,
            textfont={"size": 11},
            hovertemplate="%{x} %{y}<br><b>%{z:.2%}</b><extra></extra>",
        )
    )
    dress(figure, title, "", theme, height=112 + 27 * max(len(years), 3), above=30)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    figure.update_xaxes(type="category", side="top", showline=False, ticks="")
    figure.update_layout(margin={"b": 16})
    figure.add_vline(x=11.5, line={"width": 6, "color": PALETTES[theme].paper})
    return figure


def _colours(known: Floats, theme: Theme) -> dict[str, Any]:
    if len(known) and known.min() < 0 < known.max():
        bound = float(np.abs(known).max())
        return {"colorscale": DIVERGING[theme], "zmin": -bound, "zmax": bound}
    return {"colorscale": SEQUENTIAL}


def _outline(figure: go.Figure, col: int, row: int, theme: Theme) -> None:
    corners = {"x0": col - 0.5, "x1": col + 0.5, "y0": row - 0.5, "y1": row + 0.5}
    figure.add_shape(type="rect", **corners, line={"color": PALETTES[theme].ink, "width": 2})

"""Two accounts side by side: a table of what differs, and both curves with the difference below."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from quantai.report.axis import screen_x
from quantai.report.periods import Instants
from quantai.report.returns import Floats
from quantai.report.theme import BLUE, GREY, ORANGE, Theme, dress
from quantai.report.thinning import extremes

Curve = tuple[Instants, Floats]
"""Instants (ns, ascending) and what the account had gained by each, account currency."""


def difference_table(a: Mapping[str, float], b: Mapping[str, float]) -> pd.DataFrame:
    """Return the statistics of either by name: a, b, and difference = b - a; NaN where one has none.

    >>> difference_table({"pnl": 1.0}, {"pnl": 3.0, "fills": 2}).loc["pnl"].tolist()
    [1.0, 3.0, 2.0]
    """
    names = list(dict.fromkeys([*a, *b]))
    x, y = (np.array([float(s.get(name, np.nan)) for name in names]) for s in (a, b))
    return pd.DataFrame({"a": x, "b": y, "difference": y - x}, index=pd.Index(names, name="statistic"))


def as_of_all(curve: Curve, ts: Instants) -> Floats:
    """Return the last value at or before each instant, 0 before the first.

    >>> as_of_all((np.array([10, 20]), np.array([1.0, 2.0])), np.array([5, 10, 25])).tolist()
    [0.0, 1.0, 2.0]
    """
    at, values = curve
    return np.concatenate([[0.0], values])[np.searchsorted(at, ts, side="right")]


def comparison_figure(
    a: Curve,
    b: Curve,
    *,
    names: tuple[str, str] = ("a", "b"),
    title: str = "Comparison",
    currency: str = "",
    theme: Theme = "light",
) -> go.Figure:
    """Return what both accounts gained over time, and below it b less a, at every instant of either."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.05, row_heights=[0.62, 0.38])
    ts = np.union1d(a[0], b[0])
    x, y = as_of_all(a, ts), as_of_all(b, ts)
    for values, name, colour, row in (
        (x, names[0], BLUE, 1), (y, names[1], ORANGE, 1), (y - x, f"{names[1]} less {names[0]}", GREY, 2)
    ):  # fmt: skip
        drawn = extremes(values)
        figure.add_scatter(
            x=screen_x(ts[drawn]),
            y=values[drawn],
            mode="lines",
            line={"color": colour, "width": 1.5},
            name=name,
            showlegend=row == 1,
            hovertemplate=f"%{{x}}<br>{name} <b>%{{y:+,.2f}}</b><extra></extra>",
            row=row,
            col=1,
        )
    dress(figure, title, "", theme, height=480)
    unit = f", {currency}" if currency else ""
    figure.update_xaxes(type="date")
    figure.update_yaxes(title_text=f"P&L{unit}", row=1, col=1)
    figure.update_yaxes(title_text=f"Difference{unit}", row=2, col=1)
    return figure

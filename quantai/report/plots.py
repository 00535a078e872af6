"""Figures of a backtest or an account: price with fills, equity, drawdown, and the distribution of returns.

All take plain frames (see `stats.summary` for their columns) and return a plotly figure. A long series is thinned to
what the screen can show, extremes kept, and the subtitle says so.
"""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from quantai.report import panels
from quantai.report.axis import drawn_close, range_buttons, spacing_ns, time_axis
from quantai.report.returns import Floats, simple_returns, value_at_risk
from quantai.report.stats import column, instants
from quantai.report.theme import BLUE, GREY, ORANGE, Theme, dress


def backtest_figure(
    bars: pd.DataFrame,
    fills: pd.DataFrame,
    equity: pd.DataFrame,
    trades: pd.DataFrame | None = None,
    *,
    title: str = "Backtest",
    currency: str = "",
    theme: Theme = "light",
) -> go.Figure:
    """Return price with fills, equity and drawdown in three panels on one time axis.

    `bars`: one instrument, index = bar open (UTC), open high low close. `fills` and `trades`: of the same instrument.
    `equity`: index = bar close. Up to 6 000 bars are candles; more are a line of closes inside the band from lowest low
    to highest high. Up to 4 000 fills are one marker each; more are merged per pixel and side at their mean price.
    Raises DataError for an index that is not UTC.
    """
    bar_ts, fill_ts, close_ts = (
        instants(bars.index),
        panels.column_instants(fills, "ts"),
        drawn_close(instants(equity.index)),
    )
    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.035, row_heights=[0.58, 0.22, 0.20])
    notes = [panels.add_bars(figure, bars, bar_ts)]
    if trades is not None and len(trades) > 0:
        panels.add_trades(figure, trades)
    notes.append(panels.add_fills(figure, fills, fill_ts))
    notes.append(panels.add_equity(figure, equity, close_ts, currency, row=2))
    panels.add_drawdown(figure, equity, close_ts, row=3)
    dress(figure, title, " · ".join(n for n in notes if n), theme, height=760)
    axis = time_axis(np.concatenate([bar_ts, fill_ts, close_ts]), spacing_ns(bar_ts))
    figure.update_xaxes(**axis)
    figure.update_xaxes(rangeselector=range_buttons(bar_ts), row=1)
    figure.update_yaxes(tickformat=",.10~g", row=1)
    for row, name in enumerate(("Price", _unit("Equity", currency), "Drawdown"), start=1):
        figure.update_yaxes(title_text=name, row=row)
    return figure


def price_figure(
    bars: pd.DataFrame,
    fills: pd.DataFrame | None = None,
    trades: pd.DataFrame | None = None,
    *,
    title: str = "Price",
    theme: Theme = "light",
) -> go.Figure:
    """Return the first panel of `backtest_figure` alone: one instrument's price, with its fills and trades if any."""
    if fills is None:
        fills = pd.DataFrame({"ts": pd.DatetimeIndex([], tz="UTC"), "side": [], "px": [], "qty": []})
    bar_ts, fill_ts = instants(bars.index), panels.column_instants(fills, "ts")
    figure = make_subplots(rows=1, cols=1)
    notes = [panels.add_bars(figure, bars, bar_ts)]
    if trades is not None:
        panels.add_trades(figure, trades)
    notes.append(panels.add_fills(figure, fills, fill_ts))
    dress(figure, title, " · ".join(n for n in notes if n), theme, height=420)
    figure.update_xaxes(**time_axis(np.concatenate([bar_ts, fill_ts]), spacing_ns(bar_ts)))
    figure.update_xaxes(rangeselector=range_buttons(bar_ts))
    figure.update_yaxes(title_text="Price", tickformat=",.10~g")
    return figure


def equity_figure(
    equity: pd.DataFrame,
    *,
    benchmark: pd.Series | None = None,
    title: str = "Equity",
    currency: str = "",
    theme: Theme = "light",
) -> go.Figure:
    """Return the equity curve, with a benchmark scaled to the same start where one is given."""
    ts = drawn_close(instants(equity.index))
    figure = make_subplots(rows=1, cols=1)
    note = panels.add_equity(figure, equity, ts, currency, row=1)
    if benchmark is not None:
        panels.add_benchmark(figure, benchmark, equity)
    dress(figure, title, note, theme, height=380)
    figure.update_xaxes(**time_axis(ts, spacing_ns(ts)), rangeselector=range_buttons(ts))
    figure.update_yaxes(title_text=_unit("Equity", currency))
    return figure


def drawdown_figure(equity: pd.DataFrame, *, title: str = "Drawdown", theme: Theme = "light") -> go.Figure:
    """Return how far equity is below its last peak, with the deepest point named."""
    ts = drawn_close(instants(equity.index))
    figure = make_subplots(rows=1, cols=1)
    panels.add_drawdown(figure, equity, ts, row=1)
    dress(figure, title, "", theme, height=280)
    figure.update_xaxes(**time_axis(ts, spacing_ns(ts)), rangeselector=range_buttons(ts))
    return figure


def returns_histogram(equity: pd.DataFrame, *, title: str = "Returns per bar", theme: Theme = "light") -> go.Figure:
    """Return the distribution of bar returns beside the normal one of equal mean and deviation, with the VaR.

    Bars without a change (an account without a position) are left out of the columns, since they would dwarf all
    others; the subtitle counts them. The axis ends at the 0.1 % quantiles; the outermost columns hold everything
    beyond.
    """
    r = simple_returns(column(equity, "equity"))
    r = r[np.isfinite(r)]
    moved = r[r != 0]
    figure = go.Figure()
    if len(moved) > 1:
        low, high = np.quantile(moved, [0.001, 0.999])
        edges = (
            np.linspace(low, high, min(81, max(11, int(len(moved) ** 0.5) | 1)))
            if high > low
            else np.array([low - 1, low + 1])
        )
        counts, _ = np.histogram(np.clip(moved, edges[0], edges[-1]), edges)
        _add_histogram(figure, moved, counts, edges)
        at_risk = value_at_risk(r)
        label = f"VaR 95 % {at_risk:.2%} ".replace("-", "−")
        figure.add_vline(
            x=at_risk,
            line={"color": ORANGE, "width": 1.2, "dash": "dot"},
            annotation={"text": label, "xanchor": "right", "y": 1, "yanchor": "top"},
        )
    else:
        figure.add_annotation(text="No bar changed the account", x=0.5, y=0.5, xref="paper", yref="paper")
        figure.update_xaxes(visible=False).update_yaxes(visible=False)
    still = len(r) - len(moved)
    note = f"{len(moved):,} bars" + (f" · {still:,} without a change left out" if still else "")
    dress(figure, title, note, theme, height=320, above=24)
    figure.update_layout(bargap=0.06)
    figure.update_xaxes(tickformat=".2~%", hoverformat=".2%")
    figure.update_yaxes(title_text="Bars")
    return figure


def _unit(name: str, currency: str) -> str:
    return f"{name}, {currency}" if currency else name


def _add_histogram(figure: go.Figure, moved: Floats, counts: Any, edges: Floats) -> None:
    middle = (edges[1:] + edges[:-1]) / 2
    width = float(edges[1] - edges[0])
    figure.add_bar(
        x=middle,
        y=counts,
        width=width * 0.94,
        marker={"color": np.where(middle < 0, ORANGE, BLUE), "opacity": 0.8},
        hovertemplate="%{x:.2%}<br><b>%{y:,}</b> bars<extra></extra>",
        showlegend=False,
    )
    mean, deviation = float(moved.mean()), float(moved.std(ddof=1))
    if deviation > 0:
        normal = np.exp(-0.5 * ((middle - mean) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))
        figure.add_scatter(
            x=middle,
            y=normal * len(moved) * width,
            mode="lines",
            line={"color": GREY, "width": 1.4},
            name="normal, same mean and deviation",
            hoverinfo="skip",
        )

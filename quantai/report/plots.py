"""Figures of a backtest or an account: price with fills, equity, drawdown, and the distribution of returns.

All take plain frames (see `stats.summary` for their columns) and return a plotly figure. A long series is thinned to
what the screen can show, extremes kept, and the subtitle says so.
"""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from quantai.core.rows import DAY
from quantai.report import thinning
from quantai.report.drawdown import drawdown
from quantai.report.periods import Instants
from quantai.report.returns import Floats, simple_returns, value_at_risk
from quantai.report.stats import as_of, column, instants
from quantai.report.theme import (
    BLUE,
    GREY,
    ORANGE,
    Theme,
    dress,
    range_buttons,
    screen_x,
    spacing_ns,
    time_axis,
)

_FAINT_BLUE, _FAINT_ORANGE = "rgba(47,126,188,0.16)", "rgba(222,115,38,0.22)"
_TRADES = 1_000  # more entry-to-exit lines than this are a hatching, not information


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
    bar_ts, fill_ts, close_ts = instants(bars.index), _column_instants(fills, "ts"), drawn_close(instants(equity.index))
    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.035, row_heights=[0.58, 0.22, 0.20])
    notes = [_add_bars(figure, bars, bar_ts)]
    if trades is not None and len(trades) > 0:
        _add_trades(figure, trades)
    notes.append(_add_fills(figure, fills, fill_ts))
    notes.append(_add_equity(figure, equity, close_ts, currency, row=2))
    _add_drawdown(figure, equity, close_ts, row=3)
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
    fills: pd.DataFrame,
    trades: pd.DataFrame | None = None,
    *,
    title: str = "Price",
    theme: Theme = "light",
) -> go.Figure:
    """Return the first panel of `backtest_figure` alone: one instrument's price with its fills and trades."""
    bar_ts, fill_ts = instants(bars.index), _column_instants(fills, "ts")
    figure = make_subplots(rows=1, cols=1)
    notes = [_add_bars(figure, bars, bar_ts)]
    if trades is not None:
        _add_trades(figure, trades)
    notes.append(_add_fills(figure, fills, fill_ts))
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
    note = _add_equity(figure, equity, ts, currency, row=1)
    if benchmark is not None:
        _add_benchmark(figure, benchmark, equity)
    dress(figure, title, note, theme, height=380)
    figure.update_xaxes(**time_axis(ts, spacing_ns(ts)), rangeselector=range_buttons(ts))
    figure.update_yaxes(title_text=_unit("Equity", currency))
    return figure


def drawdown_figure(equity: pd.DataFrame, *, title: str = "Drawdown", theme: Theme = "light") -> go.Figure:
    """Return how far equity is below its last peak, with the deepest point named."""
    ts = drawn_close(instants(equity.index))
    figure = make_subplots(rows=1, cols=1)
    _add_drawdown(figure, equity, ts, row=1)
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


def drawn_close(close_ts: Instants) -> Instants:
    """Return where a bar close is drawn: for daily and longer bars a moment earlier, so that midnight is in its day."""
    return close_ts - 1_000_000 if spacing_ns(close_ts) >= 0.9 * DAY else close_ts


def _unit(name: str, currency: str) -> str:
    return f"{name}, {currency}" if currency else name


def _column_instants(frame: pd.DataFrame, name: str) -> Instants:
    return instants(pd.DatetimeIndex(frame[name])) if len(frame) else np.zeros(0, np.int64)


def _add_bars(figure: go.Figure, bars: pd.DataFrame, ts: Instants) -> str:
    if len(bars) <= thinning.CANDLES:
        figure.add_candlestick(
            x=screen_x(ts),
            **{name: column(bars, name) for name in ("open", "high", "low", "close")},
            increasing={"line": {"color": GREY, "width": 1}, "fillcolor": "rgba(0,0,0,0)"},
            decreasing={"line": {"color": GREY, "width": 1}, "fillcolor": GREY},
            whiskerwidth=0,
            name="Price",
            showlegend=False,
            row=1,
            col=1,
        )
        return ""
    e = thinning.envelope(bars)
    x = screen_x(ts[e.start])
    band: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    figure.add_scatter(x=x, y=e.low, **band, row=1, col=1)
    figure.add_scatter(x=x, y=e.high, **band, fill="tonexty", fillcolor="rgba(135,145,160,0.35)", row=1, col=1)
    figure.add_scatter(
        x=x,
        y=e.close,
        customdata=np.stack([e.low, e.high], axis=1),
        mode="lines",
        line={"color": GREY, "width": 1},
        name="Price",
        showlegend=False,
        hovertemplate="%{x}<br>close <b>%{y:,.6~g}</b>"
        "<br>low %{customdata[0]:,.6~g} · high %{customdata[1]:,.6~g}<extra></extra>",
        row=1,
        col=1,
    )
    return f"{len(bars):,} bars drawn in steps of {e.width:,}: the band spans every high and low, the line is the close"


def _add_fills(figure: go.Figure, fills: pd.DataFrame, ts: Instants) -> str:
    if not len(fills):
        return "no fills"
    merged = thinning.merged_fills(fills, ts)
    size = 10 if len(merged) <= 200 else 8 if len(merged) <= 800 else 6
    for sign, name, symbol, colour in ((1, "Buy", "triangle-up", BLUE), (-1, "Sell", "triangle-down", ORANGE)):
        some = merged.loc[merged["side"] == sign]
        if not len(some):
            continue
        number = some["count"].astype(str) + " fills" if len(merged) < len(fills) else some["where"]
        figure.add_scatter(
            x=screen_x(np.asarray(some["ts_ns"])),
            y=column(some, "px"),
            customdata=np.stack([some["qty"], some["fee"], number], axis=1),
            mode="markers",
            marker={
                "symbol": symbol,
                "size": size,
                "color": colour,
                "line": {"width": size // 8, "color": "rgba(255,255,255,0.85)"},
            },
            name=name,
            hovertemplate=f"%{{x}}<br><b>{name} %{{customdata[0]:,.8~g}} at %{{y:,.8~g}}</b>"
            "<br>fee %{customdata[1]:,.4~g} · %{customdata[2]}<extra></extra>",
            row=1,
            col=1,
        )
    return f"{len(fills):,} fills, merged per pixel" if len(merged) < len(fills) else ""


def _add_trades(figure: go.Figure, trades: pd.DataFrame) -> None:
    if not 0 < len(trades) <= _TRADES:
        return
    entry, leave = _column_instants(trades, "entry_ts"), _column_instants(trades, "exit_ts")
    won = column(trades, "pnl") > 0
    for mask, name, colour in ((won, "Gain", BLUE), (~won, "Loss", ORANGE)):
        if not mask.any():
            continue
        gap = np.full(int(mask.sum()), np.nan)
        x = np.stack([screen_x(entry[mask]), screen_x(leave[mask]), gap], axis=1).ravel()
        y = np.stack([column(trades, "entry_px")[mask], column(trades, "exit_px")[mask], gap], axis=1).ravel()
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"color": colour, "width": 1.2, "dash": "dot"},
            name=name,
            hoverinfo="skip",
            row=1,
            col=1,
        )


def _add_equity(figure: go.Figure, equity: pd.DataFrame, ts: Instants, currency: str, row: int) -> str:
    values = column(equity, "equity")
    drawn = thinning.extremes(values)
    figure.add_scatter(
        x=screen_x(ts[drawn]),
        y=values[drawn],
        mode="lines",
        line={"color": BLUE, "width": 1.6},
        name="Equity",
        showlegend=False,
        hovertemplate=f"%{{x}}<br><b>%{{y:,.2f}}</b> {currency}<extra></extra>",
        row=row,
        col=1,
    )
    if len(values):
        start: dict[str, Any] = {"row": row, "col": 1, "line": {"color": GREY, "width": 1, "dash": "dot"}}
        figure.add_hline(y=float(values[0]), **start)
    return f"{len(values):,} equity values thinned, extremes kept" if len(drawn) < len(values) else ""


def _add_benchmark(figure: go.Figure, benchmark: pd.Series, equity: pd.DataFrame) -> None:
    ts = instants(equity.index)
    theirs = as_of(benchmark, ts)
    first = int(np.argmax(np.isfinite(theirs)))
    scaled: Floats = theirs * (column(equity, "equity")[first] / theirs[first])
    drawn = thinning.extremes(scaled)
    figure.add_scatter(
        x=screen_x(drawn_close(ts)[drawn]),
        y=scaled[drawn],
        mode="lines",
        line={"color": GREY, "width": 1.3},
        name="Benchmark",
        hovertemplate="%{x}<br>benchmark %{y:,.2f}<extra></extra>",
    )


def _add_drawdown(figure: go.Figure, equity: pd.DataFrame, ts: Instants, row: int) -> None:
    depth = drawdown(column(equity, "equity"))
    drawn = thinning.extremes(depth)
    figure.add_scatter(
        x=screen_x(ts[drawn]),
        y=depth[drawn],
        mode="lines",
        line={"color": ORANGE, "width": 1},
        fill="tozeroy",
        fillcolor=_FAINT_ORANGE,
        name="Drawdown",
        showlegend=False,
        hovertemplate="%{x}<br><b>%{y:.2%}</b> below the peak<extra></extra>",
        row=row,
        col=1,
    )
    figure.update_yaxes(tickformat=".0%", rangemode="tozero", row=row, col=1)
    known = depth[np.isfinite(depth)]
    if not (len(known) and known.min() < 0):
        figure.update_yaxes(range=[-0.01, 0], row=row, col=1)
    else:
        at = int(np.nanargmin(depth))
        figure.add_annotation(
            x=screen_x(ts[at : at + 1])[0],
            y=float(depth[at]),
            text=f"{depth[at]:.1%}".replace("-", "−"),
            showarrow=True,
            arrowhead=0,
            arrowwidth=1,
            arrowcolor=GREY,
            ax=30 if at < 0.9 * len(depth) else -30,
            ay=-8,
            row=row,
            col=1,
        )


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

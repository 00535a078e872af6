"""What the figures are made of: each function draws one thing into one panel of a figure, in place.

Those that thin a series return the sentence that says so, or an empty string.
"""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from quantai.report import thinning
from quantai.report.axis import drawn_close, screen_x
from quantai.report.drawdown import drawdown
from quantai.report.periods import Instants
from quantai.report.returns import Floats
from quantai.report.stats import as_of, column, instants
from quantai.report.theme import BLUE, GREY, ORANGE

_FAINT_ORANGE = "rgba(222,115,38,0.22)"
_TRADES = 1_000  # more entry-to-exit lines than this are a hatching, not information


def column_instants(frame: pd.DataFrame, name: str) -> Instants:
    """Return a time column as int64 ns UTC; empty for a frame without rows."""
    return instants(pd.DatetimeIndex(frame[name])) if len(frame) else np.zeros(0, np.int64)


def add_bars(figure: go.Figure, bars: pd.DataFrame, ts: Instants) -> str:
    """Draw bars as candles, or as a line of closes inside a band when they are too many."""
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


def add_fills(figure: go.Figure, fills: pd.DataFrame, ts: Instants) -> str:
    """Draw fills as triangles: up and blue bought, down and orange sold."""
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


def add_trades(figure: go.Figure, trades: pd.DataFrame) -> None:
    """Draw a line from entry to exit of every round trip; none when they are too many to tell apart."""
    if not 0 < len(trades) <= _TRADES:
        return
    entry, leave = column_instants(trades, "entry_ts"), column_instants(trades, "exit_ts")
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


def add_equity(figure: go.Figure, equity: pd.DataFrame, ts: Instants, currency: str, row: int) -> str:
    """Draw the account value, and where it started."""
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


def add_benchmark(figure: go.Figure, benchmark: pd.Series, equity: pd.DataFrame) -> None:
    """Draw a benchmark scaled to the account value at the first bar that knows it."""
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


def add_drawdown(figure: go.Figure, equity: pd.DataFrame, ts: Instants, row: int) -> None:
    """Draw how far equity is below its last peak, and name the deepest point."""
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

"""The figure of a replay: the book with own quotes and fills, inventory, equity, and P&L by cause."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from quantai.core.rows import MS
from quantai.report import panels
from quantai.report.axis import screen_x
from quantai.report.book import add_best, add_resting, book_history, reach
from quantai.report.periods import Instants
from quantai.report.pnl_split import add_split
from quantai.report.returns import Floats
from quantai.report.stats import column, instants
from quantai.report.theme import BLUE, GREY, ORANGE, PALETTES, Theme, dress
from quantai.report.thinning import extremes

_LINES = 3_000  # more quotes than this are one line a side: the best of ours at each instant
_DEPTH = 15


@dataclass(frozen=True, eq=False)
class Quotes:
    """Own orders while they rested, all of shape (orders,)."""

    side: npt.NDArray[np.int8]
    px: Floats
    from_ns: Instants
    until_ns: Instants


def replay_figure(
    levels: pd.DataFrame | None,
    quotes: Quotes,
    fills: pd.DataFrame,
    equity: pd.DataFrame,
    curve: pd.DataFrame,
    window_ns: tuple[int, int],
    *,
    title: str = "Replay",
    currency: str = "",
    columns: int = 500,
    theme: Theme = "light",
) -> go.Figure:
    """Return four panels on one time axis: the book with own quotes and fills, inventory, equity, P&L by cause.

    `levels` as `book_history` takes them, or None where the tape has none: then the fills stand on our quotes alone.
    `fills`: ts, side, px, qty, fee of one instrument. `equity` and `curve` (the parts of `pnl_split`): of the account.
    All of them are cut to `window_ns`; the inventory keeps what was held before it, P&L by cause begins at zero.
    """
    figure = make_subplots(rows=4, cols=1, shared_xaxes=True, vertical_spacing=0.03, row_heights=[0.5, 0.14, 0.16, 0.2])
    first, last = window_ns
    notes = [_add_book(figure, levels, columns, theme)] if levels is not None else []
    grid = np.linspace(0, last - first, columns).astype(np.int64) + first
    notes.append(_add_quotes(figure, quotes, grid, theme))
    ts = panels.column_instants(fills, "ts")
    inside = (ts >= first) & (ts <= last)
    notes.append(panels.add_fills(figure, fills.loc[inside], ts[inside]))
    _add_inventory(figure, fills, ts, window_ns)
    at = instants(equity.index)
    shown = (at >= first) & (at <= last)
    notes.append(panels.add_equity(figure, equity.loc[shown], at[shown], currency, row=3))
    parts = curve.loc[shown]
    if shown.any() and not shown[0]:
        parts = parts - parts.iloc[0]
    add_split(figure, parts, row=4, col=1)
    dress(figure, title, " · ".join(n for n in notes if n), theme, height=980)
    form = "%H:%M:%S.%3f" if last - first < 60_000 * MS else "%Y-%m-%d %H:%M:%S"
    edges = screen_x(np.array([first, last])).tolist()
    figure.update_xaxes(type="date", hoverformat=form, range=edges, showspikes=True, spikemode="across")
    unit = f", {currency}" if currency else ""
    for row, name in enumerate(("Price", "Inventory, units", f"Equity{unit}", f"P&L by cause{unit}"), start=1):
        figure.update_yaxes(title_text=name, row=row, col=1)
    figure.update_yaxes(tickformat=",.10~g", showgrid=False, row=1, col=1)
    return figure


def _add_book(figure: go.Figure, levels: pd.DataFrame, columns: int, theme: Theme) -> str:
    book = book_history(levels, columns)
    bid, ask = book.best_bid, book.best_ask
    seen = np.concatenate([bid, ask])
    seen = seen[np.isfinite(seen)]
    if not len(seen):
        return "no book"
    margin = reach(book, _DEPTH)
    step = add_resting(figure, book, float(seen.min()) - margin, float(seen.max()) + margin, theme)
    for best, name, colour in ((bid, "best bid", BLUE), (ask, "best ask", ORANGE)):
        add_best(figure, book.ts_ns, best, name, colour)
    figure.update_yaxes(range=[float(seen.min()) - margin, float(seen.max()) + margin], row=1, col=1)
    return f"{len(levels):,} rows of the book, rows of {step:g}"


def _add_quotes(figure: go.Figure, quotes: Quotes, grid: Instants, theme: Theme) -> str:
    seen = (quotes.until_ns >= grid[0]) & (quotes.from_ns <= grid[-1])
    many = int(seen.sum()) > _LINES
    for side, name in ((1, "our bid"), (-1, "our ask")):
        mine = seen & (quotes.side == side)
        begin, end = (np.clip(a[mine], grid[0], grid[-1]) for a in (quotes.from_ns, quotes.until_ns))
        px = quotes.px[mine]
        if many:
            x, y = screen_x(grid), best_of_ours(begin, end, px * side, grid) * side
        else:
            gap = np.full(len(px), np.nan)
            x = np.stack([screen_x(begin), screen_x(end), gap], axis=1).ravel()
            y = np.stack([px, px, gap], axis=1).ravel()
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"color": PALETTES[theme].ink, "width": 1.6, "dash": "solid" if side > 0 else "dot"},
            name=name,
            hovertemplate=f"%{{x}}<br>{name} <b>%{{y:,.10~g}}</b><extra></extra>",
            row=1,
            col=1,
        )
    return f"{int(seen.sum()):,} quotes, the best of ours at {len(grid)} instants" if many else ""


def best_of_ours(begin: Instants, end: Instants, value: Floats, grid: Instants) -> Floats:
    """Return the highest value among the spans [begin, end] that hold each instant of a grid, NaN where none does.

    >>> best_of_ours(np.array([0, 5]), np.array([9, 7]), np.array([1.0, 2.0]), np.array([4, 6, 12])).tolist()
    [1.0, 2.0, nan]
    """
    first = np.searchsorted(grid, begin)
    n = np.searchsorted(grid, end, side="right") - first
    of = np.repeat(np.arange(len(n)), n)
    at = np.arange(len(of)) + np.repeat(first - np.cumsum(n) + n, n)
    out = np.full(len(grid), -np.inf)
    np.maximum.at(out, at, value[of])
    return np.where(np.isfinite(out), out, np.nan)


def _add_inventory(figure: go.Figure, fills: pd.DataFrame, ts: Instants, window_ns: tuple[int, int]) -> None:
    held = np.concatenate([[0.0], np.cumsum(column(fills, "side") * column(fills, "qty"))])
    first, last = np.searchsorted(ts, window_ns[0]), np.searchsorted(ts, window_ns[1], side="right")
    inside = held[first : last + 1]
    at = np.concatenate([[window_ns[0]], ts[first:last], [window_ns[1]]])
    values = np.concatenate([inside, inside[-1:]])
    drawn = extremes(values)
    line: dict[str, Any] = {"color": BLUE, "width": 1.4, "shape": "hv"}
    figure.add_scatter(
        x=screen_x(at[drawn]),
        y=values[drawn],
        mode="lines",
        line=line,
        name="Inventory",
        showlegend=False,
        hovertemplate="%{x}<br><b>%{y:+,.6~g}</b> units<extra></extra>",
        row=2,
        col=1,
    )
    zero: dict[str, Any] = {"row": 2, "col": 1, "line": {"color": GREY, "width": 1, "dash": "dot"}}
    figure.add_hline(y=0, **zero)

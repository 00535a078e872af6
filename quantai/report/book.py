"""Figures of an order book: what rested at which price over time, and how deep it is at one instant.

The book is rebuilt from the `levels` rows of the lake: a LEVEL row sets the size at a price of one side (0 deletes
it), a CLEAR row drops the whole book. Rows are taken in the order in which they stand.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from quantai.core.errors import DataError
from quantai.core.rows import Kind
from quantai.report.axis import screen_x
from quantai.report.periods import Instants
from quantai.report.returns import Floats
from quantai.report.stats import column
from quantai.report.theme import BLUE, ORANGE, PALETTES, Theme, dress

_ROWS = 160  # rows of the heat map at most: a row should be a few pixels high
_COLUMNS = ("ts_recv", "px", "qty", "side", "kind")


class BookHistory(NamedTuple):
    """The book at evenly spaced instants."""

    ts_ns: Instants
    """Shape (columns,): the instants."""
    px: Floats
    """Shape (levels,): every price that ever had a size, ascending; a price of both sides appears twice."""
    side: npt.NDArray[np.int8]
    """Shape (levels,): +1 bid, -1 ask."""
    qty: Floats
    """Shape (levels, columns): size resting at that price at that instant, 0 for none."""

    @property
    def best_bid(self) -> Floats:
        """Highest bid at each instant, NaN without one."""
        return _best(self, 1)

    @property
    def best_ask(self) -> Floats:
        """Lowest ask at each instant, NaN without one."""
        return _best(self, -1)


def book_history(levels: Any, columns: int = 400) -> BookHistory:
    """Rebuild the book at `columns` evenly spaced instants, first row to last, each after all rows up to it.

    `levels`: a pandas frame, or a table that turns into one (Arrow, polars), with ts_recv (int64 ns), px, qty, side
    (+1 bid, -1 ask) and kind (LEVEL or CLEAR). A row whose clock ran backwards counts from the latest instant before
    it. Memory is prices x columns x 8 bytes: minutes to hours of a book, not days. Raises DataError for no rows or a
    missing column.

    >>> rows = pd.DataFrame(
    ...     {
    ...         "ts_recv": [0, 0, 5, 10],
    ...         "px": [99.0, 101.0, 99.0, 0.0],
    ...         "qty": [3.0, 4.0, 0.0, 0.0],
    ...         "side": [1, -1, 1, 0],
    ...         "kind": [2, 2, 2, 3],
    ...     }
    ... )
    >>> book = book_history(rows, columns=3)
    >>> book.best_bid.tolist(), book.best_ask.tolist()
    ([99.0, nan, nan], [101.0, 101.0, nan])
    """
    frame: pd.DataFrame = levels if isinstance(levels, pd.DataFrame) else levels.to_pandas()
    missing = [c for c in _COLUMNS if c not in frame.columns]
    if missing or not len(frame):
        raise DataError(f"levels lacks the column {missing[0]!r}" if missing else "levels is empty: no book to draw")
    ts = np.maximum.accumulate(np.asarray(frame["ts_recv"]).astype(np.int64))
    kind = np.asarray(frame["kind"])
    row, cleared = np.flatnonzero(kind == Kind.LEVEL), np.flatnonzero(kind == Kind.CLEAR)
    prices, price = np.unique(column(frame, "px")[row], return_inverse=True)
    is_bid = (np.asarray(frame["side"])[row] > 0).astype(np.int64)
    book, level = np.unique(price * 2 + is_bid, return_inverse=True)
    grid = np.linspace(0, int(ts[-1] - ts[0]), columns).astype(np.int64) + ts[0]
    known = np.searchsorted(ts, grid, side="right")  # rows [0, known) have happened at each instant
    last_clear = np.concatenate([[-1], cleared])[np.searchsorted(cleared, known, side="left")]
    # One sorted key (level, row) answers for all levels and instants at once which row spoke last.
    n, of_level = len(ts) + 1, np.arange(len(book))[:, None]
    keys = level * n + row
    order = np.argsort(keys)
    keys = np.concatenate([[-1], keys[order]])
    at = np.searchsorted(keys, of_level * n + known, side="left") - 1
    live = (keys[at] // n == of_level) & (keys[at] % n > last_clear)
    qty = np.concatenate([[0.0], column(frame, "qty")[row][order]])
    side = np.where(book % 2 == 1, 1, -1).astype(np.int8)
    return BookHistory(grid, prices[book // 2], side, np.where(live, qty[at], 0.0))


def book_figure(
    levels: Any,
    *,
    at_ns: int | None = None,
    depth: int = 25,
    title: str = "Order book",
    columns: int = 400,
    theme: Theme = "light",
) -> go.Figure:
    """Return what rested at each price over time, and beside it the cumulated depth at one instant.

    `levels` as in `book_history`. `at_ns`: the instant of the depth panel, the last one without it. `depth`: how many
    price levels a side are in view, as a median over time, beyond the best prices. Bids are blue, asks orange, and the
    stronger the colour the larger the size (logarithmic).
    """
    book = book_history(levels, columns)
    bid, ask = book.best_bid, book.best_ask
    seen = np.concatenate([bid, ask])
    seen = seen[np.isfinite(seen)]
    if not len(seen):
        raise DataError("levels never holds a bid or an ask: no book to draw")
    margin = reach(book, depth)
    low, high = float(seen.min()) - margin, float(seen.max()) + margin
    i = columns - 1
    if at_ns is not None:
        i = int(np.clip(np.searchsorted(book.ts_ns, at_ns, side="right") - 1, 0, columns - 1))
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, column_widths=[0.76, 0.24], horizontal_spacing=0.035)
    step = add_resting(figure, book, low, high, theme)
    for best, name, colour in ((bid, "best bid", BLUE), (ask, "best ask", ORANGE)):
        add_best(figure, book.ts_ns, best, name, colour)
    _add_depth(figure, book, i, low, high)
    shown = str(np.datetime_as_string(book.ts_ns[i].astype("M8[ns]"), unit="ms")).replace("T", " ")
    dress(figure, title, f"{len(levels):,} rows · depth at {shown} UTC · rows of {step:g}", theme, height=560)
    mark: dict[str, Any] = {"line": {"color": PALETTES[theme].muted, "width": 1, "dash": "dot"}, "row": 1, "col": 1}
    figure.add_vline(x=float(screen_x(book.ts_ns)[i]), **mark)
    figure.update_xaxes(type="date", hoverformat="%H:%M:%S.%3f", row=1, col=1)
    figure.update_xaxes(title_text="Cumulated size", rangemode="tozero", row=1, col=2)
    figure.update_yaxes(range=[low, high], showgrid=False, tickformat=",.10~g")
    figure.update_yaxes(title_text="Price", row=1, col=1)
    return figure


def _best(book: BookHistory, side: int) -> Floats:
    rows = book.side == side
    # Best is highest for bids and lowest for asks: one maximum of side x price serves both.
    best = np.where(book.qty[rows] > 0, (book.px[rows] * side)[:, None], -np.inf).max(axis=0, initial=-np.inf)
    return np.where(np.isfinite(best), best * side, np.nan)


def reach(book: BookHistory, depth: int) -> float:
    """Return the median distance of the level number `depth` from the best price of its side."""
    found: list[float] = []
    for i in range(0, len(book.ts_ns), max(1, len(book.ts_ns) // 20)):
        for side in (1, -1):
            px = np.sort(book.px[(book.side == side) & (book.qty[:, i] > 0)] * side)[::-1][:depth]
            if len(px) > 1:
                found.append(float(px[0] - px[-1]))
    return float(np.median(found)) if found else 1.0


def add_resting(figure: go.Figure, book: BookHistory, low: float, high: float, theme: Theme) -> float:
    """Draw what rested between two prices as heat maps in the first panel and return the height of a row (price)."""
    inside = (book.px >= low) & (book.px <= high)
    steps = np.diff(np.unique(book.px[inside]))
    tick = float(steps[steps > 1e-9 * high].min()) if (steps > 1e-9 * high).any() else high - low
    step = tick * max(1, int(np.ceil((high - low) / tick / _ROWS)))
    bins = max(1, round((high - low) / step)) + 1
    first = np.round(low / step) * step
    row = np.clip(np.round((book.px - first) / step).astype(np.int64), 0, bins - 1)
    y = first + np.arange(bins) * step
    sizes: list[Floats] = []
    for side in (1, -1):
        size = np.zeros((bins, len(book.ts_ns)))
        np.add.at(size, row[inside & (book.side == side)], book.qty[inside & (book.side == side)])
        sizes.append(size)
    some = np.concatenate([size[size > 0] for size in sizes])
    bounds = np.log10(np.quantile(some, [0.02, 0.995])) if len(some) else np.array([0.0, 1.0])
    for size, name, colour in zip(sizes, ("bids", "asks"), (BLUE, ORANGE), strict=True):
        with np.errstate(divide="ignore"):
            z = np.where(size > 0, np.log10(size), np.nan)
        figure.add_heatmap(
            x=screen_x(book.ts_ns),
            y=y,
            z=z.astype(np.float32),
            customdata=size.astype(np.float32),
            zmin=float(bounds[0]),
            zmax=float(bounds[1]),
            colorscale=[[0.0, PALETTES[theme].grid], [1.0, colour]],
            showscale=False,
            name=name,
            hovertemplate=f"%{{x}}<br>{name} at %{{y:,.8~g}}<br><b>size %{{customdata:,.6~g}}</b><extra></extra>",
            row=1,
            col=1,
        )
    return step


def add_best(figure: go.Figure, ts: Instants, best: Floats, name: str, colour: str) -> None:
    """Draw a best price over time in the first panel."""
    figure.add_scatter(
        x=screen_x(ts),
        y=best,
        mode="lines",
        line={"color": colour, "width": 1.4, "shape": "hv"},
        name=name,
        hovertemplate=f"%{{x}}<br><b>{name} %{{y:,.8~g}}</b><extra></extra>",
        row=1,
        col=1,
    )


def _add_depth(figure: go.Figure, book: BookHistory, i: int, low: float, high: float) -> None:
    for side, name, colour in ((1, "bids", BLUE), (-1, "asks", ORANGE)):
        rows = np.flatnonzero((book.side == side) & (book.qty[:, i] > 0) & (book.px >= low) & (book.px <= high))
        rows = rows[np.argsort(-side * book.px[rows], kind="stable")]
        figure.add_scatter(
            x=np.concatenate([[0.0], np.cumsum(book.qty[rows, i])]) if len(rows) else [],
            y=np.concatenate([book.px[rows[:1]], book.px[rows]]),
            customdata=np.concatenate([[0.0], book.qty[rows, i]]),
            mode="lines",
            line={"color": colour, "width": 1.6, "shape": "vh"},
            fill="tozerox",
            fillcolor="rgba(47,126,188,0.16)" if side > 0 else "rgba(222,115,38,0.18)",
            name=name,
            showlegend=False,
            hovertemplate=f"{name} at %{{y:,.8~g}}<br>size %{{customdata:,.6~g}}"
            "<br><b>%{x:,.6~g} to here</b><extra></extra>",
            row=1,
            col=2,
        )

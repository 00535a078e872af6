"""Queues and latency: how long fills took, from which place in line, and how far requests and reports had to travel."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from quantai.core.rows import MS
from quantai.report.markouts import span
from quantai.report.returns import Floats
from quantai.report.stats import column
from quantai.report.theme import BLUE, GREY, ORANGE, PALETTES, Theme, dress

QUANTILES = (0.01, 0.1, 0.5, 0.9, 0.99)
_BUCKETS = 8
_TIMED = ("entry", "response", "first fill")


@dataclass(frozen=True, eq=False)
class QueueStats:
    """What became of orders at the venue."""

    orders: pd.DataFrame
    """One row an order: order, symbol, side, and the columns that `queue_stats` explains."""
    summary: dict[str, float]
    """Counts and ratios by name."""
    quantiles: pd.DataFrame
    """Rows entry, response, first fill (ns) and ahead, ahead of filled, ahead of unfilled (units); columns count,
    mean, p1 … p99, max."""

    def plot(self, *, theme: Theme = "light") -> go.Figure:
        """Return how soon orders filled, how many filled by place in line, and both latencies, as three panels."""
        return queue_figure(self, theme=theme)

    def __repr__(self) -> str:
        s = self.summary
        ratio = f"{s['fill_ratio']:.1%} of orders and {s['filled_qty_ratio']:.1%} of quantity filled"
        head = f"{s['orders']:,.0f} orders, {s['rested']:,.0f} rested, {ratio}, {s['cancel_ratio']:.1%} canceled"
        lines = [f"QueueStats: {head}"]
        shown = self.quantiles[["p50", "p10", "p90", "max"]].to_numpy(np.float64)
        for name, values in zip(self.quantiles.index, shown, strict=True):
            if np.isnan(values[0]):
                continue
            said = [span(int(v)) if name in _TIMED else f"{v:.4g}" for v in values]
            lines.append(f"  {name}: median {said[0]}, 10-90 % {said[1]} to {said[2]}, max {said[3]}")
        return "\n".join(lines)


def queue_stats(orders: pd.DataFrame, response_ns: npt.ArrayLike, reached: int, passed: int) -> QueueStats:
    """Return statistics of `orders` (one row each) and of the latency of the reports about fills.

    Columns of `orders`: state (OrderState name), maker (any fill as maker), rested, qty and filled (units), entry_ns
    (decision to arrival), ahead (units shown at its price when it arrived, NaN when it did not rest there), fill_ns
    (arrival to first fill at the venue, NaN without one). `reached` fills as maker were by a print at
    the order's price, `passed` by the market trading through it or crossing it. fill_ratio is orders with any fill /
    orders, filled_qty_ratio the same by quantity, cancel_ratio canceled / orders.
    """
    n = len(orders)
    filled = column(orders, "filled") > 0
    rested = np.asarray(orders["rested"], bool)
    qty = float(column(orders, "qty").sum())
    state = np.asarray(orders["state"], str)
    ends = {name.lower(): float((state == name).sum()) for name in ("FILLED", "CANCELED", "EXPIRED", "REJECTED")}
    summary = {
        "orders": float(n),
        "rested": float(rested.sum()),
        "any_fill": float(filled.sum()),
        **ends,
        "fill_ratio": float(filled.mean()) if n else np.nan,
        "filled_qty_ratio": float(column(orders, "filled").sum()) / qty if qty else np.nan,
        "cancel_ratio": ends["canceled"] / n if n else np.nan,
        "reached_share": reached / (reached + passed) if reached + passed else np.nan,
    }
    ahead = column(orders, "ahead")
    kinds = {
        "entry": column(orders, "entry_ns"),
        "response": np.asarray(response_ns, np.float64),
        "first fill": column(orders, "fill_ns"),
        "ahead": ahead,
        "ahead of filled": ahead[filled],
        "ahead of unfilled": ahead[~filled],
    }
    table = pd.DataFrame({name: _spread(values) for name, values in kinds.items()}).T
    return QueueStats(orders, summary, table)


def _spread(values: Floats) -> dict[str, float]:
    known = values[np.isfinite(values)]
    names = [f"p{100 * q:g}" for q in QUANTILES]
    if not len(known):
        return {"count": 0.0} | dict.fromkeys(["mean", *names, "max"], np.nan)
    found = dict(zip(names, np.quantile(known, QUANTILES).tolist(), strict=True))
    return {"count": float(len(known)), "mean": float(known.mean())} | found | {"max": float(known.max())}


def fill_share(ahead: Floats, filled: npt.NDArray[np.bool_], buckets: int = _BUCKETS) -> pd.DataFrame:
    """Return the share of orders that filled, by how much was ahead of them when they arrived.

    Buckets hold about equally many orders. Columns from, to (units ahead, inclusive), orders, share.

    >>> fill_share(np.array([0.0, 0.0, 5.0, 9.0]), np.array([True, True, True, False]), 2)["share"].tolist()
    [1.0, 0.5]
    """
    known = np.isfinite(ahead)
    ahead, filled = ahead[known], filled[known]
    if not len(ahead):
        return pd.DataFrame({"from": [], "to": [], "orders": [], "share": []})
    edges = np.unique(np.quantile(ahead, np.linspace(0, 1, buckets + 1)[1:], method="inverted_cdf"))
    which = np.searchsorted(edges, ahead)
    n = np.bincount(which, minlength=len(edges))
    won = np.bincount(which, weights=filled, minlength=len(edges))
    low = np.full(len(edges), np.inf)
    np.minimum.at(low, which, ahead)
    return pd.DataFrame({"from": low, "to": edges, "orders": n, "share": won / n})


def queue_figure(found: QueueStats, *, title: str = "Queue and latency", theme: Theme = "light") -> go.Figure:
    """Return how soon orders filled, how many filled by place in line, and both latencies, as three panels."""
    titles = ("Filled within", "Filled, by size ahead at arrival", "Latency")
    figure = make_subplots(rows=1, cols=3, subplot_titles=titles, horizontal_spacing=0.08)
    orders = found.orders
    fill_ns = np.sort(column(orders, "fill_ns"))
    fill_ns = fill_ns[np.isfinite(fill_ns)]
    _add_share(figure, fill_ns, len(orders), "first fill", BLUE, 1)
    share = fill_share(column(orders, "ahead"), column(orders, "filled") > 0)
    figure.add_bar(
        x=[f"{a:.3g} – {b:.3g}" if a < b else f"{b:.3g}" for a, b in zip(share["from"], share["to"], strict=True)],
        y=share["share"],
        customdata=share["orders"],
        marker={"color": BLUE, "opacity": 0.8},
        showlegend=False,
        hovertemplate="%{x} ahead<br><b>%{y:.1%}</b> of %{customdata:,} orders filled<extra></extra>",
        row=1,
        col=2,
    )
    for name, colour in (("entry", ORANGE), ("response", GREY)):
        row: Any = found.quantiles.loc[name]
        if row["count"]:
            at = [row[f"p{100 * q:g}"] / MS for q in QUANTILES]
            figure.add_scatter(
                x=at,
                y=list(QUANTILES),
                mode="lines+markers",
                line={"color": colour, "width": 1.6},
                name=name,
                hovertemplate=f"{name}: <b>%{{y:.0%}}</b> within %{{x:.3~g}} ms<extra></extra>",
                row=1,
                col=3,
            )
    s = found.summary
    note = f"{len(orders):,} orders · {s['fill_ratio']:.1%} filled · {s['cancel_ratio']:.1%} canceled"
    dress(figure, title, note, theme, height=400, above=58)
    figure.update_layout(legend={"y": 1.1})
    figure.update_annotations(font={"size": 12, "color": PALETTES[theme].ink})
    figure.update_yaxes(tickformat=".0%", rangemode="tozero")
    figure.update_xaxes(title_text="Seconds after arrival", type="log", row=1, col=1)
    figure.update_xaxes(title_text="Units ahead", type="category", row=1, col=2)
    figure.update_xaxes(title_text="ms", row=1, col=3)
    return figure


def _add_share(figure: go.Figure, ns: Floats, of: int, name: str, colour: str, col: int) -> None:
    drawn = np.unique(np.linspace(0, len(ns) - 1, min(len(ns), 600)).astype(np.int64)) if len(ns) else []
    figure.add_scatter(
        x=np.maximum(ns[drawn], 1.0) / 1e9 if len(ns) else [],
        y=(np.asarray(drawn, np.float64) + 1) / max(of, 1),
        mode="lines",
        line={"color": colour, "width": 1.6, "shape": "hv"},
        name=name,
        showlegend=False,
        hovertemplate="<b>%{y:.1%}</b> of orders within %{x:.3~g} s<extra></extra>",
        row=1,
        col=col,
    )

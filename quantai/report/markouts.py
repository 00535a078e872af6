"""Markouts: what fills were worth a while later, per unit traded."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from quantai.core.errors import UnknownName
from quantai.core.rows import HOUR, MIN, MS, SEC, US
from quantai.report.returns import Floats
from quantai.report.theme import BLUE, GREY, ORANGE, Theme, dress

HORIZONS_NS = (MS, 3 * MS, 10 * MS, 30 * MS, 100 * MS, 300 * MS, SEC, 3 * SEC, 10 * SEC, 30 * SEC, MIN, 5 * MIN)
"""The horizons looked at unless others are given."""

_SIDES = {"all": (1, -1), "buy": (1,), "sell": (-1,)}
_KINDS = {"all": (True, False), "maker": (True,), "taker": (False,)}


@dataclass(frozen=True, eq=False)
class Markouts:
    """Mean P&L per unit of a fill after each horizon, before fees; see `markouts` for the formulas."""

    frame: pd.DataFrame
    """One row a group and horizon: side, liquidity, horizon_ns, mean, se, bps, count."""
    currency: str = ""

    def of(self, side: str = "all", liquidity: str = "all") -> pd.DataFrame:
        """Return the curve of one group, indexed by horizon_ns: side all, buy or sell; liquidity all, maker, taker."""
        for what, name, known in (("side", side, _SIDES), ("liquidity", liquidity, _KINDS)):
            if name not in known:
                raise UnknownName(what, name, known)
        f = self.frame
        rows: Any = f[(f["side"] == side) & (f["liquidity"] == liquidity)]
        return rows.set_index("horizon_ns")[["mean", "se", "bps", "count"]]

    def plot(self, *, theme: Theme = "light") -> go.Figure:
        """Return one line a side and kind of liquidity, with bands of two standard errors."""
        return markout_figure(self, theme=theme)

    def __repr__(self) -> str:
        unit = f", {self.currency}" if self.currency else ""
        lines = [f"Markouts: mean P&L per unit{unit}, by time after the fill (± standard error)"]
        shown = list(dict.fromkeys(self.frame["horizon_ns"]))
        lines.append(" " * 13 + "fills" + "".join(f"{span(int(h)):>18}" for h in shown))
        groups: Any = self.frame.groupby(["side", "liquidity"], sort=False)
        for (side, liquidity), rows in groups:
            if (side == "all") != (liquidity == "all"):
                continue
            cells = [f"{m:+.4g} ± {e:.2g}" if n else "–" for m, e, n in rows[["mean", "se", "count"]].to_numpy()]
            name = "all" if side == "all" else f"{side} {liquidity}"
            lines.append(f"  {name:<11}{rows['count'].max():>5,}" + "".join(f"{cell:>18}" for cell in cells))
        return "\n".join(lines)


def markouts(
    side: npt.ArrayLike,
    qty: npt.ArrayLike,
    paid: npt.ArrayLike,
    worth: npt.ArrayLike,
    maker: npt.ArrayLike,
    horizons_ns: npt.ArrayLike,
    currency: str = "",
) -> Markouts:
    """Return the mean P&L per unit of fills, by side and by maker or taker, after each horizon.

    For n fills: `side` (+1 or -1), `qty` (units), `paid` (value of a unit at the price of the fill, settlement
    currency), `maker`; `worth` has shape (n, horizons): the value of a unit at the mid that long after the fill, NaN
    where the data ends before. With x = side (worth - paid) and w = qty, over the fills that have one:

    - mean = sum(w x) / sum(w), and bps = 10^4 sum(w x) / sum(w |paid|): of what was traded;
    - se = sqrt(n / (n - 1) sum(w^2 (x - mean)^2)) / sum(w): the standard error of a weighted mean (Cochran, "Sampling
      Techniques", 1977, 6.4); s / sqrt(n) when all sizes are equal. Fills that are close in time share what comes after
      them, so the true error of a long horizon is larger.

    A maker's markout begins at what the fill was better than the mid; what it falls by is adverse selection. It is half
    of the realised spread of Huang and Stoll, "Dealer versus auction markets", Journal of Financial Economics 41, 1996.

    >>> m = markouts([1, -1], [1.0, 3.0], [100.0, 101.0], [[100.5], [100.5]], [True, True], [1_000_000])
    >>> m.of().iloc[0][["mean", "count"]].tolist(), m.of("sell")["mean"].tolist()
    ([0.5, 2.0], [0.5])
    """
    s, w, cost = (np.asarray(a, np.float64) for a in (side, qty, paid))
    later, made = np.asarray(worth, np.float64), np.asarray(maker, bool)
    horizons = np.asarray(horizons_ns, np.int64)
    gain = s[:, None] * (later - cost[:, None])
    out: list[dict[str, Any]] = []
    for side_name, signs in _SIDES.items():
        for kind_name, kinds in _KINDS.items():
            chosen = np.isin(s, signs) & np.isin(made, kinds)
            if not chosen.any() and (side_name, kind_name) != ("all", "all"):
                continue
            for column, horizon in enumerate(horizons):
                found = _weighted(gain[chosen, column], w[chosen], np.abs(cost[chosen]))
                out.append({"side": side_name, "liquidity": kind_name, "horizon_ns": int(horizon)} | found)
    columns = ["side", "liquidity", "horizon_ns", "mean", "se", "bps", "count"]
    return Markouts(pd.DataFrame(out, columns=columns), currency)


def _weighted(x: Floats, w: Floats, price: Floats) -> dict[str, float | int]:
    known = np.isfinite(x)
    x, w, price = x[known], w[known], price[known]
    n, total = len(x), float(w.sum())
    if not n or total <= 0:
        return {"mean": np.nan, "se": np.nan, "bps": np.nan, "count": 0}
    mean = float(w @ x) / total
    se = np.sqrt(n / (n - 1) * float((w**2) @ (x - mean) ** 2)) / total if n > 1 else np.nan
    return {"mean": mean, "se": float(se), "bps": 1e4 * float(w @ x) / float(w @ price), "count": n}


def markout_figure(found: Markouts, *, title: str = "Markouts", theme: Theme = "light") -> go.Figure:
    """Return one line a side and kind of liquidity, with bands of two standard errors."""
    figure = go.Figure()
    frame = found.frame
    single = frame[(frame["side"] != "all") & (frame["liquidity"] != "all")]
    groups: Any = single.groupby(["side", "liquidity"], sort=False)
    for (side, liquidity), rows in groups:
        rows = rows[rows["count"] > 0]
        if not len(rows):
            continue
        colour = BLUE if side == "buy" else ORANGE
        x, mean, se = (np.asarray(rows[c], np.float64) for c in ("horizon_ns", "mean", "se"))
        error = np.nan_to_num(2 * se)
        band: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
        figure.add_scatter(x=x / SEC, y=mean - error, **band)
        fill = "rgba(47,126,188,0.14)" if side == "buy" else "rgba(222,115,38,0.16)"
        figure.add_scatter(x=x / SEC, y=mean + error, fill="tonexty", fillcolor=fill, **band)
        figure.add_scatter(
            x=x / SEC,
            y=mean,
            customdata=np.array([rows["bps"], 2 * se, rows["count"], [span(int(h)) for h in x]], object).T,
            mode="lines+markers",
            line={"color": colour, "width": 1.6, "dash": "solid" if liquidity == "maker" else "dot"},
            marker={"size": 5},
            name=f"{side}, {liquidity}",
            hovertemplate=f"{side}, {liquidity}, after %{{customdata[3]}}"
            "<br><b>%{y:.4~g}</b> ± %{customdata[1]:.2~g}"
            "<br>%{customdata[0]:.2f} bp · %{customdata[2]:,} fills<extra></extra>",
        )
    figure.add_hline(y=0, line={"color": GREY, "width": 1, "dash": "dot"})
    n = max(frame["count"].tolist(), default=0)
    note = f"{n:,} fills, weighted by size, before fees · bands are two standard errors"
    dress(figure, title, note, theme, height=400)
    ticks = [int(h) for h in dict.fromkeys(frame["horizon_ns"]) if h > 0]
    figure.update_xaxes(
        type="log", title_text="After the fill", tickvals=[h / SEC for h in ticks], ticktext=[span(h) for h in ticks]
    )
    unit = f"P&L per unit, {found.currency}" if found.currency else "P&L per unit"
    figure.update_yaxes(title_text=unit)
    return figure


def span(ns: int) -> str:
    """Return a duration as people say it.

    >>> [span(n) for n in (0, 1_000, 30_000_000, 1_500_000_000, 300_000_000_000)]
    ['0', '1 us', '30 ms', '1.5 s', '5 min']
    """
    for unit, name in ((HOUR, "h"), (MIN, "min"), (SEC, "s"), (MS, "ms"), (US, "us")):
        if abs(ns) >= unit:
            return f"{ns / unit:.3g} {name}"
    return f"{ns} ns" if ns else "0"

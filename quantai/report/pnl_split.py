"""The P&L of fills in parts: spread captured, adverse selection, inventory, fees, funding."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from quantai.report.axis import screen_x
from quantai.report.markouts import span
from quantai.report.periods import Instants
from quantai.report.returns import Floats
from quantai.report.stats import column, instants
from quantai.report.theme import BLUE, GREY, ORANGE, Theme, dress
from quantai.report.thinning import extremes

PARTS = ("spread", "adverse", "inventory", "fees", "funding")
"""The parts of a P&L, in settlement currency; costs are negative."""
_COLOURS = {
    "spread": BLUE, "adverse": ORANGE, "inventory": "#a35b95", "fees": "#b59f00", "funding": "#009e73", "total": GREY
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class PnlSplit:
    """What a P&L is made of; `pnl_split` has the formulas. The parts add up to the total."""

    spread: float
    """What fills were better than the mid of their instant."""
    adverse: float
    """What the mid did to them within the horizon: negative when fills come before bad news."""
    inventory: float
    """What the mid did to them after that: the P&L of holding."""
    fees: float
    """Negative for what was paid, positive for rebates."""
    funding: float
    """What else moved the cash of the account."""
    total: float
    """Equity at the end less the cash at the start, from the account."""
    horizon_ns: int
    by_symbol: pd.DataFrame
    """spread, adverse, inventory and fees of each symbol."""
    curve: pd.DataFrame
    """The parts and the total as they grew, at the instants the account was sampled."""
    currency: str = ""

    @property
    def parts(self) -> dict[str, float]:
        """The parts by name."""
        return {name: getattr(self, name) for name in PARTS}

    def plot(self, *, theme: Theme = "light") -> go.Figure:
        """Return how each part grew, and the total."""
        return split_figure(self, theme=theme)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {value:+,.2f}" for name, value in self.parts.items())
        money = f"{self.total:+,.2f} {self.currency}".strip()
        return f"PnlSplit({money} = {shown}; adverse selection within {span(self.horizon_ns)})"


@dataclass(frozen=True, eq=False)
class Fills:
    """Fills as the arithmetic of this module takes them, all of shape (fills,)."""

    symbol: npt.NDArray[np.object_]
    side: Floats
    """+1 or -1."""
    qty: Floats
    """Units."""
    fee: Floats
    """Settlement currency, negative for a rebate."""
    ts_ns: Instants
    """When we were told."""
    settled_ns: Instants
    """When the horizon of adverse selection had passed."""
    paid: Floats
    """Value of a unit at the price of the fill, settlement currency."""
    mid: Floats
    """The same at the mid just before the fill."""
    later: Floats
    """At the mid after the horizon, or at the last one."""
    last: Floats
    """At the price the account values it at in the end."""


def pnl_split(fills: Fills, equity: pd.DataFrame, cash: float, horizon_ns: int, currency: str = "") -> PnlSplit:
    """Split the P&L of an account that began with `cash` and no position, `equity` being how it was sampled.

    `equity`: index in UTC, columns equity and cash, the last row at the end. With s the side and q the units of a fill,
    V(x) the value of a unit (settlement currency) at its price p, at the mid m just before it, at the mid m' after the
    horizon h, and at the last price z:

    - spread = sum s q (V(m) - V(p))
    - adverse = sum s q (V(m') - V(m))
    - inventory = sum s q (V(z) - V(m'))
    - fees = -sum fee
    - funding = cash at the end - cash at the start + sum (s q V(p) + fee): what is neither a fill nor a fee

    They telescope to cash plus positions at z, less the start. Spread and adverse are effective spread and price impact
    of Huang and Stoll, "Dealer versus auction markets" (Journal of Financial Economics 41, 1996), summed over our own
    fills; spread and positioning P&L as in Menkveld, "High frequency trading and the new market makers" (Journal of
    Financial Markets 16, 2013). A fill without a mid counts as filled at it.
    """
    signed = fills.side * fills.qty
    parts = {
        "spread": signed * (fills.mid - fills.paid),
        "adverse": signed * (fills.later - fills.mid),
        "inventory": signed * (fills.last - fills.later),
        "fees": -fills.fee,
    }
    by_symbol: Any = pd.DataFrame({"symbol": fills.symbol} | parts).groupby("symbol", sort=True).sum()
    sums = {name: float(np.sum(values)) for name, values in parts.items()}
    curve = _curve(fills, parts, signed * fills.paid, equity, cash)
    funding = float(curve["funding"].iloc[-1]) if len(curve) else 0.0
    total = float(equity["equity"].iloc[-1]) - cash if len(equity) else 0.0
    return PnlSplit(
        **sums, funding=funding, total=total, horizon_ns=horizon_ns, by_symbol=by_symbol, curve=curve, currency=currency
    )


def _curve(fills: Fills, parts: dict[str, Floats], bought: Floats, equity: pd.DataFrame, cash: float) -> pd.DataFrame:
    ts = instants(equity.index)
    told, settled = (np.argsort(a, kind="stable") for a in (fills.ts_ns, fills.settled_ns))

    def grown(values: Floats, at: Instants, order: Any) -> Floats:
        total = np.concatenate([[0.0], np.cumsum(values[order])])
        return total[np.searchsorted(at[order], ts, side="right")]

    spread, fees = grown(parts["spread"], fills.ts_ns, told), grown(parts["fees"], fills.ts_ns, told)
    end = ts[-1] if len(ts) else 0
    adverse = grown(parts["adverse"], np.minimum(fills.settled_ns, end), settled)
    total = column(equity, "equity") - cash
    moved = grown(bought - parts["fees"], fills.ts_ns, told)
    funding = column(equity, "cash") - cash + moved
    # what the sums of the account lost to rounding is no payment
    funding = np.where(np.abs(funding) <= 1e-9 * (cash + np.abs(bought).sum()), 0.0, funding)
    inventory = total - spread - adverse - fees - funding
    shown = dict(zip(PARTS, (spread, adverse, inventory, fees, funding), strict=True))
    return pd.DataFrame(shown | {"total": total}, index=equity.index)


def add_split(figure: go.Figure, curve: pd.DataFrame, **place: Any) -> None:
    """Draw the parts of a P&L and their total into a figure; parts that are always zero are left out."""
    ts = instants(curve.index)
    for name in (*PARTS, "total"):
        values = column(curve, name)
        if not values.any() and name != "total":
            continue
        drawn = extremes(values)
        figure.add_scatter(
            x=screen_x(ts[drawn]),
            y=values[drawn],
            mode="lines",
            line={"color": _COLOURS[name], "width": 2.2 if name == "total" else 1.3},
            name=name,
            hovertemplate=f"%{{x}}<br>{name} <b>%{{y:,.2f}}</b><extra></extra>",
            **place,
        )


def split_figure(found: PnlSplit, *, title: str = "P&L by cause", theme: Theme = "light") -> go.Figure:
    """Return how each part of a P&L grew, and the total."""
    figure = go.Figure()
    add_split(figure, found.curve)
    note = f"adverse selection: the mid's move within {span(found.horizon_ns)} of a fill"
    dress(figure, title, note, theme, height=400)
    figure.update_xaxes(type="date")
    figure.update_yaxes(title_text=f"P&L, {found.currency}" if found.currency else "P&L")
    return figure

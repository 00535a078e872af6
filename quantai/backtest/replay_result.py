"""ReplayResult: what came out of a replay, as frames and raw rows, with every choice of the venue printed."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quantai.core.instruments import Instruments
from quantai.core.rows import SEC, Kind, OrderState, OrderType, Reason, Rows
from quantai.data.tape import Tape
from quantai.strategy import Strategy
from quantai.venues.rules import SimVenue

if TYPE_CHECKING:
    from collections.abc import Sequence

    import plotly.graph_objects as go

    from quantai.data.instants import Instant
    from quantai.report.markouts import Markouts
    from quantai.report.pnl_split import PnlSplit
    from quantai.report.queue_stats import QueueStats


@dataclass(frozen=True, eq=False)
class ReplayResult:
    """The outcome of one replay.

    `intents`, `order_rows`, `fill_rows`, `refusal_rows` and `equity_rows` are what the engine wrote; frames are made of
    them on first use, with instants in UTC. `positions` are signed quantities in units, by symbol; `balance` is the
    cash that fills moved, before fees; `fee` what fees took (negative: rebates); `equity` cash plus positions at the
    mid. `marks` are the prices that positions are valued at in the end, `tape` what was replayed (None for rows fed in
    pieces), `venues` the venue of each instrument.
    """

    strategy: Strategy
    instruments: Instruments
    choices: list[dict[str, str]]
    cash: float
    rows: int
    seconds: float
    intents: Rows
    order_rows: Rows
    fill_rows: Rows
    refusal_rows: Rows
    equity_rows: Rows
    positions: dict[str, float]
    balance: float
    fee: float
    volume: float
    value: float
    submits: int
    cancels: int
    crossed: int
    refused: dict[str, int]
    state: bytes
    marks: dict[str, float]
    venues: list[SimVenue]
    tape: Tape | None = None

    @cached_property
    def fills(self) -> pd.DataFrame:
        """Every fill in the order we were told: both instants, order number, price, quantity, fee, maker or taker."""
        rows = self.fill_rows
        which = rows["instrument"]
        return pd.DataFrame(
            {
                "ts": _instants(rows["ts"]),
                "ts_exch": _instants(rows["ts_exch"]),
                "order": rows["order"],
                "symbol": self._symbols(which),
                "side": rows["side"],
                "px": rows["px"],
                "qty": self._qty(rows["lots"], which),
                "fee": rows["fee"],
                "maker": rows["maker"].astype(bool),
            }
        )

    @cached_property
    def orders(self) -> pd.DataFrame:
        """Every order: those that ended in the order they did, then those still working, as we knew them."""
        rows = self.order_rows
        which = rows["instrument"]
        tick = np.array([float(i.tick) for i in self.instruments])
        return pd.DataFrame(
            {
                "order": rows["order"],
                "ts": _instants(rows["ts"]),
                "symbol": self._symbols(which),
                "side": rows["side"],
                "type": [OrderType(t).name for t in rows["type"]],
                "qty": self._qty(rows["qty_lots"], which),
                "limit": np.where(rows["px_ticks"] != 0, rows["px_ticks"] * tick[which], np.nan),
                "state": [OrderState(s).name for s in rows["state"]],
                "reason": [Reason(r).name for r in rows["reason"]],
                "filled": self._qty(rows["filled_lots"], which),
                "avg_px": np.where(rows["filled_lots"] != 0, rows["avg_px"], np.nan),
            }
        )

    @cached_property
    def refusals(self) -> pd.DataFrame:
        """Requests that the venue refused: which, when at the venue and when we were told, and why where it says."""
        rows = self.refusal_rows
        return pd.DataFrame(
            {
                "ts": _instants(rows["ts_recv"]),
                "ts_exch": _instants(rows["ts_exch"]),
                "order": rows["order"],
                "kind": [Kind(k).name for k in rows["kind"]],
                "reason": [Reason(r).name for r in rows["reason"]],
            }
        )

    @cached_property
    def equity(self) -> pd.DataFrame:
        """The account as sampled: equity at our own mid, cash, exposure (signed value of positions / equity)."""
        rows = self.equity_rows
        with np.errstate(divide="ignore", invalid="ignore"):
            exposure = np.where(rows["equity"] > 0, rows["exposure"] / rows["equity"], np.nan)
        index = _instants(rows["ts"], "ts")
        return pd.DataFrame({"equity": rows["equity"], "cash": rows["cash"], "exposure": exposure}, index=index)

    @cached_property
    def stats(self) -> dict[str, float]:
        """P&L, trading and inventory as one dict of numbers; docs/replay.md has each formula."""
        from quantai.report.replay_stats import replay_stats

        names = ("rows", "submits", "cancels", "volume", "value", "crossed")
        counts = {name: float(getattr(self, name)) for name in names} | {"refused": float(sum(self.refused.values()))}
        return replay_stats(self.equity, self.fills, self.cash, self.fee, counts)

    @property
    def currency(self) -> str:
        """The settlement currency of the account."""
        return self.instruments[0].settle if len(self.instruments) else ""

    def markouts(self, horizons_ns: "Sequence[int] | None" = None) -> "Markouts":
        """Return what a unit filled was worth after each horizon, by side and maker or taker, with standard errors."""
        from quantai.backtest.fill_quality import markouts_of

        return markouts_of(self, horizons_ns)

    def pnl_split(self, horizon_ns: int = SEC) -> "PnlSplit":
        """Return the P&L in parts: spread, adverse selection within the horizon, inventory, fees, funding."""
        from quantai.backtest.fill_quality import split_of

        return split_of(self, horizon_ns)

    def queue_stats(self) -> "QueueStats":
        """Return how orders fared: place at arrival, time to fill, fill and cancel ratios, realised latencies."""
        from quantai.backtest.fill_quality import queue_stats_of

        return queue_stats_of(self)

    def plot(
        self, symbol: str | None = None, start: "Instant | None" = None, end: "Instant | None" = None
    ) -> "go.Figure":
        """Return the book with own quotes and fills, inventory, equity and P&L by cause, on one time axis.

        Of the first instrument unless `symbol` names another; `start` and `end` (on our clock) bound what is drawn.
        """
        from quantai.backtest.replay_plot import plot_of

        return plot_of(self, symbol, start, end)

    @property
    def rules(self) -> list[str]:
        """Every choice of the venue, and the counts a reader has to know to trust the numbers."""
        out: list[str] = []
        for instrument, choices in zip(self.instruments, self.choices, strict=True):
            said = ", ".join(f"{name}: {value}" for name, value in choices.items())
            out.append(f"{instrument.venue or 'venue'} {instrument.symbol}: {said}")
        out.append("the account is not checked for buying power: limits are the strategy's")
        if self.crossed:
            out.append(f"{self.crossed:,} rows crossed the book; the older side was taken to be stale")
        return out + [f"{n:,} requests refused: {reason}" for reason, n in self.refused.items()]

    def _symbols(self, which: Any) -> Any:
        return np.array([i.symbol for i in self.instruments], object)[which]

    def _qty(self, lots: Any, which: Any) -> Any:
        insts = self.instruments.rows()[which]
        return lots * insts["lot_num"] / insts["lot_den"]

    def __repr__(self) -> str:
        held = ", ".join(f"{qty:+g} {symbol}" for symbol, qty in self.positions.items())
        pnl = self.equity_rows["equity"][-1] - self.cash if len(self.equity_rows) else 0.0
        head = f"ReplayResult({self.strategy!r} on {self.rows:,} rows: {len(self.fill_rows):,} fills, {held}, "
        return "\n  ".join([f"{head}pnl {pnl:+,.2f}, fees {self.fee:+,.2f})", *self.rules])


def _instants(ns: Any, name: str | None = None) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(np.asarray(ns, "i8").astype("datetime64[ns]"), tz="UTC", name=name)

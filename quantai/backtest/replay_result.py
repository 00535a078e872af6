"""ReplayResult: what came out of a replay, as frames and raw rows, with every choice of the venue printed."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from quantai.core.instruments import Instruments
from quantai.core.rows import Kind, OrderState, OrderType, Reason, Rows
from quantai.strategy import Strategy


@dataclass(frozen=True, eq=False)
class ReplayResult:
    """The outcome of one replay.

    `intents`, `order_rows`, `fill_rows`, `refusal_rows` and `equity_rows` are what the engine wrote; frames are made of
    them on first use, with instants in UTC. `positions` are signed quantities in units, by symbol; `balance` is the
    cash that fills moved, before fees; `fee` what fees took (negative: rebates); `equity` cash plus positions at the
    mid.
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

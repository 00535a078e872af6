"""Result: what a backtest did, with the frames, statistics, plots and provenance made from it when asked."""

import platform
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quantai.backtest.settings import Settings
from quantai.backtest.trades import round_trips
from quantai.core.errors import InputError, MissingExtra
from quantai.core.rows import OrderState, OrderType, Reason, Rows
from quantai.data.bars import Bars
from quantai.strategy import Strategy

if TYPE_CHECKING:
    import plotly.graph_objects as go

_WHERE = {1: "open", 2: "limit", 3: "stop"}


@dataclass(frozen=True, eq=False)
class Result:
    """The outcome of one backtest.

    The raw rows (`intents`, `order_rows`, `fill_rows`, `equity_rows`) are what the engine wrote; everything else is
    derived from them on first use. Times are UTC; money is in the settlement currency of the instruments.
    """

    strategy: Strategy
    bars: Bars
    settings: Settings
    intents: Rows
    order_rows: Rows
    fill_rows: Rows
    equity_rows: Rows
    refused: dict[str, int]
    clipped_targets: int
    ambiguous_bars: int
    state: bytes

    @cached_property
    def equity(self) -> pd.DataFrame:
        """Account after each bar, indexed by its close: equity, cash, exposure (position value / equity, signed)."""
        rows = self.equity_rows
        with np.errstate(divide="ignore", invalid="ignore"):
            exposure = np.where(rows["equity"] > 0, rows["exposure"] / rows["equity"], np.nan)
        return pd.DataFrame(
            {"equity": rows["equity"], "cash": rows["cash"], "exposure": exposure}, index=_instants(rows["ts"], "ts")
        )

    @cached_property
    def orders(self) -> pd.DataFrame:
        """Every order, in the order it ended: what was asked, how it ended (`state`, `reason`), what it got."""
        rows = self.order_rows
        which = rows["instrument"]
        inst = self.bars.instruments.rows()[which]
        names = {int(s): s.name for s in OrderState}
        reasons = {int(r): r.name for r in Reason}
        kinds = {int(t): t.name for t in OrderType}
        px, trigger = (rows[n] * inst["tick_num"] / inst["tick_den"] for n in ("px_ticks", "trigger_ticks"))
        return pd.DataFrame(
            {
                "order": rows["order"],
                "ts": _instants(rows["ts"]),
                "symbol": np.array(self.bars.symbols, object)[which],
                "side": rows["side"],
                "type": [kinds.get(int(t), str(t)) for t in rows["type"]],
                "qty": self._qty(rows["qty_lots"], which),
                "limit": np.where(rows["px_ticks"] != 0, px, np.nan),
                "stop": np.where(rows["trigger_ticks"] != 0, trigger, np.nan),
                "state": [names[int(s)] for s in rows["state"]],
                "reason": [reasons[int(r)] for r in rows["reason"]],
                "filled": self._qty(rows["filled_lots"], which),
                "avg_px": np.where(rows["filled_lots"] != 0, rows["avg_px"], np.nan),
            }
        )

    @cached_property
    def fills(self) -> pd.DataFrame:
        """Every fill: when it is known (its bar's open or close), price, quantity, fee, notional, and where."""
        rows = self.fill_rows
        which = rows["instrument"]
        return pd.DataFrame(
            {
                "ts": _instants(rows["ts"]),
                "order": rows["order"],
                "symbol": np.array(self.bars.symbols, object)[which],
                "side": rows["side"],
                "px": rows["px"],
                "qty": self._qty(rows["lots"], which),
                "fee": rows["fee"],
                "notional": rows["notional"],
                "where": [_WHERE.get(int(w), "") for w in rows["where"]],
            }
        )

    @cached_property
    def trades(self) -> pd.DataFrame:
        """Round trips from flat to flat; an open one is valued at the last close."""
        last = np.zeros(len(self.bars.instruments))
        last[self.bars.rows["instrument"]] = self.bars.rows["close"]
        end = int(self.bars.rows["ts_close"][-1]) if len(self.bars) else 0
        rows = round_trips(self.fill_rows, self.bars.instruments.rows(), last, end, len(self.equity_rows) - 1)
        ret = np.divide(rows["pnl"], rows["notional"], out=np.full(len(rows), np.nan), where=rows["notional"] > 0)
        return pd.DataFrame(
            {
                "symbol": np.array(self.bars.symbols, object)[rows["instrument"]],
                "side": rows["side"],
                "qty": rows["qty"],
                "entry_ts": _instants(rows["entry_ts"]),
                "exit_ts": _instants(rows["exit_ts"]),
                "entry_px": rows["entry_px"],
                "exit_px": rows["exit_px"],
                "pnl": rows["pnl"],
                "fees": rows["fees"],
                "ret": ret,
                "bars": rows["exit_bar"] - rows["entry_bar"],
                "open": rows["open"].astype(bool),
            }
        )

    @cached_property
    def stats(self) -> dict[str, float | int]:
        """Return, risk, trade and cost statistics; every formula is in docs/statistics.md."""
        from quantai.report.stats import summary

        return summary(self.equity, self.fills, self.trades, orders=self.orders, initial=self.settings.cash)

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """What made this result: data fingerprint, source hash, parameters, assumptions and versions."""
        packages = ("quantai", "numba", "numpy", "pandas")
        return {
            "strategy": type(self.strategy).__name__,
            "source": self.strategy.source_hash(),
            "params": self.strategy.params,
            "data": self.bars.fingerprint,
            "bars": len(self.bars),
            "symbols": self.bars.symbols,
            "interval": self.bars.interval,
            "settings": self.settings.as_dict(),
            "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
        }

    @property
    def rules(self) -> list[str]:
        """The fill rules the numbers rest on."""
        sessions = any(i.calendar for i in self.bars.instruments)
        return [
            "decided at a close, live from the next bar; market orders fill at its open",
            "a limit fills when price trades "
            + ("to it" if self.settings.limit_touch else "through it; a touch is no fill"),
            "a gap improves a resting limit (sessions)" if sessions else "a gap never improves a resting limit (24/7)",
            "a stop fills at its trigger, or at the open when price gaps beyond it",
            "a bar that reaches stop and target takes the stop",
        ]

    @property
    def notes(self) -> list[str]:
        """What to look at before believing the numbers: bars that could have gone either way, requests refused."""
        out = [f"{n} requests refused: {reason}" for reason, n in self.refused.items()]
        if self.clipped_targets:
            out.append(
                f"{self.clipped_targets} targets were cut to what leverage {self.settings.leverage:g} leaves room for"
            )
        if len(self.equity_rows) and self.equity_rows["equity"].min() <= 0:
            first = self.equity.index[int((self.equity_rows["equity"] <= 0).argmax())]
            out.append(
                f"the account was worth nothing at {first:%Y-%m-%d %H:%M} UTC; a broker would have closed it there"
            )
        if self.ambiguous_bars:
            out.append(f"{self.ambiguous_bars} bars had an outcome that depends on the path inside the bar")
        if not any((self.settings.fee_bps, self.settings.maker_fee_bps, self.settings.slip_bps)):
            out.append("no fees and no slippage are counted")
        return out

    @property
    def currency(self) -> str:
        """The settlement currency of the account."""
        return self.bars.instruments[0].settle

    def plot(self, title: str | None = None) -> "go.Figure":
        """Return a figure with prices and fills, equity and drawdown; several instruments show the first."""
        from quantai.report.plots import backtest_figure

        symbol = self.bars.symbols[0]
        fills: Any = self.fills[self.fills["symbol"] == symbol]
        trades: Any = self.trades[self.trades["symbol"] == symbol]
        bars = self.bars.only(symbol).df()
        return backtest_figure(
            bars, fills, self.equity, trades, title=title or repr(self.strategy), currency=self.currency
        )

    def tearsheet(self, path: str | Path, title: str | None = None) -> Path:
        """Write one HTML file that opens without a network and return its path."""
        from quantai.report import tearsheet

        return tearsheet.write(
            Path(path),
            title=title or repr(self.strategy),
            stats=self.stats,
            bars={s: self.bars.only(s).df() for s in self.bars.symbols},
            fills=self.fills,
            trades=self.trades,
            equity=self.equity,
            provenance=self.provenance | {"fill_rules": self.rules},
            notes=self.notes,
            currency=self.currency,
        )

    def to_vectorbt(self) -> Any:
        """Return a vectorbt Portfolio of the same fills, for its own plots and statistics (extra `research`).

        vectorbt revalues with its own rules: one order a bar and instrument, at the mean price of that bar's fills.
        """
        try:
            import vectorbt as vbt
        except ImportError:
            raise MissingExtra("vectorbt", "research") from None
        if len(self.bars.instruments) != 1:
            raise InputError("to_vectorbt takes one instrument: run the backtest on bars.only(symbol)")
        close = self.bars.df()["close"]
        size = np.zeros(len(close))
        paid = np.zeros(len(close))
        fees = np.zeros(len(close))
        signed = self.fills["side"].to_numpy() * self.fills["qty"].to_numpy()
        at = self.fill_rows["bar"]
        np.add.at(size, at, signed)
        np.add.at(paid, at, signed * self.fills["px"].to_numpy())
        np.add.at(fees, at, self.fills["fee"].to_numpy())
        price = np.divide(paid, size, out=close.to_numpy().copy(), where=size != 0)
        return vbt.Portfolio.from_orders(
            close, size=size, price=price, fixed_fees=fees, init_cash=self.settings.cash, freq=self.bars.interval
        )

    def _qty(self, lots: Any, which: Any) -> Any:
        insts = self.bars.instruments.rows()[which]
        return lots * insts["lot_num"] / insts["lot_den"]

    def __repr__(self) -> str:
        s = self.stats
        return (
            f"Result({self.strategy!r} on {len(self.bars):,} bars: return {s['total_return']:+.2%}, "
            f"Sharpe {s['sharpe']:.2f}, max drawdown {s['max_drawdown']:.2%}, {s['trades']} trades)"
        )

    def _repr_html_(self) -> str:
        from quantai.report.card import card

        return card(repr(self.strategy), self.stats, [*self.notes, *self.rules])


def _instants(ns: Any, name: str | None = None) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(np.asarray(ns, "i8").astype("datetime64[ns]"), tz="UTC", name=name)

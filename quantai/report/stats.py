"""The summary of a backtest or a trading account: frames in, one flat dict of numbers out.

Each formula lives in `returns` and `drawdown`, its label and meaning in `glossary`, and the whole list with its
sources in `docs/statistics.md`.
"""

import numpy as np
import pandas as pd

from quantai.core.errors import DataError
from quantai.core.rows import DAY
from quantai.report import drawdown as dd
from quantai.report import periods
from quantai.report import returns as rt
from quantai.report.periods import Instants
from quantai.report.returns import Floats

Summary = dict[str, float | int]
_NAN = float("nan")
_EQUITY = ("equity", "exposure")
_FILLS = ("order", "px", "qty", "fee")
_TRADES = ("pnl", "ret", "bars", "open")


def summary(
    equity: pd.DataFrame,
    fills: pd.DataFrame,
    trades: pd.DataFrame,
    *,
    periods_per_year: float | None = None,
    benchmark: pd.Series | None = None,
    orders: pd.DataFrame | None = None,
    initial: float | None = None,
    risk_free: float = 0.0,
) -> Summary:
    """Return the statistics named in `glossary.STATISTICS`; those that are not defined for this input are NaN.

    - `equity`: one row a bar, index = bar close (UTC), columns equity (account currency) and exposure (position value /
      equity, signed).
    - `fills`: px, qty, fee, order, and optionally notional (account currency; px x qty where it is absent).
    - `trades`: round trips with pnl net of fees, ret, bars, open; open ones count in `open_trades` only.
    - `periods_per_year`: inferred from the index when not given (`periods.periods_per_year`).
    - `benchmark`: prices or account values, index = the instant each was known; taken as of each bar close.
    - `orders`: for their number; without it the distinct orders among the fills.
    - `initial`: account value before the first bar; without it the first equity value.
    - `risk_free`: annual rate as a fraction.

    >>> index = pd.date_range("2024-01-01", periods=3, tz="UTC")
    >>> curve = pd.DataFrame({"equity": [100.0, 110.0, 99.0], "exposure": [0.0, 1.0, 1.0]}, index=index)
    >>> nothing = pd.DataFrame(columns=["order", "px", "qty", "fee", "pnl", "ret", "bars", "open"])
    >>> s = summary(curve, nothing, nothing)
    >>> round(s["total_return"], 12), round(s["max_drawdown"], 12), s["trades"], s["win_rate"]
    (-0.01, -0.1, 0, nan)

    Raises DataError when a column is missing, the curve is empty or not finite, or the benchmark does not overlap it.
    """
    for name, frame, columns in (("equity", equity, _EQUITY), ("fills", fills, _FILLS), ("trades", trades, _TRADES)):
        missing = [c for c in columns if c not in frame.columns]
        if missing and (len(frame) or name == "equity"):
            raise DataError(
                f"{name} lacks the column {missing[0]!r}: it has {', '.join(map(str, frame.columns)) or 'none'}"
            )
    if not len(equity):
        raise DataError("equity is empty: there is nothing to summarise before the first bar closes")
    ts = instants(equity.index)
    values = rt.checked_equity(column(equity, "equity"))
    per_year = periods.periods_per_year(ts) if periods_per_year is None else float(periods_per_year)
    curve = values if initial is None else np.concatenate([[float(initial)], values])
    curve_ts = ts if initial is None else np.concatenate([ts[:1], ts])
    out = _curve_statistics(curve, curve_ts, per_year, risk_free)
    out |= _trade_statistics(trades)
    out |= _activity(column(equity, "exposure"), values, fills, (len(curve) - 1) / per_year)
    out["orders"] = (
        len(orders) if orders is not None else len(np.unique(np.asarray(fills["order"]))) if len(fills) else 0
    )
    out["bars"], out["days"], out["periods_per_year"] = len(ts), (int(ts[-1]) - int(ts[0])) / DAY, per_year
    if benchmark is not None:
        out |= _against(benchmark, curve, curve_ts, per_year, risk_free, out["annual_return"])
    return out


def instants(index: pd.Index) -> Instants:
    """Return a UTC DatetimeIndex as int64 ns; DataError for an index that is not time or has no timezone."""
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None:
        raise DataError(
            f"the index must be UTC instants, got {index.dtype}: use tz_localize('UTC') or tz_convert('UTC')"
        )
    return index.as_unit("ns").asi8


def column(frame: pd.DataFrame, name: str) -> Floats:
    """Return one column of a frame as float64."""
    return np.asarray(frame[name], np.float64)


def _curve_statistics(curve: Floats, ts: Instants, per_year: float, risk_free: float) -> Summary:
    returns = rt.simple_returns(curve)
    annual = rt.annual_return(curve, per_year)
    deepest = dd.max_drawdown(curve)
    _, by_day = periods.period_returns(ts, curve, "D")
    by_day = by_day[np.isfinite(by_day)]
    return {
        "equity_start": float(curve[0]),
        "equity_end": float(curve[-1]),
        "total_return": rt.total_return(curve),
        "annual_return": annual,
        "annual_volatility": rt.volatility(returns, per_year),
        "sharpe": rt.sharpe(returns, per_year, risk_free),
        "sortino": rt.sortino(returns, per_year),
        "calmar": dd.calmar(annual, deepest),
        "max_drawdown": deepest,
        **_drawdown_lengths(curve, ts),
        "best_day": float(by_day.max()) if len(by_day) else _NAN,
        "worst_day": float(by_day.min()) if len(by_day) else _NAN,
        "skew": rt.skewness(returns),
        "kurtosis": rt.kurtosis(returns),
        "var_95": rt.value_at_risk(returns),
        "cvar_95": rt.expected_shortfall(returns),
    }


def _drawdown_lengths(curve: Floats, ts: Instants) -> Summary:
    found = dd.drawdowns(curve)
    if not len(found.depth):
        return dict.fromkeys(
            ("max_drawdown_bars", "max_drawdown_days", "longest_drawdown_bars", "longest_drawdown_days"), 0
        )
    days = (ts[found.end] - ts[found.peak]) / DAY
    deepest = int(np.argmin(found.depth))
    return {
        "max_drawdown_bars": int(found.bars[deepest]),
        "max_drawdown_days": float(days[deepest]),
        "longest_drawdown_bars": int(found.bars.max()),
        "longest_drawdown_days": float(days.max()),
    }


def _trade_statistics(trades: pd.DataFrame) -> Summary:
    names = ("win_rate", "profit_factor", "expectancy", "average_win", "average_loss")
    names += ("best_trade", "worst_trade", "average_trade_bars")
    is_open = np.asarray(trades["open"], np.bool_) if len(trades) else np.zeros(0, bool)
    out: Summary = {"trades": int((~is_open).sum()), "open_trades": int(is_open.sum())}
    out |= dict.fromkeys(names, _NAN)
    closed = trades.loc[~is_open]
    if not len(closed):
        return out
    pnl = column(closed, "pnl")
    ret = column(closed, "ret")
    won, lost = pnl[pnl > 0], pnl[pnl < 0]
    out["win_rate"] = len(won) / len(pnl)
    out["profit_factor"] = float(won.sum() / -lost.sum()) if len(lost) else _NAN
    out["expectancy"] = float(pnl.mean())
    out["average_win"] = float(won.mean()) if len(won) else _NAN
    out["average_loss"] = float(lost.mean()) if len(lost) else _NAN
    out["best_trade"], out["worst_trade"] = float(ret.max()), float(ret.min())
    out["average_trade_bars"] = float(column(closed, "bars").mean())
    return out


def _activity(exposure: Floats, values: Floats, fills: pd.DataFrame, years: float) -> Summary:
    mean_equity = float(values.mean())
    traded = float(notional(fills).sum())
    turnover = traded / mean_equity / years if mean_equity > 0 and years > 0 else _NAN
    known = np.abs(exposure[np.isfinite(exposure)])
    return {
        "exposure": float(np.mean(known > 1e-12)) if len(known) else _NAN,
        "max_leverage": float(known.max()) if len(known) else _NAN,
        "turnover": turnover,
        "fees": float(column(fills, "fee").sum()) if len(fills) else 0.0,
        "fills": len(fills),
    }


def notional(fills: pd.DataFrame) -> Floats:
    """Return what each fill moved in account currency: its `notional` column where there is one, else px x qty."""
    if not len(fills):
        return np.zeros(0)
    if "notional" in fills.columns:
        return np.abs(column(fills, "notional"))
    return np.abs(column(fills, "px") * column(fills, "qty"))


def _against(
    benchmark: pd.Series, curve: Floats, ts: Instants, per_year: float, risk_free: float, annual: float
) -> Summary:
    aligned = as_of(benchmark, ts)
    first = int(np.argmax(np.isfinite(aligned)))
    aligned, curve = aligned[first:], curve[first:]
    theirs = rt.annual_return(aligned, per_year)
    alpha, beta = rt.alpha_beta(rt.simple_returns(curve), rt.simple_returns(aligned), per_year, risk_free)
    return {
        "benchmark_return": rt.total_return(aligned),
        "benchmark_annual_return": theirs,
        "excess_return": (annual if first == 0 else rt.annual_return(curve, per_year)) - theirs,
        "alpha": alpha,
        "beta": beta,
    }


def as_of(series: pd.Series, ts_ns: Instants) -> Floats:
    """Return the last value of `series` known at each instant, NaN before its first.

    >>> daily = pd.Series([1.0, 2.0], index=pd.DatetimeIndex(["2024-01-01", "2024-01-03"], tz="UTC"))
    >>> as_of(daily, instants(pd.date_range("2024-01-01", periods=3, tz="UTC"))).tolist()
    [1.0, 1.0, 2.0]

    Raises DataError when nothing is known by the last instant, or the series is unsorted or not in time.
    """
    known = series.dropna()
    at = instants(known.index)
    if len(at) > 1 and np.diff(at).min() < 0:
        raise DataError("the benchmark's index must ascend: sort it with .sort_index()")
    where = np.searchsorted(at, ts_ns, side="right") - 1
    if not len(at) or where[-1] < 0:
        raise DataError("the benchmark has no value before the last bar: its dates do not overlap the equity curve")
    values = np.asarray(known, np.float64)
    return np.where(where >= 0, values[np.maximum(where, 0)], np.nan)

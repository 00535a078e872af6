"""The statistics against what pandas, scipy, vectorbt and backtesting.py compute for the same S&P 500 closes."""

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from arch.data import sp500

from quantai.core.errors import DataError, InputError
from quantai.core.rows import DAY, HOUR, MIN
from quantai.report import drawdown, periods, returns, stats
from quantai.report.glossary import STATISTICS, shown

NOTHING = pd.DataFrame(columns=["order", "px", "qty", "fee", "pnl", "ret", "bars", "open"])


@pytest.fixture(scope="module")
def closes() -> Any:
    """5 031 daily closes, 1999 to 2018, indexed by the midnight that ends the day."""
    series: Any = sp500.load()["Adj Close"]
    return series.set_axis(series.index.tz_localize("UTC") + pd.Timedelta(days=1))


def curve(values: list[float] | np.ndarray, *, freq: str = "1D") -> pd.DataFrame:
    index = pd.date_range("2024-01-02", periods=len(values), freq=freq, tz="UTC")
    return pd.DataFrame({"equity": np.asarray(values, float), "exposure": 0.0}, index=index)


def held(closes: Any) -> pd.DataFrame:
    return pd.DataFrame({"equity": closes, "exposure": 1.0})


def test_agrees_with_vectorbt_on_real_closes(closes: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing it warns of its own accord; what it computes is what counts here
        import vectorbt as vbt

        # vectorbt counts the NaN before the first return as a bar: leave it out.
        theirs = closes.pct_change().iloc[1:].vbt.returns(freq="1D", year_freq="252D")
        want = {
            "total_return": theirs.total(),
            "annual_return": theirs.annualized(),
            "annual_volatility": theirs.annualized_volatility(),
            "sharpe": theirs.sharpe_ratio(),
            "sortino": theirs.sortino_ratio(),
            "calmar": theirs.calmar_ratio(),
            "var_95": theirs.value_at_risk(),
            "cvar_95": theirs.cond_value_at_risk(),
        }
        deepest = vbt.Drawdowns.from_ts(closes, freq="1D").max_drawdown()
    ours = stats.summary(held(closes), NOTHING, NOTHING)
    assert ours["periods_per_year"] == 252
    for name, value in want.items():
        assert ours[name] == pytest.approx(value, rel=1e-9), name
    assert ours["max_drawdown"] == pytest.approx(deepest, rel=1e-12)


def test_agrees_with_pandas_and_scipy_on_real_closes(closes: Any) -> None:
    r = closes.pct_change().dropna()
    ours = stats.summary(held(closes), NOTHING, NOTHING)
    assert ours["skew"] == pytest.approx(r.skew(), rel=1e-9)
    assert ours["kurtosis"] == pytest.approx(r.kurt(), rel=1e-9)
    assert ours["skew"] == pytest.approx(scipy.stats.skew(r, bias=False), rel=1e-9)
    assert ours["kurtosis"] == pytest.approx(scipy.stats.kurtosis(r, bias=False), rel=1e-9)
    assert ours["best_day"] == r.max()
    assert ours["worst_day"] == r.min()
    months, by_month = periods.period_returns(stats.instants(closes.index), closes.to_numpy(), "M")
    ends = closes.set_axis(closes.index - pd.Timedelta(hours=1)).resample("ME").last()
    assert months.astype(str).tolist() == ends.index.strftime("%Y-%m").tolist()
    np.testing.assert_allclose(by_month[1:], ends.pct_change().iloc[1:], rtol=1e-12)


# backtesting.py 0.6.6 reads an attribute that pandas 3.1 renames
@pytest.mark.filterwarnings("ignore:DatetimeIndex.dayofweek is deprecated:pandas.errors.Pandas4Warning")
def test_agrees_with_backtesting_py_on_the_account_it_made() -> None:
    from backtesting import Backtest, Strategy

    class Hold(Strategy):
        def init(self) -> None:
            pass

        def next(self) -> None:
            if not self.position:
                self.buy()

    theirs: Any = Backtest(sp500.load(), Hold, cash=1e6, finalize_trades=True).run()
    account = theirs["_equity_curve"]["Equity"].tz_localize("UTC")
    ours = stats.summary(held(account), NOTHING, NOTHING)
    assert 100 * ours["total_return"] == pytest.approx(theirs["Return [%]"], rel=1e-9)
    assert 100 * ours["max_drawdown"] == pytest.approx(theirs["Max. Drawdown [%]"], rel=1e-9)
    assert ours["longest_drawdown_days"] == theirs["Max. Drawdown Duration"] / pd.Timedelta(days=1)
    assert 100 * ours["annual_return"] == pytest.approx(theirs["Return (Ann.) [%]"], rel=1e-9)
    assert ours["calmar"] == pytest.approx(theirs["Calmar Ratio"], rel=1e-9)
    found = drawdown.drawdowns(account)
    assert -100 * found.depth.mean() == pytest.approx(-theirs["Avg. Drawdown [%]"], rel=1e-9)


def test_beta_and_alpha_are_the_least_squares_line(closes: Any) -> None:
    b = closes.pct_change().dropna().to_numpy()
    r = 0.0001 + 0.7 * b + np.random.default_rng(1).normal(0, 0.004, len(b))
    line: Any = scipy.stats.linregress(b, r)
    alpha, beta = returns.alpha_beta(r, b, 252)
    assert beta == pytest.approx(line.slope, rel=1e-10)
    assert alpha == pytest.approx(line.intercept * 252, rel=1e-8)


def test_a_benchmark_is_taken_as_of_each_close(closes: Any) -> None:
    half = pd.DataFrame({"equity": 1_000 * (closes / closes.iloc[0]) ** 0.5, "exposure": 1.0})
    s = stats.summary(half, NOTHING, NOTHING, benchmark=closes)
    assert s["benchmark_annual_return"] == pytest.approx(returns.annual_return(closes, 252))
    assert s["excess_return"] == pytest.approx(s["annual_return"] - s["benchmark_annual_return"])
    assert s["beta"] == pytest.approx(0.5, abs=0.01)
    monthly = closes.resample("ME").last()
    late = stats.summary(half, NOTHING, NOTHING, benchmark=monthly)  # nothing is known before the first month ends
    assert late["benchmark_return"] == pytest.approx(closes.asof(monthly.index[-2]) / monthly.iloc[0] - 1)
    with pytest.raises(DataError, match="do not overlap"):
        stats.summary(half, NOTHING, NOTHING, benchmark=closes.shift(freq="40000D"))


@pytest.mark.parametrize(
    ("ts", "expected"),
    [
        (np.arange(400) * DAY, 365),
        (np.arange(60 * 24 * 20) * MIN, 525_600),
        (np.array([d * DAY for d in range(400) if (d + 3) % 7 < 5]), 252),
        (np.array([(d + 1) * DAY for d in range(400) if (d + 3) % 7 < 5]), 252),  # closing at the next midnight
        (np.array([d * DAY + 14 * HOUR + m * MIN for d in range(30) if (d + 3) % 7 < 5 for m in range(390)]), 98_280),
        (np.array([d * DAY + 14 * HOUR + m * MIN for d in (4, 5, 6) for m in range(390)]), 98_280),  # three sessions
        (np.arange(100) * MIN, 525_600),
        (np.arange(300) * 7 * DAY, 52),
        (pd.date_range("2000-01-31", periods=90, freq="ME").as_unit("ns").asi8, 12),
        (pd.date_range("2000-03-31", periods=30, freq="QE").as_unit("ns").asi8, 4),
        (pd.date_range("2000-12-31", periods=20, freq="YE").as_unit("ns").asi8, 1),
    ],
)
def test_a_year_is_read_from_the_calendar_of_the_bars(ts: np.ndarray, expected: float) -> None:
    assert periods.periods_per_year(ts) == pytest.approx(expected, rel=1e-12)


def test_futures_open_on_sunday_evening_still_keep_252_sessions() -> None:
    minute = np.arange(8 * 7 * 1440)
    weekday, hour = (minute // 1440 + 3) % 7, minute // 60 % 24
    open_now = ((weekday < 4) & (hour != 22)) | ((weekday == 4) & (hour < 22)) | ((weekday == 6) & (hour > 22))
    assert periods.periods_per_year(minute[open_now] * MIN) == pytest.approx(252 * 23 * 60, rel=0.01)


def test_trades_are_counted_by_hand() -> None:
    trades = pd.DataFrame(
        {
            "pnl": [30.0, -10.0, 20.0, -30.0, 0.0, 99.0],
            "ret": [0.03, -0.01, 0.02, -0.03, 0.0, 0.1],
            "bars": [3, 5, 2, 1, 4, 9],
            "open": [False, False, False, False, False, True],
        }
    )
    fills = pd.DataFrame(
        {"order": [1, 1, 2], "px": [10.0, 11.0, 12.0], "qty": [5.0, 5.0, 10.0], "fee": [0.1, 0.1, 0.3]}
    )
    equity = curve([1_000.0] * 366)
    equity.loc[equity.index[:61], "exposure"] = -1.5
    s = stats.summary(equity, fills, trades)
    assert (s["trades"], s["open_trades"], s["orders"], s["fills"]) == (5, 1, 2, 3)
    assert s["win_rate"] == 0.4
    assert s["profit_factor"] == 50 / 40
    assert s["expectancy"] == 2.0
    assert (s["average_win"], s["average_loss"]) == (25.0, -20.0)
    assert (s["best_trade"], s["worst_trade"], s["average_trade_bars"]) == (0.03, -0.03, 3.0)
    assert s["exposure"] == pytest.approx(61 / 366)
    assert s["max_leverage"] == 1.5
    assert s["turnover"] == pytest.approx(225 / 1_000)
    assert s["fees"] == pytest.approx(0.5)
    assert stats.summary(equity, fills.assign(notional=[500.0, 500.0, -1_000.0]), trades)["turnover"] == pytest.approx(
        2.0
    )
    assert stats.summary(equity, fills, trades, orders=pd.DataFrame({"order": [1, 2, 3, 4]}))["orders"] == 4


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1_000.0], {"total_return": 0.0, "annual_return": math.nan, "sharpe": math.nan, "max_drawdown": 0.0}),
        ([1_000.0] * 50, {"total_return": 0.0, "annual_volatility": 0.0, "sharpe": math.nan, "sortino": math.nan}),
        ([1.0, 1.1, 1.21, 1.331], {"sharpe": math.nan, "calmar": math.nan, "skew": math.nan, "max_drawdown": 0.0}),
        ([100.0, 50.0, 0.0, 0.0], {"total_return": -1.0, "annual_return": -1.0, "max_drawdown": -1.0}),
        ([100.0, -50.0, -60.0, 20.0], {"total_return": -0.8, "max_drawdown": -1.6, "max_drawdown_bars": 3}),
        ([0.0, 0.0, 10.0], {"total_return": math.nan, "annual_return": math.nan, "annual_volatility": math.nan}),
        ([-5.0, -6.0], {"total_return": math.nan, "max_drawdown": math.nan, "best_day": math.nan}),
    ],
)
def test_degenerate_curves_give_nan_or_zero_in_silence(values: list[float], expected: dict[str, float]) -> None:
    s = stats.summary(curve(values), NOTHING, NOTHING)
    for name, value in expected.items():
        assert s[name] == pytest.approx(value, nan_ok=True), name
    assert (s["trades"], s["fills"], s["fees"]) == (0, 0, 0)
    assert all(math.isnan(s[n]) for n in ("win_rate", "profit_factor", "expectancy", "average_win", "best_trade"))


def test_the_account_before_the_first_bar_counts() -> None:
    s = stats.summary(curve([990.0, 1_020.0]), NOTHING, NOTHING, initial=1_000.0)
    assert s["equity_start"] == 1_000.0
    assert s["total_return"] == pytest.approx(0.02)
    assert s["max_drawdown"] == pytest.approx(-0.01)
    assert s["worst_day"] == pytest.approx(-0.01)
    assert s["bars"] == 2


def test_the_risk_free_rate_is_annual_and_compounds() -> None:
    r = np.random.default_rng(0).normal(0.001, 0.01, 500)
    free = 1.05 ** (1 / 252) - 1
    assert returns.sharpe(r, 252, risk_free=0.05) == pytest.approx(np.mean(r - free) / np.std(r, ddof=1) * 252**0.5)
    with pytest.raises(InputError, match="fraction"):
        returns.sharpe(r, 252, risk_free=-4)


@pytest.mark.parametrize(
    ("equity", "says"),
    [
        (curve([1.0, 2.0]).drop(columns="exposure"), "lacks the column 'exposure'"),
        (curve([]), "is empty"),
        (curve([1.0, math.nan]), r"equity\[1\] is nan"),
        (curve([1.0, 2.0]).tz_localize(None), "tz_localize"),
        (curve([1.0, 2.0]).reset_index(drop=True), "UTC instants"),
        (curve([1.0, 2.0, 3.0]).iloc[::-1], "must ascend"),
    ],
)
def test_bad_frames_are_refused_by_name(equity: pd.DataFrame, says: str) -> None:
    with pytest.raises(DataError, match=says):
        stats.summary(equity, NOTHING, NOTHING)


def test_every_statistic_has_a_glossary_entry_and_reads_well(closes: Any) -> None:
    s = stats.summary(held(closes), NOTHING, NOTHING, benchmark=closes)
    assert set(s) == set(STATISTICS)
    assert shown("max_drawdown", -0.5678) == "−56.78 %"
    assert shown("equity_end", 1234567.891) == "1\u202f234\u202f567.89"
    assert shown("profit_factor", math.nan) == "–"


def test_the_page_on_statistics_names_every_one_of_them() -> None:
    page = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")
    assert {name for name in STATISTICS if f"`{name}`" not in page} == set()

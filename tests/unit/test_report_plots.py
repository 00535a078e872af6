"""The figures show what the frames say, hide nothing when they thin, and never put a point into a closed hour."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.io as pio
import pytest

from quantai.core.errors import DataError, UnknownName
from quantai.core.rows import DAY, HOUR, MIN
from quantai.data.samples import sp500
from quantai.report import axis, heatmap, plots, theme
from quantai.report.stats import instants
from quantai.report.theme import BLUE, ORANGE


@pytest.fixture(scope="module")
def index_bars() -> Any:
    return sp500().df()


def account(bars: Any, *, close_after: str = "6h30min") -> Any:
    curve = 1e5 * bars["close"] / bars["close"].iloc[0]
    return pd.DataFrame({"equity": curve.to_numpy(), "exposure": 1.0}, index=bars.index + pd.Timedelta(close_after))


def some_fills(bars: Any, step: int = 50) -> Any:
    at = bars.iloc[::step]
    side = np.where(np.arange(len(at)) % 2, -1, 1)
    columns = {"ts": at.index, "order": range(len(at)), "symbol": "SPX", "side": side, "px": at["open"].to_numpy()}
    return pd.DataFrame(columns | {"qty": 2.0, "fee": 0.5, "where": "open"})


def traces(figure: Any) -> dict[str, Any]:
    return {t.name: t for t in figure.data}


def test_a_backtest_shows_its_bars_fills_equity_and_drawdown(index_bars: Any) -> None:
    bars = index_bars.tail(400)
    fills, equity = some_fills(bars), account(bars)
    figure: Any = plots.backtest_figure(bars, fills, equity, title="Hold", currency="USD")
    drawn = traces(figure)
    np.testing.assert_array_equal(drawn["Price"].close, bars["close"])
    np.testing.assert_array_equal(drawn["Price"].x, instants(bars.index) / 1e6)
    buys = fills[fills["side"] == 1]
    np.testing.assert_array_equal(drawn["Buy"].y, buys["px"])
    np.testing.assert_array_equal(drawn["Buy"].x, instants(pd.DatetimeIndex(buys["ts"])) / 1e6)
    assert drawn["Buy"].marker.color == BLUE
    assert drawn["Sell"].marker.color == ORANGE
    np.testing.assert_array_equal(drawn["Equity"].y, equity["equity"])
    deepest = (equity["equity"] / equity["equity"].cummax() - 1).min()
    assert min(drawn["Drawdown"].y) == pytest.approx(deepest)
    assert f"{deepest:.1%}".replace("-", "−") in [a.text for a in figure.layout.annotations]
    assert figure.layout.yaxis2.title.text == "Equity, USD"
    assert figure.layout.title.text == "Hold"


def test_long_histories_are_a_band_that_keeps_every_extreme_and_says_so() -> None:
    n = 30_000
    close = 100 + np.cumsum(np.random.default_rng(2).normal(size=n))
    bars = pd.DataFrame(
        {"open": close, "high": close + 1, "low": close - 1, "close": close},
        index=pd.date_range("2024-01-01", periods=n, freq="1min", tz="UTC"),
    )
    bars.iloc[17_123, 1] = 1e4
    bars.iloc[21_987, 2] = -1e4
    figure: Any = plots.backtest_figure(bars, some_fills(bars, step=5), account(bars, close_after="1min"))
    price = traces(figure)["Price"]
    assert len(price.x) <= 1_500
    assert price.customdata[:, 1].max() == 1e4
    assert price.customdata[:, 0].min() == -1e4
    assert "30,000 bars" in figure.layout.title.subtitle.text
    assert "6,000 fills, merged" in figure.layout.title.subtitle.text
    assert len(figure.to_json()) < 1_000_000


def test_trades_are_lines_from_entry_to_exit_by_outcome(index_bars: Any) -> None:
    bars = index_bars.tail(100)
    trades = pd.DataFrame(
        {
            "entry_ts": bars.index[[1, 10]],
            "exit_ts": bars.index[[5, 20]],
            "entry_px": [10.0, 20.0],
            "exit_px": [11.0, 19.0],
            "pnl": [1.0, -1.0],
        }
    )
    drawn = traces(plots.price_figure(bars, some_fills(bars).iloc[:0], trades))
    assert drawn["Gain"].y[:2].tolist() == [10.0, 11.0]
    assert drawn["Loss"].y[:2].tolist() == [20.0, 19.0]


def test_the_benchmark_starts_where_the_account_starts(index_bars: Any) -> None:
    equity = account(index_bars.tail(50))
    other = pd.Series(np.linspace(7, 14, 50), index=equity.index)
    drawn = traces(plots.equity_figure(equity, benchmark=other))
    assert drawn["Benchmark"].y[0] == pytest.approx(1e5)
    assert drawn["Benchmark"].y[-1] == pytest.approx(2e5)


def test_the_histogram_counts_every_bar_that_moved(index_bars: Any) -> None:
    equity = account(index_bars)
    figure: Any = plots.returns_histogram(equity)
    moved = int((equity["equity"].diff().dropna() != 0).sum())
    assert int(np.sum(figure.data[0].y)) == moved
    flat: Any = plots.returns_histogram(equity.assign(equity=1.0))
    assert "No bar changed the account" in [a.text for a in flat.layout.annotations]


def within(breaks: list[dict[str, Any]], ts: int) -> bool:
    """Whether plotly would hide an instant: inside [bound, bound) of a weekly or an hourly break."""
    for pause in breaks:
        a, b = pause["bounds"]
        hour = ts % DAY / HOUR
        if pause.get("pattern") == "hour":
            if (a <= hour < b) if a < b else (hour >= a or hour < b):
                return True
        elif (ts // DAY + 3) % 7 in (5, 6):
            return True
    return False


@pytest.mark.parametrize("close_hour", [20, 21, 24])
def test_closed_hours_hide_nights_and_weekends_but_no_point(close_hour: int) -> None:
    days = [d for d in range(19_723, 19_743) if (d + 3) % 7 < 5]
    minutes = range((close_hour - 6) * 60, close_hour * 60)
    opens = np.array([d * DAY + m * MIN for d in days for m in minutes])
    ts = np.concatenate([opens, opens + MIN - 1])
    breaks = axis.closed_hours(ts, MIN)
    assert len(breaks) == 2
    assert not any(within(breaks, int(t)) for t in ts)
    assert within(breaks, days[0] * DAY + 3 * HOUR)


def test_markets_without_pauses_have_no_breaks() -> None:
    assert axis.closed_hours(np.arange(0, 20 * DAY, HOUR), HOUR) == []
    assert axis.closed_hours(np.arange(5) * DAY, DAY) == []


def test_a_daily_close_at_midnight_is_drawn_in_its_own_day() -> None:
    friday = pd.DatetimeIndex(["2024-01-04", "2024-01-05", "2024-01-06"], tz="UTC")  # the last closes Friday's bar
    drawn = pd.DatetimeIndex(axis.drawn_close(instants(friday)).view("M8[ns]"))
    assert drawn.day_name().tolist() == ["Wednesday", "Thursday", "Friday"]


@pytest.mark.parametrize("name", ["quantai", "quantai_dark"])
def test_no_figure_offers_to_upload_the_account(name: str) -> None:
    look: Any = pio.templates[name]
    assert "sendChartToCloud" in look.layout.modebar.remove


def test_range_buttons_offer_spans_inside_the_data_and_longer_than_a_few_bars() -> None:
    def labels(ts: Any) -> list[str]:
        return [b["label"] for b in axis.range_buttons(ts)["buttons"]]

    assert labels(np.arange(400) * DAY) == ["1m", "6m", "all"]
    assert labels(np.arange(3 * 1440) * MIN) == ["1h", "6h", "1d", "all"]
    assert labels(np.arange(8_000) * DAY) == ["6m", "1y", "3y", "5y", "10y", "all"]
    assert axis.range_buttons(np.array([0, 1]))["visible"] is False


def test_unknown_themes_and_plain_indexes_are_refused(index_bars: Any) -> None:
    with pytest.raises(UnknownName, match="did you mean 'dark'"):
        theme.template("darc")  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match="tz_localize"):
        plots.drawdown_figure(account(index_bars).tz_localize(None))


def test_months_are_compounded_into_the_year(index_bars: Any) -> None:
    equity = account(index_bars)
    month_figure: Any = heatmap.monthly_heatmap(equity)
    z = np.array(month_figure.data[0].z)
    assert z.shape == (20, 13)
    np.testing.assert_allclose(np.prod(1 + z[1:, :12], axis=1) - 1, z[1:, 12], rtol=1e-9)


def test_a_sweep_is_drawn_on_its_grid_with_the_best_cell_marked() -> None:
    frame = pd.DataFrame({"fast": [5, 5, 10, 10], "slow": [50, 100, 50, 100], "sharpe": [0.1, 0.9, -0.3, 0.4]})
    figure: Any = heatmap.heatmap(frame.sample(frac=1, random_state=1), "fast", "slow", "sharpe")
    z = figure.data[0]
    assert (list(z.x), list(z.y)) == (["5", "10"], ["50", "100"])
    assert np.array(z.z).tolist() == [[0.1, -0.3], [0.9, 0.4]]
    assert (z.zmin, z.zmax) == (-0.9, 0.9)
    assert "highest at fast 5, slow 100" in figure.layout.title.subtitle.text
    marked = figure.layout.shapes[0]
    assert (marked.x0, marked.y0) == (-0.5, 0.5)


def test_cells_shared_by_a_third_parameter_are_averaged_and_the_figure_says_so() -> None:
    frame = pd.DataFrame({"fast": [5, 5], "slow": [50, 50], "stop": [1, 2], "calmar": [1.0, 3.0]})
    figure: Any = heatmap.heatmap(frame, "fast", "slow", "calmar")
    assert np.array(figure.data[0].z).tolist() == [[2.0]]
    assert "averaged over the other parameters" in figure.layout.title.subtitle.text


def test_a_sweep_without_the_column_or_without_rows_is_refused() -> None:
    frame = pd.DataFrame({"fast": [5], "slow": [50], "sharpe": [1.0]})
    with pytest.raises(UnknownName, match="did you mean 'sharpe'"):
        heatmap.heatmap(frame, "fast", "slow", "sharp")
    with pytest.raises(DataError, match="no rows"):
        heatmap.heatmap(frame.iloc[:0], "fast", "slow", "sharpe")

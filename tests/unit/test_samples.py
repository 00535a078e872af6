"""The offline samples: real sessions, at the instants at which they really traded."""

import sys

import numpy as np
import pandas as pd
import pytest

from quantai.core.errors import MissingExtra
from quantai.core.rows import HOUR
from quantai.data import samples
from quantai.data.bars import Bars


# exchange_calendars 4.13 reads time-zone-aware columns in a way that pandas 3.1 warns of
@pytest.mark.filterwarnings("ignore:Series.values returning an ndarray:pandas.errors.Pandas4Warning")
@pytest.mark.parametrize("load", [samples.sp500, samples.nasdaq])
def test_every_session_of_new_york_is_there_at_its_opening_instant(load: object) -> None:
    xcals = pytest.importorskip("exchange_calendars")
    bars: Bars = load()  # pyright: ignore[reportCallIssue]
    calendar = xcals.get_calendar("XNYS", start="1999-01-04", end="2018-12-31")
    opens = pd.DatetimeIndex(calendar.opens).as_unit("ns").asi8
    closes = pd.DatetimeIndex(calendar.closes).as_unit("ns").asi8
    assert (bars.rows["ts_open"] == opens).all()
    half = bars.rows["ts_close"] != closes
    assert set(bars.rows["ts_close"][half] - closes[half]) == {3 * HOUR}, "only the 13:00 closes differ, as documented"
    assert half.mean() < 0.02


def test_prices_are_the_published_closes() -> None:
    frame = samples.sp500().df()["close"]
    # S&P 500: the 2007 top, the 2009 low and the last close of 2018, as published by S&P Dow Jones Indices
    for day, close in (("2007-10-09", 1565.15), ("2009-03-09", 676.53), ("2018-12-31", 2506.85)):
        assert frame.loc[day].item() == close
    assert samples.nasdaq().df()["close"].loc["2000-03-10"].item() == 5048.62


def test_summer_and_winter_open_at_the_same_wall_clock() -> None:
    times = pd.DatetimeIndex(samples.sp500().df().index)
    assert set(times.tz_convert("America/New_York").strftime("%H:%M")) == {"09:30"}
    assert set(times.strftime("%H:%M")) == {"13:30", "14:30"}


def test_rounding_only_removes_the_noise_of_32_bit_floats() -> None:
    from arch.data import sp500

    raw = sp500.load()
    rows = samples.sp500().rows
    for name in ("open", "high", "low", "close"):
        assert np.abs(raw[name.title()].to_numpy() - rows[name]).max() < 2e-4
    assert raw["Close"].tolist() == raw["Adj Close"].tolist()


def test_without_arch_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [m for m in sys.modules if m == "arch" or m.startswith("arch.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if "site-packages" not in p])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(MissingExtra, match=r"arch is not installed: pip install 'quantai\[research\]'"):
        samples.sp500()

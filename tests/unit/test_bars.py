"""Bars are immutable, never overlap, and last as long as the days of their zone."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from quantai.core.errors import DataError, InputError
from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import BAR, DAY, HOUR, Rows, zeros
from quantai.data import Bars, to_ns

SPY = Instrument.parse("SPY")


def frame(index: Any) -> pd.DataFrame:
    return pd.DataFrame({"open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5}, index=index)


def rows_at(*opens: int, length: int = HOUR, instrument: int = 0) -> Rows:
    rows = zeros(len(opens), BAR)
    rows["ts_open"], rows["instrument"] = opens, instrument
    rows["ts_close"] = rows["ts_open"] + length
    rows["open"], rows["high"], rows["low"], rows["close"] = 1.0, 2.0, 0.5, 1.5
    return rows


@pytest.mark.parametrize("label", ["open", "close"])
@pytest.mark.parametrize("stored_in", ["America/New_York", "UTC"])
def test_days_of_a_zone_with_summer_time_neither_overlap_nor_miss_an_hour(label: str, stored_in: str) -> None:
    days = pd.date_range("2024-03-07", "2024-03-14", tz="America/New_York")
    bars = Bars.from_frame(frame(days.tz_convert(stored_in)), "SPY", label=label)
    assert bars.interval == "1d"
    assert (bars.rows["ts_open"][1:] == bars.rows["ts_close"][:-1]).all()
    hours = (bars.rows["ts_close"] - bars.rows["ts_open"]) // HOUR
    assert sorted(hours.tolist()) == [23] + [24] * 7


def test_the_last_day_ends_at_midnight_of_its_zone() -> None:
    days = pd.date_range("2024-03-08", "2024-03-10", tz="America/New_York")
    assert Bars.from_frame(frame(days), "SPY").rows["ts_close"][-1] == to_ns("2024-03-11T04:00:00Z")
    days = pd.date_range("2024-11-01", "2024-11-03", tz="America/New_York")
    assert Bars.from_frame(frame(days), "SPY").rows["ts_close"][-1] == to_ns("2024-11-04T05:00:00Z")
    # in Beirut the clock goes from 00:00 to 01:00, so this day ends where the next begins, at 01:00
    days = pd.DatetimeIndex(["2024-03-29", "2024-03-30"]).tz_localize("Asia/Beirut")
    assert Bars.from_frame(frame(days), "SPY").rows["ts_close"][-1] == to_ns("2024-03-30T22:00:00Z")


def test_a_month_ends_where_the_next_begins() -> None:
    bars = Bars.from_frame(frame(pd.date_range("2024-01-01", periods=6, freq="MS", tz="UTC")), "SPY")
    assert bars.interval == "31d"
    assert (bars.rows["ts_close"][:-1] == bars.rows["ts_open"][1:]).all()


def test_an_interval_that_the_bars_do_not_have_is_refused() -> None:
    hourly = frame(pd.date_range("2024-01-01", periods=48, freq="1h", tz="UTC"))
    with pytest.raises(InputError, match="bars are not 1d apart but 3600 s"):
        Bars.from_frame(hourly, "SPY", "1d")
    with pytest.raises(DataError, match=r"bar 2 of 3 .* repeated"):
        Bars.from_frame(hourly.iloc[[0, 1, 1]], "SPY", "1h")


def test_overlapping_bars_of_one_instrument_are_refused_by_row() -> None:
    table = Instruments([SPY, Instrument.parse("QQQ")])
    with pytest.raises(DataError, match=r"bar 1 of 3 \(SPY, 1970-01-02T00:30:00Z\): it opens before the bar before"):
        Bars(rows_at(DAY, DAY + HOUR // 2, DAY + 3 * HOUR), table, "1h")
    both = np.concatenate([rows_at(DAY), rows_at(DAY + HOUR // 2, instrument=1)])
    assert len(Bars(both, table, "1h")) == 2, "bars of two instruments may"
    late = Bars(rows_at(DAY + HOUR // 2), Instruments([SPY]), "1h")
    with pytest.raises(DataError, match="it opens before the bar before it closes"):
        Bars.concat([Bars(rows_at(DAY), Instruments([SPY]), "1h"), late])


def test_bars_cannot_be_changed_through_the_array_they_were_made_of() -> None:
    mine = rows_at(DAY, DAY + HOUR)
    view = mine[:]
    view.flags.writeable = False
    for given in (mine, mine[:1], view):
        bars = Bars(given, Instruments([SPY]), "1h")
        before = bars.fingerprint
        mine["close"] = 1.75
        assert bars.rows["close"][0] == 1.5, "the bars are a copy"
        assert Bars(bars.rows, bars.instruments, "1h").fingerprint == before
        mine["close"] = 1.5
        assert not bars.rows.flags.writeable
    assert mine.flags.writeable, "the caller's array stays the caller's"


def test_slices_share_memory_with_the_whole() -> None:
    bars = Bars(rows_at(DAY, DAY + HOUR, DAY + 2 * HOUR), Instruments([SPY]), "1h")
    part = bars[1:]
    assert np.shares_memory(part.rows, bars.rows)
    assert np.shares_memory(part[1:].rows, bars.rows)


def test_one_symbol_cannot_be_two_instruments() -> None:
    fine, coarse = SPY, SPY.with_fields(tick="0.05", multiplier=10)
    with pytest.raises(InputError, match=r"two instruments are SPY, one with tick 0.01, multiplier 1 and"):
        Instruments([fine, coarse])
    assert len(Instruments([fine, SPY.with_fields(tick="0.010")])) == 1, "equal ones are one"
    parts = [Bars(rows_at(at), Instruments([i]), "1h") for at, i in ((DAY, fine), (DAY + HOUR, coarse))]
    with pytest.raises(InputError, match="two instruments are SPY"):
        Bars.concat(parts)

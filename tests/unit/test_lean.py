"""LEAN archives: the right rows at the right instants, prices that match the factor files, each archive once."""

import zipfile
from bisect import bisect_left
from collections import Counter
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from quantai.core.errors import DataError, InputError, UnknownName
from quantai.core.instruments import Contract, Right
from quantai.core.rows import BAR, MIN, zeros
from quantai.data import Bars, Lake, lean
from quantai.data.lean.files import describe

NEW_YORK, CHICAGO = ZoneInfo("America/New_York"), ZoneInfo("America/Chicago")


def write(path: Path, **members: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in members.items():
            file.writestr(f"{name}.csv", text)
    return path


def bars_of(path: Path) -> Bars:
    found = lean.read(path)
    assert isinstance(found, Bars)
    return found


def table_of(path: Path) -> pa.Table:
    found = lean.read(path)
    assert isinstance(found, pa.Table)
    return found


def local(bars: Bars, zone: ZoneInfo) -> Any:
    frame = bars.df()
    frame.index = pd.DatetimeIndex(frame.index).tz_convert(zone)
    return frame


def lines_in(path: Path) -> int:
    with zipfile.ZipFile(path) as file:
        return sum(file.read(name).count(b"\n") + (not file.read(name).endswith(b"\n")) for name in file.namelist())


# ---- made archives: no recorded data needed


@pytest.mark.parametrize(("day", "utc"), [("20131101", "2013-11-01T13:30"), ("20131104", "2013-11-04T14:30")])
def test_the_same_minute_in_new_york_on_both_sides_of_the_clock_change(tmp_path: Path, day: str, utc: str) -> None:
    row = "34200000,1676500,1676600,1676400,1676550,20000"
    bars = bars_of(write(tmp_path / f"equity/usa/minute/spy/{day}_trade.zip", a=row))
    assert np.datetime64(int(bars.rows["ts_open"][0]), "ns") == np.datetime64(utc)
    assert bars.rows["ts_close"][0] - bars.rows["ts_open"][0] == MIN
    assert bars.rows[["open", "high", "low", "close", "volume"]][0].tolist() == (167.65, 167.66, 167.64, 167.655, 20000)
    assert bars.symbols == ["SPY"]
    assert bars.instruments[0].venue == "USA"


def test_crypto_and_futures_are_utc_and_unscaled(tmp_path: Path) -> None:
    coin = bars_of(
        write(tmp_path / "crypto/gdax/minute/ethbtc/20240310_trade.zip", a="3600000,0.05,0.06,0.04,0.05,1.5")
    )
    assert coin.symbols == ["ETH-BTC"]
    assert coin.instruments[0].venue == "COINBASE"
    assert coin.rows["open"][0] == 0.05
    assert np.datetime64(int(coin.rows["ts_open"][0]), "ns") == np.datetime64("2024-03-10T01:00")
    future = bars_of(
        write(tmp_path / "future/minute/nq/20131011_trade.zip", a_trade_201312="0,3200,3200.25,3199.75,3200,7")
    )
    assert future.symbols == ["NQ-USD-20131220"]
    assert future.instruments[0].contract is Contract.FUTURE
    assert str(future.instruments[0].expiry) == "2013-12-20 14:30:00+00:00"
    assert future.instruments[0].multiplier == 20
    daily = bars_of(write(tmp_path / "crypto/coinbase/daily/btcusd.zip", btcusd="20240310 00:00,1,2,1,2,3"))
    assert daily.interval == "1d"
    assert np.datetime64(int(daily.rows["ts_close"][0]), "ns") == np.datetime64("2024-03-11")


def test_an_option_quote_keeps_the_closing_sides_at_the_closing_instant(tmp_path: Path) -> None:
    rows = "34200000,,,,,0,21500,21500,5000,5000,19\n34260000,4000,4100,3900,4050,3,,,,,0"
    path = write(
        tmp_path / "option/usa/minute/goog/20151224_quote_american.zip",
        **{"20151224_goog_minute_quote_american_put_7425000_20160115": rows},
    )
    table = table_of(path)
    assert table["symbol"].to_pylist() == ["GOOG-USD-20160115-742.5-P"] * 2
    assert table["ts_exch"].cast(pa.timestamp("ns")).to_pylist() == [
        pd.Timestamp("2015-12-24 14:31"),
        pd.Timestamp("2015-12-24 14:32"),
    ]
    assert np.isnan(table["bid"][0].as_py())
    assert np.isnan(table["ask"][1].as_py())
    assert table.slice(0, 1).select(["bid_qty", "ask", "ask_qty"]).to_pylist() == [
        {"bid_qty": 0, "ask": 0.5, "ask_qty": 19}
    ]
    assert table.slice(1, 1).select(["bid", "bid_qty", "ask_qty"]).to_pylist() == [
        {"bid": 0.405, "bid_qty": 3, "ask_qty": 0}
    ]


@pytest.mark.parametrize(
    ("path", "text", "error", "message"),
    [
        ("stocks/minute/spy/20131004_trade.zip", "", DataError, "not a LEAN path"),
        ("equity/usa/tick/spy/20131004_trade.zip", "", DataError, "minutes and days can be read"),
        ("equity/usa/minute/spy/spy_trade.zip", "", DataError, "starts with a day"),
        ("equity/usa/minute/spy/20131004_depth.zip", "", DataError, "'depth' is not trade, quote or openinterest"),
        ("equity/usa/minute/spy/20131004_trade.zip", "0,1,1,1,1,x", DataError, r"!a\.csv: not trade rows of LEAN"),
        ("equity/usa/minute/spy/20131004_trade.zip", "0,1,1,1,1", DataError, r"!a\.csv: not trade rows of LEAN"),
        ("equity/usa/minute/spy/20131004_trade.zip", "60000,1,1,1,1,1\n0,1,1,1,1,1", DataError, "row 2 is not later"),
        (
            "equity/usa/minute/spy/20131004_trade.zip",
            "86400000,1,1,1,1,1",
            DataError,
            "time 86400000 is not in the 86 400 000",
        ),
        ("equity/usa/daily/spy.zip", "2013-10-04,1,1,1,1,1", DataError, "a day is not written as 20131004 00:00"),
        ("crypto/minute/btcxyz/20131004_trade.zip", "0,1,1,1,1,1", DataError, "cannot tell base from quote in BTCXYZ"),
        ("future/minute/zz/20131004_trade.zip", "0,1,1,1,1,1", UnknownName, "unknown future 'zz'"),
        ("future/minute/es/20131004_trade.zip", "0,1,1,1,1,1", DataError, "ends with its contract month"),
        ("option/minute/goog/20131004_trade_american.zip", "0,1,1,1,1,1", DataError, "ends with call or put"),
    ],
)
def test_what_cannot_be_read_says_why(
    tmp_path: Path, path: str, text: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        lean.read(write(tmp_path / path, a=text))
    assert "\n" not in str(caught.value)


def test_a_damaged_or_absent_archive_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "equity/minute/spy/20131004_trade.zip", a="0,1,1,1,1,1")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"20131004_trade\.zip: damaged"):
        lean.read(path)
    with pytest.raises(DataError, match="no such file"):
        lean.read(path.with_name("20131005_trade.zip"))


def folder_of_two(root: Path) -> Path:
    write(root / "equity/usa/minute/spy/20131004_trade.zip", a="34200000,1,1,1,1,5\n34260000,2,2,2,2,6")
    write(root / "equity/usa/minute/spy/20131004_quote.zip", a="34200000,1,1,1,1,5,2,2,2,2,6")
    return root


def test_a_folder_is_imported_once_however_often_it_is_asked_for(tmp_path: Path) -> None:
    folder, lake = folder_of_two(tmp_path / "in"), Lake(tmp_path / "lake")
    first = lean.import_lean(lake, folder)
    assert (first.rows, first.archives, first.known) == ({"bars": 2, "quotes": 1}, 2, 0)
    write(folder / "equity/usa/minute/spy/20131007_trade.zip", a="34200000,3,3,3,3,7")
    second = lean.import_lean(lake, folder)
    assert (second.rows, second.archives, second.known) == ({"bars": 1}, 1, 2)
    bars = lake.read("bars", "USA", "SPY")
    assert bars["volume"].to_pylist() == [5, 6, 7]
    assert bars["interval"].to_pylist() == ["1m"] * 3
    assert lake.quotes("USA", "SPY")["ask"].to_pylist() == [0.0002]
    assert lake.instruments.get("SPY", "USA").calendar == "XNYS"
    write(folder / "equity/usa/minute/spy/20131004_trade.zip", a="34200000,9,9,9,9,5")
    with pytest.raises(DataError, match="was imported before with other content"):
        lean.import_lean(lake, folder)
    with pytest.raises(DataError, match="no zip archives there"):
        lean.import_lean(lake, tmp_path / "lake" / "locks")


def test_a_bad_archive_stops_the_import_and_mending_it_goes_on_without_a_row_twice(tmp_path: Path) -> None:
    folder, lake = folder_of_two(tmp_path / "in"), Lake(tmp_path / "lake")
    bad = write(folder / "equity/usa/minute/spy/20131007_trade.zip", a="34200000,3,3,3,3,x")
    with pytest.raises(DataError, match=r"20131007_trade\.zip!a\.csv"):
        lean.import_lean(lake, folder)
    write(bad, a="34200000,3,3,3,3,7")
    lean.import_lean(lake, folder)
    assert lake.read("bars", "USA", "SPY")["volume"].to_pylist() == [5, 6, 7]


def test_adjust_takes_the_first_factors_not_before_the_day(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("20140606,0.9,0.25,645.57\n20140806,0.9,0.5,94.97\n20501231,1,1,0\n")
    rows = zeros(3, BAR)
    days = ["2014-06-06T20:00", "2014-06-09T13:30", "2014-08-07T01:00"]  # the last is still 6 August in New York
    rows["ts_open"] = np.array(days, "datetime64[ns]").astype("i8")
    rows["ts_close"] = rows["ts_open"] + MIN
    for name in ("open", "high", "low", "close", "volume"):
        rows[name] = 100.0
    raw = Bars(rows, bars_of(write(tmp_path / "equity/daily/x.zip", x="20140606 00:00,1,1,1,1,1")).instruments, "1m")
    done = lean.adjust(raw, lean.read_factors(path))
    assert done.rows["close"].tolist() == [100 * (0.9 * 0.25), 100 * (0.9 * 0.5), 100 * (0.9 * 0.5)]
    assert done.rows["volume"].tolist() == [400.0, 200.0, 200.0]
    assert raw.rows["close"].tolist() == [100.0] * 3, "the argument is left alone"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("20140606,0.9\n", "line 1 is not day,price factor,split factor"),
        ("2014,0.9,1\n", "a day is not written as 20140606"),
        ("20140806,1,1\n20140606,1,1\n", "days must increase"),
        ("20140806,0,1\n", "factors be positive"),
        ("", "days must increase"),
    ],
)
def test_a_wrong_factor_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        lean.read_factors(path)
    with pytest.raises(DataError, match="no such file"):
        lean.read_factors(tmp_path / "y.csv")


# ---- recorded archives


@pytest.mark.parametrize("folder", ["equity", "crypto", "future", "option"])
def test_every_line_of_every_archive_is_a_row(shared_data: Path, folder: str) -> None:
    for path in sorted((shared_data / "market" / folder).rglob("*.zip")):
        found = lean.read(path)
        rows = len(found) if isinstance(found, Bars) else found.num_rows
        assert rows == lines_in(path), path


@pytest.mark.filterwarnings("ignore:Series.values returning an ndarray:pandas.errors.Pandas4Warning")
@pytest.mark.parametrize("ticker", ["spy", "aapl", "ibm"])
def test_daily_bars_open_when_new_york_did(shared_data: Path, ticker: str) -> None:
    xcals = pytest.importorskip("exchange_calendars")
    rows = bars_of(shared_data / f"market/equity/daily/{ticker}.zip").rows
    calendar = xcals.get_calendar("XNYS", start="1998-01-02", end="2021-03-31")
    opens = pd.DatetimeIndex(calendar.opens).as_unit("ns").asi8
    assert set(rows["ts_open"].tolist()) <= set(opens.tolist())
    assert len(opens) - len(rows) <= 1


@pytest.mark.parametrize(
    ("ticker", "day", "close"),
    [("spy", "20131004", "16:00"), ("spy", "20131007", "16:00"), ("aapl", "20140605", "16:00")],
)
def test_the_minutes_of_a_session_add_up_to_its_day(shared_data: Path, ticker: str, day: str, close: str) -> None:
    # an hour of error in the zone would put pre-market or closing trades into the session
    minutes = local(bars_of(shared_data / f"market/equity/minute/{ticker}/{day}_trade.zip"), NEW_YORK)
    session = minutes.between_time("09:30", close, inclusive="left")
    daily = local(bars_of(shared_data / f"market/equity/daily/{ticker}.zip"), NEW_YORK).loc[day].iloc[0]
    assert session["high"].max() == pytest.approx(daily["high"], abs=0.02)
    assert session["low"].min() == pytest.approx(daily["low"], abs=0.02)
    assert session["open"].iloc[0] == pytest.approx(daily["open"], abs=0.02)
    assert len(session) == 390


def test_the_winter_session_that_closed_early_ends_at_one(shared_data: Path) -> None:
    minutes = local(bars_of(shared_data / "market/equity/minute/goog/20151224_trade.zip"), NEW_YORK)
    assert minutes.between_time("09:30", "13:00", inclusive="left")["volume"].sum() > 0.95 * minutes["volume"].sum()
    assert str(minutes.index[0].tz_convert("UTC"))[:16] == "2015-12-24 14:28"


@pytest.mark.parametrize("day", ["20131009", "20131030", "20131118", "20131203"])
def test_the_future_pauses_at_a_quarter_past_three_in_chicago_summer_and_winter(shared_data: Path, day: str) -> None:
    bars = bars_of(shared_data / f"market/future/minute/es/{day}_trade.zip")
    front = local(bars.only("ES-USD-20131220"), CHICAGO)
    assert len(front.between_time("15:15", "15:30", inclusive="left")) == 0
    assert len(front.between_time("16:15", "17:00", inclusive="left")) == 0
    assert len(front.between_time("15:00", "15:15", inclusive="left")) == 15
    assert len(front.between_time("17:00", "17:10", inclusive="left")) >= 8


def test_the_option_chain_is_what_its_file_names_say(shared_data: Path) -> None:
    folder = shared_data / "market/option/minute/goog"
    trades = bars_of(folder / "20151224_trade_american.zip")
    assert len(trades.instruments) == 241
    assert {i.contract for i in trades.instruments} == {Contract.OPTION}
    assert Counter(i.right for i in trades.instruments)[Right.NONE] == 0
    assert {str(i.expiry)[10:] for i in trades.instruments if i.symbol.split("-")[2] < "20160310"} == {
        " 21:00:00+00:00"
    }
    deep = trades.only("GOOG-USD-20170120-400-C")
    assert deep.rows["close"].tolist() == [355.54]
    interest = table_of(folder / "20151224_openinterest_american.zip")
    assert interest.num_rows == 2058
    quotes = table_of(folder / "20151224_quote_american.zip")
    spread = quotes["ask"].to_numpy() - quotes["bid"].to_numpy()
    spread = spread[np.isfinite(spread)]
    assert len(spread) > 150_000
    assert (spread >= 0).mean() > 0.999


@pytest.mark.parametrize("ticker", ["spy", "aapl", "ibm"])
def test_adjusted_prices_match_the_factor_files(shared_data: Path, ticker: str) -> None:
    market = shared_data / "market/equity"
    raw = bars_of(market / f"daily/{ticker}.zip")
    adjusted = lean.adjust(raw, lean.read_factors(market / f"factor_files/{ticker}.csv"))
    lines = [line.split(",") for line in (market / f"factor_files/{ticker}.csv").read_text().split()]
    days = [line[0] for line in lines]
    for old, new in zip(raw.rows, adjusted.rows, strict=True):
        day = str(np.datetime64(int(old["ts_open"]), "ns"))[:10].replace("-", "")
        _, price, split = lines[bisect_left(days, day)][:3]
        for name in ("open", "high", "low", "close"):
            assert new[name] == pytest.approx(old[name] * float(price) * float(split), rel=1e-12)
        assert new["volume"] == pytest.approx(old["volume"] / float(split), rel=1e-12)
    splits = [days[i] for i in range(len(lines) - 1) if lines[i][2] != lines[i + 1][2]]
    closes = local(adjusted, NEW_YORK)["close"]
    for day in splits:
        assert abs(np.log(closes[day:].iloc[1] / closes[:day].iloc[-1])) < 0.12, f"the split of {day} is still there"
    assert adjusted.rows["close"][-1] == pytest.approx(raw.rows["close"][-1], rel=0.01)


def test_apple_before_and_after_seven_for_one(shared_data: Path) -> None:
    market = shared_data / "market/equity"
    raw = bars_of(market / "daily/aapl.zip").between("2014-06-06", "2014-06-10")
    done = lean.adjust(raw, lean.read_factors(market / "factor_files/aapl.csv"))
    assert raw.rows["close"].tolist() == [645.57, 93.7]
    assert done.rows["close"].tolist() == pytest.approx([645.57 * 0.9011818 / 28, 93.7 * 0.9011818 / 4], rel=1e-5)


def test_factors_are_of_one_stock(shared_data: Path) -> None:
    market = shared_data / "market"
    factors = lean.read_factors(market / "equity/factor_files/spy.csv")
    with pytest.raises(InputError, match="factors are of one stock"):
        lean.adjust(bars_of(market / "future/minute/es/20131011_trade.zip"), factors)


def test_recorded_archives_reach_the_lake_as_they_are_read(shared_data: Path, tmp_path: Path) -> None:
    lake, market = Lake(tmp_path), shared_data / "market"
    for folder in ("equity", "crypto", "future"):
        lean.import_lean(lake, market / folder)
    for folder, content, table in (
        ("future", "trade", "bars"),
        ("future", "quote", "quotes"),
        ("crypto", "trade", "bars"),
    ):
        paths = [p for p in (market / folder).rglob("*.zip") if describe(p).content == content]
        venue = describe(paths[0]).venue
        (held,) = lake.sql(f"select count(*) from {table} where venue = $v", v=venue).fetchall()[0]
        assert held == sum(lines_in(p) for p in paths)
    stored = lake.read("bars", "USA", "SPY", "2013-10-04T00:00:00Z", "2013-10-05T00:00:00Z")
    minutes = bars_of(market / "equity/minute/spy/20131004_trade.zip").rows
    kept = stored.to_pandas().query("interval == '1m'")
    for name in ("ts_open", "ts_close", "open", "high", "low", "close", "volume"):
        assert kept[name].tolist() == minutes[name].tolist()

"""Files of anybody's: what is stored is what the file says, and a wrong file is one line that names the row."""

import gzip
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from quantai.cli.importing import importing
from quantai.core.errors import DataError, QuantaiError, UnknownName
from quantai.core.rows import DAY, HOUR, MIN, SEC
from quantai.data import Lake, Writer, synth
from quantai.data.importers import Imported, import_bars, import_trades
from quantai.data.importers.times import Clock

T0 = 1_704_067_200 * SEC  # 2024-01-01T00:00Z
BARS = """time,open,high,low,close,volume
2024-01-01T00:00:00Z,1,3,0.5,2,10
2024-01-01T00:01:00Z,2,4,1.5,3,11
2024-01-01T00:03:00Z,3,5,2.5,4,12
"""
TRADES = """timestamp,price,size,side,id
1704067200000,100.5,1,buy,7
1704067200000,100.4,2,sell,8
1704067201500,100.25,0.1,Buy,9
"""


def file(folder: Path, text: str, name: str = "x.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def bars(folder: Path, text: str, **kw: Any) -> Imported:
    settings = {"interval": "1m"} | kw
    return import_bars(Lake(folder / "lake"), file(folder, text), "USA", "SPY", **settings)


def trades(folder: Path, text: str, **kw: Any) -> Imported:
    return import_trades(Lake(folder / "lake"), file(folder, text), "OKX", "BTC-USDT", **kw)


def stored(folder: Path, *names: str) -> list[tuple[Any, ...]]:
    rows = Lake(folder / "lake").trades("OKX", "BTC-USDT")
    return list(zip(*(rows[n].to_pylist() for n in names), strict=True))


# ---- bars


def test_bars_are_stored_as_written_and_only_once(tmp_path: Path) -> None:
    first, again = bars(tmp_path, BARS), bars(tmp_path, BARS)
    assert (first.rows, first.added, again.added) == (3, 3, 0)
    assert (first.first_ts, first.last_ts) == (T0, T0 + 4 * MIN)
    rows = Lake(tmp_path / "lake").bars("USA", "SPY", "1m").rows
    assert rows["ts_open"].tolist() == [T0, T0 + MIN, T0 + 3 * MIN]
    assert rows["ts_close"].tolist() == [T0 + MIN, T0 + 2 * MIN, T0 + 4 * MIN]
    assert rows[["open", "high", "low", "close", "volume"]].tolist()[0] == (1, 3, 0.5, 2, 10)
    grown = bars(tmp_path, BARS + "2024-01-01T00:04:00Z,4,6,3.5,5,13\n")
    assert (grown.rows, grown.added) == (4, 1), "a file that grew adds what is new"


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("Date,Open,High,Low,Close,Adj Close,Volume", "2024-01-01 00:00:00+00:00,1,3,0.5,2,9,10"),
        ("open_time;o;h;l;c;v", "1704067200000;1;3;0.5;2;10"),
        ("\ufeffts\topen\thigh\tlow\tclose\tvol", "1704067200.0\t1\t3\t0.5\t2\t10"),
        (",open,high,low,close,volume", "2024-01-01T01:00+01:00,1,3,0.5,2,10"),
        ("t,open,high,low,close,volume", "1704067200000000000,1,3,0.5,2,10"),
        ("<DATETIME>|<OPEN>|<HIGH>|<LOW>|<CLOSE>|<VOL>", "2024-01-01T00:00:00.000Z|1|3|0.5|2|10"),
    ],
)
def test_many_ways_to_write_the_same_bar(tmp_path: Path, header: str, row: str) -> None:
    assert bars(tmp_path, f"{header}\n{row}\n").first_ts == T0
    rows = Lake(tmp_path / "lake").bars("USA", "SPY", "1m").rows
    assert rows[["open", "high", "low", "close", "volume"]].tolist() == [(1, 3, 0.5, 2, 10)]


def test_columns_and_names_may_be_given(tmp_path: Path) -> None:
    text = "when,time,first,high,low,close\n2024-01-01T00:00:00Z,x,1,3,0.5,2\n"
    assert bars(tmp_path, text, columns={"time": "when", "open": "first"}).added == 1
    bare = "1704067260000,1,3,0.5,2,7,99\n"
    assert bars(tmp_path, bare, names=["time", "open", "high", "low", "close", "volume", "x"]).added == 1
    closed = bars(tmp_path, "time,open,high,low,close\n2024-01-01T00:03:00Z,1,3,0.5,2\n", label="close")
    assert closed.first_ts == T0 + 2 * MIN


def test_times_without_a_zone_need_one_and_days_last_until_the_same_wall_clock(tmp_path: Path) -> None:
    text = "date,open,high,low,close\n2024-03-09,1,3,0.5,2\n2024-03-10,1,3,0.5,2\n2024-03-11,1,3,0.5,2\n"
    with pytest.raises(DataError, match=r"x\.csv: times carry no zone: pass tz='UTC'"):
        bars(tmp_path, text, interval="1d")
    with pytest.raises(DataError, match="no zone is called 'Mars/Olympus'"):
        bars(tmp_path, text, interval="1d", tz="Mars/Olympus")
    bars(tmp_path, text, interval="1d", tz="America/New_York")
    rows = Lake(tmp_path / "lake").bars("USA", "SPY", "1d").rows
    assert (rows["ts_close"] - rows["ts_open"]).tolist() == [DAY, DAY - HOUR, DAY]
    assert str(np.datetime64(int(rows["ts_open"][2]), "ns"))[:16] == "2024-03-11T04:00"


@pytest.mark.parametrize("kind", ["zoned", "naive", "date", "ms", "seconds"])
def test_parquet_of_any_time_type(tmp_path: Path, kind: str) -> None:
    index = pd.date_range("2024-01-01", periods=3, freq="1D", tz="UTC")
    times: dict[str, Any] = {
        "zoned": pa.array(index.tz_convert("Asia/Tokyo")),
        "naive": pa.array(index.tz_localize(None).as_unit("us")),
        "date": pa.array(index.date),
        "ms": pa.array(index.as_unit("ms").asi8),
        "seconds": pa.array(index.as_unit("s").asi8.astype("f8")),
    }
    prices = {n: [1.0, 2.0, 3.0] for n in ("open", "high", "low", "close")}
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"extra": ["a", "b", "c"], "time": times[kind]} | prices), path)
    lake = Lake(tmp_path / "lake")
    import_bars(lake, path, "USA", "SPY", "1d", tz="UTC" if kind in ("naive", "date") else None)
    assert lake.bars("USA", "SPY", "1d").rows["ts_open"].tolist() == [T0, T0 + DAY, T0 + 2 * DAY]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BARS.replace("3,0.5", ",0.5"), "row 1: high is missing or not finite: remove or fill the row"),
        (BARS.replace("4,1.5", "nan,1.5"), "row 2: high is missing or not finite"),
        (BARS.replace("4,1.5", "inf,1.5"), "row 2: high is missing or not finite"),
        (BARS.replace("4,1.5", "x,1.5"), "invalid value 'x': mend the file"),
        (BARS.replace("4,1.5,3", "4,1.5"), r"Expected 6 columns, got 5.*: mend the file"),
        (BARS.replace("5,2.5", "1,2.5"), "row 3: high is below, or low above, another price of the bar"),
        (BARS.replace("00:03:00", "00:00:30"), "row 3: the time is before that of the row above: pass sort=True"),
        (BARS.replace("3,0.5,2,10", "3,0.5,2,-10"), "row 1: the volume is negative"),
        (BARS.replace("00:03:00", "00:01:30"), "row 2: the next bar opens before 1m is over"),
        (BARS.replace("00:03", "00:01"), "row 3: this time is there already: dedupe=True"),
        (
            BARS.replace("2024-01-01T00:03:00Z", "2024-01-01T00:03:00"),
            "row 3: some times carry a zone and others do not",
        ),
        (BARS.replace("2024-01-01T00:03:00Z", "01/02/2024Z"), "row 3: 01/02/2024Z is not an instant: write 2024-08-08"),
        (BARS.replace("2024-01-01T00:03:00Z", ""), "row 3: the time is missing"),
        (BARS.replace("time", "when"), "no column is the time: pass columns={'time': ...}"),
        (BARS.replace("volume", "open"), "two columns are called 'open'"),
        (BARS.replace("volume", "date"), "'time' and 'date' could both be the time"),
        ("time,open,high,low,close\n20240101,1,1,1,1\n", "row 1: time 20240101 is no count of s, ms, us or ns"),
        (
            "time,open,high,low,close\n1704067200,1,1,1,1\n1704067260000,1,1,1,1\n",
            "row 2: time 1704067260000 in s is not",
        ),
        (
            "time,open,high,low,close\n1704067200,1,1,1,1\nx,1,1,1,1\n",
            "row 2: 'x' is not a number like the times before",
        ),
        ("2024-01-01T00:00:00Z,1,1,1,1\n", "the first line is data: say what the columns are with names"),
        ("time,open,high,low,close\n", "no rows below the header"),
        ("", "the file is empty"),
    ],
)
def test_a_wrong_file_of_bars_is_refused_in_one_line_and_nothing_is_stored(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(DataError, match=message.replace("{", r"\{").replace("}", r"\}")) as caught:
        bars(tmp_path, text)
    assert str(caught.value).startswith("x.csv")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "lake").exists()


def test_sort_and_dedupe_mend_what_they_say_and_no_more(tmp_path: Path) -> None:
    lines = BARS.splitlines()
    mixed = "\n".join([lines[0], lines[3], lines[1], lines[2], lines[2]]) + "\n"
    with pytest.raises(DataError, match="row 4: this time is there already"):
        bars(tmp_path, mixed, sort=True)
    done = bars(tmp_path, mixed, sort=True, dedupe=True)
    assert (done.rows, done.added) == (4, 3)
    conflict = BARS + lines[3].replace(",12", ",13") + "\n"
    with pytest.raises(
        DataError, match=r"row 4: this time is there already: dedupe=True \(--dedupe\) drops rows that are equal, mend"
    ):
        bars(tmp_path, conflict, dedupe=True)


# ---- trades


def test_trades_are_stored_as_written_and_only_once(tmp_path: Path) -> None:
    first, again = trades(tmp_path, TRADES), trades(tmp_path, TRADES)
    assert (first.rows, first.added, again.added) == (3, 3, 0)
    assert (first.first_ts, first.last_ts) == (again.first_ts, again.last_ts) == (T0, T0 + 1_500_000_000)
    assert stored(tmp_path, "ts_exch", "ts_recv", "px", "qty", "side", "id") == [
        (T0, T0, 100.5, 1.0, 1, "7"),
        (T0, T0, 100.4, 2.0, -1, "8"),
        (T0 + 1_500_000_000, T0 + 1_500_000_000, 100.25, 0.1, 1, "9"),
    ]


def test_the_taker_of_binances_own_files(tmp_path: Path) -> None:
    # https://github.com/binance/binance-public-data: aggTrades of spot have no header
    names = ["a", "price", "qty", "first", "last", "transact_time", "is_buyer_maker", "best"]
    text = "1,42000.1,0.5,1,1,1704067200000,True,True\n2,42000.2,0.25,2,3,1704067200001,False,True\n"
    trades(tmp_path, text, names=names)
    assert stored(tmp_path, "id", "px", "side") == [("1", 42000.1, -1), ("2", 42000.2, 1)]


@pytest.mark.parametrize("kind", ["gz", "zip"])
def test_packed_files(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.csv.{kind}"
    if kind == "gz":
        path.write_bytes(gzip.compress(TRADES.encode()))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.csv", TRADES)
    assert import_trades(Lake(tmp_path / "lake"), path, "OKX", "BTC-USDT").added == 3
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(DataError, match=r"fetch it again|mend the file"):
        import_trades(Lake(tmp_path / "lake"), path, "OKX", "BTC-USDT")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TRADES.replace("100.4", ""), "row 2: px is missing"),
        (TRADES.replace(",2,sell", ",-2,sell"), "row 2: the quantity is negative"),
        (TRADES.replace("sell", "short"), "row 2: side is not one of buy, b, bid"),
        (
            TRADES.replace("1704067201500", "1704067199999"),
            "row 3: the time is before that of the row above: pass sort=True",
        ),
        (TRADES.replace(",8", ",7"), "row 2: a trade with this id and time is there already: pass dedupe=True"),
        (TRADES.replace("price", "x"), "no column is the px"),
        ("timestamp,price,size\n", "no rows below the header"),
    ],
)
def test_a_wrong_file_of_trades_is_refused_and_nothing_is_stored(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        trades(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert Lake(tmp_path / "lake").tables() == {}
    assert trades(tmp_path, TRADES).added == 3, "the mended file is imported"


def test_trades_sorted_and_without_repeats_on_request(tmp_path: Path) -> None:
    lines = TRADES.splitlines()
    mixed = "\n".join([lines[0], lines[3], lines[1], lines[2], lines[2]]) + "\n"
    done = trades(tmp_path, mixed, sort=True, dedupe=True)
    assert (done.rows, done.added) == (3, 3)
    assert stored(tmp_path, "id") == [("7",), ("8",), ("9",)]


def test_trades_without_an_id_are_never_taken_for_each_other(tmp_path: Path) -> None:
    text = "ts,px,qty,id\n" + "1704067200000,1,1,\n" * 3 + "1704067200000,1,1,5\n"
    assert trades(tmp_path, text).added == 4
    assert stored(tmp_path, "id", "side") == [(None, 0)] * 3 + [("5", 0)]


def test_trades_over_those_from_elsewhere_are_refused(tmp_path: Path) -> None:
    trades(tmp_path, TRADES)
    later = TRADES.replace("1704067200000", "1704067201000")
    with pytest.raises(DataError, match=r"the lake holds 1 trades of BTC-USDT from 2024-01-01T00:00:01Z to"):
        trades(tmp_path, later)
    after = trades(tmp_path, TRADES.replace("17040672", "17040673"))
    assert after.added == 3


def market_csv(folder: Path, rows: int = 60_000) -> tuple[Path, synth.SyntheticMarket]:
    market = synth.market(n=rows, seed=3)
    frame = pd.DataFrame({"ts": market.trades["ts_exch"], "px": market.trades["px"], "qty": market.trades["qty"]})
    frame["side"] = np.where(market.trades["side"] > 0, "buy", "sell")
    frame["id"] = np.arange(len(frame))
    path = folder / "big.csv"
    frame.to_csv(path, index=False)
    return path, market


def test_an_interrupted_import_goes_on_and_stores_every_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, market = market_csv(tmp_path)
    lake, commit = Lake(tmp_path / "lake"), Writer.commit
    monkeypatch.setattr("quantai.data.importers.sheets._BLOCK", 20_000)
    for commits in (0, 1, 3, 6):
        left = [commits]

        def fail(self: Writer, position: dict[str, Any], left: list[int] = left) -> int:
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return commit(self, position)

        monkeypatch.setattr(Writer, "commit", fail)
        with pytest.raises(KeyboardInterrupt):
            import_trades(lake, path, "OKX", "BTC-USDT")
    held = lake.tables()["trades"]
    assert 0 < held < len(market.trades)
    monkeypatch.setattr(Writer, "commit", commit)
    with pytest.raises(DataError, match=r"big\.csv was imported half-way: finish that import"):
        import_trades(lake, file(tmp_path, TRADES), "OKX", "BTC-USDT")
    assert import_trades(lake, path, "OKX", "BTC-USDT").added == len(market.trades) - held
    rows = lake.trades("OKX", "BTC-USDT")
    for name in ("ts_exch", "px", "qty", "side"):
        assert rows[name].to_pylist() == market.trades[name].tolist()


def test_a_file_in_many_pieces_is_checked_across_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantai.data.importers.sheets._BLOCK", 2_000)
    path, market = market_csv(tmp_path, 4_000)
    lines = path.read_text().splitlines()
    n = len(lines) - 1
    lake = Lake(tmp_path / "lake")
    path.write_text("\n".join([*lines, lines[5]]) + "\n")
    with pytest.raises(DataError, match=f"big.csv row {n + 1}: the time is before that of the row above"):
        import_trades(lake, path, "OKX", "BTC-USDT")
    assert import_trades(lake, path, "OKX", "BTC-USDT", sort=True, dedupe=True).added == n
    assert lake.trades("OKX", "BTC-USDT")["ts_exch"].to_pylist() == market.trades["ts_exch"].tolist()


# ---- times


@given(st.integers(315_532_800 * SEC, 4_102_444_799 * SEC), st.sampled_from(["s", "ms", "us", "ns"]))
def test_a_count_of_any_unit_is_told_apart_and_exact(ns: int, unit: str) -> None:
    scale = {"s": SEC, "ms": 10**6, "us": 10**3, "ns": 1}[unit]
    for column in (pa.array([ns // scale]), pa.array([str(ns // scale)])):
        assert Clock("x").read(column, 0).tolist() == [ns // scale * scale]
    text = f"{ns // SEC}.{ns % SEC:09d}"
    assert Clock("x").read(pa.array([text]), 0).tolist() == [ns], "decimals of a second are exact"


@given(st.integers(315_532_800 * SEC, 4_102_444_799 * SEC))
def test_iso_text_is_exact_to_the_nanosecond(ns: int) -> None:
    text = str(np.datetime64(ns, "ns"))
    assert Clock("x").read(pa.array([text + "Z"]), 0).tolist() == [ns]
    assert Clock("x", tz="UTC").read(pa.array([text.replace("T", " ")]), 0).tolist() == [ns]


def test_a_unit_that_is_said_is_believed() -> None:
    assert Clock("x", unit="s").read(pa.array([1_704_067_200]), 0).tolist() == [T0]
    with pytest.raises(DataError, match="x row 4: time 1704067200 in ms is not between 1980 and 2100"):
        Clock("x", unit="ms").read(pa.array([1_704_067_200]), 3)
    with pytest.raises(UnknownName, match="unknown unit of time 'minutes'"):
        Clock("x", unit="minutes")


# ---- command line


def command(*args: str) -> Any:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command("import")(importing)
    return CliRunner().invoke(app, list(args), catch_exceptions=True)


def test_the_command_imports_bars_trades_and_lean(tmp_path: Path) -> None:
    lake = ["--lake", str(tmp_path / "lake"), "--json"]
    path = str(file(tmp_path, BARS.replace("time", "When")))
    got = command(path, "--venue", "USA", "--symbol", "SPY", "--interval", "1m", "--column", "time=When", *lake)
    assert '"rows": 3, "added": 3, "first": "2024-01-01T00:00:00Z"' in got.stdout
    path = str(file(tmp_path, TRADES, "t.csv"))
    got = command(path, "--what", "trades", "--venue", "OKX", "--symbol", "BTC-USDT", *lake)
    assert '"added": 3' in got.stdout
    archive = tmp_path / "in/equity/usa/minute/spy/20131004_trade.zip"
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("a.csv", "34200000,1,1,1,1,5\n")
    got = command(str(tmp_path / "in"), "--what", "lean", *lake)
    assert '"rows": {"bars": 1}, "archives": 1, "known": 0' in got.stdout
    assert Lake(tmp_path / "lake").tables() == {"trades": 3, "bars": 4}


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["--what", "news"], 2),
        (["--interval", "1m"], 2),
        (["--venue", "USA", "--symbol", "SPY", "--interval", "1m", "--column", "time"], 2),
        (["--venue", "USA", "--symbol", "SPY", "--interval", "1m", "--tz", "Mars"], 1),
    ],
)
def test_wrong_usage_and_wrong_files_end_differently(tmp_path: Path, args: list[str], code: int) -> None:
    path = str(file(tmp_path, BARS.replace("Z,", ",")))
    got = command(path, *args, "--lake", str(tmp_path / "lake"))
    assert got.exit_code == code
    assert code == 2 or isinstance(got.exception, QuantaiError)

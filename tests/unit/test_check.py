"""The check finds what is wrong, says where, never raises, and can move damaged files aside."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from quantai.cli import main
from quantai.core.errors import InputError, UnknownName
from quantai.core.instruments import Instrument
from quantai.core.rows import DAY, HOUR, LAST, MIN, MS, SEC, Kind, Status
from quantai.data import Lake, to_ns
from quantai.data.check import check, quarantine
from quantai.data.findings import KINDS, Report

T0 = to_ns("2024-08-08")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def put(lake: Lake, table: str = "trades", symbol: str = "BTC-USDT", **columns: Any) -> None:
    with lake.writer("test") as w:
        w.append(table, "OKX", symbol, columns)
        w.commit({})


def trades(n: int = 100, **more: Any) -> dict[str, Any]:
    ts = T0 + np.arange(n) * SEC
    columns = {"ts_exch": ts, "ts_recv": ts + MS, "px": np.full(n, 100.0), "qty": np.ones(n)}
    return columns | {"id": [str(1_000 + i) for i in range(n)]} | more


def changed(array: Any, **at: Any) -> Any:
    """A copy with some values changed: changed(x, _3=7.0) sets x[3]."""
    array = np.array(array)
    for key, value in at.items():
        array[int(key[1:])] = value
    return array


def found(report: Report) -> dict[str, tuple[int, str]]:
    return {f.kind: (f.count, f.example) for f in report.findings}


def test_a_sound_lake_has_no_findings(lake: Lake) -> None:
    put(lake, **trades())
    report = check(lake)
    assert report.clean
    assert (report.rows, report.partitions, report.counts()) == (100, 1, {})
    assert [(x.table, x.min_ms, x.max_ms) for x in report.latencies] == [("trades", 1.0, 1.0)]
    assert "0 findings" in str(report)
    assert len(report.df()) == 0
    assert check(Lake(lake.root / "none")).clean


@pytest.mark.parametrize(
    ("columns", "kind", "count", "example"),
    [
        ({"px": changed(np.ones(100), _3=0.0, _4=-1.0, _5=np.nan)}, "bad_price", 3, "px 0"),
        ({"qty": changed(np.ones(100), _7=0.0, _9=np.inf)}, "bad_qty", 2, "qty 0"),
        ({"id": [str(i + 5 * (i > 60)) for i in range(100)]}, "gap", 5, "trades 61 to 65 are missing"),
        ({"id": [str(min(i, 97)) for i in range(100)]}, "duplicate", 2, "trade id 97 more than once"),
        ({"seq": changed(np.arange(100), _50=49)}, "duplicate", 1, "seq 49 twice"),
        ({"ts_recv": changed(trades()["ts_recv"], _9=T0)}, "disorder_recv", 1, "8,001.000 ms back"),
        ({"ts_exch": changed(trades()["ts_exch"], _9=T0 + 7 * SEC)}, "disorder_exch", 1, "1,000.000 ms back"),
        ({"ts_exch": trades()["ts_recv"] + 1_270 * MS}, "negative_latency", 100, "from -1,270.0 ms, median -1,270.0"),
    ],
)
def test_each_fault_of_trades_is_found(
    lake: Lake, columns: dict[str, Any], kind: str, count: int, example: str
) -> None:
    base = trades()
    if "seq" not in columns:
        base["seq"] = np.arange(100)
    put(lake, **(base | columns))
    report = check(lake)
    assert found(report)[kind][0] == count
    assert example in found(report)[kind][1]
    finding = next(f for f in report.findings if f.kind == kind)
    assert (finding.table, finding.venue, finding.symbol, finding.part) == ("trades", "OKX", "BTC-USDT", "2024-08-08")
    assert T0 <= finding.first_ts <= T0 + 102 * SEC
    assert kind in str(report)
    assert kind in KINDS
    # the same rows in hand give the same findings
    assert found(check(lake.trades("OKX", "BTC-USDT"))) == found(report)


def test_ids_that_are_not_consecutive_numbers_are_no_gaps(lake: Lake) -> None:
    put(lake, symbol="A", **trades(id=[f"x{i}" for i in range(100)]))
    put(lake, symbol="B", **trades(id=[str(i * i) for i in range(100)]))
    put(lake, symbol="C", **trades(id=[None] * 100))
    assert check(lake).clean


def test_gaps_and_silence_are_seen_across_midnight(lake: Lake) -> None:
    late = {"ts_exch": trades()["ts_exch"] + DAY, "ts_recv": trades()["ts_recv"] + DAY}
    put(lake, **trades())
    put(lake, **trades(id=[str(1_103 + i) for i in range(100)], **late))
    report = check(lake)
    assert found(report) == {
        "gap": (3, "trades 1100 to 1102 are missing"),
        "stale": (1, f"{(DAY - 99 * SEC) / 1e9:,.1f} s of silence"),
    }
    assert {f.part for f in report.findings} == {"2024-08-09"}
    assert "stale" not in found(check(lake, stale="2d"))


def test_missing_days_know_sessions(lake: Lake) -> None:
    for symbol in ("BTC-USDT", "SPY"):
        for day in (0, 1, 6, 8):  # Thursday 8 August 2024, Friday, Wednesday, Friday
            ts = [T0 + day * DAY + 15 * HOUR]
            put(lake, symbol=symbol, ts_exch=ts, ts_recv=ts, px=[1.0], qty=[1.0])
    lake.instruments.add(Instrument.parse("SPY", venue="OKX"))
    gone = {f.symbol: [] for f in check(lake).findings} | {"SPY": []}
    for f in check(lake).findings:
        if f.kind == "missing_day":
            gone[f.symbol].append((f.example, f.count))
    assert gone["BTC-USDT"] == [("2024-08-10 to 2024-08-13", 4), ("2024-08-15", 1)]
    assert gone["SPY"] == [("2024-08-12 to 2024-08-13", 2), ("2024-08-15", 1)]


def test_crossed_books_and_quotes_are_counted_by_message(lake: Lake) -> None:
    ts = T0 + np.array([0, 0, 1, 2, DAY // SEC, DAY // SEC + 1]) * SEC
    put(
        lake,
        "levels",
        ts_exch=ts,
        ts_recv=ts,
        px=[99.0, 101.0, 102.0, 102.0, 101.0, 0.0],
        qty=[1.0, 1.0, 1.0, 0.0, 0.0, 0.0],
        side=[1, -1, 1, 1, 1, 0],
        flags=[0, LAST, LAST, LAST, LAST, LAST],
        kind=[Kind.LEVEL] * 5 + [Kind.CLEAR],
    )
    put(
        lake,
        "quotes",
        ts_exch=ts[:4],
        ts_recv=ts[:4],
        bid=[1.0, 2.0, 3.0, np.nan],
        ask=[2.0, 2.0, 1.0, 5.0],
    )
    report = check(lake, stale="2d")
    crossed = {f.table: (f.count, f.example, f.first_ts) for f in report.findings if f.kind == "crossed"}
    assert crossed["levels"][0] == 1
    assert "bids from 102" in crossed["levels"][1]
    assert crossed["levels"][2] == T0 + SEC
    assert crossed["quotes"] == (2, "bid 2, ask 2", T0)
    assert set(report.counts()) == {"crossed"}


def test_a_book_that_stays_crossed_over_midnight_is_seen_on_both_days(lake: Lake) -> None:
    ts = T0 + np.array([0, 1, DAY // SEC]) * SEC
    put(lake, "levels", ts_exch=ts, ts_recv=ts, px=[99.0, 98.0, 90.0], qty=[1.0] * 3, side=[1, -1, 1], flags=[LAST] * 3)
    assert [f.part for f in check(lake, "levels", stale="2d").findings] == ["2024-08-08", "2024-08-09"]


def bars(opened: Any, **more: Any) -> dict[str, Any]:
    n = len(opened)
    columns = {"ts_open": T0 + np.array(opened) * MIN, "interval": ["1m"] * n} | {
        k: np.full(n, v) for k, v in (("open", 2.0), ("high", 3.0), ("low", 1.0), ("close", 2.0), ("volume", 0.0))
    }
    return columns | {"ts_close": columns["ts_open"] + MIN} | more


def test_bars_with_holes_doubles_and_impossible_prices_are_found(lake: Lake) -> None:
    put(lake, "bars", **bars([0, 1, 4, 5, 5]))
    put(lake, "bars", "FORMING", **bars([0, 0, 0], volume=[1.0, 2.0, 3.0]))
    put(lake, "bars", "ETH-USDT", **bars([0, 1], high=[1.5, 3.0], close=[2.0, -1.0]))
    put(lake, "bars", "SPY", **bars([0, 1, 400]))
    lake.instruments.add(Instrument.parse("SPY", venue="OKX"))
    report = check(lake)
    kinds = {(f.symbol, f.kind): (f.count, f.example) for f in report.findings}
    assert kinds[("BTC-USDT", "gap")] == (2, "2 bars of 1m before 2024-08-08T00:04:00Z")
    assert kinds[("BTC-USDT", "duplicate")] == (1, "bar of 2024-08-08T00:05:00Z twice")
    assert kinds[("ETH-USDT", "bad_price")][0] == 3
    assert not any(symbol in ("SPY", "FORMING") for symbol, _ in kinds)


def test_what_the_recorder_noted_is_a_finding(lake: Lake) -> None:
    ts = T0 + np.arange(4) * SEC
    put(
        lake,
        "events",
        ts_exch=ts,
        ts_recv=ts,
        kind=[Kind.STATUS, Kind.GAP, Kind.GAP, Kind.STATUS],
        aux=[Status.CONNECTED, 7, 0, Status.STALE],
        detail=["", "trades 5 to 11", None, None],
    )
    assert found(check(lake)) == {
        "gap": (8, "recorded: trades 5 to 11"),
        "stale": (1, "recorded: the connection went silent"),
    }


def test_the_other_tables_are_checked_for_impossible_values(lake: Lake) -> None:
    now = {"ts_exch": [T0], "ts_recv": [T0]}
    put(lake, "funding", **now, rate=[np.nan])
    put(lake, "open_interest", **now, qty=[-1.0])
    put(lake, "liquidations", **now, px=[0.0], qty=[1.0])
    assert {(f.table, f.kind) for f in check(lake).findings} == {
        ("funding", "bad_price"),
        ("open_interest", "bad_qty"),
        ("liquidations", "bad_price"),
    }


def test_rows_in_hand_are_checked_too() -> None:
    table = pa.table(
        {"ts_exch": [T0, T0 + 1], "ts_recv": [T0, T0 + 1], "seq": [2, 1], "px": [1.0, 1.0], "qty": [1.0, 1.0]}
    )
    assert found(check(table, "trades")) == {"disorder_seq": (1, "seq 1 after 2")}
    with pytest.raises(InputError, match="say which table these rows are of"):
        check(table)
    with pytest.raises(UnknownName, match="unknown table 'trade'"):
        check(table, "trade")
    with pytest.raises(UnknownName, match="unknown interval"):
        check(table, "trades", stale="soon")


def test_a_report_reads_as_text_table_and_html(lake: Lake) -> None:
    put(lake, **trades(px=np.zeros(100)))
    report = check(lake)
    frame = report.df()
    assert frame["kind"].tolist() == ["bad_price"]
    assert str(frame["first"][0]) == "2024-08-08 00:00:00+00:00"
    assert "bad_price" in str(report)
    for k in range(120):
        put(lake, symbol=f"S{k}", **trades(1, px=[-1.0]))
    assert "… and 21 more" in str(check(lake))
    assert "more streams" in str(check(lake))
    assert len(check(lake).df()) == 121
    page = report._repr_html_()
    assert page.count("<tr>") == 2
    assert "px 0" in page


def damage(lake: Lake, how: str) -> Path:
    file = next((lake.root / "trades").rglob("symbol=BTC-USDT/**/*.parquet"))
    data = bytearray(file.read_bytes())
    match how:
        case "gone":
            file.unlink()
        case "short":
            file.write_bytes(data[: len(data) // 2])
        case "empty":
            file.write_bytes(b"")
        case _:
            data[len(data) // 4] ^= 0xFF  # one byte of a page: only its checksum knows
            file.write_bytes(data)
    return file


@pytest.mark.parametrize("how", ["gone", "short", "empty", "flipped"])
def test_a_damaged_file_is_named_moved_aside_and_the_rest_stays_readable(lake: Lake, how: str) -> None:
    put(lake, **trades(5_000))
    put(lake, symbol="ETH-USDT", **trades())
    file = damage(lake, how)
    with pytest.raises(InputError, match="is damaged") as refusal:
        lake.trades("OKX", "BTC-USDT")
    assert str(file) in str(refusal.value)
    assert f"quantai check --lake {lake.root} --quarantine" in str(refusal.value)
    if how != "flipped":  # DuckDB does not look at the checksums of pages
        with pytest.raises(InputError, match="is damaged") as refusal:
            lake.sql("select sum(px) from trades")
        assert str(file) in str(refusal.value)
    assert len(lake.trades("OKX", "ETH-USDT")) == 100
    report = check(lake)
    assert [(f.kind, f.symbol, f.path) for f in report.damaged] == [
        ("damaged", "BTC-USDT", str(file.relative_to(lake.root)))
    ]
    moved = quarantine(lake.root, report)
    assert [m.exists() for m in moved] == ([] if how == "gone" else [True])
    assert not file.exists()
    assert check(lake).clean
    assert lake.symbols("trades") == [("OKX", "ETH-USDT")]
    assert lake.sql("select count(*) from trades").fetchone() == (100,)


def test_the_documentation_tells_of_every_kind() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "lake.md").read_text()
    assert [kind for kind in KINDS if kind not in text] == []


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = main(args)
    said = capsys.readouterr()
    return code, said.out, said.err


def test_cli_check_prints_findings_and_fails_only_for_damage(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    put(lake, **trades(px=np.zeros(100)))
    place = ("check", "--lake", str(lake.root))
    code, out, err = run(capsys, *place)
    assert (code, err) == (0, "")
    assert "bad_price" in out
    code, out, err = run(capsys, *place, "--json")
    said = json.loads(out)
    assert (code, said["findings"], said["rows"], said["damaged"]) == (0, {"bad_price": 100}, 100, [])
    assert said["details"][0]["symbol"] == "BTC-USDT"
    assert run(capsys, *place, "--symbol", "ETH-USDT", "--json")[0] == 0
    file = damage(lake, "short")
    code, out, err = run(capsys, *place, "--json")
    assert code == 1
    assert json.loads(out)["damaged"] == [str(file.relative_to(lake.root))]
    assert err.count("\n") == 1
    assert "--quarantine" in err
    code, out, err = run(capsys, *place, "--quarantine", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["quarantined"] == [str(lake.root / "quarantine" / file.relative_to(lake.root))]
    assert run(capsys, *place)[0] == 0
    code, _, err = run(capsys, "check", "--lake", str(lake.root / "none"))
    assert code == 1
    assert "there is no lake at" in err


def test_a_lake_that_is_not_there_is_said_to_be_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = ["--lake", str(tmp_path / "nowhere"), "--venue", "BINANCE"]
    asked = ["--mode", "replay", "--start", "2024-01-01", "--symbols", "BTC-USDT", "--journal", str(tmp_path / "j")]
    for words in (
        ["bars", *nowhere, "--symbol", "BTC-USDT"],
        ["backtest", "quantai.strategy.examples:Cross", *nowhere, "--symbol", "BTC-USDT"],
        ["trade", "quantai.strategy.examples:Quote", *nowhere, *asked],
    ):
        assert main(words) == 1
        assert f"there is no lake at {tmp_path / 'nowhere'}" in capsys.readouterr().err
    assert not (tmp_path / "j").exists()


def test_cli_bars_stores_what_it_builds_once(lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(lake, **trades(600))
    place = ("bars", "--lake", str(lake.root), "--venue", "OKX", "--symbol", "BTC-USDT", "--json")
    code, out, err = run(capsys, *place, "--by", "60s", "--out", str(tmp_path / "bars.parquet"))
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert (said["interval"], said["bars"], said["added"], said["trades"]) == ("1m", 10, 10, 600)
    assert (said["first"], said["last"]) == ("2024-08-08T00:00:00Z", "2024-08-08T00:10:00Z")
    assert lake.tables() == {"trades": 600, "bars": 10}
    assert pa.parquet.read_table(tmp_path / "bars.parquet").num_rows == 10  # pyright: ignore[reportAttributeAccessIssue]
    assert json.loads(run(capsys, *place, "--by", "1m")[1])["added"] == 0
    code, out, err = run(capsys, *place, "--by", "100 ticks", "--out", str(tmp_path / "bars.csv"))
    assert json.loads(out)["added"] == 6
    assert (tmp_path / "bars.csv").read_text().count("\n") == 7
    for wrong, message in (
        (("--by", "1 fortnight"), "interval '1 fortnight'"),
        (("--out", "bars.xlsx"), "must end in .parquet or .csv"),
        (("--out", str(tmp_path / "no" / "bars.csv")), "choose a folder you may write to"),
        (("--start", "2024-08-08T01:00"), "has no time zone"),
    ):
        code, out, err = run(capsys, *place, *wrong)
        assert (code, out) == (1, "")
        assert message in err
        assert err.count("\n") == 1
    code, _, err = run(capsys, "bars", "--lake", str(lake.root), "--venue", "OKEX", "--symbol", "BTC-USDT")
    assert code == 1
    assert "did you mean 'OKX'" in err
    assert run(capsys, "bars", "--lake", str(lake.root))[0] == 2

"""The lake: what a writer commits is what readers see, in every form, and what is refused says why."""

import datetime as dt
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from quantai.core.errors import DataError, InputError, UnknownName
from quantai.core.rows import DAY, HOUR, SEC
from quantai.data import Lake, to_iso, to_ns
from quantai.data import writer as writer_module

T0 = to_ns("2024-08-08")
_NAT = np.iinfo("i8").min


def trades(ts: Any, **more: Any) -> dict[str, Any]:
    """Columns of trades at the instants `ts`, the price counting up from 100."""
    ts = np.asarray(ts, "i8")
    return {"ts_exch": ts, "ts_recv": ts, "px": 100.0 + np.arange(len(ts)), "qty": np.ones(len(ts))} | more


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


@pytest.fixture(params=["staged", "files"])
def filled(lake: Lake, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Two venues, two symbols, three days of hourly trades: read from staged rows and from files alike."""
    with lake.writer("test") as w:
        for venue, symbol in (("BINANCE", "BTC-USDT"), ("BINANCE", "ETH-USDT"), ("OKX", "BTC-USDT")):
            w.append("trades", venue, symbol, trades(T0 + np.arange(72) * HOUR))
        w.commit({"n": 72})
        if request.param == "staged":
            monkeypatch.setattr(w, "_waiting", {})
    return lake


def test_rows_come_back_as_they_went_in_with_defaults_and_exact_instants(lake: Lake) -> None:
    ts = [T0 + 1, T0 + 2, T0 + 3]
    with lake.writer("test") as w:
        w.append("trades", "OKX", "BTC-USDT", trades(ts, side=[1, -1, 0], id=["a", None, "c"]))
        assert w.commit({"line": 3}) == 3
    rows = lake.trades("OKX", "BTC-USDT")
    assert rows["ts_exch"].to_pylist() == ts
    assert rows["seq"].to_pylist() == ts
    assert rows["side"].to_pylist() == [1, -1, 0]
    assert rows["id"].to_pylist() == ["a", None, "c"]
    assert rows.schema.metadata == {b"venue": b"OKX", b"symbol": b"BTC-USDT"}


def test_staged_rows_and_files_read_alike(filled: Lake) -> None:
    assert filled.tables() == {"trades": 216}
    assert filled.symbols("trades") == [("BINANCE", "BTC-USDT"), ("BINANCE", "ETH-USDT"), ("OKX", "BTC-USDT")]
    day = filled.trades("OKX", "BTC-USDT", "2024-08-09", "2024-08-10")
    assert day["ts_exch"].to_pylist() == [T0 + DAY + h * HOUR for h in range(24)]
    one = filled.trades("OKX", "BTC-USDT", T0 + HOUR, T0 + 2 * HOUR)
    assert one["px"].to_pylist() == [101.0]
    per_day = filled.sql(
        "select date, count(*) n, sum(px) total from trades where venue = 'OKX' group by date order by 1"
    )
    assert [(str(d), n) for d, n, _ in per_day.fetchall()] == [
        ("2024-08-08", 24),
        ("2024-08-09", 24),
        ("2024-08-10", 24),
    ]
    assert per_day.df()["n"].tolist() == per_day.pl()["n"].to_list() == per_day.arrow()["n"].to_pylist() == [24, 24, 24]
    summary = filled.summary()
    assert summary["rows"].sum() == 216
    assert summary["first"].min() == pd.Timestamp("2024-08-08", tz="UTC")


def test_a_partition_condition_opens_only_its_file(lake: Lake) -> None:
    with lake.writer("test") as w:
        for symbol in ("BTC-USDT", "ETH-USDT"):
            w.append("trades", "OKX", symbol, trades(T0 + np.arange(72) * HOUR))
        w.commit({})
    where = "venue = 'OKX' and symbol = 'ETH-USDT' and date = '2024-08-09'"
    plan = str(lake.sql(f"explain analyze select sum(px) from trades where {where}").fetchall())
    assert "Scanning Files: 1/6" in plan
    bars = {"ts_open": [T0 - 400 * DAY, T0], "ts_close": [T0 - 399 * DAY, T0 + DAY]}
    bars |= {name: [1.0, 2.0] for name in ("open", "high", "low", "close")}
    with lake.writer("test") as w:
        w.append("bars", "OKX", "BTC-USDT", bars | {"interval": ["1d", "1d"]})
        w.commit({})
    assert "Scanning Files: 1/2" in str(lake.sql("explain analyze select * from bars where year = 2024").fetchall())
    assert lake.sql("select close from bars where date = '2024-08-08'").fetchall() == [(2.0,)]


def test_folders_above_the_lake_are_not_read_as_partitions(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "venue=NONE" / "symbol=X" / "date=2001-01-01" / "it's a lake")
    with lake.writer("test") as w:
        w.append("trades", "OKX", "BTC-USDT", trades([T0]))
        w.commit({})
    assert lake.sql("select venue, symbol, cast(date as text) from trades").fetchall() == [
        ("OKX", "BTC-USDT", "2024-08-08")
    ]
    assert lake.sql("select count(*) from trades where venue = 'OKX' and date >= '2024-08-08'").fetchone() == (1,)


def test_ts_is_exact_to_the_nanosecond_in_sql_and_pandas(lake: Lake) -> None:
    at = to_ns("2024-08-08T12:00:00.123456789Z")
    with lake.writer("test") as w:
        w.append("trades", "OKX", "BTC-USDT", trades([at]))
        w.commit({})
    answer = lake.sql("select ts, ts_recv from trades")
    assert answer.arrow()["ts"].type == pa.timestamp("ns")
    assert answer.df()["ts"][0].value == at == answer.df()["ts_recv"][0]


def test_order_is_seq_also_across_sources_and_late_imports(lake: Lake) -> None:
    with lake.writer("live") as w:
        w.append("trades", "OKX", "BTC-USDT", trades([T0 + 10 * SEC, T0 + 11 * SEC]))
        w.commit({})
    with lake.writer("history") as w:  # older rows, imported later, out of order
        w.append("trades", "OKX", "BTC-USDT", trades([T0 + 5 * SEC, T0 + 6 * SEC], px=[5.0, 6.0]))
        w.append("trades", "OKX", "BTC-USDT", trades([T0 + 1 * SEC, T0 + 2 * SEC], px=[1.0, 2.0]))
        w.commit({})
    rows = lake.trades("OKX", "BTC-USDT")
    assert rows["px"].to_pylist() == [1.0, 2.0, 5.0, 6.0, 100.0, 101.0]
    assert np.all(np.diff(rows["seq"].to_numpy()) > 0)


def test_rows_of_one_millisecond_keep_their_order_across_commits_and_restarts(lake: Lake) -> None:
    for k in range(4):
        with lake.writer("test") as w:
            w.append("trades", "OKX", "BTC-USDT", trades([T0] * 3, px=[k * 3.0, k * 3 + 1.0, k * 3 + 2.0]))
            w.commit({})
    rows = lake.trades("OKX", "BTC-USDT")
    assert rows["px"].to_pylist() == list(map(float, range(12)))
    assert rows["seq"].to_pylist() == list(range(T0, T0 + 12))


def test_a_given_seq_is_kept(lake: Lake) -> None:
    with lake.writer("test") as w:
        w.append("trades", "OKX", "BTC-USDT", trades([T0 + 2, T0 + 1], seq=np.array([8, 7], "u8")))
        w.commit({})
    assert lake.trades("OKX", "BTC-USDT")["ts_exch"].to_pylist() == [T0 + 1, T0 + 2]


def test_a_venue_without_a_clock_gets_the_receipt_time(lake: Lake) -> None:
    with lake.writer("test") as w:
        w.append("quotes", "OKX", "BTC-USDT", {"ts_exch": [0], "ts_recv": [T0 + 5], "bid": [1.0], "ask": [2.0]})
        w.commit({})
    row = lake.quotes("OKX", "BTC-USDT").to_pylist()[0]
    assert row["ts_exch"] == T0 + 5
    with lake.writer("test") as w:  # and an importer without a receipt time gets the venue's
        w.append("trades", "OKX", "BTC-USDT", trades([T0 + 7], ts_recv=[0]))
        w.commit({})
    assert lake.trades("OKX", "BTC-USDT")["ts_recv"].to_pylist() == [T0 + 7]
    assert np.isnan(row["bid_qty"])


def test_the_writer_copies_what_it_is_given(lake: Lake) -> None:
    columns = trades([T0, T0 + 1])
    with lake.writer("test") as w:
        w.append("trades", "OKX", "BTC-USDT", columns)
        for column in columns.values():
            column[:] = 7
        w.commit({})
    assert lake.trades("OKX", "BTC-USDT")["px"].to_pylist() == [100.0, 101.0]


def test_position_survives_and_uncommitted_rows_do_not(lake: Lake) -> None:
    with lake.writer("feed") as w:
        assert w.position == {}
        w.append("trades", "OKX", "BTC-USDT", trades([T0]))
        w.commit({"offset": 17, "venues": ["OKX"]})
    w = lake.writer("feed")
    w.append("trades", "OKX", "BTC-USDT", trades([T0 + 1]))
    assert w.pending == 1
    w.close()
    with lake.writer("feed") as w:
        assert w.position == {"offset": 17, "venues": ["OKX"]}
        assert w.commit({"offset": 18}) == 0
    assert lake.tables() == {"trades": 1}
    with pytest.raises(InputError, match="1 rows were appended but never committed"), lake.writer("feed") as w:
        w.append("trades", "OKX", "BTC-USDT", trades([T0]))


def test_big_commits_and_full_partitions_become_files_at_once(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "SPILL_ROWS", 100)
    with lake.writer("test") as w:
        w.append("trades", "OKX", "BIG", trades(T0 + np.arange(100)))
        for k in range(3):
            w.append("trades", "OKX", "SMALL", trades(T0 + k * SEC + np.arange(40)))
            w.commit({})
        summary = lake.summary().set_index("symbol")
        assert summary.loc["BIG", ["files", "staged"]].tolist() == [1, 0]
        assert summary.loc["SMALL", ["files", "staged"]].tolist() == [1, 0]
    assert lake.tables() == {"trades": 220}


def test_an_import_of_many_days_does_not_pile_up_in_the_manifest(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "STAGED_ROWS_MAX", 1_000)
    with lake.writer("test") as w:
        for day in range(30):
            w.append("trades", "OKX", "BTC-USDT", trades(T0 + day * DAY + np.arange(100)))
            w.commit({"day": day})
            assert lake.summary()["staged"].sum() <= 1_000
    assert lake.tables() == {"trades": 3_000}


def test_levels_events_and_the_other_tables_round_trip(lake: Lake) -> None:
    now = {"ts_exch": [T0], "ts_recv": [T0], "seq": [1]}
    rows: dict[str, dict[str, Any]] = {
        "levels": {"px": [1.0], "qty": [2.0], "side": [1], "flags": [3], "kind": [3]},
        "quotes": {"bid": [1.0], "bid_qty": [2.0], "ask": [3.0], "ask_qty": [4.0]},
        "funding": {"rate": [1e-4], "next_ts": [T0 + HOUR], "mark": [5.0]},
        "open_interest": {"qty": [6.0]},
        "liquidations": {"px": [1.0], "qty": [2.0], "side": [-1], "id": ["x"], "status": ["filled"]},
        "events": {"kind": [12], "aux": [4], "channel": ["trades"], "detail": ["missing"]},
    }
    with lake.writer("test") as w:
        for name, columns in rows.items():
            w.append(name, "OKX", "BTC-USDT-PERP", now | columns)
        w.commit({})
    for name, columns in rows.items():
        got = getattr(lake, name)("OKX", "BTC-USDT-PERP").to_pydict()
        assert got == now | columns
        assert lake.sql(f"select venue, symbol, strftime(date, '%Y-%m-%d') from {name}").fetchall() == [
            ("OKX", "BTC-USDT-PERP", "2024-08-08")
        ]


@pytest.mark.parametrize(
    ("table", "columns", "message"),
    [
        ("trade", {}, "unknown table 'trade': did you mean 'trades'"),
        ("trades", {"ts_exch": [T0], "ts_recv": [T0], "px": [1.0]}, "trades: column qty is missing"),
        ("trades", trades([T0], price=[1.0]), "unknown column of trades 'price'"),
        ("trades", trades([T0], px=[1.0, 2.0]), "trades: columns differ in length"),
        ("trades", trades([T0], px=["1.5"]), "trades.px holds numbers, got str"),
        ("trades", trades([T0], ts_exch=[1.5e18]), "trades.ts_exch holds whole numbers"),
        ("trades", trades([T0], side=[300]), "trades.side: 300 to 300 does not fit int8"),
        ("trades", trades([T0], id=[17]), "trades.id is text"),
        ("trades", trades([T0], px=[[1.0]]), "trades.px: one value per row"),
        ("trades", trades([1_723_161_256_322]), "trades.ts_exch 1723161256322 is too small for nanoseconds"),
        ("trades", trades([0]), "too small for nanoseconds"),
    ],
)
def test_bad_columns_are_refused_and_nothing_of_them_is_kept(
    lake: Lake, table: str, columns: dict[str, Any], message: str
) -> None:
    with lake.writer("test") as w:
        with pytest.raises(InputError, match=message.replace("(", r"\(")):
            w.append(table, "OKX", "BTC-USDT", columns)
        assert w.pending == 0
        assert w.commit({}) == 0


ONE_BAR = {name: [1.0] for name in ("open", "high", "low", "close")} | {"interval": ["1d"]}
FUNDING = {"ts_exch": [T0], "ts_recv": [T0], "rate": [0.0]}


@pytest.mark.parametrize(
    ("table", "columns", "message"),
    [
        ("trades", {"ts_exch": pd.to_datetime([None, T0]).as_unit("ns")}, r"ts_exch of row 0 is missing \(NaT"),
        ("trades", {"ts_recv": np.array([T0, _NAT]).astype("M8[ns]")}, r"ts_recv of row 1 is missing \(NaT"),
        ("trades", {"ts_exch": [T0, _NAT]}, r"ts_exch of row 1 is missing .*: leave such rows out; 1 such row"),
        ("trades", {"ts_exch": [T0, -5]}, "ts_exch of row 1 -5 is before 1970"),
        (
            "bars",
            ONE_BAR | {"ts_open": [-DAY], "ts_close": [0]},
            "ts_open of row 0 -86400000000000 is before 1970",
        ),
        ("funding", FUNDING | {"next_ts": [_NAT]}, r"next_ts of row 0 is missing \(NaT\): write 0 where there is none"),
    ],
)
def test_a_row_without_a_time_makes_no_partition_of_long_ago(
    lake: Lake, table: str, columns: dict[str, Any], message: str
) -> None:
    given = trades([T0, T0]) | columns if table == "trades" else columns
    with lake.writer("test") as w:
        with pytest.raises(DataError, match=message):
            w.append(table, "OKX", "BTC-USDT", given)
        assert w.commit({}) == 0


def test_names_that_cannot_be_folders_and_positions_that_are_not_json_are_refused(lake: Lake) -> None:
    with lake.writer("test") as w:
        for venue, symbol in (("OKX", "BTC/USDT"), ("", "BTC-USDT"), ("OKX", "../up")):
            with pytest.raises(InputError, match="can name a partition"):
                w.append("trades", venue, symbol, trades([T0]))
        w.append("trades", "OKX", "BTC-USDT", trades([T0]))
        for position in ({"at": float("nan")}, {"at": object()}):
            with pytest.raises(InputError, match="the position must be JSON"):
                w.commit(position)
        assert w.commit({"at": 1}) == 1
    with pytest.raises(InputError, match="this writer is closed"):
        w.append("trades", "OKX", "BTC-USDT", trades([T0]))
    with pytest.raises(InputError, match="source 'a/b'"):
        lake.writer("a/b")


def test_unknown_names_list_the_close_ones(filled: Lake) -> None:
    with pytest.raises(UnknownName, match="unknown venue with trades 'BINANC': did you mean 'BINANCE'"):
        filled.trades("BINANC", "BTC-USDT")
    with pytest.raises(UnknownName, match="unknown symbol with trades at BINANCE 'BTCUSDT': did you mean 'BTC-USDT'"):
        filled.trades("BINANCE", "BTCUSDT")
    with pytest.raises(UnknownName, match="unknown venue with quotes 'OKX'"):
        filled.quotes("OKX", "BTC-USDT")
    assert filled.trades("OKX", "BTC-USDT", "2030-01-01").num_rows == 0


def test_sql_takes_parameters_and_frames_and_explains_mistakes(filled: Lake) -> None:
    frame = pd.DataFrame({"symbol": ["BTC-USDT"], "weight": [2.0]})
    query = "select sum(px * weight) from trades join picks using (symbol) where venue = $venue"
    assert filled.sql(query, venue="OKX", picks=frame).fetchone() == (2 * sum(100.0 + h for h in range(72)),)
    for query, message in (
        ("select * form trades", "SQL: Parser Error"),
        ("select price from trades", 'SQL: Binder Error.*"price"'),
        ("select * from trade", "SQL: Catalog Error"),
        ("select * from parts", "SQL: Catalog Error"),  # a variable of ours is no table
        ("select px from trades where venue = $venue", "SQL: "),
        ("-- a comment", "SQL: this asks for nothing: write a SELECT"),
    ):
        with pytest.raises(InputError, match=message):
            filled.sql(query)


def test_sql_answers_are_independent_and_threads_do_not_meet(filled: Lake) -> None:
    first = filled.sql("select px from trades")
    second = filled.sql("select px from trades limit 1")
    assert first.fetchone() is not None
    assert (len(first), len(second), len(first.df()), len(first.df())) == (216, 1, 216, 216)
    counts: list[int] = []

    def ask() -> None:
        counts.extend(filled.sql("select count(*) from trades").fetchall()[0][0] for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert counts == [216] * 20


def test_an_asof_join_over_one_day_is_planned_as_one(lake: Lake) -> None:
    ts = T0 + np.arange(1_000) * SEC
    with lake.writer("test") as w:
        w.append("trades", "OKX", "BTC-USDT", trades(ts))
        w.append(
            "quotes",
            "OKX",
            "BTC-USDT",
            {"ts_exch": ts - 1, "ts_recv": ts - 1, "bid": np.arange(1e3), "ask": np.arange(1e3)},
        )
        w.commit({})
    query = (
        "select sum(q.bid) from (select * from trades where date = '2024-08-08') t asof join "
        "(select * from quotes where date in ('2024-08-07', '2024-08-08')) q "
        "on t.symbol = q.symbol and t.ts_recv >= q.ts_recv"
    )
    assert lake.sql(query).fetchone() == (499_500.0,)
    assert "NESTED_LOOP" not in str(lake.sql("explain " + query).fetchall()).upper().replace(" ", "_")


def test_an_empty_lake_answers(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "none")
    assert lake.tables() == {}
    assert lake.symbols() == []
    assert len(lake.summary()) == 0
    assert lake.sql("select count(*) from trades").fetchone() == (0,)
    assert lake.sql("select * from bars").columns[:3] == ["venue", "symbol", "year"]
    with pytest.raises(UnknownName, match="unknown venue with trades 'OKX'"):
        lake.trades("OKX", "BTC-USDT")
    assert not (tmp_path / "none").exists()


def test_the_root_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTAI_LAKE", str(tmp_path / "from-env"))
    assert Lake().root == tmp_path / "from-env"
    monkeypatch.delenv("QUANTAI_LAKE")
    monkeypatch.chdir(tmp_path)
    assert Lake().root == tmp_path / "datasets" / "lake"


def test_a_large_answer_can_be_streamed(filled: Lake) -> None:
    con = filled.connect()
    try:
        batches = con.sql("select px from trades").to_arrow_reader(10)
        assert sum(b.num_rows for b in batches) == 216
    finally:
        con.close()


ZURICH = dt.timezone(dt.timedelta(hours=2))


@pytest.mark.parametrize(
    "value",
    [
        "2024-08-08T10:00:00.000000001Z",
        "2024-08-08 12:00:00.000000001+02:00",
        pd.Timestamp("2024-08-08 12:00:00.000000001", tz="Europe/Zurich"),
        T0 + 10 * HOUR + 1,
        np.int64(T0 + 10 * HOUR + 1),
    ],
)
def test_instants_are_read_exactly(value: Any) -> None:
    assert to_ns(value) == T0 + 10 * HOUR + 1
    assert to_iso(to_ns(value)) == "2024-08-08T10:00:00.000000001Z"


def test_dates_and_datetimes_are_instants() -> None:
    assert to_ns(dt.date(2024, 8, 8)) == to_ns("2024-08-08") == T0
    assert to_ns(dt.datetime(2024, 8, 8, 2, tzinfo=ZURICH)) == T0
    assert to_ns("1969-12-31") == -DAY
    assert to_ns(0) == 0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (dt.datetime(2024, 8, 8), "start 2024-08-08 00:00:00 has no time zone"),  # noqa: DTZ001 -- the mistake under test
        ("2024-08-08T10:00", "start 2024-08-08T10:00 has no time zone: add Z"),
        (pd.Timestamp("2024-08-08"), "has no time zone"),
        (1_723_161_256, "too small for nanoseconds"),
        (1_723_161_256_322, "multiply seconds by 10\\*\\*9, milliseconds"),
        ("yesterday", "start 'yesterday' is not an instant"),
        ("2024-13-01", "is not an instant"),
        (True, "is not an instant"),
        (1.5, "is not an instant"),
    ],
)
def test_instants_that_cannot_be_read_say_what_to_write(filled: Lake, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        filled.trades("OKX", "BTC-USDT", value)

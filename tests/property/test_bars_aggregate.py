"""Bars from trades: any cutting gives the same bytes, and DuckDB, counting in exact decimals, gives the same bars."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantai.core.errors import DataError, InputError
from quantai.core.instruments import Instrument, Instruments, Payoff
from quantai.core.rows import DAY, EVENT, HOUR, MIN, SEC, Kind, zeros
from quantai.data import to_ns
from quantai.data.aggregate import BarBuilder, bars
from quantai.data.intervals import parse_interval

T0 = to_ns("2024-08-08")
BTC = Instrument.parse("BTC-USDT")
INTERVALS = [
    "1s",
    "7s",
    "1m",
    "1h",
    "1 ticks",
    "3 ticks",
    "50 ticks",
    "1 volume",
    "2.5 volume",
    "100 dollar",
    "1e4 dollar",
]

trade = st.tuples(
    st.integers(-2 * SEC, 90 * SEC),  # time since the trade before: sometimes it goes back
    st.decimals("0.1", "200", places=1),
    st.decimals("0", "3", places=3),
)
market = st.lists(trade, max_size=60)


def arrays(rows: list[Any]) -> tuple[Any, Any, Any]:
    steps = np.array([r[0] for r in rows], "i8")
    return T0 + np.cumsum(steps), np.array([float(r[1]) for r in rows]), np.array([float(r[2]) for r in rows])


@given(market, st.sampled_from(INTERVALS), st.data())
def test_chunks_of_any_size_give_the_same_bytes(rows: list[Any], by: str, data: st.DataObject) -> None:
    ts, px, qty = arrays(rows)
    fill = parse_interval(by).ns > 0 and data.draw(st.booleans())
    whole = BarBuilder(by, fill=fill)
    want = whole.extend(ts, px, qty).tobytes() + whole.flush(partial=True).tobytes()
    one_by_one, chunked = BarBuilder(by, fill=fill), BarBuilder(by, fill=fill)
    got = b"".join(one_by_one.add(int(t), p, q).tobytes() for t, p, q in zip(ts, px, qty, strict=True))
    assert got + one_by_one.flush(partial=True).tobytes() == want
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=5)))
    got = b"".join(
        chunked.extend(ts[a:b], px[a:b], qty[a:b]).tobytes()
        for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)
    )
    assert got + chunked.flush(partial=True).tobytes() == want
    assert whole.late == one_by_one.late == chunked.late


@given(market, st.sampled_from(INTERVALS))
def test_no_trade_is_lost_and_bars_never_overlap(rows: list[Any], by: str) -> None:
    ts, px, qty = arrays(rows)
    got = bars({"ts_exch": ts, "px": px, "qty": qty}, by, BTC, partial=True).rows  # Bars refuses what is not sorted
    assert int(got["trades"].sum()) == len(rows)
    assert got["volume"].sum() == pytest.approx(qty.sum(), rel=1e-12)
    assert np.all(got["ts_open"][1:] >= got["ts_close"][:-1])
    if len(rows):
        assert (got["open"][0], got["close"][-1]) == (px[0], px[-1])
        assert (got["high"].max(), got["low"].min()) == (px.max(), px.min())


@given(st.lists(st.tuples(st.integers(0, 5 * MIN), st.just(1.0), st.just(1.0)), min_size=1, max_size=30))
def test_filled_bars_cover_the_time_and_leave_the_others_alone(rows: list[Any]) -> None:
    ts, px, qty = arrays(rows)
    table = {"ts_exch": ts, "px": px, "qty": qty}
    plain, filled = (bars(table, "1m", BTC, fill=fill).rows for fill in (False, True))
    assert np.all(filled["ts_open"][1:] == filled["ts_close"][:-1])
    assert filled[filled["trades"] > 0].tobytes() == plain.tobytes()
    assert np.all(filled["volume"][filled["trades"] == 0] == 0)


def test_time_passing_closes_bars_and_later_trades_do_not_reopen_them() -> None:
    builder = BarBuilder("1m", fill=True)
    assert len(builder.advance(T0)) == 0
    assert len(builder.add(T0 + 5 * SEC, 10.0, 1.0)) == 0
    assert len(builder.advance(T0 + MIN - 1)) == 0
    closed = builder.advance(T0 + 3 * MIN + 1)
    assert closed["ts_close"].tolist() == [T0 + MIN, T0 + 2 * MIN, T0 + 3 * MIN]
    assert closed["trades"].tolist() == [1, 0, 0]
    assert len(builder.add(T0 + 30 * SEC, 11.0, 1.0)) == 0
    assert builder.late == 1
    last = builder.flush()
    assert last["ts_open"].tolist() == [T0 + 3 * MIN]
    assert last["close"].tolist() == [11.0]
    hour = BarBuilder("1s", fill=True)
    hour.add(T0, 1.0, 1.0)
    assert len(hour.advance(T0 + HOUR)) == 3600
    assert len(BarBuilder("10 ticks").advance(T0)) == 0


def test_bars_that_end_within_one_time_stamp_stay_in_order() -> None:
    table = {"ts_exch": np.full(6, T0), "px": np.arange(6.0), "qty": np.ones(6)}
    rows = bars(table, "2 ticks", BTC).rows
    assert rows["ts_open"].tolist() == [T0, T0 + 1, T0 + 2]
    assert rows["ts_close"].tolist() == [T0 + 1, T0 + 2, T0 + 3]
    assert rows["open"].tolist() == [0.0, 2.0, 4.0]


def test_decimal_sizes_are_met_exactly() -> None:
    table = {"ts_exch": T0 + np.arange(40), "px": np.full(40, 10.0), "qty": np.full(40, 0.3)}
    assert bars(table, "3 volume", BTC).rows["trades"].tolist() == [10] * 4
    assert bars(table, "6 dollar", BTC).rows["trades"].tolist() == [2] * 20
    assert bars(table, "3 volume", BTC).rows["volume"].tolist() == [3.0] * 4


def test_weeks_begin_on_monday_and_days_at_midnight_utc() -> None:
    table = {"ts_exch": [T0 + 5 * HOUR], "px": [1.0], "qty": [1.0]}  # a Thursday
    assert bars(table, "1w", BTC).rows["ts_open"].tolist() == [T0 - 3 * DAY]
    assert bars(table, "1d", BTC).rows["ts_open"].tolist() == [T0]
    assert bars({"ts_exch": [-1], "px": [1.0], "qty": [1.0]}, "1d", BTC).rows["ts_open"].tolist() == [-DAY]


def test_dollars_of_a_contract_are_its_value_in_quote_currency() -> None:
    table = {"ts_exch": T0 + np.arange(4), "px": np.full(4, 50_000.0), "qty": np.full(4, 2.0)}
    inverse = Instrument.parse("BTC-USD-PERP", payoff=Payoff.INVERSE, multiplier=100)
    assert bars(table, "400 dollar", inverse).rows["trades"].tolist() == [2, 2]
    linear = Instrument.parse("BTC-USDT-PERP", multiplier="0.001")
    assert bars(table, "200 dollar", linear).rows["trades"].tolist() == [2, 2]


def test_event_rows_of_several_instruments_are_kept_apart() -> None:
    rows = zeros(6, EVENT)
    rows["kind"] = [Kind.TRADE, Kind.LEVEL, Kind.TRADE, Kind.TRADE, Kind.QUOTE, Kind.TRADE]
    rows["instrument"] = [1, 0, 0, 1, 0, 1]
    rows["ts_exch"] = T0 + np.arange(6) * SEC
    rows["px"], rows["qty"] = np.arange(1.0, 7.0), 1.0
    table = Instruments([BTC, Instrument.parse("ETH-USDT")])
    got = bars(rows, "1m", table)
    assert got.rows[["instrument", "open", "close", "trades"]].tolist() == [(0, 3.0, 3.0, 1), (1, 1.0, 6.0, 3)]
    assert len(bars(rows[:0], "1m", table)) == 0
    with pytest.raises(DataError, match="trades name instrument 1 but only 1 are listed"):
        bars(rows, "1m", BTC)
    with pytest.raises(InputError, match="pass instrument="):
        bars(rows, "1m")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1m", "1m"),
        ("60s", "1m"),
        ("24h", "1d"),
        ("250ms", "250ms"),
        (" 100  ticks ", "100 ticks"),
        ("1 trade", "1 ticks"),
        ("1_000 ticks", "1000 ticks"),
        ("2.50 units", "2.5 volume"),
        ("1e6 Dollars", "1000000 dollar"),
        ("1,000,000 quote", "1000000 dollar"),
    ],
)
def test_an_interval_has_one_spelling(text: str, canonical: str) -> None:
    assert parse_interval(text).text == canonical
    assert parse_interval(canonical) == parse_interval(text)


@pytest.mark.parametrize(
    "text", ["", "m", "0m", "0 ticks", "1.5 ticks", "-1 volume", "1 month", "5", "ticks", "1e9", "0d"]
)
def test_an_interval_that_cannot_be_read_says_what_to_write(text: str) -> None:
    with pytest.raises(InputError, match=r"write 1s, 5m|is needed"):
        parse_interval(text)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"ts_exch": [T0], "px": [np.nan], "qty": [1.0]}, "trade 0 of 1: px nan"),
        ({"ts_exch": [T0], "px": [1.0], "qty": [-1.0]}, "qty -1.0"),
        ({"ts_exch": [1.5], "px": [1.0], "qty": [1.0]}, "trade times are int64 nanoseconds"),
        ({"ts": [T0], "px": [1.0], "qty": [1.0]}, "ts_exch missing"),
    ],
)
def test_trades_that_make_no_sense_are_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        bars(columns, "1m", BTC)


def test_bad_arguments_of_builders() -> None:
    with pytest.raises(InputError, match="100 ticks is not a time interval"):
        BarBuilder("100 ticks", fill=True)
    with pytest.raises(DataError, match="qty nan"):
        BarBuilder("1m").add(T0, 1.0, np.nan)
    with pytest.raises(DataError, match="one time, price and quantity each, got 1, 2 and 1"):
        BarBuilder("1m").extend([T0], [1.0, 2.0], [1.0])
    with pytest.raises(InputError, match="do not say whose"):
        bars({"ts_exch": [T0], "px": [1.0], "qty": [1.0]})


@pytest.fixture(scope="module")
def capture(shared_data: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The trades of a real futures session in DuckDB, prices and sizes as exact decimals, numbered from 0 by `i`."""
    file = shared_data / "market" / "raw" / "binance_usdm_btcusdt_20240808.gz"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    rows: list[dict[str, Any]] = []
    with gzip.open(file, "rt") as lines:
        for line in lines:
            _, _, text = line.partition(" ")
            if '"e":"trade"' in text:
                said = json.loads(text)["data"]
                rows.append({"ts": said["T"] * 10**6, "px": said["p"], "qty": said["q"]})
    con = duckdb.connect()
    con.register("raw", pa.Table.from_pylist(rows))
    con.execute(
        "create table t as select row_number() over () - 1 as i, ts, px::decimal(18,2) px, qty::decimal(18,3) qty,"
        " (px::decimal(18,2) * qty::decimal(18,3)) as value from raw"
    ).fetchall()
    yield con
    con.close()


BAR_SQL = (
    "arg_min(px, i)::double, max(px)::double, min(px)::double, arg_max(px, i)::double, sum(qty)::double, count(*), "
    "min(ts), max(ts)"
)


def sql_bars(con: duckdb.DuckDBPyConnection, by: str) -> list[tuple[Any, ...]]:
    """The bars by SQL alone: open, high, low, close, volume, trades, first and last instant; full ones only."""
    interval = parse_interval(by)
    if interval.ns:
        group = f"ts // {interval.ns}"
        return con.execute(f"select {BAR_SQL} from t group by {group} order by {group}").fetchall()
    if by.endswith("ticks"):
        n = int(interval.size)
        query = f"select {BAR_SQL} from t group by i // {n} having count(*) = {n} order by i // {n}"
        return con.execute(query).fetchall()
    column = "qty" if by.endswith("volume") else "value"
    con.execute(
        f"create or replace table s as select *, sum({column}) over (order by i) as total from t order by i"
    ).fetchall()
    # one step of the recursion is one bar: it ends with the first trade that brings the total of the bar to its size
    size = interval.text.split()[0]
    ends = con.execute(
        "with recursive b(last, total) as (select -1::bigint, 0::decimal(38,5) union all "
        f"select s.i, s.total from b, lateral (select i, total from s where total >= b.total + {size} "
        "order by i limit 1) s) select last from b where last >= 0 order by last"
    ).fetchall()
    con.register("ends", pa.table({"last": [e[0] for e in ends]}))
    query = (
        f"select {BAR_SQL} from t join (select last, lag(last, 1, -1) over (order by last) as prev from ends) "
        "on i > prev and i <= last group by last order by last"
    )
    return con.execute(query).fetchall()


@pytest.mark.parametrize("by", ["1s", "1m", "1h", "1 ticks", "100 ticks", "0.5 volume", "25 volume", "1e6 dollar"])
def test_bars_of_a_real_session_equal_duckdb(capture: duckdb.DuckDBPyConnection, by: str) -> None:
    want = sql_bars(capture, by)
    trades = capture.sql("select ts as ts_exch, px::double px, qty::double qty from t order by i").to_arrow_table()
    assert trades.num_rows == 21_313
    got = bars(trades, by, Instrument.parse("BTC-USDT-PERP", venue="BINANCE_FUTURES")).rows
    assert len(got) == len(want) > 0
    columns = list(zip(*want, strict=True))
    for name, values in zip(("open", "high", "low", "close"), columns[:4], strict=True):
        assert np.array_equal(got[name], values), name
    assert np.array_equal(got["trades"], columns[5])
    assert got["volume"] == pytest.approx(np.array(columns[4]), rel=1e-14)
    first, last = np.array(columns[6]), np.array(columns[7])
    if parse_interval(by).ns:
        assert np.all((got["ts_open"] <= first) & (last < got["ts_close"]))
        assert np.all(got["ts_close"] - got["ts_open"] == parse_interval(by).ns)
    else:
        # several bars may end within one millisecond of the venue, and then are a few nanoseconds later
        assert np.all((got["ts_open"] - first >= 0) & (got["ts_open"] - first < 10**6))
        assert np.all((got["ts_close"] - last >= 1) & (got["ts_close"] - last < 10**6))

"""What a lake makes of its rows: bars, instruments and order books."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantai.core.errors import DataError, InputError, UnknownName
from quantai.core.instruments import Contract, Instrument, Instruments, Payoff
from quantai.core.rows import BAR, DAY, HOUR, LAST, MIN, SEC, Kind, zeros
from quantai.data import Bars, Lake, aggregate, to_ns
from quantai.data.book import crossed_at, rebuild
from quantai.data.manifest import Manifest

T0 = to_ns("2024-08-08")
BTC = Instrument.parse("BTC-USDT", venue="OKX", tick="0.1", lot="0.001")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def put(lake: Lake, table: str, symbol: str = "BTC-USDT", **columns: Any) -> None:
    with lake.writer("test") as w:
        w.append(table, "OKX", symbol, columns)
        w.commit({})


def put_trades(lake: Lake, symbol: str = "BTC-USDT", days: int = 2) -> None:
    """A trade every 10 seconds over some days."""
    ts = T0 + np.arange(0, days * DAY, 10 * SEC)
    px = np.round(100 + np.sin(np.arange(len(ts)) / 50), 2)
    put(lake, "trades", symbol, ts_exch=ts, ts_recv=ts + 5, px=px, qty=np.full(len(ts), 0.3))


def some_bars(n: int = 5, length: int = DAY, start: int = T0, close: float = 2.0, symbol: Instrument = BTC) -> Bars:
    rows = zeros(n, BAR)
    rows["ts_open"] = start + np.arange(n) * length
    rows["ts_close"] = rows["ts_open"] + length
    rows["open"], rows["high"], rows["low"], rows["close"] = 1.5, 3.0, 1.0, close
    rows["volume"], rows["trades"] = 10.0, 4
    return Bars(rows, Instruments([symbol]), {DAY: "1d", HOUR: "1h", MIN: "1m"}[length])


@pytest.mark.parametrize("by", ["1m", "1h", "100 ticks", "50 volume", "1e4 dollar"])
def test_bars_of_the_lake_are_bars_of_its_trades(lake: Lake, by: str) -> None:
    put_trades(lake)
    lake.instruments.add(BTC)
    got = lake.bars("OKX", "BTC-USDT", by)
    want = aggregate.bars(lake.trades("OKX", "BTC-USDT"), by, BTC)
    assert len(got) > 10
    assert (got.rows.tobytes(), got.interval) == (want.rows.tobytes(), want.interval)
    assert got.fingerprint == want.fingerprint


@pytest.mark.parametrize("by", ["1m", "100 ticks"])
def test_trades_that_two_sources_brought_count_once(lake: Lake, by: str) -> None:
    ts = T0 + np.arange(6_000) * SEC
    ids = [str(n) for n in range(len(ts))]
    trades = {"ts_exch": ts, "px": 100 + np.sin(np.arange(len(ts))), "qty": np.ones(len(ts)), "id": ids}
    with lake.writer("pull") as w:
        w.append("trades", "OKX", "BTC-USDT", trades | {"ts_recv": ts})
        w.commit({})
    want = lake.bars("OKX", "BTC-USDT", by)
    with lake.writer("live") as w:  # it received each a little later, and at its start an older thousand at once
        late = np.maximum(ts, ts[1_000]) + np.arange(len(ts)) // 5
        w.append("trades", "OKX", "BTC-USDT", trades | {"ts_recv": late})
        w.commit({})
    assert lake.tables()["trades"] == 12_000
    got = lake.bars("OKX", "BTC-USDT", by)
    assert got.rows.tobytes() == want.rows.tobytes()


def test_trades_without_ids_or_with_one_used_again_all_count(lake: Lake) -> None:
    ts = T0 + np.arange(4) * SEC
    put(lake, "trades", ts_exch=ts, ts_recv=ts, px=[1.0] * 4, qty=[1.0] * 4, id=[None, None, "7", "7"])
    put(lake, "trades", ts_exch=ts[:1], ts_recv=ts[:1], px=[2.0], qty=[1.0], id=["7"])
    assert lake.bars("OKX", "BTC-USDT", "1m").rows["trades"].tolist() == [5]


def test_time_bars_of_a_range_are_whole(lake: Lake) -> None:
    put_trades(lake)
    everything = lake.bars("OKX", "BTC-USDT", "1h").rows
    some = lake.bars("OKX", "BTC-USDT", "1h", T0 + HOUR - 1, T0 + 3 * HOUR + 1).rows
    assert some.tobytes() == everything[1:4].tobytes()
    assert lake.bars("OKX", "BTC-USDT", "1w", "2024-08-05", "2024-08-06").rows["trades"].tolist() == [2 * 8_640]


def test_several_symbols_come_as_one(lake: Lake) -> None:
    put_trades(lake)
    put_trades(lake, "ETH-USDT", days=1)
    both = lake.bars("OKX", ["BTC-USDT", "ETH-USDT"], "1h")
    assert both.symbols == ["BTC-USDT", "ETH-USDT"]
    assert len(both) == 48 + 24


def test_stored_bars_win_and_are_kept_once(lake: Lake) -> None:
    put_trades(lake)
    assert lake.add_bars(some_bars()) == 5
    assert lake.add_bars(some_bars(7)) == 2
    assert lake.tables()["bars"] == 7
    got = lake.bars("OKX", "BTC-USDT", "24h")
    assert got.rows.tobytes() == some_bars(7).rows.tobytes()
    assert got.instruments[0] == BTC
    assert len(lake.bars("OKX", "BTC-USDT", "1d", T0 + DAY, T0 + 3 * DAY)) == 2
    assert lake.bars("OKX", "BTC-USDT", "1h").rows["trades"].max() == 360  # nothing stored: from trades
    assert len(lake.build_bars("OKX", "BTC-USDT", "1d", quiet=True)) == 2


def test_a_bar_stored_again_replaces_the_first(lake: Lake) -> None:
    for close in (2.0, 2.5, 1.25, 2.0):
        lake.add_bars(some_bars(close=close))
        assert lake.bars("OKX", "BTC-USDT", "1d").rows["close"].tolist() == [close] * 5
        lake.compact(quiet=True)
        assert lake.bars("OKX", "BTC-USDT", "1d").rows["close"].tolist() == [close] * 5


def test_longer_bars_are_made_of_stored_ones_when_there_are_no_trades(lake: Lake) -> None:
    minutes = some_bars(300, MIN, T0 + 30 * MIN)
    lake.add_bars(minutes)
    lake.add_bars(some_bars(2, DAY))
    hours = lake.bars("OKX", "BTC-USDT", "1h")
    assert hours.rows["trades"].tolist() == [30 * 4, *[60 * 4] * 4, 30 * 4]
    assert hours.rows["volume"].sum() == pytest.approx(3_000.0)
    assert set(hours.rows["high"]) == {3.0}
    assert hours.rows["ts_open"][0] == T0
    assert len(lake.bars("OKX", "BTC-USDT", "1h", T0 + HOUR, T0 + 2 * HOUR)) == 1
    with pytest.raises(UnknownName, match=r"unknown interval of bars of BTC-USDT at OKX, which has no trades.*'90s'"):
        lake.bars("OKX", "BTC-USDT", "90s")
    with pytest.raises(InputError, match="interval 'hourly': write 1s"):
        lake.bars("OKX", "BTC-USDT", "hourly")
    put_trades(lake, "ETH-USDT", days=1)
    with pytest.raises(UnknownName, match="unknown symbol with trades at OKX"):
        lake.bars("OKX", "SOL-USDT", "1m")


def test_bars_to_store_must_name_their_venue_and_interval(lake: Lake) -> None:
    with pytest.raises(InputError, match="BTC-USDT names no venue"):
        lake.add_bars(some_bars(symbol=Instrument.parse("BTC-USDT")))
    with pytest.raises(InputError, match="interval ''"):
        lake.add_bars(Bars(some_bars().rows, Instruments([BTC]), ""))
    assert lake.tables() == {}


def test_trades_that_are_no_trades_name_themselves(lake: Lake) -> None:
    put(lake, "trades", ts_exch=[T0], ts_recv=[T0], px=[np.nan], qty=[1.0])
    with pytest.raises(DataError, match="px nan"):
        lake.bars("OKX", "BTC-USDT", "1m")


def test_instruments_survive_with_every_field(lake: Lake) -> None:
    items = [
        BTC,
        Instrument.parse("SPY", venue="NYSE"),
        Instrument.parse("BTC-USD-PERP", venue="OKX", payoff=Payoff.INVERSE, multiplier=100, min_notional="5"),
        Instrument.parse("BTC-USD-20270326-90000-C", venue="DERIBIT", settle="BTC"),
    ]
    lake.instruments.update(items)
    again = Lake(lake.root).instruments
    assert list(again) == items
    assert [again.id(i.symbol, i.venue) for i in items] == [0, 1, 2, 3]
    changed = BTC.with_fields(tick="0.01")
    assert lake.instruments.add(changed) == 0
    assert Lake(lake.root).instruments.get("BTC-USDT", "OKX") == changed
    assert len(lake.instruments) == 4
    unknown = lake.instruments.get("ETH-USDT-PERP", "OKX")
    assert (unknown.contract, unknown.venue) == (Contract.PERPETUAL, "OKX")
    with pytest.raises(UnknownName, match="did you mean 'BTC-USDT'"):
        lake.instruments.id("BTCUSDT", "OKX")


def levels(rows: list[tuple[int, float, float, int]], **more: Any) -> dict[str, Any]:
    """Book rows (second, price, size, side); a side of 0 clears the book."""
    seconds, px, qty, side = (list(c) for c in zip(*rows, strict=True))
    ts = T0 + np.array(seconds) * SEC
    kind = [Kind.CLEAR if s == 0 else Kind.LEVEL for s in side]
    return {"ts_exch": ts - 3 * SEC, "ts_recv": ts, "px": px, "qty": qty, "side": side, "kind": kind} | more


def test_a_book_is_rebuilt_as_of_any_instant(lake: Lake) -> None:
    day = 86_400
    rows = [(0, 0.0, 0.0, 0), (0, 99.0, 1.0, 1), (0, 101.0, 2.0, -1), (5, 100.0, 3.0, 1), (9, 99.0, 0.0, 1)]
    rows += [(day, 102.0, 4.0, -1), (day + 1, 0.0, 0.0, 0), (day + 1, 98.0, 5.0, 1), (day + 2, 98.0, 6.0, 1)]
    put(lake, "levels", **levels(rows))

    def at(second: int | None) -> tuple[list[Any], list[Any]]:
        book = lake.book("OKX", "BTC-USDT", None if second is None else T0 + second * SEC)
        return book.bids.tolist(), book.asks.tolist()

    assert at(-1) == ([], [])
    assert at(0) == ([[99.0, 1.0]], [[101.0, 2.0]])
    assert at(5) == ([[100.0, 3.0], [99.0, 1.0]], [[101.0, 2.0]])
    assert at(10) == ([[100.0, 3.0]], [[101.0, 2.0]])
    assert at(day) == ([[100.0, 3.0]], [[101.0, 2.0], [102.0, 4.0]])
    assert at(day + 1) == ([[98.0, 5.0]], [])
    assert at(None) == ([[98.0, 6.0]], [])
    with pytest.raises(UnknownName, match="unknown venue with levels 'KRAKEN'"):
        lake.book("KRAKEN", "BTC-USDT")


def test_a_rebuilt_book_equals_one_kept_level_by_level(lake: Lake) -> None:
    rng = np.random.default_rng(4)
    rows = [
        (
            int(i // 7),
            float(rng.integers(90, 110)),
            float(rng.integers(0, 4)),
            int(rng.choice([-1, 0, 1], p=[0.49, 0.02, 0.49])),
        )
        for i in range(2_000)
    ]
    put(lake, "levels", **levels(rows))
    kept: dict[int, dict[float, float]] = {1: {}, -1: {}}
    for _, px, qty, side in rows:
        if side == 0:
            kept = {1: {}, -1: {}}
        elif qty:
            kept[side][px] = qty
        else:
            kept[side].pop(px, None)
    book = lake.book("OKX", "BTC-USDT")
    assert book.bids.tolist() == [list(x) for x in sorted(kept[1].items(), reverse=True)]
    assert book.asks.tolist() == [list(x) for x in sorted(kept[-1].items())]
    assert book.seq == lake.levels("OKX", "BTC-USDT")["seq"][-1].as_py()


def test_crossed_books_are_found_where_messages_end(lake: Lake) -> None:
    rows = [(0, 99.0, 1.0, 1), (0, 101.0, 1.0, -1), (1, 101.0, 1.0, 1), (1, 101.0, 0.0, -1), (1, 102.0, 1.0, -1)]
    rows += [(2, 102.0, 1.0, 1), (3, 102.0, 0.0, 1)]
    ends = np.array([0, 1, 0, 0, 1, 1, 1]) * LAST
    put(lake, "levels", **levels(rows, flags=ends))
    table = lake.levels("OKX", "BTC-USDT")
    assert crossed_at(table).tolist() == [5]  # row 2 crosses only within its message
    assert crossed_at(table.set_column(6, "flags", [np.zeros(7, "u2")])).tolist() == [5]
    assert crossed_at(table.slice(6)).tolist() == []
    assert crossed_at(table.slice(5, 1), rebuild(table.slice(0, 5))).tolist() == [0]
    assert rebuild(table.slice(0, 6)).crossed
    assert not rebuild(table).crossed


def test_part_bounds_are_those_of_the_rows(lake: Lake) -> None:
    put_trades(lake, days=3)
    for part in Manifest(lake.root).parts():
        rows = lake.trades("OKX", "BTC-USDT", part.ts_min, part.ts_max + 1)
        assert rows.num_rows == part.rows

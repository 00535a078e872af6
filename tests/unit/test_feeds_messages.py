"""cryptofeed's message objects become the right rows, and the rows the right columns."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from quantai.core.rows import LAST, SNAPSHOT, Kind
from quantai.data.tables import checked, table
from quantai.feeds.columns import TABLES, Pile
from quantai.feeds.feed import OFF_GRID, RECEIPT_TIME, Batch
from quantai.feeds.messages import Scribe
from quantai.feeds.symbols import Names

types = pytest.importorskip("cryptofeed.types", reason="needs the extra quantai[record]")

NOW, RECV = 1_700_000_000.25, 1_700_000_000_500_000_000
RECEIPT = RECV / 1e9
SYMBOL = "BTC-USDT"


@pytest.fixture
def scribe() -> Scribe:
    return Scribe("TEST", Names("TEST", [SYMBOL]), {"tick_size": {SYMBOL: "0.5"}})


def dec(value: Any) -> Decimal:
    return Decimal(str(value))


def as_table(*batches: Batch) -> dict[str, Any]:
    channel = batches[0].channel
    pile = Pile(channel, batches)
    found = checked(table(TABLES[channel]), pile.columns())
    assert (pile.messages, pile.rows) == (len(batches), len(found["seq"]))
    return found


def test_a_trade(scribe: Scribe) -> None:
    message = types.Trade("TEST", SYMBOL, "sell", dec("0.25"), dec("100.5"), NOW, id="77")
    batch = scribe.batch("trades", message, RECEIPT, RECV)
    row = batch.events[0]
    assert (row["kind"], row["px"], row["qty"], row["side"]) == (Kind.TRADE, 100.5, 0.25, -1)
    assert (row["px_ticks"], row["flags"]) == (201, LAST)
    assert (row["ts_exch"], row["ts_recv"], row["seq"]) == (1_700_000_000_250_000_000, RECV, RECV)
    assert as_table(batch)["id"].to_pylist() == ["77"]


def test_a_price_off_the_grid_is_kept_and_marked(scribe: Scribe) -> None:
    message = types.Trade("TEST", SYMBOL, "buy", dec(1), dec("100.3"), NOW)
    row = scribe.batch("trades", message, RECEIPT, RECV).events[0]
    assert (row["px"], row["px_ticks"]) == (100.3, OFF_GRID)


@pytest.mark.parametrize("stamp", [None, 0.0, RECEIPT])
def test_a_missing_time_is_the_receipt_and_says_so(scribe: Scribe, stamp: float | None) -> None:
    message = types.OpenInterest("TEST", SYMBOL, dec(12), stamp)
    row = scribe.batch("open_interest", message, RECEIPT, RECV).events[0]
    assert (row["ts_exch"], row["flags"]) == (RECV, LAST | RECEIPT_TIME)


def book(delta: Any = None) -> Any:
    made = types.OrderBook("TEST", SYMBOL, bids={dec(100): dec(1), dec(99): dec(2)}, asks={dec(101): dec(3)})
    made.delta, made.timestamp = delta, NOW
    return made


def test_a_snapshot_clears_and_rebuilds(scribe: Scribe) -> None:
    live = book()
    batch = scribe.batch("l2_book", live, RECEIPT, RECV)
    live.book.bids[dec(98)] = dec(9)  # the object lives on in cryptofeed: what was written must not change
    rows = batch.events
    assert rows["kind"].tolist() == [Kind.CLEAR, Kind.LEVEL, Kind.LEVEL, Kind.LEVEL]
    assert rows["px"].tolist()[1:] == [100.0, 99.0, 101.0]
    assert rows["side"].tolist()[1:] == [1, 1, -1]
    assert rows["px_ticks"].tolist()[1:] == [200, 198, 202]
    assert rows["seq"].tolist() == [RECV, RECV + 1, RECV + 2, RECV + 3]
    assert rows["flags"].tolist() == [SNAPSHOT, SNAPSHOT, SNAPSHOT, SNAPSHOT | LAST]
    assert as_table(batch)["kind"].tolist() == rows["kind"].tolist()


def test_a_delta_deletes_with_a_size_of_zero(scribe: Scribe) -> None:
    batch = scribe.batch("l2_book", book({"bid": [(dec(100), 0)], "ask": [(dec(102), dec(5))]}), RECEIPT, RECV)
    rows = batch.events
    assert list(zip(rows["side"], rows["px"], rows["qty"], strict=True)) == [(1, 100.0, 0.0), (-1, 102.0, 5.0)]
    assert rows["flags"].tolist() == [0, LAST]


def test_an_empty_delta_is_a_message_without_rows(scribe: Scribe) -> None:
    batch = scribe.batch("l2_book", book({"bid": [], "ask": []}), RECEIPT, RECV)
    assert (len(batch.events), Pile("l2_book", [batch]).rows) == (0, 0)


def test_an_empty_snapshot_is_a_clear(scribe: Scribe) -> None:
    empty = types.OrderBook("TEST", SYMBOL)
    rows = scribe.batch("l2_book", empty, RECEIPT, RECV).events
    assert (rows["kind"].tolist(), rows["flags"].tolist()) == ([Kind.CLEAR], [SNAPSHOT | RECEIPT_TIME | LAST])


def test_a_ticker_is_two_quotes_and_one_row_of_the_table(scribe: Scribe) -> None:
    first = scribe.batch("ticker", types.Ticker("TEST", SYMBOL, dec(100), dec(101), NOW), RECEIPT, RECV)
    second = scribe.batch("ticker", types.Ticker("TEST", SYMBOL, dec(0), dec(102), NOW), RECEIPT, RECV)
    assert first.events["side"].tolist() == [1, -1]
    assert first.events["flags"].tolist() == [0, LAST]
    assert np.isnan(first.events["qty"]).all()
    quotes = as_table(first, second)
    assert quotes["ask"].tolist() == [101.0, 102.0]
    assert quotes["bid"][0] == 100.0
    assert np.isnan(quotes["bid"][1])  # a side without orders, which cryptofeed writes as 0
    assert quotes["seq"].tolist() == [RECV, RECV + 2]


@pytest.mark.parametrize(
    ("venue", "raw"),
    [
        ("BINANCE", {"B": "1.5", "A": "2.5"}),
        ("OKX", {"bidSz": "1.5", "askSz": "2.5"}),
        ("DERIBIT", {"params": {"data": {"best_bid_amount": 1.5, "best_ask_amount": 2.5}}}),
    ],
)
def test_sizes_come_from_the_raw_message_where_it_has_them(venue: str, raw: Any) -> None:
    scribe = Scribe(venue, Names(venue, [SYMBOL]), {})
    found = scribe.batch("ticker", types.Ticker(venue, SYMBOL, dec(1), dec(2), NOW, raw=raw), RECEIPT, RECV)
    assert found.events["qty"].tolist() == [1.5, 2.5]
    bare = scribe.batch("ticker", types.Ticker(venue, SYMBOL, dec(1), dec(2), NOW, raw={}), RECEIPT, RECV)
    assert np.isnan(bare.events["qty"]).all()


def test_funding_with_and_without_a_mark_price(scribe: Scribe) -> None:
    full = types.Funding("TEST", SYMBOL, dec("100.5"), dec("0.0001"), NOW + 3600, NOW)
    bare = types.Funding("TEST", SYMBOL, None, None, None, NOW)
    batches = [scribe.batch("funding", m, RECEIPT, RECV) for m in (full, bare, full)]
    assert batches[0].events["kind"].tolist() == [Kind.FUNDING, Kind.MARK]
    assert batches[0].events["px"].tolist() == [0.0001, 100.5]
    assert batches[1].events["flags"].tolist() == [LAST]
    found = as_table(*batches)
    assert found["next_ts"].tolist() == [1_700_003_600_250_000_000, 0, 1_700_003_600_250_000_000]
    assert found["mark"].tolist()[::2] == [100.5, 100.5]
    assert np.isnan(found["mark"][1])
    assert np.isnan(found["rate"][1])


def test_a_liquidation_keeps_id_and_status(scribe: Scribe) -> None:
    message = types.Liquidation("TEST", SYMBOL, "sell", dec(2), dec(100), "x1", "filled", NOW)
    found = as_table(scribe.batch("liquidations", message, RECEIPT, RECV))
    assert (found["id"].to_pylist(), found["status"].to_pylist(), found["side"].tolist()) == (["x1"], ["filled"], [-1])


@pytest.mark.parametrize(
    ("interval", "stop", "seconds", "name"),
    [
        ("1m", 59.999, 60, "1m"),
        ("1m", 60.0, 60, "1m"),
        ("1H", 3599.0, 3600, "1h"),
        ("1M", 2_591_999.999, 2_592_000, "1M"),
    ],
)
def test_a_candle_ends_where_its_name_says(scribe: Scribe, interval: str, stop: float, seconds: int, name: str) -> None:
    start = 1_699_999_980.0
    prices = [dec(1), dec(2), dec(3), dec("0.5")]  # open, close, high, low
    message = types.Candle("TEST", SYMBOL, start, start + stop, interval, 7, *prices, dec(10), True, NOW)
    batch = scribe.batch("candles", message, RECEIPT, RECV)
    bar = batch.bars[0]
    assert int(bar["ts_close"] - bar["ts_open"]) == seconds * 10**9
    assert [bar[n] for n in ("open", "high", "low", "close", "volume", "trades")] == [1.0, 3.0, 0.5, 2.0, 10.0, 7]
    row = as_table(batch)
    assert (row["interval"].to_pylist(), row["ts_recv"].tolist(), row["seq"].tolist()) == ([name], [RECV], [RECV])


def test_seq_follows_the_receipt_and_never_goes_back(scribe: Scribe) -> None:
    trade = types.Trade("TEST", SYMBOL, "buy", dec(1), dec(100), NOW)
    stamps = [RECV, RECV, RECV - 5, RECV + 10]
    seq = [int(scribe.batch("trades", trade, RECEIPT, ns).events["seq"][0]) for ns in stamps]
    assert seq == [RECV, RECV + 1, RECV + 2, RECV + 10]
    later = Scribe("TEST", Names("TEST", [SYMBOL]), {}, seq=RECV + 100)
    assert later.batch("trades", trade, RECEIPT, RECV).events["seq"][0] == RECV + 101


def test_rows_cannot_be_changed_behind_the_consumers_back(scribe: Scribe) -> None:
    candle = types.Candle("TEST", SYMBOL, 0.0, 60.0, "1m", None, *[dec(1)] * 5, True, NOW)
    batch = scribe.batch("candles", candle, RECEIPT, RECV)
    for rows in (batch.events, batch.bars):
        with pytest.raises(ValueError, match="read-only"):
            rows["ts_recv" if rows is batch.events else "ts_open"] = 0

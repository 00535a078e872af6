"""Every capture goes through cryptofeed's real parsers into a lake: counts, rows and books have to be right."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantai.core.errors import DataError, InputError
from quantai.core.rows import LAST, SNAPSHOT, Kind, Rows
from quantai.data import Lake
from quantai.feeds.capture import CaptureFeed
from quantai.feeds.columns import TABLES
from quantai.feeds.feed import CHANNELS, OFF_GRID, RECEIPT_TIME, Batch
from quantai.feeds.raw import RawFile
from quantai.feeds.recorder import record_capture
from quantai.feeds.symbols import our_name

pytest.importorskip("cryptofeed", reason="needs the extra quantai[record]")

EXPECTED = {
    "BINANCE": {"candles": 2, "l2_book": 176, "ticker": 84, "trades": 2},
    "BINANCE_US": {"candles": 5, "l2_book": 336, "ticker": 128, "trades": 11},
    "BINANCE_FUTURES": {"candles": 67, "l2_book": 756, "ticker": 613, "trades": 91},
    "OKX": {"l2_book": 290, "ticker": 28, "trades": 74},
    "DERIBIT": {"l2_book": 46, "ticker": 89, "open_interest": 10},
    "BITFINEX": {"l2_book": 1600, "ticker": 21, "trades": 210},
    "BITFLYER": {"l2_book": 749, "ticker": 249, "trades": 162},
    "UPBIT": {"l2_book": 145, "trades": 304},
    "GATE": {"candles": 14, "l2_book": 169, "ticker": 22, "trades": 9},
    "PHEMEX": {"candles": 10_041, "l2_book": 1_337, "trades": 10_025},
    "BINANCE_FUTURES_2024-08-08": {"l2_book": 6_548, "ticker": 66_089, "trades": 21_313},
}
"""Callbacks per channel, from the README of the shared data, which has them from cryptofeed alone."""

Book = dict[int, dict[float, float]]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def capture(shared_data: Path, name: str) -> Path:
    return shared_data / "wire" / f"{name}.pcap.zst"


async def batches(path: Path, **options: Any) -> list[Batch]:
    feed = CaptureFeed(path, **options)
    await feed.connect()
    return [batch async for batch in feed.batches()]


def rows_of(seen: list[Batch], channel: str) -> Rows:
    return np.concatenate([b.events for b in seen if b.channel == channel])


def okx_frames(path: Path, *connections: list[tuple[str, int, int, str]]) -> Path:
    """Write raw frames of one OKX book: of each connection the (action, number before, number, bid) of its messages."""
    start, ns = 1_700_000_000_000, 1_700_000_000_000 * 10**6
    file = RawFile(path)
    file.begin("OKX", {"l2_book": ["BTC-USDT"]}, {})
    listed = {"instType": "SPOT", "instId": "BTC-USDT", "baseCcy": "BTC", "quoteCcy": "USDT", "tickSz": "0.1"}
    address = "https://www.okx.com/api/v5/public/instruments?instType="
    for kind in ("SPOT", "SWAP", "FUTURES", "OPTION&uly=BTC-USD", "OPTION&uly=ETH-USD"):
        file.add(ns, "http", "get", address + kind, json.dumps({"data": [listed] if kind == "SPOT" else []}))
    arg = {"channel": "books", "instId": "BTC-USDT"}
    for messages in connections:
        file.add(ns, "OKX.ws.1", "open", "wss://ws.okx.com:8443/ws/v5/public", {"books": ["BTC-USDT"]})
        for action, before, number, bid in messages:
            start, ns = start + 10, ns + 10**7
            asks = [["101", "1", "0", "1"]] if action == "snapshot" else []
            book = {"bids": [[bid, "1", "0", "1"]], "asks": asks, "ts": str(start)}
            book |= {"prevSeqId": before, "seqId": number}
            file.add(ns, "OKX.ws.1", "in", json.dumps({"arg": arg, "action": action, "data": [book]}))
    file.close()
    return path


def test_a_recording_with_a_lost_number_goes_on_with_the_connection_that_was_opened_then(tmp_path: Path) -> None:
    torn = [("snapshot", -1, 1, "99"), ("update", 1, 2, "98"), ("update", 6, 7, "90"), ("update", 7, 8, "91")]
    again = [("snapshot", -1, 20, "97"), ("update", 20, 21, "96")]
    lake = Lake(tmp_path / "lake")
    report = asyncio.run(record_capture(okx_frames(tmp_path / "torn.jsonl.zst", torn, again), lake))
    assert (report.tally.complete, report.tally.messages["l2_book"], report.tally.gaps) == (True, 4, 1)
    levels = lake.levels("OKX", "BTC-USDT").to_pandas()
    assert levels[levels["side"] > 0]["px"].tolist() == [99.0, 98.0, 97.0, 96.0]
    assert levels[levels["px"] == 97.0]["seq"].min() > lake.events("OKX", "BTC-USDT")["seq"].to_pylist()[-2]
    tape = lake.tape("BTC-USDT", venue="OKX")
    assert (len(tape), tape.rows["px"].max()) == (len(levels), 101.0)


def test_a_recording_that_ends_with_a_lost_number_is_complete(tmp_path: Path) -> None:
    torn = [("snapshot", -1, 1, "99"), ("update", 5, 6, "98"), ("update", 6, 7, "97")]
    report = asyncio.run(record_capture(okx_frames(tmp_path / "torn.jsonl.zst", torn), Lake(tmp_path / "lake")))
    assert (report.tally.complete, report.tally.messages["l2_book"]) == (True, 1)


def cryptofeed_alone(path: Path, **callbacks: Any) -> None:
    """Replay without anything of ours."""
    from cryptofeed.capture.playback import playback
    from cryptofeed.symbols import Symbols

    Symbols.clear()
    each = {channel: [callback] for channel, callback in callbacks.items()}
    playback(str(path), callbacks=each, on_error="raise", config={"log": {"disabled": True}})


def cryptofeeds_books(path: Path) -> dict[str, Book]:
    """Replay with cryptofeed alone and return the books it ends with."""
    last: dict[str, Any] = {}

    async def keep(book: Any, receipt: float) -> None:
        last[book.symbol] = book

    cryptofeed_alone(path, l2_book=keep)
    return {
        our_name(symbol): {
            +1: {float(p): float(q) for p, q in book.book.bids.to_dict().items()},
            -1: {float(p): float(q) for p, q in book.book.asks.to_dict().items()},
        }
        for symbol, book in last.items()
    }


def rebuilt(lake: Lake, venue: str, symbol: str) -> Book:
    """Build a book from the rows of the lake, in their order."""
    rows = lake.levels(venue, symbol)
    columns = [rows[name].to_pylist() for name in ("kind", "side", "px", "qty")]
    book: Book = {+1: {}, -1: {}}
    for kind, side, px, qty in zip(*columns, strict=True):
        if kind == Kind.CLEAR:
            book = {+1: {}, -1: {}}
        elif qty == 0:
            book[side].pop(px, None)
        else:
            book[side][px] = qty
    return book


@pytest.mark.parametrize("name", EXPECTED)
def test_a_capture_is_in_the_lake_row_by_row(shared_data: Path, tmp_path: Path, name: str) -> None:
    path, lake = capture(shared_data, name), Lake(tmp_path / "lake")
    expected = dict.fromkeys(CHANNELS, 0) | EXPECTED[name]
    report = asyncio.run(record_capture(path, lake))
    assert report.tally.messages == expected
    held = lake.tables()
    for channel in CHANNELS:
        assert held.get(TABLES[channel], 0) == report.tally.rows[channel]
        if channel != "l2_book":
            assert report.tally.rows[channel] == expected[channel]
    assert (report.tally.gaps, report.tally.reconnects) == (0, 0)

    books = cryptofeeds_books(path)
    assert len(books) > 0
    for symbol, book in books.items():
        assert rebuilt(lake, report.venue, symbol) == book, symbol

    again = asyncio.run(record_capture(path, lake))
    assert again.already_complete
    assert (again.new.total, again.tally.messages, again.venue) == (0, expected, report.venue)
    assert lake.tables() == held


@pytest.mark.parametrize("name", ["BINANCE", "BINANCE_US", "OKX", "DERIBIT", "GATE", "BITFINEX"])
def test_leaving_out_what_was_recorded_leaves_exactly_the_rest(shared_data: Path, name: str) -> None:
    path = capture(shared_data, name)
    whole = asyncio.run(batches(path))
    for cut in range(1, len(whole), max(1, len(whole) // 7)):
        done = [b for b in whole[:cut] if len(b.events)]
        rest = asyncio.run(batches(path, skip=cut, seq=int(done[-1].events["seq"][-1])))
        assert [b.events.tobytes() for b in rest] == [b.events.tobytes() for b in whole[cut:]]
        assert [(b.symbol, b.channel, b.ids) for b in rest] == [(b.symbol, b.channel, b.ids) for b in whole[cut:]]


@pytest.mark.parametrize("name", ["BINANCE_FUTURES", "PHEMEX", "BITFINEX"])
def test_streams_interleave_as_they_were_received(shared_data: Path, name: str) -> None:
    seen = asyncio.run(batches(capture(shared_data, name)))
    rows = np.concatenate([b.events for b in seen])
    assert np.all(np.diff(rows["ts_recv"]) >= 0)
    assert np.all(np.diff(rows["seq"].astype("i8")) > 0)
    assert np.all(rows["seq"] >= rows["ts_recv"])


def test_rows_say_what_cryptofeeds_objects_say(shared_data: Path) -> None:
    path = capture(shared_data, "BINANCE_FUTURES")
    trades: list[Any] = []
    candles: list[Any] = []

    async def keep_trade(trade: Any, receipt: float) -> None:
        trades.append(trade)

    async def keep_candle(candle: Any, receipt: float) -> None:
        candles.append(candle)

    cryptofeed_alone(path, trades=keep_trade, candles=keep_candle)
    feed_seen = asyncio.run(batches(path))
    mine = [b for b in feed_seen if b.channel == "trades"]
    assert [b.ids for b in mine] == [(t.id,) for t in trades]
    for batch, trade in zip(mine, trades, strict=True):
        row = batch.events[0]
        assert (batch.symbol, row["px"], row["qty"]) == (trade.symbol, float(trade.price), float(trade.amount))
        assert row["side"] == {"buy": 1, "sell": -1}[trade.side]
        assert row["ts_exch"] == round(trade.timestamp * 1000) * 1_000_000  # this venue's clock has milliseconds
        assert row["flags"] == LAST
    bars = [b.bars[0] for b in feed_seen if b.channel == "candles"]
    assert [float(c.close) for c in candles] == [bar["close"] for bar in bars]
    assert {int(bar["ts_close"] - bar["ts_open"]) for bar in bars} == {60 * 10**9}


def test_prices_are_exact_ticks_of_the_instruments(shared_data: Path) -> None:
    async def read() -> tuple[CaptureFeed, list[Batch]]:
        feed = CaptureFeed(capture(shared_data, "OKX"))
        await feed.connect()
        return feed, [batch async for batch in feed.batches()]

    feed, seen = asyncio.run(read())
    assert {i.symbol: str(i.tick) for i in feed.instruments} == {
        "BTC-USD-20220527": "0.1",
        "UNI-USD-PERP": "0.001",
        "BTC-USDT": "0.1",
    }
    levels = rows_of(seen, "l2_book")
    levels = levels[levels["kind"] == Kind.LEVEL]
    assert not np.any(levels["px_ticks"] == OFF_GRID)
    for row in levels[::97]:
        instrument = feed.instruments[int(row["instrument"])]
        assert instrument.tick * int(row["px_ticks"]) == Decimal(repr(float(row["px"])))


def test_snapshots_and_times_are_marked(shared_data: Path) -> None:
    seen = asyncio.run(batches(capture(shared_data, "BINANCE")))
    snapshot = next(b.events for b in seen if b.channel == "l2_book")
    assert snapshot["kind"][0] == Kind.CLEAR
    assert np.all(snapshot["flags"] & SNAPSHOT)
    assert np.all(snapshot["flags"] & RECEIPT_TIME)  # Binance's REST snapshot carries no time
    assert np.flatnonzero(snapshot["flags"] & LAST).tolist() == [len(snapshot) - 1]
    recorded = rows_of(seen, "l2_book")["ts_recv"]
    assert np.ptp(recorded) < 120 * 10**9  # not the wall clock of the replay, which cryptofeed stamps on it
    delta = next(b.events for b in seen if b.channel == "l2_book" and not b.events["flags"][0] & SNAPSHOT)
    assert not np.any(delta["flags"] & RECEIPT_TIME)
    quotes = rows_of(seen, "ticker")
    assert np.all(quotes["flags"] & RECEIPT_TIME)
    assert np.all(quotes["qty"] > 0)  # cryptofeed drops the sizes; the raw message has them
    assert set(quotes["side"].tolist()) == {+1, -1}


def test_at_a_multiple_of_the_recorded_pace(shared_data: Path, tmp_path: Path) -> None:
    path, lake = capture(shared_data, "GATE"), Lake(tmp_path / "lake")
    span = rows_of(asyncio.run(batches(path)), "l2_book")["ts_recv"]
    seconds = float(span[-1] - span[0]) / 1e9
    report = asyncio.run(record_capture(path, lake, speed=seconds / 0.5))
    assert report.seconds >= 0.4
    assert report.tally.messages == dict.fromkeys(CHANNELS, 0) | EXPECTED["GATE"]


def test_a_bounded_recording_is_continued(shared_data: Path, tmp_path: Path) -> None:
    path, lake = capture(shared_data, "PHEMEX"), Lake(tmp_path / "lake")
    first = asyncio.run(record_capture(path, lake, messages=100))
    assert not first.tally.complete
    assert 100 <= sum(first.new.messages.values()) < sum(EXPECTED["PHEMEX"].values())
    second = asyncio.run(record_capture(path, lake))
    assert second.tally.complete
    assert second.tally.messages == dict.fromkeys(CHANNELS, 0) | EXPECTED["PHEMEX"]
    assert lake.tables()["trades"] == EXPECTED["PHEMEX"]["trades"]


def test_what_is_no_capture_is_refused(shared_data: Path, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    garbage = tmp_path / "garbage.pcap.zst"
    garbage.write_bytes(b"not a capture")
    cut, whole = tmp_path / "GATE.pcap.zst", capture(shared_data, "GATE")
    cut.write_bytes(whole.read_bytes()[:9_000])
    alone = tmp_path / "alone.pcap.zst"
    alone.write_bytes(whole.read_bytes())
    (tmp_path / "GATE.meta.json").write_bytes(whole.with_name("GATE.meta.json").read_bytes())
    for path in (garbage, cut, alone):
        with pytest.raises(DataError, match=f"{path.name}: not a capture that can be replayed"):
            asyncio.run(record_capture(path, lake))
    with pytest.raises(DataError, match="No such file"):
        asyncio.run(record_capture(tmp_path / "absent.pcap.zst", lake))
    with pytest.raises(InputError, match="speed"):
        asyncio.run(record_capture(whole, lake, speed=0))
    with pytest.raises(InputError, match="leave out"):
        CaptureFeed(whole).subscribe(["BTC-USDT"], ["trades"])
    assert lake.tables() == {}


def test_the_channels_that_no_capture_has(tmp_path: Path) -> None:
    """Funding, liquidations and polled open interest, in frames as Binance documents them."""
    from cryptofeed.exchanges import EXCHANGE_MAP
    from cryptofeed.symbols import Symbols

    wanted = {c: ["BTC-USDT-PERP"] for c in ("funding", "liquidations", "open_interest")}
    Symbols.set("BINANCE_FUTURES", {"BTC-USDT-PERP": "BTCUSDT"}, {})
    logical = EXCHANGE_MAP["BINANCE_FUTURES"](subscription=wanted, config={"log": {"disabled": True}}).connect()
    Symbols.clear()
    poll, socket = (connection for connection, _, _ in logical)

    file = RawFile(tmp_path / "frames.jsonl.zst")
    file.begin("BINANCE_FUTURES", wanted, {})
    start = 1_700_000_000_000
    contract = {"symbol": "BTCUSDT", "contractType": "PERPETUAL", "baseAsset": "BTC", "quoteAsset": "USDT"}
    listed = json.dumps({"symbols": [contract | {"filters": [{"tickSize": "0.10"}]}]})
    mark = {"e": "markPriceUpdate", "s": "BTCUSDT", "p": "37000.5", "r": "0.0001", "T": start + 3_600_000}
    forced = {"s": "BTCUSDT", "S": "SELL", "q": "0.5", "p": "36990.1", "X": "FILLED"}
    file.add(start * 10**6, "http", "get", "https://fapi.binance.com/fapi/v1/exchangeInfo", listed)
    file.add(start * 10**6, socket.id, "open", socket.address, socket.subscription)
    for k in range(1, 4):
        now = start + k * 1_000
        interest = json.dumps({"symbol": "BTCUSDT", "openInterest": f"{k}.25", "time": now - 20})
        file.add(now * 10**6, poll.id, "poll", poll.address[0], interest)
        for stream, data in (("markPrice", mark), ("forceOrder", {"e": "forceOrder", "o": forced})):
            frame = {"stream": f"btcusdt@{stream}", "data": data | {"E": now - 10}}
            file.add(now * 10**6 + 1_000, socket.id, "in", json.dumps(frame))
    file.close()

    lake = Lake(tmp_path / "lake")
    report = asyncio.run(record_capture(file.path, lake))
    assert {c: n for c, n in report.tally.messages.items() if n} == dict.fromkeys(wanted, 3)
    where = "BINANCE_FUTURES", "BTC-USDT-PERP"
    funding = lake.funding(*where).to_pylist()
    assert (funding[0]["rate"], funding[0]["mark"]) == (0.0001, 37000.5)
    assert funding[0]["next_ts"] == (start + 3_600_000) * 10**6
    assert [row["qty"] for row in lake.open_interest(*where).to_pylist()] == [1.25, 2.25, 3.25]
    forced_row = lake.liquidations(*where).to_pylist()[0]
    assert (forced_row["px"], forced_row["qty"], forced_row["side"], forced_row["status"]) == (
        36990.1,
        0.5,
        -1,
        "filled",
    )
    assert str(lake.instruments.get("BTC-USDT-PERP", "BINANCE_FUTURES").tick) == "0.10"
    assert report.latency_ms["p50"] == pytest.approx(10.0, rel=0.05)


async def test_a_consumer_may_leave_while_reading_is_held_for_it(shared_data: Path) -> None:
    feed = CaptureFeed(capture(shared_data, "BINANCE_FUTURES_2024-08-08"))
    await feed.connect()
    taken = feed.batches()
    await anext(taken)
    await asyncio.sleep(1)  # far more than the backlog may hold has been read by now, or is being waited with
    async with asyncio.timeout(60):
        await taken.aclose()

"""Real cryptofeed records the loopback exchange, and has the exchange's own book in the end."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantai as qa
from quantai.core.rows import Kind, Status
from quantai.data import Lake
from quantai.feeds.crypto import CryptoFeed
from quantai.feeds.feed import Batch
from quantai.feeds.recorder import record_capture, record_live
from quantai.strategy.examples import Quote
from quantai.venues.loopback import LoopbackExchange
from tests.integration.loopback_client import PATIENCE_S

pytest.importorskip("cryptofeed", reason="needs the extra quantai[record]")

CHANNELS = ["trades", "l2_book", "ticker"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Heard:
    """The rows of a feed, and the book they make."""

    def __init__(self) -> None:
        self.books: dict[int, dict[int, Decimal]] = {1: {}, -1: {}}
        self.kinds: dict[int, int] = {}
        self.trades: list[tuple[str, int]] = []
        self.quote: dict[int, float] = {}
        self.status: list[int] = []

    def add(self, batch: Batch) -> None:
        ids = iter(batch.ids)
        for row in batch.events:
            kind, side = int(row["kind"]), int(row["side"])
            self.kinds[kind] = self.kinds.get(kind, 0) + 1
            if kind == Kind.CLEAR:
                self.books = {1: {}, -1: {}}
            elif kind == Kind.LEVEL:
                book, px = self.books[side], int(row["px_ticks"])
                book.pop(px, None)
                if row["qty"] > 0:
                    book[px] = Decimal(str(float(row["qty"])))
            elif kind == Kind.TRADE:
                self.trades.append((next(ids) or "", side))
            elif kind == Kind.QUOTE:
                self.quote[side] = float(row["px"])
            elif kind == Kind.STATUS:
                self.status.append(int(row["aux"]))


def book_of(exchange: LoopbackExchange, product: str) -> dict[int, dict[int, Decimal]]:
    matching = exchange.matching(product, "BTCUSDT")
    levels = {s: dict(matching.book.depth(s, 10_000)) for s in (1, -1)}
    return {s: {t: Decimal(lots * matching.listing.lot).normalize() for t, lots in levels[s].items()} for s in (1, -1)}


def plain(books: dict[int, dict[int, Decimal]]) -> dict[int, dict[int, Decimal]]:
    return {s: {t: q.normalize() for t, q in book.items()} for s, book in books.items()}


@pytest.mark.parametrize(
    ("venue", "symbol", "product"), [("BINANCE", "BTC-USDT", "spot"), ("BINANCE_FUTURES", "BTC-USDT-PERP", "futures")]
)
@pytest.mark.parametrize("fault", ["", "drop:stream=*@depth*,after=5,count=2", "disconnect:after=100,count=1"])
async def test_a_recorder_ends_with_the_exchanges_book(venue: str, symbol: str, product: str, fault: str) -> None:
    heard = Heard()
    async with LoopbackExchange(["BTC-USDT"], seed=5, rate_hz=100, faults=[fault] if fault else []) as exchange:
        feed = CryptoFeed(venue, redirect=(exchange.ws, exchange.http), pace_s=0.05)
        await feed.connect()
        feed.subscribe([symbol], CHANNELS)

        async def follow() -> None:
            calm = False
            async for batch in feed.batches():
                heard.add(batch)
                enough = heard.kinds.get(Kind.LEVEL, 0) > 300 and len(heard.trades) > 20 and not _left(exchange)
                if enough and not calm:
                    exchange.pause()
                    calm = True
                    # one more change, so that a frame comes after the last one of the market
                    exchange.act(product, "BTCUSDT", "quote", "BUY", "0.5", "40000")
                if calm and plain(heard.books) == book_of(exchange, product):
                    return

        await asyncio.wait_for(follow(), PATIENCE_S)
        assert heard.quote[1] < heard.quote[-1]
        ids = [int(trade) for trade, _ in heard.trades]
        assert ids == sorted(ids)
        if not fault:
            assert ids == list(range(ids[0], ids[0] + len(ids)))
            assert heard.status == [Status.CONNECTED] * len(heard.status)
        if fault.startswith("disconnect"):
            assert Status.DISCONNECTED in heard.status
        record = exchange.exchange.streams.records[exchange.matching(product, "BTCUSDT").listing.product, "BTCUSDT"]
        sides = {str(t["a"]): -1 if t["m"] else 1 for t in record.aggregates}
        assert [side for _, side in heard.trades] == [sides[trade] for trade, _ in heard.trades]


def _left(exchange: LoopbackExchange) -> list[Any]:
    return [f for f in exchange.exchange.faults if not f.is_spent]


async def test_futures_channels_beyond_the_book() -> None:
    heard = Heard()
    async with LoopbackExchange(["BTC-USDT"], seed=5) as exchange:
        feed = CryptoFeed("BINANCE_FUTURES", redirect=(exchange.ws, exchange.http), candle_interval="1m")
        await feed.connect()
        feed.subscribe(["BTC-USDT-PERP"], ["funding", "open_interest", "candles"])

        async def follow() -> None:
            wanted = {Kind.FUNDING, Kind.OPEN_INTEREST, Kind.BAR}
            async for batch in feed.batches():
                heard.add(batch)
                # a bar is passed on when it is closed: the exchange's clock is moved past its end
                if not exchange.exchange.faults and Kind.FUNDING in heard.kinds:
                    await exchange.fault("skew:ms=60000")
                if wanted <= set(heard.kinds):
                    return

        await asyncio.wait_for(follow(), PATIENCE_S)


async def test_a_recording_with_lost_late_and_doubled_messages_replays(tmp_path: Path) -> None:
    faults = ["drop:stream=*@depth*,every=9", "reorder:p=0.05", "duplicate:p=0.1"]
    lake, where = Lake(tmp_path / "lake"), ("BINANCE_FUTURES", "BTC-USDT-PERP")
    async with LoopbackExchange(symbols=["BTC-USDT"], seed=5, rate_hz=200.0, depth_ms=20, faults=faults) as exchange:
        recording = record_live(
            where[0], [where[1]], CHANNELS, lake, raw=True, messages=400, redirect=(exchange.ws, exchange.http)
        )
        report = await asyncio.wait_for(recording, PATIENCE_S)
    assert report.new.gaps > 1
    levels = lake.levels(*where).to_pandas()
    events = lake.events(*where).to_pandas()
    for gap in events[events["kind"] == Kind.GAP]["seq"]:
        after = levels[levels["seq"] > gap]
        assert not len(after) or after["kind"].iloc[0] == Kind.CLEAR, "no update is applied to a book with a hole"
    tape = lake.tape(where[1], venue=where[0])
    assert np.isin(tape.rows["kind"], [Kind.LEVEL, Kind.CLEAR]).sum() == len(levels)
    assert len(qa.replay(Quote(), tape).orders)
    assert report.raw is not None
    again = Lake(tmp_path / "again")
    assert (await record_capture(report.raw, again)).tally.complete
    ours = ["ts_recv", "seq"]
    found = again.levels(*where).to_pandas().drop(columns=ours)  # of frames that came after the last one, too
    assert found.iloc[: len(levels)].equals(levels.drop(columns=ours))

"""A real cryptofeed client over real sockets: what goes wrong on a wire is counted, reported and survived."""

import asyncio
import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from quantai.core.errors import InputError, UnknownName, VenueError
from quantai.core.rows import BUY, SEC, Kind, Status
from quantai.data import Lake
from quantai.feeds.crypto import CryptoFeed
from quantai.feeds.feed import Batch
from quantai.feeds.health import Health
from quantai.feeds.recorder import Report, record_capture, record_live
from quantai.ops.clock import SteadyClock
from tests.integration.loopback_binance import Fault, Venue
from tests.integration.loopback_bybit import BybitBook, frame

pytest.importorskip("cryptofeed", reason="needs the extra quantai[record]")

SYMBOLS = ["BTC-USDT", "ETH-USDT"]
CHANNELS = ["trades", "l2_book", "ticker"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


async def record(
    lake: Lake, fault: Fault | None = None, *, messages: int = 200, **options: Any
) -> tuple[Report, Venue]:
    async with Venue(fault) as venue:
        report = await asyncio.wait_for(
            record_live(
                "BINANCE", SYMBOLS, CHANNELS, lake, redirect=(venue.ws, venue.http), messages=messages, **options
            ),
            timeout=30,
        )
    return report, venue


def once(action: str, connection: int = 1, frame: int = 30) -> Fault:
    return lambda c, f, stream: action if (c, f) == (connection, frame) else "send"


def told(lake: Lake, symbol: str = "BTC-USDT") -> list[tuple[int, int]]:
    rows = lake.events("BINANCE", symbol)
    return list(zip(rows["kind"].to_pylist(), rows["aux"].to_pylist(), strict=True))


CONNECTED = (Kind.STATUS, Status.CONNECTED)
LOST = (Kind.STATUS, Status.DISCONNECTED)
AGAIN = (Kind.STATUS, Status.RESUMED)
STALE = (Kind.STATUS, Status.STALE)
GAP = (Kind.GAP, 0)


async def test_an_undisturbed_venue_is_recorded_whole(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    report, venue = await record(lake)
    assert report.new.messages == report.tally.messages
    assert sum(report.new.messages.values()) >= 200
    assert (report.new.gaps, report.new.reconnects, venue.connections) == (0, 0, 1)
    assert told(lake) == [CONNECTED, LOST]
    held = lake.tables()
    assert (held["trades"], held["quotes"]) == (report.new.rows["trades"], report.new.rows["ticker"])
    assert held["levels"] == report.new.rows["l2_book"]
    assert report.latency_ms["p50"] < 1_000
    quotes = lake.quotes("BINANCE", "BTC-USDT").to_pandas()
    assert (quotes["bid"] < quotes["ask"]).all()
    assert (quotes["bid_qty"] > 0).all()


# an aborted transport leaves its socket to the garbage collector, in aiohttp's server and not in what is tested
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("action", ["close", "abort"])
async def test_a_broken_connection_is_reported_and_resumed(
    tmp_path: Path, action: str, caplog: pytest.LogCaptureFixture
) -> None:
    lake = Lake(tmp_path / "lake")
    with caplog.at_level(logging.INFO, "quantai.feeds.recorder"):
        report, venue = await record(lake, once(action))
    said = [vars(line) for line in caplog.records if line.name == "quantai.feeds.recorder"]
    events = ["recording_started", *["connection"] * 3, "gap", "gap", "connection", "recording_ended"]
    assert [line["event"] for line in said] == events
    states = [line["state"] for line in said if line["event"] == "connection"]
    assert states == ["connected", "disconnected", "resumed", "disconnected"]
    assert {line["symbol"] for line in said if line["event"] == "gap"} == set(SYMBOLS)
    assert (said[-1]["gaps"], said[-1]["reconnects"]) == (len(SYMBOLS), 1)
    assert venue.connections == 2
    assert report.new.reconnects == 1
    assert report.new.gaps == len(SYMBOLS)
    for symbol in SYMBOLS:
        assert told(lake, symbol) == [CONNECTED, LOST, AGAIN, GAP, LOST]
    gap = lake.events("BINANCE", "BTC-USDT")["seq"][3].as_py()
    after = lake.levels("BINANCE", "BTC-USDT").to_pandas()
    assert after[after["seq"] > gap]["kind"].iloc[0] == Kind.CLEAR


@pytest.mark.parametrize("stream", ["btcusdt@aggTrade", "btcusdt@depth@100ms"])
async def test_a_message_that_cannot_be_read_costs_no_connection(tmp_path: Path, stream: str) -> None:
    spoilt: list[int] = []

    def fault(connection: int, frame: int, sent: str) -> str:
        if sent == stream and frame > 40 and not spoilt:
            spoilt.append(frame)
            return "garbage"
        return "send"

    lake = Lake(tmp_path / "lake")
    report, venue = await record(lake, fault)
    assert (venue.connections, report.new.reconnects, report.new.gaps) == (1, 0, len(SYMBOLS))
    for symbol in SYMBOLS:
        assert told(lake, symbol) == [CONNECTED, GAP, LOST]
    assert report.quarantined == 1
    (line,) = (lake.root / "quarantine" / "BINANCE.jsonl").read_text().splitlines()
    assert json.loads(line)["text"] == '{"stream":'
    assert json.loads(line)["error"].startswith("DecodeError")
    gap = lake.events("BINANCE", "BTC-USDT")["seq"][1].as_py()
    after = lake.levels("BINANCE", "BTC-USDT").to_pandas()
    rebuilt = (after[after["seq"] > gap]["kind"] == Kind.CLEAR).sum()
    assert rebuilt == (1 if "depth" in stream else 0)


async def test_a_book_that_could_not_be_asked_for_is_asked_for_again(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    report, venue = await record(lake, lambda c, f, stream: "garbage" if (c, f) == (0, 1) else "send")
    assert (venue.connections, report.new.reconnects) == (2, 1)
    assert not (lake.root / "quarantine").exists()
    assert (lake.levels("BINANCE", "BTC-USDT").to_pandas()["kind"] == Kind.CLEAR).any()


async def test_a_venue_that_cannot_be_understood_any_more_is_one_clear_error(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    with pytest.raises(VenueError, match="100 messages in a row could not be read"):
        await record(lake, lambda c, f, stream: "garbage")
    assert len((lake.root / "quarantine" / "BINANCE.jsonl").read_text().splitlines()) == 100


async def test_a_book_that_stays_crossed_is_asked_for_again(tmp_path: Path) -> None:
    spoilt: list[int] = []

    def fault(connection: int, frame: int, stream: str) -> str:
        if stream == "btcusdt@depth@100ms" and frame > 40 and not spoilt:
            spoilt.append(frame)
            return "cross"
        return "send"

    lake = Lake(tmp_path / "lake")
    report, venue = await record(lake, fault)
    assert (venue.connections, report.new.reconnects) == (2, 1)
    assert told(lake) == [CONNECTED, LOST, AGAIN, GAP, LOST]
    gap = lake.events("BINANCE", "BTC-USDT")["seq"][3].as_py()
    levels = lake.levels("BINANCE", "BTC-USDT").to_pandas()
    assert levels["px"].max() > 1.5 * levels["px"].median()
    after = levels[levels["seq"] > gap]
    assert after["kind"].iloc[0] == Kind.CLEAR
    assert after["px"].max() < 1.5 * levels["px"].median()


async def test_health_says_how_a_feed_is(tmp_path: Path) -> None:
    async with Venue(once("mute", frame=60)) as venue:
        feed = CryptoFeed("BINANCE", redirect=(venue.ws, venue.http), stale_s=0.6, pace_s=0.05)
        assert feed.health().state == "connecting"
        await feed.connect()
        feed.subscribe(SYMBOLS, CHANNELS)
        seen: dict[str, Health] = {}

        async def follow() -> None:
            async for _ in feed.batches():
                now = feed.health()
                seen.setdefault(now.state, now)
                if now.reconnects and now.state == "up":
                    seen["again"] = now
                    return

        await asyncio.wait_for(follow(), timeout=60)
    assert seen["up"].connections == 1
    assert seen["up"].received > 0
    again = seen["again"]
    assert (again.reconnects, again.trips, again.gaps, again.quarantined) == (1, 1, len(SYMBOLS), 0)
    assert again.delay.p50_ms <= again.delay.p99_ms < 10_000
    assert again.silent_s < 60


async def test_a_socket_that_opens_and_never_sends_is_opened_again(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    report, venue = await record(lake, once("mute", frame=0), stale_s=0.6)
    assert venue.connections == 2
    assert report.new.reconnects == 1
    assert told(lake) == [CONNECTED, STALE, LOST, AGAIN, GAP, LOST]


async def test_a_venue_that_falls_silent_is_opened_again(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    report, _ = await record(lake, once("mute"), stale_s=0.6)
    assert report.new.reconnects == 1
    assert STALE in told(lake)


async def test_a_lost_book_update_is_a_gap_of_that_book_only(tmp_path: Path) -> None:
    lost: list[int] = []

    def fault(connection: int, frame: int, stream: str) -> str:
        if stream == "ethusdt@depth@100ms" and frame > 40 and not lost:
            lost.append(frame)
            return "drop"
        return "send"

    lake = Lake(tmp_path / "lake")
    report, venue = await record(lake, fault)
    assert (venue.connections, report.new.reconnects, report.new.gaps) == (1, 0, 1)
    assert told(lake, "ETH-USDT") == [CONNECTED, GAP, LOST]
    assert told(lake, "BTC-USDT") == [CONNECTED, LOST]


async def test_a_lost_update_of_a_book_that_only_we_number_opens_the_connection_again(tmp_path: Path) -> None:
    whole = [frame("snapshot", 1, [["99", "1"]]), frame("delta", 2, [["98", "2"]])]
    again = [
        frame("snapshot", 9, [["97", "3"]]),
        frame("delta", 10, [["96", "4"]]),
        frame("snapshot", 1, [["95", "5"]]),
    ]
    after = [frame("delta", 2, [["94", "6"]])]  # a service that starts anew counts from 1
    lake = Lake(tmp_path / "lake")
    torn = [*whole, frame("delta", 7, [["95", "9"]]), frame("delta", 8, [["94", "9"]])]
    async with BybitBook(torn, [*again, *after]) as venue:
        report = await asyncio.wait_for(
            record_live(
                "BYBIT", ["BTC-USDT-PERP"], ["l2_book"], lake, redirect=(venue.ws, venue.http), messages=6, raw=True
            ),
            timeout=60,
        )
        assert venue.connections == 2
    rows = lake.events("BYBIT", "BTC-USDT-PERP")
    # the hole, the connection that was opened again, and a snapshot nobody asked for
    kinds = list(zip(rows["kind"].to_pylist(), rows["aux"].to_pylist(), strict=True))
    assert kinds == [CONNECTED, GAP, LOST, AGAIN, GAP, GAP, LOST]
    assert rows["detail"].to_pylist()[1] == "book update missing: 7 came after 2"
    levels = lake.levels("BYBIT", "BTC-USDT-PERP").to_pandas()
    bids = levels[levels["side"] == BUY]
    assert bids["px"].tolist() == [99.0, 98.0, 97.0, 96.0, 95.0, 94.0]
    assert bids["qty"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]  # nothing was made of what came behind the hole
    assert report.raw is not None
    replayed = Lake(tmp_path / "again")
    await record_capture(report.raw, replayed)
    found = replayed.levels("BYBIT", "BTC-USDT-PERP").to_pandas()
    ours = ["ts_recv", "seq"]  # of the clock, and of rows that a replay has no cause for
    assert found.drop(columns=ours).equals(levels.drop(columns=ours))


async def test_a_venue_that_only_closes_is_given_up_before_it_bans(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    async with Venue(lambda c, f, stream: "close") as venue:
        with pytest.raises(VenueError, match="closed 10 connections in a row"):
            await asyncio.wait_for(
                record_live(
                    "BINANCE", SYMBOLS, CHANNELS, lake, redirect=(venue.ws, venue.http), pace_s=0.001, stale_s=5
                ),
                timeout=30,
            )
    assert venue.connections == 10
    assert told(lake).count(AGAIN) == 9


async def test_a_second_recording_marks_the_time_in_between(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    first, _ = await record(lake, messages=50)
    second, _ = await record(lake, messages=50)
    assert (first.new.gaps, second.new.gaps) == (0, len(SYMBOLS))
    assert told(lake) == [CONNECTED, LOST, CONNECTED, GAP, LOST]
    assert second.tally.total == first.new.total + second.new.total
    seq = lake.trades("BINANCE", "BTC-USDT")["seq"].to_pylist() + lake.events("BINANCE", "BTC-USDT")["seq"].to_pylist()
    assert len(set(seq)) == len(seq)


async def test_raw_frames_replay_to_the_rows_that_were_recorded(tmp_path: Path) -> None:
    lake, again = Lake(tmp_path / "lake"), Lake(tmp_path / "again")
    report, _ = await record(lake, once("close"), raw=True)
    assert report.raw is not None
    assert report.raw.parent == lake.root / "raw" / "BINANCE"
    replayed = await record_capture(report.raw, again)
    assert replayed.tally.reconnects == 1
    for symbol in SYMBOLS:
        for table, read in (("trades", Lake.trades), ("quotes", Lake.quotes), ("levels", Lake.levels)):
            was = read(lake, "BINANCE", symbol).to_pandas()
            now = read(again, "BINANCE", symbol).to_pandas()
            live = ["ts_exch", "ts_recv", "seq", "flags"]  # a book fetched over REST has no stamp of its own
            cut = live if table == "levels" else ["seq"]
            assert was.drop(columns=cut, errors="ignore").equals(now.drop(columns=cut, errors="ignore")), (
                symbol,
                table,
            )


async def test_rows_come_out_in_the_order_of_seq_while_the_consumer_is_slow(tmp_path: Path) -> None:
    async with Venue(hz=200) as venue:
        feed = CryptoFeed("BINANCE", redirect=(venue.ws, venue.http))
        await feed.connect()
        feed.subscribe(SYMBOLS, CHANNELS)
        seen: list[Batch] = []
        async for batch in feed.batches():
            seen.append(batch)
            if len(seen) % 50 == 0:
                await asyncio.sleep(0.05)
            if len(seen) == 300:
                await feed.close()
    seq = [int(s) for b in seen for s in b.events["seq"]]
    assert seq == sorted(set(seq))
    assert Counter(b.channel for b in seen)["l2_book"] > 50


async def test_rows_are_stamped_by_the_clock_of_the_run() -> None:
    clock = SteadyClock()
    clock.reach(clock() + 3_600 * SEC)  # that of this machine is an hour behind it
    before, seen = clock(), list[Batch]()
    async with Venue(hz=200) as venue:
        feed = CryptoFeed("BINANCE", redirect=(venue.ws, venue.http), clock=clock)
        await feed.connect()
        feed.subscribe(SYMBOLS, CHANNELS)
        async for batch in feed.batches():
            seen.append(batch)
            if len(seen) == 50:
                await feed.close()
    received = [int(ts) for b in seen for ts in b.events["ts_recv"]]
    assert before <= min(received) <= max(received) <= clock()
    assert {Kind(int(b.events["kind"][0])) for b in seen} >= {Kind.STATUS, Kind.TRADE}


async def test_names_are_checked_before_anything_is_received(tmp_path: Path) -> None:
    async with Venue() as venue:
        feed = CryptoFeed("BINANCE", redirect=(venue.ws, venue.http))
        with pytest.raises(InputError, match="connect"):
            feed.subscribe(["BTC-USDT"], ["trades"])
        await feed.connect()
        with pytest.raises(UnknownName, match=r"BTC-USDX.*did you mean 'BTC-USDT'"):
            feed.subscribe(["BTC-USDX"], ["trades"])
        with pytest.raises(UnknownName, match=r"channel of BINANCE 'trade'.*did you mean 'trades'"):
            feed.subscribe(["BTC-USDT"], ["trade"])
        with pytest.raises(InputError, match="no symbol"):
            feed.subscribe([], ["trades"])
        feed.subscribe(["ETH-USDT", "BTC-USDT"], ["trades"])
        assert [i.symbol for i in feed.instruments] == ["ETH-USDT", "BTC-USDT"]
        assert str(feed.instruments[0].tick) == "0.01"


async def test_a_venue_that_cannot_be_reached_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(VenueError, match="BINANCE: its list of symbols cannot be loaded"):
        await record_live(
            "BINANCE", SYMBOLS, CHANNELS, Lake(tmp_path / "lake"), redirect=("ws://127.0.0.1:9", "http://127.0.0.1:9")
        )

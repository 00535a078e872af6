"""A recorded market acted out by the loopback exchange, and orders that stand in it; the command line around it."""

import asyncio
import json
import math
import os
import signal
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from quantai.cli import main
from quantai.core.errors import InputError
from quantai.core.rows import EVENT, LAST, Kind, zeros
from quantai.data import synth
from quantai.data.tape import Tape
from quantai.venues.loopback import LoopbackExchange
from tests.integration.loopback_client import PATIENCE_S, Client, limit, until

MARKET = synth.market("BTC-USDT", n=4_000, seed=11)
TAPE = Tape.from_events(MARKET.events, [MARKET.instrument])


def acted_out(**settings: Any) -> LoopbackExchange:
    return LoopbackExchange(rows=TAPE.rows, instruments=TAPE.instruments, **settings)


async def ended(exchange: LoopbackExchange) -> None:
    await asyncio.wait_for(exchange.ended.wait(), PATIENCE_S)


async def test_a_tape_ends_with_its_own_book_and_prints_its_own_trades() -> None:
    async with acted_out(speed=1e6) as exchange:
        await ended(exchange)
        matching = exchange.matching("spot", "BTCUSDT")
        for side in (1, -1):
            rows = MARKET.book[MARKET.book["side"] == side]
            true = [(int(r["px_ticks"]), round(float(r["qty"]) / 0.001)) for r in rows]
            assert matching.book.depth(side, 10_000) == true
        trades = MARKET.trades
        record = exchange.exchange.streams.records[matching.listing.product, "BTCUSDT"]
        (last, true) = record.trades[-1], trades[-1]
        assert (Decimal(last["price"]), last["isBuyerMaker"]) == (Decimal(str(true["px"])), int(true["side"]) < 0)
        assert Decimal(exchange.truth()["totals"]["spot"]["USDT"]) == 100_000


async def test_orders_in_a_recorded_market_trade_only_with_what_was_there() -> None:
    trades = MARKET.trades
    async with acted_out(speed=1e6) as exchange, Client(exchange) as client:
        exchange.pause()
        best = Decimal((await client.get("/api/v3/depth", symbol="BTCUSDT", limit=5))["bids"][0][0])
        low, high = (Decimal(str(float(f(trades["px"])))) for f in (np.min, np.max))
        inside = await client.order(**limit("BUY", "0.01", str(best)))
        never = await client.order(**limit("BUY", "0.01", str(low - 50)))
        beyond = await client.order(**limit("SELL", "0.01", str(high + 50)))
        exchange.resume()
        await ended(exchange)
        _, shown = await client.ask("GET", "/api/v3/allOrders", symbol="BTCUSDT")
        status = {o["orderId"]: o["status"] for o in shown}
        assert status == {inside["orderId"]: "FILLED", never["orderId"]: "NEW", beyond["orderId"]: "NEW"}
        assert Decimal(exchange.truth()["totals"]["spot"]["BTC"]) == Decimal(
            exchange.truth()["deposits"]["spot"]["BTC"]
        )


async def test_best_prices_alone_make_a_market_too() -> None:
    rows = zeros(6, EVENT)
    rows["ts_recv"] = rows["ts_exch"] = [10, 10, 20, 20, 30, 30]
    rows["kind"], rows["instrument"] = Kind.QUOTE, 0
    rows["side"] = [1, -1] * 3
    rows["px"], rows["qty"] = [100, 101, 102, 103, 99, 100], 1
    rows["px_ticks"] = (rows["px"] * 10).astype("i8")
    rows["flags"][1::2] = LAST
    tape = Tape.from_events(rows, [MARKET.instrument])
    async with LoopbackExchange(rows=tape.rows, instruments=tape.instruments, speed=100) as exchange:
        await ended(exchange)
        book = exchange.matching("spot", "BTCUSDT").book
        assert [book.depth(side, 9) for side in (1, -1)] == [[(990, 1000)], [(1000, 1000)]]


@pytest.mark.parametrize(
    ("name", "symbol", "tick", "lot"),
    [("BINANCE", "NKNUSDT", "0.0001", "0.1"), ("BINANCE_FUTURES", "SUSHIUSDT", "0.001", "1")],
)
async def test_real_captures_list_what_can_be_traded(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, symbol: str, tick: str, lot: str
) -> None:
    pytest.importorskip("cryptofeed", reason="needs the extra quantai[record]")
    from quantai.cli.venue import captured

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows, instruments = await captured(shared_data / "wire" / f"{name}.pcap.zst")
    async with LoopbackExchange(rows=rows, instruments=instruments, speed=1e6) as exchange:
        await ended(exchange)
        for matching in exchange.exchange.matchings.values():
            bid, ask = matching.book.best(1), matching.book.best(-1)
            assert bid is None or ask is None or bid < ask
        listing = exchange.matching("futures" if "FUTURES" in name else "spot", symbol).listing
        assert (listing.tick, listing.lot) == (Decimal(tick), Decimal(lot))


async def serve(*arguments: str) -> tuple[asyncio.subprocess.Process, Any]:
    code = "import sys; from quantai.cli import main; sys.exit(main(sys.argv[1:]))"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, "venue", *arguments, stdout=-1, stderr=-1, env=os.environ | {"COLUMNS": "200"}
    )
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
    return process, json.loads(line) if line else None


async def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    TAPE.save(tmp_path / "day.tape")
    process, said = await serve(
        "--port", "0", "--tape", str(tmp_path / "day.tape"), "--fault", "http:path=*/ping", "--json"
    )
    try:
        assert said["symbols"] == {"spot": ["BTCUSDT"], "futures": []}
        assert said["pid"] == process.pid
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{said['rest']}/api/v3/ping") as response:
                assert response.status == 503
            async with session.get(f"{said['spot']['rest']}/api/v3/depth?symbol=BTCUSDT") as response:
                assert (await response.json())["bids"]
            async with session.ws_connect(f"{said['spot']['ws']}/ws/btcusdt@bookTicker") as socket:
                assert (await asyncio.wait_for(socket.receive_json(), PATIENCE_S))["s"] == "BTCUSDT"
    finally:
        process.send_signal(signal.SIGTERM)
        out, error = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert (process.returncode, out, error) == (0, b"", b"")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--fault", "slwo"), 1, "did you mean 'slow'"),
        (("--synth", "1", "--tape", "x"), 1, "choose one market"),
        (("--tape", "nothing.tape"), 1, "there is no such tape"),
        (("--symbols", "BTC-USD-20270326"), 1, "spot pairs and linear perpetuals only"),
        (("--speed", "fast"), 2, "--speed"),
    ],
)
async def test_the_command_refuses_what_cannot_be_served(arguments: tuple[str, ...], code: int, words: str) -> None:
    process, said = await serve("--port", "0", *arguments)
    _, error = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert (process.returncode, said) == (code, None)
    assert words in error.decode()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"symbols": []}, "needs symbols to list, such as BTC-USDT"),
        ({"speed": math.inf}, "speed inf is not a positive number"),
        ({"speed": math.nan}, "speed nan is not a positive number"),
        ({"rate_hz": 0.0}, "rate_hz 0.0 is not a positive number"),
        ({"rate_hz": math.inf}, "rate_hz inf is not a positive number"),
        ({"depth_ms": -1.0}, "depth_ms -1.0 is not a positive number"),
    ],
)
def test_an_exchange_that_would_serve_nothing_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        LoopbackExchange(**settings)


def test_an_empty_capture_is_refused_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nothing.pcap.zst").touch()
    assert main(["venue", "--port", "0", "--capture", str(tmp_path / "nothing.pcap.zst")]) == 1
    assert "nothing.pcap.zst is empty: give a capture" in capsys.readouterr().err


async def test_a_capture_is_acted_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cryptofeed", reason="needs the extra quantai[record]")
    from quantai.cli.venue import captured
    from quantai.data import Lake
    from quantai.feeds.recorder import record_live

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lake = Lake(tmp_path / "lake")
    async with LoopbackExchange(["BTC-USDT"], seed=5, rate_hz=100) as exchange:
        redirect = (exchange.ws, exchange.http)
        channels = ["trades", "l2_book", "ticker"]
        await record_live("BINANCE", ["BTC-USDT"], channels, lake, redirect=redirect, messages=200, raw=True)
    (capture,) = (tmp_path / "lake" / "raw").rglob("*.jsonl.zst")
    rows, instruments = await captured(capture)
    async with LoopbackExchange(rows=rows, instruments=instruments, speed=1e6) as exchange:
        await ended(exchange)
        matching = exchange.matching("spot", "BTCUSDT")
        await until(lambda: matching.last, "a trade")
        books: dict[int, dict[int, float]] = {1: {}, -1: {}}
        for row in rows:
            if row["kind"] == Kind.CLEAR:
                books = {1: {}, -1: {}}
            elif row["kind"] == Kind.LEVEL:
                books[int(row["side"])][int(row["px_ticks"])] = float(row["qty"])
        late = rows[int(np.flatnonzero(rows["kind"] == Kind.LEVEL)[-1]) :]
        traded = set(late["px_ticks"][late["kind"] == Kind.TRADE].tolist())  # the book of these was never told
        for side in (1, -1):
            true = {ticks for ticks, qty in books[side].items() if qty > 0}
            assert {ticks for ticks, _ in matching.book.depth(side, 10_000)} ^ true <= traded

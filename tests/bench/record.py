"""How fast a recording goes: messages through the real parsers into a lake, and the parsers alone.

The input is a capture of `n` synthetic Binance messages (trades, best prices, depth diffs of ten levels), made from the
seed. Each figure is the best of three.

record_rows_s      rows per second from the capture into the lake, everything included
record_messages_s  the same in messages
record_cpu_s       processor seconds of that
store_rows_s       batches that are already there into the lake
peer_messages_s    cryptofeed's own playback with a callback that does nothing
ratio              record_messages_s / peer_messages_s: what conversion and storing leave of the parsers' speed
"""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

N = 50_000
_REPEATS = 3
_LIST = "https://api.binance.com/api/v3/exchangeInfo"
_DEPTH = "https://api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=5000"
_STREAMS = {"trades": "aggTrade", "ticker": "bookTicker", "l2_book": "depth@100ms"}
_START_NS = 1_700_000_000_000_000_000


def run(seed: int, n: int) -> dict[str, Any]:
    """Measure and return the figures; needs the extra quantai[record]."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        capture = make_capture(Path(folder) / f"{seed}.jsonl.zst", seed, n)
        recorded = min((_record(capture, Path(folder)) for _ in range(_REPEATS)), key=lambda r: r["seconds"])
        stored = _best(lambda: _store(capture, Path(folder)))
        alone = _best(lambda: _playback(capture))
    return {
        "rows": recorded["rows"],
        "record_rows_s": round(recorded["rows"] / recorded["seconds"]),
        "record_messages_s": round(n / recorded["seconds"]),
        "record_cpu_s": round(recorded["cpu"], 3),
        "store_rows_s": round(recorded["rows"] / stored),
        "peer_messages_s": round(n / alone),
        "ratio": round(alone / recorded["seconds"], 3),
    }


def make_capture(path: Path, seed: int, n: int) -> Path:
    """Write raw frames of `n` messages of one market to `path`."""
    from quantai.feeds.raw import RawFile

    random, update = Random(seed), 1_000
    channels = list(_STREAMS)
    address = "wss://stream.binance.com:9443/stream?streams=" + "/".join(f"btcusdt@{s}" for s in _STREAMS.values())
    listed = {"symbol": "BTCUSDT", "baseAsset": "BTC", "quoteAsset": "USDT", "filters": [{"tickSize": "0.01"}]}
    levels = [[[f"{50_000 + s * k / 100:.2f}", "1.5"] for k in range(1, 1_001)] for s in (-1, 1)]
    snapshot = {"lastUpdateId": update, "bids": levels[0], "asks": levels[1]}
    subscription = {s.split("@")[0]: ["BTCUSDT"] for s in _STREAMS.values()}
    file = RawFile(path)
    file.begin("BINANCE", {c: ["BTC-USDT"] for c in channels}, {})
    frames: list[list[Any]] = [
        ["http", "get", _LIST, json.dumps({"symbols": [listed]})],
        ["ws", "open", address, subscription],
    ]
    for k in range(n):
        if k == 1:
            frames.append(["http", "get", _DEPTH, json.dumps(snapshot)])
        channel = random.choices(channels, (2, 6, 2))[0] if k else "l2_book"
        data = {"s": "BTCUSDT", "E": (_START_NS + k * 1_000_000) // 1_000_000}
        px = f"{50_000 + random.randint(-1_000, 1_000) / 100:.2f}"
        if channel == "trades":
            data |= {"e": "aggTrade", "a": k, "p": px, "q": "0.5", "T": data["E"], "m": random.random() < 0.5}
        elif channel == "ticker":
            data |= {"u": k, "b": "49999.99", "B": "1.0", "a": "50000.01", "A": f"{random.random():.3f}"}
        else:
            diff = [
                [[f"{50_000 + s * random.randint(1, 1_000) / 100:.2f}", f"{random.random():.3f}"] for _ in range(5)]
                for s in (-1, 1)
            ]
            data |= {"e": "depthUpdate", "U": update + 1, "u": update + 10, "b": diff[0], "a": diff[1]}
            update += 10
        frames.append(["ws", "in", json.dumps({"stream": f"btcusdt@{_STREAMS[channel]}", "data": data})])
    for k, (connection, *rest) in enumerate(frames):
        file.add(_START_NS + k * 1_000_000, f"BINANCE.{connection}.1", *rest)
    file.close()
    return path


def _best(measure: Callable[[], float]) -> float:
    return min(measure() for _ in range(_REPEATS))


def _record(capture: Path, folder: Path) -> dict[str, float]:
    from quantai.data import Lake
    from quantai.feeds.recorder import record_capture

    lake = Lake(tempfile.mkdtemp(dir=folder))
    wall, cpu = time.perf_counter(), time.process_time()
    report = asyncio.run(record_capture(capture, lake))
    return {
        "seconds": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "rows": report.tally.total,
    }


def _store(capture: Path, folder: Path) -> float:
    from quantai.data import Lake
    from quantai.feeds.capture import CaptureFeed
    from quantai.feeds.columns import TABLES, columns
    from quantai.feeds.feed import Batch

    async def read() -> list[Batch]:
        feed = CaptureFeed(capture)
        await feed.connect()
        return [batch async for batch in feed.batches()]

    grouped: dict[tuple[str, str], list[Batch]] = {}
    for batch in asyncio.run(read()):
        grouped.setdefault((batch.channel, batch.symbol), []).append(batch)
    start = time.perf_counter()
    with Lake(tempfile.mkdtemp(dir=folder)).writer("bench") as writer:
        for (channel, symbol), batches in grouped.items():
            writer.append(TABLES[channel], "BINANCE", symbol, columns(channel, batches))
        writer.commit({})
    return time.perf_counter() - start


def _playback(capture: Path) -> float:
    from cryptofeed.capture.playback import Replayer
    from cryptofeed.symbols import Symbols

    from quantai.feeds.raw import read

    async def nothing(message: Any, receipt: float) -> None:
        pass

    async def play() -> None:
        frames, metadata = read(capture)
        replayer = Replayer(frames, on_error="raise")
        replayer.metadata = metadata
        callbacks = dict.fromkeys(_STREAMS, nothing)
        feed = replayer.build_feed(callbacks=callbacks, config={"log": {"disabled": True}})
        replayer.prepare(feed)
        await feed.run(replayer.coordinator.stop_event)

    Symbols.clear()
    start = time.perf_counter()
    asyncio.run(play())
    return time.perf_counter() - start

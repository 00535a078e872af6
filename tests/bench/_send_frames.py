"""The process that plays a venue: Binance's list of symbols, a snapshot, and frames as fast as they are taken.

Arguments: seed, messages, how often trades, best prices and book updates come (2:6:2), levels of a book update, rows a
second (0 = no bound). It prints its port, and, once all is sent, how many rows that was; then it waits for the end of
its input.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from random import Random
from typing import Any

from aiohttp import web

STREAMS = {"trades": "aggTrade", "ticker": "bookTicker", "l2_book": "depth@100ms"}
DEPTH = 1_000
FIRST = 1_000
TICK_S = 0.005
WAITING_BYTES = 8_192


def frames(seed: int, n: int, mix: str, levels: int) -> Iterator[tuple[int, str]]:
    """Yield the rows and the text of each message, stamped with the time at which it is made."""
    random, update = Random(seed), FIRST
    kinds = [*random.choices(list(STREAMS), [*map(float, mix.split(":"))], k=n)]
    kinds[0] = "l2_book"  # its snapshot is asked for at once
    sides = [[f'["{50_000 + s * k / 100:.2f}","{1 + k % 900 / 100:.2f}"]' for k in range(1, DEPTH)] for s in (-1, 1)]
    for k, kind in enumerate(kinds):
        ms, part = time.time_ns() // 1_000_000, random.randrange(DEPTH - levels)
        head = f'{{"stream":"btcusdt@{STREAMS[kind]}","data":{{"s":"BTCUSDT","E":{ms},'
        if kind == "trades":
            yield 1, head + f'"e":"aggTrade","a":{k},"p":"{50_000 + part / 100:.2f}","q":"0.5","T":{ms},"m":true}}}}'
        elif kind == "ticker":
            yield 1, head + f'"u":{k},"b":"49999.99","B":"{part / 100:.2f}","a":"50000.01","A":"1.5"}}}}'
        else:
            bids, asks = (",".join(side[part : part + half]) for side, half in zip(sides, halves(levels), strict=True))
            head += f'"e":"depthUpdate","U":{update + 1},"u":{update + 10},'
            update += 10
            yield levels, head + f'"b":[{bids}],"a":[{asks}]}}}}'


def halves(levels: int) -> tuple[int, int]:
    """Return how many levels are bids, and how many asks."""
    return levels // 2, levels - levels // 2


async def listen(socket: web.WebSocketResponse) -> None:
    """Answer pings, as reading does, until the client goes: without answers it would hang up after 80 s."""
    async for _ in socket:
        pass


async def main(seed: int, n: int, mix: str, levels: int, rate: float) -> None:
    """Serve until the input ends."""
    listed = {"symbol": "BTCUSDT", "baseAsset": "BTC", "quoteAsset": "USDT", "filters": [{"tickSize": "0.01"}]}
    book = [[[f"{50_000 + s * k / 100:.2f}", "1.5"] for k in range(1, DEPTH)] for s in (-1, 1)]
    snapshot = {"lastUpdateId": FIRST, "bids": book[0], "asks": book[1]}

    async def answer(request: web.Request) -> Any:
        if "exchangeInfo" in request.path:
            return web.json_response({"symbols": [listed]})
        if "depth" in request.path:
            return web.json_response(snapshot)
        # asyncio adds up the lengths of all that waits each time it is given more: little may wait
        socket = web.WebSocketResponse(compress=False, writer_limit=WAITING_BYTES)
        await socket.prepare(request)
        request.transport.set_write_buffer_limits(high=WAITING_BYTES)
        reading = asyncio.create_task(listen(socket))
        rows, since = 0, time.monotonic()
        for more, text in frames(seed, n, mix, levels):
            if rate and (early_s := rows / rate - (time.monotonic() - since)) > 0:
                await asyncio.sleep(max(early_s, TICK_S))
            await socket.send_str(text)
            rows += more
        print(json.dumps({"rows": rows + 2 * (DEPTH - 1) + 1}), flush=True)
        await reading
        return socket

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), float(sys.argv[5])))

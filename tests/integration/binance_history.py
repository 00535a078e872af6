"""A local server that answers Binance's public history requests, with the faults that the real one has.

Bars and trades follow from their time alone, so a test can say what the lake must hold. As on the real venue, an
`aggTrades` answer for a start and an end holds the *last* `limit` trades of the stretch.
"""

import asyncio
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
from aiohttp import web

from tests.integration.local_server import LocalServer

MINUTE = 60_000
T0 = 1_704_067_200_000  # 2024-01-01T00:00Z


def kline(ts: int) -> list[Any]:
    """The bar that opens at `ts` (ms)."""
    n = ts // MINUTE
    low = 40_000 + n % 997
    o, c = low + 1.25, low + 2.5
    return [ts, f"{o}", f"{low + 3.75}", f"{low}", f"{c}", f"{n % 50 + 0.5}", ts + MINUTE - 1, "1", 7, "1", "1", "0"]


def make_trades(start: int, end: int, seed: int = 3) -> list[dict[str, Any]]:
    """Trades of [start, end) with quiet minutes, and bursts of hundreds in one millisecond."""
    rng = np.random.Generator(np.random.PCG64(seed))
    times = list(rng.integers(start, end, 3_000))
    quiet = (start + 10 * MINUTE, start + 14 * MINUTE)
    times = [int(t) for t in times if not quiet[0] <= t < quiet[1]]
    for at in rng.integers(start, start + 10 * MINUTE, 3):
        times += [int(at)] * 400
    return [
        {
            "a": 9_000 + i,
            "p": f"{40_000 + i % 1000 / 100:.2f}",
            "q": f"{1 + i % 7}.5",
            "f": i,
            "l": i,
            "T": t,
            "m": i % 3 == 0,
            "M": True,
        }
        for i, t in enumerate(sorted(times))
    ]


class Binance:
    """The server's state: what it has, what it was asked, and the faults of the next answers.

    `faults` is consumed one a data request: None, a status (429, 500, 418), "abort" (the connection dies in the
    middle of the answer), "early" (rows from before the asked start come along), "empty", or "twice" (every row is
    there twice).
    """

    def __init__(self, *, now_ms: int = T0 + 10**10, slow_s: float = 0.0) -> None:
        self.now_ms, self.slow_s = now_ms, slow_s
        self.missing: set[int] = set()  # bars that the venue never had
        self.listed_ms = T0 - 10**9
        self.trades: list[dict[str, Any]] = []
        self.faults: list[Any] = []
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.retry_after: str | None = "0"
        self.url = ""

    def requests(self, path: str) -> list[dict[str, str]]:
        return [query for name, query in self.asked if name == path]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        name, query = request.path.rpartition("/")[2], dict(request.query)
        self.asked.append((name, query))
        if name == "time":
            return web.json_response({"serverTime": self.now_ms})
        if name == "exchangeInfo":
            return web.json_response(_FUTURES_INFO if request.path.startswith("/fapi/") else _EXCHANGE_INFO)
        await asyncio.sleep(self.slow_s)
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            headers = {"Retry-After": self.retry_after} if self.retry_after is not None else {}
            code = {418: -1003, 429: -1003, 400: -1100}.get(fault, -1000)
            body = {"code": code, "msg": f"fault {fault}"}
            return web.json_response(body, status=fault, headers=headers)
        rows = self._klines(query, fault) if name == "klines" else self._agg_trades(query, fault)
        body = json.dumps([] if fault == "empty" else rows * 2 if fault == "twice" else rows).encode()
        if fault == "abort":
            answer = web.StreamResponse(headers={"Content-Length": str(len(body))})
            await answer.prepare(request)
            await answer.write(body[: len(body) // 2])
            assert request.transport is not None
            request.transport.abort()
            return answer
        return web.Response(body=body, content_type="application/json")

    def _klines(self, query: dict[str, str], fault: Any) -> list[list[Any]]:
        start, limit = int(query["startTime"]), int(query["limit"])
        assert limit <= 1000
        ts = max(-(-start // MINUTE) * MINUTE, self.listed_ms)
        if fault == "early":
            ts -= 3 * MINUTE
        rows: list[list[Any]] = []
        while ts <= self.now_ms and len(rows) < limit:
            if ts not in self.missing:
                rows.append(kline(ts))
            ts += MINUTE
        return rows

    def _agg_trades(self, query: dict[str, str], fault: Any) -> list[dict[str, Any]]:
        start, end, limit = int(query["startTime"]), int(query["endTime"]), int(query["limit"])
        assert end - start < 3_600_000, "Binance answers -1127: more than one hour between start and end"
        if fault == "early":
            start -= 2_000
        return [t for t in self.trades if start <= t["T"] <= end][-limit:]


@contextmanager
def serve(venue: Binance) -> Generator[Binance]:
    """Serve `venue` on a free local port, in a thread; its address is `venue.url`."""
    loop, ready = asyncio.new_event_loop(), threading.Event()
    stop = asyncio.Event()

    async def main() -> None:
        server = LocalServer(venue.handle)
        venue.url, _ = await server.open()
        ready.set()
        await stop.wait()
        await server.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield venue
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


_EXCHANGE_INFO = {
    "timezone": "UTC",
    "serverTime": T0,
    "rateLimits": [],
    "exchangeFilters": [],
    "symbols": [
        {
            "symbol": f"{base}{quote}",
            "status": "TRADING",
            "baseAsset": base,
            "quoteAsset": quote,
            "baseAssetPrecision": 8,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "orderTypes": ["LIMIT", "MARKET"],
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "permissions": ["SPOT"],
            "permissionSets": [["SPOT"]],
            "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
                {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001"},
            ],
        }
        for base, quote in (("BTC", "USDT"), ("ETH", "USDT"), ("ETH", "BTC"))
    ],
}
_FUTURES_INFO = {
    "timezone": "UTC",
    "serverTime": T0,
    "symbols": [
        {
            "symbol": symbol,
            "pair": "BTCUSDT",
            "contractType": kind,
            "deliveryDate": delivery,
            "onboardDate": T0 - 10**9,
            "status": "TRADING",
            "baseAsset": "BTC",
            "quoteAsset": "USDT",
            "marginAsset": "USDT",
            "pricePrecision": 2,
            "quantityPrecision": 3,
            "underlyingType": "COIN",
            "filters": [
                {"filterType": "PRICE_FILTER", "minPrice": "261.10", "maxPrice": "809484", "tickSize": "0.10"},
                {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
                {"filterType": "MIN_NOTIONAL", "notional": "100"},
            ],
        }
        for symbol, kind, delivery in (
            ("BTCUSDT", "PERPETUAL", 4_133_404_800_000),
            ("BTCUSDT_270326", "CURRENT_QUARTER", 1_806_048_000_000),
        )
    ],
}

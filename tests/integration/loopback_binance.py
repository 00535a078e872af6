"""A small exchange on a local port that speaks Binance's market-data protocol to a real client.

Its market is a seeded random walk. REST serves `exchangeInfo` and `depth`; sockets get depth diffs, best prices and
trades of the streams named in the address. `fault` is asked before each frame and decides what the venue does instead
of sending it. Paths are matched by their end, because a redirected client puts the name of the real host in front.
"""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from aiohttp import WSMsgType, web

from tests.integration.local_server import LocalServer

Fault = Callable[[int, int, str], str]
"""(number of the connection, of the frame on it, stream) -> what happens to it: "send", "drop", "garbage", "cross",
"close", "abort" or "mute". Answers to questions for a whole book are of connection 0 and stream "depth"; those can only
be sent or be garbage."""

TICK = Decimal("0.01")
PAIRS = {"BTCUSDT": ("BTC", 5_000_000), "ETHUSDT": ("ETH", 250_000)}


class Market:
    """An order book in whole ticks that changes with each step."""

    def __init__(self, pair: str, mid: int, seed: int) -> None:
        self.pair, self.mid, self.random = pair, mid, random.Random(seed)
        self.update, self.trade = 1_000, 0
        self.sides: dict[str, dict[int, Decimal]] = {"b": {}, "a": {}}
        for k in range(1, 31):
            self.sides["b"][mid - k] = self.sides["a"][mid + k] = self._size()

    def _size(self) -> Decimal:
        return Decimal(self.random.randint(1, 5_000)) / 1_000

    def depth(self) -> dict[str, Any]:
        """The answer to a REST request for the whole book."""
        bids, asks = (sorted(self.sides[s].items(), reverse=s == "b") for s in "ba")
        text = {"bids": bids, "asks": asks}
        return {"lastUpdateId": self.update} | {k: [[str(p * TICK), str(q)] for p, q in v] for k, v in text.items()}

    def step(self) -> list[tuple[str, dict[str, Any]]]:
        """The next frames: a depth diff, the best prices, and now and then a trade."""
        now, first = int(time.time() * 1000), self.update + 1
        diff: dict[str, list[list[str]]] = {"b": [], "a": []}
        for _ in range(self.random.randint(1, 4)):
            side = self.random.choice("ba")
            px = self.mid + self.random.randint(1, 30) * (-1 if side == "b" else 1)
            size = Decimal(0) if len(self.sides[side]) > 20 and self.random.random() < 0.3 else self._size()
            self.sides[side].pop(px, None)
            if size:
                self.sides[side][px] = size
            diff[side].append([str(px * TICK), str(size)])
            self.update += 1
        bid, ask = max(self.sides["b"]), min(self.sides["a"])
        name = self.pair.lower()
        head = {"E": now, "s": self.pair}
        out: list[tuple[str, dict[str, Any]]] = [
            (f"{name}@depth@100ms", head | {"e": "depthUpdate", "U": first, "u": self.update} | diff),
            (f"{name}@bookTicker", self._best(bid, ask)),
        ]
        if self.random.random() < 0.3:
            self.trade += 1
            out.append((f"{name}@aggTrade", head | self._trade(bid, ask, now)))
        return out

    def _best(self, bid: int, ask: int) -> dict[str, Any]:
        sizes = {"B": str(self.sides["b"][bid]), "A": str(self.sides["a"][ask])}
        return {"u": self.update, "s": self.pair, "b": str(bid * TICK), "a": str(ask * TICK)} | sizes

    def _trade(self, bid: int, ask: int, now: int) -> dict[str, Any]:
        sells = self.random.random() < 0.5
        px = str((bid if sells else ask) * TICK)
        return {"e": "aggTrade", "a": self.trade, "p": px, "q": str(self._size()), "T": now, "m": sells}


class Venue:
    """The exchange; `async with Venue() as venue` starts it on a free port."""

    def __init__(self, fault: Fault | None = None, *, hz: float = 50.0, seed: int = 1) -> None:
        self.fault, self.hz = fault, hz
        self.markets = {pair: Market(pair, mid, seed + n) for n, (pair, (_, mid)) in enumerate(PAIRS.items())}
        self.connections = 0
        self.sent = self.answers = 0
        self._open: dict[int, tuple[Any, Any, set[str]]] = {}
        self._frames: dict[int, int] = {}

    async def __aenter__(self) -> "Venue":
        self._server = LocalServer(self._answer)
        self.http, self.ws = await self._server.open()
        self._clock = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._clock.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._clock
        for socket, *_rest in list(self._open.values()):
            await socket.close()
        await self._server.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        if request.path.endswith("/exchangeInfo"):
            price_filter = {"filterType": "PRICE_FILTER", "tickSize": str(TICK)}
            listed = [
                {
                    "symbol": pair,
                    "status": "TRADING",
                    "baseAsset": base,
                    "quoteAsset": "USDT",
                    "filters": [price_filter],
                }
                for pair, (base, _) in PAIRS.items()
            ]
            return web.json_response({"symbols": listed})
        if request.path.endswith("/depth"):
            self.answers += 1
            if self.fault and self.fault(0, self.answers, "depth") == "garbage":
                return web.json_response(text='{"lastUpdateId":')
            return web.json_response(self.markets[request.query["symbol"]].depth())
        return web.json_response({"code": -1}, status=404)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.connections += 1
        number = self.connections
        self._open[number] = socket, request, set(request.query["streams"].split("/"))
        try:
            async for message in socket:
                if message.type is WSMsgType.ERROR:
                    break
        finally:
            self._open.pop(number, None)
        return socket

    async def _run(self) -> None:
        while True:
            for market in self.markets.values():
                for stream, data in market.step():
                    for number in list(self._open):
                        with contextlib.suppress(ConnectionError):  # the client, or a fault, was faster
                            await self._send(number, stream, data)
            await asyncio.sleep(1 / self.hz)

    async def _send(self, number: int, stream: str, data: dict[str, Any]) -> None:
        socket, request, streams = self._open[number]
        if stream not in streams or socket.closed:
            return
        frame = self._frames.get(number, 0)
        self._frames[number] = frame + 1
        match self.fault(number, frame, stream) if self.fault else "send":
            case "send":
                await socket.send_str(json.dumps({"stream": stream, "data": data}))
                self.sent += 1
            case "garbage":
                await socket.send_str('{"stream":')
            case "cross":  # a bid above every ask, which the venue never takes back
                high = str(2 * self.markets[data["s"]].mid * TICK)
                await socket.send_str(json.dumps({"stream": stream, "data": data | {"b": [[high, "1"]]}}))
            case "close":
                await socket.close()
            case "abort" if request.transport is not None:
                request.transport.abort()
            case "mute":
                streams.clear()
            case _:
                pass

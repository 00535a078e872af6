"""A venue on a local port that sends one Bybit book as its v5 protocol has it, frame by frame, as a script says.

https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook
"""

import asyncio
import contextlib
import json
from typing import Any

from aiohttp import web

from tests.integration.local_server import LocalServer

TOPIC = "orderbook.200.BTCUSDT"


def frame(kind: str, number: int, bids: list[list[str]]) -> dict[str, Any]:
    """Return one message of the book; only a snapshot has an ask."""
    asks = [["101", "1"]] if kind == "snapshot" else []
    data = {"s": "BTCUSDT", "b": bids, "a": asks, "u": number, "seq": 10 * number}
    return {"topic": TOPIC, "type": kind, "ts": 1_700_000_000_000 + number, "data": data}


class BybitBook:
    """Sends the first list of `script` to its first connection, and the next list to each one after."""

    def __init__(self, *script: list[dict[str, Any]]) -> None:
        self.script, self.connections = script, 0

    async def __aenter__(self) -> "BybitBook":
        self._server = LocalServer(self._answer)
        self.http, self.ws = await self._server.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        listed = {
            "symbol": "BTCUSDT", "contractType": "LinearPerpetual", "status": "Trading", "baseCoin": "BTC",
            "quoteCoin": "USDT", "deliveryTime": "0", "priceFilter": {"tickSize": "0.1"},
        }  # fmt: skip
        found = [listed] if "linear" in request.query_string else []
        return web.json_response({"retCode": 0, "result": {"list": found}})

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        frames = self.script[min(self.connections, len(self.script) - 1)]
        self.connections += 1
        with contextlib.suppress(ConnectionError):
            async for message in socket:
                asked = json.loads(message.data)
                if asked.get("args") != [TOPIC]:
                    continue
                await socket.send_json({"success": True, "ret_msg": "", "op": "subscribe", "conn_id": "c"})
                for one in frames:
                    await socket.send_json(one)
                    await asyncio.sleep(0)
        return socket

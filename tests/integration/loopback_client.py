"""A plain client of the loopback exchange for tests: signed requests as Binance documents them, and a socket."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import aiohttp

from quantai.venues.loopback import LoopbackExchange

PATIENCE_S = 60.0


class Client:
    """One customer; `async with Client(exchange) as client`."""

    def __init__(self, exchange: LoopbackExchange, key: str = "", secret: str = "", ahead_ms: int = 0) -> None:
        self.exchange, self.ahead_ms = exchange, ahead_ms
        self.key, self.secret = key or exchange.key, secret or exchange.secret
        self.headers: dict[str, str] = {}

    async def __aenter__(self) -> "Client":
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(self, path: str, **params: Any) -> Any:
        """A public request; the answer's JSON."""
        _, answer = await self.ask("GET", path, signed=False, **params)
        return answer

    async def ask(
        self, method: str, path: str, *, signed: bool = True, timeout_s: float = PATIENCE_S, **params: Any
    ) -> tuple[int, Any]:
        """Any request; (HTTP status, the answer's JSON)."""
        query = urlencode(params)
        if signed:
            stamp = {"timestamp": int(time.time() * 1000) + self.ahead_ms, "recvWindow": 60_000}
            query = urlencode(params | {k: v for k, v in stamp.items() if k not in params})
            query += "&signature=" + hmac.new(self.secret.encode(), query.encode(), hashlib.sha256).hexdigest()
        address = f"{self.exchange.http}{path}?{query}"
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        headers = {"X-MBX-APIKEY": self.key} if signed and self.key != "-" else {}
        async with self._session.request(method, address, headers=headers, timeout=timeout) as response:
            self.headers = dict(response.headers)
            return response.status, json.loads(await response.text())

    async def order(self, path: str = "/api/v3/order", **params: Any) -> Any:
        """A new order of BTCUSDT that must be taken; the answer's JSON."""
        status, answer = await self.ask("POST", path, **({"symbol": "BTCUSDT"} | params))
        assert status == 200, answer
        return answer

    def listen(self, path: str) -> Any:
        """A socket, for `async with`."""
        return self._session.ws_connect(f"{self.exchange.ws}{path}")


def limit(side: str, quantity: str, price: str, **more: Any) -> dict[str, Any]:
    return {"side": side, "type": "LIMIT", "timeInForce": "GTC", "quantity": quantity, "price": price} | more


def market(side: str, quantity: str, **more: Any) -> dict[str, Any]:
    return {"side": side, "type": "MARKET", "quantity": quantity} | more


async def receive(socket: Any) -> Any:
    """The next JSON frame."""
    message = await asyncio.wait_for(socket.receive(), PATIENCE_S)
    assert message.type is aiohttp.WSMsgType.TEXT, message
    return json.loads(message.data)


async def until(true: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait until something holds and return it."""
    deadline = time.monotonic() + patience_s
    while not (found := true()):
        assert time.monotonic() < deadline, f"waited {patience_s:g} s for {what}"
        await asyncio.sleep(0.01)
    return found

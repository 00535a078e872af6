"""The HTTP side of the exchange: requests in, answers out, and the faults that come between."""

import asyncio
import contextlib

from aiohttp import web

from quantai.venues.loopback import admin
from quantai.venues.loopback.exchange import Exchange
from quantai.venues.loopback.faults import Fault
from quantai.venues.loopback.gate import Gate, read
from quantai.venues.loopback.hub import dump
from quantai.venues.loopback.refusals import Refused
from quantai.venues.loopback.routes import ROUTES, Security
from quantai.venues.loopback.sockets import Sockets, refusal


class Server:
    """Serves an exchange on a port of this machine."""

    def __init__(self, exchange: Exchange, desk: "admin.Desk", *, limited: bool = False) -> None:
        self._exchange, self._gate, self._desk = exchange, Gate(exchange, limited=limited), desk
        self._sockets = Sockets(exchange, self._gate)
        self._runner: web.AppRunner | None = None
        self._closing = asyncio.Event()
        self.port = 0

    async def open(self, port: int, host: str = "127.0.0.1") -> None:
        """Listen on a port, 0 for any that is free; raises OSError when it is taken."""
        app = web.Application(client_max_size=1 << 20)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._closing = asyncio.Event()
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Cut every connection and give the port back."""
        self._closing.set()
        await self._exchange.hub.close_all()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        host, path = split(request.path)
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._sockets.serve(request, host, path)
        body = await request.text() if request.can_read_body else ""
        if path.startswith("/loopback/"):
            return await self._desk.answer(request.method, path, request.query, body)
        struck = [f for f in self._exchange.faults if f.strikes_request(request.method, path)]
        early = _refusal(struck)
        if early is not None:
            return early
        status, answer, headers = self._do(request, path, body)
        for fault in struck:
            if fault.name == "slow":
                await asyncio.sleep(fault.ms / 1_000)
        names = {fault.name for fault in struck}
        if "timeout" in names:
            await self._never(request)
        if "disconnect" in names and request.transport is not None:
            request.transport.abort()
        if "unknown" in names:
            refused = Refused.of(-1007, 408)
            status, answer = refused.status, dump(refused.body())
        if "garbage" in names:
            answer = answer[: len(answer) // 2]
        return web.Response(status=status, text=answer, content_type="application/json", headers=headers)

    def _do(self, request: web.Request, path: str, body: str) -> tuple[int, str, dict[str, str]]:
        headers: dict[str, str] = {}
        try:
            method = request.method
            route = ROUTES.get((method, path))
            if route is None:
                raise Refused(-5000, f"Path {path}, Method {method} is invalid", status=404)
            self._exchange.requests[f"{method} {path}"] = self._exchange.requests.get(f"{method} {path}", 0) + 1
            key = request.headers.get("X-MBX-APIKEY", "")
            account = self._gate.account(route, key)
            headers = self._gate.count(route, key)
            query = request.raw_path.partition("?")[2]
            params = read(query, body)
            if account is not None and route.security is Security.SIGNED:
                self._gate.check_signature(account, query, body)
                self._gate.check_time(params)
            return 200, dump(route.answer(self._exchange, account, params)), headers
        except Refused as refused:
            retry = {"Retry-After": "1"} if refused.status == 429 else {}
            return refused.status, dump(refused.body()), headers | retry

    async def _never(self, request: web.Request) -> None:
        while request.transport is not None and not request.transport.is_closing() and not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), 0.2)


def split(path: str) -> tuple[str, str]:
    """Return the host a redirected client put in front of a path, and the path.

    >>> split("/fapi.binance.com/fapi/v1/ping"), split("/api/v3/ping"), split("/fstream.binance.com:443/ws")
    (('fapi.binance.com', '/fapi/v1/ping'), ('', '/api/v3/ping'), ('fstream.binance.com:443', '/ws'))
    """
    first, _, rest = path.lstrip("/").partition("/")
    return (first, f"/{rest}") if "." in first and "@" not in first else ("", path)


def _refusal(struck: list[Fault]) -> web.Response | None:
    refused = refusal(struck)
    if refused is None:
        return None
    headers = {"Retry-After": "1"} if refused.status in (418, 429) else {}
    return web.Response(
        status=refused.status, text=dump(refused.body()), content_type="application/json", headers=headers
    )

"""A toy exchange for protocol fakes: one market with an outside that takes and gives at two prices, and a server.

What a fake adds is the protocol: how requests, answers and messages look. Faults are switches of the server.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import WSMsgType, web

BUY, SELL = 1, -1
ORDERS = ("order/create", "batch-orders", "spot/orders", "brokerage/orders", "AddOrder")
"""How paths end that new orders are sent to."""


class Refused(Exception):
    """The exchange says no, with its code."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code, self.words = code, words


@dataclass(slots=True)
class ToyFill:
    id: str
    px: Decimal
    qty: Decimal
    is_maker: bool
    ms: int


@dataclass(slots=True)
class ToyOrder:
    id: str
    client_id: str
    side: int
    kind: str  # limit or market
    tif: str  # GTC, IOC, FOK or PO
    px: Decimal
    qty: Decimal
    ms: int
    is_open: bool = True
    fills: list[ToyFill] = field(default_factory=list[ToyFill])

    @property
    def filled(self) -> Decimal:
        return sum((f.qty for f in self.fills), Decimal(0))


class ToyExchange:
    """BTC-USDT with endless size at `bid` and `ask`; `changed` hears of each order, with the fill if there is one."""

    def __init__(self, bid: Decimal, ask: Decimal, changed: Callable[[ToyOrder, ToyFill | None], None]) -> None:
        self.prices, self.changed = {BUY: bid, SELL: ask}, changed
        self.orders: list[ToyOrder] = []
        self.balances = {"BTC": Decimal(10), "USDT": Decimal(1_000_000)}
        self._ids = itertools.count(7_001)

    def place(self, client_id: str, side: int, kind: str, tif: str, px: Decimal, qty: Decimal) -> ToyOrder:
        if any(o.client_id == client_id for o in self.orders):
            raise Refused("duplicate", "Duplicated client order id.")
        if qty > 1_000:
            raise Refused("funds", "Insufficient balance.")
        order = ToyOrder(str(next(self._ids)), client_id, side, kind, tif, px, qty, now_ms())
        self.orders.append(order)
        self.changed(order, None)
        self._arrive(order)
        return order

    def amend(self, order: ToyOrder, px: Decimal, qty: Decimal) -> None:
        if not order.is_open:
            raise Refused("late", "The order has ended.")
        order.px, order.qty = px, qty
        self.changed(order, None)
        self._arrive(order)

    def cancel(self, order: ToyOrder) -> None:
        if not order.is_open:
            raise Refused("late", "The order has ended.")
        self.end(order)

    def end(self, order: ToyOrder) -> None:
        order.is_open = False
        self.changed(order, None)

    def take(self, side: int, qty: Decimal) -> None:
        """Somebody takes from the resting orders of the other side, best price first; the rest finds the outside."""
        resting = [o for o in self.orders if o.is_open and o.side == -side]
        for order in sorted(resting, key=lambda o: -o.side * o.px):
            if (order.px - self.prices[-side]) * order.side >= 0 and qty:
                part = min(qty, order.qty - order.filled)
                qty -= part
                self._fill(order, order.px, part, is_maker=True)

    def find(self, id: str, client_id: str) -> ToyOrder | None:
        return next((o for o in self.orders if (id and o.id == id) or (client_id and o.client_id == client_id)), None)

    def _arrive(self, order: ToyOrder) -> None:
        outside = self.prices[-order.side]
        if order.kind == "market" or (order.px - outside) * order.side >= 0:
            if order.tif == "PO":
                self.end(order)
            else:
                self._fill(order, outside, order.qty - order.filled, is_maker=False)
        elif order.tif in ("IOC", "FOK"):
            self.end(order)

    def _fill(self, order: ToyOrder, px: Decimal, qty: Decimal, *, is_maker: bool) -> None:
        fill = ToyFill(str(next(self._ids)), px, qty, is_maker, now_ms())
        order.fills.append(fill)
        order.is_open = order.filled < order.qty
        self.balances["BTC"] += order.side * qty
        self.balances["USDT"] -= order.side * qty * px
        self.changed(order, fill)


Handler = Callable[[dict[str, Any]], Any]


class ToyServer:
    """HTTP and sockets on one port; a fake fills `routes`, and overrides `check`, `refusal`, `hear` and `too_many`."""

    retry_after_s = 0  # what a refusal for the rate says, when it says it

    def __init__(self) -> None:
        self.routes: dict[tuple[str, str], Handler] = {}
        self.sockets: set[web.WebSocketResponse] = set()
        self.following: set[web.WebSocketResponse] = set()
        self.is_cut = self.repeats = False
        self.deafened: set[web.WebSocketResponse] = set()
        self.swallows = self.refusals = self.spoiled = 0
        self._outbox: asyncio.Queue[str] = asyncio.Queue()

    async def open(self) -> str:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._sender = asyncio.create_task(self._send())
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        self._sender.cancel()
        await asyncio.gather(self._sender, return_exceptions=True)
        for socket in list(self.sockets):
            await socket.close()
        await self._runner.cleanup()

    async def cut(self) -> None:
        self.is_cut = True
        for socket in list(self.sockets):
            await socket.close(code=1001)

    def push(self, message: dict[str, Any]) -> None:
        self._outbox.put_nowait(json.dumps(message))

    def check(self, request: web.Request, path: str, body: str) -> None:
        """Raise Refused for a request that is not signed as it must be."""

    def refusal(self, error: Refused) -> web.Response:
        raise NotImplementedError from error

    def too_many(self) -> web.Response:
        raise NotImplementedError

    async def hear(self, socket: web.WebSocketResponse, said: str) -> None:
        raise NotImplementedError

    async def _send(self) -> None:
        while True:
            text = await self._outbox.get()
            for socket in list(self.following):
                if socket.closed or socket in self.deafened:
                    continue
                sent = [text, text] if self.repeats else [text]
                if self.spoiled:
                    self.spoiled -= 1
                    sent = [text[: len(text) // 2]]
                for frame in sent:
                    await socket.send_str(frame)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        host, _, path = request.path.lstrip("/").partition("/")
        if "." not in host:  # who asks for markets alone keeps no host in front of the path
            path = request.path.lstrip("/")
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request)
        body = await request.text()
        parent, _, last = path.rpartition("/")
        handler = self.routes.get((request.method, "/" + path)) or self.routes.get((request.method, f"/{parent}/*"))
        if handler is None:
            return web.Response(status=404, text=f"{host} has no {path}")
        asked: Any = dict(parse_qsl(body)) if body[:1] not in ("", "{", "[") else json.loads(body or "null")
        asked = dict(request.query) if asked is None else asked
        if isinstance(asked, dict):
            asked["*"] = last  # an id in the path, where there is one
        is_order = request.method == "POST" and path.endswith(ORDERS)
        try:
            self.check(request, "/" + path, body)
            if is_order and self.refusals:
                self.refusals -= 1
                refused = self.too_many()
                if self.retry_after_s:
                    refused.headers["Retry-After"] = str(self.retry_after_s)
                return refused
            answer = handler(asked[0] if isinstance(asked, list) else asked)
        except Refused as error:
            return self.refusal(error)
        if is_order and self.swallows:
            self.swallows -= 1
            await asyncio.sleep(60)
        return web.json_response(answer)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if self.is_cut:
            return web.Response(status=503)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.add(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await self.hear(socket, message.data)
        finally:
            self.sockets.discard(socket)
            self.following.discard(socket)
        return socket


def now_ms() -> int:
    return time.time_ns() // 1_000_000

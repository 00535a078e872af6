"""The sockets' side: market streams (raw and combined), user streams by listen key, and the WebSocket API."""

import asyncio
import contextlib
import json
from typing import Any

from aiohttp import WSMsgType, web

from quantai.venues.loopback.exchange import Exchange
from quantai.venues.loopback.faults import Fault
from quantai.venues.loopback.gate import Gate
from quantai.venues.loopback.hub import REPLY, Connection, dump
from quantai.venues.loopback.listings import Product
from quantai.venues.loopback.params import Params
from quantai.venues.loopback.refusals import Refused
from quantai.venues.loopback.routes import METHODS, ROUTES, Route, Security

_FUTURES_HOSTS = ("fstream", "ws-fapi", "fapi", "binancefuture")
_FUTURES_PATHS = ("/public", "/market", "/private", "/ws-fapi")


class Sockets:
    """Serves what opens a WebSocket."""

    def __init__(self, exchange: Exchange, gate: Gate) -> None:
        self._exchange, self._gate = exchange, gate

    async def serve(self, request: web.Request, host: str, path: str) -> web.WebSocketResponse:
        """Keep one socket until it closes."""
        socket = web.WebSocketResponse(compress=False, max_msg_size=1 << 20)
        await socket.prepare(request)
        hub, product = self._exchange.hub, _product(host, path)
        connection = Connection(product, socket, request, combined="/stream" in path)
        hub.connections.add(connection)
        writer = asyncio.create_task(connection.write(self._exchange.faults))
        self._enter(connection, path, request.query.get("streams", ""), request.query.get("listenKey", ""))
        hears = self._call if "/ws-api" in path or "/ws-fapi" in path else self._order_streams
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    hears(connection, message.data)
        finally:
            hub.leave(connection)
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
        return socket

    def _enter(self, connection: Connection, path: str, streams: str, listen_key: str) -> None:
        named = [*path.split("/"), *streams.split("/"), listen_key]
        for name in filter(None, named):
            owner = self._exchange.hub.listen_keys.get(name)
            if owner is not None and owner[0] is connection.product:
                connection.users[owner[1]] = None
            elif "@" in name or name.startswith("!"):
                self._exchange.hub.subscribe(connection, name)

    def _order_streams(self, connection: Connection, text: str) -> None:
        try:
            asked = json.loads(text)
            method, names = asked["method"], asked.get("params") or []
        except (ValueError, KeyError, TypeError):
            error = {"code": 2, "msg": "Invalid request: request is not a JSON object with a method"}
            connection.send(REPLY, dump({"error": error}))
            return
        hub, result = self._exchange.hub, None
        match method:
            case "SUBSCRIBE":
                for name in names:
                    self._enter(connection, "", "", name)
            case "UNSUBSCRIBE":
                for name in names:
                    hub.unsubscribe(connection, name)
            case "LIST_SUBSCRIPTIONS":
                result = sorted(connection.streams)
            case "SET_PROPERTY" if len(names) == 2 and names[0] == "combined":
                connection.combined = bool(names[1])
            case _:
                error = {"code": 2, "msg": f"Invalid request: unknown method {method}"}
                connection.send(REPLY, dump({"error": error, "id": asked.get("id")}))
                return
        connection.send(REPLY, dump({"result": result, "id": asked.get("id")}))

    def _call(self, connection: Connection, text: str) -> None:
        """Answer one request of the WebSocket API."""
        asked: Any = {}
        try:
            asked = json.loads(text)
            method = asked["method"]
        except (ValueError, KeyError, TypeError):
            self._reply(connection, None, Refused(-1022, "Request is not a JSON object with a method."))
            return
        params = Params({k: _plain(v) for k, v in (asked.get("params") or {}).items() if v is not None})
        try:
            if method.startswith("userDataStream.subscribe") or method == "userDataStream.unsubscribe":
                result = self._user_stream(connection, method, params)
            else:
                result = self._request(connection.product, method, params)
        except Refused as refused:
            result = refused
        if result is not None:
            self._reply(connection, asked.get("id"), result)

    def _user_stream(self, connection: Connection, method: str, params: Params) -> Any:
        if method == "userDataStream.unsubscribe":
            number = params.integer("subscriptionId")
            for key, mine in list(connection.users.items()):
                if number in (None, mine):
                    del connection.users[key]
            return {}
        route = Route(None, connection.product, Security.SIGNED)
        account = self._gate.account(route, params.get("apiKey", ""))
        assert account is not None  # noqa: S101 -- a signed route always has one
        self._gate.check_socket_signature(account, params)
        self._gate.check_time(params)
        connection.users.setdefault(account.key, len(connection.users))
        return {"subscriptionId": connection.users[account.key]}

    def _request(self, product: Product, method: str, params: Params) -> Any:
        name = METHODS[product].get(method)
        if name is None:
            raise Refused(-1000, f"Unknown method {method}.")
        route = ROUTES[name]
        struck = [f for f in self._exchange.faults if f.strikes_request(*name)]
        if (refused := refusal(struck)) is not None:
            raise refused
        account = self._gate.account(route, params.get("apiKey", ""))
        self._gate.count(route, params.get("apiKey", ""))
        if account is not None and route.security is Security.SIGNED:
            self._gate.check_socket_signature(account, params)
            self._gate.check_time(params)
        key = f"{name[0]} {name[1]}"
        self._exchange.requests[key] = self._exchange.requests.get(key, 0) + 1
        result = route.answer(self._exchange, account, params)
        if any(f.name == "timeout" for f in struck):
            return None
        if any(f.name == "unknown" for f in struck):
            raise Refused.of(-1007, 408)
        return result

    def _reply(self, connection: Connection, id: Any, result: Any) -> None:
        if isinstance(result, Refused):
            body = {"id": id, "status": result.status, "error": result.body()}
        else:
            body = {"id": id, "status": 200, "result": result}
        connection.send(REPLY, dump(body | {"rateLimits": []}))


def refusal(struck: list[Fault]) -> Refused | None:
    """Return the refusal that faults ask for before anything is done, None for none."""
    for fault in struck:
        if fault.name == "reject":
            return Refused.of(fault.code or -1001)
        if fault.name == "http":
            return Refused.of(-1003 if fault.status in (418, 429) else -1000, fault.status)
    return None


def _product(host: str, path: str) -> Product:
    futures = any(name in host for name in _FUTURES_HOSTS) or path.startswith(_FUTURES_PATHS)
    return Product.FUTURES if futures else Product.SPOT


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)

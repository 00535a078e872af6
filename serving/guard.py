"""The guard in front of every request of a service: who has a key, to what its role may do, as often as it may."""

import asyncio
import ipaddress
import json
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from functools import cached_property
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

from serving.keys import CALLER, Key, Keys, note

OPEN = ("/livez", "/readyz", "/healthz")
"""What a load balancer asks, without a key."""
SAFE = ("GET", "HEAD", "OPTIONS")
COOKIE = "quantai_key"
QUIET: dict[str, Any] = {
    "metrics": {"enabled": False}, "tracing": {"excluded_urls": ".*"}, "logging": {"access": {"enabled": False}}
}  # fmt: skip
"""What BentoML does for each request before anybody looks at its key is off: its metrics keep a series for every path
that is asked for, so whoever can reach the port could fill memory and disk with them."""
MOST_SESSIONS = 10_000
"""How many sessions of a page are known by their key; the oldest are forgotten first."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Guard:
    """ASGI middleware for HTTP and sockets: answers by itself whoever may not, and passes on all others.

    `keys` is asked for at the first request, as is `folder`, where it is noted who was refused. A request decides when
    its method is none of SAFE and its path none of `reading`, or when its path is one of `deciding`, where that is
    given; `noting` notes those as well, with the status of the answer, where the service does not. A body is cut off
    after `most_bytes`, except at the paths of `streaming`, which read theirs as it comes.

    Below `page` a browser may show its key as a cookie, which a first visit with `?key=` gives it: other paths take no
    cookie, so no page elsewhere can decide anything in somebody's name. What a page does for a visitor it does by the
    number of a session that the browser makes up: a session is that of the key that opened it, and of no other.

    Without keys this machine alone is answered, and only where nothing passed a request on and it was made to this
    machine's own name: a page in somebody's browser can send requests here, too, but not under that name.
    """

    def __init__(
        self,
        app: Any,
        keys: Callable[[], Keys],
        folder: Callable[[], Path],
        *,
        reading: Collection[str] = (),
        deciding: Collection[str] | None = None,
        noting: bool = False,
        page: str = "",
        streaming: Collection[str] = (),
        most_bytes: int = 64 << 20,
    ) -> None:
        self.app, self._make, self._folder = app, keys, folder
        self._reading, self._deciding, self._noting = reading, deciding, noting
        self._page, self._streaming, self._most_bytes = page, streaming, most_bytes
        self._sessions: dict[str, str] = {}

    @cached_property
    def keys(self) -> Keys:
        """Whom it lets in."""
        return self._make()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, 403, 413 or 429, or pass the request on."""
        if scope["type"] not in ("http", "websocket") or scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if self._page and scope["type"] == "http" and self._on_page(scope) and b"key=" in scope["query_string"]:
            await self._enter(scope, send)
            return
        key = self._key(scope, headers)
        decides = self._decides(scope)
        code, why = 0, ""
        if key is None:
            code, why = 401, "a key is needed: X-API-Key or Authorization: Bearer"
        elif not key.take(time.monotonic(), decides=decides):
            code, why = 429, f"{key.name}: too many calls, slow down"
        elif decides and not key.operates:
            code, why = 403, f"{key.name} may read only"
            await asyncio.to_thread(note, self._folder(), key, scope["path"], refused="needs the role operate")
        elif self._is_anothers(scope, headers, key):
            code, why = 403, "this session is another visitor's"
            await asyncio.to_thread(note, self._folder(), key, scope["path"], refused=why)
        elif _length(headers) > self._most_bytes:
            code, why = 413, f"at most {self._most_bytes >> 20} MB at once"
        if code or key is None:
            await _refuse(scope, receive, send, code, why)
            return
        CALLER.set(key)
        meta = {**scope.get("meta", {}), "key": key}
        if decides and self._noting:
            send = self._noted(key, scope["path"], send)
        receive = receive if scope["path"] in self._streaming else self._counted(receive)
        await self.app({**scope, "quantai.key": key, "meta": meta}, receive, send)

    def _decides(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] in SAFE or self._on_page(scope):
            return False  # what a page may do, it looks at the role of its visitor for
        path = scope["path"].rstrip("/") or "/"
        return path in self._deciding if self._deciding is not None else path not in self._reading

    def _on_page(self, scope: Scope) -> bool:
        return bool(self._page) and f"{scope['path']}/".startswith(f"{self._page}/")

    def _is_anothers(self, scope: Scope, headers: dict[str, str], key: Key) -> bool:
        """Whether a session of the page was opened with another key."""
        if not self._on_page(scope):
            return False
        named = parse_qs(scope["query_string"].decode("latin-1")).get("session_id", [])
        named += [headers["marimo-session-id"]] if "marimo-session-id" in headers else []
        if len(self._sessions) > MOST_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))
        return any(self._sessions.setdefault(name, key.sha256) != key.sha256 for name in named)

    def _key(self, scope: Scope, headers: dict[str, str]) -> Key | None:
        if not self.keys.needed:
            return self.keys.here if _is_here(scope, headers) else None
        given = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        if not given and self._on_page(scope) and _is_own(headers):
            given = _cookie(headers)
        return self.keys.find(given.encode("latin-1"))

    async def _enter(self, scope: Scope, send: Send) -> None:
        """Take a key out of the address, where it would be kept in a history, into a cookie."""
        asked = parse_qs(scope["query_string"].decode("latin-1"))
        given = asked.pop("key")[-1]
        if self.keys.needed and self.keys.find(given.encode()) is None:
            await _refuse(scope, None, send, 401, "this key is not known")
            return
        rest = urlencode(asked, doseq=True)
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        cookie = f"{COOKIE}={given}; Path={self._page}; HttpOnly; SameSite=Strict{secure}"
        location = f"{scope['path']}?{rest}" if rest else scope["path"]
        headers = [
            (b"location", location.encode("latin-1")), (b"set-cookie", cookie.encode("latin-1")),
            (b"content-length", b"0"), (b"referrer-policy", b"no-referrer"),
        ]  # fmt: skip
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    def _noted(self, key: Key, path: str, send: Send) -> Send:
        async def say(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                await asyncio.to_thread(note, self._folder(), key, path, status=message["status"])
            await send(message)

        return say

    def _counted(self, receive: Receive) -> Receive:
        """Cut off a body that is longer than it said."""
        got = 0

        async def read() -> MutableMapping[str, Any]:
            nonlocal got
            message = await receive()
            if message["type"] != "http.request":
                return message
            got += len(message.get("body", b""))
            return message if got <= self._most_bytes else {"type": "http.disconnect"}

        return read


def _length(headers: dict[str, str]) -> int:
    said = headers.get("content-length", "0")
    return int(said) if said.isascii() and said.isdigit() else 0


def _cookie(headers: dict[str, str]) -> str:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found is not None else ""


def _is_own(headers: dict[str, str]) -> bool:
    """Whether a browser's request comes from a page of this service, or from no page."""
    return headers.get("origin", "").partition("://")[2] in ("", headers.get("host", ""))


def _is_here(scope: Scope, headers: dict[str, str]) -> bool:
    client = scope.get("client") or ("", 0)
    passed_on = {"forwarded", "x-forwarded-for", "x-real-ip"} & set(headers)
    return (
        not passed_on and _is_loopback(client[0]) and _is_loopback(_name(headers.get("host", ""))) and _is_own(headers)
    )


def _name(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.rpartition(":")[0] or host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _refuse(scope: Scope, receive: Receive | None, send: Send, status: int, why: str) -> None:
    if scope["type"] == "websocket":
        if receive is not None:
            await receive()
        await send({"type": "websocket.close", "code": 4000 + status})
        return
    body = json.dumps({"error": why}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""Who may call a service: keys with what each may do, and a guard in front of every request.

A key file is TOML; only hashes stand in it (`printf %s "$KEY" | sha256sum`):

    [[key]]
    name = "research"
    sha256 = "9f86d0…"
    may = ["read", "write", "tools"]
    collections = ["papers"]       # all of them when left out
    per_minute = 120
"""

import hashlib
import hmac
import ipaddress
import json
import re
import time
import tomllib
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quantai.core.errors import InputError

OPEN = ("/livez", "/readyz", "/healthz")
"""What a load balancer asks, without a key."""

RIGHTS = ("read", "write", "tools")


@dataclass
class Key:
    """One caller: a name, what it may do, the collections it may see (all when empty), calls a minute."""

    name: str
    may: frozenset[str]
    sha256: str = ""
    collections: frozenset[str] = frozenset()
    per_minute: int = 120
    _left: float = field(default=0.0, repr=False)
    _at: float = field(default=0.0, repr=False)

    def take(self, now_s: float) -> bool:
        """Take one call of this minute's; False when none is left. Calls come back one by one, evenly."""
        self._left = min(float(self.per_minute), self._left + (now_s - self._at) * self.per_minute / 60)
        if self._at == 0.0:
            self._left = float(self.per_minute)
        self._at = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


CALLER: ContextVar[Key] = ContextVar("caller")
"""Whose request is being answered."""


def read_keys(path: Path) -> list[Key]:
    """Return the keys of a file; raises InputError that says what is wrong with it."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"keys {path}: {error}") from None
    keys = [
        Key(
            str(entry.get("name", "")),
            frozenset(entry.get("may", ())),
            str(entry.get("sha256", "")).lower(),
            frozenset(entry.get("collections", ())),
            int(entry.get("per_minute", 120)),
        )
        for entry in entries
    ]
    for key in keys:
        wrong = key.may - set(RIGHTS)
        if not key.name or not re.fullmatch("[0-9a-f]{64}", key.sha256) or wrong or key.per_minute < 1:
            raise InputError(f"keys {path}: key {key.name!r} needs a name, a sha256, per_minute, and may of {RIGHTS}")
    return keys


Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Guard:
    """ASGI middleware: lets in who has a key, as often as it may; without a key file, this machine alone.

    A request from this machine counts as such only when nothing passed it on and it was made to this machine's own
    name: a page in somebody's browser can send requests here, too, but not under that name.
    """

    def __init__(self, app: Any, keys: list[Key] | None = None, most_bytes: int = 64 << 20) -> None:
        self.app, self.keys, self.most_bytes = app, keys, most_bytes
        self.here = Key("this machine", frozenset(RIGHTS), per_minute=6000)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, 413 or 429, or pass the request on."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        key = self._key(scope, headers)
        if key is None:
            await _refuse(send, 401, "this service needs a key: Authorization: Bearer KEY")
        elif int(headers.get("content-length") or 0) > self.most_bytes:
            await _refuse(send, 413, f"at most {self.most_bytes >> 20} MB at once")
        elif not key.take(time.monotonic()):
            await _refuse(send, 429, f"{key.name}: more than {key.per_minute} calls a minute")
        else:
            CALLER.set(key)
            await self.app(scope, self._counted(receive), send)

    def _key(self, scope: Scope, headers: dict[str, str]) -> Key | None:
        if self.keys is None:
            return self.here if _is_here(scope, headers) else None
        given = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        digest = hashlib.sha256(given.encode()).hexdigest()
        found = [key for key in self.keys if hmac.compare_digest(key.sha256, digest)]
        return found[0] if found else None

    def _counted(self, receive: Receive) -> Receive:
        """Cut off a body that is longer than it said."""
        got = 0

        async def read() -> MutableMapping[str, Any]:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            return message if got <= self.most_bytes else {"type": "http.disconnect"}

        return read


def _is_here(scope: Scope, headers: dict[str, str]) -> bool:
    client = scope.get("client") or ("", 0)
    passed_on = {"forwarded", "x-forwarded-for", "x-real-ip"} & set(headers)
    origin = headers.get("origin", "").partition("://")[2]
    host = headers.get("host", "")
    return not passed_on and _is_loopback(client[0]) and _is_loopback(_name(host)) and origin in ("", host)


def _name(host: str) -> str:
    return host[1:].partition("]")[0] if host.startswith("[") else host.rpartition(":")[0] or host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _refuse(send: Send, status: int, why: str) -> None:
    body = json.dumps({"error": why}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

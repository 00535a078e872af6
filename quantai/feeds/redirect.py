"""Pointing a cryptofeed feed at another address: a local server, a proxy, a test venue.

The feed keeps its logical addresses (`wss://real-host/path`), only the address it dials changes, to
`BASE/real-host/path`; so one server can play every venue, and wire frames recorded on the way replay like any others.
cryptofeed has no setting for this: the private hooks `Feed._wrap_connection` and `Connection._open` of version 3.0.1
are used, which is why that version is pinned (docs/decisions/0010-cryptofeed.md) and a test holds on to them.
"""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from cryptofeed.connection import HTTPAsyncConn, HTTPPoll, WSAsyncConn


class _Redirected:
    """An aiohttp session with every URL rewritten."""

    def __init__(self, session: Any, rewrite: Callable[[str], str]) -> None:
        self._session, self._rewrite = session, rewrite

    @property
    def closed(self) -> bool:
        return bool(self._session.closed)

    def get(self, url: str, **options: Any) -> Any:
        return self._session.get(self._rewrite(url), **options)

    def post(self, url: str, **options: Any) -> Any:
        return self._session.post(self._rewrite(url), **options)

    async def close(self) -> None:
        await self._session.close()


class _RedirectedHTTP(HTTPAsyncConn):
    rewrite: Callable[[str], str]
    conn: Any

    async def _open(self) -> None:
        was_open = self.is_open
        await super()._open()
        if not was_open:
            self.conn = _Redirected(self.conn, self.rewrite)


class _RedirectedPoll(_RedirectedHTTP, HTTPPoll):
    pass


class _RedirectedSocket(WSAsyncConn):
    rewrite: Callable[[str], str]

    async def _open(self) -> None:
        logical: str = self.address
        tap: Any = self.raw_data_callback
        self.address, self.raw_data_callback = self.rewrite(logical), None
        try:
            await super()._open()
        finally:
            self.address, self.raw_data_callback = logical, tap
        if tap is not None:  # told only now, so that what is recorded carries the logical address
            await tap.on_ws_open(self, time.time())


def redirect(connection: Any, ws: str, http: str) -> Any:
    """Make `connection` (a cryptofeed connection not opened yet) dial `ws` or `http` instead, and return it.

    `ws` and `http` are base addresses such as `ws://127.0.0.1:9300` and `http://127.0.0.1:9300`.
    """
    socket, polls = isinstance(connection, WSAsyncConn), isinstance(connection, HTTPPoll)
    connection.__class__ = _RedirectedSocket if socket else _RedirectedPoll if polls else _RedirectedHTTP
    base = ws if socket else http

    def rewrite(url: Any) -> str:
        u = urlsplit(str(url))
        return f"{base}/{u.netloc}{u.path or '/'}" + (f"?{u.query}" if u.query else "")

    connection.rewrite = rewrite
    return connection

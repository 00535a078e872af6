"""The exchange's sockets: who listens to what, each event serialised once, and the faults that strike frames."""

import asyncio
import contextlib
import json
from collections import deque
from typing import Any

from aiohttp import web

from quantai.venues.loopback.faults import Fault
from quantai.venues.loopback.listings import Product

MOST_WAITING = 200_000  # frames a client may be behind before it is cut off
USER = "user"  # what a fault's stream= calls the user stream
REPLY = ""


class Connection:
    """One open socket; a task of its own sends its frames in order, so that a slow client delays nobody else."""

    def __init__(
        self, product: Product, socket: web.WebSocketResponse, request: web.Request, *, combined: bool
    ) -> None:
        self.product, self.socket, self.combined, self._request = product, socket, combined, request
        self.streams: set[str] = set()
        self.users: dict[str, int | None] = {}  # key of the account -> number of the subscription (WebSocket API)
        self.muted = False
        self.sent = 0
        self._queue: deque[tuple[str, str, float]] = deque()
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._held = ""

    def send(self, stream: str, text: str) -> None:
        """Put a frame into the queue; a client that does not read is cut off."""
        if self.muted:
            return
        if len(self._queue) >= MOST_WAITING:
            self.abort()
            return
        self._queue.append((stream, text, self._loop.time()))
        self._wake.set()

    def abort(self) -> None:
        """Cut the connection without closing it."""
        if self._request.transport is not None:
            self._request.transport.abort()

    async def write(self, faults: list[Fault]) -> None:
        """Send what is in the queue until the socket closes."""
        with contextlib.suppress(ConnectionError, RuntimeError):
            while not self.socket.closed:
                await self._wake.wait()
                self._wake.clear()
                while self._queue:
                    stream, text, since = self._queue.popleft()
                    if faults and stream != REPLY:
                        await self._send_faulty(faults, stream, text, since)
                    elif not self.muted:
                        await self.socket.send_str(text)
                        self.sent += 1

    async def _send_faulty(self, faults: list[Fault], stream: str, text: str, since: float) -> None:
        struck = [fault for fault in faults if fault.strikes(stream)]
        names = {fault.name for fault in struck}
        self.muted = self.muted or "silence" in names
        for fault in struck:
            if fault.name == "slow":
                await asyncio.sleep(max(0.0, since + fault.ms / 1_000 - self._loop.time()))
            if fault.name == "disconnect":
                await self._cut(fault.code)
        if self.muted or "drop" in names or "disconnect" in names:
            return
        text = text[: len(text) // 2] if "garbage" in names else text
        if "reorder" in names and not self._held:
            self._held = text
            return
        frames = [text, text] if "duplicate" in names else [text]
        if self._held:
            frames.append(self._held)
            self._held = ""
        for frame in frames:
            await self.socket.send_str(frame)
            self.sent += 1

    async def _cut(self, code: int) -> None:
        self._queue.clear()
        self.muted = True
        if code == 0:
            self.abort()
        else:
            await self.socket.close(code=code)


class Hub:
    """All open connections of the exchange."""

    def __init__(self) -> None:
        self.connections: set[Connection] = set()
        self.listen_keys: dict[str, tuple[Product, str]] = {}
        self._listening: dict[tuple[Product, str], set[Connection]] = {}

    def wants(self, product: Product, stream: str) -> bool:
        """Say whether anybody listens to a stream, so that nothing is made for nobody."""
        return (product, stream) in self._listening

    def streams(self, product: Product) -> list[str]:
        """Return the streams that somebody listens to."""
        return [stream for p, stream in self._listening if p is product]

    def subscribe(self, connection: Connection, stream: str) -> None:
        """Add a stream to a connection."""
        connection.streams.add(stream)
        self._listening.setdefault((connection.product, stream), set()).add(connection)

    def unsubscribe(self, connection: Connection, stream: str) -> None:
        """Take a stream off a connection."""
        connection.streams.discard(stream)
        listening = self._listening.get((connection.product, stream), set())
        listening.discard(connection)
        if not listening:
            self._listening.pop((connection.product, stream), None)

    def leave(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self.connections.discard(connection)
        for stream in list(connection.streams):
            self.unsubscribe(connection, stream)

    def publish(self, product: Product, stream: str, data: Any) -> None:
        """Send an event to everyone who listens to a stream."""
        listening = self._listening.get((product, stream))
        if not listening:
            return
        text = dump(data)
        combined = f'{{"stream":"{stream}","data":{text}}}'
        for connection in listening:
            connection.send(stream, combined if connection.combined else text)

    def push(self, product: Product, key: str, event: Any) -> None:
        """Send an event to the user streams of an account."""
        text = ""
        for connection in self.connections:
            if connection.product is product and key in connection.users:
                text = text or dump(event)
                number = connection.users[key]
                wrapped = text if number is None else f'{{"subscriptionId":{number},"event":{text}}}'
                connection.send(USER, wrapped)

    async def close_all(self) -> None:
        """Close every connection, as an exchange that goes down does."""
        for connection in list(self.connections):
            connection.muted = True
            connection.abort()


def dump(data: Any) -> str:
    """Return compact JSON."""
    return json.dumps(data, separators=(",", ":"))

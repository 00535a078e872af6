"""The user stream of an exchange, kept alive: it is watched, found dead when it is, and opened again with patience.

A stream can be lost loudly (a close, an error), or silently: the socket stays open and tells nothing. The second is
noticed by what it ought to have told: an order that the exchange has confirmed elsewhere.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import ccxt

from quantai.core.errors import VenueError
from quantai.venues.ccxt.profiles import Profile
from quantai.venues.ccxt.verdicts import Verdict, verdict, words

FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 30.0
CALM_S = 30.0
"""A stream that was up for as long starts again with the first wait."""

_log = logging.getLogger(__name__)


class UserStream:
    """Keeps orders and executions of an account flowing into an exchange object.

    `is_up` says whether all that happens is heard. `lost` is called at once when it is not, `found` once it is again,
    and awaited before `is_up`: what was missed is asked for there.
    """

    def __init__(
        self,
        api: Any,
        profile: Profile,
        *,
        lost: Callable[[str], None],
        found: Callable[[], Awaitable[None]],
        redact: Callable[[str], str],
    ) -> None:
        self._api, self._profile, self._lost, self._found = api, profile, lost, found
        self._redact = redact
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._error: BaseException | None = None
        self._opened: set[str] = set()
        self._up_since = 0.0
        self._failures = 0
        self._closing = False
        self.is_up = False
        self.losses = 0

    async def open(self, patience_s: float) -> None:
        """Open the stream for the first time; raises VenueError that says why that cannot be."""
        for watch in ("watch_orders", "watch_my_trades")[: 1 + self._profile.streams_fills]:
            self._tasks.append(asyncio.create_task(self._keep(getattr(self._api, watch)), name=f"keep {watch}"))
        if beats := self._profile.beats:
            beating = self._keep(lambda: self._api.subscribe(beats, False))
            self._tasks.append(asyncio.create_task(beating, name=f"keep {beats}"))
        deadline = time.monotonic() + patience_s
        while not self._is_ready():
            if self._error is not None and verdict(self._error) is not Verdict.UNKNOWN:
                raise VenueError(f"{self._profile.name} does not open a stream of orders: {self._why()}")
            if time.monotonic() > deadline:
                why = self._why() or "no answer to the subscription"
                raise VenueError(f"{self._profile.name} opened no stream of orders within {patience_s:g} s: {why}")
            await self._wait(0.05)
        self._up()
        self._tasks.append(asyncio.create_task(self._watch_over(), name="watch over the stream"))

    def opened(self, url: str) -> None:
        """Note that a socket is open."""
        self._opened.add(url)
        client = self._api.clients.get(url)
        if client is not None and self._profile.ping_ms:
            client.keepAlive = self._profile.ping_ms
        self._changed.set()

    def closed(self, url: str, why: str) -> None:
        """Note that a socket is lost, and so the stream."""
        self._opened.discard(url)
        self.down(why)

    def down(self, why: str) -> None:
        """Take the stream for lost."""
        if self.is_up and not self._closing:
            self.is_up = False
            self.losses += 1
            if time.monotonic() - self._up_since > CALM_S:
                self._failures = 0
            self._lost(why)
        self._changed.set()

    def bounce(self, why: str) -> None:
        """Close every socket: it tells nothing although it is open."""
        self.down(why)
        for client in list(self._api.clients.values()):
            client.on_error(ccxt.NetworkError(why))

    async def close(self) -> None:
        """Let go of the stream."""
        self._closing, self.is_up = True, False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, watch: Callable[[], Awaitable[Any]]) -> None:
        """Watch for ever: what comes was taken before it gets here, this only notices when nothing can come."""
        while True:
            try:
                await watch()
                continue
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if self._closing or (task is not None and task.cancelling()):
                    raise
                self._error = error  # a future of ccxt was canceled, not we
            except Exception as error:  # noqa: BLE001 -- whatever it is, the stream is lost
                self._error = error
            self.down(str(self._error))
            self._drop_closed()
            self._failures += 1
            wait = min(FIRST_WAIT_S * 2 ** min(self._failures, 12), LONGEST_WAIT_S)
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))

    def _drop_closed(self) -> None:
        """Make ccxt forget sockets that are closed: it would wait on them for ever."""
        for url, client in list(self._api.clients.items()):
            if client.connected.done() and client.closed():
                self._opened.discard(url)
                self._api.clients.pop(url, None)

    def _is_ready(self) -> bool:
        """Say whether a socket is open and no login is pending on it, only the wait for orders and executions."""
        live = [c for url, c in self._api.clients.items() if url in self._opened and not c.closed()]
        pending = [key for client in live for key, future in client.futures.items() if not future.done()]
        streams = [key for key in pending if "rder" in key or "rade" in key or key == "user"]
        logins = [key for key in pending if key.isdigit() or "auth" in key.lower()]
        return len(streams) > self._profile.streams_fills and not logins

    async def _watch_over(self) -> None:
        while True:
            if self.is_up or not self._is_ready():
                await self._wait(0.1 if not self.is_up else 1.0)
                continue
            try:
                await self._found()
            except Exception as error:  # noqa: BLE001 the stream is there, but what was missed cannot be asked for yet
                _log.warning("%s: what was missed is not known yet: %s", self._profile.name, self._redact(words(error)))
                await asyncio.sleep(FIRST_WAIT_S * 4)
                continue
            if self._is_ready():
                self._up()

    def _why(self) -> str:
        return self._redact(words(self._error)) if self._error is not None else ""

    def _up(self) -> None:
        self.is_up, self._error, self._up_since = True, None, time.monotonic()

    async def _wait(self, seconds: float) -> None:
        self._changed.clear()
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return

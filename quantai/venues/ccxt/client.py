"""The exchange object of ccxt, watched from inside.

ccxt hands out merged updates and stops silently at a message that it cannot read. So each order and each execution is
taken where it is parsed, before anything is merged; a message that cannot be read is put aside and counted, and the
connection goes on.
"""

# ccxt has no types for what it calls back
# pyright: reportIncompatibleMethodOverride=false, reportIncompatibleVariableOverride=false

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import ccxt.pro
from ccxt.async_support.base.ws.cache import ArrayCacheBySymbolById
from ccxt.async_support.base.ws.client import Client

from quantai.core.errors import InputError, VenueError
from quantai.ops.clock import SteadyClock, passed_ns
from quantai.venues.ccxt.keys import Keys
from quantai.venues.ccxt.profiles import Profile

CACHED = 200
"""Orders, and executions, that ccxt keeps for its own merging."""

_SILENT = logging.getLogger("quantai.venues.ccxt.silent")
_SILENT.disabled = True  # ccxt's own debug lines hold keys


class Listener(Protocol):
    """Who is told what happens inside the exchange object; nothing here may wait."""

    def on_order(self, said: dict[str, Any]) -> None:
        """An order as parsed from one message."""
        ...

    def on_trade(self, said: dict[str, Any]) -> None:
        """An execution as parsed from one message."""
        ...

    def on_unreadable(self, message: object, error: Exception) -> None:
        """A message that ccxt or we could not read."""
        ...

    def on_opened(self, url: str) -> None:
        """A socket is open."""
        ...

    def on_lost(self, url: str, why: str) -> None:
        """A socket is lost."""
        ...


class _Tapped(ArrayCacheBySymbolById):
    """A cache of ccxt that tells of each entry as it comes, not of the merged ones."""

    def __init__(self, tell: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(CACHED)
        self._tell = tell

    def append(self, item: dict[str, Any]) -> None:
        said = dict(item)
        super().append(item)
        self._tell(said)


class _Ponged(Client):
    """A socket that knows how long ago its last pong is: ccxt takes the difference of two wall clock times."""

    ponged_ns: int | None = None

    @property
    def lastPong(self) -> int | None:  # noqa: N802 -- so ccxt calls it
        ago_ns = 0 if self.ponged_ns is None else passed_ns() - self.ponged_ns
        return None if self.ponged_ns is None else (time.time_ns() - ago_ns) // 1_000_000

    @lastPong.setter
    def lastPong(self, _: object) -> None:  # noqa: N802
        self.ponged_ns = passed_ns()


class _Watched:
    """Mixed into an exchange class of ccxt.pro."""

    listener: Listener

    def client(self, url: str) -> Any:
        parent: Any = super()
        client = parent.client(url)
        if not getattr(client, "is_guarded", False):
            client.__class__ = _Ponged
            read = client.handle_message

            def guarded(message: Any) -> None:
                try:
                    read(message)
                except Exception as error:  # noqa: BLE001 -- whatever a parser raises, the connection goes on
                    self.listener.on_unreadable(getattr(message, "data", message), error)

            client.handle_message, client.is_guarded = guarded, True
        return client

    def on_connected(self, client: Any, message: Any = None) -> None:
        parent: Any = super()
        parent.on_connected(client, message)
        self.listener.on_opened(client.url)

    def on_error(self, client: Any, error: Any) -> None:
        parent: Any = super()
        parent.on_error(client, error)
        self.listener.on_lost(client.url, str(error))

    def on_close(self, client: Any, error: Any) -> None:
        parent: Any = super()
        parent.on_close(client, error)
        self.listener.on_lost(client.url, f"closed with code {error}")


def exchange(
    profile: Profile,
    keys: Keys,
    listener: Listener,
    *,
    sandbox: bool = False,
    endpoint: str | None = None,
    timeout_s: float = 10.0,
) -> Any:
    """Return an exchange object of ccxt.pro: exact numbers, no rate limit and no repetition of its own.

    `endpoint` is where all its addresses are sent instead (`http://127.0.0.1:9400`), the host in front of the path.
    Raises VenueError where there is no test market, InputError for an endpoint that is no URL.
    """
    known = getattr(ccxt.pro, profile.ccxt_id)
    watched = type(known.__name__, (_Watched, known), {})
    api: Any = watched(
        {
            "apiKey": keys.key,
            "secret": keys.secret,
            "password": keys.password,
            "enableRateLimit": False,
            "timeout": int(timeout_s * 1000),
            "options": {
                "adjustForTimeDifference": True,
                "maxRetriesOnFailure": 0,
                "fetchCurrencies": False,
                "watchPositions": {"fetchPositionsSnapshot": False, "awaitPositionsSnapshot": False},
                "watchBalance": {"fetchBalanceSnapshot": False, "awaitBalanceSnapshot": False},
                **profile.options,
            },
        }
    )
    clock = SteadyClock()  # requests signed by a clock that somebody has just set would be refused
    api.milliseconds, api.microseconds = (lambda: clock() // 1_000_000), (lambda: clock() // 1_000)
    api.seconds = lambda: clock() // 1_000_000_000
    api.number = str
    api.logger = _SILENT
    api.has["fetchCurrencies"] = False
    api.listener = listener
    api.orders, api.myTrades = _Tapped(listener.on_order), _Tapped(listener.on_trade)
    if sandbox:
        _to_sandbox(api, profile)
    if endpoint:
        _redirect(api, endpoint)
    return api


def _to_sandbox(api: Any, profile: Profile) -> None:
    if profile.sandbox == "testnet":
        api.set_sandbox_mode(True)
    elif profile.sandbox == "demo":
        api.enable_demo_trading(True)
    else:
        raise VenueError(f"{profile.name} has no test market: start on paper, or with the smallest size")


def _redirect(api: Any, endpoint: str) -> None:
    to = urlsplit(endpoint)
    if to.scheme not in ("http", "https") or not to.netloc:
        raise InputError(f"endpoint {endpoint!r} is no address: write http://127.0.0.1:9400")

    def moved(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: moved(v) for k, v in cast("Mapping[str, Any]", value).items()}
        if isinstance(value, str) and "://" in value:
            url = urlsplit(value.replace("{hostname}", getattr(api, "hostname", "") or "host"))
            scheme = to.scheme.replace("http", "ws") if url.scheme.startswith("ws") else to.scheme
            return f"{scheme}://{to.netloc}/{url.netloc}{url.path}"
        return value

    for name in ("api", "test", "demo"):
        if name in api.urls:
            api.urls[name] = moved(api.urls[name])

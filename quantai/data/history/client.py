"""A venue's public REST interface: ccxt, with retries and with errors in one line."""

import datetime as dt
import logging
import time
from typing import Any
from urllib.parse import urlsplit

from quantai.core.errors import InputError, MissingExtra, UnknownName, VenueError
from quantai.core.instruments import Instrument, Payoff
from quantai.data.bars import interval_ns
from quantai.data.history.names import Place, place, resolve, to_ccxt

_ATTEMPTS = 8
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_PATIENCE_S = 120.0  # a venue that asks for a longer pause has banned us: better to stop and say so
_TICK_SIZE = 4  # ccxt's precisionMode in which a precision is a step, not a number of digits
_log = logging.getLogger(__name__)


class Client:
    """One market of one venue, checked to exist before anything is downloaded.

    Requests keep the venue's rate limit and are repeated when the network fails, the venue is down or it asks to slow
    down (for as long as it says, or 0.5 s and twice as long each time). Raises UnknownName for the venue or the
    symbol, InputError for an endpoint that is no URL, MissingExtra, and VenueError when the venue refuses or stays
    out of reach.
    """

    def __init__(self, venue: str, symbol: str, endpoint: str | None = None) -> None:
        self.venue, self.symbol = venue, symbol
        self.place = place(venue)
        to_ccxt(symbol)  # a misspelt symbol is refused without asking anybody
        self._ccxt = _exchange(self.place, endpoint)
        self._errors = _errors()
        markets = self.call("load_markets")
        self._market = resolve(symbol, venue, self._meant(markets), self._meant(markets))

    def _meant(self, markets: dict[str, Any]) -> dict[str, Any]:
        return {name: m for name, m in markets.items() if m.get("type") in self.place.contracts}

    def now_ms(self) -> int:
        """Return the venue's clock, milliseconds since 1970 UTC; ours where the venue does not tell its own."""
        return int(self.call("fetch_time") if self._ccxt.has["fetchTime"] else self._ccxt.milliseconds())

    def instrument(self) -> Instrument:
        """Return what the venue says of the market today: grid, size of a contract, expiry, and least amounts."""
        market: dict[str, Any] = self._ccxt.market(self._market)
        fields: dict[str, Any] = {"venue": self.venue}
        if self._ccxt.precisionMode == _TICK_SIZE:
            steps = market["precision"]
            fields |= {name: str(steps[key]) for name, key in (("tick", "price"), ("lot", "amount")) if steps.get(key)}
        if market.get("contract"):
            fields |= {"multiplier": str(market.get("contractSize") or 1), "settle": market.get("settle") or ""}
            if market.get("inverse"):
                fields["payoff"] = Payoff.INVERSE
        if market.get("expiry"):
            fields["expiry"] = dt.datetime.fromtimestamp(market["expiry"] / 1000, dt.UTC)
        limits = market.get("limits") or {}
        for name, key, side in (
            ("min_qty", "amount", "min"),
            ("max_qty", "amount", "max"),
            ("min_notional", "cost", "min"),
        ):
            value = (limits.get(key) or {}).get(side)
            if value:
                fields[name] = str(value)
        return Instrument.parse(self.symbol, **fields)

    def check_interval(self, interval: str) -> None:
        """Raise InputError when the venue has no bars, and UnknownName when it has none of this length."""
        if not self._ccxt.has["fetchOHLCV"]:
            raise InputError(f"{self.venue} gives no bars: pull trades where it has them, or record them")
        known = [name for name in self._ccxt.timeframes if name == name.lower() and name[-1] in "smhdw"]
        if interval not in known:
            raise UnknownName(f"interval of {self.venue}", interval, known)
        interval_ns(interval)

    def bars_per_request(self) -> int:
        """Return how many bars the venue gives at once."""
        market = self._ccxt.market(self._market)
        kinds: Any = self._ccxt.features or {}
        kind = kinds.get(market["type"]) or {}
        if market["type"] != "spot":
            kind = kind.get("inverse" if market["inverse"] else "linear") or {}
        return int((kind.get("fetchOHLCV") or {}).get("limit") or 300)

    def bars(self, since_ms: int, interval: str, limit: int) -> list[list[float]]:
        """Return up to `limit` bars opening at or after `since_ms`: [ms, open, high, low, close, volume] each."""
        return self.call("fetch_ohlcv", self._market, interval, since_ms, limit)

    def trades(self, since_ms: int, until_ms: int, limit: int) -> list[dict[str, Any]]:
        """Return up to `limit` trades from `since_ms` to `until_ms`, both included, in no promised order."""
        return self.call("fetch_trades", self._market, since_ms, limit, {"until": until_ms})

    def call(self, name: str, *args: Any) -> Any:
        """Call a method of ccxt, again and again while the network, or the venue's load, is to blame."""
        passing, refused = self._errors
        wait = _FIRST_WAIT_S
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return getattr(self._ccxt, name)(*args)
            except passing as error:
                pause = max(self._asked_pause_s(), 0.0)
                if pause > _PATIENCE_S:
                    raise VenueError(
                        f"{self.venue} asks to wait {pause:.0f} s: run the same pull again after that"
                    ) from error
                if attempt == _ATTEMPTS:
                    raise VenueError(
                        f"{self.venue} cannot be reached ({_one_line(error)}): run the same pull again later"
                    ) from error
                _log.info("%s: %s; attempt %d of %d", self.venue, _one_line(error), attempt + 1, _ATTEMPTS)
                time.sleep(pause or wait)
                wait = min(2 * wait, _LONGEST_WAIT_S)
            except refused as error:
                raise VenueError(f"{self.venue} refused: {_one_line(error)}") from error
        raise AssertionError("unreachable")

    def _asked_pause_s(self) -> float:
        headers = self._ccxt.last_response_headers or {}
        value = next((v for k, v in headers.items() if k.lower() == "retry-after"), "0")
        try:
            return float(value)
        except ValueError:
            return 0.0


def _exchange(where: Place, endpoint: str | None) -> Any:
    try:
        # the whole of ccxt comes in with any of its venues (0.4 s): that is why it is imported here and not above
        import ccxt
    except ModuleNotFoundError as error:
        if error.name != "ccxt":
            raise
        raise MissingExtra("ccxt", "live") from None
    exchange = getattr(ccxt, where.ccxt_id)({"enableRateLimit": True})
    exchange.options["fetchCurrencies"] = False  # nothing of it is used, and some venues want a key for it
    if where.ccxt_id in ("binance", "binanceus"):
        exchange.options["fetchMarkets"] = {"types": ["spot"]}
    if endpoint is not None:
        exchange.urls["api"] = _redirected(
            exchange.urls["api"], endpoint.rstrip("/"), getattr(exchange, "hostname", "")
        )
    return exchange


def _redirected(urls: Any, endpoint: str, hostname: str) -> Any:
    if not urlsplit(endpoint).netloc or urlsplit(endpoint).scheme not in ("http", "https"):
        raise InputError(f"endpoint {endpoint!r} is not a URL: write http://host:port or https://host")
    if isinstance(urls, dict):
        return {name: _redirected(url, endpoint, hostname) for name, url in urls.items()}
    if isinstance(urls, str) and "://" in urls:
        return endpoint + urlsplit(urls.replace("{hostname}", hostname or "host")).path
    return urls


def _errors() -> tuple[type[Exception], type[Exception]]:
    import ccxt

    return ccxt.OperationFailed, ccxt.BaseError


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__

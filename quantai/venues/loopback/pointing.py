"""Pointing a ccxt exchange at another address: every URL it knows, with the host it had put in front of the path."""

from typing import Any
from urllib.parse import urlsplit


def point_ccxt(exchange: Any, http: str) -> Any:
    """Rewrite every address of a ccxt exchange to `http` (`http://127.0.0.1:9300`), and return the exchange.

    `wss://fstream.binance.com/ws` becomes `ws://127.0.0.1:9300/fstream.binance.com/ws`, so that one server can tell
    spot from futures. Test and demo addresses go too: `set_sandbox_mode` would bring them in.

    >>> class Known:
    ...     hostname = "bybit.com"
    ...     urls = {"api": {"ws": {"linear": "wss://fstream.binance.com/ws"}, "public": "https://api.{hostname}/v3"}}
    >>> point_ccxt(Known(), "http://127.0.0.1:9300").urls["api"]
    {'ws': {'linear': 'ws://127.0.0.1:9300/fstream.binance.com/ws'}, 'public': 'http://127.0.0.1:9300/api.bybit.com/v3'}
    """
    place = urlsplit(http).netloc
    hostname = getattr(exchange, "hostname", None) or "host"

    def rewritten(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: rewritten(item) for key, item in value.items()}
        if isinstance(value, list):
            return [rewritten(item) for item in value]
        if isinstance(value, str) and "://" in value:
            url = urlsplit(value.replace("{hostname}", hostname))
            return f"{'ws' if url.scheme.startswith('ws') else 'http'}://{place}/{url.netloc}{url.path}"
        return value

    for name in ("api", "test", "demo"):
        if name in exchange.urls:
            exchange.urls[name] = rewritten(exchange.urls[name])
    return exchange

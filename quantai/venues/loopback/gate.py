"""The gate in front of every request: keys, signatures, clocks and limits, as Binance checks them."""

import hashlib
import hmac
import re
import time
from collections import deque
from collections.abc import Mapping
from urllib.parse import parse_qsl

from quantai.venues.loopback.accounts import Account
from quantai.venues.loopback.exchange import Exchange
from quantai.venues.loopback.listings import Product
from quantai.venues.loopback.params import Params
from quantai.venues.loopback.public import LIMITS
from quantai.venues.loopback.refusals import Refused
from quantai.venues.loopback.routes import Route, Security

_SIGNATURE = re.compile(r"&?signature=([^&]*)")


class Gate:
    """Lets requests through or raises Refused; with `limited` it also enforces the limits it counts."""

    def __init__(self, exchange: Exchange, *, limited: bool = False) -> None:
        self._exchange, self._limited = exchange, limited
        self._weight = {p: _Window(60) for p in Product}
        self._orders: dict[tuple[Product, str, int], _Window] = {}

    def count(self, route: Route, key: str) -> dict[str, str]:
        """Count a request and return the headers that say how much is used; raises Refused when it is too much."""
        product, limits = route.product, LIMITS[route.product]
        used = self._weight[product].add(route.weight)
        headers = {"X-MBX-USED-WEIGHT": str(used), "X-MBX-USED-WEIGHT-1M": str(used)}
        if self._limited and used > limits["weight"]:
            message = f"Too many requests; current limit is {limits['weight']} request weight per 1 MINUTE."
            raise Refused(-1003, message, status=429)
        if not route.is_order:
            return headers
        for name, seconds in (("10s", 10), ("1m", 60), ("1d", 86_400)):
            most = limits.get(f"orders_{name}")
            if most is None:
                continue
            window = self._orders.setdefault((product, key, seconds), _Window(seconds))
            count = window.add(1)
            headers[f"X-MBX-ORDER-COUNT-{name.upper()}"] = str(count)
            if self._limited and count > most:
                raise Refused(-1015, f"Too many new orders; current limit is {most} orders per {name}.", status=429)
        return headers

    def account(self, route: Route, key: str) -> Account | None:
        """Return the account of a key; raises Refused for none and for one that nobody has."""
        if route.security is Security.NONE:
            return None
        if not key:
            raise Refused(-2014, "API-key format invalid.", status=401)
        account = self._exchange.house.accounts.get(key)
        if account is None:
            raise Refused(-2015, "Invalid API-key, IP, or permissions for action.", status=401)
        return account

    def check_signature(self, account: Account, query: str, body: str) -> None:
        """Compare the signature of a request with one of our own making, over the bytes that came; raises Refused."""
        given = _SIGNATURE.findall(query) + _SIGNATURE.findall(body)
        if not given:
            raise Refused.missing("signature")
        signed = _SIGNATURE.sub("", query) + _SIGNATURE.sub("", body)
        self._compare(account, signed, given[-1])

    def check_socket_signature(self, account: Account, params: Mapping[str, str]) -> None:
        """Check a request of the WebSocket API: its parameters are signed in the order of their names."""
        if "signature" not in params:
            raise Refused.missing("signature")
        text = "&".join(f"{k}={params[k]}" for k in sorted(params) if k != "signature")
        self._compare(account, text, params["signature"])

    def check_time(self, params: Params) -> None:
        """Compare the request's clock with ours; raises Refused when it is a second ahead or older than its window."""
        sent = params.integer("timestamp")
        if sent is None:
            raise Refused.missing("timestamp")
        if sent > 10**14:
            sent //= 1_000  # microseconds, which Binance takes too
        window = params.decimal("recvWindow")
        window = 5_000 if window is None else window
        if window > 60_000:
            raise Refused(-1131, "recvWindow must be less than 60000")
        now = self._exchange.now_ms()
        if sent >= now + 1_000:
            raise Refused(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if now - sent > window:
            raise Refused(-1021, "Timestamp for this request is outside of the recvWindow.")

    def _compare(self, account: Account, text: str, given: str) -> None:
        made = hmac.new(account.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(made, given.lower()):
            raise Refused(-1022, "Signature for this request is not valid.")


def read(query: str, body: str) -> Params:
    """Return the parameters of a query string and of a form."""
    return Params(parse_qsl(query, keep_blank_values=True) + parse_qsl(body, keep_blank_values=True))


class _Window:
    """A sum over the last seconds, in sixty steps."""

    def __init__(self, seconds: int) -> None:
        self._step, self._sum = seconds / 60, 0
        self._entries: deque[list[int]] = deque()

    def add(self, amount: int) -> int:
        step = int(time.monotonic() / self._step)
        if self._entries and self._entries[-1][0] == step:
            self._entries[-1][1] += amount
        else:
            self._entries.append([step, amount])
        self._sum += amount
        while self._entries[0][0] <= step - 60:
            self._sum -= self._entries.popleft()[1]
        return self._sum

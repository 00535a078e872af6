"""The plan of a run that trades: what is traded where, by which strategies, under which limits; checked before all."""

import logging
import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from quantai.core.errors import InputError, UnknownName
from quantai.core.rows import OrderType
from quantai.execution.limits import Limits
from quantai.strategy import Strategy
from quantai.strategy.handlers import HANDLERS
from quantai.strategy.place import defined
from quantai.venues.rules import SimVenue

_log = logging.getLogger(__name__)
Mode = Literal["replay", "paper", "live"]
AtEnd = Literal["cancel", "flatten", "keep"]

Router = Literal["instrument", "best_price", "split"]

OF_BOOKS = ("on_book", "on_quote", "on_timer", "on_trade")
"""Handlers that may read the book."""


def paper_limits() -> Limits:
    """Return the limits of a paper run that says none: wide, so that what is seen is the strategy's own doing.

    >>> paper_limits().max_leverage
    Decimal('100')
    """
    return Limits.of(
        {
            "max_order_notional": 10**9, "max_position": 10**9, "max_gross": 10**10, "max_net": 10**10,
            "max_leverage": 100, "max_open_orders": 1000, "rate_max": 4000, "rate_window_ms": 1000,
            "max_quote_age_ms": 60_000, "collar_bps": 5000, "passive_cross_bps": 5000, "duplicate_window_ms": 0,
            "stp": "venue", "max_day_loss": 10**9, "max_drawdown": 1, "max_reject_ratio": 1,
            "reject_min_requests": 64,
        }
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DeskPlan:
    """What one strategy of a run trades, and on which bars.

    `symbols` are some of the run's, as `VENUE:SYMBOL` or, where only one venue has it, `SYMBOL`; none is all of them.
    `interval` is the length of its bars, "" that of the run. `router` says where its orders for something that several
    venues list go: "instrument" (each listing is an instrument of its own), "best_price" or "split".
    """

    symbols: tuple[str, ...] = ()
    interval: str = ""
    router: Router = "instrument"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything `trade` needs to know.

    `strategies` are one a desk, each with how its class is found again (`module:Class`). `venues` maps a venue's name
    to our symbols there. `limits` are those of risk; a live run must have them, and `understood`. `warm_up` is (lake,
    start, end) of the rows strategies see before they may ask; `past` (lake, start, end) what a replay runs over.
    `at_end` says what becomes of orders and positions when the run ends. After `dead_man_s` without a word of ours, a
    venue that can do it cancels everything (0 = never; nor when the run keeps its orders). `endpoint` is used instead
    of the venues' own, `endpoints` those of single venues. `fees_bps` are fees on notional by venue: what a paper
    account pays, and what the router reckons with. `desks` say what each strategy trades; none is everything. A journal
    that exists is continued.
    """

    strategies: Sequence[tuple[Strategy, str]]
    venues: Mapping[str, Sequence[str]]
    mode: Mode
    journal: Path
    desks: Sequence[DeskPlan] = ()
    limits: Limits | None = None
    understood: bool = False
    run: str = ""
    interval: str = ""
    channels: Sequence[str] = ()
    cash: float = 100_000.0
    currency: str = ""
    lots: Mapping[str, Any] = field(default_factory=dict[str, Any])
    rules: SimVenue | None = None
    seconds: float | None = None
    endpoint: str = ""
    endpoints: Mapping[str, str] = field(default_factory=dict[str, str])
    fees_bps: Mapping[str, float] = field(default_factory=dict[str, float])
    sandbox: bool = False
    warm_up: tuple[Any, ...] | None = None
    past: tuple[Any, Any, Any] | None = None
    at_end: AtEnd = "cancel"
    stale_s: float = 15.0
    patience_s: float = 2.0
    snapshot_s: float = 60.0
    reconcile_s: float = 60.0
    dead_man_s: float = 30.0

    def check(self) -> None:
        """Raise InputError, in one line, for a plan that must not or cannot run."""
        for name, value, known in (("mode", self.mode, Mode), ("at_end", self.at_end, AtEnd)):
            if value not in get_args(known):
                raise UnknownName(name, value, get_args(known))
        if not self.strategies:
            raise InputError("no strategy: name one, such as quantai.strategy.examples:Quote")
        if not any(self.venues.values()):
            raise InputError("nothing to trade: name a venue and symbols, such as BINANCE and BTC-USDT")
        if not 0 <= self.cash < math.inf:
            raise InputError(f"cash is {self.cash}: give an amount of 0 or more")
        if self.mode == "live":
            if not self.understood:
                raise InputError("a live run sends real orders: say --i-understand, once you do")
            if self.limits is None:
                raise InputError("a live run needs limits: --limits FILE, docs/risk.md has an example to start from")
            if self.at_end == "flatten":
                self._check_closing()
        if self.mode == "replay" and self.past is None:
            raise InputError("a replay needs rows of the past: --lake DIR, with --start and --end")
        if self.desks and len(self.desks) != len(self.strategies):
            raise InputError(f"{len(self.strategies)} strategies need as many desks, not {len(self.desks)}")
        for address in (self.endpoint, *self.endpoints.values()):
            check_endpoint(address)
        if self.channels and self.mode != "replay":
            self._check_channels()
        for name, value in (*self.endpoints.items(), *self.fees_bps.items()):
            if name not in self.venues:
                raise UnknownName(f"venue ({value})", name, self.venues)
        for n, (strategy, _) in enumerate(self.strategies):
            cls, desk = type(strategy), self.desk(n)
            if not any(defined(cls, name) for name in HANDLERS):
                raise InputError(f"{cls.__name__} has no handler: it would never do anything")
            if defined(cls, "on_bar") and not self.interval_of(n):
                raise InputError(f"{cls.__name__} listens to bars: say how long they are, such as --interval 1m")
            if desk.router not in get_args(Router):
                raise UnknownName("router", desk.router, get_args(Router))
            self.listings(n)

    def _check_channels(self) -> None:
        """Raise UnknownName for a channel that one of the venues does not send."""
        from quantai.feeds.venues import check_channels

        for name in self.venues:
            check_channels(name, list(self.channels))

    def _check_closing(self) -> None:
        """Raise InputError where positions, which are closed at the market, cannot be."""
        from quantai.venues.ccxt import PROFILES

        for name in self.venues:
            if name in PROFILES and OrderType.MARKET not in PROFILES[name].types:
                raise InputError(
                    f"{name} takes no market orders, with which a run flattens: say --at-end cancel or keep"
                )

    def desk(self, n: int) -> DeskPlan:
        """Return what the strategy of number `n` trades."""
        return self.desks[n] if self.desks else DeskPlan()

    def interval_of(self, n: int) -> str:
        """Return the length of the bars of the strategy of number `n`, "" when it does not listen to any."""
        listens = defined(type(self.strategies[n][0]), "on_bar")
        return (self.desk(n).interval or self.interval) if listens else ""

    def listings(self, n: int) -> list[list[tuple[str, str]]]:
        """Return the instruments of the strategy of number `n`, each as its listings (venue, symbol).

        It is one listing each, unless the desk's router chooses among venues: then what has one symbol is one
        instrument, and its first listing is the one whose market the strategy sees. Raises UnknownName or InputError.
        """
        desk, every = self.desk(n), [(venue, symbol) for venue, symbols in self.venues.items() for symbol in symbols]
        mine = [_listing(name, every) for name in desk.symbols] or every
        if desk.router == "instrument":
            return [[one] for one in mine]
        same: dict[str, list[tuple[str, str]]] = {}
        for venue, symbol in mine:
            same.setdefault(symbol, []).append((venue, symbol))
        if all(len(listed) == 1 for listed in same.values()):
            raise InputError(f"{desk.router} has no choice: name several venues that list the same symbol")
        return list(same.values())

    def endpoint_of(self, venue: str) -> str:
        """Return the address to dial instead of a venue's own, "" for its own."""
        return self.endpoints.get(venue, self.endpoint)

    def channels_of(self, offered: Sequence[str]) -> list[str]:
        """Return the channels to receive, out of those a venue offers: what strategies read, and quotes for risk."""
        wanted = list(self.channels)
        if wanted and self.mode == "paper" and not {"ticker", "l2_book"} & set(wanted):
            said = ", ".join(wanted)
            _log.warning("%s bring no best prices: on paper orders at the market meet nobody; add the ticker", said)
        if not wanted:
            wanted = ["trades", "ticker"]
            if any(defined(type(s), name) for s, _ in self.strategies for name in OF_BOOKS):
                wanted.append("l2_book")
            perpetual = any(symbol.endswith("-PERP") for symbols in self.venues.values() for symbol in symbols)
            if any(defined(type(s), "on_funding") for s, _ in self.strategies) or (perpetual and self.mode == "paper"):
                wanted.append("funding")
            wanted = [name for name in wanted if name in offered]
        return wanted

    def run_names(self) -> list[str]:
        """Return a name for each desk, none of which was ever used: client order ids are made of it."""
        number, digits = time.time_ns() // 10**8 ^ os.getpid() << 20, ""
        while number:
            number, digit = divmod(number, 36)
            digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
        names: list[str] = []
        for n, (strategy, _) in enumerate(self.strategies):
            word = re.sub(r"[^A-Za-z0-9]", "", self.run or type(strategy).__name__.lower())[:6] or "run"
            names.append(f"{word}_{digits[-9:]}{'' if not n else chr(ord('a') + n - 1)}"[:17])
        return names


def check_endpoint(address: str) -> None:
    """Raise InputError for what is neither "" nor an address to dial instead of a venue's own.

    >>> check_endpoint("http://127.0.0.1:9300")
    """
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, an address of six that is not closed
        good = False
    if address and not good:
        raise InputError(f"endpoint {address!r}: write an address such as http://127.0.0.1:9300")


def _listing(name: str, every: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Return the listing that `VENUE:SYMBOL` or `SYMBOL` means."""
    venue, colon, symbol = name.rpartition(":")
    found = [one for one in every if one[1] == symbol and (not colon or one[0] == venue)]
    if not found:
        raise UnknownName("symbol of a strategy", name, [f"{v}:{s}" for v, s in every])
    if len(found) > 1:
        raise InputError(f"{name} is listed at {', '.join(v for v, _ in found)}: write {found[0][0]}:{name}")
    return found[0]

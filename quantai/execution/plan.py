"""The plan of a run that trades: what is traded where, by which strategies, under which limits; checked before all."""

import math
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from quantai.core.errors import InputError, UnknownName
from quantai.execution.limits import Limits
from quantai.strategy import Strategy
from quantai.strategy.handlers import HANDLERS
from quantai.strategy.place import defined
from quantai.venues.rules import SimVenue

Mode = Literal["replay", "paper", "live"]
AtEnd = Literal["cancel", "flatten", "keep"]

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
class Plan:
    """Everything `trade` needs to know.

    `strategies` are one a desk, each with how its class is found again (`module:Class`). `venues` maps a venue's name
    to our symbols there. `limits` are those of risk; a live run must have them, and `understood`. `warm_up` is (lake,
    start) of the rows strategies see before they may ask; `past` (lake, start, end) what a replay runs over. `at_end`
    says what becomes of orders and positions when the run ends. After `dead_man_s` without a word of ours, a venue that
    can do it cancels everything (0 = never; nor when the run keeps its orders). `endpoint` is an address to use instead
    of the venues' own. A journal that exists is continued.
    """

    strategies: Sequence[tuple[Strategy, str]]
    venues: Mapping[str, Sequence[str]]
    mode: Mode
    journal: Path
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
    sandbox: bool = False
    warm_up: tuple[Any, Any] | None = None
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
        if self.mode == "replay" and self.past is None:
            raise InputError("a replay needs rows of the past: --lake DIR, with --start and --end")
        for strategy, _ in self.strategies:
            cls = type(strategy)
            if not any(defined(cls, name) for name in HANDLERS):
                raise InputError(f"{cls.__name__} has no handler: it would never do anything")
            if defined(cls, "on_bar") and not self.interval:
                raise InputError(f"{cls.__name__} listens to bars: say how long they are, such as --interval 1m")

    def channels_of(self, offered: Sequence[str]) -> list[str]:
        """Return the channels to receive, out of those a venue offers: what strategies read, and quotes for risk."""
        wanted = list(self.channels)
        if not wanted:
            wanted = ["trades", "ticker"]
            if any(defined(type(s), name) for s, _ in self.strategies for name in OF_BOOKS):
                wanted.append("l2_book")
            if any(defined(type(s), "on_funding") for s, _ in self.strategies):
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

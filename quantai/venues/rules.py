"""SimVenue: everything a simulated exchange assumes, each choice by its name."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quantai.core.errors import InputError, UnknownName
from quantai.core.rows import Rows
from quantai.venues.latency import Latency
from quantai.venues.queue import QUEUES

RULES = np.dtype(
    [
        ("queue", "i8"),
        ("power", "f8"),
        ("partial", "i8"),
        ("replace_open", "i8"),
        ("self_trade", "i8"),
        ("maker_rate", "f8"),
        ("taker_rate", "f8"),
        ("latency", "i8"),
        ("entry_ns", "i8"),
        ("response_ns", "i8"),
        ("entry_sd_ns", "f8"),
        ("response_sd_ns", "f8"),
        ("entry_least", "i8"),
        ("response_least", "i8"),
        ("seed", "i8"),
        ("at_table", "u8"),
        ("n_table", "i8"),
    ]
)
"""What compiled code sees of a SimVenue; one row an instrument."""

EXCHANGES = ("partial", "no_partial")
REPLACES = ("total", "open")
SELF_TRADES = ("ignore", "cancel_newest", "cancel_oldest")
IGNORE, CANCEL_NEWEST, CANCEL_OLDEST = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SimVenue:
    """The assumptions of a simulated exchange; docs/replay.md states each as an inequality.

    `latency` order entry and response. `queue` how a resting order moves up: "risk_averse" (only prints at its price),
    "power_prob" (cancels ahead too, with weight by place; exponent `power`), "front" (always first), "cross_only"
    (prints at its price never fill it). `exchange` "partial": a print fills what it reaches and takers walk the visible
    book, which stays consumed until refreshed; "no_partial": any fill is a whole fill, takers get the best price
    whatever their size. `maker_bps`, `taker_bps` fees on notional, negative for a rebate. `replace` says what the
    quantity of a replace request means: the "total" of the order, or what is to be "open" when it arrives.
    `self_trade` what happens to orders that would trade with our own: "ignore" (each sees only the market),
    "cancel_newest", "cancel_oldest". `seed` numbers the draws of a random latency.

    >>> SimVenue(queue="power_prob", power=3.0, exchange="no_partial", maker_bps=-0.5, taker_bps=7.0).choices["queue"]
    'power_prob(3)'
    """

    latency: Latency = field(default_factory=Latency)
    queue: str = "risk_averse"
    power: float = 3.0
    exchange: str = "partial"
    maker_bps: float = 0.0
    taker_bps: float = 0.0
    replace: str = "total"
    self_trade: str = "ignore"
    seed: int = 1

    def __post_init__(self) -> None:
        for name, known in (
            ("queue", QUEUES),
            ("exchange", EXCHANGES),
            ("replace", REPLACES),
            ("self_trade", SELF_TRADES),
        ):
            if getattr(self, name) not in known:
                raise UnknownName(f"{name} of SimVenue", getattr(self, name), known)
        latency: Any = self.latency
        if not isinstance(latency, Latency):
            raise InputError(f"latency of SimVenue is a Latency(entry_ns=…, response_ns=…), got {latency!r}")
        for name, kinds, what in (
            ("power", int | float | np.number, "a number"),
            ("maker_bps", int | float | np.number, "a number"),
            ("taker_bps", int | float | np.number, "a number"),
            ("seed", int | np.integer, "a whole number"),
        ):
            if not isinstance(getattr(self, name), kinds):
                raise InputError(f"{name} of SimVenue is {what}, got {getattr(self, name)!r}")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed of SimVenue is a whole number from 0 up to 2**63, got {self.seed}")
        if not (np.isfinite(self.power) and self.power > 0):
            raise InputError(f"power must be a positive number, got {self.power}")
        for name in ("maker_bps", "taker_bps"):
            if not -1_000 < getattr(self, name) < 10_000:
                raise InputError(f"{name} is in basis points of notional (1 bp = 0.01 %), got {getattr(self, name)}")

    @property
    def choices(self) -> dict[str, str]:
        """Every choice by name, as a result prints it."""
        return {
            "latency": repr(self.latency),
            "queue": f"power_prob({self.power:g})" if self.queue == "power_prob" else self.queue,
            "exchange": self.exchange,
            "fees": f"maker {self.maker_bps:g} bp, taker {self.taker_bps:g} bp",
            "replace": self.replace,
            "self_trade": self.self_trade,
        } | ({} if self.latency.kind != 1 else {"seed": str(self.seed)})

    def row(self) -> Rows:
        """Return the RULES row, shape (1,); it points to the recorded latencies, which must outlive it."""
        r: Any = np.zeros(1, RULES)
        lat = self.latency
        r["queue"], r["power"] = QUEUES.index(self.queue), self.power
        r["partial"], r["replace_open"] = self.exchange == "partial", self.replace == "open"
        r["self_trade"] = SELF_TRADES.index(self.self_trade)
        r["maker_rate"], r["taker_rate"] = self.maker_bps / 1e4, self.taker_bps / 1e4
        r["latency"], r["entry_ns"], r["response_ns"] = lat.kind, lat.entry_ns, lat.response_ns
        r["entry_sd_ns"], r["response_sd_ns"] = lat.entry_sd_ns, lat.response_sd_ns
        r["entry_least"], r["response_least"] = lat.least()
        r["seed"] = self.seed
        if lat.table is not None:
            r["at_table"], r["n_table"] = lat.table.ctypes.data, len(lat.table)
        return r

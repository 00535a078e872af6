"""The limits of an account: one TOML file, every key required, hot-reloadable only to something stricter."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np

from quantai.core.errors import InputError, UnknownName
from quantai.core.given import instance
from quantai.core.rows import MS, Rows

LIMITS = np.dtype(
    [
        ("max_order_notional", "f8"),
        ("max_gross", "f8"),
        ("max_net", "f8"),
        ("max_leverage", "f8"),
        ("collar", "f8"),  # fraction of the mid price
        ("passive_cross", "f8"),  # fraction of the price crossed
        ("max_day_loss", "f8"),
        ("max_drawdown", "f8"),
        ("max_reject_ratio", "f8"),
        ("reject_min_requests", "i8"),
        ("max_open_orders", "i8"),
        ("rate_max", "i8"),
        ("rate_window_ns", "i8"),
        ("max_quote_age_ns", "i8"),
        ("duplicate_window_ns", "i8"),
        ("stp_deny", "i8"),
    ]
)
"""What the compiled check reads of `Limits`; 128 bytes."""

MOST_REQUESTS = 4096
"""The largest rate_max and max_open_orders: how many rows `exposure.RiskBook` keeps."""

ANSWERS = 64
"""How many of the last answers to orders and changes the reject ratio is taken of."""

MOST_MS = 10**12
"""The largest whole number in limits: some 30 years in milliseconds, which fit 63 bits in nanoseconds."""

SelfTrade = Literal["deny", "venue"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an account may do; amounts are in the portfolio's currency, exact decimals.

    A value equal to a limit passes, except a loss or a drawdown, which trips when it is reached.

    >>> text = Limits.example().text()
    >>> Limits.parse(text) == Limits.example()
    True
    >>> Limits.parse(text.replace("max_gross", "max_gros"))
    Traceback (most recent call last):
    quantai.core.errors.UnknownName: unknown limit 'max_gros': did you mean 'max_gross'? (18 known: ...)
    """

    max_order_notional: Decimal
    max_position: Decimal  # units, worst case with every working order of that side, for each instrument
    max_gross: Decimal
    max_net: Decimal
    max_leverage: Decimal  # gross / equity
    max_open_orders: int
    rate_max: int  # requests within rate_window_ms; cancels are free
    rate_window_ms: int
    max_quote_age_ms: int
    collar_bps: Decimal  # around the middle of the quote
    passive_cross_bps: Decimal  # how far a post-only order may cross
    duplicate_window_ms: int
    stp: SelfTrade  # self-trade prevention: we deny, or the venue does it
    max_day_loss: Decimal
    max_drawdown: Decimal  # fraction of peak equity
    max_reject_ratio: Decimal  # of recent requests
    reject_min_requests: int  # the ratio counts from this many on
    position: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])  # max_position by symbol

    @classmethod
    def example(cls) -> Self:
        """Return limits to start a file from: small, and complete."""
        return cls.of(
            {
                "max_order_notional": 10_000, "max_position": 50, "max_gross": 20_000, "max_net": 15_000,
                "max_leverage": 2, "max_open_orders": 50, "rate_max": 10, "rate_window_ms": 1000,
                "max_quote_age_ms": 500, "collar_bps": 500, "passive_cross_bps": 0, "duplicate_window_ms": 200,
                "stp": "deny", "max_day_loss": 500, "max_drawdown": "0.2", "max_reject_ratio": "0.5",
                "reject_min_requests": 10,
            }
        )  # fmt: skip

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """Check a mapping of names to values and return the limits; raises UnknownName and InputError."""
        instance("limits", said, Mapping, "a mapping of names to values")
        names = [f.name for f in fields(cls)]
        for name in said:
            if name not in names:
                raise UnknownName("limit", name, names)
        if missing := [n for n in names if n not in said and n != "position"]:
            raise InputError(f"limits: {', '.join(missing)} missing; a limit has no default, write a value for each")
        values = {f.name: _value(f.name, f.type, said[f.name]) for f in fields(cls) if f.name != "position"}
        by_symbol = said.get("position", {})
        if not isinstance(by_symbol, Mapping):
            raise InputError("limits: position is a table of symbols: write [position] and one line a symbol")
        values["position"] = {str(s): _value(f"position.{s}", Decimal, v) for s, v in by_symbol.items()}
        return cls(**values)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the limits of a TOML text; raises InputError where it is not TOML, and what `of` raises."""
        instance("text", text, str, "the TOML text of limits")
        try:
            return cls.of(tomllib.loads(text, parse_float=Decimal))
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"limits: not TOML: {error}") from None

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the limits of a TOML file; raises InputError naming the file."""
        instance("path", path, str | Path, "that of a TOML file")
        try:
            return cls.parse(Path(path).read_text())
        except OSError as error:
            raise InputError(f"limits: {path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InputError(f"limits: {path} is no text in UTF-8") from None

    def text(self) -> str:
        """Return the TOML text of these limits."""
        lines = [f"{f.name} = {_shown(getattr(self, f.name))}" for f in fields(self) if f.name != "position"]
        if self.position:
            lines += ["", "[position]", *(f'"{symbol}" = {units}' for symbol, units in self.position.items())]
        return "\n".join(lines) + "\n"

    def max_units(self, symbol: str) -> Decimal:
        """Return the position limit of one instrument, in units."""
        return self.position.get(symbol, self.max_position)

    def loosened(self, new: Self) -> list[str]:
        """Return what `new` allows that these limits do not, one line each; empty = at least as strict."""
        found = [
            f"{f.name} {getattr(self, f.name)} -> {getattr(new, f.name)}"
            for f in fields(self)
            if f.name != "position" and _looser(f.name, getattr(self, f.name), getattr(new, f.name))
        ]
        symbols = sorted({*self.position, *new.position})
        return found + [
            f"position.{s} {self.max_units(s)} -> {new.max_units(s)}"
            for s in symbols
            if new.max_units(s) > self.max_units(s)
        ]

    def replaced_by(self, new: Self, *, confirmed: bool = False) -> Self:
        """Return `new` when it is at least as strict or confirmed; raises InputError naming what got looser."""
        if not confirmed and (looser := self.loosened(new)):
            raise InputError(f"limits got looser ({'; '.join(looser)}): confirm the change to load it while running")
        return new

    def row(self) -> Rows:
        """Return the LIMITS row (shape (1,)) that compiled code reads."""
        r = np.zeros(1, LIMITS)
        for name in r.dtype.names or ():
            if name.endswith("_ns"):
                r[name] = getattr(self, name.removesuffix("_ns") + "_ms") * MS
            elif hasattr(self, name):
                r[name] = float(getattr(self, name))
        r["collar"], r["passive_cross"] = float(self.collar_bps / 10_000), float(self.passive_cross_bps / 10_000)
        r["stp_deny"] = self.stp == "deny"
        return r


HIGHER_IS_STRICTER = ("rate_window_ms", "duplicate_window_ms")


def _looser(name: str, old: Any, new: Any) -> bool:
    if name == "stp":
        return old == "deny" and new != "deny"
    return new < old if name in HIGHER_IS_STRICTER else new > old


def _value(name: str, kind: Any, said: Any) -> Any:
    if kind is SelfTrade:
        if said not in get_args(SelfTrade):
            raise UnknownName(f"value of {name}", said, get_args(SelfTrade))
        return said
    try:
        value = Decimal(str(said)) if not isinstance(said, bool) else Decimal("nan")
    except ArithmeticError:
        value = Decimal("nan")
    if not value.is_finite() or value < 0:
        raise InputError(f"limits: {name} = {said!r} is not a number of 0 or more")
    if name in ("max_drawdown", "max_reject_ratio") and value > 1:
        raise InputError(f"limits: {name} = {said} is a fraction: write 0.2 for 20 percent, 1 for no limit")
    if kind is Decimal:
        if math.isinf(float(value)):
            raise InputError(f"limits: {name} = {said} is more than any account holds")
        return value
    if value != int(value):
        raise InputError(f"limits: {name} = {said!r} is not a whole number")
    if name in ("rate_max", "max_open_orders") and value > MOST_REQUESTS:
        raise InputError(f"limits: {name} = {said} is above {MOST_REQUESTS}, more than risk keeps track of")
    if name == "reject_min_requests" and value > ANSWERS:
        raise InputError(f"limits: {name} = {said} is above {ANSWERS}, more answers than the ratio is taken of")
    if value > MOST_MS:
        raise InputError(f"limits: {name} = {said} is above {MOST_MS}")
    return int(value)


def _shown(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)

"""Instruments: what is traded, on which grid, and what one unit of it is worth.

Prices and quantities cross from decimals into integers (ticks and lots) here and nowhere else, and the crossing is
exact or it fails. A contract's value is one function for every kind: `multiplier * g(px)` with g(px) = px for linear,
-1/px for inverse, and px with a fixed settlement multiplier for quanto contracts.
"""

import datetime as dt
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from typing import Any, Self

import numpy as np

from quantai.core.errors import InputError, UnknownName
from quantai.core.rows import Rows

Number = int | float | str | Decimal


class Contract(IntEnum):
    """The legal form of an instrument."""

    SPOT = 1
    PERPETUAL = 2
    FUTURE = 3
    OPTION = 4
    EQUITY = 5


class Payoff(IntEnum):
    """How a price becomes money."""

    LINEAR = 1
    INVERSE = 2
    QUANTO = 3


class Right(IntEnum):
    """The right an option gives; NONE for everything else."""

    NONE = 0
    CALL = 1
    PUT = -1


INSTRUMENT = np.dtype(
    [
        ("tick_num", "i8"),  # tick size = tick_num / tick_den, so that ticks * tick_num / tick_den rounds once
        ("tick_den", "i8"),
        ("lot_num", "i8"),
        ("lot_den", "i8"),
        ("multiplier", "f8"),
        ("expiry_ts", "i8"),  # 0 = never
        ("strike", "f8"),
        ("min_qty_lots", "i8"),
        ("max_qty_lots", "i8"),  # 0 = unbounded
        ("min_notional", "f8"),
        ("max_notional", "f8"),  # 0 = unbounded
        ("contract", "u1"),
        ("payoff", "u1"),
        ("right", "i1"),
        ("sessions", "u1"),  # 1 = trades in sessions with auctions, 0 = around the clock
        ("id", "u4"),
    ]
)
"""What compiled code sees of an instrument; 96 bytes, no hidden padding."""

_SYMBOL = re.compile(
    r"(?P<base>[A-Z0-9.]+)(?:-(?P<quote>[A-Z0-9.]+))?"
    r"(?:-(?:(?P<perp>PERP)|(?P<expiry>\d{8})(?:-(?P<strike>\d+(?:\.\d+)?)-(?P<right>[CP]))?))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One tradable thing on one venue.

    `tick` is the price step in quote currency, `lot` the quantity step in units (base currency, contracts or shares),
    and `multiplier` the quote value of one unit per point of price (settlement currency for quanto; quote currency per
    contract for inverse). `expiry` is an instant in UTC. `calendar` names an exchange calendar (`XNYS`), or is None
    when the instrument trades around the clock; that decides whether an opening gap can improve a resting limit order.
    With `reduces_below_min` a reduce-only order may be worth less than `min_notional`.

    >>> i = Instrument.parse("BTC-USDT-PERP", venue="BINANCE_FUTURES", tick="0.1", lot="0.001")
    >>> i.contract.name, i.ticks("60000.1"), i.price(600001), i.lots("0.005")
    ('PERPETUAL', 600001, 60000.1, 5)
    >>> i.ticks("60000.15")
    Traceback (most recent call last):
    quantai.core.errors.InputError: BTC-USDT-PERP: price 60000.15 is not a multiple of the tick 0.1
    """

    symbol: str
    venue: str = ""
    contract: Contract = Contract.SPOT
    payoff: Payoff = Payoff.LINEAR
    base: str = ""
    quote: str = ""
    settle: str = ""
    tick: Decimal = Decimal("1e-8")
    lot: Decimal = Decimal("1e-8")
    multiplier: Decimal = Decimal(1)
    expiry: dt.datetime | None = None
    strike: Decimal | None = None
    right: Right = Right.NONE
    calendar: str | None = None
    min_qty: Decimal = Decimal(0)
    max_qty: Decimal = Decimal(0)
    min_notional: Decimal = Decimal(0)
    max_notional: Decimal = Decimal(0)
    reduces_below_min: bool = False

    def __post_init__(self) -> None:
        for name in ("tick", "lot", "multiplier", "min_qty", "max_qty", "min_notional", "max_notional", "strike"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _decimal(self.symbol, name, value))
        for name in ("tick", "lot", "multiplier"):
            if getattr(self, name) <= 0:
                raise InputError(f"{self.symbol}: {name} must be positive, got {getattr(self, name)}")
        if self.expiry is not None and self.expiry.tzinfo is None:
            raise InputError(f"{self.symbol}: expiry {self.expiry} has no timezone; pass an instant in UTC")
        if not self.settle:
            object.__setattr__(self, "settle", self.base if self.payoff is Payoff.INVERSE else self.quote)

    @classmethod
    def parse(cls, symbol: str, **fields: Any) -> Self:
        """Build an instrument from its normalised symbol; keyword fields override what the symbol says.

        `SPY` equity · `BTC-USDT` spot · `BTC-USDT-PERP` perpetual · `BTC-USD-20270326` dated future ·
        `BTC-USD-20270326-90000-C` option. Perpetuals and futures quoted in plain USD but settled in the base coin are
        inverse: pass `payoff=Payoff.INVERSE`, because the symbol alone cannot say so.
        """
        m = _SYMBOL.fullmatch(symbol)
        if m is None:
            raise InputError(
                f"symbol {symbol!r} is not normalised: write SPY, BTC-USDT, BTC-USDT-PERP, "
                "BTC-USD-20270326 or BTC-USD-20270326-90000-C"
            )
        said: dict[str, Any] = {"symbol": symbol, "base": m["base"], "quote": m["quote"] or "USD"}
        if m["perp"]:
            said["contract"] = Contract.PERPETUAL
        elif m["expiry"]:
            said["contract"] = Contract.OPTION if m["strike"] else Contract.FUTURE
            said["expiry"] = dt.datetime.strptime(m["expiry"], "%Y%m%d").replace(tzinfo=dt.UTC)
            if m["strike"]:
                said["strike"] = Decimal(m["strike"])
                said["right"] = Right.CALL if m["right"] == "C" else Right.PUT
        elif m["quote"] is None:
            said |= {"contract": Contract.EQUITY, "calendar": "XNYS", "tick": Decimal("0.01"), "lot": Decimal(1)}
        return cls(**(said | fields))

    def as_dict(self) -> dict[str, str]:
        """Return the fields that are not the default, as strings, for manifests; `from_dict` reads them back.

        >>> i = Instrument.parse("BTC-USD-20270326-90000-C", payoff=Payoff.INVERSE, tick="0.1")
        >>> i.as_dict()["expiry"], Instrument.from_dict(i.as_dict()) == i
        ('2027-03-26T00:00:00+00:00', True)
        """
        said: dict[str, str] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "symbol" or value != f.default:
                said[f.name] = value.name if isinstance(value, IntEnum) else str(value)
        if self.expiry is not None:
            said["expiry"] = self.expiry.isoformat()
        return said

    @classmethod
    def from_dict(cls, said: Mapping[str, str]) -> Self:
        """Rebuild an instrument from `as_dict`; raises UnknownName for an unknown field, InputError for its value."""
        names = [f.name for f in fields(cls)]
        enums = {"contract": Contract, "payoff": Payoff, "right": Right}
        values: dict[str, Any] = dict(said)
        for name, text in said.items():
            if name not in names:
                raise UnknownName("instrument field", name, names)
            if name == "reduces_below_min":
                values[name] = text == "True"
            if name in enums:
                if text not in enums[name].__members__:
                    raise UnknownName(name, text, enums[name].__members__)
                values[name] = enums[name][text]
        if "expiry" in said:
            try:
                values["expiry"] = dt.datetime.fromisoformat(said["expiry"])
            except ValueError:
                raise InputError(f"{said.get('symbol')}: expiry {said['expiry']!r} is not ISO 8601") from None
        return cls(**values)

    def ticks(self, px: Number) -> int:
        """Return `px` as an exact number of ticks; raises InputError when it is not on the grid."""
        return self._steps("price", px, self.tick, "tick")

    def lots(self, qty: Number) -> int:
        """Return `qty` (units) as an exact number of lots; raises InputError when it is not on the grid."""
        return self._steps("quantity", qty, self.lot, "lot")

    def price(self, ticks: int) -> float:
        """Return the price of `ticks` as the float64 nearest to the exact decimal."""
        return float(self.tick * ticks)

    def qty(self, lots: int) -> float:
        """Return the quantity of `lots` (units) as the float64 nearest to the exact decimal."""
        return float(self.lot * lots)

    def notional(self, qty: Decimal, px: Decimal) -> Decimal:
        """Return the absolute value of `qty` units at `px`, in settlement currency."""
        one = 1 / px if self.payoff is Payoff.INVERSE else px
        return abs(qty) * self.multiplier * one

    def with_fields(self, **fields: Any) -> Self:
        """Return a copy with some fields changed."""
        return replace(self, **fields)

    def row(self, id: int = 0) -> Rows:
        """Return the INSTRUMENT row (shape (1,)) that compiled code reads."""
        r = np.zeros(1, INSTRUMENT)
        tick, lot = Fraction(self.tick), Fraction(self.lot)
        r["tick_num"], r["tick_den"] = tick.numerator, tick.denominator
        r["lot_num"], r["lot_den"] = lot.numerator, lot.denominator
        r["multiplier"] = float(self.multiplier)
        r["expiry_ts"] = 0 if self.expiry is None else int(self.expiry.timestamp()) * 10**9
        r["strike"] = float(self.strike or 0)
        r["min_qty_lots"], r["max_qty_lots"] = math.ceil(self.min_qty / self.lot), int(self.max_qty / self.lot)
        r["min_notional"], r["max_notional"] = float(self.min_notional), float(self.max_notional)
        r["contract"], r["payoff"], r["right"] = self.contract, self.payoff, self.right
        r["sessions"], r["id"] = self.calendar is not None, id
        return r

    def _steps(self, what: str, value: Number, step: Decimal, name: str) -> int:
        # str() first: 60000.1 typed as a float means the decimal 60000.1, not its binary neighbour
        exact = _decimal(self.symbol, what, value) / step
        if exact != exact.to_integral_value():
            raise InputError(f"{self.symbol}: {what} {value} is not a multiple of the {name} {step}")
        return int(exact)


def _decimal(symbol: str, name: str, value: Number) -> Decimal:
    try:
        d = value if isinstance(value, Decimal) else Decimal(str(value))
    except ArithmeticError:
        raise InputError(f"{symbol}: {name} {value!r} is not a number") from None
    if not d.is_finite():
        raise InputError(f"{symbol}: {name} {value!r} is not finite")
    return d


class Instruments:
    """The instruments of one run or lake, numbered from 0 in the order they were added.

    >>> table = Instruments([Instrument.parse("BTC-USDT"), Instrument.parse("ETH-USDT")])
    >>> table.id("ETH-USDT"), table[1].base, len(table)
    (1, 'ETH', 2)
    """

    def __init__(self, items: list[Instrument] | tuple[Instrument, ...] = ()) -> None:
        self._items: list[Instrument] = []
        self._ids: dict[tuple[str, str], int] = {}
        for item in items:
            self.add(item)

    def add(self, item: Instrument) -> int:
        """Return the number of `item`, adding it when its (venue, symbol) is new.

        Raises InputError when a known (venue, symbol) comes with other fields: a tick of another size would change
        what every row means.
        """
        key = (item.venue, item.symbol)
        if key not in self._ids:
            self._ids[key] = len(self._items)
            self._items.append(item)
        known = self._items[self._ids[key]]
        if known != item:
            names = [f.name for f in fields(item) if getattr(known, f.name) != getattr(item, f.name)]
            one, two = (", ".join(f"{n} {getattr(i, n)}" for n in names) for i in (known, item))
            where = f" of {item.venue}" if item.venue else ""
            raise InputError(f"two instruments are {item.symbol}{where}, one with {one} and one with {two}: keep one")
        return self._ids[key]

    def id(self, symbol: str, venue: str = "") -> int:
        """Return the number of (venue, symbol); raises UnknownName."""
        try:
            return self._ids[venue, symbol]
        except KeyError:
            raise UnknownName("symbol", symbol, (s for v, s in self._ids if v == venue)) from None

    def rows(self) -> Rows:
        """Return the INSTRUMENT rows, shape (len(self),)."""
        return np.concatenate([x.row(i) for i, x in enumerate(self._items)]) if self._items else np.zeros(0, INSTRUMENT)

    def __getitem__(self, id: int) -> Instrument:
        return self._items[id]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._items)

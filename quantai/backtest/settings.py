"""What a backtest assumes, all of it named and printed with the result."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from quantai.core.errors import InputError
from quantai.core.rows import Rows

SETTINGS = np.dtype([("taker_rate", "f8"), ("maker_rate", "f8"), ("leverage", "f8"), ("log", "i8")])
"""What compiled code sees of the settings; rates are fractions of notional."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The assumptions of a backtest on bars.

    `cash` is the starting balance in the settlement currency of the instruments. `fee_bps` is charged on the notional
    of market and stop fills, `maker_fee_bps` on limit fills (the same unless given; negative is a rebate). `slip_bps`
    moves market and stop fills against you. Gross exposure may reach `leverage` times equity when an order is placed.
    `limit_touch` lets a limit fill when the bar only touches it; the default wants the price to trade through.
    `max_orders` is the size of the order table: orders working at once.
    """

    cash: float = 100_000.0
    fee_bps: float = 0.0
    maker_fee_bps: float | None = None
    slip_bps: float = 0.0
    leverage: float = 1.0
    limit_touch: bool = False
    max_orders: int = 64

    def __post_init__(self) -> None:
        for name, value in self.as_dict().items():
            if not isinstance(value, int | float | np.number) and not (value is None and name == "maker_fee_bps"):
                raise InputError(f"{name} is a number, got {value!r}")
        if not (np.isfinite(self.cash) and self.cash > 0):
            raise InputError(f"cash must be a positive amount, got {self.cash}")
        if not (np.isfinite(self.leverage) and self.leverage > 0):
            raise InputError(f"leverage must be positive, got {self.leverage}; 1.0 means no borrowing")
        if not 0 <= self.slip_bps < 10_000:
            raise InputError(f"slip_bps must be within [0, 10000), got {self.slip_bps}")
        for name in ("fee_bps", "maker_fee_bps"):
            value = getattr(self, name)
            if value is not None and not -1_000 < value < 10_000:
                raise InputError(f"{name} is in basis points of notional (1 bp = 0.01 %), got {value}")
        most: Any = self.max_orders
        if not isinstance(most, int | np.integer) or not 1 <= most <= 4096:
            raise InputError(f"max_orders must be within 1 to 4096, got {most}")

    def row(self, *, log: bool) -> Rows:
        """Return the SETTINGS row, shape (1,); `log` says whether orders, fills, intents and equity are kept."""
        row = np.zeros(1, SETTINGS)
        maker = self.fee_bps if self.maker_fee_bps is None else self.maker_fee_bps
        row["taker_rate"], row["maker_rate"] = self.fee_bps / 1e4, maker / 1e4
        row["leverage"], row["log"] = self.leverage, log
        return row

    def as_dict(self) -> dict[str, Any]:
        """Return the settings by name."""
        return asdict(self)

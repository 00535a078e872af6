"""What one bar holds: a stretch of time, a number of trades, an amount of volume, or an amount of money."""

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum

from quantai.core.errors import InputError
from quantai.core.rows import DAY
from quantai.data.bars import interval_name, interval_ns


class By(IntEnum):
    """What closes a bar."""

    TIME = 0
    TICKS = 1
    VOLUME = 2
    DOLLAR = 3


_WORDS = {
    **dict.fromkeys(("tick", "ticks", "trade", "trades"), By.TICKS),
    **dict.fromkeys(("volume", "units"), By.VOLUME),
    **dict.fromkeys(("dollar", "dollars", "quote"), By.DOLLAR),
}
_TIME = re.compile(r"[0-9]+(ms|s|m|h|d|w)")
_AMOUNT = re.compile(r"([0-9][0-9_,]*(?:\.[0-9]+)?(?:e\+?[0-9]+)?) ?([a-z]+)")
_FORMS = "write 1s, 5m, 1h, 1d, 100 ticks, 50 volume (units) or 1e6 dollar (quote currency)"


@dataclass(frozen=True, slots=True)
class Interval:
    """A parsed interval: `text` is its one spelling, `size` is in nanoseconds, trades, units or quote currency."""

    by: By
    size: float
    text: str

    @property
    def ns(self) -> int:
        """The length of a time interval in nanoseconds, 0 for the others."""
        return interval_ns(self.text) if self.by is By.TIME else 0

    @property
    def offset_ns(self) -> int:
        """Where time bars are aligned: instants that are this plus a multiple of `ns`; weeks begin on a Monday."""
        return 4 * DAY if self.ns and self.ns % (7 * DAY) == 0 else 0

    def __str__(self) -> str:
        return self.text


def parse_interval(text: str | Interval) -> Interval:
    """Return the interval that `text` spells; raises InputError.

    >>> parse_interval("60s").text, parse_interval("1e6 dollars").text, parse_interval("100 trades").text
    ('1m', '1000000 dollar', '100 ticks')
    >>> parse_interval("1 fortnight")
    Traceback (most recent call last):
    quantai.core.errors.InputError: interval '1 fortnight': write 1s, 5m, 1h, 1d, 100 ticks, ...
    """
    if isinstance(text, Interval):
        return text
    plain = " ".join(str(text).split())
    if _TIME.fullmatch(plain) and int(plain.rstrip("mshdw")) > 0:
        ns = interval_ns(plain)
        return Interval(By.TIME, float(ns), interval_name(ns))
    m = _AMOUNT.fullmatch(plain.lower())
    by = _WORDS.get(m[2]) if m else None
    if m is None or by is None:
        raise InputError(f"interval {plain!r}: {_FORMS}")
    size = Decimal(m[1].replace(",", "").replace("_", ""))
    if size <= 0 or (by is By.TICKS and size != size.to_integral_value()):
        raise InputError(
            f"interval {plain!r}: {'a whole number of trades' if by is By.TICKS else 'more than 0'} is needed"
        )
    number = f"{size.normalize():f}"
    return Interval(by, float(size), f"{number} {'ticks' if by is By.TICKS else by.name.lower()}")

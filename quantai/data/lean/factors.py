"""Prices adjusted for splits and dividends by LEAN's factor files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quantai.core.errors import DataError, InputError
from quantai.core.instruments import Instruments
from quantai.data.bars import Bars
from quantai.data.sessions import NEW_YORK, local_days


@dataclass(frozen=True, eq=False, slots=True)
class Factors:
    """The factors of one stock: row i holds for every day up to and including `days[i]`, and after `days[i-1]`.

    `price` accounts for dividends and `split` for splits; both are 1 on the last row, which lies in the future.
    """

    days: Any
    price: Any
    split: Any

    def at(self, days: Any) -> tuple[Any, Any]:
        """Return (price factor, split factor) of each of `days` (datetime64[D]): those of the first row not before it.

        >>> f = Factors(
        ...     np.array(["2014-06-06", "2050-12-31"], "datetime64[D]"), np.array([0.9, 1.0]), np.array([0.25, 1.0])
        ... )
        >>> f.at(np.array(["2014-06-06", "2014-06-09"], "datetime64[D]"))
        (array([0.9, 1. ]), array([0.25, 1.  ]))
        """
        row = np.searchsorted(self.days, days, side="left")
        if (row == len(self.days)).any():
            raise DataError(f"the factors end on {self.days[-1]}, before the last bar: fetch a newer factor file")
        return self.price[row], self.split[row]


def read_factors(path: str | Path) -> Factors:
    """Read a LEAN factor file: lines of day, price factor, split factor and, since 2020, the reference price.

    Raises DataError.
    """
    path = Path(path)
    days: list[str] = []
    numbers: list[tuple[float, float]] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    for n, line in enumerate(lines, 1):
        words = line.split(",")
        try:
            days.append(f"{words[0][:4]}-{words[0][4:6]}-{words[0][6:8]}")
            numbers.append((float(words[1]), float(words[2])))
        except (IndexError, ValueError):
            raise DataError(f"{path}: line {n} is not day,price factor,split factor: {line!r}") from None
    try:
        at = np.array(days, "datetime64[D]")
    except ValueError as error:
        raise DataError(f"{path}: a day is not written as 20140606: {error}") from None
    values = np.array(numbers, "f8").reshape(-1, 2)
    if len(at) == 0 or (np.diff(at) <= np.timedelta64(0, "D")).any() or not (values > 0).all():
        raise DataError(f"{path}: days must increase and factors be positive; fetch the file again")
    return Factors(at, values[:, 0], values[:, 1])


def adjust(bars: Bars, factors: Factors) -> Bars:
    """Return `bars` with prices as they would have been had every later split and dividend already happened.

    adjusted price = raw price x price factor x split factor, and adjusted volume = raw volume / split factor, with
    the factors of the first row of the file that is not before the bar's day in New York. A dividend does not change
    how many shares traded, so it leaves the volume alone. The result is not on the tick grid, and today's prices are
    not changed. `bars` hold one instrument, else InputError; a bar after the last row of the file is a DataError.
    Source: LEAN, Common/Data/Auxiliary/FactorFile.cs.
    """
    if len(bars.instruments) != 1:
        raise InputError(f"factors are of one stock: pick one of {', '.join(bars.symbols)} with bars.only(symbol)")
    price, split = factors.at(local_days(bars.rows["ts_open"], NEW_YORK))
    rows = bars.rows.copy()
    for name in ("open", "high", "low", "close"):
        rows[name] *= price * split
    rows["volume"] /= split
    free = bars.instruments[0].with_fields(tick="1e-8", lot="1e-8")
    return Bars(rows, Instruments([free]), bars.interval, f"{bars.source}, adjusted")

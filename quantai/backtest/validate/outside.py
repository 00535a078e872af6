"""The numbers a strategy rests on that no run makes again: parameters, state and constants from outside.

Whether they were taken from the history that they are tested on, the prefix test cannot see. Two things can be done:
name them, and recognise those that *are* a statistic of the whole history.
"""

import inspect
import math
from types import FunctionType
from typing import Any

import numpy as np

from quantai.data.bars import Bars
from quantai.strategy import Strategy
from quantai.strategy.base import fields_of

DIGITS = 4
"""Significant digits from which on a number that equals an extreme is no coincidence."""
COMPUTED = 7
"""Significant digits from which on a number looks computed rather than typed, or taken from a grid of prices."""
LONG = 20
"""Numbers in a tuple from which on it looks like a column."""


def numbers_of(strategy: Strategy) -> dict[str, Any]:
    """Return numbers and tuples of numbers by a name to say them by: `parameter high`, `MEAN`."""
    fields = fields_of(type(strategy))
    out: dict[str, Any] = {f"parameter {n}": v for n, v in strategy.params.items()}
    out |= {f"state {n}": s.initial for n, (_, s) in fields.states.items()}
    for cls in reversed(type(strategy).__mro__):
        for function in vars(cls).values():
            if isinstance(function, FunctionType) and issubclass(cls, Strategy) and cls is not Strategy:
                names = inspect.getclosurevars(function)
                out |= {n: v for n, v in {**names.globals, **names.nonlocals}.items() if _numeric(v)}
    return {n: v for n, v in out.items() if not isinstance(v, bool)}


def unexplained(numbers: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of those that look computed: many digits, or long tuples."""
    long = {n for n, v in numbers.items() if isinstance(v, tuple) and len(v) >= LONG}
    fine = {n for n, v in numbers.items() if isinstance(v, float | np.floating) and _digits(float(v)) >= COMPUTED}
    return tuple(n for n in numbers if n in long | fine)


def recognised(numbers: dict[str, Any], bars: Bars) -> list[tuple[str, str, int]]:
    """Return which numbers are a statistic of the whole history: the name, what it is, the row that makes it known."""
    out = list[tuple[str, str, int]]()
    asked = {n: float(v) for n, v in numbers.items() if isinstance(v, int | float | np.number)}
    asked = {n: v for n, v in asked.items() if math.isfinite(v) and _digits(v) >= DIGITS}
    if not asked:
        return out
    known = _statistics(bars)
    for name, value in asked.items():
        for what, statistic, row in known:
            extreme = what.startswith(("highest", "lowest"))
            # the first row is known to everybody; a median on a grid of prices is equal to many honest ones
            if row > 0 and (extreme or _digits(value) >= COMPUTED) and math.isclose(value, statistic, rel_tol=1e-12):
                out.append((name, f"{value!r} is the {what} of the whole history", row))
                break
    return out


def _statistics(bars: Bars) -> list[tuple[str, float, int]]:
    out = list[tuple[str, float, int]]()
    for number, symbol in enumerate(bars.symbols):
        at = np.flatnonzero(bars.rows["instrument"] == number)
        rows, of = bars.rows[at], f" of {symbol}" if len(bars.symbols) > 1 else ""
        columns = {n: rows[n].astype(np.float64) for n in ("open", "high", "low", "close", "volume")}
        if len(rows) > 1 and (columns["close"] > 0).all():
            change = columns["close"][1:] / columns["close"][:-1]
            columns |= {"returns": change - 1.0, "log returns": np.log(change)}
        for name, x in columns.items():
            first = len(rows) - len(x)
            if not len(x) or not np.isfinite(x).all():
                continue
            out.append((f"highest {name}{of}", float(x.max()), int(at[first + x.argmax()])))
            out.append((f"lowest {name}{of}", float(x.min()), int(at[first + x.argmin()])))
            whole = {"mean": x.mean(), "median": np.median(x), "deviation": x.std(), "sample deviation": 0.0}
            if len(x) > 1:
                whole["sample deviation"] = x.std(ddof=1)
            whole |= {f"{q} % quantile": np.percentile(x, q) for q in (1, 5, 10, 20, 25, 75, 80, 90, 95, 99)}
            out += [(f"{what} of {name}{of}", float(v), int(at[-1])) for what, v in whole.items()]
    return out


def _digits(value: float) -> int:
    mantissa = f"{value!r}".split("e")[0].lstrip("-").replace(".", "").strip("0")
    return len(mantissa)


def _numeric(value: Any) -> bool:
    if isinstance(value, tuple):
        return len(value) > 0 and all(isinstance(v, int | float | np.number) for v in value)
    return isinstance(value, int | float | np.number)

"""What sweeps and checks are asked for, read or refused in a line: a class, whole numbers, variants, columns."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from quantai.backtest.search import Params
from quantai.core.errors import InputError
from quantai.strategy import Strategy


def class_of(strategy: Any) -> type[Strategy]:
    """Return a class of strategies; InputError names what else was given."""
    if isinstance(strategy, type) and issubclass(strategy, Strategy):
        return strategy
    if isinstance(strategy, Strategy):
        raise InputError(f"parameters vary: give the class {type(strategy).__name__}, not an instance of it")
    raise InputError(f"parameters vary: give a Strategy class, got {strategy!r}")


def whole_number(name: str, value: Any, least: int) -> int:
    """Return a whole number of at least `least`; InputError names the argument.

    >>> whole_number("threads", 2, 1)
    2
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name} is a whole number of at least {least}, got {value!r}")
    return int(value)


def variants_of(given: Any) -> list[Params]:
    """Return parameter sets as a list; InputError names the first thing in it that is none."""
    if isinstance(given, Mapping | str) or not isinstance(given, Iterable):
        raise InputError(f'variants is a list of parameter sets, such as [{{"fast": 5}}], got {given!r}')
    out = list[Any](given)
    for k, variant in enumerate(out):
        if not isinstance(variant, Mapping):
            raise InputError(f'variant {k} is not a set of parameters, such as {{"fast": 5}}: got {variant!r}')
    return out


def shown(
    strategy: type[Strategy], params: Iterable[str], asked: Sequence[Mapping[str, Any]], taken: Collection[str]
) -> list[str]:
    """Return the parameters that are columns of a sweep's frame: all but those called like the columns `taken`.

    These keep their defaults. Raises InputError where one of them was asked for: `best` would run a statistic as it.
    """
    names = list(params)
    for name in dict.fromkeys(name for variant in asked for name in variant):
        if name in taken and name in names:
            raise InputError(
                f"parameter {name} of {strategy.__name__} is called like a statistic or setting of sweeps: "
                "use another name"
            )
    return [name for name in names if name not in taken]

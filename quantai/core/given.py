"""What is given to public functions: a value of another type is one clear line that names the argument."""

from decimal import Decimal
from fractions import Fraction
from types import UnionType
from typing import Any

import numpy as np

from quantai.core.errors import InputError


def whole(name: str, value: Any) -> int:
    """Return a whole number as int; raises InputError naming the argument for anything else.

    >>> whole("desk", np.int64(3))
    3
    >>> whole("desk", "3")
    Traceback (most recent call last):
    quantai.core.errors.InputError: desk is a whole number: got '3'
    """
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    raise InputError(f"{name} is a whole number: got {value!r}")


def number(name: str, value: Any) -> float:
    """Return a number as float; raises InputError naming the argument for anything else.

    >>> number("px", Decimal("0.5"))
    0.5
    >>> number("px", None)
    Traceback (most recent call last):
    quantai.core.errors.InputError: px is a number: got None
    """
    if isinstance(value, float | int | np.number | Decimal | Fraction) and not isinstance(value, bool):
        return float(value)
    raise InputError(f"{name} is a number: got {value!r}")


def instance(name: str, value: Any, kind: type | UnionType, words: str) -> None:
    """Raise InputError, naming the argument and in `words` what it has to be, for a value of another type.

    >>> instance("currency", None, str, "a name such as 'USD'")
    Traceback (most recent call last):
    quantai.core.errors.InputError: currency is a name such as 'USD': got None
    """
    if not isinstance(value, kind):
        raise InputError(f"{name} is {words}: got {value!r}")

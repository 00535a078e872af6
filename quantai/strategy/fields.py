"""The fields of a strategy class: parameters, state and indicators, laid out as one numpy record."""

import inspect
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantai.core.errors import InputError, StrategyError, UnknownName
from quantai.core.rows import Rows

_SCALARS = {int: "i8", float: "f8", bool: "?", "int": "i8", "float": "f8", "bool": "?"}
_TYPES = {"i8": int, "f8": float, "?": bool}


@dataclass(frozen=True, slots=True)
class State:
    """A state field as declared: its initial value and shape (see `state`)."""

    initial: float | int | bool
    shape: tuple[int, ...]


def state(initial: float | int | bool = 0.0, shape: int | tuple[int, ...] = ()) -> Any:
    """Declare a field that handlers may change; it lives in the strategy's record and survives snapshot and restore.

    `shape` makes it a fixed-size array filled with `initial`.

    >>> import math, quantai as qa
    >>> class Count(qa.Strategy):
    ...     seen: int = qa.state(0)
    ...     last: float = qa.state(math.nan, shape=4)
    >>> Count().record()["last"].shape
    (1, 4)
    """
    return State(initial, (shape,) if isinstance(shape, int) else shape)


class Indicator:
    """A declared indicator field: subclasses give the record's fields and the functions that advance it.

    `period` is a number of rows, or the name of the parameter that holds it. `dtype(capacity)` gives the record;
    two indicators never share the same set of field names, for that set is how compiled code tells them apart.
    """

    methods: tuple[str, ...] = ("update",)

    def __init__(self, period: int | str = 1) -> None:
        self.period = period

    def dtype(self, capacity: int) -> np.dtype[Any]:
        """Return the record of this indicator with room for `capacity` rows of history."""
        raise TypeError(f"{type(self).__name__} declares no record")

    def initial(self, row: Any, period: int) -> None:
        """Fill a zeroed record (a numpy void) with the values it starts from."""
        row["period"] = period

    def resolve(self, params: Mapping[str, Any]) -> int:
        """Return the period in rows under these parameters; raises InputError when it is not a whole number >= 1."""
        period = params[self.period] if isinstance(self.period, str) else self.period
        if not math.isfinite(period) or period != int(period) or period < 1:
            raise InputError(f"{type(self).__name__.lower()}: a period is a whole number of rows >= 1, got {period}")
        return int(period)


@dataclass(frozen=True)
class Fields:
    """What a strategy class declares, in order of declaration (bases first)."""

    params: dict[str, tuple[str, Any]]  # name -> (numpy code, default)
    states: dict[str, tuple[str, State]]
    indicators: dict[str, Indicator]

    @classmethod
    def of(cls, owner: type) -> "Fields":
        """Read the fields of a class; raises StrategyError for a declaration that cannot become a record."""
        fields = cls({}, {}, {})
        for base in reversed(owner.__mro__):
            if base is object or base.__dict__.get("__abstract__"):
                continue
            notes = inspect.get_annotations(base)
            for name, value in base.__dict__.items():
                if isinstance(value, Indicator):
                    fields.indicators[name] = value
                elif isinstance(value, State) and name not in notes:
                    if isinstance(value.initial, int) and not isinstance(value.initial, bool):
                        raise StrategyError(
                            f"{owner.__name__}.{name}: write {name}: int = qa.state({value.initial}), "
                            f"or qa.state({value.initial}.0) for a float"
                        )
                    fields.states[name] = (_SCALARS[type(value.initial)], value)
            for name, note in notes.items():
                if name.startswith("_") or isinstance(base.__dict__.get(name), Indicator):
                    continue
                code = _SCALARS.get(note)
                if code is None:
                    raise StrategyError(
                        f"{owner.__name__}.{name}: a field is int, float, bool or an indicator, not {note}"
                    )
                if name not in base.__dict__:
                    raise StrategyError(f"{owner.__name__}.{name}: give it a default, for example {name}: int = 10")
                value = base.__dict__[name]
                if isinstance(value, State):
                    if code == "i8" and value.initial != int(value.initial):
                        raise StrategyError(f"{owner.__name__}.{name}: {value.initial} is not an int: declare it float")
                    fields.states[name] = (code, value)
                else:
                    fields.params[name] = (code, value)
        return fields

    def names(self) -> set[str]:
        """Every declared name."""
        return {*self.params, *self.states, *self.indicators}

    def values(self, owner: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameter values, defaults filled in; raises UnknownName or InputError for what does not fit."""
        for name in given:
            if name not in self.params:
                raise UnknownName(f"parameter of {owner}", name, self.params)
        return {name: _scalar(name, code, given.get(name, default)) for name, (code, default) in self.params.items()}

    def capacities(self, variants: Iterable[Mapping[str, Any]]) -> dict[str, int]:
        """Return the history each indicator needs so that every one of these parameter sets fits.

        Rounded up to a power of two, at least 64, so that neighbouring parameters share one compiled kernel.
        """
        need, variants = dict[str, int](), list(variants)
        for name, indicator in self.indicators.items():
            period = indicator.period
            few = {v[period]: v for v in variants}.values() if isinstance(period, str) else variants[:1]
            need[name] = max([64, *map(indicator.resolve, few)])
        return {name: 1 << (rows - 1).bit_length() for name, rows in need.items()}

    def dtype(self, capacities: Mapping[str, int]) -> np.dtype[Any]:
        """Return the record: parameters, states, indicators; every scalar padded to 8 bytes so that none is hidden."""
        layout: list[Any] = []
        for name, (code, _) in self.params.items():
            layout.append((name, "i8" if code == "?" else code))
        for name, (code, declared) in self.states.items():
            layout.append((name, "i8" if code == "?" else code, declared.shape))
        for name, indicator in self.indicators.items():
            layout.append((name, indicator.dtype(capacities[name])))
        return np.dtype(layout or [("_empty", "i8")])

    def record(self, dtype: np.dtype[Any], params: Mapping[str, Any]) -> Rows:
        """Return the initial record, shape (1,), for these parameter values."""
        rec = np.zeros(1, dtype)
        for name, value in params.items():
            rec[name] = value
        for name, (_, declared) in self.states.items():
            rec[name] = declared.initial
        for name, indicator in self.indicators.items():
            indicator.initial(rec[0][name], indicator.resolve(params))
        return rec


def _scalar(name: str, code: str, value: Any) -> Any:
    if type(value) is _TYPES[code] and (code != "i8" or -(2**63) <= value < 2**63):
        return value  # as a rule, and there may be thousands of variants
    kind = {"f8": "a float", "i8": "an int", "?": "a bool"}[code]
    try:
        number = _TYPES[code](value)
        # neither a fraction nor a text, which is true whatever it says, may become another value without a word
        fits = code == "f8" or (isinstance(value, str) and code == "i8") or bool(number == value)
    except (TypeError, ValueError, ArithmeticError):
        fits, number = False, 0
    if not fits or (code == "i8" and not -(2**63) <= number < 2**63):
        raise InputError(f"parameter {name} is {kind}, got {value!r}")
    return number

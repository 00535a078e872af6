"""Handlers as plain Python over the very memory the compiled ones use: for a debugger, a print, and the parity test."""

from collections.abc import Callable
from typing import Any

import numpy as np

from quantai.core.errors import StrategyError
from quantai.core.rows import Rows
from quantai.strategy import indicators, verbs
from quantai.strategy.base import Strategy, fields_of
from quantai.strategy.context import World
from quantai.strategy.handlers import HANDLERS
from quantai.strategy.whole import whole


class View:
    """One record with its fields as attributes: what `bar`, `trade` or `book` is in a handler run uncompiled."""

    __slots__ = ("_row",)

    def __init__(self, row: Any) -> None:
        object.__setattr__(self, "_row", row)

    def __getattr__(self, name: str) -> Any:
        try:
            value = self._row[name]
        except ValueError:
            raise AttributeError(f"no field {name!r}; there are {', '.join(self._row.dtype.names)}") from None
        # .item() gives Python numbers, whose arithmetic (division by zero above all) is that of compiled handlers
        return value if isinstance(value, np.ndarray) or value.dtype.names else value.item()

    def __setattr__(self, name: str, value: Any) -> None:
        raise StrategyError("a handler assigns to its own fields only, self.…: rows and tables are not its own")

    def __repr__(self) -> str:
        return ", ".join(f"{n}={self._row[n]}" for n in self._row.dtype.names)


class _Indicator(View):
    """An indicator field: its record, with the methods run as plain Python on it."""

    __slots__ = ("_kind", "_rows")

    def __init__(self, rows: Rows, kind: type) -> None:
        super().__init__(rows[0])
        object.__setattr__(self, "_rows", rows)
        object.__setattr__(self, "_kind", kind)

    def __setattr__(self, name: str, value: Any) -> None:
        self._row[name] = value

    def __getattr__(self, name: str) -> Any:
        if name in self._kind.methods:
            function = getattr(indicators, f"{self._kind.__name__.lower()}_{name}").py_func
            return lambda *args: function(self, *args)
        return super().__getattr__(name)


class _Array:
    """An array field: its elements are Python numbers, whose arithmetic is that of compiled handlers."""

    def __init__(self, values: Any) -> None:
        self._values = values
        self.shape = values.shape

    def __getitem__(self, at: Any) -> Any:
        found = self._values[at]
        return _Array(found) if isinstance(found, np.ndarray) else found.item()

    def __setitem__(self, at: Any, value: Any) -> None:
        self._values[at] = value

    def __len__(self) -> int:
        return len(self._values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(self._values, dtype)


class _Self:
    """`self` of an uncompiled handler: fields live in the record, everything else on the class."""

    def __init__(self, owner: type[Strategy], record: Rows) -> None:
        fields = fields_of(owner)
        kinds = {n: _Indicator(record[n], type(i)) for n, i in fields.indicators.items()}
        self.__dict__.update(_owner=owner, _row=record[0], _fields=fields, _kinds=kinds)

    def __getattr__(self, name: str) -> Any:
        if name in self._kinds:
            return self._kinds[name]
        if name in self._fields.names():
            value = self._row[name]
            return _Array(value) if isinstance(value, np.ndarray) else value.item()
        found = getattr(self._owner, name)
        return found.__get__(self) if callable(found) and hasattr(found, "__get__") else found

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._fields.params:
            raise StrategyError(f"self.{name} is a parameter and cannot change: declare it with qa.state(…)")
        if name not in self._fields.names():
            raise StrategyError(f"{self._owner.__name__} declares no field {name!r}")
        code, declared = self._fields.states.get(name, ("f8", None))
        self._row[name] = whole(value) if code != "f8" and declared is not None and declared.shape == () else value


class Context:
    """`ctx` of an uncompiled handler; the verbs run the same functions on the same memory."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ctx = world.ctx[0]

    @property
    def now(self) -> int:
        """The instant of the current row, ns UTC."""
        return int(self._ctx["now"])

    @property
    def seq(self) -> int:
        """The sequence number of the current row."""
        return int(self._ctx["seq"])

    @property
    def cash(self) -> float:
        """Cash in account currency."""
        return float(self._ctx["cash"])

    @property
    def equity(self) -> float:
        """Cash plus the value of all positions, in account currency."""
        return float(self._ctx["equity"])

    @property
    def instrument(self) -> int:
        """The instrument of the current row."""
        return int(self._ctx["instrument"])

    def book(self, instrument: int = -1) -> View:
        """Return the top of the book of an instrument."""
        return View(self._world.books[self.instrument if instrument < 0 else instrument])

    def orders(self) -> list[View]:
        """Return the order table's rows."""
        return [View(row) for row in self._world.orders[: int(self._ctx["n_orders"])]]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in verbs.VERBS:
            raise AttributeError(f"ctx has no {name!r}; verbs are {', '.join(verbs.VERBS)}")
        verb = verbs.VERBS[name]
        return lambda *args, **named: verb(self._ctx, *args, **named)


def python_handlers(owner: type[Strategy], record: Rows, world: World) -> dict[str, Any]:
    """Return what a driver needs to run a class uncompiled: its handlers by name and the flags `has_on_…`."""
    me, ctx = _Self(owner, record), Context(world)
    out: dict[str, Any] = {}

    def bind(handler: Any) -> Callable[..., None]:
        return lambda _self, _ctx, *rows: handler(me, ctx, *(View(r) for r in rows))

    for name in HANDLERS:
        handler = next((b.__dict__[name] for b in owner.__mro__ if name in b.__dict__), None)
        out[f"has_{name}"] = handler is not None
        out[name] = bind(handler) if handler is not None else (lambda *_: None)
    return out

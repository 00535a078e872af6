"""Strategy: the class users subclass, in a notebook cell or a file."""

import hashlib
import inspect
import linecache
import textwrap
from collections.abc import Callable, Mapping
from functools import cache
from types import FunctionType
from typing import Any, ClassVar, Self

import numpy as np

from quantai.core.errors import StrategyError
from quantai.core.rows import Rows
from quantai.strategy.compiler import Kernel, kernel_of
from quantai.strategy.fields import Fields
from quantai.strategy.handlers import HANDLERS
from quantai.strategy.source import Module


class Strategy:
    """A trading strategy: annotated parameters, declared state, and handlers that are compiled at first use.

    Handlers (all optional): `on_start(self, ctx)`, `on_trade(self, ctx, trade)`, `on_book(self, ctx, book)`,
    `on_quote(self, ctx, book)`, `on_bar(self, ctx, bar)`, `on_funding(self, ctx, funding)`, `on_timer(self, ctx)`,
    `on_fill(self, ctx, fill)`, `on_order(self, ctx, order)`. A handler sees one row and its own state, never the
    future. `ctx` offers `buy sell target cancel replace quote unquote every book position price orders` and the values
    `now` (ns UTC), `cash`, `equity`, `instrument`, `seq`.

    An instance is a choice of parameters and never changes: each run starts from a fresh record.

    >>> import quantai as qa
    >>> class Cross(qa.Strategy):
    ...     fast: int = 10
    ...     slow: int = 50
    ...     ema_fast = qa.ind.ema("fast")
    ...     ema_slow = qa.ind.ema("slow")
    ...
    ...     def on_bar(self, ctx, bar):
    ...         fast, slow = self.ema_fast.update(bar.close), self.ema_slow.update(bar.close)
    ...         ctx.target(1.0 if fast > slow else 0.0)
    >>> Cross(fast=5).params
    {'fast': 5, 'slow': 50}
    """

    __abstract__: ClassVar[bool] = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__abstract__ = False
        names = [n for n in cls.__dict__ if n.startswith("on_") and n not in HANDLERS]
        if names:
            raise StrategyError(f"{cls.__name__}.{names[0]} is not a handler; handlers are {', '.join(HANDLERS)}")
        taken = [n for n in {*cls.__dict__, *inspect.get_annotations(cls)} if n in _OWN]
        if taken:
            raise StrategyError(f"{cls.__name__}.{taken[0]}: Strategy has a {taken[0]} of its own: use another name")

    def __init__(self, **params: Any) -> None:
        if type(self) is Strategy:
            raise StrategyError("Strategy is meant to be subclassed: give it parameters and an on_bar")
        fields = fields_of(type(self))
        values = fields.values(type(self).__name__, params)
        object.__setattr__(self, "_params", values)
        object.__setattr__(self, "_compiled", True)

    @property
    def params(self) -> dict[str, Any]:
        """The parameter values, defaults included."""
        return dict(self._params)  # type: ignore[attr-defined]

    @property
    def compiled(self) -> bool:
        """Whether handlers run compiled (the default) or as plain Python."""
        return self._compiled  # type: ignore[attr-defined]

    def python(self) -> Self:
        """Return the same strategy with its handlers run uncompiled, for a debugger or a print; it decides the same."""
        twin = type(self)(**self.params)
        object.__setattr__(twin, "_compiled", False)
        return twin

    def record(self, capacities: Mapping[str, int] | None = None) -> Rows:
        """Return the initial record (parameters and state), shape (1,); `capacities` sizes the indicators' history."""
        fields = fields_of(type(self))
        dtype = fields.dtype(capacities or fields.capacities([self._params]))  # type: ignore[attr-defined]
        return fields.record(dtype, self._params)  # type: ignore[attr-defined]

    @classmethod
    def kernel(cls, dtype: np.dtype[Any], drivers: tuple[Callable[..., Any], ...]) -> Kernel:
        """Return the compiled kernel of this class with `drivers` specialised to its handlers."""
        return kernel_of(cls, fields_of(cls), dtype, drivers)

    @classmethod
    def source(cls) -> str:
        """Return the class as it was typed, after those it inherits from; raises StrategyError when that is gone."""
        bases = [b for b in reversed(cls.__mro__) if issubclass(b, Strategy) and b is not Strategy]
        return "\n\n".join(_class_source(b) for b in bases)

    @classmethod
    def source_hash(cls) -> str:
        """Return a hash of what the class does: its handlers with all they use, and its fields.

        Constants and helper functions of other cells count; comments, formatting and docstrings do not.
        """
        fields = fields_of(cls)
        body = "\n".join(Module(cls, fields).text().lines[1:])
        layout = [(n, repr(v)) for kind in (fields.params, fields.states) for n, v in kind.items()]
        layout += [(n, repr(sorted(vars(i).items()))) for n, i in fields.indicators.items()]
        return hashlib.blake2b(f"{body}\n{layout}".encode(), digest_size=8).hexdigest()

    def __setattr__(self, name: str, value: Any) -> None:
        raise StrategyError(
            f"a strategy is a fixed choice of parameters: make another, {type(self).__name__}({name}={value!r})"
        )

    def __getattribute__(self, name: str) -> Any:
        params = object.__getattribute__(self, "__dict__").get("_params")
        if params is not None and name in params:
            return params[name]
        return object.__getattribute__(self, name)

    def __repr__(self) -> str:
        shown = ", ".join(f"{k}={v!r}" for k, v in self._params.items())  # type: ignore[attr-defined]
        return f"{type(self).__name__}({shown})"


def _class_source(cls: type) -> str:
    # inspect looks classes up by module, and a notebook cell is none: the file of a handler is the file of its class
    files = {f.__code__.co_filename for f in vars(cls).values() if isinstance(f, FunctionType)}
    lines = linecache.getlines(files.pop()) if len(files) == 1 else []
    first: int = getattr(cls, "__firstlineno__", 0)
    if 0 < first <= len(lines):
        return textwrap.dedent("".join(inspect.getblock(lines[first - 1 :])))
    try:
        return textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):
        raise StrategyError(
            f"the source of {cls.__name__} cannot be read: define it in a file or a notebook cell"
        ) from None


_OWN = frozenset(n for n in Strategy.__dict__ if not n.startswith("__"))


@cache
def fields_of(cls: type[Strategy]) -> Fields:
    """Return what a strategy class declares."""
    return Fields.of(cls)

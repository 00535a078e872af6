"""The source of a strategy as one module that stands alone, wherever its pieces were typed.

A class in a cell uses names of other cells: imports, constants, helper functions. They are written down with it, so
that the text alone gives the strategy again. Its `source_hash` says whether it does.
"""

import ast
import builtins
import importlib.util
import inspect
import math
import symtable
import sys
import textwrap
import types
from pathlib import Path
from typing import Any

from quantai.core.errors import StrategyError
from quantai.strategy import Strategy

LIBRARIES = frozenset({*sys.stdlib_module_names, "quantai", "numpy", "numba"}) - {"__main__"}
"""Packages whose names are imported where a strategy is loaded again, not copied."""


def module_text(cls: type[Strategy]) -> str:
    """Return a module's text that defines the class and all that it uses.

    Raises StrategyError for a name that cannot be written down: an array, a frame, an object of the notebook.
    """
    return _Text(cls).text()


class _Text:
    def __init__(self, cls: type[Strategy]) -> None:
        self._cls = cls
        self._imports: dict[str, str] = {}
        self._values: dict[str, str] = {}
        self._functions: dict[str, str] = {}
        self._meant: dict[str, Any] = {}
        bases = [b for b in reversed(cls.__mro__) if issubclass(b, Strategy) and b is not Strategy]
        self._own = {b.__name__ for b in bases}
        self._classes = cls.source().strip()
        for base in bases:
            self._include(self._classes, _scope(base), cls.__name__, partly=len(bases) > 1)
        for name in sorted(_outside(self._classes)):
            if name not in self._meant and name not in self._own and not hasattr(builtins, name):
                raise StrategyError(f"{cls.__name__} uses {name!r}, which is not defined: define it before promoting")

    def text(self) -> str:
        parts = [f'"""{self._cls.__name__}, as it was promoted: do not edit."""']
        parts += ["\n".join(sorted(part.values())) for part in (self._imports, self._values) if part]
        return "\n\n".join(parts) + "\n" + "".join(f"\n\n{p}\n" for p in [*self._functions.values(), self._classes])

    def _include(self, text: str, scope: dict[str, Any], user: str, *, partly: bool = False) -> None:
        """Write down every outside name that `text` uses; `partly` leaves out those that are not in `scope`."""
        for name in sorted(_outside(text)):
            if name in self._own or (name not in scope and (partly or hasattr(builtins, name))):
                continue
            if name not in scope:
                raise StrategyError(f"{user} uses {name!r}, which is not defined: define it before promoting")
            if name in self._meant and self._meant[name] is not scope[name]:
                raise StrategyError(f"{name!r} means different things in what {user} is made of: rename one of them")
            if name not in self._meant:
                self._meant[name] = scope[name]
                self._define(name, scope[name], user)

    def _define(self, name: str, value: Any, user: str) -> None:
        if isinstance(value, types.ModuleType):
            if value.__name__.partition(".")[0] not in LIBRARIES:
                raise StrategyError(
                    f"{user} uses the module {value.__name__}, which a service does not have: take what is needed "
                    f"into the cell or file of the strategy"
                )
            self._imports[name] = f"import {value.__name__} as {name}" if value.__name__ != name else f"import {name}"
        elif (written := _written(value)) is not None:
            self._values[name] = f"{name} = {written}"
        elif (home := _library(value)) is not None:
            module, known = home
            self._imports[name] = f"from {module} import {known}" + (f" as {name}" if known != name else "")
        elif isinstance(function := getattr(value, "py_func", value), types.FunctionType):
            text = _function(function)
            self._include(text, function.__globals__ | dict(inspect.getclosurevars(function).nonlocals), name)
            if function.__name__ != name:
                text += f"\n\n\n{name} = {function.__name__}"
            self._functions[name] = text
        else:
            raise StrategyError(
                f"{user} uses {name!r}, a {type(value).__name__}: only numbers, texts, functions and modules can go "
                "with a strategy; keep arrays in qa.state"
            )


def _scope(cls: type) -> dict[str, Any]:
    """Return what names mean where a class was typed."""
    scope = dict(vars(sys.modules[cls.__module__])) if cls.__module__ in sys.modules else {}
    for function in (f for f in vars(cls).values() if isinstance(f, types.FunctionType)):
        scope |= function.__globals__ | dict(inspect.getclosurevars(function).nonlocals)
    return scope


def _outside(text: str) -> set[str]:
    """Return the names that the top level and everything in it look up outside of the text."""
    found: set[str] = set()
    tables = [symtable.symtable(text, "strategy", "exec")]
    own = {s.get_name() for s in tables[0].get_symbols() if s.is_assigned() or s.is_namespace()}
    while tables:
        table = tables.pop()
        tables += table.get_children()
        top = table.get_type() == "module"
        found |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global())}
    return found - own - {"__class__"}


def _written(value: Any) -> str | None:
    """Return a constant as Python writes it, None for what is none."""
    if hasattr(value, "dtype") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if type(value) is float and not math.isfinite(value):
        return f"float({str(value)!r})"
    if type(value) not in (int, float, bool, str, tuple, list, dict, type(None)):
        return None
    text = repr(value)
    try:
        return text if ast.literal_eval(text) == value else None
    except (ValueError, SyntaxError):
        return None


def _library(value: Any) -> tuple[str, str] | None:
    """Return (module, name) of a library's own thing, None for what is not one."""
    module, name = getattr(value, "__module__", None) or "", getattr(value, "__name__", "")
    if not module and type(value).__module__ == "numpy":
        module = "numpy"
    if module.partition(".")[0] not in LIBRARIES or not name:
        return None
    return (module, name) if getattr(sys.modules.get(module), name, None) is value else None


def _function(function: types.FunctionType) -> str:
    try:
        return textwrap.dedent(inspect.getsource(function)).strip()
    except (OSError, TypeError):
        raise StrategyError(
            f"the source of {function.__name__} cannot be read: define it in a file or a cell"
        ) from None


def load_class(path: Path, name: str, module: str) -> type[Strategy]:
    """Return the class `name` of a strategy's file, loaded as the module `module`; raises StrategyError.

    Each version has a module name of its own, so that several of them live beside each other in one process.
    """
    spec = importlib.util.spec_from_file_location(module, path)
    if spec is None or spec.loader is None:
        raise StrategyError(f"{path} cannot be loaded as Python")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded  # where inspect looks for the source of its classes
    try:
        spec.loader.exec_module(loaded)
    except Exception as error:
        raise StrategyError(f"{path} failed when run: {type(error).__name__}: {error}") from error
    found = getattr(loaded, name, None)
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        raise StrategyError(f"{path} has no strategy {name}")
    return found

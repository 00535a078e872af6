"""From a strategy class to the text of a module that numba can compile and cache on disk.

Handlers are taken as source, wherever they were typed (a file, a Jupyter cell, a marimo cell), and rewritten only where
the class facade has to disappear: `ctx.buy(…)` becomes `buy(ctx, …)`, `self.fast.update(x)` becomes the indicator's
function, `self.method(…)` a plain call, and names from outside become imports or literals. The text depends on nothing
else, so its hash says whether a compiled kernel can be reused. Each generated line remembers the user's line it came
from.
"""

import ast
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import numpy as np

from quantai.strategy.fields import Fields
from quantai.strategy.handlers import HANDLERS
from quantai.strategy.place import Place, defined, fail, function_source, literal
from quantai.strategy.rewrite import FORBIDDEN, MODULES, Rewriter


@dataclass
class Text:
    """Generated source under construction, with the user's (file, line) of each generated line."""

    lines: list[str] = field(default_factory=list)
    origin: list[tuple[str, int] | None] = field(default_factory=list)

    def add(self, text: str, origin: list[tuple[str, int] | None] | None = None) -> None:
        """Append some lines; `origin` has one entry a line."""
        lines = text.splitlines()
        self.lines += lines
        self.origin += origin if origin is not None else [None] * len(lines)


@dataclass(frozen=True)
class Driver:
    """A function of the engine that is pasted beside the handlers it calls: its text, and the names it uses."""

    name: str
    text: Text
    names: frozenset[str]
    scope: dict[str, Any]
    inlined: bool


@cache
def _driver(driver: Callable[..., Any]) -> Driver:
    # one compiled with `inlined` is pasted into its callers, too
    function = getattr(driver, "py_func", driver)
    definition, place = function_source(function)
    names = {n.id for n in ast.walk(definition) if isinstance(n, ast.Name)} - {"Any"}
    definition.decorator_list = []
    definition.returns = None
    for a in definition.args.args:
        a.annotation = None
    definition.body = definition.body[1:] if ast.get_docstring(definition) else definition.body
    text = Text()
    text.add(ast.unparse(definition), _origins(definition, ast.unparse(definition), place))
    return Driver(definition.name, text, frozenset(names), function.__globals__, function is not driver)


class Module:
    """The generated module of one strategy class: its handlers, the functions they use, and a driver."""

    def __init__(self, owner: type, fields: Fields) -> None:
        self.owner = owner
        self.fields = fields
        self.head: dict[str, str] = {}  # name -> import or literal line
        self.functions: dict[str, Text] = {}
        self._names: dict[Any, str] = {}  # function -> the name it got
        self.has: dict[str, bool] = {}
        self._looked: list[tuple[Callable[[], Any], Any]] = []
        for name, extra in HANDLERS.items():
            handler = self.look(partial(defined, owner, name))
            self.has[name] = handler is not None
            if handler is None:
                args = ", ".join(("self", "ctx", *extra))
                self.functions[name] = Text()
                self.functions[name].add(f"def {name}({args}):\n    pass")
            else:
                got = handler.__code__.co_argcount
                if got != 2 + len(extra):
                    want = ", ".join(("self", "ctx", *extra))
                    code = handler.__code__
                    raise fail(
                        code.co_filename, code.co_firstlineno, f"{name} takes ({want}), this one takes {got} arguments"
                    )
                self.include(handler, name, method=True)

    def look(self, find: Callable[[], Any]) -> Any:
        """Return what `find` does, and remember that the text depends on it."""
        self._looked.append((find, find()))
        return self._looked[-1][1]

    def is_current(self) -> bool:
        """Say whether everything outside that the text was made of is still the same, and so is the text."""
        return all(find() is found for find, found in self._looked)

    def include(self, function: Any, name: str, method: bool = False, wrapped: bool = False) -> str:
        """Add a function (once) under a free name and return that name; `wrapped`: numba's own decorator is on it.

        Only handlers keep their names. Everything else of the user's is prefixed, so that no helper can take the place
        of an engine function that happens to be called the same.
        """
        if function in self._names:
            return self._names[function]
        name = name if name in HANDLERS else f"user_{name}"
        free, n = name, 1
        while free in self.functions:
            n += 1
            free = f"{name}_{n}"
        self._names[function] = free
        self.functions[free] = Text()  # reserves the name; a recursive call finds it
        for part in ("__code__", "__defaults__", "__kwdefaults__"):  # a notebook that reloads changes them in place
            self.look(partial(getattr, function, part))
        definition, place = function_source(function)
        if definition.decorator_list and not wrapped:
            raise place.fail(definition.decorator_list[0], "a decorator would be lost in compiling: write it out")
        Rewriter(self, function, definition, place, method).run()
        definition.name = free
        definition.decorator_list = []
        definition.returns = None
        for a in [*definition.args.args, *definition.args.kwonlyargs]:
            a.annotation = None
        if ast.get_docstring(definition) is not None:
            definition.body = definition.body[1:] or [ast.copy_location(ast.Pass(), definition)]
        ast.fix_missing_locations(definition)
        text = ast.unparse(definition)
        self.functions[free].add(text, _origins(definition, text, place))
        return free

    def text(self, drivers: tuple[Callable[..., Any], ...] = ()) -> Text:
        """Return the whole module: imports and literals, handlers compiled, then the drivers specialised to them."""
        inlined = set(HANDLERS)
        pasted = [_driver(driver) for driver in drivers]
        for driver in pasted:
            self.functions[driver.name] = driver.text
            if driver.inlined:
                inlined.add(driver.name)
        for driver in pasted:
            self._driver_globals(driver)
        out = Text()
        out.add(f'"""Generated from {self.owner.__qualname__}: do not edit."""')
        out.add("\nfrom quantai.core.compiled import generated")
        out.add("\n".join(sorted(self.head.values())))
        for name, present in self.has.items():
            out.add(f"has_{name} = {present}")
        # callees before callers is not needed: numba resolves globals when the driver is compiled
        for name, body in self.functions.items():
            # a handler inlined into the driver can keep the strategy's record in registers; an index beyond an array
            # of the user's would write into the next field
            theirs = name in HANDLERS or name.startswith("user_")
            # drivers allocate nothing: to count references to each slice they pass on would cost a tenth of a sweep
            options = f"nogil=True, forceinline={name in inlined}, boundscheck={theirs}, _nrt={theirs}"
            out.add(f"\n\n@generated({options})")
            out.add("\n".join(body.lines), body.origin)
        return out

    def _driver_globals(self, driver: Driver) -> None:
        for name in sorted(driver.names):
            if name in self.functions or name.removeprefix("has_") in HANDLERS or name not in driver.scope:
                continue
            value = driver.scope[name]
            if isinstance(value, int | float):
                self.head[name] = f"{name} = {value!r}"
            else:
                home = getattr(value, "__module__", None)
                self.head[name] = f"from {home} import {name}"

    def bind(self, name: str, value: Any, place: Place, node: ast.AST) -> str:
        """Make an outside value available to the generated code and return the name to use for it."""
        if isinstance(value, types.ModuleType):
            root = value.__name__
            for bad, why in FORBIDDEN.items():
                if root == bad or root.startswith(bad + "."):
                    raise place.fail(node, why)
            if root.split(".")[0] not in MODULES:
                raise place.fail(node, f"module {root} cannot be used in a handler: only math and numpy can")
            name = f"user_{root.replace('.', '_')}"
            self.head[name] = f"import {root} as {name}"
            return name
        function = getattr(value, "py_func", value)
        home = getattr(value, "__module__", None) or ("numpy" if isinstance(value, np.ufunc) else "")
        if isinstance(value, types.BuiltinFunctionType | np.ufunc) and home.split(".")[0] in MODULES:
            name = f"user_{home}_{value.__name__}"
            self.head[name] = f"from {home} import {value.__name__} as {name}"
            return name
        if isinstance(function, types.FunctionType):
            if function.__module__.startswith("quantai."):
                name = f"engine_{function.__name__}"
                self.head[name] = f"from {function.__module__} import {function.__name__} as {name}"
                return name
            return self.include(function, name, wrapped=function is not value)
        if literal(value) is not None:
            raise AssertionError("literals are inlined by the rewriter")
        raise place.fail(
            node,
            f"{name} is a {type(value).__name__}: a handler can use numbers, math, numpy and functions; "
            "keep arrays in qa.state",
        )


def _origins(definition: ast.FunctionDef, text: str, place: Place) -> list[tuple[str, int] | None]:
    # unparse keeps the order of statements: pairing them gives each new line the old one it came from
    origin: list[tuple[str, int] | None] = [place.of(definition)] * len(text.splitlines())
    new = ast.parse(text).body[0]
    for old_node, new_node in zip(ast.walk(definition), ast.walk(new), strict=False):
        if isinstance(new_node, ast.stmt) and isinstance(old_node, ast.stmt):
            for at in range(new_node.lineno - 1, new_node.end_lineno or new_node.lineno):
                origin[at] = place.of(old_node)
    return origin

"""From a strategy class to the text of a module that numba can compile and cache on disk.

Handlers are taken as source, wherever they were typed (a file, a Jupyter cell, a marimo cell), and rewritten only where
the class facade has to disappear: `ctx.buy(…)` becomes `buy(ctx, …)`, `self.fast.update(x)` becomes the indicator's
function, `self.method(…)` a plain call, and names from outside become imports or literals. The text depends on nothing
else, so its hash says whether a compiled kernel can be reused. Each generated line remembers the user's line it came
from.
"""

import ast
import builtins
import difflib
import enum
import inspect
import math
import textwrap
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quantai.core.errors import StrategyError
from quantai.strategy.fields import Fields
from quantai.strategy.handlers import HANDLERS, ROW_FIELDS, UNSIGNED
from quantai.strategy.verbs import READABLE, VERBS

_FORBIDDEN = {
    "pandas": "pandas cannot run in a handler: use indicators (qa.ind) and qa.state, which see one row at a time",
    "polars": "polars cannot run in a handler: use indicators (qa.ind) and qa.state, which see one row at a time",
    "random": "randomness is not allowed in a handler: a decision must be the same in replay and live",
    "numpy.random": "randomness is not allowed in a handler: a decision must be the same in replay and live",
    "time": "the wall clock is not allowed in a handler: use ctx.now",
    "datetime": "the wall clock is not allowed in a handler: use ctx.now (nanoseconds UTC)",
}
_MODULES = ("numpy", "math")


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
class Place:
    """Where a piece of user code stands."""

    file: str
    first: int  # line of the file at which the dedented source begins

    def of(self, node: ast.AST) -> tuple[str, int]:
        """Return (file, line) of a node of the dedented source."""
        return self.file, self.first + getattr(node, "lineno", 1) - 1

    def fail(self, node: ast.AST, why: str) -> StrategyError:
        """Return the error that points at a node."""
        return fail(*self.of(node), why)


def fail(file: str, line: int, why: str) -> StrategyError:
    """Return a StrategyError that begins with the user's `file:line` and quotes it.

    A notebook cell has no file name a user would know; it is called a cell.
    """
    import linecache

    quoted = linecache.getline(file, line).strip()
    cell = "ipykernel_" in file or "marimo" in file or file.startswith("<")
    where = f"cell line {line}" if cell else f"{file}:{line}"
    return StrategyError(f"{where}: {why}" + (f"   [{quoted}]" if quoted else ""))


def function_source(function: Callable[..., Any]) -> tuple[ast.FunctionDef, Place]:
    """Return the parsed definition of a function and where it stands; raises StrategyError when its source is gone."""
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError):
        raise StrategyError(
            f"the source of {function.__qualname__} cannot be read: define the strategy in a file or a notebook cell"
        ) from None
    tree = ast.parse(textwrap.dedent("".join(lines)))
    definition = tree.body[0]
    place = Place(inspect.getsourcefile(function) or function.__code__.co_filename, first)
    if not isinstance(definition, ast.FunctionDef):
        raise place.fail(definition, "a handler is a plain def (not async, not a lambda)")
    return definition, place


class Module:
    """The generated module of one strategy class: its handlers, the functions they use, and a driver."""

    def __init__(self, owner: type, fields: Fields) -> None:
        self.owner = owner
        self.fields = fields
        self.head: dict[str, str] = {}  # name -> import or literal line
        self.functions: dict[str, Text] = {}
        self._names: dict[Any, str] = {}  # function -> the name it got
        self.has: dict[str, bool] = {}
        for name, extra in HANDLERS.items():
            handler = _find(owner, name)
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
        definition, place = function_source(function)
        if definition.decorator_list and not wrapped:
            raise place.fail(definition.decorator_list[0], "a decorator would be lost in compiling: write it out")
        _Rewriter(self, function, definition, place, method).run()
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
        for driver in drivers:
            definition, place = function_source(driver)
            names = {n.id for n in ast.walk(definition) if isinstance(n, ast.Name)} - {"Any"}
            self._driver_globals(driver, names)
            definition.decorator_list = []
            definition.returns = None
            for a in definition.args.args:
                a.annotation = None
            definition.body = definition.body[1:] if ast.get_docstring(definition) else definition.body
            text = ast.unparse(definition)
            self.functions[definition.name] = Text()
            self.functions[definition.name].add(text, _origins(definition, text, place))
        out = Text()
        out.add(f'"""Generated from {self.owner.__qualname__}: do not edit."""\n\nfrom numba import njit')
        out.add("\n".join(sorted(self.head.values())))
        for name, present in self.has.items():
            out.add(f"has_{name} = {present}")
        # callees before callers is not needed: numba resolves globals when the driver is compiled
        for name, body in self.functions.items():
            # a handler inlined into the driver can keep the strategy's record in registers; an index beyond an array
            # of the user's would write into the next field
            theirs = name in HANDLERS or name.startswith("user_")
            options = f"nogil=True, forceinline={name in HANDLERS}, boundscheck={theirs}"
            out.add(f"\n\n@njit(cache=True, {options})")
            out.add("\n".join(body.lines), body.origin)
        return out

    def _driver_globals(self, driver: Callable[..., Any], names: set[str]) -> None:
        scope = driver.__globals__
        for name in sorted(names):
            if name in self.functions or name.removeprefix("has_") in HANDLERS or name not in scope:
                continue
            value = scope[name]
            if isinstance(value, int | float):
                self.head[name] = f"{name} = {value!r}"
            else:
                home = getattr(value, "__module__", None)
                self.head[name] = f"from {home} import {name}"

    def bind(self, name: str, value: Any, place: Place, node: ast.AST) -> str:
        """Make an outside value available to the generated code and return the name to use for it."""
        if isinstance(value, types.ModuleType):
            root = value.__name__
            for bad, why in _FORBIDDEN.items():
                if root == bad or root.startswith(bad + "."):
                    raise place.fail(node, why)
            if root.split(".")[0] not in _MODULES:
                raise place.fail(node, f"module {root} cannot be used in a handler: only math and numpy can")
            name = f"user_{root.replace('.', '_')}"
            self.head[name] = f"import {root} as {name}"
            return name
        function = getattr(value, "py_func", value)
        home = getattr(value, "__module__", None) or ("numpy" if isinstance(value, np.ufunc) else "")
        if isinstance(value, types.BuiltinFunctionType | np.ufunc) and home.split(".")[0] in _MODULES:
            name = f"user_{home}_{value.__name__}"
            self.head[name] = f"from {home} import {value.__name__} as {name}"
            return name
        if isinstance(function, types.FunctionType):
            if function.__module__.startswith("quantai."):
                name = f"engine_{function.__name__}"
                self.head[name] = f"from {function.__module__} import {function.__name__} as {name}"
                return name
            return self.include(function, name, wrapped=function is not value)
        if _literal(value) is not None:
            raise AssertionError("literals are inlined by the rewriter")
        raise place.fail(
            node,
            f"{name} is a {type(value).__name__}: a handler can use numbers, math, numpy and functions; "
            "keep arrays in qa.state",
        )


def _find(owner: type, name: str) -> Any:
    for base in owner.__mro__:
        if name in base.__dict__ and not base.__dict__.get("__abstract__"):
            return base.__dict__[name]
    return None


def _literal(value: Any) -> ast.expr | None:
    if isinstance(value, enum.IntEnum):
        value = int(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int):
        return ast.Constant(value)
    if isinstance(value, float):
        if math.isnan(value) or math.isinf(value):
            return ast.Call(ast.Name("float", ast.Load()), [ast.Constant(repr(value))], [])
        return ast.Constant(value)
    if isinstance(value, tuple):
        parts = [_literal(v) for v in value]
        if parts and all(p is not None for p in parts):
            return ast.Tuple([p for p in parts if p is not None], ast.Load())
    return None


def _origins(definition: ast.FunctionDef, text: str, place: Place) -> list[tuple[str, int] | None]:
    # unparse keeps the order of statements: pairing them gives each new line the old one it came from
    origin: list[tuple[str, int] | None] = [place.of(definition)] * len(text.splitlines())
    new = ast.parse(text).body[0]
    for old_node, new_node in zip(ast.walk(definition), ast.walk(new), strict=False):
        if isinstance(new_node, ast.stmt) and isinstance(old_node, ast.stmt):
            for at in range(new_node.lineno - 1, new_node.end_lineno or new_node.lineno):
                origin[at] = place.of(old_node)
    return origin


class _Rewriter(ast.NodeTransformer):
    """Removes the class facade from one function, in place."""

    def __init__(self, module: Module, function: Any, definition: ast.FunctionDef, place: Place, method: bool) -> None:
        self.module, self.definition, self.place = module, definition, place
        args = [a.arg for a in definition.args.args]
        self.self_name = args[0] if method and args else ""
        self.ctx_name = args[1] if method and len(args) > 1 else ("ctx" if "ctx" in args else "")
        rows = HANDLERS.get(function.__name__, ()) if method else ()
        self.row_name = args[2] if rows and len(args) > 2 else ""
        self.row_fields = ROW_FIELDS[rows[0]] if rows else ()
        closure = inspect.getclosurevars(function)
        self.scope: dict[str, Any] = {**function.__globals__, **closure.nonlocals}
        stored = {n.id for n in ast.walk(definition) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
        self.local = stored | set(args) | {a.arg for a in definition.args.kwonlyargs}

    def run(self) -> None:
        """Rewrite the body; raises StrategyError at the first line that cannot be compiled."""
        args = self.definition.args
        args.defaults = [self.visit(node) for node in args.defaults]
        args.kw_defaults = [node and self.visit(node) for node in args.kw_defaults]
        self.definition.body = [self.visit(node) for node in self.definition.body]

    def visit_Call(self, node: ast.Call) -> ast.AST:
        f = node.func
        if isinstance(f, ast.Attribute):
            root = f.value
            if self._is(root, self.ctx_name):
                if f.attr not in VERBS:
                    raise self.place.fail(node, f"ctx has no verb {f.attr!r}{_hint(f.attr, VERBS)}")
                name = self._import_verb(f.attr)
                return self._call(node, name, [root])
            if isinstance(root, ast.Attribute) and self._is(root.value, self.self_name):
                indicator = self.module.fields.indicators.get(root.attr)
                if indicator is not None:
                    kind = type(indicator)
                    if f.attr not in kind.methods:
                        raise self.place.fail(
                            node, f"{kind.__name__} has no method {f.attr!r}{_hint(f.attr, kind.methods)}"
                        )
                    function = f"{kind.__name__.lower()}_{f.attr}"
                    self.module.head[function] = f"from {kind.__module__} import {function}"
                    return self._call(node, function, [root])
            if self._is(root, self.self_name):
                method = _find(self.module.owner, f.attr)
                if isinstance(method, types.FunctionType):
                    return self._call(node, self.module.include(method, f.attr, method=True), [root])
        if isinstance(f, ast.Name) and f.id == "super":
            raise self.place.fail(node, "super() cannot be compiled: call the method by another name")
        if isinstance(f, ast.Name) and f.id == "round" and len(node.args) + len(node.keywords) > 1:
            raise self.place.fail(node, "round to digits differs from Python when compiled: round(x * 100) / 100")
        return self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if self._is(node.value, self.self_name):
            return self._field(node)
        if self._is(node.value, self.ctx_name):
            if node.attr in VERBS:
                raise self.place.fail(node, f"ctx.{node.attr} is a verb: call it, ctx.{node.attr}(…)")
            if node.attr not in READABLE:
                raise self.place.fail(node, f"ctx has no {node.attr!r}{_hint(node.attr, (*READABLE, *VERBS))}")
            if not isinstance(node.ctx, ast.Load):
                raise self.place.fail(node, f"ctx.{node.attr} cannot be assigned")
            return node
        if not isinstance(node.ctx, ast.Load):
            raise self.place.fail(
                node, "a handler assigns to its own fields only, self.…: rows and tables are not its own"
            )
        if self._is(node.value, self.row_name) and node.attr not in self.row_fields:
            hint = _hint(node.attr, self.row_fields) or f": it has {', '.join(self.row_fields)}"
            raise self.place.fail(node, f"{self.row_name} has no field {node.attr!r}{hint}")
        if self._is(node.value, self.row_name) and node.attr in UNSIGNED:
            # unsigned arithmetic would wrap below zero, where Python's goes on
            self.module.head["signed"] = "from numba import int64 as signed"
            return ast.copy_location(ast.Call(ast.Name("signed", ast.Load()), [node], []), node)
        chain = self._outside(node)
        if chain is not None:
            value, dotted = chain
            literal = _literal(value)
            if literal is not None:
                return ast.copy_location(literal, node)
            if isinstance(value, types.ModuleType) or not self._from_numeric_module(node):
                name = self.module.bind(dotted.replace(".", "_"), value, self.place, node)
                return ast.copy_location(ast.Name(name, ast.Load()), node)
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self.local or not isinstance(node.ctx, ast.Load):
            return node
        if node.id not in self.scope:
            if hasattr(builtins, node.id):
                if node.id in ("open", "input", "exec", "eval", "globals", "locals", "__import__"):
                    raise self.place.fail(node, f"{node.id}() is not allowed in a handler")
                return node
            raise self.place.fail(node, f"name {node.id!r} is not defined")
        value = self.scope[node.id]
        literal = _literal(value)
        if literal is not None:
            return ast.copy_location(literal, node)
        name = self.module.bind(node.id, value, self.place, node)
        return ast.copy_location(ast.Name(name, ast.Load()), node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        if any(self._is_int_field(t) for t in node.targets):
            node.value = self._whole(self.visit(node.value))
            node.targets = [self.visit(t) for t in node.targets]
            return node
        return self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        if self._is_int_field(node.target) and isinstance(node.target, ast.Attribute):
            now = ast.copy_location(ast.Attribute(node.target.value, node.target.attr, ast.Load()), node.target)
            sum_ = ast.copy_location(ast.BinOp(self.visit(now), node.op, self.visit(node.value)), node)
            return ast.copy_location(ast.Assign([self.visit(node.target)], self._whole(sum_)), node)
        return self.generic_visit(node)

    def _is_int_field(self, node: ast.AST) -> bool:
        states = self.module.fields.states
        if not isinstance(node, ast.Attribute) or not self._is(node.value, self.self_name) or node.attr not in states:
            return False
        code, declared = states[node.attr]
        return code != "f8" and declared.shape == ()

    def _whole(self, value: ast.expr) -> ast.expr:
        # a record would take a float and drop its fraction without a word
        self.module.head["whole"] = "from quantai.strategy.whole import whole"
        return ast.copy_location(ast.Call(ast.Name("whole", ast.Load()), [value], []), value)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(
            node, ast.Try | ast.With | ast.Yield | ast.YieldFrom | ast.Await | ast.Global | ast.Nonlocal | ast.ClassDef
        ):
            raise self.place.fail(node, f"{type(node).__name__.lower()} cannot be used in a handler")
        if isinstance(node, ast.Import | ast.ImportFrom):
            raise self.place.fail(node, "import outside the handler")
        return super().generic_visit(node)

    def _field(self, node: ast.Attribute) -> ast.AST:
        fields, owner = self.module.fields, self.module.owner
        if not isinstance(node.ctx, ast.Load) and node.attr in fields.params:
            raise self.place.fail(
                node, f"self.{node.attr} is a parameter and cannot change: declare it with qa.state(…)"
            )
        if node.attr in fields.names():
            return node
        if isinstance(node.ctx, ast.Load) and hasattr(owner, node.attr):
            literal = _literal(getattr(owner, node.attr))
            if literal is not None:
                return ast.copy_location(literal, node)
        hint = _hint(node.attr, fields.names())
        raise self.place.fail(
            node,
            f"{owner.__name__} declares no field {node.attr!r}{hint or ': declare it, x: float = qa.state(0.0)'}",
        )

    def _outside(self, node: ast.Attribute) -> tuple[Any, str] | None:
        parts: list[str] = []
        at: ast.expr = node
        while isinstance(at, ast.Attribute):
            parts.append(at.attr)
            at = at.value
        if not isinstance(at, ast.Name) or at.id in self.local or at.id not in self.scope:
            return None
        value, dotted = self.scope[at.id], at.id
        if not isinstance(value, types.ModuleType | type):
            return None
        for part in reversed(parts):
            if isinstance(value, types.ModuleType):
                self._refuse_module(value, node)
            if not hasattr(value, part):
                raise self.place.fail(node, f"{dotted} has no {part!r}")
            value, dotted = getattr(value, part), f"{dotted}.{part}"
        if isinstance(value, types.ModuleType):
            self._refuse_module(value, node)
        return value, dotted

    def _refuse_module(self, module: types.ModuleType, node: ast.AST) -> None:
        for bad, why in _FORBIDDEN.items():
            if module.__name__ == bad or module.__name__.startswith(bad + "."):
                raise self.place.fail(node, why)

    def _from_numeric_module(self, node: ast.Attribute) -> bool:
        at: ast.expr = node
        while isinstance(at, ast.Attribute):
            at = at.value
        root = self.scope.get(at.id) if isinstance(at, ast.Name) else None
        return isinstance(root, types.ModuleType) and root.__name__.split(".")[0] in _MODULES

    def _import_verb(self, verb: str) -> str:
        name = f"ctx_{verb}"
        self.module.head[name] = f"from quantai.strategy.verbs import {verb} as {name}"
        return name

    def _call(self, node: ast.Call, name: str, first: list[ast.expr]) -> ast.AST:
        args = [*first, *(self.visit(a) for a in node.args)]
        keywords = [ast.keyword(k.arg, self.visit(k.value)) for k in node.keywords]
        return ast.copy_location(ast.Call(ast.Name(name, ast.Load()), args, keywords), node)

    def _is(self, node: ast.AST, name: str) -> bool:
        return bool(name) and isinstance(node, ast.Name) and node.id == name


def _hint(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean {close[0]!r}?" if close else ""

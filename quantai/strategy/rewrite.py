"""Removes the class facade from a handler's syntax tree, and refuses what could not be compiled or repeated."""

import ast
import builtins
import difflib
import types
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from quantai.strategy.fields import Fields
from quantai.strategy.handlers import HANDLERS, ROW_FIELDS, UNSIGNED
from quantai.strategy.place import Place, defined, literal
from quantai.strategy.verbs import READABLE, VERBS

FORBIDDEN = {
    "pandas": "pandas cannot run in a handler: use indicators (qa.ind) and qa.state, which see one row at a time",
    "polars": "polars cannot run in a handler: use indicators (qa.ind) and qa.state, which see one row at a time",
    "random": "randomness is not allowed in a handler: a decision must be the same in replay and live",
    "numpy.random": "randomness is not allowed in a handler: a decision must be the same in replay and live",
    "time": "the wall clock is not allowed in a handler: use ctx.now",
    "datetime": "the wall clock is not allowed in a handler: use ctx.now (nanoseconds UTC)",
}
"""Modules a handler may not use, and why."""
MODULES = ("numpy", "math")
"""Modules it may."""
_MISSING = object()


class Outside(Protocol):
    """The generated module, as the rewriter uses it."""

    owner: type
    fields: Fields
    head: dict[str, str]

    def look(self, find: Callable[[], Any]) -> Any:
        """Return what `find` does, which the generated text then depends on."""
        ...

    def bind(self, name: str, value: Any, place: Place, node: ast.AST) -> str:
        """Make an outside value available and return the name to use for it."""
        ...

    def include(self, function: Any, name: str, method: bool = False, wrapped: bool = False) -> str:
        """Add a function of the user's and return the name it got."""
        ...


class Rewriter(ast.NodeTransformer):
    """Removes the class facade from one function, in place."""

    def __init__(self, module: Outside, function: Any, definition: ast.FunctionDef, place: Place, method: bool) -> None:
        self.module, self.definition, self.place = module, definition, place
        args = [a.arg for a in definition.args.args]
        self.self_name = args[0] if method and args else ""
        handler = method and function.__name__ in HANDLERS
        self.ctx_name = args[1] if handler and len(args) > 1 else ("ctx" if "ctx" in args else "")
        rows = HANDLERS.get(function.__name__, ()) if method else ()
        self.row_name = args[2] if rows and len(args) > 2 else ""
        self.row_fields = ROW_FIELDS[rows[0]] if rows else ()
        self.function = function
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
                method = self.module.look(partial(defined, self.module.owner, f.attr))
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
            constant = literal(value)
            if constant is not None:
                return ast.copy_location(constant, node)
            if isinstance(value, types.ModuleType) or not self._from_numeric_module(node):
                name = self.module.bind(dotted.replace(".", "_"), value, self.place, node)
                return ast.copy_location(ast.Name(name, ast.Load()), node)
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self.local or not isinstance(node.ctx, ast.Load):
            return node
        value = self._named(node.id)
        if value is _MISSING:
            if hasattr(builtins, node.id):
                if node.id in ("open", "input", "exec", "eval", "globals", "locals", "__import__"):
                    raise self.place.fail(node, f"{node.id}() is not allowed in a handler")
                return node
            raise self.place.fail(node, f"name {node.id!r} is not defined")
        constant = literal(value)
        if constant is not None:
            return ast.copy_location(constant, node)
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
            constant = literal(self.module.look(partial(getattr, owner, node.attr, _MISSING)))
            if constant is not None:
                return ast.copy_location(constant, node)
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
        if not isinstance(at, ast.Name) or at.id in self.local:
            return None
        value, dotted = self._named(at.id), at.id
        if not isinstance(value, types.ModuleType | type):
            return None
        for part in reversed(parts):
            if isinstance(value, types.ModuleType):
                self._refuse_module(value, node)
            if not hasattr(value, part):
                raise self.place.fail(node, f"{dotted} has no {part!r}")
            value, dotted = self.module.look(partial(getattr, value, part, _MISSING)), f"{dotted}.{part}"
        if isinstance(value, types.ModuleType):
            self._refuse_module(value, node)
        return value, dotted

    def _named(self, name: str) -> Any:
        """Return what a name means outside the function, in a function around it or in its module."""
        return self.module.look(partial(_outside_of, self.function, name))

    def _refuse_module(self, module: types.ModuleType, node: ast.AST) -> None:
        for bad, why in FORBIDDEN.items():
            if module.__name__ == bad or module.__name__.startswith(bad + "."):
                raise self.place.fail(node, why)

    def _from_numeric_module(self, node: ast.Attribute) -> bool:
        at: ast.expr = node
        while isinstance(at, ast.Attribute):
            at = at.value
        root = self._named(at.id) if isinstance(at, ast.Name) else None
        return isinstance(root, types.ModuleType) and root.__name__.split(".")[0] in MODULES

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


def _outside_of(function: Any, name: str) -> Any:
    if name in function.__code__.co_freevars:
        try:
            return function.__closure__[function.__code__.co_freevars.index(name)].cell_contents
        except ValueError:  # not assigned yet
            return _MISSING
    return function.__globals__.get(name, _MISSING)


def _hint(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f": did you mean {close[0]!r}?" if close else ""

"""Pieces of user code: where they stand, their source, and errors that point at them."""

import ast
import enum
import inspect
import linecache
import math
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantai.core.errors import StrategyError


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


def defined(owner: type, name: str) -> Any:
    """Return what a class or a base of it defines under a name, None where that is only Strategy itself."""
    for base in owner.__mro__:
        if name in base.__dict__ and not base.__dict__.get("__abstract__"):
            return base.__dict__[name]
    return None


def literal(value: Any) -> ast.expr | None:
    """Return a number, or a tuple of them, as an expression; None for everything else."""
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
        parts = [literal(v) for v in value]
        if parts and all(p is not None for p in parts):
            return ast.Tuple([p for p in parts if p is not None], ast.Load())
    return None

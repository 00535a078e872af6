"""The registry: a typed function with a docstring, registered once, is a tool in every form."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from quantai.core.errors import InputError, UnknownName
from quantai.tools.permissions import Permission

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
WORKSPACE = "workspace"
"""The parameter that is given the workspace."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool: a function, what it may do, and the JSON schema of its arguments."""

    name: str
    description: str
    permission: Permission
    category: str
    examples: tuple[Mapping[str, Any], ...]
    schema: Mapping[str, Any]
    function: Callable[..., Any]
    model: type[BaseModel]
    timeout_s: float | None
    takes_workspace: bool
    """Whether it has a parameter `workspace`, which callers do not see."""
    foreign: bool | None
    """Whether its answer holds text that somebody else wrote; None: it does when it holds any text, or fails."""

    def wrote(self, ok: bool, content: Any) -> bool:
        """Tell whether an answer may hold text that somebody else wrote."""
        return self.foreign is True or (self.foreign is None and (not ok or _has_text(content)))

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments, checked and with defaults; raises InputError that names what is wrong with each."""
        try:
            checked = self.model.model_validate(dict(given), strict=False)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors())
            raise InputError(f"{self.name}: {wrong}") from None
        return {name: getattr(checked, name) for name in type(checked).model_fields}

    def as_dict(self) -> dict[str, Any]:
        """Return what a listing shows."""
        return {
            "name": self.name,
            "description": self.description,
            "permission": self.permission.value,
            "category": self.category,
            "parameters": dict(self.schema),
            "examples": [dict(example) for example in self.examples],
        }


TOOLS: dict[str, Tool] = {}
"""Every registered tool by name."""


@overload
def tool(function: Callable[..., Any], /) -> Callable[..., Any]: ...
@overload
def tool(
    *,
    permission: str | Permission = ...,
    category: str = ...,
    examples: Sequence[Mapping[str, Any]] = ...,
    timeout_s: float | None = ...,
    foreign: bool | None = ...,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    permission: str | Permission = Permission.WRITE,
    category: str = "yours",
    examples: Sequence[Mapping[str, Any]] = (),
    timeout_s: float | None = None,
    foreign: bool | None = None,
) -> Any:
    """Register a function, async or not, as a tool and return it unchanged; a second one of a name replaces the first.

    Its parameters need types, its docstring says what it is for. `Annotated[int, "what it means"]` describes a
    parameter; pydantic's `Field(ge=1)` bounds it. A parameter called `workspace` is given the workspace. A tool that
    does not say what it may do is asked about before it runs: that is what WRITE, the default, means. Text in its
    answer counts as somebody else's, which must not lead to anything, unless `foreign=False` says that all of it is the
    tool's own; with `foreign=True` the answer counts as such whatever it holds.

    >>> @tool(permission="compute", category="doc", examples=[{"prices": [1.0, 2.0], "window": 2}])
    ... def doc_mean(prices: Annotated[list[float], "closes, oldest first"], window: int = 3) -> float:
    ...     '''Return the mean of the last `window` prices.'''
    ...     return sum(prices[-window:]) / len(prices[-window:])
    >>> TOOLS["doc_mean"].schema["required"]
    ['prices']
    >>> TOOLS["doc_mean"].arguments({"window": 2})
    Traceback (most recent call last):
    quantai.core.errors.InputError: doc_mean: prices: Field required
    >>> del TOOLS["doc_mean"]

    Raises InputError for a function without a docstring, with a parameter without a type, or with an example that its
    own parameters refuse.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        made = _made(function, Permission.named(permission), category, tuple(examples), timeout_s, foreign)
        TOOLS[made.name] = made
        return function

    return register if function is None else register(function)


def get(name: str) -> Tool:
    """Return a tool by name; raises UnknownName."""
    if name not in TOOLS:
        raise UnknownName("tool", name, TOOLS)
    return TOOLS[name]


def search(query: str = "", *, category: str = "") -> list[Tool]:
    """Return the tools that match the words of `query`, best first; all of a category, by name, without a query.

    A word counts 3 in a name, 2 in a category, 1 in a description.

    >>> from quantai.tools import ready_tools
    >>> _ = ready_tools()
    >>> search("run sql")[0].name
    'run_sql'
    """
    words = re.findall(r"[a-z0-9]+", query.lower())
    found: list[tuple[int, str, Tool]] = []
    for name, one in sorted(TOOLS.items()):
        if category and one.category != category:
            continue
        places = ((3, name.split("_")), (2, [one.category]), (1, re.findall(r"[a-z0-9]+", one.description.lower())))
        score = sum(weight for word in words for weight, text in places if any(t.startswith(word) for t in text))
        if score or not words:
            found.append((-score, name, one))
    return [one for *_, one in sorted(found, key=lambda item: item[:2])]


def categories() -> dict[str, int]:
    """Return how many tools each category has."""
    names = [one.category for one in TOOLS.values()]
    return {name: names.count(name) for name in sorted(set(names))}


def _made(
    function: Callable[..., Any],
    permission: Permission,
    category: str,
    examples: tuple[Mapping[str, Any], ...],
    timeout_s: float | None,
    foreign: bool | None,
) -> Tool:
    name = function.__name__
    if not NAME.fullmatch(name):
        raise InputError(f"a tool's name has lower-case letters, digits and _ only, at most 64: not {name!r}")
    description = inspect.getdoc(function) or ""
    if not description:
        raise InputError(f"tool {name} needs a docstring: it is what a model reads to choose it")
    fields, takes_workspace = _fields(name, function)
    model = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    schema = _plain(model.model_json_schema())
    schema.pop("title", None)
    made = Tool(
        name, description, permission, category, examples, schema, function, model, timeout_s, takes_workspace, foreign
    )
    for example in examples:
        made.arguments(example)
    return made


def _fields(name: str, function: Callable[..., Any]) -> tuple[dict[str, Any], bool]:
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    takes_workspace = False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise InputError(f"tool {name}: parameter {parameter.name} has to be a named one")
        if parameter.name not in hints:
            raise InputError(f"tool {name}: parameter {parameter.name} needs a type")
        if parameter.name == WORKSPACE:
            takes_workspace = True
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (_described(hints[parameter.name]), default)
    return fields, takes_workspace


def _has_text(content: Any) -> bool:
    if isinstance(content, dict):
        return any(not str(key).isidentifier() or _has_text(value) for key, value in content.items())
    return any(map(_has_text, content)) if isinstance(content, list) else isinstance(content, str)


def _described(hint: Any) -> Any:
    """Return the type with a text among its annotations as its description."""
    if get_origin(hint) is not Annotated:
        return hint
    kind, *notes = get_args(hint)
    described = [Field(description=note) if isinstance(note, str) else note for note in notes]
    return Annotated[kind, *described]


def _plain(schema: Any) -> Any:
    """Return a schema without the titles that pydantic makes up from names."""
    if isinstance(schema, dict):
        return {
            key: {n: _plain(s) for n, s in value.items()} if key == "properties" else _plain(value)
            for key, value in schema.items()
            if not (key == "title" and isinstance(value, str))
        }
    return [_plain(item) for item in schema] if isinstance(schema, list) else schema

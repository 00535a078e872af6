"""Objects of a notebook as documents: strategies by their source, results and runs by their figures."""

import hashlib
import inspect
import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from quantai.core.errors import InputError
from quantai.knowledge.chunks import split
from quantai.knowledge.passages import Reading
from quantai.knowledge.readers.markup import markdown_chunks
from quantai.knowledge.readers.source import read_python


def read_object(thing: Any) -> tuple[str, Reading]:
    r"""Return a source name and the chunks of an object.

    A class or function is its source; an object with `stats` (a backtest's result) is its figures with what made them
    (its `provenance`): the same strategy on other data is another document. A mapping, or an object with `as_dict`
    such as a run of a pipeline, is its entries. Raises InputError for anything else.

    >>> name, reading = read_object({"run": "r1", "sharpe": 1.5})
    >>> name, reading.chunks[0].text
    ('dict:run=r1', 'run: r1\nsharpe: 1.5')
    """
    if inspect.isclass(thing) or inspect.isfunction(thing):
        try:
            text = inspect.getsource(thing)
        except (OSError, TypeError) as error:
            raise InputError(f"{thing!r}: its source cannot be read; write it in a cell or a file") from error
        name = f"python:{thing.__module__}.{thing.__qualname__}"
        reading = read_python(textwrap.dedent(text).encode(), name)
        return name, Reading(thing.__qualname__, "python", reading.chunks)
    if isinstance(thing, Mapping):
        return _entries("dict", thing)
    stats = getattr(thing, "stats", None)
    if isinstance(stats, Mapping):
        return _result(thing, stats)
    as_dict: Callable[[], Any] | None = getattr(thing, "as_dict", None)
    if callable(as_dict) and isinstance(said := as_dict(), Mapping):
        return _entries(type(thing).__name__.lower(), said)
    raise InputError(
        f"{type(thing).__name__} cannot be added: pass a path, a URL, a class, a result, a run or a mapping"
    )


def _entries(kind: str, said: Mapping[Any, Any]) -> tuple[str, Reading]:
    pairs = list(_flat(said))
    first = "=".join(map(str, pairs[0])) if pairs else "empty"
    title = first if kind == "dict" else f"{kind} {first}"
    return f"{kind}:{first}", Reading(title, "object", tuple(split(_lines(pairs))))


def _result(thing: Any, stats: Mapping[str, Any]) -> tuple[str, Reading]:
    kind, title = type(thing).__name__, repr(getattr(thing, "strategy", "")) or type(thing).__name__
    made: Mapping[str, Any] = {k: v for k, v in getattr(thing, "provenance", {}).items() if k != "versions"}
    key = hashlib.sha256(json.dumps(made, sort_keys=True, default=str).encode()).hexdigest()[:12] if made else ""
    remarks = "\n".join(f"- {line}" for name in ("notes", "rules") for line in getattr(thing, name, ()))
    parts = [f"# {kind} of {title}", _lines(list(_flat(stats))), "## Made by", _lines(list(_flat(made))), remarks]
    body = "\n\n".join(part for part in parts if part)
    name = f"{kind.lower()}:{title}" + (f"@{key}" if key else "")
    return name, Reading(title, "result", tuple(markdown_chunks(body, lines=False)))


def _flat(said: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the entries of a mapping, those of the mappings in it as `outer.inner`; nothing that is empty."""
    for key, value in said.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif value is not None and value != "":
            yield name, value


def _lines(pairs: list[tuple[str, Any]]) -> str:
    return "\n".join(
        f"{name}: {value:.6g}" if isinstance(value, float) else f"{name}: {value}" for name, value in pairs
    )

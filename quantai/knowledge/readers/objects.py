"""Objects of a notebook as documents: strategies by their source, results by their figures."""

import inspect
import textwrap
from collections.abc import Mapping
from typing import Any

from quantai.core.errors import InputError
from quantai.knowledge.chunks import split
from quantai.knowledge.passages import Reading
from quantai.knowledge.readers.markup import markdown_chunks
from quantai.knowledge.readers.source import read_python


def read_object(thing: Any) -> tuple[str, Reading]:
    r"""Return a source name and the chunks of an object.

    A class or function is its source; an object with `stats` (a backtest's result) is its figures; a mapping is its
    entries. Raises InputError for anything else.

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
        pairs = [(str(key), value) for key, value in thing.items()]
        first = "=".join(map(str, pairs[0])) if pairs else "empty"
        return f"dict:{first}", Reading(first, "object", tuple(split(_lines(pairs))))
    stats = getattr(thing, "stats", None)
    if isinstance(stats, Mapping):
        kind, title = type(thing).__name__, repr(getattr(thing, "strategy", "")) or type(thing).__name__
        figures = _lines([(str(name), value) for name, value in stats.items()])
        remarks = "\n".join(f"- {line}" for name in ("notes", "rules") for line in getattr(thing, name, ()))
        body = f"# {kind} of {title}\n\n{figures}\n\n{remarks}"
        return f"{kind.lower()}:{title}", Reading(title, "result", tuple(markdown_chunks(body, lines=False)))
    raise InputError(f"{type(thing).__name__} cannot be added: pass a path, a URL, a class, a result or a mapping")


def _lines(pairs: list[tuple[str, Any]]) -> str:
    return "\n".join(
        f"{name}: {value:.6g}" if isinstance(value, float) else f"{name}: {value}" for name, value in pairs
    )

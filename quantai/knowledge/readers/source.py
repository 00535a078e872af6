"""Python by symbol, notebooks by cell."""

import ast
import io
import json
from collections.abc import Iterator
from typing import Any

from quantai.core.errors import DataError
from quantai.knowledge.chunks import LONGEST, split
from quantai.knowledge.passages import Chunk, Reading
from quantai.knowledge.readers.kinds import decode, title_from
from quantai.knowledge.readers.markup import markdown_chunks

MAX_OUTPUT = 2000
"""Characters of a cell's output that are indexed."""


def read_python(data: bytes, name: str) -> Reading:
    """Read Python by symbol: what stands before the first, then each function, class, and method of a long class."""
    text = decode(data)
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise DataError(f"{name}, line {error.lineno}: not Python ({error.msg})") from error
    starts = _line_starts(text)
    chunks: list[Chunk] = []
    for heading, first, last in _symbols(tree, len(starts) - 1):
        begin, end = starts[first - 1], starts[last]
        chunks += split(text[begin:end], heading=heading, start=begin, line=first)
    return Reading(title_from(name), "python", tuple(chunks))


def _line_starts(text: str) -> list[int]:
    starts = [0]
    for line in io.StringIO(text):  # as Python counts them: a form feed ends none
        starts.append(starts[-1] + len(line))
    return starts


def _symbols(tree: ast.Module, lines: int) -> Iterator[tuple[str, int, int]]:
    """Yield (name, first line, last line) of all code, each line once; what is no symbol is without a name."""
    at = 1
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        first, last = _extent(node)
        if first > at:
            yield "", at, first - 1
        yield from _parts(node, first, last)
        at = last + 1
    if at <= lines:
        yield "", at, lines


def _parts(node: Any, first: int, last: int) -> Iterator[tuple[str, int, int]]:
    methods = [each for each in getattr(node, "body", []) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    if not isinstance(node, ast.ClassDef) or (last - first) * 40 < LONGEST or not methods:
        yield node.name, first, last
        return
    at = first
    for method in methods:
        begin, end = _extent(method)
        if begin > at:
            yield node.name, at, begin - 1
        yield f"{node.name}.{method.name}", begin, end
        at = end + 1
    if at <= last:
        yield node.name, at, last


def _extent(node: Any) -> tuple[int, int]:
    return min([node.lineno, *(each.lineno for each in node.decorator_list)]), node.end_lineno


def read_notebook(data: bytes, name: str) -> Reading:
    """Read a notebook by cell: `page` is the number of the cell from 1; text outputs belong to their cell."""
    try:
        cells = json.loads(data)["cells"]
    except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise DataError(f"{name}: not a notebook ({type(error).__name__})") from error
    chunks: list[Chunk] = []
    heading = ""
    for number, cell in enumerate(cells, 1):
        text = _joined(cell.get("source", ""))
        if cell.get("cell_type") == "markdown":
            for chunk in markdown_chunks(text, page=number, lines=False):
                heading = chunk.heading or heading
                chunks.append(Chunk(chunk.text, heading, number, chunk.start, chunk.end))
            continue
        shown = "\n".join(_outputs(cell))[:MAX_OUTPUT]
        chunks += split("\n\n".join(part for part in (text, shown) if part), heading=heading, page=number)
    top = next((chunk.heading.split(" > ")[0] for chunk in chunks if chunk.heading), "")
    return Reading(top or title_from(name), "notebook", tuple(chunks))


def _outputs(cell: dict[str, Any]) -> Iterator[str]:
    for output in cell.get("outputs", []):
        text = (
            output.get("text")
            or output.get("data", {}).get("text/markdown")
            or output.get("data", {}).get("text/plain")
        )
        if text:
            yield _joined(text)


def _joined(text: Any) -> str:
    return "".join(text) if isinstance(text, list) else str(text)

"""Text to chunks: pieces of some hundred words that end where a paragraph, a line or a sentence ends."""

import re
from collections.abc import Iterator

from quantai.knowledge.passages import Chunk

TARGET = 1000
"""Characters that a chunk aims at: about the 256 tokens that the embedding model reads."""

LONGEST = 1600
"""Characters that no chunk exceeds."""

_ENDS = (re.compile(r"\n\s*\n"), re.compile(r"\n"), re.compile(r"(?<=[.!?])\s+"), re.compile(r"\s+"))


def split(
    text: str, *, heading: str = "", page: int | None = None, start: int = 0, line: int | None = None
) -> list[Chunk]:
    r"""Return the chunks of one section in order; `start` and `line` are where it begins in its document.

    Each chunk's `start` and `end` hold for the document: `document[chunk.start:chunk.end] == chunk.text`.

    >>> [chunk.text for chunk in split("One line.\n\nAnother one.")]
    ['One line.\n\nAnother one.']
    >>> long = split("word " * 1000)
    >>> len(long), max(len(chunk.text) for chunk in long) <= LONGEST
    (5, True)
    """
    chunks: list[Chunk] = []
    at, counted = line, 0
    for first, last in _cut(text, 0, len(text)):
        while first < last and text[first].isspace():
            first += 1
        while last > first and text[last - 1].isspace():
            last -= 1
        if first < last:
            if at is not None:
                at, counted = at + text.count("\n", counted, first), first
            chunks.append(Chunk(text[first:last], heading, page, start + first, start + last, at))
    return chunks


def _cut(text: str, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of pieces of about TARGET characters, cut at the best end there is near it."""
    while last - first > LONGEST:
        at = _best_end(text, first + TARGET // 2, first + LONGEST) or first + LONGEST
        yield first, at
        first = at
    yield first, last


def _best_end(text: str, low: int, high: int) -> int:
    """Return the end in [low, high] that is nearest to TARGET characters, of the strongest kind; 0 if there is none."""
    target = low + TARGET // 2
    for kind in _ENDS:
        ends = [found.end() for found in kind.finditer(text, low, high)]
        if ends:
            return min(ends, key=lambda end: abs(end - target))
    return 0

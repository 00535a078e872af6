"""What goes in and what comes out: chunks of a document, documents of a store, passages of an answer."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from quantai.core.errors import InputError

_ANCHOR_WORDS, _FEW_WORDS = 8, 4
_HEADING_ROW = re.compile(r"\A\|.*\n\|[-|: ]+\n(?=\|)")
_BEGINS = re.compile(r"^(?:[-*+>]|\d+[.)]|#{1,6})[ \t]+")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MARKS = re.compile(r"`+|\*\*|(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w)|(?<=\w)#{2,6} .*")
_HALF = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f]")

SHOWN = 320
"""Characters of a passage that a text shows."""


def whole(text: str) -> str:
    r"""Return text with U+FFFD for each half of a character, which no file can hold; places in it stay.

    >>> whole("a\ud800b") == "a\ufffdb"
    True
    """
    return _HALF.sub("\ufffd", text)


def printable(text: str) -> str:
    r"""Return text with control characters spelt out: a terminal obeys them, whoever wrote them.

    >>> printable("a" + chr(27) + "[2J")
    'a\\x1b[2J'
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def path_name(path: str | os.PathLike[str]) -> str:
    """Return the name by which a file or folder is known: absolute, and the same however one got there.

    >>> path_name("/notes/../papers/a.md")
    '/papers/a.md'
    """
    # links stay: a folder that is a link may lead elsewhere tomorrow
    return os.path.abspath(Path(path).expanduser())  # noqa: PTH100


def check_date(text: str) -> str:
    """Return a date in ISO 8601, of which a year or a month will do; raises InputError for anything else.

    >>> check_date("2024-02")
    '2024-02'
    >>> check_date("2024-13-45")
    Traceback (most recent call last):
    quantai.core.errors.InputError: date '2024-13-45': write it like 2024-01-31
    """
    try:
        datetime.fromisoformat(f"{text}-01-01"[:10] if len(text) in (4, 7) else text or "2000-01-01")
    except ValueError:
        raise InputError(f"date {text!r}: write it like 2024-01-31") from None
    return text


def text_fragment(text: str) -> str:
    r"""Return the text directive of an address that opens a page at a passage: its first words, as the page shows them.

    Few words may stand on the page more than once, so that they are followed by those that come next; of a table the
    first row with values is taken. Source: the URL Fragment Text Directives draft, section 3.

    >>> text_fragment("| a | b |\n|---|---|\n| Scotland | 783.0 |"), text_fragment("- see `a-b` and [the log](x.html)")
    ('Scotland,-783.0', 'see%20a%2Db%20and%20the%20log')
    >>> text_fragment("```\n_x = f(*args)\n```")
    '_x%20%3D%20f%28%2Aargs%29'
    """
    pieces = _pieces(text)
    first = next(pieces, "").split()
    directive = _quoted(first[:_ANCHOR_WORDS])
    after = next(pieces, "").split() if 0 < len(first) < _FEW_WORDS else []
    return f"{directive},-{_quoted(after[:_FEW_WORDS])}" if after else directive


def _quoted(words: list[str]) -> str:
    return quote(" ".join(words), safe="").replace("-", "%2D")  # a bare - means something there


def _pieces(text: str) -> Iterator[str]:
    """Yield lines and cells of Markdown without its marks, those that say something."""
    text = _HEADING_ROW.sub("", text, count=1)
    fenced = False
    for line in text.split("\n"):
        if line.lstrip().startswith("```"):
            fenced = not fenced
            continue
        cells = [line] if fenced else line.split("|") if line.startswith("|") else [_BEGINS.sub("", line.strip())]
        for cell in cells:
            plain = cell if fenced else _MARKS.sub("", _LINK.sub(r"\1", cell))
            if re.search(r"\w", plain):
                yield plain


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document that is indexed and cited as one.

    `start` and `end` are offsets into the text of the page or cell that `page` names; for Markdown, Python and plain
    text they are offsets into the file, and `line` is the line. `page` counts from 1, also for slides and cells.
    """

    text: str
    heading: str = ""
    page: int | None = None
    start: int = 0
    end: int = 0
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A document as a reader understood it; `kind` says what it is, such as pdf or notebook."""

    title: str
    kind: str
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a store. `source` is its path or URL, `date` and `added` are ISO 8601."""

    id: int
    source: str
    collection: str
    title: str
    kind: str
    tags: tuple[str, ...]
    date: str
    added: str
    chunks: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage that was found: where it stands and how well it fits.

    `score` is only comparable within one search; `match`, 0 to 1, across searches. `highlights` are the (start, end) of
    the words of `text` that the question asked for.
    """

    text: str
    score: float
    match: float
    source: str
    title: str
    heading: str
    page: int | None
    line: int | None
    start: int
    end: int
    collection: str
    kind: str
    chunk: int
    document: int
    highlights: tuple[tuple[int, int], ...] = ()

    @property
    def citation(self) -> str:
        """Say where the passage stands, for people: `paper.pdf, page 3, Results`."""
        name = self.title or self.source.rstrip("/").rsplit("/", 1)[-1] or self.source
        heading = self.heading.removeprefix(name).removeprefix(" > ")
        unit = {"notebook": "cell", "slides": "slide"}.get(self.kind, "page")
        return ", ".join([name, *([f"{unit} {self.page}"] if self.page else []), *([heading] if heading else [])])

    @property
    def link(self) -> str:
        """Return an address that opens the source at the passage, where its kind has such addresses."""
        web = "://" in self.source
        if self.kind == "pdf" and self.page:
            return f"{self.source}#page={self.page}"
        if web:
            place = text_fragment(self.text)
            return f"{self.source}#:~:text={place}" if place else self.source
        return f"{self.source}:{self.line}" if self.line else self.source

    def marked(self, before: str = "**", after: str = "**") -> str:
        """Return the text with its highlights between two marks.

        >>> Passage("net revenue rose", 1, 1, "a", "", "", None, None, 0, 0, "", "", 0, 0, ((4, 11),)).marked()
        'net **revenue** rose'
        """
        parts: list[str] = []
        at = 0
        for start, end in self.highlights:
            parts += [self.text[at:start], before, self.text[start:end], after]
            at = end
        return "".join([*parts, self.text[at:]])

    def as_dict(self) -> dict[str, Any]:
        """Return what a program needs, for JSON."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return fields | {
            "citation": self.citation,
            "link": self.link,
            "highlights": [list(span) for span in self.highlights],
        }


def _beginning(passage: Passage) -> str:
    return passage.text if len(passage.text) <= SHOWN else f"{passage.text[:SHOWN]}…"


@dataclass(frozen=True, slots=True)
class Hits:
    """What a search found, best first. `found` is False when nothing fits well enough to answer from.

    `notes` say what the search had to do without, such as the embedding model.
    """

    query: str
    passages: tuple[Passage, ...]
    found: bool
    notes: tuple[str, ...] = ()
    elapsed_ms: float = 0.0

    def __len__(self) -> int:
        return len(self.passages)

    def __iter__(self) -> Any:
        return iter(self.passages)

    def __getitem__(self, at: int) -> Passage:
        return self.passages[at]

    def __str__(self) -> str:
        shown = enumerate(self.passages, 1)
        lines = [f"[{n}] {each.match:.2f} {each.citation} <{each.link}>\n{_beginning(each)}" for n, each in shown]
        return printable("\n\n".join([*lines, *self.notes, *([] if self.found else ["nothing fits well"])]))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def as_dict(self) -> dict[str, Any]:
        """Return the search for JSON."""
        return {
            "query": self.query,
            "found": self.found,
            "passages": [passage.as_dict() for passage in self.passages],
            "notes": list(self.notes),
            "elapsed_ms": round(self.elapsed_ms, 2),
        }


@dataclass(slots=True)
class Added:
    """What an `add` did: how many documents came, changed, stayed and went, and why some could not be read."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    chunks: int = 0
    embedded: int = 0
    seconds: float = 0.0
    failed: dict[str, str] = field(default_factory=dict[str, str])
    notes: list[str] = field(default_factory=list[str])

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return {name: getattr(self, name) for name in self.__slots__} | {"seconds": round(self.seconds, 3)}

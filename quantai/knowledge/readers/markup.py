"""Markdown by heading, HTML without its navigation, plain text by paragraph."""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from quantai.knowledge.chunks import LONGEST, split
from quantai.knowledge.passages import Chunk, Reading
from quantai.knowledge.readers.kinds import decode, title_from

_HEADING = re.compile(r"(#{1,6})[ \t]+(\S.*)")
_UNDERLINE = re.compile(r"[=\-~^]{3,}[ \t]*$")
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")
_FRONT = re.compile(r"---\n.*?\n---\n", re.DOTALL)
_INLINE = {
    "a", "abbr", "b", "bdi", "cite", "code", "del", "em", "font", "i", "ins", "kbd", "label", "mark", "q", "s", "samp",
    "small", "span", "strong", "sub", "sup", "u", "var",
}  # fmt: skip
_KEPT_SPACE = "\u2423"
"""Stands for a space beside an inline element while a page is read: its reader drops those in lists and cells."""
_KEPT_SPACES = re.compile(rf"(?<! ) *{_KEPT_SPACE}(?: *{_KEPT_SPACE})* *")


@dataclass(frozen=True, slots=True)
class Section:
    """The text under one heading: where it starts in the document, and the headings above it, outermost first."""

    start: int
    end: int
    path: tuple[str, ...]


def read_markdown(data: bytes, name: str) -> Reading:
    """Read Markdown (and reStructuredText) by heading; offsets and lines are those of the file."""
    text = decode(data)
    chunks = markdown_chunks(text)
    top = next((section.path[0] for section in sections(text) if section.path), "")
    return Reading(top or title_from(name), "markdown", tuple(chunks))


def markdown_chunks(text: str, *, page: int | None = None, lines: bool = True) -> list[Chunk]:
    """Return the chunks of Markdown text, each with the headings it stands under."""
    chunks: list[Chunk] = []
    line, counted = 1, 0
    for section in sections(text):
        line, counted = line + text.count("\n", counted, section.start), section.start
        part, heading = text[section.start : section.end], " > ".join(section.path)
        chunks += split(part, heading=heading, page=page, start=section.start, line=line if lines else None)
    return chunks


def sections(text: str) -> Iterator[Section]:
    r"""Yield the sections of Markdown; headings within code blocks are none, and empty sections are left out.

    >>> [section.path for section in sections("# A\nx\n## B\ny\n# C\nz")]
    [('A',), ('A', 'B'), ('C',)]
    """
    front = _FRONT.match(text)
    start = at = front.end() if front else 0
    path: list[tuple[int, str]] = []
    fence = ""
    previous = ""
    for line in io.StringIO(text[at:]):  # which ends lines where an editor does, and nowhere else
        bare = line.rstrip("\n")
        if mark := _FENCE.match(bare):
            fence = "" if fence and mark[1].startswith(fence) else fence or mark[1]
        found = None if fence else _HEADING.match(bare)
        level, name, begins = (len(found[1]), _without_closing(found[2]), at) if found else (0, "", at)
        if (
            not fence
            and not found
            and previous.strip()
            and len(bare) >= len(previous.strip())
            and _UNDERLINE.match(bare)
        ):
            level, name, begins = (1 if bare[0] == "=" else 2), previous.strip(), at - len(previous) - 1
        if level:
            if text[start:begins].strip():
                yield Section(start, begins, tuple(each for _, each in path))
            path = [(depth, each) for depth, each in path if depth < level] + [(level, name)]
            start = at + len(line)
        at += len(line)
        previous = "" if level or bare.startswith(("|", ">", "-", "*")) else bare
    if text[start:].strip():
        yield Section(start, len(text), tuple(each for _, each in path))


def _without_closing(name: str) -> str:
    """Return a heading without the marks that may close it, which stand apart: `Setup ##`, but `C#`."""
    name = name.rstrip()
    bare = name.rstrip("#")
    return bare.rstrip() or name if bare[-1:].isspace() else name


def read_text(data: bytes, name: str) -> Reading:
    """Read plain text by paragraph."""
    return Reading(title_from(name), "text", tuple(split(decode(data), line=1)))


def read_html(data: bytes, name: str) -> Reading:
    """Read the main text of a page, its headings and tables; navigation, scripts and footers are left out."""
    import trafilatura

    page = trafilatura.load_html(data)
    if page is None:
        return Reading(title_from(name), "html", ())
    title = " ".join((page.findtext(".//title") or page.findtext(".//h1") or "").split())
    _keep_spaces(page)
    body = trafilatura.extract(
        page, output_format="markdown", include_tables=True, include_comments=False, favor_recall=True
    )
    plain = trafilatura.html2txt(page) or ""
    body, plain = (_KEPT_SPACES.sub(" ", text or "") for text in (body, plain))
    if not body or (len(body) < LONGEST // 16 and len(plain) > 4 * len(body)):
        body = plain  # a page without articles, such as a table of links
    return Reading(title or title_from(name), "html", tuple(markdown_chunks(body, lines=False)))


def _keep_spaces(page: Any) -> None:
    for element in page.iter(*_INLINE, "p"):
        before, parent = element.getprevious(), element.getparent()
        if next(element.iterancestors("pre"), None) is not None:
            continue
        if element.tag == "p":  # the second one of a list's item or a cell
            if before is not None and element.text and next(element.iterancestors("li", "td"), None) is not None:
                element.text = _KEPT_SPACE + element.text
            continue
        if element.tail and element.tail[0].isspace() and element.tail.strip():
            element.tail = _KEPT_SPACE + element.tail.lstrip()
        if before is not None and before.tail and before.tail[-1].isspace() and before.tail.strip():
            before.tail = before.tail.rstrip() + _KEPT_SPACE
        elif before is None and parent is not None and parent.text and parent.text[-1].isspace():
            parent.text = parent.text.rstrip() + _KEPT_SPACE if parent.text.strip() else parent.text

"""Answers as HTML, for notebooks and pages: every citation opens the passage it stands for.

What a model or a document says is text here: no mark-up of theirs, no picture and no link is passed on, because a page
that loads a picture tells its server what was asked.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from quantai.knowledge.passages import Passage

UNCITED = "[uncited]"
"""What stands behind a claim that cites nothing."""

CITE = re.compile(r"\[(\d+(?:\s*[,;]\s*\d+)*)\]")
"""What cites passages: [1], or [1, 2]."""

_LEVELS = 3
"""Folders above this one that a notebook's server may still open."""

_MORE = 'style="opacity:.7"'
_BODY = 'style="white-space:pre-wrap;font-family:inherit;margin:.3em 1em"'
_PARAGRAPH = 'style="margin:.6em 0"'
_CITED = 'style="display:inline-block;vertical-align:top;max-width:100%"'


def cited_numbers(text: str) -> list[int]:
    """Return the numbers that a text cites, each once, in their order.

    >>> cited_numbers("It rose [2]. It fell [1, 2].")
    [2, 1]
    """
    return list(dict.fromkeys(int(number) for cite in CITE.findall(text) for number in re.findall(r"\d+", cite)))


def answer_html(text: str, passages: Mapping[int, Passage], notes: Sequence[str] = (), *, quoted: bool = False) -> str:
    """Return an answer with its passages by the number that cites them; a click on [1] opens the first.

    What opens is HTML's own fold: links within a page and scripts do not work in every notebook. `quoted` says that
    each paragraph is a passage behind its number: a [2] in its text is the author's, and cites something else.

    >>> page = answer_html(
    ...     "It rose [1].", {1: Passage("It rose.", 1, 1, "a.md", "", "", None, None, 0, 0, "", "", 0, 0)}
    ... )
    >>> page.count("<details"), page.count("It rose.")
    (2, 2)
    """
    paragraphs = "".join(
        f"<div {_PARAGRAPH}>{_inline(part, passages, quoted)}</div>" for part in text.split("\n\n") if part.strip()
    )
    shown = "".join(_passage(number, passage) for number, passage in passages.items())
    said = "".join(f"<div {_MORE}><em>{escape(note)}</em></div>" for note in notes)
    return f'<div class="qa-answer">{paragraphs}{shown}{said}</div>'


def address(passage: Passage) -> str:
    """Return what a browser can open: a web page at the text, a file beside the notebook, else nothing.

    >>> address(Passage("", 1, 1, "run=r1", "", "", None, None, 0, 0, "", "", 0, 0))
    ''
    """
    if passage.source.startswith(("http://", "https://")):
        return passage.link
    path = Path(passage.source)
    if not path.is_absolute():
        return ""
    near = path.relative_to(Path.cwd(), walk_up=True)
    page = f"#page={passage.page}" if passage.kind == "pdf" and passage.page else ""
    # a notebook's server opens what lies around the notebook; elsewhere only the person's own browser may try
    return (quote(str(near)) if near.parts.count("..") <= _LEVELS else path.as_uri()) + page


def numbered(passages: Iterable[Passage]) -> dict[int, Passage]:
    """Return the passages with the numbers that cite them, from 1."""
    return dict(enumerate(passages, 1))


def _inline(text: str, passages: Mapping[int, Passage], quoted: bool) -> str:
    said = escape(text)
    said = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", said, flags=re.DOTALL)
    said = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", said)
    said = said.replace(UNCITED, f"<small {_MORE}>{UNCITED}</small>").replace("\n", "<br>")

    def fold(cite: re.Match[str]) -> str:
        numbers = cited_numbers(cite[0])
        if not set(numbers) <= set(passages):
            return cite[0]
        return "".join(
            f'<details class="qa-cite" {_CITED}><summary style="cursor:pointer">[{number}]</summary>'
            f"<div {_MORE}>{_where(passages[number])}</div><pre {_BODY}>{_marked(passages[number])}</pre></details>"
            for number in numbers
        )

    if not quoted:
        return CITE.sub(fold, said)
    first = CITE.match(said)
    return said if first is None else fold(first) + said[first.end() :]


def _passage(number: int, passage: Passage) -> str:
    line = f"[{number}] {_where(passage)} <span {_MORE}>{passage.match:.2f}</span>"
    return f'<details><summary style="cursor:pointer">{line}</summary><pre {_BODY}>{_marked(passage)}</pre></details>'


def _where(passage: Passage) -> str:
    opens = address(passage)
    link = f' <a href="{escape(opens)}" target="_blank" rel="noopener noreferrer">open</a>' if opens else ""
    return escape(passage.citation) + link


def _marked(passage: Passage) -> str:
    return escape(passage.marked("\0", "\1")).replace("\0", "<mark>").replace("\1", "</mark>")

"""Answers as HTML, for notebooks and pages: every citation opens the passage it stands for.

What a model or a document says is text here: no mark-up of theirs, no picture and no link is passed on, because a page
that loads a picture tells its server what was asked.
"""

import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from quantai.knowledge.passages import Passage

UNCITED = "[uncited]"
"""What stands behind a claim that cites nothing."""

_CITE = re.compile(r"\[(\d+(?:\s*[,;]\s*\d+)*)\]")
_counter = itertools.count(1)

_STYLE = (
    "<style>.qa-answer summary{cursor:pointer}.qa-answer pre{white-space:pre-wrap;font-family:inherit;margin:.3em 1em}"
    ".qa-answer .qa-more{opacity:.7}.qa-answer .qa-uncited{color:#b35900;font-size:.85em}</style>"
)


def answer_html(text: str, passages: Mapping[int, Passage], notes: Sequence[str] = ()) -> str:
    """Return an answer with its passages by the number that cites them; a click on [1] opens the first.

    >>> page = answer_html(
    ...     "It rose [1].", {1: Passage("It rose.", 1, 1, "a.md", "", "", None, None, 0, 0, "", "", 0, 0)}
    ... )
    >>> "<details" in page and 'href="#' in page
    True
    """
    name = f"qa-{os.getpid()}-{next(_counter)}"
    paragraphs = "".join(f"<p>{_inline(part, passages, name)}</p>" for part in text.split("\n\n") if part.strip())
    shown = "".join(_passage(number, passage, name) for number, passage in passages.items())
    said = "".join(f'<p class="qa-more"><em>{escape(note)}</em></p>' for note in notes)
    return f'{_STYLE}<div class="qa-answer">{paragraphs}{shown}{said}</div>'


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
    here = Path.cwd()
    page = f"#page={passage.page}" if passage.kind == "pdf" and passage.page else ""
    # a notebook's server opens what lies below the notebook; elsewhere only the person's own browser may try
    return (quote(str(path.relative_to(here))) if path.is_relative_to(here) else path.as_uri()) + page


def numbered(passages: Iterable[Passage]) -> dict[int, Passage]:
    """Return the passages with the numbers that cite them, from 1."""
    return dict(enumerate(passages, 1))


def _inline(text: str, passages: Mapping[int, Passage], name: str) -> str:
    said = escape(text)
    said = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", said, flags=re.DOTALL)
    said = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", said)
    said = said.replace(UNCITED, f'<span class="qa-uncited">{UNCITED}</span>').replace("\n", "<br>")

    def link(cite: re.Match[str]) -> str:
        return re.sub(
            r"\d+", lambda n: f'<a href="#{name}-{n[0]}">{n[0]}</a>' if int(n[0]) in passages else n[0], cite[0]
        )

    return _CITE.sub(link, said)


def _passage(number: int, passage: Passage, name: str) -> str:
    opens = address(passage)
    where = escape(passage.citation)
    if opens:
        where += f' <a href="{escape(opens)}" target="_blank" rel="noopener noreferrer">open</a>'
    marked = escape(passage.marked("\0", "\1")).replace("\0", "<mark>").replace("\1", "</mark>")
    body = f'<pre id="{name}-{number}">{marked}</pre>'  # inside the fold: a browser that goes to it unfolds it
    line = f'[{number}] {where} <span class="qa-more">{passage.match:.2f}</span>'
    return f"<details><summary>{line}</summary>{body}</details>"

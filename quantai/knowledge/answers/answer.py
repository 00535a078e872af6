"""What an answer is, and the one that needs no model: the passages themselves."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from quantai.knowledge.answers.page import answer_html, numbered
from quantai.knowledge.passages import SHOWN, Hits, Passage, printable

NOT_FOUND = "Not found: nothing in the knowledge base fits this question well enough."

_BLANK = re.compile(r"\n\s*\n")


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence of an answer. `cites` are numbers of passages from 1; `supported` says whether they say so too."""

    text: str
    cites: tuple[int, ...]
    supported: bool


@dataclass(slots=True)
class Answer:
    """An answer and what it stands on.

    `found` is False when the passages do not answer. `model` is empty for passages without a model; `tokens` counts
    what went into the model and came out, `cost` is in the currency of the settings' prices (None without prices).
    """

    question: str
    text: str
    passages: tuple[Passage, ...]
    found: bool
    model: str = ""
    claims: tuple[Claim, ...] = ()
    notes: list[str] = field(default_factory=list[str])
    tokens: dict[str, int] = field(default_factory=dict[str, int])
    cost: float | None = None
    elapsed_ms: float = 0.0

    @property
    def citations(self) -> list[str]:
        """Where each passage stands, in their order."""
        return [passage.citation for passage in self.passages]

    @property
    def faithfulness(self) -> float | None:
        """The share of claims that cite passages which say so; None when there are no claims."""
        return sum(claim.supported for claim in self.claims) / len(self.claims) if self.claims else None

    def __str__(self) -> str:
        sources = [f"[{number}] {passage.citation} <{passage.link}>" for number, passage in enumerate(self.passages, 1)]
        lines = [self.text, *([""] if sources else []), *sources, *(f"({note})" for note in self.notes)]
        return printable("\n".join(lines))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return answer_html(self.text, numbered(self.passages), self.notes, quoted=not self.model)

    def as_dict(self) -> dict[str, Any]:
        """Return the answer for JSON."""
        claims = [{"text": each.text, "cites": list(each.cites), "supported": each.supported} for each in self.claims]
        names = ["question", "found", "model", "notes", "tokens", "cost", "faithfulness"]
        return {
            "answer": self.text,
            **{name: getattr(self, name) for name in names},
            "claims": claims,
            "passages": [passage.as_dict() for passage in self.passages],
            "elapsed_ms": round(self.elapsed_ms, 2),
        }


@dataclass(frozen=True, slots=True)
class Given:
    """An answer that is there at once, in the form of a stream."""

    answer: Answer

    @property
    def found(self) -> bool:
        """Whether there was anything to answer from."""
        return self.answer.found

    def __iter__(self) -> Iterator[str]:
        yield self.answer.text


def from_passages(hits: Hits, note: str = "") -> Answer:
    """Return the passages as the answer, their matching words marked; NOT_FOUND when none fits well enough."""
    notes = [*hits.notes, *([note] if note else [])]
    if not hits.found:
        return Answer(hits.query, NOT_FOUND, hits.passages, False, notes=notes, elapsed_ms=hits.elapsed_ms)
    fitting = tuple(passage for passage in hits.passages if passage.match >= hits.passages[0].match / 2)
    lines = [f"[{number}] {_BLANK.sub('\n', excerpt(passage))}" for number, passage in enumerate(fitting, 1)]
    return Answer(hits.query, "\n\n".join(lines), fitting, True, notes=notes, elapsed_ms=hits.elapsed_ms)


def excerpt(passage: Passage, length: int = SHOWN) -> str:
    """Return the part of a passage where the marked words are closest together, with the marks.

    >>> excerpt(Passage("net revenue rose", 1, 1, "a", "", "", None, None, 0, 0, "", "", 0, 0, ((4, 11),)))
    'net **revenue** rose'
    """
    text, marks = passage.text, passage.highlights
    if len(text) <= length:
        return _bold(passage)
    starts = [first for first, _ in marks] or [0]
    best = max(starts, key=lambda at: sum(at <= first < at + length for first in starts))
    begin = max(0, best - length // 8)
    begin = text.rfind(" ", 0, begin) + 1
    end = text.find(" ", min(len(text), begin + length))
    end = len(text) if end < 0 else end
    inside = tuple((first - begin, last - begin) for first, last in marks if begin <= first and last <= end)
    cut = replace(passage, text=text[begin:end], highlights=inside)
    return f"{'… ' if begin else ''}{_bold(cut)}{' …' if end < len(text) else ''}"


def _bold(passage: Passage) -> str:
    """Return a passage with its marks, and without those of its own, which would end ours."""
    marked = passage.marked("\0", "\1").replace("**", "")
    return marked.replace("\0", "**").replace("\1", "**")

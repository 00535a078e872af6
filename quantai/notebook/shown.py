"""What a magic shows: HTML for a notebook, the same in plain text elsewhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Self

from quantai.knowledge.answers.answer import excerpt
from quantai.knowledge.answers.page import answer_html, numbered
from quantai.knowledge.passages import Hits


@dataclass(frozen=True, slots=True)
class Shown:
    """A page and its plain text.

    >>> print(repr(Shown.of_facts({"added": 2})))
    added: 2
    """

    html: str
    text: str

    @classmethod
    def of_text(cls, text: str) -> Self:
        """Show a text as it is."""
        return cls(f'<pre style="white-space:pre-wrap">{escape(text)}</pre>', text)

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Self:
        """Show names and values; empty ones are left out, but for numbers."""
        return cls.of_text("\n".join(f"{name}: {value}" for name, value in facts.items() if value not in ({}, [])))

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]]) -> Self:
        """Show a table."""
        if not rows:
            return cls.of_text("nothing yet")
        head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(str(value))}</td>' for value in row.values())}</tr>" for row in rows
        )
        text = "\n".join("  ".join(str(value) for value in row.values()) for row in rows)
        return cls(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>", text)

    @classmethod
    def of_hits(cls, hits: Hits) -> Self:
        """Show passages, each with where it stands."""
        notes = [*hits.notes, *([] if hits.found else ["nothing fits well"])]
        lines = [f"[{n}] {p.match:.2f} {p.citation} <{p.link}>\n{excerpt(p)}" for n, p in numbered(hits).items()]
        return cls(answer_html("", numbered(hits), notes), "\n\n".join([*lines, *notes]))

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text

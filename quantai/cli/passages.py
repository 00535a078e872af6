"""What a terminal shows of a search and of an answer: passages under where they stand, what was asked for in bold."""

from collections.abc import Iterable, Mapping
from textwrap import indent
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantai.knowledge.answers import Answer, AnswerStream
    from quantai.knowledge.answers.answer import Given
    from quantai.knowledge.passages import Hits, Passage

_INDENT = 4


def show_hits(hits: "Hits") -> None:
    """Print the passages of a search, best first, and what the search had to do without."""
    if not hits.found:
        _say(["Nothing fits well." + (" The nearest:" if len(hits) else ""), *([""] if len(hits) else [])])
    _show(dict(enumerate(hits, 1)))
    _say(f"({note})" for note in hits.notes)


def show_answer(answer: "Answer") -> None:
    """Print an answer: a model's text with its sources, else the passages; of what was not found, what is nearest."""
    passages = dict(enumerate(answer.passages, 1))
    if answer.found and not answer.model:
        _show(passages)
    else:
        sources = [f"[{number}] {passage.citation} <{passage.link}>" for number, passage in passages.items()]
        nearest = ["Nearest, which does not mean that it is in there:"] if sources and not answer.found else []
        _say([answer.text, *([""] if sources else []), *nearest, *sources])
    _say(f"({note})" for note in answer.notes)


def show_writing(stream: "AnswerStream | Given", console: Any) -> None:
    """Show a model's answer while it is written, on a terminal, and take it away at its end: `show_answer` is next."""
    from rich.live import Live
    from rich.text import Text

    from quantai.knowledge.answers.answer import Given
    from quantai.knowledge.passages import printable

    if isinstance(stream, Given) or not console.is_terminal:
        return
    written = ""
    with Live(console=console, transient=True) as live:
        for piece in stream:
            written += piece
            live.update(Text(printable(written)))


def _show(passages: "Mapping[int, Passage]") -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    from quantai.knowledge.answers.answer import excerpt
    from quantai.knowledge.passages import printable

    out = Console(highlight=False)
    for number, passage in passages.items():
        where = Text(f"[{number}] {printable(passage.citation)}", "bold")
        out.print(where.append(f"  {passage.match:.2f}", "not bold dim"), soft_wrap=True)
        out.print(Text(f"{' ' * _INDENT}{printable(passage.link)}", "dim"), soft_wrap=True)
        text = printable(excerpt(passage))
        if out.is_terminal:
            pieces = text.split("**")  # every second one stands between two marks
            bold = ((piece, "bold" if at % 2 else "") for at, piece in enumerate(pieces))
            out.print(Padding(Text.assemble(*bold), (0, 0, 0, _INDENT)))
        else:
            out.print(Text(indent(text, " " * _INDENT)), soft_wrap=True)
        out.print()


def _say(lines: Iterable[str]) -> None:
    from quantai.knowledge.passages import printable

    for line in lines:
        print(printable(line))

"""What was said and done, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from quantai.core.errors import UnknownName
from quantai.core.plain import plain
from quantai.knowledge.answers.page import answer_html
from quantai.knowledge.passages import printable

if TYPE_CHECKING:
    from quantai.knowledge.passages import Passage

_SHOWN = 160


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened.

    kind: `text`, a piece of what the model says; `call`, it wants a tool to run; `ask`, a person is asked about that;
    `approval`, what they said (`ok`); `answer`, what the tool came to (`ok` and `text`); `stop`, why it ended early.
    """

    kind: Literal["text", "call", "ask", "approval", "answer", "stop"]
    text: str = ""
    tool: str = ""
    id: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    ok: bool = True

    def __str__(self) -> str:
        asked = f"{self.tool}({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"
        match self.kind:
            case "text":
                return self.text
            case "call":
                return f"→ {asked}"
            case "ask":
                return f"? {asked}: {self.text}"
            case "approval":
                return f"{'✓ approved' if self.ok else '✗ not approved'}: {self.tool}"
            case "answer":
                text = self.text if len(self.text) <= _SHOWN else f"{self.text[: _SHOWN - 1]}…"
                return f"{'←' if self.ok else '✗'} {self.tool}: {text}"
            case "stop":
                return f"■ {self.text}"


@dataclass(slots=True)
class Report:
    """The answer to one question, and the objects that came of it by their names: `report["result-1"]` is a Result.

    `passages` are those that the text cites, by number. `stopped` says why it ended early, empty when it did not.
    """

    question: str
    text: str = ""
    model: str = ""
    steps: list[Step] = field(default_factory=list[Step])
    things: dict[str, Any] = field(default_factory=dict[str, Any])
    passages: "dict[int, Passage]" = field(default_factory=dict[int, "Passage"])
    notes: list[str] = field(default_factory=list[str])
    tokens: dict[str, int] = field(default_factory=dict[str, int])
    cost: float | None = None
    seconds: float = 0.0
    stopped: str = ""
    transcript: Path | None = None

    def __getitem__(self, name: str) -> Any:
        if name not in self.things:
            raise UnknownName("thing of this report", name, self.things)
        return self.things[name]

    @property
    def calls(self) -> list[Step]:
        """The calls of tools, in their order."""
        return [step for step in self.steps if step.kind == "call"]

    def __str__(self) -> str:
        sources = [f"[{number}] {passage.citation} <{passage.link}>" for number, passage in self.passages.items()]
        made = [f"{name}: {type(thing).__name__}" for name, thing in self.things.items()]
        return printable("\n".join([self.text, *sources, *made, *(f"({note})" for note in self.notes)]))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        done = "".join(f"<li><code>{escape(str(step))}</code></li>" for step in self.steps if step.kind != "text")
        made = "".join(
            f"<li><code>{escape(name)}</code> {escape(type(thing).__name__)}</li>"
            for name, thing in self.things.items()
        )
        steps = f"<details><summary>tools called: {len(self.calls)}</summary><ul>{done}</ul></details>" if done else ""
        return answer_html(self.text, self.passages, self.notes) + (f"<ul>{made}</ul>" if made else "") + steps

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON; of objects, their names and types."""
        names = ("question", "text", "model", "notes", "tokens", "cost", "stopped")
        return {
            **{name: getattr(self, name) for name in names},
            "seconds": round(self.seconds, 3),
            "things": {name: type(thing).__name__ for name, thing in self.things.items()},
            "passages": {str(number): passage.as_dict() for number, passage in self.passages.items()},
            "steps": [plain(step) for step in self.steps if step.kind != "text"],
            "transcript": None if self.transcript is None else str(self.transcript),
        }

"""Questions that go on from the ones before."""

from collections.abc import Callable
from typing import Any

from quantai.knowledge.answers.answer import Answer
from quantai.knowledge.words import words

TURNS = 6
"""How many questions and answers the model is told again."""


class Conversation:
    """Remembers what was asked and answered. `ask` is `Knowledge.ask`, which is given the `history` of this one."""

    def __init__(self, ask: Callable[..., Answer], **settings: Any) -> None:
        self._ask, self._settings = ask, settings
        self.turns: list[Answer] = []

    @property
    def history(self) -> list[tuple[str, str]]:
        """The last questions and answers, oldest first."""
        return [(turn.question, turn.text) for turn in self.turns[-TURNS:]]

    def ask(self, question: str, **settings: Any) -> Answer:
        """Answer a question; one too short to stand alone ("and in 2020?") is searched for with the one before it."""
        search = question
        if self.turns and len(set(words(question))) < 3:
            search = f"{self.turns[-1].question} {question}"
        answer = self._ask(question, search=search, history=self.history, **self._settings | settings)
        self.turns.append(answer)
        return answer

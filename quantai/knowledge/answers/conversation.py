"""Questions that go on from the ones before."""

from collections.abc import Callable
from typing import Any

from quantai.knowledge.answers.answer import Answer, Given
from quantai.knowledge.answers.chat import AnswerStream
from quantai.knowledge.words import words

TURNS = 6
"""How many questions and answers the model is told again."""


class Conversation:
    """Remembers what was asked and answered. `stream` is `Knowledge.stream`, which is given this one's `history`."""

    def __init__(self, stream: Callable[..., AnswerStream | Given], **settings: Any) -> None:
        self._stream, self._settings = stream, settings
        self._said: list[AnswerStream | Given] = []

    @property
    def turns(self) -> list[Answer]:
        """The answers so far, oldest first; one that is still being written is waited for."""
        return [said.answer for said in self._said]

    @property
    def history(self) -> list[tuple[str, str]]:
        """The last questions and answers, oldest first."""
        return [(turn.question, turn.text) for turn in self.turns[-TURNS:]]

    def ask(self, question: str, **settings: Any) -> Answer:
        """Answer a question; one too short to stand alone ("and in 2020?") is searched for with the one before it."""
        return self.stream(question, **settings).answer

    def stream(self, question: str, **settings: Any) -> AnswerStream | Given:
        """As `ask`, piece by piece: iterate for the text as it is written, then take `.answer`."""
        search, turns = question, self.turns
        if turns and len(set(words(question))) < 3:
            search = f"{turns[-1].question} {question}"
        said = self._stream(question, search=search, history=self.history, **self._settings | settings)
        self._said.append(said)
        return said

"""Questions that go on from the ones before."""

import re
from collections.abc import Callable
from typing import Any

from quantai.knowledge.answers.answer import Answer, Given
from quantai.knowledge.answers.chat import AnswerStream
from quantai.knowledge.words import words

TURNS = 6
"""How many questions and answers the model is told again."""

_GOES_ON = re.compile(r"(and|or|but|(what|how) about|why|its?|they|their|that|this|those|these)\b", re.IGNORECASE)


def stands_alone(question: str) -> bool:
    """Say whether a short question names what it is about, so that it may be searched for without the one before it.

    >>> [stands_alone(text) for text in ("kill switch?", "and in 2020?", "2020?", "What about fees?")]
    [True, False, False, False]
    """
    return not _GOES_ON.match(question.strip()) and any(word.isalpha() for word in words(question))


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
        """Answer a question; one that does not stand alone ("and in 2020?") is searched for with the one before it."""
        return self.stream(question, **settings).answer

    def stream(self, question: str, **settings: Any) -> AnswerStream | Given:
        """As `ask`, piece by piece: iterate for the text as it is written, then take `.answer`."""
        turns, settings = self.turns, self._settings | settings | {"history": self.history}
        short = bool(turns) and len(set(words(question))) < 3
        before = f"{turns[-1].question} {question}" if short else ""
        said = self._stream(question, search="" if stands_alone(question) else before, **settings)
        if short and not said.found:
            said = self._stream(question, search=before, **settings)
        self._said.append(said)
        return said

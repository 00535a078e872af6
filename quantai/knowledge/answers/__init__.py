"""Answers: from passages alone, or by a chat model that must cite them.

| module | what it holds |
|---|---|
| `answer` | `Answer`, `Claim`, and the answer that needs no model: the passages themselves |
| `claims` | what a text claims, what it cites, and whether the cited passages say so |
| `chat` | `ChatSettings` and the stream of an answer by a chat model |
| `deadline` | a stream that ends when its time is over |
| `page` | an answer as HTML, whose citations open |
| `conversation` | questions that go on from the ones before |
"""

from quantai.knowledge.answers.answer import Answer, Claim
from quantai.knowledge.answers.chat import AnswerStream, ChatSettings
from quantai.knowledge.answers.conversation import Conversation

__all__ = ["Answer", "AnswerStream", "ChatSettings", "Claim", "Conversation"]

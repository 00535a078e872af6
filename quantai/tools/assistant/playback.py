"""A chat model that says what a script says: for replays of transcripts, offline notebooks and tests."""

import json
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import Field

from quantai.core.errors import InputError


def says(text: str = "", **calls: Any) -> AIMessage:
    """Return what a model says in one turn: a text, calls of tools by name with their arguments, or both.

    >>> says(load_data={"sample": "sp500"}).tool_calls[0]["args"]
    {'sample': 'sp500'}
    """
    made = [{"name": name, "args": arguments, "id": f"call-{name}"} for name, arguments in calls.items()]
    return AIMessage(content=text, tool_calls=made)


class Playback(BaseChatModel):
    """Says `script`, one message for each time it is asked; a message may be a function of what was said before.

    LangChain's own fake model knows no tools. Raises InputError when it is asked more often than the script is long.

    >>> Playback(script=[says("hello")]).invoke("hi").content
    'hello'
    """

    script: Sequence[Any]
    said: int = 0
    heard: list[list[BaseMessage]] = Field(default_factory=list[list[BaseMessage]])
    """What it was sent, each time."""

    @property
    def _llm_type(self) -> str:
        return "playback"

    def bind_tools(self, tools: Any, **kwargs: Any) -> "Playback":
        """Return itself: the script knows the tools."""
        return self

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._next(messages))])

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        message = self._next(messages)
        for word in re.findall(r"\s*\S+\s*$|\s*\S+", message.text):
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=word))
            if run_manager:
                await run_manager.on_llm_new_token(word, chunk=chunk)
            yield chunk
        calls: list[Any] = [
            {"name": call["name"], "args": json.dumps(call["args"]), "id": call["id"], "index": place}
            for place, call in enumerate(message.tool_calls)
        ]
        usage = message.usage_metadata
        yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=calls, usage_metadata=usage))

    def _next(self, messages: list[BaseMessage]) -> AIMessage:
        self.heard.append(list(messages))
        if self.said >= len(self.script):
            raise InputError(f"the script has {len(self.script)} messages, and one more was asked for")
        entry: Any = self.script[self.said]
        self.said += 1
        message: AIMessage = entry if isinstance(entry, AIMessage) else entry(messages)
        return message.model_copy(
            update={"tool_calls": [call | {"id": f"{call['id']}-{self.said}"} for call in message.tool_calls]}
        )

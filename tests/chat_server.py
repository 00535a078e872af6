"""A server on this machine that speaks OpenAI's chat protocol, well and badly, as a script says."""

import json
from collections.abc import Callable
from typing import Any

from quantai.knowledge.answers import ChatSettings
from tests.local_server import Handler, LocalServer

type Said = str | int | list[tuple[str, str]] | Callable[[dict[str, Any]], Any]
"""A text; a status; calls of tools with their arguments as they are written; or a function of the request.

`<stall>`, `<malformed>` and `<cut>` are texts that begin and do not end well.
"""


class ChatServer(LocalServer):
    """Says `script`, one entry for each request, and the last one again and again."""

    def __init__(self) -> None:
        self.script: list[Said] = []
        self.requests: list[dict[str, Any]] = []
        super().__init__(Completion)

    @property
    def settings(self) -> ChatSettings:
        return ChatSettings("scripted-1", self.url("/v1"), timeout_s=60.0, retries=0, price_in=1.0, price_out=2.0)


class Completion(Handler):
    server: ChatServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:  # noqa: N802
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        say: Any = self.server.script[min(len(self.server.requests), len(self.server.script)) - 1]
        say = say(request) if callable(say) else say
        if isinstance(say, int):
            error = {"error": {"message": "scripted", "type": "server_error"}}
            self.answer(json.dumps(error).encode(), "application/json", say)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        if say in ("<stall>", "<cut>"):
            self.event({"content": "The deflated "})
            if say == "<stall>":
                self.server.stop.wait()
            return
        if say == "<malformed>":
            self.wfile.write(b'data: {"choices": [{"delta": {"content": "x"\n\n')
            return
        if isinstance(say, list):
            self.call(say)
        else:
            for word in say.split(" ") if say else []:
                self.event({"content": f"{word} "})
            self.event({}, finish="stop")
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        self.line(
            {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage}
        )
        self.wfile.write(b"data: [DONE]\n\n")

    def call(self, calls: list[tuple[str, str]]) -> None:
        """Send calls of tools as providers do: the name first, the arguments in pieces."""
        number = len(self.server.requests)
        for index, (name, arguments) in enumerate(calls):
            head = {"index": index, "id": f"call_{number}_{index}", "type": "function"}
            self.event({"tool_calls": [head | {"function": {"name": name, "arguments": ""}}]})
            for at in range(0, len(arguments), 7):
                piece = {"index": index, "function": {"arguments": arguments[at : at + 7]}}
                self.event({"tool_calls": [piece]})
        self.event({}, finish="tool_calls")

    def event(self, delta: dict[str, Any], finish: str | None = None) -> None:
        choice = {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": finish}
        self.line({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})

    def line(self, chunk: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.wfile.flush()

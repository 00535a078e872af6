"""The chat page of the knowledge service at /chat, and what a visitor of it sees of the knowledge base."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantai.core.errors import InputError
from quantai.knowledge import Knowledge
from quantai.knowledge.answers import Conversation
from quantai.knowledge.passages import Added, Document
from serving.keys import Key, note
from serving.tool_calls import ToolCalls

if TYPE_CHECKING:
    from serving.guard import Receive, Scope, Send

PAGE = "/chat"
APP = Path(__file__).parents[1] / "notebooks" / "apps" / "chat.py"


class Visit:
    """The knowledge base as one visitor of the page sees it: `collection` of those of the key, to read or to add to."""

    def __init__(self, knowledge: Knowledge, key: Key, collection: str | None = None) -> None:
        self._knowledge, self._key = knowledge, key
        self.collections = sorted(key.collections)
        self.collection = collection or (self.collections[0] if self.collections else None)
        self.path, self.adds = knowledge.path, key.operates

    @property
    def uploads(self) -> Path:
        """The folder that uploaded files are kept in."""
        return self.path / "uploads" / (self.collection or "default")

    def within(self, collection: str) -> "Visit":
        """Return the visit to another collection of the key; raises InputError for one of others."""
        if collection not in self.collections:
            raise InputError(f"{self._key.name} may not see the collection {collection!r}")
        return Visit(self._knowledge, self._key, collection)

    def add(self, *sources: Any, quiet: bool = False) -> Added:
        """As `Knowledge.add`, of addresses of pages and of files that were uploaded.

        Raises InputError for a visitor who may read only, and for a path: it would be one of this machine.
        """
        if not self.adds:
            raise InputError("this key may read only")
        for source in sources:
            if isinstance(source, Path) and source.resolve().is_relative_to(self.uploads.resolve()):
                continue
            if not str(source).lower().startswith(("http://", "https://")):
                raise InputError(f"{str(source)!r} is not the address of a page: it begins with https://")
        note(self.path, self._key, f"{PAGE}/add", sources=[str(source) for source in sources])
        return self._knowledge.add(*sources, collection=self.collection or "default", quiet=quiet)

    def list(self) -> list[Document]:
        """Return the documents."""
        return self._knowledge.list(self.collection)

    def conversation(self) -> Conversation:
        """Return a conversation with its documents."""
        return self._knowledge.conversation(collection=self.collection)


class ChatPage:
    """The marimo app as an ASGI application; each request brings its visitor's view of the service's knowledge base."""

    def __init__(self, calls: ToolCalls) -> None:
        import marimo

        self._calls = calls
        self._app: Any = marimo.create_asgi_app(quiet=True).with_app(path="/", root=str(APP)).build()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Show the page to whom the guard let in."""
        if self._calls.knowledge is not None and "quantai.key" in scope:
            visit = Visit(self._calls.knowledge, scope["quantai.key"])
            scope = {**scope, "meta": {**scope.get("meta", {}), "knowledge": visit}}
        await self._app(scope, receive, send)


def chat_page(calls: ToolCalls) -> ChatPage | None:
    """Return the page, None where marimo or the app is not installed."""
    return ChatPage(calls) if find_spec("marimo") is not None and APP.is_file() else None

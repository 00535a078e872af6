"""Knowledge: the one class that a user calls."""

import os
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from quantai.core.errors import InputError
from quantai.knowledge.answers import Answer, AnswerStream, ChatSettings, Conversation
from quantai.knowledge.answers.answer import Given, from_passages
from quantai.knowledge.embedding import choose
from quantai.knowledge.evaluate import evaluate
from quantai.knowledge.ingest import Ingest, Labels, run
from quantai.knowledge.passages import Added, Document, Hits, path_name, whole
from quantai.knowledge.search import STAGES, Filter, Reranker, Search
from quantai.knowledge.store import close_store, open_store
from quantai.knowledge.web import Fetcher, WebPolicy
from quantai.ops import progress
from quantai.ops.config import settings


class Knowledge:
    """A knowledge base in a folder: add documents, search them, ask questions; every answer says where it stands.

    `path` is the setting `knowledge.path` when not given. `embedding` is "minilm" (offline), "none",
    "provider:model" or a LangChain Embeddings; `chat` a ChatSettings, "provider:model" or a LangChain chat model, by
    default what the setting `chat.model` says, and without one the passages are the answer. `reranker` orders the first
    50 passages again. `web` holds the limits of fetching. `server` is the URL of a Chroma server for several processes.

    >>> import tempfile
    >>> with Knowledge(tempfile.mkdtemp(), embedding="none") as kb:
    ...     added = kb.add({"run": "r1", "sharpe": 1.5, "strategy": "Cross"})
    ...     kb.search("sharpe of the run of Cross")[0].citation
    'run=r1'

    Raises StorageError when another process holds the folder.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        embedding: Any = "minilm",
        chat: Any = None,
        reranker: Reranker | None = None,
        web: WebPolicy | None = None,
        server: str | None = None,
    ) -> None:
        configured = settings().knowledge
        self.path = Path(path or configured.path).expanduser()
        embedder, self.note = choose(embedding)
        self._web = web or WebPolicy()
        self._chat = chat
        self._store = open_store(self.path, embedder, server or configured.server or None)
        self.close = weakref.finalize(self, close_store, self._store)
        self._search = Search(self._store, self.note, reranker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Knowledge({str(self.path)!r}: {len(self.list())} documents)"

    def add(
        self,
        *sources: Any,
        collection: str = "default",
        tags: Iterable[str] = (),
        date: str = "",
        quiet: bool = False,
    ) -> Added:
        """Add files, folders, URLs, sitemaps, or objects such as a strategy or a result; returns what was done.

        What has not changed costs nothing; what is gone from a folder, or from its server, is removed. A source that
        cannot be read is named in `failed` and stops nothing; one that was asked for alone and is not there raises
        InputError.
        """
        return run(self.aadd(*sources, collection=collection, tags=tags, date=date, quiet=quiet))

    async def aadd(
        self,
        *sources: Any,
        collection: str = "default",
        tags: Iterable[str] = (),
        date: str = "",
        quiet: bool = False,
    ) -> Added:
        """As `add`, for a program that has an event loop."""
        if (
            not collection
            or not all(c.isascii() and (c.isalnum() or c in "-_") for c in collection)
            or len(collection) > 60
        ):
            raise InputError(f"collection {collection!r}: use up to 60 letters, digits, - and _")
        labels = Labels(collection, tuple(tags), date)
        async with Fetcher(self._web) as fetcher:
            ingest = Ingest(self._store, fetcher, labels)
            with progress("adding", None, unit="documents", quiet=quiet) as advance:
                done = await ingest.add(sources, advance)
        if self.note:
            done.notes.append(self.note)
        return done

    def list(self, collection: str | None = None) -> list[Document]:
        """Return the documents, all or those of a collection, in the order they came."""
        return self._store.manifest.documents(collection)

    def remove(self, source: str | os.PathLike[str], collection: str | None = None) -> int:
        """Remove a document, or all under a folder; returns how many. Raises InputError when there is none."""
        name = self._name(source)
        inside = f"{name.rstrip('/')}/"
        found = [
            document.id
            for document in self.list(collection)
            if document.source == name or document.source.startswith(inside)
        ]
        if not found:
            raise InputError(f"{source}: there is no such document in {self.path}")
        return self._store.delete(found)

    def _name(self, source: str | os.PathLike[str]) -> str:
        """Return the name by which a document or folder is known, whatever way a path to it is written."""
        name = os.fspath(source)
        known = self._store.manifest.rows("SELECT 1 FROM documents WHERE source = ? LIMIT 1", (name,))
        return name if known or "://" in name else path_name(name)

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        collection: str | None = None,
        source: str | os.PathLike[str] | None = None,
        tags: Sequence[str] = (),
        since: str = "",
        until: str = "",
        stage: str = "fused",
    ) -> Hits:
        """Return the `k` passages that fit `query` best.

        `source` is a document or a folder, `tags` must all be there, `since` and `until` are ISO dates, inclusive.
        `stage` is one of fused, rrf, bm25, dense. Raises UnknownName for another collection or stage.
        """
        if not query.strip():
            raise InputError("the query is empty: ask for some words")
        if k < 1:
            raise InputError(f"k is {k}: ask for at least one passage")
        within = None if source is None else self._name(source).rstrip("/")
        return self._search(whole(query), k, Filter(collection, within, tuple(tags), since, until), stage)

    def ask(self, question: str, k: int = 5, **settings: Any) -> Answer:
        """Answer a question from the documents; `settings` are those of `search`.

        Without a chat model the passages are the answer. With one, every claim cites passages, claims that do not are
        marked, and when it fails the passages are the answer.
        """
        return self.stream(question, k, **settings).answer

    def stream(
        self, question: str, k: int = 5, *, search: str = "", history: Sequence[tuple[str, str]] = (), **settings: Any
    ) -> AnswerStream | Given:
        """As `ask`, piece by piece: iterate for the text as it is written, then take `.answer`."""
        hits = self.search(search or question, k, **settings)
        hits = Hits(question, hits.passages, hits.found, hits.notes, hits.elapsed_ms)
        model, chat = self._model()
        if model is None or chat is None:
            return Given(from_passages(hits))
        return AnswerStream(model, chat, hits, history)

    def conversation(self, **settings: Any) -> Conversation:
        """Return a conversation, whose questions may go on from the ones before; `settings` are those of `ask`."""
        return Conversation(self.stream, **settings)

    def _model(self) -> tuple[Any, ChatSettings | None]:
        chat = self._chat if self._chat is not None else ChatSettings.configured()
        if isinstance(chat, str):
            chat = ChatSettings(chat)
        if chat is None or isinstance(chat, tuple):
            return chat or (None, None)
        if isinstance(chat, ChatSettings):
            self._chat = (chat.connect(), chat)
        else:
            name = getattr(chat, "model_name", None) or getattr(chat, "model", None) or type(chat).__name__
            self._chat = (chat, ChatSettings(str(name)))
        return self._chat

    def evaluate(
        self, folder: str | os.PathLike[str], stages: Iterable[str] = STAGES, quiet: bool = False
    ) -> dict[str, Any]:
        """Measure the search on a set in BEIR's layout; see `quantai.knowledge.evaluate`. Raises DataError."""
        return evaluate(self._store, self._search, Path(folder), stages, quiet)

"""Which embedding a store uses: MiniLM offline, any of LangChain's, or none."""

from functools import cache
from typing import Any, Protocol, runtime_checkable

import numpy as np

from quantai.core.errors import InputError, MissingExtra, UnknownName
from quantai.knowledge.model import MiniLM, Vectors


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into unit vectors. Two embedders with one name must give the same vectors."""

    @property
    def name(self) -> str:
        """Names the model: another name means that a store is embedded again."""
        ...

    def embed(self, texts: list[str]) -> Vectors:
        """Return one float32 row of length 1 for each text."""
        ...


class LangChainEmbedder:
    """Any LangChain `Embeddings` as an embedder."""

    def __init__(self, embeddings: Any, name: str) -> None:
        self._embeddings = embeddings
        self.name = name

    def embed(self, texts: list[str]) -> Vectors:
        """Ask the model for the vectors of `texts` and scale them to length 1."""
        raw = np.asarray(self._embeddings.embed_documents(texts), np.float32).reshape(len(texts), -1)
        return _unit(raw)

    def embed_query(self, query: str) -> Vectors:
        """Ask the model for the vector of a question, which some models embed otherwise than what answers it."""
        return _unit(np.asarray([self._embeddings.embed_query(query)], np.float32))


def _unit(rows: Any) -> Vectors:
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def embed_query(embedder: Embedder, query: str) -> Any:
    """Return the vector of a question, by the embedder's own `embed_query` where it tells questions from passages."""
    own = getattr(embedder, "embed_query", None)
    return (own(query) if own is not None else embedder.embed([query]))[0]


@cache
def minilm() -> MiniLM:
    """Return the one MiniLM of this process; raises MissingExtra when its wheel is not installed."""
    return MiniLM()


def choose(embedding: Any) -> tuple[Embedder | None, str]:
    """Return the embedder that `embedding` means and, where there is none, a note that says why.

    `embedding` is "minilm", "none", "provider:model" as LangChain's `init_embeddings` takes it, a LangChain
    `Embeddings`, or an `Embedder`. Raises UnknownName for another word, InputError when a provider cannot be used.

    >>> choose("none")
    (None, 'lexical search only: no embedding model is configured')
    """
    if embedding == "none":
        return None, "lexical search only: no embedding model is configured"
    if embedding == "minilm":
        try:
            return minilm(), ""
        except MissingExtra as error:
            return None, f"lexical search only: {error}"
    if isinstance(embedding, str):
        if ":" not in embedding:
            raise UnknownName("embedding", embedding, ["minilm", "none", "provider:model"])
        from langchain.embeddings import init_embeddings

        try:
            return LangChainEmbedder(init_embeddings(embedding), embedding), ""
        except Exception as error:  # each provider has errors of its own, for a key that is missing among others
            raise InputError(f"embedding {embedding!r}: {' '.join(str(error).split())}") from error
    if hasattr(embedding, "embed_documents"):
        model = getattr(embedding, "model", None) or getattr(embedding, "model_name", "")
        return LangChainEmbedder(embedding, f"{type(embedding).__name__}:{model}"), ""
    if isinstance(embedding, Embedder):
        return embedding, ""
    raise InputError(f"embedding {embedding!r}: pass 'minilm', 'none', 'provider:model' or a LangChain Embeddings")

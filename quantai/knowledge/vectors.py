"""The vector index: Chroma in this process, or a Chroma server that several processes share.

Chroma is given vectors and never a function that makes them: its own would be downloaded, and a server takes the
name of one as a program to run (CVE-2026-45829; the server written in Python is never started here).
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from quantai.core.errors import InputError, StorageError

BATCH = 2000
"""Rows in one call: Chroma takes at most 5461."""

_HNSW = {"hnsw": {"space": "cosine", "ef_construction": 100, "max_neighbors": 16, "ef_search": 100}}


class VectorIndex:
    """Nearest chunks by cosine, in one Chroma collection for each collection of the store.

    `url` (http://host:port) uses a server instead of `folder`. Raises StorageError when neither can be opened.
    """

    def __init__(self, folder: Path, url: str | None = None) -> None:
        import chromadb
        from chromadb.config import Settings
        from chromadb.errors import ChromaError, NotFoundError

        self._errors: tuple[type[Exception], ...] = (ChromaError, ValueError, RuntimeError, OSError)
        self._missing = NotFoundError
        self._open: dict[str, Any] = {}
        settings = Settings(anonymized_telemetry=False)
        try:
            if url is None:
                self._client: Any = chromadb.PersistentClient(str(folder), settings=settings)
            else:
                at = urlsplit(url)
                if at.scheme not in ("http", "https") or not at.hostname:
                    raise InputError(f"knowledge server {url!r}: it must look like http://host:8000")
                ssl = at.scheme == "https"
                self._client = chromadb.HttpClient(
                    at.hostname, at.port or (443 if ssl else 8000), ssl, settings=settings
                )
                self._client.heartbeat()
        except InputError:
            raise
        except self._errors as error:
            raise StorageError(f"vector index {url or folder}: {error}") from error

    def _collection(self, name: str) -> Any:
        if name not in self._open:
            self._open[name] = self._client.get_or_create_collection(
                f"kb-{name}", embedding_function=None, configuration=_HNSW
            )
        return self._open[name]

    def put(self, collection: str, ids: Sequence[int], vectors: Any, documents: Sequence[int]) -> None:
        """Insert or replace the vectors of chunks, one row of `vectors` for each."""
        try:
            for at in range(0, len(ids), BATCH):
                part = slice(at, at + BATCH)
                self._collection(collection).upsert(
                    ids=[str(chunk) for chunk in ids[part]],
                    embeddings=vectors[part],
                    metadatas=[{"document": number} for number in documents[part]],
                )
        except self._errors as error:
            raise StorageError(f"vector index: {error}") from error

    def delete(self, collection: str, ids: Sequence[int]) -> None:
        """Forget chunks; those that are not there are left out."""
        for at in range(0, len(ids), BATCH):
            self._collection(collection).delete(ids=[str(chunk) for chunk in ids[at : at + BATCH]])

    def nearest(self, collection: str, vector: Any, n: int, documents: Sequence[int] | None = None) -> dict[int, float]:
        """Return chunk -> cosine of the `n` nearest, only those of `documents` when given, best first."""
        found = self._collection(collection)
        if not (count := found.count()):
            return {}
        where = None if documents is None else {"document": {"$in": list(documents)}}
        answer = found.query(query_embeddings=[vector], n_results=min(n, count), where=where, include=["distances"])
        return {int(key): 1.0 - far for key, far in zip(answer["ids"][0], answer["distances"][0], strict=True)}

    def ids(self, collection: str) -> set[int]:
        """Return the chunks that are in the index."""
        return {int(key) for key in self._collection(collection).get(include=[])["ids"]}

    def drop(self, collection: str) -> None:
        """Forget a collection."""
        self._open.pop(collection, None)
        with contextlib.suppress(self._missing):
            self._client.delete_collection(f"kb-{collection}")

    def close(self) -> None:
        """Let go of the folder, so that another process may open it."""
        self._open.clear()
        session = getattr(getattr(self._client, "_server", None), "_session", None)
        with contextlib.suppress(AttributeError, *self._errors):
            self._client.close()
        if session is not None:  # chromadb 1.5 leaves the connections to a server open
            session.close()


def to_bytes(vector: Any) -> bytes:
    """Return a vector as the manifest stores it: little-endian float32."""
    return np.asarray(vector, "<f4").tobytes()


def from_bytes(rows: Sequence[bytes]) -> Any:
    """Return stored vectors as an array of one row each."""
    return np.frombuffer(b"".join(rows), "<f4").reshape(len(rows), -1)

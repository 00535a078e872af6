"""The vector index: Chroma in this process, or a Chroma server that several processes share.

Chroma is given vectors and never a function that makes them: its own would be downloaded, and a server takes the
name of one as a program to run (CVE-2026-45829; the server written in Python is never started here).
"""

import contextlib
from collections.abc import Generator, Sequence
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

    `url` (http://host:port) uses a server instead of `folder`, where collections of the store named `store` are told
    from those of others. Raises StorageError when neither can be opened, as does all that it is asked for and fails.
    """

    def __init__(self, folder: Path, url: str | None = None, store: str = "") -> None:
        import chromadb
        from chromadb.api.shared_system_client import SharedSystemClient
        from chromadb.config import Settings
        from chromadb.errors import NotFoundError

        self._missing = NotFoundError
        self._prefix = f"kb-{store}-" if store else "kb-"
        self._open: dict[str, Any] = {}
        settings = Settings(anonymized_telemetry=False)
        with self._plainly(f"vector index {url or folder}"):
            if url is None:
                known: dict[str, Any] = SharedSystemClient._identifier_to_system  # pyright: ignore[reportPrivateUsage]
                try:
                    self._client: Any = chromadb.PersistentClient(str(folder), settings=settings)
                except BaseException:
                    known.pop(str(folder), None)  # it would be handed out again, half made
                    raise
            else:
                at = urlsplit(url)
                if at.scheme not in ("http", "https") or not at.hostname:
                    raise InputError(f"knowledge server {url!r}: it must look like http://host:8000")
                ssl = at.scheme == "https"
                self._client = chromadb.HttpClient(
                    at.hostname, at.port or (443 if ssl else 8000), ssl, settings=settings
                )
                self._client.heartbeat()

    @contextlib.contextmanager
    def _plainly(self, what: str = "vector index") -> Generator[None]:
        try:
            yield
        except InputError:
            raise
        except BaseException as error:
            # over a damaged file its compiled part panics, which is no Exception
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise StorageError(f"{what}: {' '.join(str(error).split())}") from error

    def _collection(self, name: str) -> Any:
        if name not in self._open:
            self._open[name] = self._client.get_or_create_collection(
                f"{self._prefix}{name}", embedding_function=None, configuration=_HNSW
            )
        return self._open[name]

    def put(self, collection: str, ids: Sequence[int], vectors: Any, documents: Sequence[int]) -> None:
        """Insert or replace the vectors of chunks, one row of `vectors` for each."""
        with self._plainly():
            for at in range(0, len(ids), BATCH):
                part = slice(at, at + BATCH)
                self._collection(collection).upsert(
                    ids=[str(chunk) for chunk in ids[part]],
                    embeddings=vectors[part],
                    metadatas=[{"document": number} for number in documents[part]],
                )

    def delete(self, collection: str, ids: Sequence[int]) -> None:
        """Forget chunks; those that are not there are left out."""
        with self._plainly():
            for at in range(0, len(ids), BATCH):
                self._collection(collection).delete(ids=[str(chunk) for chunk in ids[at : at + BATCH]])

    def nearest(self, collection: str, vector: Any, n: int, documents: Sequence[int] | None = None) -> dict[int, float]:
        """Return chunk -> cosine of the `n` nearest, only those of `documents` when given, best first."""
        with self._plainly():
            found = self._collection(collection)
            if not (count := found.count()):
                return {}
            near: dict[int, float] = {}
            for where in _parts(documents):
                answer = found.query(
                    query_embeddings=[vector], n_results=min(n, count), where=where, include=["distances"]
                )
                near |= {int(key): 1.0 - far for key, far in zip(answer["ids"][0], answer["distances"][0], strict=True)}
        return dict(sorted(near.items(), key=lambda pair: -pair[1])[:n])

    def ids(self, collection: str) -> set[int]:
        """Return the chunks that are in the index."""
        with self._plainly():
            return {int(key) for key in self._collection(collection).get(include=[])["ids"]}

    def drop(self, collection: str) -> None:
        """Forget a collection."""
        self._open.pop(collection, None)
        with self._plainly(), contextlib.suppress(self._missing):
            self._client.delete_collection(f"{self._prefix}{collection}")

    def close(self) -> None:
        """Let go of the folder, so that another process may open it."""
        self._open.clear()
        session = getattr(getattr(self._client, "_server", None), "_session", None)
        with contextlib.suppress(Exception):
            self._client.close()
        if session is not None:  # chromadb 1.5 leaves the connections to a server open
            session.close()


def _parts(documents: Sequence[int] | None) -> list[dict[str, Any] | None]:
    """Return the conditions that a search for some documents is made of: SQLite takes some thousand values in one."""
    if documents is None:
        return [None]
    return [{"document": {"$in": list(documents[at : at + BATCH])}} for at in range(0, len(documents), BATCH)]


def to_bytes(vector: Any) -> bytes:
    """Return a vector as the manifest stores it: little-endian float32."""
    return np.asarray(vector, "<f4").tobytes()


def from_bytes(rows: Sequence[bytes]) -> Any:
    """Return stored vectors as an array of one row each."""
    return np.frombuffer(b"".join(rows), "<f4").reshape(len(rows), -1)

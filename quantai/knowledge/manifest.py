"""The manifest: a SQLite file with every document, its chunks and their vectors. The indexes are made from it.

It is the authority. A change is one transaction that is on the disk when it returns; what an index has to do about it
is written down in the same transaction and crossed out when the index has done it, so that a killed process leaves
work to do and never a disagreement.
"""

import json
import sqlite3
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quantai.core.errors import DataError, StorageError
from quantai.knowledge.passages import Chunk, Document

SCHEMA_VERSION = "1"

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT, collection TEXT NOT NULL, source TEXT NOT NULL, title TEXT NOT NULL,
    kind TEXT NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, etag TEXT NOT NULL,
    modified TEXT NOT NULL, tags TEXT NOT NULL, date TEXT NOT NULL, added TEXT NOT NULL, UNIQUE (collection, source));
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT, document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
    collection TEXT NOT NULL, text TEXT NOT NULL, heading TEXT NOT NULL, page INTEGER, start INTEGER NOT NULL,
    end INTEGER NOT NULL, line INTEGER, words TEXT NOT NULL, vector BLOB, indexed INTEGER NOT NULL DEFAULT 0);
CREATE INDEX chunks_of ON chunks (document);
CREATE INDEX chunks_to_index ON chunks (id) WHERE indexed = 0;
CREATE TABLE gone (chunk INTEGER PRIMARY KEY, collection TEXT NOT NULL);
CREATE TRIGGER chunk_goes AFTER DELETE ON chunks WHEN old.indexed = 1
    BEGIN INSERT OR REPLACE INTO gone VALUES (old.id, old.collection); END;
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """A document to be stored with its chunks, the words of each, and their vectors (None: to be embedded later)."""

    collection: str
    source: str
    title: str
    kind: str
    sha256: str
    chunks: Sequence[Chunk]
    words: Sequence[Sequence[str]]
    vectors: Sequence[bytes | None]
    size: int = 0
    mtime_ns: int = 0
    etag: str = ""
    modified: str = ""
    tags: tuple[str, ...] = ()
    date: str = ""


_INSERT = """
INSERT INTO documents (collection, source, title, kind, sha256, size, mtime_ns, etag, modified, tags, date, added)
VALUES (:collection, :source, :title, :kind, :sha256, :size, :mtime_ns, :etag, :modified, :tags, :date, :added)
"""


def _row(entry: Entry) -> dict[str, Any]:
    names = ("collection", "source", "title", "kind", "sha256", "size", "mtime_ns", "etag", "modified", "date")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {name: getattr(entry, name) for name in names} | {"tags": json.dumps(entry.tags), "added": now}


class Manifest:
    """The documents and chunks of one store, in `path`; made when it is not there.

    Raises StorageError when the file cannot be opened or written, DataError when it is something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        with self._errors():
            self._db = sqlite3.connect(path, timeout=60, check_same_thread=False, isolation_level=None)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def _prepare(self) -> None:
        with self._errors():
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            with self.transaction():
                if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
                    for statement in _statements(_SCHEMA):
                        self._db.execute(statement)
                    self.set("schema", SCHEMA_VERSION)
        if (found := self.get("schema")) != SCHEMA_VERSION:
            raise DataError(
                f"{self.path}: written by another version (schema {found}): remove it and add its sources again"
            )

    @contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except sqlite3.ProgrammingError as error:
            raise StorageError(f"{self.path.parent}: this knowledge base was closed ({error})") from error
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error) or "malformed" in str(error):
                raise DataError(
                    f"{self.path} is damaged ({error}): remove the store and add its sources again"
                ) from error
            raise StorageError(f"{self.path}: {error}") from error

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Make all changes within or none; they are on the disk when this ends. Raises StorageError."""
        with self._lock, self._errors():
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")  # may fail, as on a full disk: left open, it would take in all that follows
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return the rows of a query."""
        with self._lock, self._errors():
            return self._db.execute(query, values).fetchall()

    def get(self, key: str, default: str = "") -> str:
        """Return a fact about the store."""
        found = self.rows("SELECT value FROM meta WHERE key = ?", (key,))
        return found[0]["value"] if found else default

    def set(self, key: str, value: str) -> None:
        """Write down a fact about the store."""
        with self.transaction():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    @property
    def generation(self) -> int:
        """How often documents changed: an index made at another generation is out of date."""
        return int(self.get("generation", "0"))

    def _changed(self) -> None:
        self.set("generation", str(self.generation + 1))

    def put(self, entries: Iterable[Entry]) -> None:
        """Store documents, each in the place of the one with its collection and source."""
        chunk = (
            "INSERT INTO chunks (document, collection, text, heading, page, start, end, line, words, vector)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        )
        with self.transaction():
            for entry in entries:
                self._delete("collection = ? AND source = ?", (entry.collection, entry.source))
                number = self._db.execute(_INSERT, _row(entry)).lastrowid
                for each, words, vector in zip(entry.chunks, entry.words, entry.vectors, strict=True):
                    place = (each.heading, each.page, each.start, each.end, each.line)
                    row = (number, entry.collection, each.text, *place, " ".join(words), vector)
                    self._db.execute(chunk, row)
            self._changed()

    def touch(self, document: int, *, mtime_ns: int, size: int, etag: str = "", modified: str = "") -> None:
        """Note that a document was looked at and is as it was."""
        with self.transaction():
            self._db.execute(
                "UPDATE documents SET mtime_ns = ?, size = ?, etag = ?, modified = ? WHERE id = ?",
                (mtime_ns, size, etag, modified, document),
            )

    def retag(self, document: int, tags: Sequence[str], date: str) -> None:
        """Give a document other tags and another date."""
        with self.transaction():
            self._db.execute("UPDATE documents SET tags = ?, date = ? WHERE id = ?", (json.dumps(tags), date, document))

    def delete(self, documents: Iterable[int]) -> int:
        """Remove documents and return how many there were."""
        with self.transaction():
            count = sum(self._delete("id = ?", (number,)) for number in documents)
            if count:
                self._changed()
            return count

    def _delete(self, where: str, values: Sequence[Any]) -> int:
        return self._db.execute(f"DELETE FROM documents WHERE {where}", values).rowcount  # noqa: S608 (our own words)

    def documents(self, collection: str | None = None) -> list[Document]:
        """Return the documents of a collection, or all, in the order they came."""
        found = self.rows(
            "SELECT d.*, (SELECT count(*) FROM chunks c WHERE c.document = d.id) AS pieces FROM documents d"
            " WHERE ?1 IS NULL OR collection = ?1 ORDER BY id",
            (collection,),
        )
        names = ["id", "source", "collection", "title", "kind", "date", "added", "sha256"]
        return [
            Document(**{name: row[name] for name in names}, tags=tuple(json.loads(row["tags"])), chunks=row["pieces"])
            for row in found
        ]

    def vectors_of(self, collection: str, source: str) -> dict[tuple[str, str], bytes]:
        """Return the vectors of a document's chunks by (heading, text): what has not changed need not be embedded."""
        found = self.rows(
            "SELECT c.heading, c.text, c.vector FROM chunks c JOIN documents d ON d.id = c.document"
            " WHERE d.collection = ? AND d.source = ? AND c.vector IS NOT NULL",
            (collection, source),
        )
        return {(row["heading"], row["text"]): row["vector"] for row in found}

    def to_index(self, limit: int) -> list[sqlite3.Row]:
        """Return chunks with a vector that is not in the vector index yet."""
        return self.rows(
            "SELECT id, document, collection, vector FROM chunks WHERE indexed = 0 AND vector IS NOT NULL LIMIT ?",
            (limit,),
        )

    def indexed(self, chunks: Iterable[int]) -> None:
        """Cross out what the vector index has taken."""
        with self.transaction():
            self._db.executemany("UPDATE chunks SET indexed = 1 WHERE id = ?", [(chunk,) for chunk in chunks])

    def lost(self, chunks: Iterable[int]) -> None:
        """Note what the vector index should have and has not."""
        with self.transaction():
            self._db.executemany("UPDATE chunks SET indexed = 0 WHERE id = ?", [(chunk,) for chunk in chunks])

    def dropped(self, chunks: Iterable[int]) -> None:
        """Cross out what the vector index has forgotten."""
        with self.transaction():
            self._db.executemany("DELETE FROM gone WHERE chunk = ?", [(chunk,) for chunk in chunks])

    def reindex(self, *, keep_vectors: bool) -> None:
        """Say that the vector index is empty and, without `keep_vectors`, that every chunk is to be embedded again."""
        with self.transaction():
            self._db.execute("UPDATE chunks SET indexed = 0, vector = iif(?, vector, NULL)", (keep_vectors,))
            self._db.execute("DELETE FROM gone")

    def set_vectors(self, vectors: Iterable[tuple[int, bytes]]) -> None:
        """Store the vectors of chunks."""
        with self.transaction():
            self._db.executemany("UPDATE chunks SET vector = ?2 WHERE id = ?1", vectors)


def _statements(script: str) -> Iterator[str]:
    lines = ""
    for line in script.strip().splitlines():
        lines += f"{line}\n"
        if sqlite3.complete_statement(lines):
            yield lines
            lines = ""

"""One store on disk: the manifest and the indexes that are made from it, kept in step."""

import contextlib
import fcntl
import os
import secrets
import shutil
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quantai.core.errors import DataError, StorageError
from quantai.knowledge.embedding import Embedder
from quantai.knowledge.lexical import Lexical
from quantai.knowledge.manifest import Entry, Manifest
from quantai.knowledge.vectors import BATCH, VectorIndex, from_bytes, to_bytes
from quantai.ops import make_folder, progress

_open: weakref.WeakValueDictionary[tuple[Path, str | None], "Store"] = weakref.WeakValueDictionary()
_opening = threading.Lock()

_ALONE = " alone"
"""What a process that shares its store with nobody writes behind its number."""

_LOOK_S, _LOOKS = 0.05, 40


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The lexical index at one generation, and what stands at each of its places."""

    generation: int
    chunks: Any  # int64 ids of the chunks
    documents: Any  # int64 ids of their documents
    collections: frozenset[str]
    place: dict[int, int]
    lexical: Lexical


class Store:
    """The knowledge in the folder `path`.

    Within a process all users of a folder share one Store; `open_store` gives it. Another process is refused, unless
    both use a Chroma server by its URL: then each write takes the lock for as long as it lasts.
    """

    _settled = False

    def __init__(self, path: Path, embedder: Embedder | None, server: str | None = None) -> None:
        self.path, self.embedder, self.server = path, embedder, server
        self.users = 0
        self._writing = threading.RLock()
        self._taking = threading.Lock()  # apart from writing: a search must not wait until an ingest has embedded
        self._snapshot: Snapshot | None = None
        try:
            make_folder(path)
        except OSError as error:
            why = "there is a file of this name: a store is a folder" if path.is_file() else error.strerror
            raise StorageError(f"knowledge store {path}: {why}") from error
        self._held = self._lock() if server is None else None
        try:
            self.manifest = Manifest(path / "manifest.sqlite")
            self._index: VectorIndex | None = None
            if embedder is not None:
                self._settle(embedder)
        except BaseException:
            self.close()
            raise

    def _lock(self) -> Any:
        """Take the lock of the folder; the system releases it however this process ends."""
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        alone = 0
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                holder = os.pread(fd, 64, 0).decode(errors="replace").strip() or "unknown"
            # with a server a writer waits for the other; an embedded store is held until it is closed. What the file
            # says may be from the holder before: it is believed when it stays
            alone = alone + 1 if holder.endswith(_ALONE) else 0
            if self.server is None or alone == _LOOKS:
                os.close(fd)
                raise StorageError(
                    f"knowledge store {self.path} is in use by process {holder.removesuffix(_ALONE)}: close it there,"
                    " or share it, in every process, through a Chroma server (server='http://host:8000')"
                )
            time.sleep(_LOOK_S)
        os.ftruncate(fd, 0)
        with contextlib.suppress(OSError):
            os.pwrite(fd, f"{os.getpid()}{'' if self.server else _ALONE}".encode(), 0)
        return weakref.finalize(self, os.close, fd)

    @contextlib.contextmanager
    def writing(self) -> Any:
        """Hold the right to change the store."""
        with self._writing:
            held = self._lock() if self.server else None
            try:
                self._agree()
                yield
            finally:
                if held:
                    held()

    def _agree(self) -> None:
        """Refuse to go on with vectors of one model among those of another, which a second process may have opened."""
        if self._settled and self.server and self.embedder is not None:
            now = self.manifest.get("embedding")
            if now != self.embedder.name:
                raise StorageError(f"knowledge store {self.path}: another process has embedded it again with {now}")

    def close(self) -> None:
        """Let go of the files and the lock; calling it again does nothing."""
        index, manifest = getattr(self, "_index", None), getattr(self, "manifest", None)
        self._index = None
        if index is not None:
            if self._settled:
                self.manifest.set("clean", "1")
            index.close()
        if manifest is not None:
            manifest.close()
        if self._held is not None:
            self._held()

    # The vector index ---------------------------------------------------------------------------------------------

    @property
    def index(self) -> VectorIndex | None:
        """The vector index, opened when it is first needed; None without an embedder."""
        self._agree()
        if self._index is None and self.embedder is not None:
            self._index = VectorIndex(self.path / "chroma", self.server, self._name() if self.server else "")
        return self._index

    def distrust(self) -> None:
        """Note that the index failed to answer: it is made again when the store is opened next."""
        if self.server is None:
            self._settled = False
            self.manifest.set("clean", "broken")

    def _make_again(self) -> None:
        """Throw a damaged index away: what it holds is in the manifest as well."""
        self.manifest.reindex(keep_vectors=True)
        if (index := self._index) is not None:
            self._index = None
            index.close()
        shutil.rmtree(self.path / "chroma", ignore_errors=True)

    def _name(self) -> str:
        """Return the name that tells this store from others at a server."""
        if not (name := self.manifest.get("store")):
            self.manifest.set("store", name := secrets.token_hex(8))
        return name

    def _settle(self, embedder: Embedder) -> None:
        """Bring the index in step with the manifest, whatever the last process left behind, and wherever it was."""
        with self.writing():
            if self.server is None and self.manifest.get("clean") == "broken":
                self._make_again()
            try:
                self._step(embedder)
            except StorageError:
                if self.server is not None:
                    raise
                self._make_again()
                self._step(embedder)
            self._settled = True

    def _step(self, embedder: Embedder) -> None:
        known, place = self.manifest.get("embedding"), self.server or "here"
        moved = self.manifest.get("place", "here") != place
        if known != embedder.name or moved:
            if known:
                self._drop_all()
            with self.manifest.transaction():
                self.manifest.reindex(keep_vectors=known == embedder.name)
                self.manifest.set("embedding", embedder.name)
                self.manifest.set("place", place)
                if known != embedder.name:
                    self.manifest.set("vector_bytes", "")
        if self.server or self.manifest.get("clean") != "1":
            self._compare()
        self.sync()

    def _drop_all(self) -> None:
        self._dirty()
        if (index := self.index) is not None:
            for collection in self.collections():
                index.drop(collection)

    def _compare(self) -> None:
        """After an unclean end: put again the chunks that the index lost, forget those that it should not have."""
        if (index := self.index) is None:
            return
        for collection in self.collections():
            there = index.ids(collection)
            query = "SELECT id FROM chunks WHERE collection = ? AND indexed = 1"
            expected = {row["id"] for row in self.manifest.rows(query, (collection,))}
            index.delete(collection, sorted(there - expected))
            self.manifest.lost(expected - there)

    def collections(self) -> list[str]:
        """Return the names of all collections that ever had a document that is still to be found or forgotten."""
        query = "SELECT DISTINCT collection FROM documents UNION SELECT DISTINCT collection FROM gone ORDER BY 1"
        return [row["collection"] for row in self.manifest.rows(query)]

    def sync(self, quiet: bool = True, *, again: bool = False) -> int:
        """Embed what has no vector, index what is new, forget what is gone; returns the number of chunks embedded.

        Raises DataError when the vectors of one model differ in length: `again` says that it was tried twice.
        """
        embedder, index = self.embedder, self.index
        if embedder is None or index is None:
            return 0
        with self._writing:
            count = self._embed_missing(embedder, quiet)
            gone: dict[str, list[int]] = {}
            for row in self.manifest.rows("SELECT chunk, collection FROM gone"):
                gone.setdefault(row["collection"], []).append(row["chunk"])
            if gone:
                self._dirty()
            for collection, chunks in gone.items():
                index.delete(collection, chunks)
                self.manifest.dropped(chunks)
            while rows := self.manifest.to_index(BATCH):
                self._dirty()
                by_collection: dict[str, list[Any]] = {}
                for row in rows:
                    by_collection.setdefault(row["collection"], []).append(row)
                if self._other_dimension({len(row["vector"]) for row in rows}):
                    if again:
                        raise DataError(f"embedding {embedder.name}: its vectors differ in length")
                    return self.sync(quiet, again=True)
                for collection, some in by_collection.items():
                    ids = [row["id"] for row in some]
                    vectors = from_bytes([row["vector"] for row in some])
                    index.put(collection, ids, vectors, [row["document"] for row in some])
                    self.manifest.indexed(ids)
            return count

    def _other_dimension(self, sizes: set[int]) -> bool:
        """True when vectors of so many bytes are not all like those before: then everything is to be embedded again."""
        known = self.manifest.get("vector_bytes")
        if len(sizes) == 1 and known in ("", str(*sizes)):
            self.manifest.set("vector_bytes", str(*sizes))
            return False
        self._drop_all()
        self.manifest.reindex(keep_vectors=False)
        self.manifest.set("vector_bytes", "")
        return True

    def _dirty(self) -> None:
        if self.manifest.get("clean") != "0":
            self.manifest.set("clean", "0")

    def _embed_missing(self, embedder: Embedder, quiet: bool) -> int:
        query = (
            "SELECT c.id, c.text, c.heading, d.title FROM chunks c JOIN documents d ON d.id = c.document"
            " WHERE c.vector IS NULL"
        )
        missing = self.manifest.rows(query)
        if not missing:
            return 0
        with progress("embedding", len(missing), unit="chunks", quiet=quiet) as advance:
            for at in range(0, len(missing), 256):
                part = missing[at : at + 256]
                texts = [indexed_text(row["title"], row["heading"], row["text"]) for row in part]
                vectors = embedder.embed(texts)
                self.manifest.set_vectors((row["id"], to_bytes(each)) for row, each in zip(part, vectors, strict=True))
                advance(len(part))
        return len(missing)

    # Changes ------------------------------------------------------------------------------------------------------

    def put(self, entries: list[Entry]) -> None:
        """Store documents; they are found from now on, and are there after any crash."""
        with self.writing():
            self._dirty()
            self.manifest.put(entries)
            self.sync()

    def delete(self, documents: list[int]) -> int:
        """Remove documents and return how many there were."""
        with self.writing():
            self._dirty()
            count = self.manifest.delete(documents)
            self.sync()
            return count

    # The lexical index --------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return the lexical index as of now; it is made again when documents have changed."""
        current, generation = self._snapshot, self.manifest.generation
        if current is None or current.generation != generation:
            with self._taking:
                if self._snapshot is None or self._snapshot.generation != generation:
                    self._snapshot = self._take(generation)
                current = self._snapshot
        return current

    def _take(self, generation: int) -> Snapshot:
        rows = self.manifest.rows("SELECT id, document, collection, words FROM chunks ORDER BY id")
        chunks = np.fromiter((row["id"] for row in rows), np.int64, len(rows))
        return Snapshot(
            generation,
            chunks,
            np.fromiter((row["document"] for row in rows), np.int64, len(rows)),
            frozenset(row["collection"] for row in rows),
            dict(zip(chunks.tolist(), range(len(rows)), strict=True)),
            Lexical(row["words"].split() for row in rows),
        )


def indexed_text(title: str, heading: str, text: str) -> str:
    r"""Return what is embedded and indexed of a chunk: its text, under the title and headings it stands under.

    >>> indexed_text("Guide", "Guide > Setup", "Run make.")
    'Guide > Setup\nRun make.'
    """
    names = [heading] if heading.startswith(title) else [name for name in (title, heading) if name]
    return "\n".join(name for name in (*names, text) if name)


def open_store(path: Path, embedder: Embedder | None, server: str | None) -> Store:
    """Return the store in `path`: the one that is open in this process, or a new one. Pair it with `close_store`."""
    key = (path.resolve(), server)
    with _opening:
        store = _open.get(key)
        if store is None or (store.embedder and store.embedder.name) != (embedder and embedder.name):
            if store is not None and store.users:
                raise StorageError(f"knowledge store {path} is open with another embedding: close that one first")
            store = _open[key] = Store(key[0], embedder, server)
        store.users += 1
        return store


def close_store(store: Store) -> None:
    """Give back a store that `open_store` gave; the last one closes it."""
    with _opening:
        store.users -= 1
        if store.users == 0:
            _open.pop((store.path, store.server), None)
            store.close()

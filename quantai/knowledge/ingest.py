"""Ingest: paths, URLs and objects into a store, several at a time, reading only what has changed.

Documents are stored in small groups, each durable before the next. Stop it anywhere and run it again: what is stored
is recognised by its time and size or by the hash of its bytes and costs nothing.
"""

import asyncio
import hashlib
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from quantai.core.errors import DataError, InputError, QuantaiError
from quantai.knowledge.manifest import Entry
from quantai.knowledge.passages import Added, Reading, check_date, path_name, whole
from quantai.knowledge.readers import KINDS, is_known, read, read_object
from quantai.knowledge.sitemaps import Sitemaps
from quantai.knowledge.store import Store, indexed_text
from quantai.knowledge.web import Fetcher, Page, is_url
from quantai.knowledge.words import words

MAX_FILE = 256 << 20
"""Bytes of the largest file that is read."""

GROUP_CHUNKS = 64
"""Chunks that are stored, embedded and acknowledged together."""

SKIPPED = {"node_modules", "__pycache__", "site-packages", "venv", "build", "dist"}
"""Folders that are never walked into, besides hidden ones."""

_SETTLED_NS = 2_000_000_000
"""A file this much older than when it was stored cannot have changed without a new time."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What goes into a store: a file, a page or an object, under the name it is known by."""

    source: str
    kind: str
    thing: Any = None


@dataclass(frozen=True, slots=True)
class Labels:
    """What documents are given when they come in. `date` is ISO 8601; files without one have the day they changed."""

    collection: str = "default"
    tags: tuple[str, ...] = ()
    date: str = ""

    def __post_init__(self) -> None:
        check_date(self.date)


def run[T](work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also where a loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    answer: list[T] = []
    failed: list[BaseException] = []

    def apart() -> None:
        try:
            answer.append(asyncio.run(work))
        except BaseException as error:  # noqa: BLE001 (handed to the caller)
            failed.append(error)

    thread = threading.Thread(target=apart, name="knowledge-ingest")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return answer[0]


class Ingest:
    """One `add`: what is wanted, what is there already, and what came of it."""

    def __init__(self, store: Store, fetcher: Fetcher, labels: Labels, jobs: int = 4) -> None:
        self.store, self.fetcher, self.labels, self.jobs = store, fetcher, labels, jobs
        self.done = Added()
        rows = store.manifest.rows("SELECT * FROM documents WHERE collection = ?", (labels.collection,))
        self._known: dict[str, Any] = {row["source"]: row for row in rows}
        self._sitemaps = Sitemaps(store.manifest, labels.collection)

    async def add(self, sources: Sequence[Any], advance: Callable[[float], None]) -> Added:
        """Store what `sources` name and return what was done; a source that fails is named in `failed`."""
        start = time.perf_counter()
        wanted = await self._wanted(sources)
        changed: list[Wanted] = []
        for each in wanted.values():
            if each.kind == "file" and self._untouched(each):
                self._stays(each.source)
                advance(1)
            else:
                changed.append(each)
        try:
            await self._work(changed, advance)
        except BaseExceptionGroup as errors:
            first: BaseException = errors
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            raise first from errors
        self.done.notes += self.fetcher.notes
        self.done.seconds = time.perf_counter() - start
        return self.done

    async def _work(self, changed: Sequence[Wanted], advance: Callable[[float], None]) -> None:
        queue: asyncio.Queue[Entry | None] = asyncio.Queue(maxsize=4 * self.jobs)
        left = iter(changed)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._store_all(queue, advance))
            async with asyncio.TaskGroup() as readers:
                for _ in range(self.jobs):
                    readers.create_task(self._read_all(left, queue, advance))
            await queue.put(None)

    # What is wanted -----------------------------------------------------------------------------------------------

    async def _wanted(self, sources: Sequence[Any]) -> dict[str, Wanted]:
        """Return what there is to store, by its name; a source that is nothing raises where it is the only one."""
        wanted: dict[str, Wanted] = {}
        for source in sources:
            try:
                async for each in self._expand(source):
                    name = each.source.encode("utf-8", "backslashreplace").decode()
                    same = wanted.setdefault(name, each)
                    if name != each.source:
                        self.done.failed[name] = f"{name}: its name is not in UTF-8: rename it"
                        del wanted[name]
                    elif each.kind == "object" and same.thing is not each.thing:
                        self.done.failed[name] = f"{name}: two different things have this name: the first is taken"
            except QuantaiError as error:
                if len(sources) == 1 and isinstance(error, InputError) and not is_url(str(source)):
                    raise
                self.done.failed[str(source)] = str(error)
        return wanted

    async def _expand(self, source: Any) -> AsyncIterator[Wanted]:
        if isinstance(source, str) and is_url(source):
            pages = [url async for url in self.fetcher.pages_of(source)]
            self._forget(self._sitemaps.no_longer(source, pages, whole=source not in self.fetcher.cut))
            for url in pages:
                yield Wanted(url, "page")
        elif isinstance(source, str | os.PathLike):
            for each in self._files(Path(path_name(source))):
                yield each
        else:
            yield Wanted(read_object(source)[0], "object", source)

    def _files(self, path: Path) -> Iterable[Wanted]:
        if path.is_dir():
            found = sorted(_walk(path, self.done.failed))
            inside = {str(each) for each in found}
            closed = tuple(f"{folder}{os.sep}" for folder in self.done.failed)  # what is in there may still be
            below = [source for source in self._below(path) if source not in inside]
            self._forget(source for source in below if not source.startswith(closed))
            for each in found:
                yield Wanted(str(each), "file", each)
        elif path.is_file():
            if not is_known(path.name):
                known = " ".join(suffixes for _, suffixes, _ in KINDS.values())
                raise InputError(f"{path}: cannot read files of this kind; known are {known}")
            yield Wanted(str(path), "file", path)
        elif gone := [str(path)] if str(path) in self._known else self._below(path):
            self._forget(gone)
        else:
            raise InputError(f"{path}: no such file or folder; a page needs https:// before its name")

    def _below(self, folder: Path) -> list[str]:
        return [source for source in self._known if source.startswith(f"{folder}{os.sep}")]

    def _forget(self, sources: Iterable[str]) -> None:
        if ids := [self._known[source]["id"] for source in sources if source in self._known]:
            self.done.removed += self.store.delete(ids)

    def _untouched(self, wanted: Wanted) -> bool:
        known = self._known.get(wanted.source)
        if known is None:
            return False
        try:
            now = wanted.thing.stat()
        except OSError:
            return False
        stored_ns = int(datetime.fromisoformat(known["added"]).timestamp()) * 1_000_000_000
        same = (now.st_mtime_ns, now.st_size) == (known["mtime_ns"], known["size"])
        return same and now.st_mtime_ns < stored_ns - _SETTLED_NS

    # Reading ------------------------------------------------------------------------------------------------------

    async def _read_all(self, left: Any, queue: asyncio.Queue[Entry | None], advance: Callable[[float], None]) -> None:
        for wanted in left:
            try:
                entry = await self._read(wanted)
            except Exception as error:  # noqa: BLE001 (what strangers write must not end the work on all the rest)
                ours = isinstance(error, QuantaiError | OSError)
                self.done.failed[wanted.source] = str(error) if ours else f"{wanted.source}: {error!r}"
                entry = None
            if entry is None:
                advance(1)
            else:
                await queue.put(entry)

    async def _read(self, wanted: Wanted) -> Entry | None:
        if wanted.kind == "page":
            known = self._known.get(wanted.source)
            page = await self.fetcher.get(
                wanted.source, known["etag"] if known else "", known["modified"] if known else ""
            )
            return await asyncio.to_thread(self._page, wanted.source, page)
        if wanted.kind == "file":
            return await asyncio.to_thread(self._file, wanted)
        _, reading = read_object(wanted.thing)
        text = "\n".join(chunk.text for chunk in reading.chunks)
        return self._entry(wanted.source, reading, hashlib.sha256(text.encode()).hexdigest(), {})

    def _file(self, wanted: Wanted) -> Entry | None:
        path: Path = wanted.thing
        at = path.stat()
        if at.st_size > MAX_FILE:
            raise DataError(f"{path}: {at.st_size >> 20} MB, more than the {MAX_FILE >> 20} MB allowed")
        data = path.read_bytes()
        marks = {"size": at.st_size, "mtime_ns": at.st_mtime_ns}
        sha256 = hashlib.sha256(data).hexdigest()
        if self._same(wanted.source, sha256, marks):
            return None
        day = datetime.fromtimestamp(at.st_mtime).astimezone().date().isoformat()
        return self._entry(wanted.source, read(data, wanted.source), sha256, marks, day)

    def _page(self, source: str, page: Page | None) -> Entry | None:
        if page is None:  # 304: what is stored is what is there
            self._stays(source)
            return None
        if page.gone:
            if source not in self._known:
                raise DataError(f"{source}: the server says that there is no such page")
            self._forget([source])
            return None
        sha256 = hashlib.sha256(page.data).hexdigest()
        marks = {"size": len(page.data), "etag": page.etag, "modified": page.modified}
        if self._same(source, sha256, marks):
            return None
        reading = read(page.data, page.url, page.content_type)
        return self._entry(source, reading, sha256, marks, page.date)

    def _same(self, source: str, sha256: str, marks: dict[str, Any]) -> bool:
        """True for bytes that are stored; what is known about the file or page is brought up to date."""
        known = self._known.get(source)
        if known is None or known["sha256"] != sha256:
            return False
        seen = {"mtime_ns": known["mtime_ns"], "size": known["size"]} | marks
        self.store.manifest.touch(known["id"], **seen)
        self._stays(source)
        return True

    def _stays(self, source: str) -> None:
        self.done.unchanged += 1
        known = self._known[source]
        if self.labels.tags or self.labels.date:
            date = self.labels.date or known["date"]
            if (json.dumps(self.labels.tags), date) != (known["tags"], known["date"]):
                self.store.manifest.retag(known["id"], self.labels.tags or json.loads(known["tags"]), date)

    def _entry(self, source: str, reading: Reading, sha256: str, marks: dict[str, Any], date: str = "") -> Entry | None:
        if source in self._known and self._known[source]["sha256"] == sha256:
            self._stays(source)
            return None
        if not reading.chunks:
            self._forget([source])  # nor may what it held before answer any more
            raise DataError(f"{source}: there is no text in it")
        reading, labels = _storable(reading), self.labels
        known = self._known.get(source)
        reusable = known is not None and known["title"] == reading.title  # the title is part of what is embedded
        old = self.store.manifest.vectors_of(labels.collection, source) if reusable else {}
        return Entry(
            labels.collection,
            source,
            reading.title,
            reading.kind,
            sha256,
            reading.chunks,
            [words(indexed_text(reading.title, chunk.heading, chunk.text)) for chunk in reading.chunks],
            [old.get((chunk.heading, chunk.text)) for chunk in reading.chunks],
            tags=labels.tags,
            date=labels.date or date,
            **marks,
        )

    # Storing ------------------------------------------------------------------------------------------------------

    async def _store_all(self, queue: asyncio.Queue[Entry | None], advance: Callable[[float], None]) -> None:
        waiting: list[Entry] = []
        while (entry := await queue.get()) is not None:
            waiting.append(entry)
            if sum(len(each.chunks) for each in waiting) >= GROUP_CHUNKS or (
                queue.empty() and len(waiting) >= self.jobs
            ):
                await self._put(waiting, advance)
                waiting = []
        if waiting:
            await self._put(waiting, advance)

    async def _put(self, entries: list[Entry], advance: Callable[[float], None]) -> None:
        await asyncio.to_thread(self.store.put, entries)
        for entry in entries:
            if entry.source in self._known:
                self.done.changed += 1
            else:
                self.done.added += 1
            self.done.chunks += len(entry.chunks)
            self.done.embedded += sum(vector is None for vector in entry.vectors) if self.store.embedder else 0
            advance(1)


def _storable(reading: Reading) -> Reading:
    chunks = tuple(replace(each, text=whole(each.text), heading=whole(each.heading)) for each in reading.chunks)
    return Reading(whole(reading.title), reading.kind, chunks)


def _walk(folder: Path, failed: dict[str, str]) -> Iterable[Path]:
    """Yield the readable files under `folder`, following no links; a folder that cannot be listed goes to `failed`."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name in SKIPPED:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from _walk(Path(entry.path), failed)
                elif entry.is_file(follow_symlinks=False) and is_known(entry.name):
                    yield Path(entry.path)
    except OSError as error:
        failed[str(folder)] = f"{folder}: {error.strerror}"

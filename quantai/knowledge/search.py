"""Search: words and vectors find candidates, one ranking is made of them, and what fits too badly is said to."""

import json
import math
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from quantai.core.errors import StorageError, UnknownName
from quantai.knowledge.embedding import embed_query
from quantai.knowledge.fusion import POOL, fuse, fuse_ranks
from quantai.knowledge.model import GRAPH
from quantai.knowledge.passages import Hits, Passage, check_date
from quantai.knowledge.store import Snapshot, Store
from quantai.knowledge.words import words

STAGES = ("fused", "rrf", "bm25", "dense")
"""How to rank: by the sum of standardised scores (the default), of reciprocal ranks, or by one index alone."""

FOUND = 0.5
"""The `match` from which on a passage may answer."""

_COSINE, _COVERAGE, _OFFSET = 20.7, 9.5, -11.4
_COVERAGE_ALONE, _OFFSET_ALONE = 14.7, -6.2
"""Logistic fit of "the collection is about this", on three sets and the questions of the others: docs/knowledge.md."""

Reranker = Callable[[str, Sequence[Passage]], Sequence[float]]
"""Takes a question and passages and returns a score for each, higher is better."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which documents are searched: None or empty means any. Dates are ISO 8601 and inclusive."""

    collection: str | None = None
    source: str | None = None
    tags: tuple[str, ...] = ()
    since: str = ""
    until: str = ""

    def __post_init__(self) -> None:
        check_date(self.since)
        check_date(self.until)

    @property
    def narrow(self) -> bool:
        """True when it leaves out documents within a collection."""
        return bool(self.source or self.tags or self.since or self.until)


class Search:
    """Searches one store. `note` is what every answer says it had to do without."""

    def __init__(self, store: Store, note: str = "", reranker: Reranker | None = None) -> None:
        self._store, self._note, self._reranker = store, note, reranker

    def __call__(self, query: str, k: int = 10, keep: Filter = Filter(), stage: str = "fused") -> Hits:
        """Return the `k` best passages for `query`; raises UnknownName for another collection or stage."""
        start = time.perf_counter()
        if stage not in STAGES:
            raise UnknownName("stage", stage, STAGES)
        snapshot = self._store.snapshot()
        if keep.collection is not None and keep.collection not in snapshot.collections:
            raise UnknownName("collection", keep.collection, snapshot.collections)
        asked = words(query)
        allowed = self._allowed(keep)
        lexical = {} if stage == "dense" else self._lexical(snapshot, asked, keep, allowed)
        notes = [self._note] if self._note else []
        try:
            dense = {} if stage == "bm25" else self._dense(snapshot, query, keep, allowed)
        except Exception as error:
            if stage == "dense":
                raise
            dense = {}  # the model or the vectors are away: the words are here
            if isinstance(error, StorageError):
                self._store.distrust()
            notes.append(f"lexical search only: {' '.join(f'{type(error).__name__}: {error}'.split())[:200]}")
        ranked = fuse_ranks(lexical, dense) if stage == "rrf" else fuse(lexical, dense)
        pool = max(k, 50) if self._reranker else k
        passages = self._passages(snapshot, list(ranked.items())[:pool], asked, dense)
        if self._reranker and passages:
            scored = zip(self._reranker(query, passages), passages, strict=True)
            passages = sorted((replace(p, score=float(s)) for s, p in scored), key=lambda p: -p.score)
        passages = passages[:k]
        found = any(passage.match >= FOUND for passage in passages)
        return Hits(query, tuple(passages), found, tuple(notes), (time.perf_counter() - start) * 1e3)

    def _allowed(self, keep: Filter) -> Any:
        """The documents that a narrow filter leaves, as an array; None when it leaves all."""
        if not keep.narrow:
            return None
        query = (
            "SELECT id FROM documents WHERE (?1 IS NULL OR collection = ?1) AND (?2 = '' OR source = ?2 OR"
            " (source >= ?2 || '/' AND source < ?2 || '0')) AND (?3 = '' OR date >= ?3)"
            " AND (?4 = '' OR (date != '' AND substr(date, 1, length(?4)) <= ?4))"
            " AND NOT EXISTS (SELECT 1 FROM json_each(?5) w WHERE w.value NOT IN (SELECT value FROM json_each(tags)))"
        )
        values = (keep.collection, keep.source or "", keep.since, keep.until, json.dumps(keep.tags))
        rows = self._store.manifest.rows(query, values)
        return np.array([row["id"] for row in rows], np.int64)

    def _lexical(self, snapshot: Snapshot, asked: list[str], keep: Filter, allowed: Any) -> dict[int, float]:
        scores = snapshot.lexical.scores(asked)
        if keep.collection is not None and len(snapshot.collections) > 1 and allowed is None:
            query = "SELECT id FROM documents WHERE collection = ?"
            allowed = np.array([r["id"] for r in self._store.manifest.rows(query, (keep.collection,))], np.int64)
        if allowed is not None:
            scores = np.where(np.isin(snapshot.documents, allowed), scores, 0)
        n = min(POOL, len(scores))
        best = np.argpartition(-scores, n - 1)[:n] if n else []
        pairs = [(int(snapshot.chunks[at]), float(scores[at])) for at in best if scores[at] > 0]
        return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))

    def _dense(self, snapshot: Snapshot, query: str, keep: Filter, allowed: Any) -> dict[int, float]:
        embedder, index = self._store.embedder, self._store.index
        if embedder is None or index is None or not len(snapshot.chunks) or (allowed is not None and not len(allowed)):
            return {}
        vector = embed_query(embedder, query)
        documents = None if allowed is None else allowed.tolist()
        found: dict[int, float] = {}
        for collection in [keep.collection] if keep.collection else snapshot.collections:
            found |= index.nearest(collection, vector, POOL, documents)
        known = ((chunk, cosine) for chunk, cosine in found.items() if chunk in snapshot.place)
        return dict(sorted(known, key=lambda pair: (-pair[1], pair[0]))[:POOL])

    def _passages(
        self, snapshot: Snapshot, ranked: list[tuple[int, float]], asked: list[str], dense: dict[int, float]
    ) -> list[Passage]:
        query = (
            "SELECT c.*, d.source, d.title, d.kind FROM chunks c JOIN documents d ON d.id = c.document"
            " WHERE c.id IN (SELECT value FROM json_each(?))"
        )
        wanted = json.dumps([chunk for chunk, _ in ranked])
        rows = {row["id"]: row for row in self._store.manifest.rows(query, (wanted,))}
        rarity = {word: snapshot.lexical.rarity(word) for word in set(asked)}
        # cosines of another model than the one that was calibrated mean something else
        calibrated = self._store.embedder is not None and self._store.embedder.name == GRAPH
        passages: list[Passage] = []
        for chunk, score in ranked:
            if chunk not in rows:  # removed since the snapshot
                continue
            row = rows[chunk]
            passages.append(
                Passage(
                    score=round(score, 6),
                    match=_match(rarity, row["words"].split(), dense.get(chunk) if calibrated else None),
                    chunk=chunk,
                    highlights=tuple(spans(row["text"], set(asked))),
                    **{name: row[name] for name in _COLUMNS},
                )
            )
        return passages


_COLUMNS = ["text", "source", "title", "heading", "page", "line", "start", "end", "collection", "kind", "document"]
_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|\w+")


def spans(text: str, asked: set[str]) -> Iterable[tuple[int, int]]:
    """Yield the (start, end) of each word of `text` whose stem is one of `asked`.

    >>> list(spans("Revenues rose.", set(words("revenue"))))
    [(0, 8)]
    """
    for found in _TOKEN.finditer(text):
        if not asked.isdisjoint(_stems(found[0])):
            yield found.span()


@lru_cache(1 << 16)
def _stems(word: str) -> tuple[str, ...]:
    return tuple(words(word))


def _match(rarity: dict[str, float], present: list[str], cosine: float | None) -> float:
    total = sum(rarity.values())
    there = rarity.keys() & set(present)
    covered = sum(rarity[word] for word in there) / total if total else 0.0
    at = _COVERAGE_ALONE * covered + _OFFSET_ALONE
    if cosine is not None:
        at = _COSINE * cosine + _COVERAGE * covered + _OFFSET
    return round(1 / (1 + math.exp(-at)), 4)

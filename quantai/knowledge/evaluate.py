"""How good the retrieval is: any set in BEIR's layout, each stage, with the usual measures and the time it takes."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from quantai.core.errors import DataError
from quantai.knowledge.chunks import split
from quantai.knowledge.manifest import Entry
from quantai.knowledge.passages import Hits, whole
from quantai.knowledge.search import STAGES, Filter, Search
from quantai.knowledge.store import Store, indexed_text
from quantai.knowledge.words import words
from quantai.ops import progress

COLLECTION = "evaluation"

DEPTH, DEEP = 20, 200
"""Passages asked for, and where they are of fewer than ten documents, which each have several."""


def evaluate(
    store: Store, search: Search, folder: Path, stages: Iterable[str] = STAGES, quiet: bool = True
) -> dict[str, Any]:
    """Index the corpus of a BEIR folder where it is not indexed yet, ask all its queries and return the measures.

    The folder holds `corpus.jsonl`, `queries.jsonl` and `qrels/*.tsv`. `ndcg@10`, `hit@5`, `mrr@10` (0 to 1),
    `p50_ms` and `p99_ms` of a search are those of the default; `stages` holds them for each. `chunks_per_s` is what
    indexing took, None when nothing was to be indexed; `missing` counts relevant documents that the corpus does not
    hold, which nobody can find. Raises DataError when a file is missing or damaged.
    """
    corpus, queries, relevant = read_set(folder)
    rate = index_corpus(store, corpus, quiet)
    asked = [query for query in queries if query in relevant]
    if not asked:
        raise DataError(f"{folder}: no query of queries.jsonl has relevant documents in qrels/*.tsv")
    named = {each for query in asked for each in relevant[query]}
    if not named & set(corpus):
        raise DataError(f"{folder}: no relevant document is in corpus.jsonl: {min(named)!r} is not")
    stages = [stage for stage in stages if stage not in ("dense", "rrf") or store.embedder is not None]
    found: dict[str, dict[str, float]] = {}
    with progress("asking", len(asked) * len(stages), unit="queries", quiet=quiet) as advance:
        for stage in stages:
            found[stage] = _measure(
                lambda text, stage=stage: _ask(search, text, stage), asked, queries, relevant, advance
            )
    default = found[stages[0]]
    chunks = store.manifest.rows("SELECT count(*) AS n FROM chunks WHERE collection = ?", (COLLECTION,))[0]["n"]
    sizes = {"documents": len(corpus), "chunks": chunks, "queries": len(asked), "missing": len(named - set(corpus))}
    return {**default, "chunks_per_s": rate, **sizes, "stages": found}


def read_set(folder: Path) -> tuple[dict[str, tuple[str, str]], dict[str, str], dict[str, dict[str, int]]]:
    """Return documents (title, text), queries, and the relevant documents of each query with their grade."""
    corpus = {
        str(row["_id"]): (whole(str(row.get("title") or "")), whole(str(row["text"])))
        for row in _lines(folder / "corpus.jsonl")
    }
    queries = {str(row["_id"]): whole(str(row["text"])) for row in _lines(folder / "queries.jsonl")}
    relevant: dict[str, dict[str, int]] = {}
    files = sorted((folder / "qrels").glob("*.tsv"))
    # a set with splits is judged on its test split, as its published figures are
    for file in [path for path in files if path.stem == "test"] or files:
        for line in file.read_text("utf-8").split("\n"):
            parts = line.strip().split("\t")
            if len(parts) == 3 and parts[2].lstrip("-").isdigit() and int(parts[2]) > 0:
                relevant.setdefault(parts[0], {})[parts[1]] = int(parts[2])
    if not relevant:
        raise DataError(f"{folder / 'qrels'}: no relevant documents in *.tsv (query-id, corpus-id, score)")
    return corpus, queries, relevant


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}: a set has corpus.jsonl, queries.jsonl and qrels/*.tsv") from error
    for number, line in enumerate(text.split("\n"), 1):  # other marks that end lines may stand in a text
        if line.strip():
            try:
                row = json.loads(line)
                row = {**row, "_id": row["_id"], "text": row["text"]}
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise DataError(f"{path}, line {number}: not an object with _id and text") from error
            yield row


def index_corpus(store: Store, corpus: dict[str, tuple[str, str]], quiet: bool) -> float | None:
    """Store the documents that are not there and remove others; returns chunks/s, None when nothing was new."""
    there = {document.source: document for document in store.manifest.documents(COLLECTION)}
    store.delete([document.id for source, document in there.items() if source not in corpus])
    entries: list[Entry] = []
    for source, (title, text) in corpus.items():
        stamp = f"{title}\0{text}"
        if source not in there or there[source].sha256 != stamp_of(stamp):
            chunks = split(text) or split(title)
            terms = [words(indexed_text(title, chunk.heading, chunk.text)) for chunk in chunks]
            entries.append(
                Entry(COLLECTION, source, title, "text", stamp_of(stamp), chunks, terms, [None] * len(chunks))
            )
    count = sum(len(entry.chunks) for entry in entries)
    if not entries:
        return None
    start = time.perf_counter()
    with progress("indexing", len(entries), unit="documents", quiet=quiet) as advance:
        for at in range(0, len(entries), 200):
            store.put(entries[at : at + 200])
            advance(len(entries[at : at + 200]))
    return count / (time.perf_counter() - start)


def stamp_of(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _ask(search: Search, text: str, stage: str) -> Hits:
    hits = search(text, DEPTH, Filter(COLLECTION), stage)
    few = len({passage.source for passage in hits}) < 10 <= len(hits)
    return search(text, DEEP, Filter(COLLECTION), stage) if few else hits


def _measure(
    ask: Callable[[str], Hits],
    asked: list[str],
    queries: dict[str, str],
    relevant: dict[str, dict[str, int]],
    advance: Callable[[float], None],
) -> dict[str, float]:
    ask(queries[asked[0]])  # the first one loads and compiles
    gains, hits, ranks, times = [], [], [], []
    for query in asked:
        start = time.perf_counter()
        passages = ask(queries[query])
        times.append((time.perf_counter() - start) * 1e3)
        ranked = list(dict.fromkeys(passage.source for passage in passages))[:10]
        grades = relevant[query]
        gains.append(ndcg(ranked, grades))
        hits.append(any(source in grades for source in ranked[:5]))
        ranks.append(next((1 / rank for rank, source in enumerate(ranked, 1) if source in grades), 0.0))
        advance(1)
    return {
        "ndcg@10": round(float(np.mean(gains)), 4),
        "hit@5": round(float(np.mean(hits)), 4),
        "mrr@10": round(float(np.mean(ranks)), 4),
        "p50_ms": round(float(np.percentile(times, 50)), 2),
        "p99_ms": round(float(np.percentile(times, 99)), 2),
    }


def ndcg(ranked: list[str], grades: dict[str, int], depth: int = 10) -> float:
    """Return the normalised discounted cumulative gain of a ranking, 1 for the best possible one.

    >>> ndcg(["b", "a"], {"a": 1})
    0.6309297535714575

    Source: Järvelin, Kekäläinen 2002, doi:10.1145/582415.582418, with the gain 2^grade - 1.
    """
    gain = sum((2 ** grades.get(source, 0) - 1) / math.log2(at + 2) for at, source in enumerate(ranked[:depth]))
    best = sorted(grades.values(), reverse=True)[:depth]
    return gain / sum((2**grade - 1) / math.log2(at + 2) for at, grade in enumerate(best))

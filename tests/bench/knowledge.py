"""The knowledge base: how good, how fast.

ndcg@10, hit@5, mrr@10   on TAT-QA in ../shared/data (or --data DIR, any set in BEIR's layout); null where there is none
p50_ms, p99_ms           of a search among n passages, warm, one after the other
chunks_per_s             from files to searchable: read, embedded, stored; chunks_per_s_core is that for each core
unchanged_1000_s         `add` of a folder of 1 000 files that have not changed
rebuild_s                the lexical index of n passages, after a change
"""

import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from quantai.knowledge import Knowledge
from quantai.knowledge.chunks import split
from quantai.knowledge.embedding import minilm
from quantai.knowledge.manifest import Entry
from quantai.knowledge.store import close_store, open_store
from quantai.knowledge.vectors import to_bytes
from quantai.knowledge.words import words
from tests.knowledge_setting import TOPICS, write_notes

N = 10_000
ARGS = {"data": "", "queries": 500}
TATQA = Path(__file__).resolve().parents[3] / "shared" / "data" / "knowledge" / "tatqa"


def run(seed: int, n: int, data: str = "", queries: int = 500) -> dict[str, Any]:
    """Measure the figures named above; `n` is the number of passages that are searched."""
    found: dict[str, Any] = {"ndcg@10": None, "hit@5": None, "mrr@10": None}
    folder = Path(data) if data else TATQA
    with tempfile.TemporaryDirectory() as scratch:
        found |= _search(Path(scratch) / "many", random.Random(seed), n, queries)
        found |= _ingest(Path(scratch) / "ingest", random.Random(seed))
        if folder.is_dir():
            with Knowledge(Path(scratch) / "set") as kb:
                measured = kb.evaluate(folder, quiet=True)
            stages = {stage: figures["ndcg@10"] for stage, figures in measured["stages"].items()}
            found |= {name: measured[name] for name in ("ndcg@10", "hit@5", "mrr@10")} | {"stages": stages}
    return found


def _vocabulary(random_: random.Random, size: int = 8000) -> tuple[list[str], list[float]]:
    syllables = [a + b for a in "bcdfgklmnprstv" for b in "aeiou"]
    made = ["".join(random_.choices(syllables, k=random_.randint(2, 4))) for _ in range(size)]
    return made, [1 / (rank + 10) for rank in range(size)]  # as rare as words are: Zipf's law


def _search(folder: Path, random_: random.Random, n: int, queries: int) -> dict[str, float]:
    vocabulary, weights = _vocabulary(random_)
    rng = np.random.default_rng(random_.randrange(1 << 30))
    store = open_store(folder, minilm(), None)
    try:
        for start in range(0, n, 500):
            entries: list[Entry] = []
            for number in range(start, min(start + 500, n)):
                chunks = split(" ".join(random_.choices(vocabulary, weights, k=120)))[:1]
                vector = rng.normal(size=384).astype(np.float32)
                vectors = [to_bytes(vector / np.linalg.norm(vector))]
                entries.append(Entry("default", f"p{number}", "", "text", "", chunks, [words(chunks[0].text)], vectors))
            store.put(entries)
    finally:
        close_store(store)
    with Knowledge(folder) as kb:
        kb.search("warm up")
        asked = [" ".join(random_.choices(vocabulary, weights, k=8)) for _ in range(queries)]
        for query in asked[:20]:
            kb.search(query)
        times = [_timed(lambda query=query: kb.search(query)) * 1e3 for query in asked]
        kb.add({"a": "change"}, quiet=True)
        rebuild_s = _timed(lambda: kb.search("change"))
    p50, p99 = np.percentile(times, [50, 99])
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2), "rebuild_s": round(rebuild_s, 3)}


def _ingest(folder: Path, random_: random.Random) -> dict[str, float]:
    files = folder / "files"
    files.mkdir(parents=True)
    sentences = list(TOPICS.values())
    for number in range(40):
        text = "\n\n".join(f"## Part {part}\n\n" + ". ".join(random_.choices(sentences, k=9)) for part in range(8))
        (files / f"report{number}.md").write_text(f"# Report {number} of {random_.random()}\n\n{text}\n")
    with Knowledge(folder / "store") as kb:
        kb.add({"warm": "up"}, quiet=True)
        done = kb.add(files, quiet=True)
        rate = done.chunks / done.seconds
        many = folder / "many"
        write_notes(many, 1000)
        for path in many.iterdir():
            os.utime(path, (1.7e9, 1.7e9))
        kb.add(many, quiet=True)
        unchanged_s = _timed(lambda: kb.add(many, quiet=True))
    cores = os.process_cpu_count() or 1
    return {
        "chunks_per_s": round(rate, 1),
        "chunks_per_s_core": round(rate / cores, 1),
        "unchanged_1000_s": round(unchanged_s, 3),
    }


def _timed(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start

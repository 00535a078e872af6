"""Kill -9 a process that fills a knowledge base, at random moments: nothing acknowledged is lost, nothing is twice.

`python -m tests.chaos knowledge --n 50` kills 50 writers of one store, each going on where the one before died;
`python -m tests.chaos.knowledge FOLDER SEED` is such a writer. It adds, changes and removes documents and prints what
was acknowledged. After each kill the store is opened: documents, chunks and the vector index must agree.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from quantai.knowledge import Knowledge
from tests.knowledge_setting import HashEmbedder

DOCUMENTS = 60


def text_of(number: int, version: int) -> str:
    """A document whose size and text follow from its number and version."""
    parts = [f"## Part {part}\n\nDocument {number} version {version} part {part}." for part in range(1 + version % 7)]
    return f"# Document {number}\n\n" + "\n\n".join(parts) + "\n"


def write(folder: Path, seed: int) -> None:
    """Add, change and remove documents until killed; print each acknowledged change."""
    random_ = random.Random(seed)
    files = folder / "files"
    files.mkdir(exist_ok=True)
    with Knowledge(folder / "store", embedding=HashEmbedder()) as kb:
        stored = {Path(document.source).stem for document in kb.list()}
        while True:
            some = random_.sample(range(DOCUMENTS), random_.choice([1, 1, 2, 10]))
            if random_.random() < 0.2 and (gone := [number for number in some if f"d{number}" in stored]):
                os.write(1, "".join(f"? {number}\n" for number in gone[:1]).encode())  # may be gone from now on
                kb.remove(files / f"d{gone[0]}.md")
                stored.discard(f"d{gone[0]}")
                os.write(1, f"- {gone[0]}\n".encode())
                continue
            versions = {number: time.monotonic_ns() // 1000 for number in some}
            for number, version in versions.items():
                (files / f"d{number}.md").write_text(text_of(number, version))
            kb.add(*(files / f"d{number}.md" for number in some), quiet=True)
            stored |= {f"d{number}" for number in some}
            os.write(1, "".join(f"+ {number} {version}\n" for number, version in versions.items()).encode())


def run(n: int, seed: int) -> dict[str, float]:
    """Kill `n` writers and check the store after each; returns what survived."""
    random_ = random.Random(seed)
    acknowledged: dict[int, int | None] = {}  # number -> version, None while it may be gone
    documents = chunks = changes = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for round_ in range(n):
            changes += _kill_one(folder, random_, acknowledged)
            with Knowledge(folder / "store", embedding=HashEmbedder()) as kb:
                documents, chunks = _check(kb, acknowledged, f"round {round_}")
    return {"kills": n, "changes": changes, "documents": documents, "chunks": chunks}


def _check(kb: Knowledge, acknowledged: dict[int, int | None], round_: str) -> tuple[int, int]:
    store = kb._store
    rows = store.manifest.rows("SELECT c.*, d.source FROM chunks c JOIN documents d ON d.id = c.document ORDER BY c.id")
    by_source: dict[str, list[str]] = {}
    for row in rows:
        by_source.setdefault(Path(row["source"]).stem, []).append(row["text"])
    listed = [document.source for document in kb.list()]
    assert len(listed) == len(set(listed)) == len(by_source), f"{round_}: a document is twice, or has no chunks"
    for number, version in acknowledged.items():
        texts = by_source.get(f"d{number}")
        if version is None:
            continue
        assert texts, f"{round_}: document {number} was acknowledged and is not there"
        found = int(texts[0].split(" version ")[1].split()[0])
        assert found >= version, f"{round_}: document {number} has version {found}, {version} was acknowledged"
        expected = [part.strip() for part in text_of(number, found).split("\n\n") if part.startswith("Document")]
        assert texts == expected, f"{round_}: the chunks of document {number} are not those of its version {found}"
    assert store.index is not None
    assert store.index.ids("default") == {row["id"] for row in rows}, f"{round_}: index and manifest disagree"
    assert all(row["indexed"] for row in rows), f"{round_}: a chunk waits to be indexed"
    return len(listed), len(rows)


def _kill_one(folder: Path, random_: random.Random, acknowledged: dict[int, int | None]) -> int:
    command = [sys.executable, "-m", "tests.chaos.knowledge", str(folder), str(random_.randrange(1 << 30))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline()] if random_.random() < 0.9 else []  # it may die while it starts
        time.sleep(random_.random() * 0.5)
        writer.kill()
        lines += writer.stdout.read().splitlines(keepends=True)
    assert writer.returncode == -9, f"the writer ended by itself with {writer.returncode}"
    for line in lines:
        kind, number, *version = line.split()
        if kind == "+":
            acknowledged[int(number)] = int(version[0])
        else:
            acknowledged[int(number)] = None
    return len(lines)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))

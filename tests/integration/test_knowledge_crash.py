"""A killed process loses no acknowledged document; `python -m tests.chaos knowledge --n 50` does it more often."""

import os
import subprocess
import sys
from pathlib import Path

from quantai.knowledge import Knowledge
from tests.chaos import knowledge as chaos
from tests.knowledge_setting import HashEmbedder, write_notes

KILLED_BETWEEN = """
import os, sys
from pathlib import Path
from quantai.knowledge import Knowledge
from quantai.knowledge.vectors import VectorIndex
from tests.knowledge_setting import HashEmbedder

kb = Knowledge(sys.argv[1], embedding=HashEmbedder())
where = sys.argv[3]
real = getattr(VectorIndex, where)

def die(self, *args):
    if os.environ.get("AFTER"):
        real(self, *args)
    os.kill(os.getpid(), 9)

setattr(VectorIndex, where, die)
if where == "put":
    kb.add(sys.argv[2], quiet=True)
else:
    kb.remove(sys.argv[2])
"""


def test_kills_at_random_moments() -> None:
    survived = chaos.run(1, seed=3)
    assert survived["kills"] == 1


def killed_between(store: Path, note: Path, where: str, after: bool) -> None:
    command = [sys.executable, "-c", KILLED_BETWEEN, str(store), str(note), where]
    environment = {**os.environ, "AFTER": "1" if after else ""}
    assert subprocess.run(command, env=environment, check=False).returncode == -9


def test_killed_between_manifest_and_index(tmp_path: Path) -> None:
    first, second = write_notes(tmp_path / "notes", 2)
    store = tmp_path / "store"
    with Knowledge(store, embedding=HashEmbedder()) as kb:
        kb.add(first, quiet=True)
    for where, note, after, expected in [("put", second, False, 2), ("delete", first, True, 1)]:
        killed_between(store, note, where, after)
        with Knowledge(store, embedding=HashEmbedder()) as kb:
            rows = kb._store.manifest.rows("SELECT id FROM chunks")
            assert len(kb.list()) == expected, where
            assert kb._store.index.ids("default") == {row["id"] for row in rows}, where
            assert kb._store.manifest.rows("SELECT * FROM gone") == [], where

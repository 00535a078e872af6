"""What may break below a store, and what two stores or models must not do to one another."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantai as qa
from quantai.knowledge import Knowledge
from quantai.knowledge.manifest import Manifest
from quantai.knowledge.store import Store
from quantai.knowledge.vectors import BATCH, VectorIndex
from tests.knowledge_setting import TOPICS, HashEmbedder, write_notes

RISK = TOPICS["risk"]


def test_a_commit_that_fails_does_not_take_in_what_follows(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "manifest.sqlite")
    names = "document, collection, text, heading, start, end, words"

    def change() -> None:
        with manifest.transaction():
            manifest.rows("PRAGMA defer_foreign_keys = ON")  # is refused at the end, as a full disk refuses
            manifest.rows(f"INSERT INTO chunks ({names}) VALUES (9, 'a', '', '', 0, 0, '')")

    with pytest.raises(qa.StorageError, match="FOREIGN KEY"):
        change()
    manifest.set("later", "kept")
    other = Manifest(tmp_path / "manifest.sqlite")
    assert other.get("later") == "kept"
    assert other.rows("SELECT * FROM chunks") == []
    manifest.close()
    other.close()


@pytest.mark.parametrize("span", [(0, 100), (4096, 8192), (8192, 60_000)])
def test_a_damaged_index_is_made_again_and_nothing_is_embedded_for_it(tmp_path: Path, span: tuple[int, int]) -> None:
    with Knowledge(tmp_path / "store", embedding=HashEmbedder()) as kb:
        kb.add(*write_notes(tmp_path / "notes", 5), quiet=True)
        before = [hit.text for hit in kb.search(RISK, 3, stage="dense")]
    damage(tmp_path / "store" / "chroma" / "chroma.sqlite3", *span)
    embedder = HashEmbedder()
    with Knowledge(tmp_path / "store", embedding=embedder) as kb:
        assert embedder.asked == 0
        assert [hit.text for hit in kb.search(RISK, 3, stage="dense")] == before
        assert kb.add({"one": "more"}, quiet=True).added == 1


def damage(path: Path, first: int, last: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[first:last] = b"\x55" * (last - first)
    path.write_bytes(raw)


def test_an_index_that_fails_to_answer_leaves_the_words_and_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> dict[int, float]:
        raise qa.StorageError("vector index: it is broken")

    with Knowledge(tmp_path / "store", embedding=HashEmbedder()) as kb:
        kb.add(*write_notes(tmp_path / "notes", 5), quiet=True)
        with monkeypatch.context() as broken:
            broken.setattr(VectorIndex, "nearest", fail)
            hits = kb.search(RISK)
            assert hits.found
            assert hits.notes == ("lexical search only: StorageError: vector index: it is broken",)
            with pytest.raises(qa.StorageError, match="it is broken"):
                kb.search(RISK, stage="dense")
    made: list[Path] = []
    real = Store._make_again
    monkeypatch.setattr(Store, "_make_again", lambda self: (made.append(self.path), real(self)))
    for _ in range(2):
        with Knowledge(tmp_path / "store", embedding=HashEmbedder()) as kb:
            assert kb.search(RISK, stage="dense").passages
    assert made == [tmp_path / "store"], "once"


def test_a_model_that_is_away_leaves_the_words(tmp_path: Path) -> None:
    class Away(HashEmbedder):
        away = False

        def embed_query(self, query: str) -> np.ndarray:
            if self.away:
                raise ConnectionError("no route to the model")
            return self.embed([query])

    with Knowledge(tmp_path / "store", embedding=(embedder := Away())) as kb:
        kb.add(*write_notes(tmp_path / "notes", 5), quiet=True)
        assert kb.search(RISK).notes == ()
        embedder.away = True
        assert kb.search(RISK).notes == ("lexical search only: ConnectionError: no route to the model",)
        assert kb.search(RISK).found


def test_questions_are_embedded_as_questions(tmp_path: Path) -> None:
    class TellsThemApart:
        model = "apart-1"

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [[1.0, 0.0] if "kill" in text else [0.0, 1.0] for text in texts]

        def embed_query(self, text: str) -> list[float]:
            return [3.0, 0.0] if text == "?" else [0.0, 1.0]

    with Knowledge(tmp_path / "store", embedding=TellsThemApart()) as kb:
        kb.add(*write_notes(tmp_path / "notes", 3), quiet=True)
        assert "kill switch" in kb.search("?", 1, stage="dense")[0].text


def test_vectors_of_another_length_in_one_document_are_all_made_again(tmp_path: Path) -> None:
    note = tmp_path / "a.md"
    note.write_text("# A\n\nfirst text\n\n## B\n\nsecond text\n")
    with Knowledge(tmp_path / "store", embedding=HashEmbedder(32, "h")) as kb:
        kb.add(note, quiet=True)
    note.write_text("# A\n\nfirst text\n\n## B\n\nsecond text, changed\n")  # half of it keeps the vectors it had
    with Knowledge(tmp_path / "store", embedding=HashEmbedder(48, "h")) as kb:
        assert kb.add(note, quiet=True).changed == 1
        sizes = {len(row["vector"]) for row in kb._store.manifest.rows("SELECT vector FROM chunks")}
        assert sizes == {48 * 4}
        assert kb.search("second text", 1, stage="dense")[0].heading == "A > B"


def test_a_filter_may_leave_more_documents_than_one_query_takes(tmp_path: Path) -> None:
    index, count = VectorIndex(tmp_path / "chroma"), 20 * BATCH
    rows = np.eye(2, dtype=np.float32)
    index.put("many", [1, 2], rows, [count, count - 1])
    assert list(index.nearest("many", rows[0], 2, range(1, count + 1))) == [1, 2]
    assert list(index.nearest("many", rows[0], 2, range(1, count))) == [2]
    index.close()


def test_a_store_that_was_never_in_step_is_compared_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Knowledge(tmp_path / "store", embedding=HashEmbedder()) as kb:
        kb.add(*write_notes(tmp_path / "notes", 2), quiet=True)
        kb._store.manifest.set("clean", "0")
        lost = min(kb._store.index.ids("default"))
        kb._store.index.delete("default", [lost])
        kb._store._settled = False
    with monkeypatch.context() as stopped:
        stopped.setattr(Store, "_compare", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            Knowledge(tmp_path / "store", embedding=HashEmbedder())
    with Knowledge(tmp_path / "store", embedding=HashEmbedder()) as kb:
        assert lost in kb._store.index.ids("default")


def test_a_store_held_alone_is_refused_to_one_that_would_share_it(tmp_path: Path) -> None:
    with (
        Knowledge(tmp_path / "store", embedding="none"),
        Knowledge(tmp_path / "store", embedding="none", server="http://127.0.0.1:9") as other,
        pytest.raises(qa.StorageError, match=f"in use by process {os.getpid()}:"),
    ):
        other._store.delete([])

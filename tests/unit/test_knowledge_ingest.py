"""What is added again costs nothing; what changes or goes is noticed; what fails stops nothing."""

import asyncio
import os
from pathlib import Path

import pytest

import quantai as qa
from quantai.knowledge import Knowledge
from tests.knowledge_setting import HashEmbedder, write_notes

OLD = 1_700_000_000


@pytest.fixture
def embedder() -> HashEmbedder:
    return HashEmbedder()


@pytest.fixture
def kb(tmp_path: Path, embedder: HashEmbedder):
    with Knowledge(tmp_path / "store", embedding=embedder) as base:
        yield base


def test_unchanged_files_cost_nothing(kb: Knowledge, embedder: HashEmbedder, tmp_path: Path) -> None:
    paths = write_notes(tmp_path / "notes", 20)
    for path in paths:
        os.utime(path, (OLD, OLD))
    kb.add(tmp_path / "notes", quiet=True)
    asked, generation = embedder.asked, kb._store.manifest.generation
    done = kb.add(tmp_path / "notes", quiet=True)
    assert (done.unchanged, done.added, done.changed, done.embedded) == (20, 0, 0, 0)
    assert embedder.asked == asked
    assert kb._store.manifest.generation == generation
    os.utime(paths[0], (OLD + 5, OLD + 5))  # a new time and the same bytes
    assert kb.add(tmp_path / "notes", quiet=True).unchanged == 20
    assert embedder.asked == asked


def test_a_change_embeds_only_what_changed(kb: Knowledge, embedder: HashEmbedder, tmp_path: Path) -> None:
    (path,) = write_notes(tmp_path / "notes", 1)
    kb.add(path, quiet=True)
    asked = embedder.asked
    path.write_text(path.read_text().replace("Number 0", "Number 77"))
    done = kb.add(path, quiet=True)
    assert (done.changed, done.chunks, done.embedded) == (1, 2, 1)
    assert embedder.asked == asked + 1
    assert "Number 77" in kb.search("remarks number 77")[0].text
    assert len(kb.list()) == 1


def test_what_is_gone_from_a_folder_is_removed(kb: Knowledge, tmp_path: Path) -> None:
    paths = write_notes(tmp_path / "notes", 3)
    kb.add(tmp_path / "notes", quiet=True)
    paths[1].unlink()
    assert kb.add(tmp_path / "notes", quiet=True).removed == 1
    assert {document.source for document in kb.list()} == {str(paths[0]), str(paths[2])}
    paths[0].unlink()
    assert kb.add(paths[0], quiet=True).removed == 1
    assert [document.source for document in kb.list()] == [str(paths[2])]


def test_a_file_that_cannot_be_read_is_named_and_stops_nothing(kb: Knowledge, tmp_path: Path) -> None:
    write_notes(tmp_path / "notes", 2)
    (tmp_path / "notes" / "bad.pdf").write_bytes(b"%PDF broken")
    (tmp_path / "notes" / "empty.md").write_text("  \n")
    (tmp_path / "notes" / "film.mp4").write_bytes(b"\0")
    (tmp_path / "notes" / ".hidden").mkdir()
    (tmp_path / "notes" / ".hidden" / "secret.md").write_text("secret")
    done = kb.add(tmp_path / "notes", quiet=True)
    assert done.added == 2
    assert {Path(source).name for source in done.failed} == {"bad.pdf", "empty.md"}


@pytest.mark.parametrize("source", ["nowhere.md", "film.mp4"])
def test_a_path_that_is_wrong_is_refused(kb: Knowledge, tmp_path: Path, source: str) -> None:
    (tmp_path / "film.mp4").write_bytes(b"\0")
    with pytest.raises(qa.InputError, match=source):
        kb.add(tmp_path / source, quiet=True)


def test_a_collection_has_a_plain_name(kb: Knowledge) -> None:
    with pytest.raises(qa.InputError, match="use up to 60 letters"):
        kb.add({"a": "b"}, collection="../etc", quiet=True)


def test_tags_and_date_can_be_changed_without_reading_again(
    kb: Knowledge, embedder: HashEmbedder, tmp_path: Path
) -> None:
    paths = write_notes(tmp_path / "notes", 2)
    kb.add(*paths, tags=["old"], quiet=True)
    asked = embedder.asked
    kb.add(*paths, tags=["new"], date="2024-02-03", quiet=True)
    assert embedder.asked == asked
    assert {(document.tags, document.date) for document in kb.list()} == {(("new",), "2024-02-03")}


def test_it_works_where_a_loop_is_running_already(kb: Knowledge, tmp_path: Path) -> None:
    paths = write_notes(tmp_path / "notes", 2)

    async def cell() -> int:
        first = kb.add(paths[0], quiet=True).added
        return first + (await kb.aadd(paths[1], quiet=True)).added

    assert asyncio.run(cell()) == 2


def test_a_failing_embedder_loses_no_document(tmp_path: Path) -> None:
    class Broken(HashEmbedder):
        def embed(self, texts):
            raise ConnectionError("no such model")

    paths = write_notes(tmp_path / "notes", 2)
    with Knowledge(tmp_path / "store", embedding=Broken()) as kb:
        with pytest.raises(ConnectionError, match="no such model"):
            kb.add(*paths, quiet=True)
        assert len(kb.list()) > 0
    embedder = HashEmbedder()
    with Knowledge(tmp_path / "store", embedding=embedder) as kb:
        assert kb.add(*paths, quiet=True).failed == {}
        assert len(kb.list()) == 2
        assert embedder.asked == sum(document.chunks for document in kb.list())

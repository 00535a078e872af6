"""A store keeps what it is given, finds it, and its indexes agree with its manifest."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import quantai as qa
from quantai.knowledge import Knowledge
from quantai.knowledge.fusion import fuse
from quantai.knowledge.lexical import Lexical
from tests.knowledge_setting import TOPICS, HashEmbedder, write_notes


@pytest.fixture
def kb(tmp_path: Path):
    with Knowledge(tmp_path / "store", embedding=HashEmbedder()) as base:
        yield base


def agrees(kb: Knowledge) -> bool:
    """True when every chunk of the manifest is in the vector index and nothing else is."""
    rows = kb._store.manifest.rows("SELECT id, collection, indexed FROM chunks")
    by_collection: dict[str, set[int]] = {name: set() for name in kb._store.collections()}
    for row in rows:
        by_collection[row["collection"]].add(row["id"])
    return all(row["indexed"] for row in rows) and all(
        kb._store.index.ids(name) == chunks for name, chunks in by_collection.items()
    )


def test_what_is_added_is_found_with_its_place(kb: Knowledge, tmp_path: Path) -> None:
    write_notes(tmp_path / "notes", 10)
    done = kb.add(tmp_path / "notes", quiet=True)
    assert (done.added, done.failed) == (10, {})
    hits = kb.search("how is the deflated sharpe ratio corrected for trials?")
    assert hits.found
    best = hits[0]
    assert "deflated sharpe" in best.text
    assert Path(best.source).read_text()[best.start : best.end] == best.text
    assert Path(best.source).read_text().splitlines()[(best.line or 0) - 1] == best.text.splitlines()[0]
    assert best.citation.startswith("Note ")
    assert best.link.endswith(f":{best.line}")
    assert "**deflated**" in best.marked()
    assert agrees(kb)


def test_nothing_fitting_is_not_found(kb: Knowledge, tmp_path: Path) -> None:
    kb.add(*write_notes(tmp_path, 5), quiet=True)
    assert not kb.search("recipe for apple pie with cinnamon").found
    answer = kb.ask("recipe for apple pie with cinnamon")
    assert not answer.found
    assert answer.text.startswith("Not found")


def test_empty_store_finds_nothing(kb: Knowledge) -> None:
    assert len(kb.search("anything")) == 0
    assert not kb.search("anything").found


def test_filters_narrow_the_search(kb: Knowledge, tmp_path: Path) -> None:
    old, new = write_notes(tmp_path / "a", 5), write_notes(tmp_path / "b", 5)
    kb.add(*old, tags=["paper"], date="2020-05-01", quiet=True)
    kb.add(*new, tags=["paper", "own"], date="2024-05-01", quiet=True)
    kb.add(*new, collection="other", quiet=True)
    everything = len(kb.search(TOPICS["fills"], 50, collection="default"))
    assert everything == 20
    for settings, folder in [
        ({"tags": ["own"]}, "b"),
        ({"since": "2024-01-01"}, "b"),
        ({"until": "2020-05-01"}, "a"),
        ({"until": "2020"}, "a"),
        ({"source": str(tmp_path / "a")}, "a"),
        ({"source": str(old[0])}, "a"),
    ]:
        hits = kb.search(TOPICS["fills"], 50, collection="default", **settings)
        assert 0 < len(hits) < everything, settings
        assert {Path(hit.source).parent.name for hit in hits} == {folder}, settings
    assert {hit.collection for hit in kb.search(TOPICS["fills"], 50)} == {"default", "other"}
    assert {hit.collection for hit in kb.search(TOPICS["fills"], 50, collection="other")} == {"other"}
    with pytest.raises(qa.UnknownName, match="unknown collection 'othr': did you mean 'other'"):
        kb.search("x", collection="othr")
    with pytest.raises(qa.UnknownName, match="unknown stage"):
        kb.search("x", stage="magic")


def test_every_stage_ranks_and_a_reranker_has_the_last_word(tmp_path: Path) -> None:
    paths = write_notes(tmp_path / "notes", 10)
    with Knowledge(tmp_path / "store", embedding=HashEmbedder()) as kb:
        kb.add(*paths, quiet=True)
        for stage in ("fused", "rrf", "bm25", "dense"):
            assert "parquet" in kb.search(TOPICS["data"], 3, stage=stage)[0].text, stage
        with Knowledge(
            tmp_path / "store", embedding=HashEmbedder(), reranker=lambda q, found: [len(p.text) for p in found]
        ) as other:
            lengths = [len(hit.text) for hit in other.search(TOPICS["data"], 5)]
            assert lengths == sorted(lengths, reverse=True)


def test_removing_takes_the_vectors_too(kb: Knowledge, tmp_path: Path) -> None:
    paths = write_notes(tmp_path / "notes", 6)
    kb.add(tmp_path / "notes", quiet=True)
    assert kb.remove(paths[0]) == 1
    assert kb.remove(tmp_path / "notes") == 5
    assert kb.list() == []
    assert agrees(kb)
    assert len(kb.search(TOPICS["fills"])) == 0
    with pytest.raises(qa.InputError, match="no such document"):
        kb.remove(paths[0])


def test_another_process_is_refused_and_the_same_one_shares(kb: Knowledge, tmp_path: Path) -> None:
    kb.add({"a": "b"}, quiet=True)
    with Knowledge(tmp_path / "store", embedding=HashEmbedder()) as again:
        assert len(again.list()) == 1
    assert len(kb.list()) == 1  # closing one leaves the other open
    code = f"from quantai.knowledge import Knowledge; Knowledge({str(tmp_path / 'store')!r}, embedding='none')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "is in use by process" in ran.stderr.splitlines()[-1]
    with pytest.raises(qa.StorageError, match="another embedding"):
        Knowledge(tmp_path / "store", embedding=HashEmbedder(name="hash-2"))


def test_another_model_or_dimension_is_embedded_again(tmp_path: Path) -> None:
    paths = write_notes(tmp_path / "notes", 5)
    first = HashEmbedder()
    with Knowledge(tmp_path / "store", embedding=first) as kb:
        kb.add(*paths, quiet=True)
        count = sum(document.chunks for document in kb.list())
        assert first.asked == count
    same = HashEmbedder()
    with Knowledge(tmp_path / "store", embedding=same) as kb:
        assert same.asked == 0
    other = HashEmbedder(size=32, name="hash-32")
    with Knowledge(tmp_path / "store", embedding=other) as kb:
        assert other.asked == count
        assert agrees(kb)
        assert kb.search(TOPICS["risk"], stage="dense").passages
    grown = HashEmbedder(size=48, name="hash-32")  # the same name, other vectors
    with Knowledge(tmp_path / "store", embedding=grown) as kb:
        kb.add({"new": "document"}, quiet=True)
        assert grown.asked >= count + 1
        assert agrees(kb)


def test_without_a_model_it_is_words_alone_and_says_so(tmp_path: Path) -> None:
    with Knowledge(tmp_path / "store", embedding="none") as kb:
        done = kb.add(*write_notes(tmp_path / "notes", 5), quiet=True)
        assert done.notes == ["lexical search only: no embedding model is configured"]
        hits = kb.search(TOPICS["fills"])
        assert hits.found
        assert hits.notes == ("lexical search only: no embedding model is configured",)
        assert not kb.search("apple pie with cinnamon").found
    embedder = HashEmbedder()
    with Knowledge(tmp_path / "store", embedding=embedder) as kb:  # what came without vectors gets them
        assert embedder.asked == sum(document.chunks for document in kb.list())
        assert agrees(kb)


def test_a_lost_vector_index_is_made_again_from_the_manifest(tmp_path: Path) -> None:
    with Knowledge(tmp_path / "store", embedding=HashEmbedder()) as kb:
        kb.add(*write_notes(tmp_path / "notes", 5), quiet=True)
        kb._store.manifest.set("clean", "0")
        before = [hit.text for hit in kb.search(TOPICS["costs"])]
        lost, *_ = sorted(kb._store.index.ids("default"))
        kb._store.index.delete("default", [lost])
        kb._store.index.put("default", [999_999], [[1.0] * 64], [1])
        kb._store._compare()
        kb._store.sync()
        assert agrees(kb)
        assert [hit.text for hit in kb.search(TOPICS["costs"])] == before


def test_a_manifest_that_is_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "manifest.sqlite").write_text("not a database at all, but long enough to be looked at" * 30)
    with pytest.raises(qa.DataError, match="is damaged"):
        Knowledge(tmp_path / "store", embedding="none")
    shutil.rmtree(tmp_path / "store")


def test_bm25_is_lucenes() -> None:
    index = Lexical([["a", "b"], ["a", "a", "c", "d"], ["e"]])
    scores = index.scores(["a"])
    idf = index.rarity("a")
    mean = 7 / 3
    expected = [idf * tf / (tf + 0.9 * (1 - 0.4 + 0.4 * length / mean)) for tf, length in [(1, 2), (2, 4)]]
    assert scores[:2] == pytest.approx(expected, rel=1e-5)
    assert scores[2] == 0


def test_fusion_needs_both_pools_of_neither() -> None:
    assert fuse({}, {}) == {}
    assert list(fuse({1: 2.0, 2: 1.0}, {})) == [1, 2]
    assert list(fuse({}, {1: 0.2, 2: 0.9})) == [2, 1]


def test_a_word_of_few_passages_counts() -> None:
    dense = {number: 1.0 - number / 50 for number in range(50)}
    assert next(iter(fuse({40: 6.0}, dense))) == 40
    assert set(list(fuse({40: 6.0, 41: 5.9}, dense))[:2]) == {40, 41}


@pytest.mark.parametrize(("query", "k", "said"), [("  ", 5, "empty"), ("x", 0, "at least one")])
def test_bad_queries_are_refused(kb: Knowledge, query: str, k: int, said: str) -> None:
    with pytest.raises(qa.InputError, match=said):
        kb.search(query, k)

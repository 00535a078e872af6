"""`quantai kb`: what the commands print and how they end."""

import json
from pathlib import Path

import pytest

from quantai.cli import main
from tests.knowledge_setting import write_notes


@pytest.fixture
def store(tmp_path: Path) -> list[str]:
    return ["--store", str(tmp_path / "store")]


def run(capsys: pytest.CaptureFixture[str], *args: str) -> dict:
    code = main(["kb", *args, "--json"])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert shown.err == ""
    return json.loads(shown.out.splitlines()[-1])


def test_add_list_search_ask_remove(store: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = write_notes(tmp_path / "notes", 5)
    words = ["--embedding", "none"]
    added = run(capsys, "add", str(tmp_path / "notes"), "--tag", "own", *store, *words)
    assert (added["added"], added["documents"], added["failed"]) == (5, 5, {})
    assert run(capsys, "add", str(tmp_path / "notes"), *store, *words)["unchanged"] == 5
    listed = run(capsys, "list", *store)
    assert listed["count"] == 5
    assert listed["documents"][0]["tags"] == ["own"]
    found = run(capsys, "search", "files, limits and notes on data", "--k", "2", *store, *words)
    assert found["found"]
    assert len(found["passages"]) == 2
    assert found["passages"][0]["citation"].startswith("Note 2 on data")
    answer = run(capsys, "ask", "what does the kill switch cancel?", *store, *words)
    assert answer["found"]
    assert "kill" in answer["answer"]
    assert answer["passages"][0]["link"].endswith(":3")
    assert main(["kb", "ask", "what does the kill switch cancel?", *store, *words]) == 0
    assert "[1] Note 1 on risk" in capsys.readouterr().out
    assert run(capsys, "remove", str(paths[0]), *store)["documents"] == 4


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["add", "nowhere.md", "--embedding", "none"], "no such file or folder"),
        (["search", "x", "--embedding", "magic"], "unknown embedding 'magic'"),
        (["search", "x", "--stage", "magic", "--embedding", "none"], "unknown stage 'magic'"),
        (["ask", "x", "--url", "http://127.0.0.1:1", "--embedding", "none"], "say with --model"),
        (["add", "http://10.0.0.1/", "--embedding", "none"], "not on the public internet"),
        (["eval", "nowhere", "--embedding", "none"], "corpus.jsonl, queries.jsonl and qrels"),
        (["ask", "x", "--embedding", "none"], "make one with `quantai kb add PATH`"),
        (["ask", "x", "--model", "m", "--url", "127.0.0.1:1/v1"], "write it like http://127.0.0.1:11434/v1"),
        (["list"], "make one with `quantai kb add PATH`"),
        (["add", ".", "--allow", "wiki.lan", "--embedding", "none"], "write HOST:PORT"),
    ],
)
def test_refusals_are_one_line(
    args: list[str], said: str, store: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kb", *args, *store]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert said in shown.err


def test_looking_for_something_makes_no_store(store: list[str]) -> None:
    assert main(["kb", "search", "x", "--embedding", "none", *store]) == 1
    assert not Path(store[1]).exists()


def test_people_are_shown_passages_under_where_they_stand(
    store: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "a.md").write_text("# Steering\n\nThe **walrus**\x1b]0;owned\x07 steers the cursor.\n")
    run(capsys, "add", str(notes), *store, "--embedding", "none")
    for verb in ("search", "ask"):
        assert main(["kb", verb, "walrus cursor", *store, "--embedding", "none"]) == 0
        shown = capsys.readouterr().out
        lines = shown.splitlines()
        assert lines[0].startswith("[1] Steering")
        assert lines[1] == f"    {notes / 'a.md'}:3"
        assert lines[2].startswith("    The **walrus**\\x1b]0;owned")
        assert "\x1b" not in shown
        assert "\x07" not in shown
    assert main(["kb", "ask", "apple pie", *store, "--embedding", "none"]) == 0
    assert capsys.readouterr().out.startswith("Not found")
    assert main(["kb", "search", "apple pie", *store, "--embedding", "none"]) == 0
    assert capsys.readouterr().out.startswith("Nothing fits well")


def test_what_was_not_there_does_not_hide_what_was_removed(
    store: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = write_notes(tmp_path / "notes", 2)
    run(capsys, "add", str(tmp_path / "notes"), *store, "--embedding", "none")
    done = run(capsys, "remove", "nowhere.md", str(paths[0]), *store)
    assert (done["removed"], done["documents"], list(done["failed"])) == (1, 1, ["nowhere.md"])
    assert main(["kb", "remove", "nowhere.md", *store]) == 1


def test_an_empty_folder_is_told(store: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["kb", "add", str(tmp_path / "empty"), *store, "--embedding", "none"]) == 0
    assert "there is nothing to read in" in capsys.readouterr().out


def test_the_tools_search_a_knowledge_base_and_leave_it_to_others(
    store: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "add", str(write_notes(tmp_path / "notes", 2)[1]), *store)
    call = ["tools", "call", "search_knowledge", '{"query": "what does the kill switch cancel?", "most": 1}']
    places = ["--folder", str(tmp_path / "out"), "--lake", str(tmp_path / "lake"), "--json"]
    assert main([*call, *store, *places]) == 0
    (found,) = json.loads(capsys.readouterr().out.splitlines()[-1])["result"]
    assert (found["cite"], found["where"]) == (1, "Note 1 on risk")
    assert run(capsys, "list", *store)["count"] == 1
    assert main([*call, "--store", str(tmp_path / "nowhere"), *places]) == 1
    assert "make one with `quantai kb add PATH`" in capsys.readouterr().err

"""What a visitor of the chat page, and callers whose keys have one name, see and may add."""

from pathlib import Path

import pytest

import quantai as qa
from quantai.knowledge import Knowledge
from serving.chat import Visit
from serving.keys import Key
from serving.tool_calls import ToolCalls
from tests.knowledge_setting import write_notes


def test_a_visitor_adds_uploads_and_pages_and_no_file_of_the_server(tmp_path: Path) -> None:
    (outside,) = write_notes(tmp_path / "private", 1)
    with Knowledge(tmp_path / "kb", embedding="none") as kb:
        visit = Visit(kb, Key("editor", "operate"))
        (uploaded,) = write_notes(visit.uploads, 1)
        assert visit.add(uploaded, quiet=True).added == 1
        link = visit.uploads / "link.md"
        link.symlink_to(outside)
        for source in (str(outside), outside, str(tmp_path), "file:///etc/passwd", visit.uploads / ".." / "x.md", link):
            with pytest.raises(qa.InputError, match="is not the address of a page"):
                visit.add(source, quiet=True)
        assert [document.source for document in kb.list()] == [str(uploaded)]


def test_keys_of_one_name_have_workspaces_of_their_own(tmp_path: Path) -> None:
    calls = ToolCalls()
    with Knowledge(tmp_path / "kb", embedding="none") as calls.knowledge:
        one, other = (Key("research", "read", sha256=each * 64, collections=frozenset({each})) for each in ("a", "b"))
        first, second = calls._of(one), calls._of(other)
        assert first is calls._of(one)
        assert first is not second
        assert first.folder != second.folder
        assert first.knowledge._collections != second.knowledge._collections
        calls.close()

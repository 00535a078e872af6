"""The chat page in a real browser: upload, ask, open a citation, add a page, say that it helped."""

import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import application, needs_chromium, open_page, wait
from tests.knowledge_setting import TOPICS
from tests.local_server import Handler, LocalServer, serving

SHOT = os.environ.get("QUANTAI_SHOT", "")
"""A file that the screenshot goes to: docs/chat.png is made by this test."""

pytest.importorskip("playwright", reason="playwright is not installed")
pytestmark = needs_chromium


class Page(Handler):
    def do_GET(self) -> None:  # noqa: N802
        if self.path == "/funding.html":
            text = "Funding of perpetual futures is paid every eight hours between longs and shorts."
            self.answer(f"<html><title>On funding</title><body><h1>Funding</h1><p>{text}</p></body></html>".encode())
        else:
            self.answer(b"", status=404)


@pytest.fixture
def site() -> Generator[LocalServer]:
    with serving(LocalServer(Page)) as server:
        yield server


@pytest.fixture
def app(tmp_path: Path, site: LocalServer) -> Generator[str]:
    options = ["--store", str(tmp_path / "kb"), "--embedding", "none", "--allow", site.host]
    with application("chat.py", *options, folder=tmp_path) as url:
        yield url


@pytest.fixture
def page() -> Generator[Any]:
    with open_page(1200, 800) as made:
        yield made


def test_upload_ask_open_a_citation_and_add_a_page(app: str, page: Any, site: LocalServer, tmp_path: Path) -> None:
    page.goto(app)
    side = page.get_by_role("complementary").first
    files = []
    for topic in ("stats", "fills", "risk"):
        file = tmp_path / f"{topic}.md"
        file.write_text(f"# On {topic}\n\n{TOPICS[topic]}\n")
        files.append(str(file))
    side.get_by_text("nothing yet").wait_for()
    side.locator('input[type="file"]').set_input_files(files)
    side.get_by_text("3 added, 0 unchanged").wait_for()
    side.get_by_text("On stats").wait_for()

    page.get_by_placeholder("What do you want to know?").fill("what does the deflated sharpe ratio correct for?")
    page.get_by_role("button", name="Ask").click()
    answer = page.locator(".qa-answer").first
    answer.wait_for()
    assert "number of trials" in answer.inner_text()
    cite = answer.locator("details.qa-cite").first
    passage = cite.locator("pre")
    assert not passage.is_visible()
    cite.get_by_text("[1]").click()
    passage.wait_for(state="visible")
    assert passage.locator("mark").count() >= 3
    assert answer.locator("a").count() == 0, "a file of this machine has no address that a page may open"
    if SHOT:
        page.screenshot(path=SHOT)

    side.get_by_placeholder("https://…").fill(site.url("/funding.html"))
    side.get_by_role("button", name="Add page").click()
    side.get_by_text("1 added, 0 unchanged").wait_for()
    page.get_by_placeholder("What do you want to know?").fill("how often is funding paid on perpetual futures?")
    page.get_by_role("button", name="Ask").click()
    target = site.url("/funding.html#:~:text=")
    page.locator(f'.qa-answer summary a[target="_blank"][href^="{target}"]').first.wait_for()
    assert page.locator(".qa-answer").count() == 2, "the first answer is still there"

    side.get_by_placeholder("https://…").fill("http://169.254.169.254/latest/meta-data/")
    side.get_by_role("button", name="Add page").click()
    side.get_by_text("not on the public internet").wait_for()

    side.get_by_placeholder("https://…").fill(files[0])
    side.get_by_role("button", name="Add page").click()
    side.get_by_text("write the address of a page").wait_for()

    good = {"name": "costs.md", "mimeType": "text/markdown", "buffer": f"# On costs\n\n{TOPICS['costs']}\n".encode()}
    side.locator('input[type="file"]').set_input_files([good, good | {"name": "picture.png"}])
    side.get_by_text("picture.png: files of this kind cannot be read").wait_for()
    side.get_by_text("On costs").wait_for()
    assert {path.name for path in (tmp_path / "kb" / "uploads").iterdir()} == {
        "stats.md", "fills.md", "risk.md", "costs.md",
    }  # fmt: skip

    page.get_by_label("yes").first.click()
    kept = tmp_path / "kb" / "feedback.jsonl"
    wait(lambda: kept.exists() and kept.read_text().endswith("\n"))
    said = json.loads(kept.read_text())
    assert (said["question"], said["helped"]) == ("how often is funding paid on perpetual futures?", "yes")

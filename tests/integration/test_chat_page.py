"""The chat page in a real browser: upload, ask, open a citation, add a page, say that it helped."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import REPO
from tests.knowledge_setting import TOPICS
from tests.local_server import Handler, LocalServer, serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_S = 180
SHOT = os.environ.get("QUANTAI_SHOT", "")
"""A file that the screenshot goes to: docs/chat.png is made by this test."""

pytest.importorskip("playwright", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")


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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path / "marimo.log").open("wb")
    command = ["-m", "marimo", "run", str(REPO / "notebooks/apps/chat.py"), "--headless", "--no-token"]
    options = ["--store", str(tmp_path / "kb"), "--embedding", "none", "--allow", site.host]
    process = subprocess.Popen(
        [sys.executable, *command, "--port", str(port), "--host", "127.0.0.1", "--", *options],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(REPO)}, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + PATIENCE_S
        while True:
            assert process.poll() is None, (tmp_path / "marimo.log").read_text()[-3000:]
            assert time.monotonic() < end, (tmp_path / "marimo.log").read_text()[-3000:]
            try:
                if httpx.get(f"{url}/health", timeout=PATIENCE_S).status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        log.close()


@pytest.fixture
def page() -> Generator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        made = browser.new_page(viewport={"width": 1200, "height": 800})
        made.set_default_timeout(PATIENCE_S * 1000)
        yield made
        browser.close()


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
    end = time.monotonic() + PATIENCE_S
    while not (kept.exists() and kept.read_text().endswith("\n")):
        assert time.monotonic() < end
        time.sleep(0.1)
    said = json.loads(kept.read_text())
    assert (said["question"], said["helped"]) == ("how often is funding paid on perpetual futures?", "yes")

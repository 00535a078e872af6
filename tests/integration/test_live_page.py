"""The page of a run in a real browser: what it shows is the run's, and its buttons are rows of the journal."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from quantai.core.rows import Kind
from quantai.execution.controls import Control
from quantai.execution.plan import Plan
from quantai.execution.remote import RunControl, address_file
from quantai.execution.trade import trade
from quantai.journal import StoreReader
from quantai.venues.loopback import LoopbackExchange
from tests.conftest import REPO
from tests.integration.trading import Maker

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_S = 180
SHOT = os.environ.get("QUANTAI_SHOT", "")
"""A file that the screenshot goes to: docs/dashboard.png is made by this test."""

pytest.importorskip("playwright", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")


@pytest.fixture
def run(tmp_path: Path) -> Generator[Path]:
    """A run that trades at a loopback exchange, in a thread with an event loop of its own."""
    journal = tmp_path / "live.journal"

    async def go() -> None:
        async with LoopbackExchange(["BTC-USDT"], seed=5, rate_hz=50.0) as exchange:
            strategies = [(Maker(offset=1), "tests.integration.trading:Maker")]
            venues = {"BINANCE": ["BTC-USDT"]}
            await trade(
                Plan(strategies=strategies, venues=venues, mode="paper", journal=journal, endpoint=exchange.http)
            )

    thread = threading.Thread(target=lambda: asyncio.run(go()))
    thread.start()
    wait(lambda: address_file(journal).exists() or not thread.is_alive())
    yield journal
    if thread.is_alive():
        asyncio.run(RunControl(journal).end())
    thread.join(PATIENCE_S)


def wait(true: Any) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture
def app(tmp_path: Path, run: Path) -> Generator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path / "marimo.log").open("wb")
    command = ["-m", "marimo", "run", str(REPO / "notebooks/apps/live.py"), "--headless", "--no-token"]
    process = subprocess.Popen(
        [sys.executable, *command, "--port", str(port), "--host", "127.0.0.1", "--", "--run", str(run)],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(REPO)}, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, (tmp_path / "marimo.log").read_text()[-3000:]
        try:
            return httpx.get(f"{url}/health", timeout=PATIENCE_S).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait(answers)
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
        made = browser.new_page(viewport={"width": 1400, "height": 1080})
        made.set_default_timeout(PATIENCE_S * 1000)
        yield made
        browser.close()


def test_it_shows_the_run_and_steers_it(app: str, page: Any, run: Path) -> None:
    page.goto(app)
    page.get_by_text("trading: no alarm").wait_for()
    page.get_by_text("BINANCE:BTC-USDT").wait_for()
    assert page.locator("table.qa-book tr").count() > 8
    for words in ("Positions", "Orders at work", "Feeds"):
        page.get_by_role("heading", name=words, exact=True).wait_for()
    page.get_by_role("cell", name="Maker").first.wait_for()
    page.get_by_role("cell", name="BTC-USDT").first.wait_for()
    if SHOT:
        page.wait_for_timeout(20_000)  # for a curve to look at
        page.screenshot(path=SHOT)
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("pause: row").wait_for()
    page.get_by_text("paused: no alarm").wait_for()
    page.get_by_role("button", name="Resume").click()
    page.get_by_text("trading: no alarm").wait_for()
    page.get_by_role("button", name="Kill").click()
    page.get_by_text("kill: row").wait_for()
    page.get_by_text("halted: no alarm").wait_for()
    with StoreReader(run) as reader:
        said = reader.rows(kinds=[Kind.CONTROL])["aux"].tolist()
    assert [x for x in said if x in (Control.PAUSE, Control.RESUME, Control.KILL)] == [
        Control.PAUSE, Control.RESUME, Control.KILL,
    ]  # fmt: skip

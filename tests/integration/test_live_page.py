"""The page of a run in a real browser: what it shows is the run's, and its buttons are rows of the journal."""

import asyncio
import os
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from quantai.core.rows import Kind
from quantai.execution.controls import Control
from quantai.execution.plan import Plan
from quantai.execution.remote import RunControl, address_file
from quantai.execution.trade import trade
from quantai.journal import StoreReader
from quantai.venues.loopback import LoopbackExchange
from tests.browser import PATIENCE_S, application, needs_chromium, open_page, wait
from tests.integration.trading import Maker

SHOT = os.environ.get("QUANTAI_SHOT", "")
"""A file that the screenshot goes to: docs/dashboard.png is made by this test."""

pytest.importorskip("playwright", reason="playwright is not installed")
pytestmark = needs_chromium


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


@pytest.fixture
def app(tmp_path: Path, run: Path) -> Generator[str]:
    with application("live.py", "--run", str(run), folder=tmp_path) as url:
        yield url


@pytest.fixture
def page() -> Generator[Any]:
    with open_page(1400, 1080) as made:
        yield made


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

"""Pages in a real browser: Chromium by Playwright, and marimo applications to look at with it."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import REPO

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE_S = 600
"""A run that compiles everything first, on a machine with much else to do, takes minutes to begin."""

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")


@contextmanager
def open_page(width: int, height: int) -> Generator[Any]:
    """Give an empty page of a browser of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        made = browser.new_page(viewport={"width": width, "height": height})
        made.set_default_timeout(PATIENCE_S * 1000)
        yield made
        browser.close()


@contextmanager
def application(name: str, *options: str, folder: Path) -> Generator[str]:
    """Run one of `notebooks/apps` in a folder, as its users do, and give its address once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["-m", "marimo", "run", str(REPO / "notebooks" / "apps" / name), "--headless", "--no-token"]
    with (folder / "marimo.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command, "--port", str(port), "--host", "127.0.0.1", "--", *options],
            cwd=folder, env=os.environ | {"PYTHONPATH": str(REPO)}, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            assert process.poll() is None, (folder / "marimo.log").read_text()[-3000:]
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


def wait(true: Callable[[], bool]) -> None:
    """Wait until something is the case."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)

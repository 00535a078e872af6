"""Pages from a real server on this machine: what is read, what costs nothing, and what is refused."""

import asyncio
import gzip
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import quantai as qa
from quantai.knowledge import Knowledge
from quantai.knowledge.web import Fetcher, WebPolicy, check_url
from tests.knowledge_setting import TOPICS, HashEmbedder
from tests.local_server import Handler, LocalServer, serving
from tests.unit.test_knowledge_readers import pdf


class Site(LocalServer):
    """A web site whose pages are functions of the request; counts what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.pages: dict[str, bytes] = {}
        self.maps: dict[str, list[str]] = {}
        self.robots = "User-agent: *\nDisallow: /private/\n"
        super().__init__(Page)


class Page(Handler):
    server: Site  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:  # noqa: N802
        self.server.asked.append(self.path)
        name = self.path.strip("/").split("/")[0].split("?")[0].replace(".", "_").replace("-", "_")
        try:
            getattr(self, f"page_{name}", self.page)()
        except (BrokenPipeError, ConnectionResetError):
            pass

    def page(self) -> None:
        if (named := self.server.maps.get(self.path)) is not None:
            self.page_sitemap_xml(named)
            return
        body = self.server.pages.get(self.path)
        if body is None:
            self.answer(b"", status=404)
            return
        etag = f'"{hash(body)}"'
        if self.headers.get("If-None-Match") == etag:
            self.send_response(304)
            self.end_headers()
            return
        kind = "application/pdf" if self.path.endswith(".pdf") else "text/html"
        self.answer(body, kind, ETag=etag, Last_Modified="Tue, 06 Feb 2024 10:00:00 GMT")

    def page_robots_txt(self) -> None:
        self.answer(self.server.robots.encode(), "text/plain")

    def page_sitemap_xml(self, named: Iterable[str] | None = None) -> None:
        if named is None:
            named = self.server.maps.get(self.path, self.server.pages)
        urls = "".join(f"<url><loc>{self.server.url(path)}</loc></url>" for path in named)
        self.answer(
            f"<urlset>{urls}<url><loc>http://elsewhere.example/x</loc></url></urlset>".encode(), "application/xml"
        )

    def page_to_other_port(self) -> None:
        self.answer(b"", status=302, Location="http://127.0.0.1:1/")

    def page_to_metadata(self) -> None:
        self.answer(b"", status=302, Location="http://169.254.169.254/latest/meta-data/")

    def page_to_file(self) -> None:
        self.answer(b"", status=302, Location="file:///etc/passwd")

    def page_moved(self) -> None:
        self.answer(b"", status=301, Location="/notes0.html")

    def page_round(self) -> None:
        self.answer(b"", status=302, Location=f"/round/{len(self.server.asked)}")

    def page_huge(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(10 << 30))
        self.end_headers()

    def page_endless(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        while not self.server.stop.is_set():
            self.wfile.write(b"x" * 65536)

    def page_bomb(self) -> None:
        self.answer(gzip.compress(bytes(64 << 20)), Content_Encoding="gzip")

    def page_nested(self) -> None:
        self.answer(b"\x00" * 10, Content_Encoding="br")

    def page_slow(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        while not self.server.stop.wait(0.05):
            self.wfile.write(b".")
            self.wfile.flush()

    def page_film(self) -> None:
        self.answer(b"\0" * 100, "video/mp4")

    def page_broken(self) -> None:
        self.answer(b"", status=500)

    def page_busy(self) -> None:
        if self.server.asked.count(self.path) < 2:
            self.answer(b"", status=503, Retry_After="0")
        else:
            self.answer(html("busy once"))


def html(text: str, title: str = "Page") -> bytes:
    body = f"<h1>{title}</h1><p>{text}. This page says so in a whole sentence, so that it is read as an article.</p>"
    return f"<html><head><title>{title}</title></head><body><article>{body}</article></body></html>".encode()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as server:
        yield server


def policy(site: Site, **settings) -> WebPolicy:
    return WebPolicy(**{"allow": frozenset({site.host}), "pause_s": 0.0, "timeout_s": 60.0, "retries": 1, **settings})


def fetch(url: str, limits: WebPolicy, **conditions):
    async def get():
        async with Fetcher(limits) as fetcher:
            return await fetcher.get(url, **conditions)

    return asyncio.run(get())


def test_a_hundred_pages_and_pdfs_come_through_a_sitemap_and_304_costs_nothing(site: Site, tmp_path: Path) -> None:
    for number in range(80):
        topic = list(TOPICS.values())[number % 5]
        site.pages[f"/notes{number}.html"] = html(f"Page number {number}: {topic}", f"Notes {number}")
    for number in range(20):
        site.pages[f"/paper{number}.pdf"] = pdf(["Introduction", f"Finding {number} is significant"], f"Paper {number}")
    embedder = HashEmbedder()
    with Knowledge(tmp_path / "store", embedding=embedder, web=policy(site)) as kb:
        done = kb.add(site.url("/sitemap.xml"), quiet=True)
        assert (done.added, done.failed) == (100, {})
        best = kb.search("finding 7 is significant")[0]
        assert (best.title, best.page) == ("Paper 7", 2)
        assert best.link == site.url("/paper7.pdf#page=2")
        assert kb.search("page number 41")[0].source == site.url("/notes41.html")
        assert {document.date for document in kb.list()} == {"2024-02-06"}
        asked = embedder.asked
        again = kb.add(site.url("/sitemap.xml"), quiet=True)
        assert (again.unchanged, again.added, again.changed) == (100, 0, 0)
        assert embedder.asked == asked
        site.pages["/notes3.html"] = html("It says something else now", "Notes 3")
        assert kb.add(site.url("/notes3.html"), quiet=True).changed == 1
        del site.pages["/notes3.html"]
        assert kb.add(site.url("/notes3.html"), quiet=True).removed == 1
        assert len(kb.list()) == 99


def test_a_page_that_its_sitemap_names_no_more_is_removed(site: Site, tmp_path: Path) -> None:
    site.pages |= {f"/{name}.html": html(f"The page {name} is here", name) for name in ("a", "b", "c", "d")}
    site.maps["/other/sitemap.xml"] = ["/d.html", "/e/sitemap.xml"]
    site.maps["/e/sitemap.xml"] = ["/e.html"]
    site.pages["/e.html"] = html("The page e is here", "e")

    def names() -> str:
        return "".join(sorted(document.title for document in kb.list()))

    with Knowledge(tmp_path / "store", embedding=HashEmbedder(), web=policy(site)) as kb:
        site.maps["/sitemap.xml"] = ["/a.html", "/b.html", "/c.html", "/d.html"]
        kb.add(site.url("/sitemap.xml"), site.url("/other/sitemap.xml"), site.url("/c.html"), quiet=True)
        assert names() == "abcde"
        site.maps["/sitemap.xml"] = ["/a.html"]
        assert kb.add(site.url("/a.html"), quiet=True).removed == 0, "the sitemap was not asked"
        assert kb.add(site.url("/sitemap.xml"), collection="another", quiet=True).removed == 0
        kb.remove(site.url("/a.html"), "another")
        done = kb.add(site.url("/sitemap.xml"), quiet=True)
        assert (done.removed, names()) == (1, "acde"), "c was asked for by itself, d is named by another"
        assert not any(hit.title == "b" for hit in kb.search("the page b"))
        for named in (["/e/sitemap.xml"], []):  # a part of it is not there; as a page that says "closed until noon"
            site.maps |= {"/other/sitemap.xml": named}
            site.maps.pop("/e/sitemap.xml", None)
            done = kb.add(site.url("/other/sitemap.xml"), quiet=True)
            assert (done.removed, names()) == (0, "acde"), "nothing is known to be gone"
        site.maps["/other/sitemap.xml"] = ["/a.html"]
        assert (kb.add(site.url("/other/sitemap.xml"), quiet=True).removed, names()) == (2, "ac")


def test_redirects_are_followed_and_conditions_sent(site: Site) -> None:
    site.pages["/notes0.html"] = html("moved here")
    page = fetch(site.url("/moved"), policy(site))
    assert page.url == site.url("/notes0.html")
    assert fetch(site.url("/moved"), policy(site), etag=page.etag) is None


def test_a_busy_server_is_asked_again(site: Site) -> None:
    assert b"busy once" in fetch(site.url("/busy"), policy(site)).data


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/to-other-port", "not on the public internet"),
        ("/to-metadata", "not on the public internet"),
        ("/to-file", "only http and https"),
        ("/round", "more than 5 redirects"),
        ("/huge", "larger than the 1 MB"),
        ("/endless", "larger than the 1 MB"),
        ("/bomb", "larger than the 1 MB"),
        ("/nested", "packed as br"),
        ("/film", "cannot read video/mp4"),
        ("/broken", "answered 500"),
        ("/private/page", "robots.txt"),
    ],
)
def test_what_a_server_may_not_do_is_refused(site: Site, path: str, said: str) -> None:
    limits = policy(site, max_bytes=1 << 20)
    with pytest.raises((qa.InputError, qa.DataError), match=said):
        fetch(site.url(path), limits)


def test_a_slow_server_is_given_up(site: Site) -> None:
    start = time.monotonic()
    with pytest.raises(qa.DataError, match="took longer than 1 s"):
        fetch(site.url("/slow"), policy(site, timeout_s=1.0))
    assert not site.stop.is_set()
    assert time.monotonic() - start >= 1


def test_the_machine_itself_is_refused_unless_named(site: Site) -> None:
    site.pages["/notes0.html"] = html("internal")
    for url in (
        site.url("/notes0.html"),
        f"http://localhost:{site.server_port}/",
        f"http://[::ffff:127.0.0.1]:{site.server_port}/",
    ):
        with pytest.raises(qa.InputError, match="not on the public internet"):
            fetch(url, WebPolicy(robots=False, pause_s=0, retries=0))
    assert site.asked == []


def test_a_name_that_changes_its_address_reaches_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    real, answers = socket.getaddrinfo, []

    def rebind(host, port, *args, **kwargs):
        if host not in (b"rebind.example", "rebind.example"):
            return real(host, port, *args, **kwargs)
        answers.append("127.0.0.1")
        return real("127.0.0.1", port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", rebind)
    with pytest.raises(qa.InputError, match="not on the public internet"):
        fetch(f"http://rebind.example:{site.server_port}/", WebPolicy(robots=False, pause_s=0, retries=0))
    assert answers
    assert site.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://017700000001/",
        "http://127.1/",
        "ftp://host/a",
        "file:///etc/passwd",
        "gopher://host/",
        "http://user:pass@host/",
        "http:///nohost",
        "http://[::1",
        "http://host:99999/",
    ],
)
def test_odd_addresses_are_refused_before_anything_is_asked(url: str) -> None:
    with pytest.raises(qa.InputError):
        check_url(url)


def test_requests_to_one_host_keep_their_distance(site: Site) -> None:
    site.robots = "User-agent: *\nCrawl-delay: 0.2\n"
    site.pages |= {f"/notes{number}.html": html(str(number)) for number in range(3)}

    async def get() -> float:
        async with Fetcher(policy(site, pause_s=0.1)) as fetcher:
            start = time.monotonic()
            await asyncio.gather(*(fetcher.get(site.url(path)) for path in site.pages))
            return time.monotonic() - start

    assert asyncio.run(get()) >= 0.1 + 2 * 0.2  # never sooner than was asked for


def test_a_refused_page_is_named_and_the_others_come(site: Site, tmp_path: Path) -> None:
    site.pages["/notes0.html"] = html("fine")
    with Knowledge(tmp_path / "store", embedding="none", web=policy(site)) as kb:
        done = kb.add(
            site.url("/notes0.html"), site.url("/private/a"), site.url("/nowhere"), "http://10.0.0.1/", quiet=True
        )
    assert done.added == 1
    assert set(done.failed) == {site.url("/private/a"), site.url("/nowhere"), "http://10.0.0.1/"}

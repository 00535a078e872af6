"""What a server, its name or its sitemap may try against who asks it."""

import asyncio
import gzip
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

import quantai as qa
from quantai.knowledge import Knowledge
from quantai.knowledge.web import Fetcher, WebPolicy, check_url
from quantai.knowledge.web.fetch import _standing
from quantai.knowledge.web.guard import is_public
from quantai.knowledge.web.manners import Manners
from quantai.knowledge.web.sitemap import MAX_SITEMAPS
from tests.local_server import Handler, LocalServer, serving

WORDS = b"<html><body><article><p>Some words on a page, enough of them to be read.</p></article></body></html>"


class Site(LocalServer):
    """Answers by the name of the page; keeps what it was asked, under which name of a host."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        super().__init__(Page)


class Page(Handler):
    server: Site  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:  # noqa: N802
        self.server.asked.append((self.headers["Host"], self.path))
        path = self.path.partition("?")[0]
        if path == "/robots.txt":
            self.answer(b"", status=404)
        elif path == "/nowhere":
            self.answer(b"", status=302, Location="http://[::1")
        elif path == "/odd":
            self.answer(b"", status=503, Retry_After="\u00b2")
        elif path == "/cut":
            self.answer(gzip.compress(WORDS)[:-8], Content_Encoding="gzip")
        elif path == "/packed/sitemap.xml.gz":
            self.answer(gzip.compress(self.places("/a.html")), "application/gzip")
        elif path.startswith("/endless/"):
            self.answer(self.places(f"/endless/sitemap{len(self.server.asked)}.xml"), "application/xml")
        elif path == "/index/sitemap.xml":
            self.answer(self.places("/gone/sitemap.xml", "/a.html#part", "/b.html", "/c.html"), "application/xml")
        elif path.startswith("/gone/"):
            self.answer(b"", status=404)
        else:
            self.answer(WORDS)

    def places(self, *paths: str) -> bytes:
        return "".join(f"<loc>{self.server.url(path)}</loc>" for path in paths).encode()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as server:
        yield server


def policy(site: Site, *names: str, **settings: Any) -> WebPolicy:
    allowed = {site.host, *(f"{name}:{site.server_port}" for name in names)}
    return WebPolicy(**{"allow": frozenset(allowed), "pause_s": 0.0, "timeout_s": 60.0, "retries": 0, **settings})


def fetch(limits: WebPolicy, *urls: str) -> list[Any]:
    async def get() -> list[Any]:
        async with Fetcher(limits) as fetcher:
            return [await fetcher.get(url) for url in urls]

    return asyncio.run(get())


def name_hosts(monkeypatch: pytest.MonkeyPatch, answers: dict[str, list[str]]) -> list[str]:
    """Let names of hosts have addresses, one answer after the other, the last again and again; returns who asked."""
    real, asked = socket.getaddrinfo, list[str]()

    def look_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in answers:
            return real(host, port, *args, **kwargs)
        asked.append(name)
        found = answers[name]
        return real(found.pop(0) if len(found) > 1 else found[0], port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def test_a_name_is_looked_up_once_and_its_address_stays(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = name_hosts(monkeypatch, {"turns.example": ["127.0.0.1", "169.254.169.254"]})
    url = f"http://turns.example:{site.server_port}"
    pages = fetch(policy(site, "turns.example"), f"{url}/a", f"{url}/b", f"{url}/c")
    assert [page.data for page in pages] == [WORDS] * 3
    assert asked == ["turns.example"]
    assert {host for host, _ in site.asked} == {f"turns.example:{site.server_port}"}


def test_nothing_inside_is_even_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a port answers would tell who adds a page what runs inside."""
    name_hosts(monkeypatch, {"inside.example": ["127.0.0.1"]})
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        with pytest.raises(qa.InputError, match="not on the public internet"):
            fetch(WebPolicy(pause_s=0, retries=0), f"http://inside.example:{listening.getsockname()[1]}/")
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_one_address_inside_among_others_is_one_too_many(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("9.9.9.9", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with pytest.raises(qa.InputError, match="not on the public internet"):
        fetch(policy(site), "http://both.example/")


def test_addresses_of_private_networks_of_old_are_private() -> None:
    assert not is_public(ip_address("fec0::1"))


@pytest.mark.parametrize("url", ["ftp://me:secret@host/", "http://me:secret@host/", "http://me:secret@[::1/"])
def test_no_message_tells_a_password(url: str) -> None:
    with pytest.raises(qa.InputError) as refused:
        check_url(url)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "said"),
    [("/nowhere", "Invalid URL"), ("/odd", "answered 503"), ("/cut", "ends too early")],
)
def test_a_server_that_talks_nonsense_ends_nothing(site: Site, path: str, said: str, tmp_path: Path) -> None:
    with Knowledge(tmp_path / "store", embedding="none", web=policy(site, retries=1)) as kb:
        done = kb.add(site.url(path), site.url("/a.html"), quiet=True)
    assert done.added == 1
    assert said in done.failed[site.url(path)]


def test_sitemaps_that_name_others_without_end_are_left(site: Site, tmp_path: Path) -> None:
    with Knowledge(tmp_path / "store", embedding="none", web=policy(site, robots=False)) as kb:
        done = kb.add(site.url("/endless/sitemap.xml"), quiet=True)
    assert len(site.asked) == MAX_SITEMAPS
    assert f"more than {MAX_SITEMAPS} sitemaps" in done.notes[-2]


def test_what_of_a_sitemap_was_left_out_is_said(site: Site, tmp_path: Path) -> None:
    with Knowledge(tmp_path / "store", embedding="none", web=policy(site, max_pages=2)) as kb:
        done = kb.add(site.url("/index/sitemap.xml"), quiet=True)
        assert done.added == 2
        assert "names more than 2 pages" in " ".join(done.notes)
    with Knowledge(tmp_path / "store", embedding="none", web=policy(site)) as kb:
        done = kb.add(site.url("/index/sitemap.xml"), site.url("/packed/sitemap.xml.gz"), quiet=True)
        assert (done.added, done.unchanged, done.failed) == (1, 2, {})
        assert f"{site.url('/gone/sitemap.xml')}: no such sitemap" in done.notes
        assert kb.add(site.url("/b.html#elsewhere"), quiet=True).unchanged == 1, "a page is one document"


async def test_waiting_out_of_politeness_is_not_time_of_the_page(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    clocks, stood = list[asyncio.Timeout](), list[bool]()
    real, wait = asyncio.timeout, Manners.wait

    def timeout(seconds: float | None) -> asyncio.Timeout:
        clocks.append(real(seconds))
        return clocks[-1]

    async def watched(self: Manners, url: str) -> None:
        stood.append(clocks[0].when() is None)
        await wait(self, url)

    monkeypatch.setattr(asyncio, "timeout", timeout)
    monkeypatch.setattr(Manners, "wait", watched)
    async with Fetcher(policy(site, robots=False)) as fetcher:
        await fetcher.get(site.url("/a.html"))
    assert stood == [True]
    async with real(1000) as clock:
        async with _standing(clock):
            pass
        left = (clock.when() or 0.0) - asyncio.get_running_loop().time()
    assert 0 < left <= 1000

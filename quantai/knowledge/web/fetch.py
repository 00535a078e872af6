"""One page from the web, every step of the way checked."""

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Self

import httpx
import httpx_secure

from quantai.core.errors import DataError, InputError, QuantaiError
from quantai.knowledge.readers.kinds import is_known_type
from quantai.knowledge.web.guard import WebPolicy, check_url, is_public, look_up
from quantai.knowledge.web.manners import Manners
from quantai.knowledge.web.sitemap import MAX_SITEMAPS, is_sitemap, locations

_REDIRECTS = {301, 302, 303, 307, 308}
_BUSY = {429, 502, 503, 504}
_MAX_RETRY_AFTER_S = 20.0
_MAX_ROBOTS = 512 << 10


@dataclass(frozen=True, slots=True)
class Page:
    """What a server answered. `url` is where the redirects ended; `gone` means that there is no such page any more."""

    url: str
    data: bytes
    content_type: str
    etag: str = ""
    modified: str = ""
    gone: bool = False

    @property
    def date(self) -> str:
        """The day of its last change in ISO 8601, empty when the server does not say."""
        try:
            return parsedate_to_datetime(self.modified).date().isoformat()
        except (TypeError, ValueError):
            return ""


class Fetcher:
    """Fetches pages within one event loop: `async with Fetcher(policy) as fetcher: await fetcher.get(url)`.

    `notes` say what of a sitemap was left out, `cut` holds the sitemaps of which something was.
    """

    def __init__(self, policy: WebPolicy | None = None) -> None:
        self.policy = policy = policy or WebPolicy()
        self.notes: list[str] = []
        self.cut: set[str] = set()
        self._client: Any = None
        self._manners = Manners(policy.user_agent, policy.pause_s, self._robots)
        self._addresses: dict[tuple[str, int], list[IPv4Address | IPv6Address]] = {}

    async def __aenter__(self) -> Self:
        policy = self.policy
        headers = {"User-Agent": policy.user_agent, "Accept-Encoding": "gzip, deflate"}
        # proxies of the environment would be asked to connect for us, past every check; and a connection that is kept
        # would be taken again for another name with the same address, whose certificate was never looked at
        client = httpx.AsyncClient(
            headers=headers, timeout=policy.timeout_s, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )
        self._client = httpx_secure.httpx_ssrf_protection(
            client, check_globally_reachable=False, custom_validator=self._may_connect
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    def _may_connect(self, _: str, address: IPv4Address | IPv6Address, port: int) -> bool:
        return any(address in found and at == port for (_, at), found in self._addresses.items())

    async def get(self, url: str, etag: str = "", modified: str = "") -> Page | None:
        """Return a page, None when it is as it was at `etag` or `modified`.

        Raises InputError for an address that is not asked, DataError for an answer that is not taken.
        """
        conditions = {"If-None-Match": etag} if etag else {"If-Modified-Since": modified} if modified else {}
        try:
            async with asyncio.timeout(self.policy.timeout_s) as clock:
                return await self._follow(url, conditions, clock)
        except TimeoutError as error:
            raise DataError(f"{url}: took longer than {self.policy.timeout_s:g} s") from error

    async def pages_of(self, url: str) -> AsyncIterator[str]:
        """Yield the pages that `url` stands for: itself, or those of a sitemap, at most `max_pages`."""
        start = check_url(url)
        if not is_sitemap(start):
            yield start
            return
        waiting, seen, pages, read = [start], {start}, 0, 0
        while waiting:
            if read == MAX_SITEMAPS:
                self.cut.add(url)
                self.notes.append(f"{url}: stands for more than {MAX_SITEMAPS} sitemaps, the rest was left out")
                return
            at, read = waiting.pop(0), read + 1
            try:
                found = await self._located(at)
            except QuantaiError as error:
                if at == start:
                    raise
                self.cut.add(url)
                self.notes.append(str(error))
                continue
            if not found:  # a page that says "closed until noon" looks like that, too
                self.cut.add(url)
                self.notes.append(f"{at}: names no page of its own host")
            for each in found:
                if each in seen:
                    continue
                seen.add(each)
                if is_sitemap(each):
                    waiting.append(each)
                elif pages == self.policy.max_pages:
                    self.cut.add(url)
                    self.notes.append(f"{url}: names more than {pages} pages, the rest was left out")
                    return
                else:
                    pages += 1
                    yield each

    async def _located(self, sitemap: str) -> list[str]:
        page = await self.get(sitemap)
        if page is None or page.gone:
            raise DataError(f"{sitemap}: no such sitemap")
        return locations(page.data, page.url)

    async def _follow(self, url: str, conditions: dict[str, str], clock: asyncio.Timeout) -> Page | None:
        at = check_url(url)
        for _ in range(self.policy.max_redirects + 1):
            await self._check(at)
            if self.policy.robots and not await self._manners.allowed(at):
                raise InputError(f"{at}: the robots.txt of its host does not allow it")
            answer = await self._ask(at, conditions, clock)
            if answer is None or isinstance(answer, Page):
                return answer
            at = check_url(answer, at)
        raise DataError(f"{url}: more than {self.policy.max_redirects} redirects")

    async def _check(self, url: str) -> list[IPv4Address | IPv6Address]:
        """Return the addresses of a host, looked up once; raises InputError when one of them may not be asked.

        It is done before a connection is opened: whether somebody listens inside is nobody's business outside.
        """
        try:
            at = httpx.URL(url)
            host, port = at.raw_host.decode("ascii"), at.port or (443 if at.scheme == "https" else 80)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise InputError(f"{url}: not a URL ({error})") from error
        if (host, port) not in self._addresses:
            try:
                found = await look_up(host, port)
            except (OSError, UnicodeError) as error:
                raise DataError(f"{url}: its host is not known ({error})") from error
            if f"{host}:{port}" not in self.policy.allow and not all(map(is_public, found)):
                raise InputError(f"{url}: its host is not on the public internet; allow it by name if it is yours")
            self._addresses[host, port] = found
        return self._addresses[host, port]

    @asynccontextmanager
    async def _open(self, url: str, conditions: dict[str, str], attempt: int = 0) -> AsyncGenerator[Any]:
        """Ask a page of one of the addresses that were checked, each in its turn, under the name of its host."""
        found, at = await self._check(url), httpx.URL(url)
        address = at.copy_with(host=str(found[attempt % len(found)]))
        headers = conditions | {"Host": at.netloc.decode("ascii")}
        named = {"sni_hostname": at.raw_host.decode("ascii")}
        async with self._client.stream("GET", address, headers=headers, extensions=named) as response:
            yield response

    async def _ask(self, url: str, conditions: dict[str, str], clock: asyncio.Timeout) -> Page | str | None:
        """Return the page, the address it has moved to, or None when it is unchanged."""
        for attempt in range(self.policy.retries + 1):
            async with _standing(clock):
                await self._manners.wait(url)
            try:
                async with self._open(url, conditions, attempt) as response:
                    if response.status_code not in _BUSY or attempt == self.policy.retries:
                        return await self._take(url, response)
                    pause = _retry_after(response, attempt)
            except httpx.TransportError as error:
                if attempt == self.policy.retries:
                    raise DataError(f"{url}: {error or type(error).__name__}") from error
                pause = 0.2 * 2**attempt
            except (httpx.InvalidURL, httpx.HTTPError, UnicodeError) as error:
                raise DataError(f"{url}: {error or type(error).__name__}") from error
            async with _standing(clock):
                await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def _take(self, url: str, response: Any) -> Page | str | None:
        status, headers = response.status_code, response.headers
        if status == 304:
            return None
        if status in _REDIRECTS and "location" in headers:
            return headers["location"]
        if status in (404, 410):
            return Page(url, b"", "", gone=True)
        if status != 200:
            raise DataError(f"{url}: the server answered {status}")
        content_type = headers.get("content-type", "")
        if not (is_known_type(content_type) or is_sitemap(url)):  # a packed sitemap is application/gzip
            raise DataError(f"{url}: cannot read {content_type.split(';')[0]}")
        data = await self._body(url, response, self.policy.max_bytes)
        return Page(url, data, content_type, headers.get("etag", ""), headers.get("last-modified", ""))

    async def _body(self, url: str, response: Any, limit: int) -> bytes:
        """Read a body, unpacking never more than `limit` bytes: a small packed body can unpack to a full disk."""
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise DataError(f"{url}: packed as {encoding}, which was not asked for")
        if int(response.headers.get("content-length") or 0) > limit:
            raise self._too_large(url, limit)
        unpack = zlib.decompressobj(47) if encoding not in ("", "identity") else None
        parts: list[bytes] = []
        size = 0
        async for raw in response.aiter_raw():
            try:
                part = unpack.decompress(raw, limit + 1 - size) if unpack else raw
            except zlib.error as error:
                raise DataError(f"{url}: damaged while packed ({error})") from error
            size += len(part)
            if size > limit:
                raise self._too_large(url, limit)
            parts.append(part)
        if unpack and parts and not unpack.eof:
            raise DataError(f"{url}: damaged while packed (it ends too early)")
        return b"".join(parts)

    def _too_large(self, url: str, limit: int) -> DataError:
        return DataError(f"{url}: larger than the {limit >> 20} MB allowed")

    async def _robots(self, url: str) -> tuple[int, str]:
        try:
            at = url
            for _ in range(self.policy.max_redirects + 1):
                async with self._open(at, {}) as response:
                    if response.status_code in _REDIRECTS and "location" in response.headers:
                        at = check_url(response.headers["location"], at)
                        continue
                    text = (await self._body(at, response, _MAX_ROBOTS)).decode("utf-8", "replace")
                    return response.status_code, text
        except (httpx.HTTPError, QuantaiError):
            return 0, ""
        return 404, ""


@asynccontextmanager
async def _standing(clock: asyncio.Timeout) -> AsyncGenerator[None]:
    """Stop the clock while we wait out of politeness: the time of a page is what its server takes."""
    now = asyncio.get_running_loop().time
    left = (clock.when() or now()) - now()
    clock.reschedule(None)
    yield
    clock.reschedule(now() + left)


def _retry_after(response: Any, attempt: int) -> float:
    asked = response.headers.get("retry-after", "")
    known = asked.isascii() and asked.isdecimal()
    return min(float(asked), _MAX_RETRY_AFTER_S) if known else 0.5 * 2**attempt

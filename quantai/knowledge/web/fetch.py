"""One page from the web, every step of the way checked."""

import asyncio
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Self
from urllib.parse import urljoin

import httpx
import httpx_secure

from quantai.core.errors import DataError, InputError, QuantaiError
from quantai.knowledge.readers.kinds import is_known_type
from quantai.knowledge.web.guard import WebPolicy, check_url, is_public
from quantai.knowledge.web.manners import Manners
from quantai.knowledge.web.sitemap import is_sitemap, locations

_REDIRECTS = {301, 302, 303, 307, 308}
_BUSY = {429, 502, 503, 504}
_MAX_RETRY_AFTER_S = 20.0


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
    """Fetches pages within one event loop: `async with Fetcher(policy) as fetcher: await fetcher.get(url)`."""

    def __init__(self, policy: WebPolicy | None = None) -> None:
        self.policy = policy = policy or WebPolicy()
        self._client: Any = None
        self._manners = Manners(policy.user_agent, policy.pause_s, self._robots)

    async def __aenter__(self) -> Self:
        policy = self.policy
        headers = {"User-Agent": policy.user_agent, "Accept-Encoding": "gzip, deflate"}
        # proxies of the environment would be asked to connect for us, past every check
        client = httpx.AsyncClient(headers=headers, timeout=policy.timeout_s, trust_env=False, follow_redirects=False)
        self._client = httpx_secure.httpx_ssrf_protection(
            client, check_globally_reachable=False, custom_validator=self._may_connect
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    def _may_connect(self, host: str, address: Any, port: int) -> bool:
        return is_public(address) or f"{host}:{port}" in self.policy.allow

    async def get(self, url: str, etag: str = "", modified: str = "") -> Page | None:
        """Return a page, None when it is as it was at `etag` or `modified`.

        Raises InputError for an address that is not asked, DataError for an answer that is not taken.
        """
        conditions = {"If-None-Match": etag} if etag else {"If-Modified-Since": modified} if modified else {}
        try:
            async with asyncio.timeout(self.policy.timeout_s):
                return await self._follow(url, conditions)
        except TimeoutError as error:
            raise DataError(f"{url}: took longer than {self.policy.timeout_s:g} s") from error

    async def pages_of(self, url: str) -> AsyncIterator[str]:
        """Yield the pages that `url` stands for: itself, or those of a sitemap, at most `max_pages`."""
        if not is_sitemap(url):
            yield url
            return
        open_, seen, count = [url], {url}, 0
        while open_ and count < self.policy.max_pages:
            at = open_.pop(0)
            page = await self.get(at)
            if page is None or page.gone:
                raise DataError(f"{at}: no such sitemap")
            for each in locations(page.data, page.url):
                if each in seen:
                    continue
                seen.add(each)
                if is_sitemap(each):
                    open_.append(each)
                elif count < self.policy.max_pages:
                    count += 1
                    yield each

    async def _follow(self, url: str, conditions: dict[str, str]) -> Page | None:
        at = check_url(url)
        for _ in range(self.policy.max_redirects + 1):
            if self.policy.robots and not await self._manners.allowed(at):
                raise InputError(f"{at}: the robots.txt of its host does not allow it")
            answer = await self._ask(at, conditions)
            if answer is None or isinstance(answer, Page):
                return answer
            at = check_url(urljoin(at, answer))
        raise DataError(f"{url}: more than {self.policy.max_redirects} redirects")

    async def _ask(self, url: str, conditions: dict[str, str]) -> Page | str | None:
        """Return the page, the address it has moved to, or None when it is unchanged."""
        for attempt in range(self.policy.retries + 1):
            await self._manners.wait(url)
            try:
                async with self._client.stream("GET", url, headers=conditions) as response:
                    if response.status_code not in _BUSY or attempt == self.policy.retries:
                        return await self._take(url, response)
                    pause = _retry_after(response, attempt)
            except httpx_secure.SSRFProtectionError as error:
                raise InputError(
                    f"{url}: its host is not on the public internet; allow it by name if it is yours"
                ) from error
            except httpx.TransportError as error:
                if attempt == self.policy.retries:
                    raise DataError(f"{url}: {error or type(error).__name__}") from error
                pause = 0.2 * 2**attempt
            except (httpx.InvalidURL, httpx.HTTPError, UnicodeError) as error:
                raise DataError(f"{url}: {error or type(error).__name__}") from error
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
        if not is_known_type(content_type):
            raise DataError(f"{url}: cannot read {content_type.split(';')[0]}")
        if int(headers.get("content-length") or 0) > self.policy.max_bytes:
            raise self._too_large(url)
        data = await self._body(url, response, headers.get("content-encoding", "").strip().lower())
        return Page(url, data, content_type, headers.get("etag", ""), headers.get("last-modified", ""))

    async def _body(self, url: str, response: Any, encoding: str) -> bytes:
        """Read a body, unpacking never more than what is allowed: a small packed body can unpack to a full disk."""
        limit = self.policy.max_bytes
        if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise DataError(f"{url}: packed as {encoding}, which was not asked for")
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
                raise self._too_large(url)
            parts.append(part)
        return b"".join(parts)

    def _too_large(self, url: str) -> DataError:
        return DataError(f"{url}: larger than the {self.policy.max_bytes >> 20} MB allowed")

    async def _robots(self, url: str) -> tuple[int, str]:
        try:
            at = url
            for _ in range(self.policy.max_redirects + 1):
                async with self._client.stream("GET", check_url(at)) as response:
                    if response.status_code in _REDIRECTS and "location" in response.headers:
                        at = urljoin(at, response.headers["location"])
                        continue
                    encoding = response.headers.get("content-encoding", "").strip().lower()
                    return response.status_code, (await self._body(at, response, encoding)).decode("utf-8", "replace")
        except httpx_secure.SSRFProtectionError as error:
            raise InputError(
                f"{url}: its host is not on the public internet; allow it by name if it is yours"
            ) from error
        except (httpx.HTTPError, QuantaiError):
            return 0, ""
        return 404, ""


def _retry_after(response: Any, attempt: int) -> float:
    asked = response.headers.get("retry-after", "")
    return min(float(asked), _MAX_RETRY_AFTER_S) if asked.isdigit() else 0.5 * 2**attempt

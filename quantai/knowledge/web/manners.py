"""Good manners: what robots.txt allows, and a pause between two requests to one host."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from protego import Protego

MAX_DELAY_S = 30.0
"""The longest pause that a robots.txt may ask for."""


def origin(url: str) -> str:
    """Return scheme, host and port of a URL.

    >>> origin("https://host:8080/a?b")
    'https://host:8080'
    """
    at = urlsplit(url)
    return f"{at.scheme}://{at.netloc}"


class Manners:
    """Asks each host's robots.txt once and lets one request at a time go to a host, `pause_s` apart.

    `load` returns the status and text of a robots.txt, status 0 when the host does not answer.
    """

    def __init__(self, agent: str, pause_s: float, load: Callable[[str], Awaitable[tuple[int, str]]]) -> None:
        self._agent, self._pause_s, self._load = agent, pause_s, load
        self._rules: dict[str, Protego] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._next: dict[str, float] = {}

    async def allowed(self, url: str) -> bool:
        """Say whether robots.txt lets us have a page. Without one all may be had; a host in trouble is left alone.

        Source: RFC 9309, section 2.3.1.
        """
        home = origin(url)
        async with self._turns.setdefault(f"robots {home}", asyncio.Lock()):
            if home not in self._rules:
                await self.wait(home)
                status, text = await self._load(f"{home}/robots.txt")
                if status == 0 or status >= 500:
                    text = "User-agent: *\nDisallow: /"
                elif status >= 400:
                    text = ""
                self._rules[home] = Protego.parse(text)
        return self._rules[home].can_fetch(url, self._agent)

    async def wait(self, url: str) -> None:
        """Return when it is this request's turn at its host."""
        home = origin(url)
        rules = self._rules.get(home)
        delay = (rules.crawl_delay(self._agent) if rules else None) or 0.0
        async with self._turns.setdefault(home, asyncio.Lock()):
            now = time.monotonic()
            at = max(now, self._next.get(home, 0.0))
            self._next[home] = at + max(self._pause_s, min(float(delay), MAX_DELAY_S))
        await asyncio.sleep(at - now)

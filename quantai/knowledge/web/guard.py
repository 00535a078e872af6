"""Which addresses may be asked, and the limits of one page.

A page is fetched for whoever can add a URL, and what it links to is chosen by strangers: neither may reach the
machine itself, its network, or the metadata service of a cloud. The name is looked up once and the address that was
checked is the one that is connected to, so that a name that changes its address in between gains nothing.
"""

import asyncio
import ipaddress
import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from urllib.parse import urljoin, urlsplit

from quantai.core.errors import InputError

_NAT64 = IPv6Network("64:ff9b::/96")
_ODD_NUMBER = re.compile(r"(0x[0-9a-f]*|\d+)(\.(0x[0-9a-f]*|\d+)){0,3}\.?$")


@dataclass(frozen=True, slots=True)
class WebPolicy:
    """The limits of fetching.

    `allow` names addresses as "host:port" that may be asked although they are not public, such as a wiki of the own
    network. Times are seconds; `timeout_s` is for a page with all its redirects.
    """

    allow: frozenset[str] = frozenset()
    max_bytes: int = 32 << 20
    max_pages: int = 500
    max_redirects: int = 5
    timeout_s: float = 30.0
    pause_s: float = 0.5
    retries: int = 2
    robots: bool = True
    user_agent: str = "quantai/0.1 (knowledge base; one user's own reading)"


def is_url(source: str) -> bool:
    """Say whether a source is meant as a URL.

    >>> is_url("https://host/page"), is_url("notes/a.md"), is_url("file:///etc/passwd")
    (True, False, True)
    """
    return "://" in source


def check_url(url: str, base: str = "") -> str:
    """Return `url`, where it may be relative to `base`, without its fragment; raises InputError for one never asked.

    >>> check_url("https://example.org/a#part")
    'https://example.org/a'
    >>> check_url("http://2130706433/")
    Traceback (most recent call last):
    quantai.core.errors.InputError: http://2130706433/: write the host as a name or a plain address
    """
    try:
        url = urljoin(base, url)
        at = urlsplit(url)
        host, _ = at.hostname, at.port
    except ValueError as error:
        raise InputError(f"{url.rpartition('@')[2]}: not a URL ({error})") from error
    if at.username is not None or at.password is not None:  # the first check: no other message may tell them
        raise InputError(f"{at.scheme}://…@{host}: a URL with a user name or password is not fetched")
    if at.scheme not in ("http", "https"):
        raise InputError(f"{url}: only http and https are fetched")
    if not host:
        raise InputError(f"{url}: there is no host in it")
    if _ODD_NUMBER.match(host.lower()) and not _is_plain_address(host):
        raise InputError(f"{url}: write the host as a name or a plain address")
    return url.split("#", 1)[0]


def _is_plain_address(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Say whether an address is one of the public internet, looking through the ways to write one inside another.

    >>> [
    ...     is_public(ipaddress.ip_address(text))
    ...     for text in ("9.9.9.9", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1")
    ... ]
    [True, False, False, False]
    """
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            inner = IPv4Address(address.packed[-4:])
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:  # what private networks were before fc00::/7
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


async def look_up(host: str, port: int) -> list[IPv4Address | IPv6Address]:
    """Return the addresses of a host, those of version 4 first; raises OSError or UnicodeError when it has none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    known = {ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in found}
    return sorted(known, key=lambda address: (address.version, int(address)))

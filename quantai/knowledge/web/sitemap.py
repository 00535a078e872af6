"""The pages that a sitemap names, and those of the sitemaps that it names."""

import html
import re
import zlib
from urllib.parse import urlsplit

from quantai.core.errors import DataError

MAX_SITEMAPS = 50
"""Sitemaps that are read for one address: each may name more, without end."""

# what has matched is not given back: a page of blanks must not take hours
_LOCATION = re.compile(rb"<(?:\w++:)?loc>([^<]*+(?:<!\[CDATA\[[^\]]*+\]\]>)?+[^<]*+)</")
_MAX_UNPACKED = 64 << 20


def is_sitemap(url: str) -> bool:
    """Say whether a URL looks like a sitemap.

    >>> is_sitemap("https://host/sitemap.xml"), is_sitemap("https://host/feed.xml")
    (True, False)
    """
    name = urlsplit(url).path.rsplit("/", 1)[-1].lower()
    return "sitemap" in name and name.endswith((".xml", ".xml.gz", ".txt"))


def locations(data: bytes, url: str) -> list[str]:
    """Return the addresses in a sitemap (XML, packed XML or lines of text) that are on its own host, each once.

    They are found by their tags, without an XML parser that could be made to expand entities. Raises DataError for a
    packed one that is damaged or too large.

    >>> locations(b"<urlset><url><loc>https://h/a?x=1&amp;y=2</loc></url></urlset>", "https://h/sitemap.xml")
    ['https://h/a?x=1&y=2']
    """
    if data[:2] == b"\x1f\x8b":
        data = _unpacked(data, url)
    found = _LOCATION.findall(data)
    if not found and not data.lstrip().startswith(b"<"):
        found = data.split()
    texts = (html.unescape(each.decode("utf-8", "replace")).strip() for each in found)
    texts = (text.removeprefix("<![CDATA[").removesuffix("]]>").strip().split("#", 1)[0] for text in texts)
    host = _host(url)
    return list(dict.fromkeys(text for text in texts if _host(text) == host))


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def _unpacked(data: bytes, url: str) -> bytes:
    unpack = zlib.decompressobj(47)
    try:
        found = unpack.decompress(data, _MAX_UNPACKED)
    except zlib.error as error:
        raise DataError(f"{url}: damaged while packed ({error})") from error
    if not unpack.eof:
        raise DataError(f"{url}: ends too early, or unpacks to more than the {_MAX_UNPACKED >> 20} MB allowed")
    return found

"""The pages that a sitemap names, and those of the sitemaps that it names."""

import html
import re
import zlib
from urllib.parse import urlsplit

_LOCATION = re.compile(rb"<(?:\w+:)?loc>\s*(?:<!\[CDATA\[)?\s*([^<\]]+?)\s*(?:\]\]>)?\s*</(?:\w+:)?loc>")
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

    They are found by their tags, without an XML parser that could be made to expand entities.

    >>> locations(b"<urlset><url><loc>https://h/a?x=1&amp;y=2</loc></url></urlset>", "https://h/sitemap.xml")
    ['https://h/a?x=1&y=2']
    """
    if data[:2] == b"\x1f\x8b":
        data = zlib.decompressobj(47).decompress(data, _MAX_UNPACKED)
    found = _LOCATION.findall(data)
    if not found and not data.lstrip().startswith(b"<"):
        found = data.split()
    host = urlsplit(url).netloc
    texts = (html.unescape(each.decode("utf-8", "replace")) for each in found)
    return list(dict.fromkeys(text for text in texts if urlsplit(text).netloc == host))

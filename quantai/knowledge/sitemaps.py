"""Which pages a sitemap brought into a store: what it names no more goes, as a file gone from its folder does."""

import json
from collections.abc import Sequence

from quantai.knowledge.manifest import Manifest
from quantai.knowledge.web import is_sitemap

_KEY = "sitemaps"
_ALONE = ""
"""Stands for the pages that were asked for by their own address: those stay whatever a sitemap says."""


class Sitemaps:
    """The pages that each sitemap of a collection named when it was read last, kept in the manifest.

    A store made before there was this list learns it the next time its sitemaps are added.
    """

    def __init__(self, manifest: Manifest, collection: str) -> None:
        self._manifest, self._collection = manifest, collection

    def no_longer(self, url: str, pages: Sequence[str], *, whole: bool) -> set[str]:
        """Note that `url` stands for `pages` now; returns those that it did before, and that nothing else names.

        Of a sitemap that could not be read `whole` nothing is known to be gone.
        """
        every = json.loads(self._manifest.get(_KEY, "{}"))
        mine: dict[str, list[str]] = every.setdefault(self._collection, {})
        name = url if is_sitemap(url) else _ALONE
        before = mine.get(name, [])
        kept = list(pages) if name and whole else list(dict.fromkeys([*before, *pages]))
        if kept != before:
            mine[name] = kept
            self._manifest.set(_KEY, json.dumps(every))
        return set(before).difference(*mine.values())

"""Pages from the web: what is fetched, how politely, and what is refused.

| module | what it holds |
|---|---|
| `guard` | `WebPolicy`: which addresses may be asked and how large, long and often; `check_url` |
| `fetch` | `Fetcher`: one page, guarded on every redirect |
| `manners` | robots.txt and a pause between two requests to one host |
| `sitemap` | the pages that a sitemap names |
"""

from quantai.knowledge.web.fetch import Fetcher, Page
from quantai.knowledge.web.guard import WebPolicy, check_url, is_url
from quantai.knowledge.web.sitemap import is_sitemap

__all__ = ["Fetcher", "Page", "WebPolicy", "check_url", "is_sitemap", "is_url"]

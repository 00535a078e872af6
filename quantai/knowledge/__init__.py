"""Knowledge: documents go in, passages with citations come out.

| module | what it holds |
|---|---|
| `knowledge` | `Knowledge`, what a user calls: add, list, remove, search, ask, evaluate |
| `store`, `manifest`, `vectors`, `lexical` | one store: SQLite is the authority, Chroma and BM25 are made from it |
| `embedding`, `model`, `graph` | texts to vectors: MiniLM offline, or any of LangChain's |
| `search`, `fusion`, `words`, `evaluate` | ranking, what counts as found, and how good it is |
| `ingest`, `sitemaps`, `readers`, `chunks`, `passages` | files, pages and objects to chunks that a citation can open |
| `web` | the fetcher: what it refuses, how often it asks, what it keeps |
| `answers` | answers from passages alone or by a chat model, every claim cited |
"""

from quantai.core.errors import MissingExtra

try:
    from quantai.knowledge.knowledge import Knowledge
except ModuleNotFoundError as error:
    if (error.name or "").startswith("quantai"):
        raise
    raise MissingExtra(error.name or "a package", "knowledge") from None

__all__ = ["Knowledge"]

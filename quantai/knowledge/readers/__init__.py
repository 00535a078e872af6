"""Readers: the bytes of a file or page to chunks, by what the file is.

| module | reads |
|---|---|
| `kinds` | which reader a suffix or content type means |
| `markup` | Markdown by heading, HTML without its navigation, plain text |
| `source` | Python by symbol, notebooks by cell |
| `paper` | PDF by page, Word by heading, PowerPoint by slide |
| `pdf_process` | the text of a PDF, in a process of its own with bounds of time and memory |
| `tables` | what is in a CSV or Parquet file: columns, types, ranges, first rows |
| `objects` | strategies, results and other objects of a notebook |
"""

from quantai.knowledge.readers.kinds import KINDS, is_known, read
from quantai.knowledge.readers.objects import read_object

__all__ = ["KINDS", "is_known", "read", "read_object"]

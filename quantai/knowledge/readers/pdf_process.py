"""The text of a PDF, page by page, in a process of its own: a hostile file may slow it down, fill it or kill it.

`python -P pdf_process.py CPU_S BYTES PAGES` reads the file from stdin and writes one JSON object: `title` and `pages`,
or `error` in words. It imports nothing of ours, because it is started for each document.
"""

import json
import resource
import sys
from contextlib import suppress
from typing import Any

MAX_TEXT = 64 << 20
"""Characters of text that a PDF may hold: what is written is read by the process that asked."""


def main(cpu_s: int, memory: int, most_pages: int) -> None:
    """Read, within these limits of processor time and memory, and write what was found."""
    for kind, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, cpu_s), (resource.RLIMIT_AS, memory)):
        hard = resource.getrlimit(kind)[1]
        with suppress(ValueError, OSError):  # macOS bounds no address space
            resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    try:
        found = read(sys.stdin.buffer.read(), most_pages)
    except MemoryError:
        sys.exit(9)
    sys.stdout.write(json.dumps(found))


def read(data: bytes, most_pages: int) -> dict[str, Any]:
    """Return the title and the text of each page, or what is wrong with the file."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        return {"error": f"not a readable PDF ({error})"}
    if len(document) > most_pages:
        return {"error": f"{len(document)} pages, more than the {most_pages} allowed"}
    pages: list[str] = []
    size = 0
    for number in range(len(document)):
        page = document[number]
        pages.append(page.get_textpage().get_text_bounded())
        page.close()
        size += len(pages[-1])
        if size > MAX_TEXT:
            return {"error": f"more than the {MAX_TEXT >> 20} MB of text allowed"}
    return {"title": document.get_metadata_value("Title"), "pages": pages}


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))

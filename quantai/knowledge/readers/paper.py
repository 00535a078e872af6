"""PDF by page, Word documents by heading, PowerPoint by slide."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quantai.core.errors import DataError
from quantai.knowledge.chunks import split
from quantai.knowledge.passages import Chunk, Reading
from quantai.knowledge.readers.kinds import title_from
from quantai.knowledge.readers.markup import markdown_chunks

MAX_PAGES = 10_000

MAX_CPU_S, MAX_MEMORY = 120, 2 << 30
"""Seconds of processor and bytes of memory that reading one PDF may take; a thousand pages take some seconds."""

_PATIENCE_S = 1_800.0  # where others have the processors
_PROCESS = Path(__file__).with_name("pdf_process.py")


def read_pdf(data: bytes, name: str) -> Reading:
    """Read a PDF by page, in a process of its own that may take `MAX_CPU_S` and `MAX_MEMORY`.

    One that holds pictures of text only has no chunks, and is refused as such.
    """
    found = _pages(data, name)
    chunks: list[Chunk] = []
    for number, text in enumerate(found["pages"], 1):
        chunks += split(text.replace("\r\n", "\n").replace("\ufffe", ""), page=number)
    if found["pages"] and not chunks:
        count = len(found["pages"])
        raise DataError(f"{name}: its {count} pages hold no text, only pictures: run a text recognition over it first")
    return Reading(found["title"].strip() or title_from(name), "pdf", tuple(chunks))


def _pages(data: bytes, name: str) -> dict[str, Any]:
    # -P: beside the program lie modules of ours, one of which is called like one of Python's or may be
    command = [sys.executable, "-P", str(_PROCESS), str(MAX_CPU_S), str(MAX_MEMORY), str(MAX_PAGES)]
    try:
        ran = subprocess.run(command, input=data, capture_output=True, timeout=_PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        raise DataError(f"{name}: takes longer than {_PATIENCE_S / 60:g} minutes to read") from None
    if ran.returncode == -signal.SIGXCPU:
        raise DataError(f"{name}: takes more than the {MAX_CPU_S} s of processor allowed to read")
    if ran.returncode == 1:
        raise DataError(f"{name}: cannot be read ({' '.join(ran.stderr.decode(errors='replace').split()[-30:])})")
    if ran.returncode:
        raise DataError(f"{name}: damaged, or needs more than the {MAX_MEMORY >> 20} MB of memory allowed to read")
    found = json.loads(ran.stdout)
    if "error" in found:
        raise DataError(f"{name}: {found['error']}")
    return found


def read_docx(data: bytes, name: str) -> Reading:
    """Read a Word document by heading, with its tables."""
    import docx

    document = docx.Document(io.BytesIO(data))
    text = "\n\n".join(part for part in map(_docx_block, document.iter_inner_content()) if part)
    title = (document.core_properties.title or "").strip()
    return Reading(title or title_from(name), "docx", tuple(markdown_chunks(text, lines=False)))


def _docx_block(block: Any) -> str:
    if hasattr(block, "rows"):
        return "\n".join(" | ".join(cell.text.strip() for cell in row.cells) for row in block.rows)
    style = block.style.name if block.style is not None else ""
    text = block.text.strip()
    if style == "Title" and text:
        return f"# {text}"
    if style.startswith("Heading") and text:
        level = style.removeprefix("Heading").strip()
        return f"{'#' * min(int(level) if level.isdigit() else 1, 6)} {text}"
    return text


def read_slides(data: bytes, name: str) -> Reading:
    """Read a presentation by slide: `page` is the slide's number; its notes belong to it."""
    import pptx

    slides = pptx.Presentation(io.BytesIO(data))
    chunks: list[Chunk] = []
    for number, slide in enumerate(slides.slides, 1):
        title = slide.shapes.title.text_frame.text.strip() if slide.shapes.title is not None else ""
        chunks += split("\n\n".join(_slide_texts(slide)), heading=title, page=number)
    title = (slides.core_properties.title or "").strip()
    return Reading(title or title_from(name), "slides", tuple(chunks))


def _slide_texts(slide: Any) -> Iterator[str]:
    for shape in slide.shapes:
        if getattr(shape, "has_table", False):
            yield "\n".join(" | ".join(cell.text.strip() for cell in row.cells) for row in shape.table.rows)
        elif shape.has_text_frame and shape.text_frame.text.strip():
            yield shape.text_frame.text.strip()
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        yield slide.notes_slide.notes_text_frame.text.strip()

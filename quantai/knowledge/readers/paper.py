"""PDF by page, Word documents by heading, PowerPoint by slide."""

import io
import threading
from collections.abc import Iterator
from typing import Any

from quantai.core.errors import DataError
from quantai.knowledge.chunks import split
from quantai.knowledge.passages import Chunk, Reading
from quantai.knowledge.readers.kinds import title_from
from quantai.knowledge.readers.markup import markdown_chunks

MAX_PAGES = 10_000

_pdfium = threading.Lock()  # the library keeps global state: one call at a time


def read_pdf(data: bytes, name: str) -> Reading:
    """Read a PDF by page. One that holds pictures of text only has no chunks, and is refused as such."""
    import pypdfium2

    chunks: list[Chunk] = []
    with _pdfium:
        try:
            document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            raise DataError(f"{name}: not a readable PDF ({error})") from error
        try:
            title = document.get_metadata_value("Title").strip()
            count = len(document)
            if count > MAX_PAGES:
                raise DataError(f"{name}: {count} pages, more than the {MAX_PAGES} allowed")
            for number in range(count):
                page = document[number]
                text = page.get_textpage().get_text_bounded().replace("\r\n", "\n").replace("\ufffe", "")
                page.close()
                chunks += split(text, page=number + 1)
        finally:
            document.close()
    if count and not chunks:
        raise DataError(f"{name}: its {count} pages hold no text, only pictures: run a text recognition over it first")
    return Reading(title or title_from(name), "pdf", tuple(chunks))


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

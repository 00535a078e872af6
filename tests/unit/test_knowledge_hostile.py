"""Documents that somebody wrote to do harm, or without care: none hangs, fills or ends the work on the others."""

import gzip
import io
import signal
import sys
import zipfile
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import quantai as qa
from quantai.knowledge import Knowledge
from quantai.knowledge.chunks import split
from quantai.knowledge.readers import paper, read
from quantai.knowledge.readers.kinds import MAX_MARKUP
from quantai.knowledge.readers.markup import markdown_chunks, sections
from quantai.knowledge.web.sitemap import locations
from tests.knowledge_setting import HashEmbedder, write_notes
from tests.unit.test_knowledge_readers import pdf_file

BLANKS = " " * 200_000


@contextmanager
def cpu_seconds(most: int) -> Generator[None]:
    """Fail when the block takes more time of the processor; how busy the machine is does not matter."""

    def fail(*_: Any) -> None:
        raise AssertionError(f"more than {most} s of work")

    before = signal.signal(signal.SIGVTALRM, fail)
    signal.setitimer(signal.ITIMER_VIRTUAL, most)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


LONG: dict[str, Callable[[], Any]] = {
    "blanks in a heading": lambda: list(sections(f"# a{BLANKS}b\n")),
    "blanks in a sitemap": lambda: locations(f"<loc>{BLANKS}x".encode() * 2, "http://h/sitemap.xml"),
    "blanks on a page": lambda: read(
        f"<html><body><article><p>{'Words of it. ' * 40}</p><pre>a{BLANKS}b</pre></article></body></html>".encode(),
        "a.html",
    ),
    "headings": lambda: markdown_chunks("# h\nx\n" * 100_000),
    "lines": lambda: split("word another\n" * 1_000_000, line=1),
}


@pytest.mark.parametrize("name", LONG)
def test_what_is_long_takes_no_more_than_its_length(name: str) -> None:
    with cpu_seconds(60):
        LONG[name]()


def packed(size: int, name: str = "word/document.xml") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, b"<w/>" * (size // 4))
    return out.getvalue()


@pytest.mark.parametrize("before", [b"", b"MZ something before it"])
def test_a_bomb_is_not_unpacked_whatever_stands_before_it(before: bytes) -> None:
    with pytest.raises(qa.DataError, match="unpacks to 33 MB"):
        read(before + packed(MAX_MARKUP + (1 << 20)), "bomb.docx")


def hostile_pdf(*streams: tuple[str, str]) -> bytes:
    """A PDF of one page that shows the first of these forms (entries, content), each of which may show the next."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>"]
    form = "/Resources << /XObject << /F {} 0 R >> >>"
    objects.append(f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R {form.format(5)} >>")
    objects.append("<< /Length 5 >>\nstream\n/F Do\nendstream")
    for number, (entries, content) in enumerate(streams, 6):
        shown = f"/Type /XObject /Subtype /Form /BBox [0 0 9 9] {form.format(number)}"
        objects.append(f"<< {shown} {entries} /Length {len(content)} >>\nstream\n{content}\nendstream")
    return pdf_file([*objects, "<< /Title (Nobody reads it) >>"])


def test_a_pdf_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "MAX_CPU_S", 1)
    with pytest.raises(qa.DataError, match=r"loop\.pdf: takes more than the 1 s of processor allowed"):
        read(hostile_pdf(*[("", "/F Do " * 10)] * 15), "loop.pdf")


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS bounds no address space")
def test_a_pdf_that_fills_the_memory_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "MAX_MEMORY", 256 << 20)
    many = zlib.compress(b"BT /F1 9 Tf (x) Tj ET " * (3 << 20)).decode("latin-1")
    with pytest.raises(qa.DataError, match=r"bomb\.pdf: .*the 256 MB of memory allowed"):
        read(hostile_pdf(("/Filter /FlateDecode", many)), "bomb.pdf")


def test_columns_of_a_table_are_not_read_whole() -> None:
    out = io.BytesIO()
    count = 5_000_000
    pq.write_table(pa.table({"a": np.zeros(count)}), out, row_group_size=count)
    pool = pa.system_memory_pool()
    before, default = pool.max_memory(), pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        text = read(out.getvalue(), "a.parquet").chunks[0].text
    finally:
        pa.set_memory_pool(default)
    assert "5000000 rows" in text
    assert pool.max_memory() < before + 8 * count // 2


def test_the_ends_of_a_column_are_those_of_the_whole_file() -> None:
    out = io.BytesIO()
    rows = pa.table({"n": range(1000), "day": [f"2024-01-{1 + n % 28:02}" for n in range(1000)]})
    pq.write_table(rows, out, row_group_size=100)
    text = read(out.getvalue(), "a.parquet").chunks[0].text
    assert "n | int64 | 0 | 999" in text
    assert "day | string | 2024-01-01 | 2024-01-28" in text


def test_a_line_of_python_ends_where_python_ends_it() -> None:
    text = 'X = 1\n\x0c\ndef first():\n    return "\u2028"\n\n\ndef second():\n    return 2\n'
    chunks = read(text.encode(), "a.py").chunks
    assert [(chunk.heading, chunk.line) for chunk in chunks] == [("", 1), ("first", 3), ("second", 7)]
    assert chunks[1].text == 'def first():\n    return "\u2028"'
    assert all(text[chunk.start : chunk.end] == chunk.text for chunk in chunks)


def test_a_heading_keeps_its_sharps_and_loses_those_that_close_it() -> None:
    found = [section.path[-1] for section in sections("# C#\na\n# Setup ##\nb\n# F # #\nc\n")]
    assert found == ["C#", "Setup", "F #"]


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        ("koi8-r", "Цена на газ выросла, спрос упал."),
        ("windows-1251", "Цена на газ."),
        ("shift_jis", "市場価格が上昇した。"),
    ],
)
def test_a_page_is_in_the_encoding_that_its_server_says(charset: str, text: str) -> None:
    page = f"<html><body><article><p>{text}</p></article></body></html>".encode(charset)
    assert read(page, "http://h/p", f"text/html; charset={charset}").chunks[0].text == text
    assert read(text.encode(charset), "http://h/p.txt", f'text/plain; charset="{charset}"').chunks[0].text == text


@pytest.mark.parametrize("charset", ["punycode", "unicode_escape", "rot13", "nonsense", "iso-8859-1"])
def test_an_encoding_that_is_none_or_wrong_is_not_taken(charset: str) -> None:
    assert read("Café.".encode(), "http://h/p.txt", f"text/plain; charset={charset}").chunks[0].text == "Café."


@pytest.mark.parametrize(
    "data",
    [
        b"\x1f\x8b broken",
        gzip.compress(b"<loc>http://h/a</loc>" * 99, mtime=0)[:-9],
        gzip.compress(bytes(65 << 20), mtime=0),
    ],
)
def test_a_packed_sitemap_that_is_damaged_or_too_large_is_refused(data: bytes) -> None:
    with pytest.raises(qa.DataError, match=r"damaged while packed|ends too early"):
        locations(data, "http://h/sitemap.xml.gz")


def test_addresses_in_a_sitemap_that_are_none_are_left_out() -> None:
    places = "".join(
        f"<loc> {place} </loc>" for place in ("http://[h/a", "http://h/ok#part", "http://i/other", "//", "")
    )
    assert locations(f"<urlset>{places}<loc><![CDATA[http://H/b]]></loc>".encode(), "http://h/sitemap.xml") == [
        "http://h/ok",
        "http://H/b",
    ]


def test_one_document_that_cannot_be_stored_ends_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    write_notes(folder, 2)
    half = b'{"cells": [{"cell_type": "markdown", "source": "# Half \\ud800 title\\nText \\ud800 of it"}]}'
    (folder / "half.ipynb").write_bytes(half)
    with Knowledge(tmp_path / "store", embedding=HashEmbedder()) as kb:
        done = kb.add(folder, {"name": "a \udc00 b"}, quiet=True)
        assert done.added == 3
        assert [why.endswith("rename it") for why in done.failed.values()] == [True]
        assert kb.search("text \ud800 of it")[0].text == "Text \ufffd of it"


def test_links_out_of_a_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "secret.txt").write_text("The secret key.")
    (tmp_path / "notes" / "link.txt").symlink_to(tmp_path / "secret.txt")
    with Knowledge(tmp_path / "store", embedding="none") as kb:
        assert kb.add(tmp_path / "notes", quiet=True).added == 0
        assert kb.add(tmp_path / "notes" / "link.txt", quiet=True).added == 1, "one that is named is meant"

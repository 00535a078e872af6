"""Every kind of document is read into chunks whose place a citation can open."""

import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import docx
import pandas as pd
import pptx
import pytest

import quantai as qa
from quantai.knowledge.chunks import LONGEST, split
from quantai.knowledge.readers import read, read_object
from quantai.knowledge.readers.kinds import MAX_UNPACKED, kind_of
from quantai.knowledge.readers.markup import sections

MARKDOWN = """---
title: front matter
---
Before any heading.

# Guide

Text of the guide.

```python
# not a heading
x = 1
```

## Setup

Run `make setup`.

Underlined
----------

| a | b |
|---|---|
| 1 | 2 |
"""


def pdf(pages: list[str], title: str = "") -> bytes:
    """A PDF with a line of text on each page, written by hand."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", ""]
    kids: list[str] = []
    for text in pages:
        stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else ""
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        font = "<< /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
        content = len(objects)
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {content} 0 R /Resources {font} >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    return pdf_file([*objects, f"<< /Title ({title}) >>"])


def pdf_file(objects: list[str]) -> bytes:
    """A PDF of these objects: the first is its catalog, the last says what it is called."""
    out, offsets = "%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    out += f"trailer << /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>\nstartxref\n{start}\n%%EOF\n"
    return out.encode("latin-1")


def test_markdown_is_cut_at_its_headings() -> None:
    reading = read(MARKDOWN.encode(), "guide.md")
    assert reading.title == "Guide"
    assert [chunk.heading for chunk in reading.chunks] == ["", "Guide", "Guide > Setup", "Guide > Underlined"]
    for chunk in reading.chunks:
        assert MARKDOWN[chunk.start : chunk.end] == chunk.text
        assert MARKDOWN.splitlines()[(chunk.line or 0) - 1] == chunk.text.splitlines()[0]
    assert "# not a heading" in reading.chunks[1].text


def test_headings_in_an_unclosed_code_block_are_none() -> None:
    assert [section.path for section in sections("# A\n~~~\n# b\n")] == [("A",)]


def test_html_leaves_out_navigation_and_keeps_tables() -> None:
    page = """<html><head><title>Fees of the venue</title><script>var secret = 1;</script></head><body>
    <nav><a href="/">Home</a> <a href="/jobs">Jobs</a></nav>
    <article><h1>Fees</h1><p>The maker fee is two basis points for every order that adds liquidity to the book.</p>
    <h2>Table</h2><table><tr><th>Tier</th><th>Maker</th></tr><tr><td>VIP 1</td><td>0.016 %</td></tr></table>
    <p>Taker fees are charged on every order that removes liquidity, and they are higher than maker fees.</p></article>
    <footer>Imprint and cookies</footer></body></html>"""
    reading = read(page.encode(), "https://host/fees", "text/html; charset=utf-8")
    text = "\n".join(chunk.text for chunk in reading.chunks)
    assert reading.title == "Fees of the venue"
    assert "two basis points" in text
    assert "VIP 1" in text
    assert "0.016 %" in text
    assert "secret" not in text
    assert any(chunk.heading.endswith("Table") for chunk in reading.chunks)


def test_pdf_is_read_by_page() -> None:
    reading = read(pdf(["Revenue rose", "Costs fell by 12 percent"], "Report"), "report.pdf")
    assert reading.title == "Report"
    assert [(chunk.page, chunk.text) for chunk in reading.chunks] == [
        (1, "Revenue rose"),
        (2, "Costs fell by 12 percent"),
    ]


def test_pdf_of_pictures_is_refused() -> None:
    with pytest.raises(qa.DataError, match="hold no text"):
        read(pdf(["", ""]), "scan.pdf")


def test_notebook_is_read_by_cell_with_outputs() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Study\n", "What we do."]},
        {"cell_type": "code", "source": "r.stats", "outputs": [{"data": {"text/plain": ["sharpe 1.5"]}}]},
    ]
    reading = read(json.dumps({"cells": cells}).encode(), "study.ipynb")
    assert reading.title == "Study"
    assert [(chunk.page, chunk.heading) for chunk in reading.chunks] == [(1, "Study"), (2, "Study")]
    assert "sharpe 1.5" in reading.chunks[1].text


def test_python_is_read_by_symbol_and_no_line_is_lost() -> None:
    path = Path(qa.__file__).parent / "knowledge" / "readers" / "source.py"
    text = path.read_text()
    reading = read(text.encode(), str(path))
    names = {chunk.heading for chunk in reading.chunks}
    assert {"read_python", "_parts", "read_notebook"} <= names
    for chunk in reading.chunks:
        assert text[chunk.start : chunk.end] == chunk.text
        assert text.splitlines()[(chunk.line or 0) - 1].strip() == chunk.text.splitlines()[0].strip()
    assert sum(len(chunk.text.split()) for chunk in reading.chunks) == len(text.split())


def test_tables_are_described_not_copied(tmp_path: Path) -> None:
    frame = pd.DataFrame({"symbol": ["BTC-USDT"] * 500, "px": range(500)})
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_csv(tmp_path / "t.csv", index=False, sep=";")
    for name in ("t.parquet", "t.csv"):
        text = "\n".join(chunk.text for chunk in read((tmp_path / name).read_bytes(), name).chunks)
        assert "500 rows, 2 columns" in text, name
        assert "px | int64 | 0 | 499" in text, name
        assert len(text) < 1000, name


def test_office_documents() -> None:
    document = docx.Document()
    document.add_heading("Policy", 0)
    document.add_heading("Limits", 1)
    document.add_paragraph("No position above 5 percent.")
    document.add_table(1, 2).rows[0].cells[1].text = "cell text"
    written = io.BytesIO()
    document.save(written)
    reading = read(written.getvalue(), "policy.docx")
    assert [chunk.heading for chunk in reading.chunks] == ["Policy > Limits"] or reading.chunks[-1].heading == "Limits"
    assert "cell text" in reading.chunks[-1].text

    slides = pptx.Presentation()
    slide = slides.slides.add_slide(slides.slide_layouts[1])
    slide.shapes.title.text = "Outlook"
    slide.placeholders[1].text = "Rates stay high."
    written = io.BytesIO()
    slides.save(written)
    reading = read(written.getvalue(), "deck.pptx")
    assert (reading.chunks[0].page, reading.chunks[0].heading) == (1, "Outlook")
    assert "Rates stay high." in reading.chunks[0].text


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"%PDF-1.4 broken", "a.pdf"),
        (b"PK\x03\x04 broken", "a.docx"),
        (b"{}", "a.ipynb"),
        (b"\xff\xfe\x00", "a.ipynb"),
        (b"def f(:", "a.py"),
        (b"PAR1 broken", "a.parquet"),
        (b'a,b\n1,2,3\n"', "a.csv"),
        (b"x", "a.exe"),
    ],
)
def test_damaged_files_are_refused_by_name(data: bytes, name: str) -> None:
    with pytest.raises(qa.DataError, match=name.replace(".", r"\.")):
        read(data, name)


def test_a_zip_bomb_is_not_unpacked() -> None:
    packed = io.BytesIO()
    archive = zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED)
    with archive, archive.open("word/document.xml", "w", force_zip64=True) as entry:
        for _ in range((MAX_UNPACKED >> 20) + 1):
            entry.write(bytes(1 << 20))
    with pytest.raises(qa.DataError, match="unpacks to"):
        read(packed.getvalue(), "bomb.docx")


def test_objects_of_a_notebook() -> None:
    class Cross(qa.Strategy):
        """Follows two averages."""

        fast: int = 10

        def on_bar(self, ctx, bar):
            ctx.target(1.0)

    name, reading = read_object(Cross)
    assert name.startswith("python:")
    assert "Follows two averages" in reading.chunks[0].text
    with pytest.raises(qa.InputError, match="cannot be added"):
        read_object(3.5)


def test_a_result_is_a_document_of_its_own_for_each_data_and_a_run_of_a_pipeline_is_one(tmp_path: Path) -> None:
    from quantai.notebook import RunTable
    from quantai.strategy.examples import Cross

    bars = qa.samples.sp500()
    names = set[str]()
    for one in (bars, bars.between("2010-01-01", None)):
        name, reading = read_object(qa.backtest(Cross(), one, fee_bps=5.0))
        names.add(name)
        text = "\n".join(chunk.text for chunk in reading.chunks)
        assert "sharpe: " in text
        assert f"data: {one.fingerprint}" in text
        assert "settings.fee_bps: 5" in text
    assert len(names) == 2
    table = RunTable(tmp_path)
    table.ask("nightly", Path("n.ipynb"), datetime(2024, 1, 1, tzinfo=UTC), {"symbol": "SPX"}, "x")
    name, reading = read_object(table.latest(1)[0])
    assert (name, reading.title) == ("run:id=1", "run id=1")
    assert "pipeline: nightly\nstatus: waiting" in reading.chunks[0].text
    assert "parameters.symbol: SPX" in reading.chunks[0].text


def test_long_text_is_cut_where_sentences_end() -> None:
    text = "One sentence of some words follows another. " * 200
    chunks = split(text)
    assert all(len(chunk.text) <= LONGEST for chunk in chunks)
    assert all(chunk.text.endswith(".") for chunk in chunks)
    assert " ".join(chunk.text for chunk in chunks) == text.strip()


def test_a_content_type_wins_over_a_name() -> None:
    assert kind_of("https://host/paper", "application/pdf") == "pdf"
    assert kind_of("https://host/a.md", "text/plain") == "markdown"
    with pytest.raises(qa.DataError, match="cannot read video/mp4"):
        kind_of("https://host/movie", "video/mp4")


def test_spaces_beside_code_and_emphasis_stay_in_lists_and_tables() -> None:
    item = "<ul><li><b>Note:</b> run it first.</li><li><p><code>x</code> is it.</p><p>So.</p></li></ul>"
    table = "<table><tr><td>see <code>x.py</code> and <i>y</i> again</td><td>2</td></tr></table>"
    page = f"<html><body><article><h1>T</h1>{item}{table}<p>{'More words. ' * 30}</p></article></body></html>"
    text = "\n".join(chunk.text for chunk in read(page.encode(), "http://host/p", "text/html").chunks)
    assert "**Note:** run it first." in text
    assert "`x` is it.- So." in text
    assert "| see `x.py` and y again | 2 |" in text

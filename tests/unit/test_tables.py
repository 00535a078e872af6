"""The generated tables in docs/ are what the code says today."""

from pathlib import Path

import pytest

from scripts.tables import DOCS, TABLES, filled, pages


@pytest.mark.parametrize("page", pages(), ids=lambda p: p.name)
def test_page_is_up_to_date(page: Path) -> None:
    assert filled(page.read_text()) == page.read_text(), f"run python -m scripts.tables to rewrite {page.name}"


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_on_a_page(name: str) -> None:
    assert any(f"<!-- table: {name} -->" in page.read_text() for page in DOCS.rglob("*.md"))


def test_an_unknown_table_is_an_error() -> None:
    with pytest.raises(KeyError, match="no such"):
        filled("<!-- table: no such -->\n<!-- end -->")

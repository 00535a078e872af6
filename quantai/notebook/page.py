"""An executed notebook as one HTML file that opens without a network."""

import re
from pathlib import Path
from typing import Any

from quantai.core.errors import MissingExtra

_FETCHING = re.compile(r'<script type="module">(?:(?!</script>).)*mermaid(?:(?!</script>).)*</script>', re.DOTALL)
"""The one script of the template that loads another: for diagrams in text cells, which stay text."""


def write_page(notebook: Path, page: Path, *, title: str, code: bool = True) -> Path:
    """Write the notebook as one page and return its path; what nbconvert would load from elsewhere is left out.

    Plots of plotly are drawn when the notebook was run with the renderer `notebook`, which puts the library into it.
    """
    try:
        import nbformat
        from nbconvert import HTMLExporter
    except ImportError:
        raise MissingExtra("nbconvert", "serve") from None

    exporter: Any = HTMLExporter(
        embed_images=True,
        exclude_input=not code,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        mathjax_url="",
        require_js_url="",
        jquery_url="",
        jupyter_widgets_base_url="",
        widget_renderer_url="",
        mermaid_js_url="",
    )
    body: str
    body, _ = exporter.from_notebook_node(nbformat.read(notebook, as_version=4), {"metadata": {"name": title}})
    body = _FETCHING.sub("", body)
    temporary = page.with_name(page.name + ".tmp")
    temporary.write_text(body, encoding="utf-8")
    return temporary.rename(page)

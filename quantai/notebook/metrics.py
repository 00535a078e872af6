"""Metrics of a run: a notebook says them, the run table keeps them."""

import json
from pathlib import Path
from typing import Any

from quantai.core.plain import plain

MIME = "application/vnd.quantai.metrics+json"


def record_metrics(**metrics: Any) -> None:
    """Show metrics below the cell, and keep them with the run when a pipeline runs the notebook.

    Later ones of a name replace earlier ones.

    >>> record_metrics(sharpe=1.25)
    {'sharpe': 1.25}
    """
    from IPython.core.getipython import get_ipython

    said = plain(metrics)
    if get_ipython() is None:
        print(said)  # noqa: T201 -- outside a notebook this is how it is shown
        return
    from IPython.display import display

    display({MIME: said, "text/plain": json.dumps(said)}, raw=True)


def read_metrics(notebook: Path) -> dict[str, Any]:
    """Return the metrics that the cells of an executed notebook recorded; none when it cannot be read."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError):
        return {}
    found: dict[str, Any] = {}
    for cell in cells:
        for output in cell.get("outputs", ()):
            found |= output.get("data", {}).get(MIME, {})
    return found

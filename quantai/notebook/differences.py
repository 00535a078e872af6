"""Two runs side by side: what was asked, what was run, what came of it."""

from datetime import datetime
from typing import Any

from quantai.notebook.run_table import Run


def compare_runs(a: Run, b: Run) -> dict[str, Any]:
    """Return what differs between two runs; of numbers in the metrics the change from `a` to `b`, too.

    `notebook` says whether the notebook itself is another one; `seconds` how long each took.
    """
    parameters = {
        name: [a.parameters.get(name), b.parameters.get(name)]
        for name in sorted(a.parameters.keys() | b.parameters.keys())
        if a.parameters.get(name) != b.parameters.get(name)
    }
    metrics: dict[str, Any] = {}
    for name in sorted(a.metrics.keys() | b.metrics.keys()):
        before, after = a.metrics.get(name), b.metrics.get(name)
        if before == after:
            continue
        metrics[name] = {"a": before, "b": after}
        if isinstance(before, int | float) and isinstance(after, int | float):
            metrics[name]["change"] = after - before
    return {
        "a": a.id,
        "b": b.id,
        "status": [a.status.value, b.status.value],
        "notebook changed": a.fingerprint != b.fingerprint,
        "parameters": parameters,
        "metrics": metrics,
        "seconds": [_seconds(a), _seconds(b)],
    }


def _seconds(run: Run) -> float | None:
    if run.started is None or run.ended is None:
        return None
    return (datetime.fromisoformat(run.ended) - datetime.fromisoformat(run.started)).total_seconds()

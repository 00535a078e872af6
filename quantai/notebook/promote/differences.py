"""Two versions side by side: source, parameters, data, environment, statistics and what the gates said."""

import difflib
from dataclasses import dataclass
from typing import Any

from quantai.notebook.promote.version import LOCK, SOURCE, Version


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two versions; `source` and `environment` are unified diffs, pairs are (before, after)."""

    before: str
    after: str
    source: str
    params: dict[str, tuple[Any, Any]]
    data: tuple[str, str] | None
    stats: dict[str, tuple[Any, Any]]
    gates: dict[str, tuple[Any, Any]]
    environment: str

    def __str__(self) -> str:
        lines = [f"{self.before} -> {self.after}"]
        for title, pairs in (("parameter", self.params), ("gate", self.gates), ("statistic", self.stats)):
            lines += [f"{title} {name}: {_shown(a)} -> {_shown(b)}" for name, (a, b) in pairs.items()]
        if self.data is not None:
            lines.append(f"data: {self.data[0]} -> {self.data[1]}")
        return "\n".join([*lines, *(text for text in (self.source, self.environment) if text)])


def difference(before: Version, after: Version) -> Difference:
    """Compare two versions; equal things are left out."""
    return Difference(
        before=before.tag,
        after=after.tag,
        source=_unified(before, after, SOURCE),
        params=_pairs(before.params, after.params),
        data=_other(before.manifest["data"]["fingerprint"], after.manifest["data"]["fingerprint"]),
        stats=_pairs(before.manifest["stats"], after.manifest["stats"]),
        gates=_pairs(before.gates, after.gates),
        environment=_unified(before, after, LOCK),
    )


def _unified(before: Version, after: Version, name: str) -> str:
    a, b = ((v.folder / name).read_text().splitlines() for v in (before, after))
    return "\n".join(difflib.unified_diff(a, b, f"{before.tag}/{name}", f"{after.tag}/{name}", lineterm="", n=2))


def _pairs(a: dict[str, Any], b: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (a.get(name), b.get(name)) for name in {**a, **b} if a.get(name) != b.get(name)}


def _other(a: str, b: str) -> tuple[str, str] | None:
    return (a, b) if a != b else None


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)

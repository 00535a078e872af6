"""The model card: what a version is, what it was tried on and what the gates said, for people."""

from collections.abc import Mapping
from typing import Any


def card(manifest: Mapping[str, Any]) -> str:
    """Return the card of a version as Markdown, from its manifest."""
    data, stats = manifest["data"], manifest["stats"]
    costs = ", ".join(f"{name} {bps:g} bp" for name, bps in manifest["costs"].items())
    params = ", ".join(f"{name}={value}" for name, value in manifest["params"].items()) or "none"
    overrides = manifest["overrides"]
    lines = [
        f"# {manifest['name']} {manifest['version']}",
        "",
        f"`{manifest['class']}` with {params}. Source hash {manifest['hash']}.",
        "",
        (
            f"Tried on {data['rows']:,} {data['what']} of {', '.join(data['symbols'])} from {data['first']} to "
            f"{data['last']} (fingerprint {data['fingerprint']}), charged {costs}."
        ),
        "",
        "| gate | | why |",
        "|---|---|---|",
        *(f"| {gate['name']} | {gate['outcome']} | {_cell(gate['reason'])} |" for gate in manifest["gates"]),
        "",
    ]
    if overrides:
        lines += ["Promoted although they failed:", ""]
        lines += [f"- {name}: {_cell(reason)}" for name, reason in overrides.items()] + [""]
    lines += ["| statistic | value |", "|---|---|", *(f"| {name} | {_number(x)} |" for name, x in stats.items()), ""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"

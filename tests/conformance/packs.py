"""The packs of expected answers and their adapters.

A pack is a JSON file with `cases`; `<pack>.schema.md` beside it explains every field and unit. Its adapter is the
module of the same name in this folder with `run(case) -> list[str]`: it drives the public API with one case and
returns how the answer differs from the expected one, nothing when it does not. An adapter translates; it never
decides.
"""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

Case = dict[str, Any]
Adapter = Callable[[Case], list[str]]

HERE = Path(__file__).parent


def packs(folder: Path = HERE) -> dict[str, list[Case]]:
    """Return the cases of every pack in `folder`, by the pack's name."""
    return {path.stem: json.loads(path.read_text())["cases"] for path in sorted(folder.glob("*.json"))}


def adapter(pack: str) -> Adapter | None:
    """Return the adapter of `pack`, None when there is none."""
    if not (pack.isidentifier() and (HERE / f"{pack}.py").is_file()):
        return None
    return getattr(import_module(f"{__package__}.{pack}"), "run", None)


def differences(run: Adapter, case: Case) -> list[str]:
    """Return how the answer to `case` differs; a case that raises has failed, whatever it raised."""
    try:
        return run(case)
    except Exception as error:  # noqa: BLE001
        return [f"raised {type(error).__name__}: {error}"]

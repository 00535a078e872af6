"""What every command prints and how it ends.

The conventions, for each file of this room:

- The answer goes to stdout through `emit`, once, as the last thing; everything said on the way goes to stderr
  (`console`, `quantai.ops.progress`). With `--json` stdout holds exactly one JSON object on one line.
- A command refuses by raising a QuantaiError whose message is one line that names the thing and the remedy. It never
  prints an error or calls `sys.exit` itself.
- Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.
- `EXAMPLES`, a module constant of one command line each, is shown under the command's `--help`.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quantai.core.plain import plain

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
"""The type of the `--json` option of every command: `json: Json = False`."""


def console() -> "Console":
    """Return a rich console on stderr, for everything that is not the answer."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def emit(answer: Mapping[str, Any], as_json: bool) -> None:
    """Print the answer of a command on stdout: one line of JSON, or a table for people.

    JSON has no NaN and no infinity: both become null. Instants become ISO 8601, decimals and paths strings.

    >>> emit({"rows": 3, "spread": float("nan")}, as_json=True)
    {"rows": 3, "spread": null}
    """
    if as_json:
        print(json.dumps(plain(answer), allow_nan=False, ensure_ascii=False), flush=True)
        return
    from rich.console import Console

    Console(highlight=False).print(_table(plain(answer)))


def _table(answer: Mapping[str, Any], depth: int = 0) -> "RenderableType":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE if depth == 0 else None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in answer.items():
        name = key.replace("_", " ") if key.islower() else key
        nested = isinstance(value, Mapping) and value and depth == 0
        table.add_row(name, _table(value, depth + 1) if nested else Text(_text(value)))
    return table


def _text(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.6g}"
        case list():
            items = [_text(item) for item in value]
            return ("\n" if any(len(item) > 40 for item in items) else ", ").join(items) or "-"
        case dict():
            return ", ".join(f"{key} {_text(item)}" for key, item in value.items()) or "-"
        case _:
            return str(value)

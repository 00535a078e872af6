"""`quantai replay`: run a recorded run again from its journal and show where it decides differently."""

from pathlib import Path
from typing import Annotated, Any

import typer

from quantai.cli.output import Json, emit
from quantai.core.errors import DataError

EXAMPLES = """
quantai replay cross.journal
quantai replay cross.journal --diff
quantai replay cross.journal --strategy my_strategy.py:Cross --diff --json
"""


def replay(
    run: Annotated[Path, typer.Argument(help="The journal of a recorded run.")],
    diff: Annotated[bool, typer.Option("--diff", help="Show the first difference of each kind.")] = False,
    strategy: Annotated[str, typer.Option(help="module:Class or file.py:Class, if not as recorded.")] = "",
    json: Json = False,
) -> None:
    """Run the strategy on the journal's rows; it must decide what was recorded, byte for byte."""
    from quantai.backtest.recorded import retrace_run

    found = retrace_run(run, strategy or None)
    answer: dict[str, Any] = {
        "run": found.run,
        "strategy": found.strategy,
        "bars": found.bars,
        "intents": found.intents,
        "same": found.same,
    }
    if diff:
        answer |= {"differences": found.differences, "first": found.first}
    emit(answer, json)
    if not found.same:
        more = "" if diff else f" ({len(found.differences)} differences; --diff shows them)"
        raise DataError(f"{run}: {found.differences[0]}{more}")

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
    run: Annotated[Path, typer.Argument(help="The journal of a recorded backtest, or of a run that traded.")],
    diff: Annotated[bool, typer.Option("--diff", help="Show the first difference of each kind.")] = False,
    strategy: Annotated[str, typer.Option(help="module:Class or file.py:Class, if not as recorded.")] = "",
    json: Json = False,
) -> None:
    """Run the strategy on the journal's rows; it must decide what was recorded, byte for byte."""
    from quantai.execution.retrace import has_traded

    answer = _traded(run, strategy) if has_traded(run) else _backtested(run, strategy)
    differences = answer["differences"]
    if not diff:
        answer = {name: value for name, value in answer.items() if name not in ("differences", "first")}
    emit(answer, json)
    if not answer["same"]:
        more = "" if diff else f" ({len(differences)} differences; --diff shows them)"
        raise DataError(f"{run}: {differences[0]}{more}")


def _backtested(run: Path, strategy: str) -> dict[str, Any]:
    from quantai.backtest.recorded import retrace_run

    found = retrace_run(run, strategy or None)
    return {
        "run": found.run,
        "strategy": found.strategy,
        "bars": found.bars,
        "intents": found.intents,
        "same": found.same,
        "differences": found.differences,
        "first": found.first,
    }


def _traded(run: Path, strategy: str) -> dict[str, Any]:
    from quantai.execution.retrace import retrace
    from quantai.strategy.load import load_strategy

    found = retrace(run, [load_strategy(strategy)] if strategy else [])
    return {
        "run": found.run,
        "strategy": ", ".join(found.strategies),
        "rows": found.rows,
        "intents": found.intents,
        "same": found.same,
        "differences": found.differences,
        "first": None,
    }

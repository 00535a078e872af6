"""`quantai explain`: the executions of a run that traded, beside the simulator's on the same rows."""

from pathlib import Path
from typing import Annotated, Any

import typer

from quantai.cli.output import Json, emit

EXAMPLES = """
quantai explain live.journal
quantai explain live.journal --queue power_prob --json
"""


def explain(
    run: Annotated[Path, typer.Argument(help="The journal of a run that traded.")],
    queue: Annotated[str, typer.Option(help="How a resting order moves up in the simulator.")] = "risk_averse",
    json: Json = False,
) -> None:
    """Compare realised executions with those a backtest would have made: slippage, latency, missed, extra."""
    from quantai.execution.explain import explain as compare
    from quantai.venues.rules import SimVenue

    found = compare(run, SimVenue(queue=queue))
    answer: dict[str, Any] = {name: value for name, value in found.__dict__.items() if json or name != "worst"}
    emit(answer | {"words": found.words}, json)

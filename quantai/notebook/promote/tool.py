"""The tool that puts a candidate into the store: as a challenger, which a person may make champion."""

from typing import Annotated, Any

from quantai.backtest import Result, Sweep
from quantai.notebook.promote.promotion import promote
from quantai.tools.registry import tool
from quantai.tools.workspace import Workspace


@tool(
    permission="write",
    category="research",
    foreign=False,
    timeout_s=900,
    examples=[{"candidate": "result-1", "name": "spx-cross"}],
)
def promote_candidate(
    workspace: Workspace,
    candidate: Annotated[str, "a result, or a sweep, whose best variant is meant: result-1, sweep-1"],
    name: Annotated[str, "what the strategy is called in the store, such as spx-cross"],
) -> dict[str, Any]:
    """Take a result through the gates and, if none refuses, store an exact version of it as the challenger of a name.

    A person decides whether it becomes the champion: nothing that is served changes. No gate can be overridden here.
    """
    kind = Sweep if isinstance(workspace.things.get(candidate), Sweep) else Result
    done = promote(workspace.find(candidate, kind), name=name, limits=workspace.limits, alias="challenger")
    return {
        "name": name,
        "version": done.version,
        "alias": done.alias,
        "refused": done.refusal,
        "gates": {gate.name: f"{gate.outcome}: {gate.reason}" for gate in done.gates},
    }

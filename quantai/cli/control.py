"""`quantai control`: tell a run that trades what to do, or ask what it is doing."""

import asyncio
import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer

from quantai.cli.output import Json, emit
from quantai.core.errors import InputError, UnknownName

EXAMPLES = """
quantai control live.journal status
quantai control live.journal pause --desk 0
quantai control live.journal set fast=5 slow=40
quantai control live.journal kill
"""

What = Annotated[str, typer.Argument(help="status, pause, resume, reduce, stop, flatten, kill, set, note or end.")]
Values = Annotated[list[str] | None, typer.Argument(help="For set and note: PARAM=VALUE, again for more.")]
_TAKING = {"set": "set fast=5", "note": "note checked=yes"}
DeskNumber = Annotated[int, typer.Option("--desk", help="The number of a strategy of the run; -1 is all of them.")]


def control(
    run: Annotated[Path, typer.Argument(help="The journal of a run that trades now.")],
    what: What = "",
    values: Values = None,
    desk: DeskNumber = -1,
    json: Json = False,
) -> None:
    """Pause, resume, reduce, stop, flatten, kill or end a run, change its parameters, or see its status.

    What is decided becomes a row of the journal before it takes effect. The run must belong to the same user: its
    address is in the file RUN.control, which nobody else may read. reduce and kill concern the account of a desk.
    """
    from quantai.execution.remote import VERBS, RunControl

    if str(run) in VERBS and what not in VERBS:
        raise typer.BadParameter(f"the journal comes first: quantai control {what or 'RUN.journal'} {run}")
    if not what:
        raise typer.BadParameter(f"say what {run} is to do: {', '.join(VERBS)}")
    if what not in VERBS:
        raise UnknownName("command", what, VERBS)
    if values and what not in _TAKING:
        raise InputError(f"{what} takes no {values[0]!r}: parameters belong to set and note")
    if not values and what in _TAKING:
        raise InputError(f"{what} needs at least one PARAM=VALUE, such as: quantai control {run} {_TAKING[what]}")
    answer = asyncio.run(RunControl(run).tell(what, desk, _parameters(values or [])))
    emit(answer.get("status") or {"run": str(run), "did": what, **answer}, json)


def _parameters(values: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in values:
        name, given, value = text.partition("=")
        if not (name and given):
            raise InputError(f"{text!r} is no parameter: write PARAM=VALUE")
        try:
            found[name] = jsonlib.loads(value)
        except ValueError:
            found[name] = value
    return found

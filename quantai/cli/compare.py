"""`quantai compare`: a run and a challenger on the same rows."""

from pathlib import Path
from typing import Annotated

import typer

from quantai.cli.output import Json, emit
from quantai.core.errors import InputError

EXAMPLES = """
quantai compare btc-cross
quantai compare live.journal btc-cross:challenger
quantai compare paper.journal btc-cross:20260102t030405-0a1b2c3d --json
"""


def compare(
    run: Annotated[str, typer.Argument(help="The name of a served strategy, or the journal of a run.")],
    challenger: Annotated[
        str, typer.Argument(help="For a journal: NAME:challenger, NAME:VERSION, or NAME for its champion.")
    ] = "",
    mode: Annotated[str, typer.Option(help="Which service of the name: paper, shadow or live.")] = "paper",
    folder: Annotated[Path | None, typer.Option(help="The folder of the service, where it has its own.")] = None,
    json: Json = False,
) -> None:
    """Print what a run and its challenger, in shadow, did on the very same rows.

    A service runs the challenger beside itself while it trades; a journal is shown to one when this is called. Both may
    still go on.
    """
    from quantai.notebook.promote.shadow import compare_on, compared
    from quantai.notebook.promote.store import check_stored, get, resolve, runs_of

    if challenger:
        emit(compare_on(run, get(resolve(challenger))).as_dict(), json)
        return
    if Path(run).is_file():
        raise InputError(f"{run} is a journal: say who is to be shown it, such as NAME:challenger")
    if folder is None:
        check_stored(run)
    emit(compared(folder or runs_of(run), mode), json)

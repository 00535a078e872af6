"""`quantai compare`: a run and a challenger on the same rows."""

from pathlib import Path
from typing import Annotated

import typer

from quantai.cli.output import Json, emit

EXAMPLES = """
quantai compare live.journal btc-cross:challenger
quantai compare paper.journal btc-cross:20260102t030405-0a1b2c3d --json
"""


def compare(
    run: Annotated[Path, typer.Argument(help="The journal of a run, which may still go on.")],
    challenger: Annotated[str, typer.Argument(help="NAME:challenger, NAME:VERSION, or NAME for its champion.")],
    json: Json = False,
) -> None:
    """Show a challenger, in shadow, the very rows that a run saw, and print what both did."""
    from quantai.notebook.promote.shadow import compare_on
    from quantai.notebook.promote.store import get, resolve

    emit(compare_on(run, get(resolve(challenger))).as_dict(), json)

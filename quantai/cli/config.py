"""`quantai config`: the settings, and where each of them is from."""

from typing import Annotated

import typer

from quantai.cli.output import Json, emit
from quantai.ops.config import config_files, describe, origins

EXAMPLES = """
quantai config show
quantai config show --origin
QUANTAI_LAKE=/mnt/lake quantai config show --origin --json
"""


def config() -> None:
    """Settings come from defaults, quantai.toml and the environment, the later ones winning; options win over all."""


def show(
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value is from.")] = False,
    json: Json = False,
) -> None:
    """Show every setting with its value; secrets are not settings and not shown."""
    found = origins()
    if json:
        told = {name: {"value": value, "origin": place} if origin else value for name, (value, place) in found.items()}
        emit({"settings": told, "files": config_files()} if origin else told, json)
        return
    meaning = describe()
    emit(
        {
            name: f"{value or '-'}" + (f"  from {place}" if origin else "") + f"\n  {meaning[name]}"
            for name, (value, place) in found.items()
        },
        json,
    )


VERBS = {"show": show}

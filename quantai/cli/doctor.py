"""`quantai doctor`: what is installed, what is missing, and the command that mends it."""

from quantai.cli.output import Json, emit


def doctor(json: Json = False) -> None:
    """Say what is installed, what is missing and what a venue needs."""
    emit({}, json)

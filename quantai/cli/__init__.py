"""The command line: `quantai COMMAND …`, one file of this room for each command.

A command is a plain typed function with the name of its file; one with verbs of its own, such as `tools list`, has them
in `VERBS`, a dict of functions. It is loaded when it is called and not before, so that
`quantai --help` answers at once; what is listed there stands in `COMMANDS`. `output` says how commands print and end.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from quantai.core.errors import QuantaiError

COMMANDS = {
    "record": "Record market data from venues into a lake.",
    "pull": "Download historical bars or trades into a lake.",
    "import": "Import csv, Parquet or LEAN files into a lake.",
    "bars": "Build bars of any interval from a lake's trades.",
    "check": "Look for gaps, disorder, crossed books and duplicates in a lake.",
    "backtest": "Run a strategy over bars and write what it would have done.",
    "replay": "Run a recorded run again and show where it decides differently.",
    "venue": "Serve a local exchange that speaks Binance's protocol.",
    "pipeline": "Run notebooks on a schedule, after one another, over past days.",
    "kb": "Search and ask a knowledge base of files and pages.",
    "tools": "List, call and serve the tools an assistant may use.",
    "promote": "Take a strategy through the gates and store a version.",
    "serve": "Serve a promoted version: trade it, ask and tell it over HTTP.",
    "deploy": "Write files that run a promoted version elsewhere.",
    "trade": "Trade a strategy on live rows, on paper or at a real venue.",
    "control": "Pause, resume, flatten, kill or change a run that trades.",
    "compare": "Show a challenger the rows of a run, and print what both did.",
    "explain": "Compare a run's executions with the simulator's.",
    "config": "Show the settings, and where each of them is from.",
    "doctor": "Say what is installed, what is missing and what a venue needs.",
}
"""Every command with the line that `quantai --help` shows for it."""


class _LazyGroup(TyperGroup):
    """Lists the commands from `COMMANDS` and imports one only when it is about to run."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, line in COMMANDS.items():
            self.add_command(TyperCommand(name, callback=None, help=line))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, listed, rest = super().resolve_command(ctx, args)
        return name, _load(name) if listed and name else listed, rest


def _load(name: str) -> Any:
    file = {"import": "importing"}.get(name, name)  # import is a keyword
    module = import_module(f"quantai.cli.{file}")
    examples: str = getattr(module, "EXAMPLES", "").strip()
    epilog = "\b\nExamples:\n" + "\n".join(f"  {line.strip()}" for line in examples.splitlines()) if examples else None
    verbs = getattr(module, "VERBS", None)
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, epilog=epilog)
    if verbs is None:
        app.command(name=name, epilog=epilog)(getattr(module, file))
        return typer.main.get_command(app)
    app.callback(epilog=epilog, no_args_is_help=True)(getattr(module, file))
    for verb, function in verbs.items():
        app.command(name=verb)(function)
    return typer.main.get_command(app)


app = typer.Typer(
    cls=_LazyGroup,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Each command has --help with examples, and --json for one line that a program can read.",
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"quantai {version('quantai')}")
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
]


@app.callback()
def quantai(version: Version = False) -> None:
    """Record and explore market data, and run strategies over it."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.

    A failure is one line on stderr. With QUANTAI_DEBUG=1 in the environment it is the whole traceback.
    """
    try:
        app(args=args, prog_name="quantai")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code == 130:
            _say("interrupted")
        return code
    except Exception as error:
        if os.environ.get("QUANTAI_DEBUG", "0") not in ("", "0"):
            raise
        message = " ".join(str(error).split())
        if isinstance(error, QuantaiError):
            _say(f"error: {message}")
        else:
            _say(f"internal error: {type(error).__name__}: {message} (QUANTAI_DEBUG=1 shows where)")
        return 1
    return 0


def _say(line: str) -> None:
    print(f"quantai: {line}", file=sys.stderr, flush=True)

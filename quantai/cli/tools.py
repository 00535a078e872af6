"""`quantai tools`: list, search, call and serve the tools that an assistant may use."""

import asyncio
import json as jsonlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quantai.cli.output import Json, emit
from quantai.core.errors import InputError

if TYPE_CHECKING:
    from quantai.knowledge.passages import Hits
    from quantai.tools import Request, Workspace

EXAMPLES = """
quantai tools list
quantai tools search "run sql" --json
quantai tools call load_data '{"sample": "sp500"}'
quantai tools mcp --stdio
quantai tools mcp --port 8765
"""

Lake = Annotated[Path | None, typer.Option(help="Folder of the lake; the setting lake when not given.")]
Folder = Annotated[Path, typer.Option(help="Where plots, proposals and the audit are written.")]
Strategies = Annotated[
    list[str] | None,
    typer.Option(
        "--strategies", help="Module or .py file whose strategies may be run; its code is trusted.", metavar="HOME"
    ),
]
Runs = Annotated[Path, typer.Option(help="Folder with the journals of runs.")]
Limits = Annotated[Path | None, typer.Option(help="Limits (TOML) that proposed orders are held to.")]
Store = Annotated[
    Path | None, typer.Option(help="Folder of the knowledge base; the setting knowledge.path if not given.")
]


class Shelf:
    """A knowledge base that is open for a search only: in between, `quantai kb add` may have it."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def search(self, query: str, k: int = 10) -> "Hits":
        """As `Knowledge.search`; raises InputError where there is no knowledge base."""
        from quantai.cli.kb import open_existing

        with open_existing(self._path) as base:
            return base.search(query, k)


def tools() -> None:
    """Tools are typed functions that a model or a program may call: to load data, backtest, compare, read runs.

    Tools that read and compute run unasked; those that write are asked about, and one that leads to an order is asked
    about every time. Every call is written to a journal.
    """


def listing(
    category: Annotated[str, typer.Option(help="Only this category.")] = "",
    json: Json = False,
) -> None:
    """List the tools with what they may do; with --json their schemas and examples, too."""
    _list("", category, json)


def search(
    query: Annotated[str, typer.Argument(help="Words to look for.")],
    category: Annotated[str, typer.Option(help="Only this category.")] = "",
    json: Json = False,
) -> None:
    """Find tools by words in their names and descriptions, best first."""
    _list(query, category, json)


def call(
    name: Annotated[str, typer.Argument(help="The tool.")],
    arguments: Annotated[str, typer.Argument(help="Its arguments as a JSON object.")] = "{}",
    yes: Annotated[bool, typer.Option("--yes", help="Approve this call, whatever it may do.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and run nothing.")] = False,
    lake: Lake = None,
    folder: Folder = Path("out/tools"),
    strategies: Strategies = None,
    runs: Runs = Path("runs"),
    limits: Limits = None,
    store: Store = None,
    json: Json = False,
) -> None:
    """Call one tool. What it names lives for this call only; `mcp` keeps it for a conversation."""
    try:
        given = jsonlib.loads(arguments)
    except ValueError as error:
        raise InputError(f"the arguments are not JSON: {error}") from None
    if not isinstance(given, dict):
        raise InputError('the arguments have to be a JSON object, such as \'{"sample": "sp500"}\'')
    with _workspace(lake, folder, strategies, runs, limits, store) as workspace:
        from dataclasses import replace

        approve = _yes if yes else _ask
        workspace.policy = replace(workspace.policy, approve=approve, dry_run=dry_run)
        answer = asyncio.run(workspace.call(name, given))
    if not answer.ok:
        raise InputError(str(answer.content))
    emit({"tool": name, "result": answer.content, "cut": answer.cut}, json)


def mcp(
    stdio: Annotated[bool, typer.Option("--stdio", help="Serve on standard input and output.")] = False,
    port: Annotated[int, typer.Option(help="Serve over HTTP on this port.", min=0, max=65_535)] = 0,
    host: Annotated[str, typer.Option(help="Address to serve on; elsewhere than here a key is needed.")] = "127.0.0.1",
    lake: Lake = None,
    folder: Folder = Path("out/tools"),
    strategies: Strategies = None,
    runs: Runs = Path("runs"),
    limits: Limits = None,
    store: Store = None,
) -> None:
    """Serve the tools to a model by the Model Context Protocol, on stdio or at http://HOST:PORT/mcp.

    Anywhere but on loopback callers need the key in $QUANTAI_TOOLS_KEY, as `Authorization: Bearer KEY`.
    """
    if stdio == bool(port):
        raise typer.BadParameter("choose one of --stdio and --port")
    from quantai.tools.server import serve_http, serve_stdio

    with _workspace(lake, folder, strategies, runs, limits, store) as workspace:
        if stdio:
            serve_stdio(workspace)
        else:
            serve_http(workspace, host, port)


VERBS: dict[str, Callable[..., None]] = {"list": listing, "search": search, "call": call, "mcp": mcp}


def _list(query: str, category: str, json: bool) -> None:
    from quantai.tools import ready_tools
    from quantai.tools import search as find

    ready_tools()
    found = find(query, category=category)
    if json:
        emit({"tools": [tool.as_dict() for tool in found]}, json)
        return
    emit({"tools": [f"{t.name} ({t.permission.value}): {t.description.splitlines()[0]}" for t in found]}, json)


def _workspace(
    lake: Path | None,
    folder: Path,
    strategies: list[str] | None,
    runs: Path,
    limits: Path | None,
    store: Path | None,
) -> "Workspace":
    from quantai.data import Lake as OpenLake
    from quantai.execution.limits import Limits as ReadLimits
    from quantai.tools import Workspace, ready_tools

    ready_tools()
    homes: dict[str, Any] = {"strategies": ("quantai.strategy.examples", *strategies)} if strategies else {}
    read = None if limits is None else ReadLimits.load(limits)
    return Workspace(lake=OpenLake(lake), knowledge=Shelf(store), folder=folder, runs=runs, limits=read, **homes)


async def _yes(_: "Request") -> bool:
    return True


async def _ask(request: "Request") -> bool:
    """Ask on the terminal; nobody is there when it is not one."""
    import sys

    if not sys.stdin.isatty():
        raise InputError("standard input is no terminal; --yes approves a call")
    asked = ", ".join(f"{name}={value!r}" for name, value in request.arguments.items())
    return await asyncio.to_thread(typer.confirm, f"Run {request.tool}({asked})? {request.why}", err=True)

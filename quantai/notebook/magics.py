"""Magics: `%load_ext quantai`, then ask, research and query in cells.

They use the variables `kb`, `lake` and `assistant` of the notebook where it has such, and make them where it has not:
what a magic worked with is there to go on with in Python.
"""

import keyword
import shlex
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from IPython.core.completer import CompletionContext, SimpleCompletion, context_matcher
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, cell_magic, line_cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments
from IPython.display import display

from quantai.core.errors import InputError, QuantaiError
from quantai.data import Lake
from quantai.knowledge import Knowledge
from quantai.notebook.shown import Shown
from quantai.notebook.sql_completion import complete
from quantai.tools import Request, Workspace
from quantai.tools.assistant import Assistant


@magics_class
class QuantaiMagics(Magics):
    """%%ask, %%research, %kb and %%sql."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell=shell)
        self._shell = shell

    @magic_arguments()
    @argument("-k", type=int, default=5, help="how many passages to answer from")
    @argument("-c", "--collection", help="only this collection")
    @argument("-t", "--tag", action="append", default=[], help="only documents with this tag; may be repeated")
    @argument("-o", "--into", help="a variable that is given the answer")
    @cell_magic
    def ask(self, line: str, cell: str) -> None:
        """Answer the question in the cell from the knowledge base; every citation opens its passage."""
        with _plain_errors():
            asked = _options(self.ask, line)
            into = _variable_name(asked.into)
            stream = self._kb().stream(cell.strip(), asked.k, collection=asked.collection, tags=asked.tag)
            shown = _Live(self._shell)
            for piece in stream:
                shown.add(piece)
            shown.end(stream.answer)
            self._keep(into, stream.answer)

    @magic_arguments()
    @argument("-t", "--tools", help="names of the tools it may use, with commas; all of them by default")
    @argument("-o", "--into", help="a variable that is given the report; `report` by default", default="report")
    @cell_magic
    def research(self, line: str, cell: str) -> None:
        """Let the assistant work on what the cell says; it asks here before it does what needs approval.

        What it made is in the report: report["result-1"].
        """
        with _plain_errors():
            asked = _options(self.research, line)
            into = _variable_name(asked.into)
            run = self._assistant(asked.tools).start(cell.strip(), ask=ask_here)
            shown = _Live(self._shell)
            for step in run:
                shown.add(step.text if step.kind == "text" else f"\n{step}\n")
            shown.end(run.report)
            self._keep(into, run.report)

    @line_magic
    def kb(self, line: str) -> Any:
        """Look after the knowledge base: `%kb add PATH|URL …`, `%kb list`, `%kb search WORDS`, `%kb remove PATH …`.

        `add` takes -t TAG and -c COLLECTION, as `%%ask` does.
        """
        with _plain_errors():
            verb, _, words = line.strip().partition(" ")
            # what is searched for is taken as it stands: an apostrophe in it begins no quotation
            rest = words.split() if verb == "search" else _split(words)
            if verb not in ("add", "list", "search", "remove") or (verb != "list" and not rest):
                raise InputError("%kb add PATH|URL … | list [COLLECTION] | search WORDS | remove PATH …")
            asked: Any = _options(_kb_add, words) if verb == "add" else None
            base = self._kb()
            match verb:
                case "add":
                    done = base.add(*asked.sources, collection=asked.collection, tags=asked.tag)
                    # a reason names its source
                    return Shown.of_facts({**done.as_dict(), "failed": "; ".join(done.failed.values()) or []})
                case "list":
                    documents = base.list(rest[0] if rest else None)
                    fields = ("source", "title", "kind", "chunks", "collection", "date")
                    return Shown.of_rows([{name: getattr(one, name) for name in fields} for one in documents])
                case "search":
                    return Shown.of_hits(base.search(" ".join(rest)))
                case _:
                    return Shown.of_facts({"removed": sum(base.remove(source) for source in rest)})

    @line_cell_magic
    def sql(self, line: str, cell: str | None = None) -> Any:
        """Ask the lake in SQL: `%sql select …`, or a cell whose first line may name a variable: `%%sql -o frame`.

        The answer is shown; with -o it is kept as a pandas frame.
        """
        with _plain_errors():
            into, query = "", line
            if cell is not None:
                into, query = _variable_name(_options(_sql_line, line).into), cell
            if not query.strip():
                raise InputError("there is no query: write a SELECT")
            answer = self._lake().sql(query)
            return self._keep(into, answer.df()) if into else answer

    def _kb(self) -> Knowledge:
        return self._variable("kb", Knowledge, Knowledge)

    def _lake(self) -> Lake:
        return self._variable("lake", Lake, Lake)

    def _assistant(self, tools: str | None) -> Assistant:
        def make() -> Assistant:
            return Assistant(workspace=Workspace(self._lake(), self._kb()))

        assistant = self._variable("assistant", Assistant, make)
        if not tools:
            return assistant
        return Assistant(
            assistant.model,
            workspace=assistant.workspace,
            tools=[name.strip() for name in tools.split(",")],
            budget=assistant.budget,
        )

    def _variable[T](self, name: str, kind: type[T], make: Any) -> T:
        """Return the notebook's variable of that name and kind, made where there is none of the name."""
        space: dict[str, Any] = self._shell.user_ns
        if name not in space:
            space[name] = make()
        if not isinstance(space[name], kind):
            raise InputError(f"the variable {name} is a {type(space[name]).__name__}, not a {kind.__name__}")
        return space[name]

    def _keep(self, name: str, value: Any) -> None:
        if name:
            self._shell.user_ns[name] = value


@magic_arguments()
@argument("sources", nargs="+", help="files, folders, addresses of pages")
@argument("-c", "--collection", default="default", help="the collection they go into")
@argument("-t", "--tag", action="append", default=[], help="a tag for them; may be repeated")
def _kb_add(line: str) -> None:
    """What `%kb add` is given."""


@magic_arguments()
@argument("-o", "--into", help="a variable that is given the answer as a pandas frame")
def _sql_line(line: str) -> None:
    """The first line of a %%sql cell."""


def _options(magic: Any, line: str) -> Any:
    """Return the options of a magic; IPython's own way leaves the quotation marks in what is quoted."""
    return magic.parser.parse_args(_split(line))


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise InputError(f"{line}: {error}") from None


def _variable_name(name: str | None) -> str:
    """Return the name of a variable, empty without one; a wrong one is refused before any work is done for it."""
    if name and (not name.isidentifier() or keyword.iskeyword(name)):
        raise InputError(f"{name!r} cannot be the name of a variable")
    return name or ""


class _Live:
    """Shows a text while it grows, then what it became."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._text = ""
        # only a notebook can change what it has shown; a terminal is shown the end
        self._handle: Any = display(Shown.of_text(""), display_id=True) if hasattr(shell, "kernel") else None

    def add(self, piece: str) -> None:
        self._text += piece
        if self._handle is not None:
            self._handle.update(Shown.of_text(self._text))

    def end(self, what: Any) -> None:
        if self._handle is not None:
            self._handle.update(what)
        else:
            display(what)


def ask_here(request: Request) -> bool:
    """Ask the person at the notebook or the terminal; where nobody can type, that is an error, and so a no."""
    asked = ", ".join(f"{name}={value!r}" for name, value in request.arguments.items())
    return input(f"Run {request.tool}({asked})? {request.why} [y/N] ").strip().lower() in ("y", "yes")


@contextmanager
def _plain_errors() -> Generator[None]:
    try:
        yield
    except QuantaiError as error:
        raise UsageError(str(error)) from None


@context_matcher(identifier="quantai_sql")
def match_sql(context: CompletionContext) -> Any:
    """Complete names in %%sql cells and %sql lines."""
    first, _, rest = context.full_text.partition("\n")
    lines = context.full_text.split("\n")
    here = lines[context.cursor_line]
    if first.startswith("%%sql") and context.cursor_line > 0:
        at = sum(len(text) + 1 for text in lines[1 : context.cursor_line]) + context.cursor_position
        query = rest
    elif here.lstrip().startswith("%sql "):
        query, at = here, context.cursor_position
    else:
        return {"completions": [], "suppress": False}
    found = [
        SimpleCompletion(name, type={"column": "property", "table": "class"}.get(kind, "keyword"))
        for name, kind in complete(query, at)
    ]
    return {"completions": found, "suppress": True}


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register the magics and the completion: `%load_ext quantai`."""
    shell.register_magics(QuantaiMagics)
    completer: Any = shell.Completer
    if completer is not None and match_sql not in completer.custom_matchers:
        completer.custom_matchers.append(match_sql)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take the completion away again; IPython forgets no magics."""
    completer: Any = shell.Completer
    if completer is not None and match_sql in completer.custom_matchers:
        completer.custom_matchers.remove(match_sql)

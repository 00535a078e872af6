"""`quantai pipeline`: notebooks that run by themselves: list, run, serve, backfill, compare."""

import asyncio
import json as jsonlib
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quantai.cli.output import Json, console, emit
from quantai.core.errors import InputError
from quantai.ops.config import settings as configured

if TYPE_CHECKING:
    from quantai.notebook import Pipeline, Run, RunTable
    from quantai.notebook.runner import OnProgress

EXAMPLES = """
quantai pipeline list pipelines/schedule.toml
quantai pipeline run pipelines/schedule.toml nightly-sweep --set symbol=SPX
quantai pipeline run notebooks/01_quickstart.ipynb --json
quantai pipeline serve pipelines/schedule.toml
quantai pipeline backfill pipelines/schedule.toml daily-data --start 2024-01-01 --end 2024-02-01 --jobs 4
quantai pipeline runs --pipeline nightly-sweep
quantai pipeline diff 12 15
"""

File = Annotated[Path, typer.Argument(help="A schedule (.toml), or a single notebook (.ipynb).")]
Folder = Annotated[Path | None, typer.Option(help="Of the run table and the runs; by default the setting pipelines.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="A parameter for this run; may be repeated.", metavar="NAME=VALUE")
]
Jobs = Annotated[int, typer.Option(help="How many runs may go on at a time.", min=1)]


def pipeline() -> None:
    """Pipelines are notebooks that run by themselves: at a time, after another one, or when files change."""


def listing(file: File, folder: Folder = None, json: Json = False) -> None:
    """List the pipelines of a schedule with when they run and how they last ended."""
    from quantai.notebook import Schedule

    schedule, table = Schedule.load(file), _run_table(folder, makes=False)
    rows = [_listed(p, table.latest(1, p.name)) for p in schedule.pipelines.values()]
    if json:
        emit({"pipelines": rows}, json)
    else:
        emit({"pipelines": [", ".join(f"{k} {v}" for k, v in row.items() if v) for row in rows]}, json)


def run(
    file: File,
    names: Annotated[
        list[str] | None, typer.Argument(help="Pipelines; all that wait for no other without any.")
    ] = None,
    given: Settings = None,
    at: Annotated[str | None, typer.Option(help="The instant the run is for, UTC; now if not given.")] = None,
    jobs: Jobs = 2,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Run pipelines now; exit code 1 unless all succeed.

    Those named run alone, as do all with --set; without either, those that come after follow a success.
    Each run is kept in a folder: the notebook as it ran, a report that opens without a network, and a log.
    """
    from quantai.notebook import Schedule
    from quantai.notebook.runner import Runner

    schedule, table = Schedule.load(file), _run_table(folder)
    chosen = schedule.named(names) if names else [p for p in schedule.pipelines.values() if not p.after]
    settings, instant = _parameters(given), _instant(at)

    async def work(told: "OnProgress") -> "list[Run]":
        runner = Runner(schedule, table, jobs=jobs, on_progress=told)
        runner.recover()
        if names or settings:
            return list(await asyncio.gather(*(runner.run(p, instant, settings) for p in chosen)))
        return [r for runs in await asyncio.gather(*(runner.run_on(p, instant) for p in chosen)) for r in runs]

    signal.signal(signal.SIGTERM, _as_ctrl_c)
    with _bars(json) as told:
        done = asyncio.run(work(told))
    _emit_runs(done, json)


def serve(file: File, jobs: Jobs = 2, folder: Folder = None, json: Json = False) -> None:
    """Start pipelines when they are due, until Ctrl-C; runs that go on then are stopped and keep what they have."""
    import logging

    from quantai.notebook import Schedule
    from quantai.notebook.runner import Runner
    from quantai.notebook.scheduler import serve as serving

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    schedule, table = Schedule.load(file), _run_table(folder)

    async def work() -> None:
        said = {"pipelines": list(schedule.pipelines), "folder": str(table.folder)}
        await serving(Runner(schedule, table, jobs=jobs), lambda: emit(said, json))

    asyncio.run(work())


def backfill(
    file: File,
    name: Annotated[str, typer.Argument(help="The pipeline.")],
    start: Annotated[str, typer.Option(help="First day: 2024-01-01.")],
    end: Annotated[str, typer.Option(help="First day that is left out.")],
    given: Settings = None,
    jobs: Jobs = 2,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Run a pipeline once for each day of a span, several at a time."""
    from quantai.notebook import Schedule
    from quantai.notebook.runner import Runner

    schedule, table = Schedule.load(file), _run_table(folder)
    (chosen,) = schedule.named([name])
    first, last = _instant(start), _instant(end)
    if first is None or last is None or last <= first:
        raise InputError(f"--start {start} has to be before --end {end}")
    days = [first + timedelta(days=n) for n in range((last - first).days)]
    if not days:
        raise InputError(f"--start {start} and --end {end} are less than a day apart: --end is the first day left out")

    async def work(told: "OnProgress") -> "list[Run]":
        return await Runner(schedule, table, jobs=jobs, on_progress=told).backfill(chosen, days, _parameters(given))

    signal.signal(signal.SIGTERM, _as_ctrl_c)
    with _bars(json) as told:
        done = asyncio.run(work(told))
    _emit_runs(done, json)


def runs(
    name: Annotated[str, typer.Option("--pipeline", help="Only this one.")] = "",
    most: Annotated[int, typer.Option(help="How many, the latest first.", min=1)] = 20,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """List the latest runs with how they ended."""
    found = _run_table(folder, makes=False).latest(most, name)
    if json:
        emit({"runs": [r.as_dict() for r in found]}, json)
    else:
        emit({"runs": [f"{r.id} {r.pipeline} {r.status} {r.started or ''} {r.error}".strip() for r in found]}, json)


def diff(
    a: Annotated[int, typer.Argument(help="A run's number.")],
    b: Annotated[int, typer.Argument(help="Another's.")],
    folder: Folder = None,
    json: Json = False,
) -> None:
    """Show what differs between two runs: parameters, notebook, metrics."""
    from quantai.notebook.differences import compare_runs

    table = _run_table(folder, makes=False)
    emit(compare_runs(table.get(a), table.get(b)), json)


VERBS: dict[str, Callable[..., None]] = {
    "list": listing,
    "run": run,
    "serve": serve,
    "backfill": backfill,
    "runs": runs,
    "diff": diff,
}


def _run_table(folder: Path | None, *, makes: bool = True) -> "RunTable":
    from quantai.notebook import RunTable

    return RunTable(folder or configured().pipelines, makes=makes)


def _listed(one: "Pipeline", latest: "list[Run]") -> dict[str, Any]:
    when = one.cron or (f"after {', '.join(one.after)}" if one.after else one.on_change and f"on {one.on_change}")
    last = latest[0] if latest else None
    return {
        "name": one.name,
        "when": when or "by hand",
        "notebook": str(one.notebook),
        "about": one.about,
        "last": last and last.status.value,
        "ended": last and last.ended,
    }


def _emit_runs(done: "list[Run]", json: bool) -> None:
    from quantai.notebook import Status

    failed = [r for r in done if r.status is not Status.DONE]
    if json:
        emit({"ok": not failed, "runs": [r.as_dict() for r in done]}, json)
    else:
        emit({f"{r.pipeline} {r.id}": f"{r.status} {r.as_dict()['report'] or r.folder}" for r in done}, json)
    if failed:
        first = failed[0]
        raise InputError(f"{first.pipeline}, run {first.id}: {first.status}: {first.error}: see {first.folder}")


def _as_ctrl_c(*_: object) -> None:
    """End as Ctrl-C does: notebooks are processes of their own, and without this they would run on with no time-out."""
    signal.raise_signal(signal.SIGINT)


def _parameters(given: list[str] | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InputError(f"--set {text!r}: write NAME=VALUE")
        try:
            found[name] = jsonlib.loads(value)
        except ValueError:
            found[name] = value
    return found


def _instant(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{text!r} is not an instant: write 2024-08-08 or 2024-08-08T12:00:00Z") from None
    if not 1900 <= at.year <= 2900:
        raise InputError(f"{text!r} is no instant that anything is run for: write a year from 1900 to 2900")
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


@contextmanager
def _bars(quiet: bool) -> "Generator[OnProgress]":
    """Show a bar for each run on stderr while it goes on, where there is a terminal."""
    from rich.progress import Progress

    shown = Progress(console=console(), disable=quiet or not console().is_terminal, transient=True)
    bars: dict[int, Any] = {}

    def told(run: "Run", done: int, of: int) -> None:
        if run.id not in bars:
            bars[run.id] = shown.add_task(f"{run.pipeline} {run.id}", total=of)
        shown.update(bars[run.id], completed=done)

    with shown:
        yield told

"""The runner: each run in a process of its own, with a time-out, tried again where that is asked for."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quantai.core.errors import InputError
from quantai.notebook.run_table import Run, RunTable, Status
from quantai.notebook.schedule import Pipeline, Schedule
from quantai.notebook.webhook import notify
from quantai.ops import make_folder

POLL_S = 0.2
"""How often a run that waits for another of its pipeline looks again."""
_GRACE_S = 15.0
"""How long a run that is told to stop may take to save what it has."""
_WORTH_ANOTHER = (Status.FAILED, Status.TIMEOUT, Status.DIED, Status.LOST)

OnProgress = Callable[[Run, int, int], None]
"""Told of a run, its cells done, and how many it has."""


class Runner:
    """Runs the pipelines of a schedule; at most `jobs` at a time, whatever each of them allows."""

    def __init__(
        self, schedule: Schedule, table: RunTable, *, jobs: int = 2, on_progress: OnProgress | None = None
    ) -> None:
        if jobs < 1:
            raise InputError("jobs: at least one run has to be allowed at a time")
        self.schedule, self.table = schedule, table
        self._slots = asyncio.Semaphore(jobs)
        self._on_progress = on_progress

    async def run(
        self,
        pipeline: Pipeline,
        instant: datetime | None = None,
        given: Mapping[str, Any] | None = None,
        *,
        again: Run | None = None,
    ) -> Run:
        """Run a pipeline for an instant (now), trying again as it says, and return the last attempt.

        `given` parameters replace those of the schedule. Cancelled, it stops the notebook and keeps what has run.
        """
        at = instant or datetime.now(UTC)
        arguments = pipeline.arguments(at, given)
        attempt = again
        while True:
            fingerprint = hashlib.sha256(pipeline.notebook.read_bytes()).hexdigest()[:32]
            attempt = self.table.ask(pipeline.name, pipeline.notebook, at, arguments, fingerprint, again=attempt)
            attempt = await self._attempt(pipeline, attempt)
            if pipeline.notify:
                await asyncio.to_thread(notify, pipeline.notify, attempt.as_dict())
            if attempt.status not in _WORTH_ANOTHER or attempt.attempt > pipeline.retries:
                return attempt
            await asyncio.sleep(pipeline.retry_wait_s * 2 ** (attempt.attempt - 1))

    async def run_on(self, pipeline: Pipeline, instant: datetime | None = None) -> list[Run]:
        """Run a pipeline and, after its success, those that come after it; returns all of them in order of ending."""
        at = instant or datetime.now(UTC)
        done = [await self.run(pipeline, at)]
        if done[0].status is Status.DONE:
            following = [p for p in self.schedule.pipelines.values() if pipeline.name in p.after]
            for runs in await asyncio.gather(*(self.run_on(p, at) for p in following)):
                done += runs
        return done

    async def backfill(
        self, pipeline: Pipeline, instants: Sequence[datetime], given: Mapping[str, Any] | None = None
    ) -> list[Run]:
        """Run a pipeline once for each instant, as many at a time as the runner allows, and return the runs."""
        free = replace(pipeline, concurrency=max(len(instants), 1))
        return list(await asyncio.gather(*(self.run(free, at, given) for at in instants)))

    def recover(self) -> list[Run]:
        """End the runs whose process is gone, as the file it left says, or as LOST; return those worth another try."""
        lost: list[Run] = []
        for run in self.table.unfinished():
            if self.table.is_owned(run):
                continue
            status, error, metrics = _result(run.folder) or (Status.LOST, "the machine or the scheduler went away", {})
            ended = self.table.end(run, status, error, metrics)
            pipeline = self.schedule.pipelines.get(run.pipeline)
            if pipeline and ended.status in _WORTH_ANOTHER and ended.attempt <= pipeline.retries:
                lost.append(ended)
        return lost

    async def _attempt(self, pipeline: Pipeline, run: Run) -> Run:
        process: asyncio.subprocess.Process | None = None
        try:
            async with self._slots:
                while not self.table.begin(run, pipeline.concurrency):  # noqa: ASYNC110 -- of any process
                    await asyncio.sleep(POLL_S)
                process = await _start(pipeline, run)
                try:
                    async with asyncio.timeout(pipeline.timeout_s):
                        await self._follow(process, run)
                except TimeoutError:
                    await _stop(process)
                    said = f"took longer than {pipeline.timeout_s:g} s"
                    return self.table.end(run, Status.TIMEOUT, said, _metrics(run.folder))
        except asyncio.CancelledError:
            if process is not None:
                await asyncio.shield(_stop(process))
            self.table.end(run, Status.STOPPED, "stopped", _metrics(run.folder))
            raise
        found = _result(run.folder)
        if found is None:
            return self.table.end(run, Status.DIED, f"its process ended with {process.returncode}: see log.txt")
        return self.table.end(run, *found)

    async def _follow(self, process: asyncio.subprocess.Process, run: Run) -> None:
        assert process.stdout is not None  # noqa: S101 -- it was started with a pipe
        async for line in process.stdout:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                said = json.loads(line)
                if self._on_progress is not None:
                    self._on_progress(run, int(said["done"]), int(said["of"]))
        await process.wait()


async def _start(pipeline: Pipeline, run: Run) -> asyncio.subprocess.Process:
    make_folder(run.folder)
    spec = {
        "notebook": str(pipeline.notebook.resolve()),
        "parameters": dict(run.parameters),
        "cwd": str(pipeline.notebook.resolve().parent),
        "title": f"{pipeline.name} {run.instant}",
    }
    (run.folder / "spec.json").write_text(json.dumps(spec, default=str), encoding="utf-8")
    with (run.folder / "log.txt").open("wb") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "quantai.notebook.execute",
            str(run.folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env=os.environ | {"QUANTAI_PIPELINES": str(run.folder.parents[1].resolve())},
            start_new_session=True,
        )


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Ask the process to save what it has and to end its kernel; kill it when it does not."""
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(_GRACE_S):
            await process.communicate()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _result(folder: Path) -> tuple[Status, str, dict[str, Any]] | None:
    try:
        said = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        return Status(said["status"]), said["error"], said["metrics"]
    except (OSError, ValueError, KeyError):
        return None


def _metrics(folder: Path) -> dict[str, Any]:
    found = _result(folder)
    return found[2] if found else {}

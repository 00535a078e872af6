"""The scheduler: starts pipelines at their times, and when files change, until it is stopped."""

import asyncio
import glob
import logging
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger

from quantai.core.errors import StorageError
from quantai.notebook.holding import hold
from quantai.notebook.run_table import Run
from quantai.notebook.runner import Runner
from quantai.notebook.schedule import Pipeline

CATCH_UP = timedelta(days=1)
"""A time that was missed, because nothing was running then, is made up for once if it is not longer ago than this."""
_LOOK_S = 2.0

_log = logging.getLogger(__name__)


async def serve(runner: Runner, on_start: Callable[[], None]) -> None:
    """Start what is due until SIGINT or SIGTERM; runs that go on then are stopped, and keep what they have.

    `on_start` is called once it has begun. What was running when the last scheduler ended is taken up first: ended as
    it ended, or tried again. Raises StorageError when another scheduler uses the same run table.
    """
    lock = hold(runner.table.folder / "scheduler.lock")
    if lock is None:
        raise StorageError(f"{runner.table.folder}: another scheduler runs there")
    scheduler = AsyncIOScheduler(timezone="UTC")
    stop, tasks = asyncio.Event(), set[asyncio.Task[Any]]()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    on_start()

    def start(pipeline: Pipeline, instant: datetime | None = None) -> None:
        _log.info("%s starts", pipeline.name)
        task = loop.create_task(runner.run_on(pipeline, instant))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    try:
        for run in runner.recover():
            pipeline = runner.schedule.pipelines[run.pipeline]
            task = loop.create_task(
                runner.run(pipeline, datetime.fromisoformat(run.instant), run.parameters, again=run)
            )
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        for pipeline in runner.schedule.pipelines.values():
            if pipeline.cron:
                trigger = CronTrigger.from_crontab(pipeline.cron, timezone="UTC")
                missed = missed_time(trigger, runner.table.latest(1, pipeline.name), datetime.now(UTC))
                if missed:
                    start(pipeline, missed)
                scheduler.add_job(start, trigger, [pipeline], misfire_grace_time=3600, coalesce=True)
        scheduler.start()
        while not stop.is_set():
            for pipeline in runner.schedule.pipelines.values():
                if pipeline.on_change and await asyncio.to_thread(_changed, runner, pipeline):
                    start(pipeline)
            try:
                async with asyncio.timeout(_LOOK_S):
                    await stop.wait()
            except TimeoutError:
                continue
    finally:
        if scheduler.running:
            scheduler.shutdown(wait=False)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        lock.close()


def missed_time(trigger: CronTrigger, latest: list[Run], now: datetime) -> datetime | None:
    """Return the last time of `trigger` after the latest run, not later than `now`; None when none was missed.

    A pipeline that never ran has missed nothing, nor has one whose time was longer ago than CATCH_UP.
    """
    if not latest:
        return None
    since = max(datetime.fromisoformat(latest[0].instant), now - CATCH_UP)
    found, at = None, trigger.get_next_fire_time(None, since + timedelta(microseconds=1))
    while at is not None and at <= now:
        found, at = at, trigger.get_next_fire_time(at, at + timedelta(microseconds=1))
    return found


def _changed(runner: Runner, pipeline: Pipeline) -> bool:
    pattern = str(runner.schedule.path.parent / pipeline.on_change)
    new = False
    for name in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 -- Path.glob takes no absolute pattern
        path = Path(name)
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            continue
        new |= runner.table.is_new(pipeline.name, path, changed)
    return new

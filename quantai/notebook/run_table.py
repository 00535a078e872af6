"""The run table: every run of every pipeline, in one SQLite file that survives whatever happens to the runs."""

import json
import os
import secrets
import sqlite3
import weakref
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from quantai.core.errors import StorageError, UnknownName
from quantai.notebook.holding import hold, is_held
from quantai.ops import make_folder

_SCHEMA = """
create table if not exists runs (
    id integer primary key,
    pipeline text not null,
    notebook text not null,
    instant text not null,          -- what the run is for, ISO 8601 UTC
    parameters text not null,       -- JSON
    fingerprint text not null,      -- of the notebook's source
    attempt integer not null,
    first_id integer,               -- the first attempt of a run that was tried again
    status text not null,
    asked text not null,
    started text,
    ended text,
    folder text not null,
    owner text not null,            -- the lock of the process that asked for it
    error text not null default '',
    metrics text not null default '{}'
) strict;
create index if not exists by_pipeline on runs (pipeline, id);
create table if not exists seen (pipeline text not null, path text not null, mtime_ns integer not null,
    primary key (pipeline, path)) strict, without rowid;
"""


class Status(StrEnum):
    """Where a run stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # a cell raised
    TIMEOUT = "timeout"  # it took too long and was stopped
    DIED = "died"  # its kernel or its process was killed
    STOPPED = "stopped"  # a person or a shutdown stopped it
    LOST = "lost"  # the machine, or this program, went away under it

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to the run."""
        return self not in (Status.WAITING, Status.RUNNING)


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt to run a pipeline."""

    id: int
    pipeline: str
    notebook: str
    instant: str
    parameters: Mapping[str, Any]
    fingerprint: str
    attempt: int
    first_id: int | None
    status: Status
    asked: str
    started: str | None
    ended: str | None
    folder: Path
    owner: str
    error: str
    metrics: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return what a listing shows."""
        report = self.folder / "report.html"
        return {
            "id": self.id,
            "pipeline": self.pipeline,
            "status": self.status.value,
            "attempt": self.attempt,
            "instant": self.instant,
            "started": self.started,
            "ended": self.ended,
            "parameters": dict(self.parameters),
            "metrics": dict(self.metrics),
            "error": self.error,
            "notebook": str(self.folder / "run.ipynb"),
            "report": str(report) if report.is_file() else None,
        }


class RunTable:
    """Runs in `folder`/runs.db; each has a folder of its own beside it. Several processes may use it at once.

    With `makes` False it is there to be read: nothing is created, and one that is not there has no runs.
    """

    def __init__(self, folder: str | Path, *, makes: bool = True) -> None:
        self.folder, self._makes = Path(folder), makes
        if not makes:
            return
        try:
            make_folder(self.folder)
            with self._open() as db:
                db.execute("pragma journal_mode = wal")
                db.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"{self.folder}: the run table cannot be opened: {error}") from None

    @cached_property
    def owner(self) -> str:
        """The name of this table's lock, held as long as its process lives."""
        owners = self.folder / "owners"
        make_folder(owners)
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        held = hold(owners / name)
        if held is not None:
            weakref.finalize(self, held.close)
        return name

    def is_owned(self, run: Run) -> bool:
        """Say whether the process that asked for a run lives, or the one that runs it."""
        return is_held(self.folder / "owners" / run.owner) or is_held(run.folder / "lock")

    def ask(
        self,
        pipeline: str,
        notebook: Path,
        instant: datetime,
        parameters: Mapping[str, Any],
        fingerprint: str,
        *,
        again: Run | None = None,
    ) -> Run:
        """Add a run that waits; `again` names the attempt it repeats."""
        attempt = 1 if again is None else again.attempt + 1
        first = None if again is None else again.first_id or again.id
        with self._open() as db:
            row = db.execute(
                "insert into runs (pipeline, notebook, instant, parameters, fingerprint, attempt, first_id, status, "
                "asked, folder, owner) values (?, ?, ?, ?, ?, ?, ?, ?, ?, '', ?) returning id",
                (
                    pipeline,
                    str(notebook),
                    instant.astimezone(UTC).isoformat(),
                    json.dumps(parameters, default=str),
                    fingerprint,
                    attempt,
                    first,
                    Status.WAITING,
                    now(),
                    self.owner,
                ),
            ).fetchone()
            folder = self.folder / pipeline / f"{row[0]:06d}"
            db.execute("update runs set folder = ? where id = ?", (str(folder), row[0]))
        return self.get(int(row[0]))

    def begin(self, run: Run, concurrency: int) -> bool:
        """Mark a run as running unless as many of its pipeline are running already; False when it has to wait."""
        with self._open() as db:
            db.execute("begin immediate")
            (running,) = db.execute(
                "select count(*) from runs where pipeline = ? and status = ?", (run.pipeline, Status.RUNNING)
            ).fetchone()
            if running >= concurrency:
                return False
            db.execute(
                "update runs set status = ?, started = ? where id = ? and status = ?",
                (Status.RUNNING, now(), run.id, Status.WAITING),
            )
        return True

    def end(self, run: Run, status: Status, error: str = "", metrics: Mapping[str, Any] | None = None) -> Run:
        """Write how a run ended; one that has ended already keeps its first ending."""
        with self._open() as db:
            db.execute(
                "update runs set status = ?, ended = ?, error = ?, metrics = ? where id = ? and status in (?, ?)",
                (status, now(), error, json.dumps(metrics or {}), run.id, Status.WAITING, Status.RUNNING),
            )
        return self.get(run.id)

    def get(self, id: int) -> Run:
        """Return a run by its number; raises UnknownName."""
        found = self.find("where id = ?", (id,))
        if not found:
            raise UnknownName("run", id, [str(run.id) for run in self.latest(12)])
        return found[0]

    def latest(self, most: int, pipeline: str = "") -> list[Run]:
        """Return the latest runs, newest first."""
        if pipeline:
            return self.find("where pipeline = ? order by id desc limit ?", (pipeline, most))
        return self.find("order by id desc limit ?", (most,))

    def unfinished(self) -> list[Run]:
        """Return the runs that have not ended, oldest first."""
        return self.find("where status in (?, ?) order by id", (Status.WAITING, Status.RUNNING))

    def find(self, where: str, values: tuple[Any, ...]) -> list[Run]:
        """Return the runs of one of our own conditions."""
        if not self._makes and not (self.folder / "runs.db").is_file():
            return []
        columns = ", ".join(Run.__dataclass_fields__)
        with self._open() as db:
            rows = db.execute(f"select {columns} from runs {where}", values).fetchall()  # noqa: S608 -- our own text
        return [_run(row) for row in rows]

    def is_new(self, pipeline: str, path: Path, mtime_ns: int) -> bool:
        """Say whether a file is new or changed since this was last asked, and remember it."""
        with self._open() as db:
            row = db.execute(
                "select mtime_ns from seen where pipeline = ? and path = ?", (pipeline, str(path))
            ).fetchone()
            if row is not None and row[0] == mtime_ns:
                return False
            db.execute("insert or replace into seen values (?, ?, ?)", (pipeline, str(path), mtime_ns))
        return True

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.folder / "runs.db", timeout=60)) as db, db:
                db.execute("pragma synchronous = full")
                yield db
        except sqlite3.Error as error:
            raise StorageError(f"{self.folder}: the run table cannot be written: {error}") from None


def now() -> str:
    """Return the instant as the table spells it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _run(row: tuple[Any, ...]) -> Run:
    said = dict(zip(Run.__dataclass_fields__, row, strict=True))
    said["parameters"], said["metrics"] = json.loads(said["parameters"]), json.loads(said["metrics"])
    said["status"], said["folder"] = Status(said["status"]), Path(said["folder"])
    return Run(**said)

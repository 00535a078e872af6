"""Pipelines with real kernels: how runs end, what is kept, what is tried again, and what survives a kill."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import nbformat
import pytest
from apscheduler.triggers.cron import CronTrigger

import quantai as qa
from quantai.cli import main
from quantai.core.errors import InputError, UnknownName
from quantai.notebook import RunTable, Schedule, Status
from quantai.notebook.scheduler import missed_time

QUANTAI = [sys.executable, "-c", "import sys; from quantai.cli import main; sys.exit(main())", "pipeline"]
OK = ["n: int = 3\nday: str = ''", "from quantai.notebook import record_metrics\nrecord_metrics(total=n * 2, day=day)"]


def notebook(path: Path, *cells: str) -> Path:
    """Write a notebook; its first cell has the parameters."""
    made = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    made.cells = [nbformat.v4.new_code_cell(cell, id=f"cell-{n}") for n, cell in enumerate(cells)]
    made.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(made, path)
    return path


def schedule(folder: Path, **pipelines: str) -> Path:
    """Write a schedule of pipelines, each with further lines of TOML."""
    text = "".join(f'[[pipeline]]\nname = "{name}"\n{more}\n' for name, more in pipelines.items())
    path = folder / "schedule.toml"
    path.write_text(text)
    return path


def quantai(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*QUANTAI, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=900,  # the first sweep of a session compiles the engine, on a machine that may be busy
        check=False,
        env=os.environ | (environment or {}),
    )


def until(true: Callable[[], Any]) -> Any:
    """Wait for a condition and return it."""
    end = time.monotonic() + 180
    while not (found := true()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)
    return found


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path("/proc").is_dir() else True


@pytest.fixture
def table(tmp_path: Path) -> RunTable:
    return RunTable(tmp_path / "runs")


def test_a_run_and_what_comes_after_it_are_kept_with_metrics_and_a_page_that_needs_no_network(
    tmp_path: Path, table: RunTable
) -> None:
    notebook(tmp_path / "ok.ipynb", *OK)
    file = schedule(
        tmp_path,
        first='notebook = "ok.ipynb"\nparameters = {day = "{yesterday}", n = 4}',
        second='notebook = "ok.ipynb"\nafter = "first"',
    )
    done = quantai("run", file, "--at", "2024-03-01", "--folder", table.folder, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["ok"]
    assert [(r["pipeline"], r["status"]) for r in said["runs"]] == [("first", "done"), ("second", "done")]
    assert said["runs"][0]["metrics"] == {"total": 8, "day": "2024-02-29"}
    assert said["runs"][1]["metrics"] == {"total": 6, "day": ""}
    page = Path(said["runs"][0]["report"]).read_text()
    assert "total" in page
    assert not re.search(r"""(?:src|href)=["']https?://|from ["']https?://|import\(["']https?://""", page)
    changed = quantai("diff", 1, 2, "--folder", table.folder, "--json")
    assert json.loads(changed.stdout)["metrics"]["total"] == {"a": 8, "b": 6, "change": -2}


def test_a_failure_keeps_what_ran_is_tried_again_and_told(tmp_path: Path, table: RunTable) -> None:
    notebook(tmp_path / "bad.ipynb", "x = 41", "print(x + 1)", "1 / 0", "print('never')")
    file = schedule(tmp_path, bad='notebook = "bad.ipynb"\nretries = 1\nretry_wait = "0s"\nnotify = "HOOK"')
    told: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            pass

    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        hook = {"HOOK": f"http://127.0.0.1:{server.server_port}/x"}
        done = quantai("run", file, "--folder", table.folder, "--json", environment=hook)
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 1
    assert "bad, run 2: failed: cell 3: ZeroDivisionError: division by zero" in done.stderr
    second, first = table.latest(5)
    assert [(r.attempt, r.status, r.first_id) for r in (first, second)] == [
        (1, Status.FAILED, None),
        (2, Status.FAILED, first.id),
    ]
    assert "42" in (first.folder / "run.ipynb").read_text()
    assert (first.folder / "report.html").is_file()
    assert [(t["id"], t["status"]) for t in told] == [(1, "failed"), (2, "failed")]


def test_a_killed_kernel_is_a_death_and_a_slow_one_is_stopped(tmp_path: Path, table: RunTable) -> None:
    notebook(tmp_path / "die.ipynb", "import os, signal", "os.kill(os.getpid(), signal.SIGKILL)")
    note = tmp_path / "pid"
    slow = f"import os, pathlib, time\npathlib.Path({str(note)!r}).write_text(str(os.getpid()))\ntime.sleep(10_000)"
    notebook(tmp_path / "slow.ipynb", slow)
    file = schedule(tmp_path, die='notebook = "die.ipynb"', slow='notebook = "slow.ipynb"\ntimeout = "20s"')
    assert quantai("run", file, "--folder", table.folder).returncode == 1
    by_name = {r.pipeline: r for r in table.latest(5)}
    assert (by_name["die"].status, by_name["slow"].status) == (Status.DIED, Status.TIMEOUT)
    assert by_name["slow"].error == "took longer than 20 s"
    if note.is_file():  # it had got that far
        until(lambda: not lives(int(note.read_text())))


def test_a_run_is_over_when_its_notebook_is_whatever_that_left_behind(tmp_path: Path, table: RunTable) -> None:
    start = "import subprocess\nleft = subprocess.Popen(['sleep', '10000'], start_new_session=True).pid"
    keep = "from quantai.notebook import record_metrics\nrecord_metrics(left=left)"
    path = notebook(tmp_path / "leave.ipynb", start, keep)
    done = quantai("run", path, "--folder", table.folder)
    (run,) = table.latest(5)
    left = int(run.metrics["left"])
    assert lives(left)
    os.kill(left, signal.SIGKILL)
    assert (done.returncode, run.status) == (0, Status.DONE)


@pytest.fixture
def serving(tmp_path: Path, table: RunTable) -> Iterator[Callable[[Path], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(file: Path) -> subprocess.Popen[bytes]:
        command = [*QUANTAI, "serve", str(file), "--folder", str(table.folder), "--json"]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=60)


def test_the_scheduler_runs_what_changed_files_ask_for_and_stops_runs_when_it_is_stopped(
    tmp_path: Path, table: RunTable, serving: Callable[[Path], subprocess.Popen[bytes]]
) -> None:
    notebook(tmp_path / "ok.ipynb", *OK)
    notebook(tmp_path / "slow.ipynb", "import time", "time.sleep(10_000)")
    file = schedule(
        tmp_path,
        watch='notebook = "ok.ipynb"\non_change = "in/*.csv"',
        slow='notebook = "slow.ipynb"\nafter = "watch"',
    )
    process = serving(file)
    assert process.stdout is not None
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("1")
    running = until(lambda: [r for r in table.latest(5, "slow") if r.status is Status.RUNNING])
    assert json.loads(process.stdout.readline()) == {"pipelines": ["watch", "slow"], "folder": str(table.folder)}
    again = subprocess.run(
        [
            *process.args,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # type: ignore[misc]
    assert "another scheduler runs there" in again.stderr
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0
    assert table.get(running[0].id).status is Status.STOPPED
    assert [r.status for r in table.latest(5, "watch")] == [Status.DONE]


def test_a_killed_scheduler_loses_no_run(
    tmp_path: Path, table: RunTable, serving: Callable[[Path], subprocess.Popen[bytes]]
) -> None:
    gate = tmp_path / "gate"
    waiting = f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.05)"
    notebook(tmp_path / "wait.ipynb", waiting)
    file = schedule(tmp_path, wait='notebook = "wait.ipynb"\non_change = "in/*.csv"\nretries = 1\nretry_wait = "0s"')
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("1")
    first = serving(file)
    (run,) = until(lambda: [r for r in table.unfinished() if (r.folder / "run.ipynb").is_file()])
    first.kill()
    first.wait(60)
    gate.touch()  # the run goes on without its scheduler, and comes to its end
    until(lambda: (run.folder / "result.json").is_file())
    second = serving(file)
    assert until(lambda: (ended := table.get(run.id)).status.ended and ended).status is Status.DONE
    gate.unlink()
    (tmp_path / "in" / "b.csv").write_text("1")
    lost = until(lambda: [r for r in table.unfinished() if (r.folder / "lock").is_file()])[0]
    second.kill()
    second.wait(60)
    spec = str(lost.folder).encode()
    for pid in [p for p in Path("/proc").iterdir() if p.name.isdigit()]:  # and now the machine takes the run, too
        try:
            if spec in (pid / "cmdline").read_bytes():
                os.kill(int(pid.name), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    gate.touch()
    serving(file)
    retried = until(lambda: [r for r in table.latest(5) if r.first_id == lost.id and r.status.ended])
    assert table.get(lost.id).status is Status.LOST
    assert (retried[0].attempt, retried[0].status) == (2, Status.DONE)


def test_a_run_by_hand_that_is_told_to_end_stops_its_notebook(tmp_path: Path, table: RunTable) -> None:
    slow = notebook(tmp_path / "slow.ipynb", "n = 1", "import time; time.sleep(600)")
    asked = [*QUANTAI, "run", str(slow), "--folder", str(table.folder)]
    process = subprocess.Popen(asked, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: [r for r in table.unfinished() if (r.folder / "lock").exists()])
        process.terminate()
        assert process.wait(180) == 130
    finally:
        process.kill()
        process.wait()
    (run,) = table.latest(2)
    assert run.status is Status.STOPPED
    assert not table.is_owned(run), "its notebook runs on"


def test_backfill_runs_each_day_once(tmp_path: Path, table: RunTable) -> None:
    notebook(tmp_path / "ok.ipynb", *OK)
    file = schedule(tmp_path, ok='notebook = "ok.ipynb"\nparameters = {day = "{date}"}')
    done = quantai(
        "backfill", file, "ok", "--start", "2024-02-28", "--end", "2024-03-01", "--folder", table.folder, "--json"
    )
    assert done.returncode == 0, done.stderr
    days = [r["metrics"]["day"] for r in json.loads(done.stdout)["runs"]]
    assert days == ["2024-02-28", "2024-02-29"]


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        ("2024-02-28T01:00", "2024-02-28T23:00", "are less than a day apart: --end is the first day left out"),
        ("2024-02-28", "2024-02-28", "has to be before"),
        ("0001-01-01", "2024-02-28", "'0001-01-01' is no instant that anything is run for"),
        ("0001-01-01T00:00+01:00", "2024-02-28", "is no instant"),
    ],
)
def test_a_backfill_of_no_days_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], start: str, end: str, said: str
) -> None:
    notebook(tmp_path / "ok.ipynb", *OK)
    file = schedule(tmp_path, ok='notebook = "ok.ipynb"')
    assert main(["pipeline", "backfill", str(file), "ok", "--start", start, "--end", end, "--json"]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"), [(["list", "FILE"], 0, "ok"), (["runs"], 0, '{"runs": []}'), (["diff", "1", "2"], 1, "")]
)
def test_reading_the_runs_creates_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    notebook(tmp_path / "ok.ipynb", "1")
    file = schedule(tmp_path, ok='notebook = "ok.ipynb"')
    before = sorted(tmp_path.rglob("*"))
    asked = [str(file) if word == "FILE" else word for word in words]
    assert main(["pipeline", *asked, "--folder", str(tmp_path / "none" / "runs"), "--json"]) == code
    assert said in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


def test_the_concurrency_of_a_pipeline_holds_between_processes(table: RunTable) -> None:
    other = RunTable(table.folder)
    at = datetime(2024, 1, 1, tzinfo=UTC)
    a, b = (t.ask("p", Path("n.ipynb"), at, {}, "x") for t in (table, other))
    assert table.begin(a, 1)
    assert not other.begin(b, 1)
    assert other.begin(b, 2)
    table.end(a, Status.DONE)
    assert table.end(a, Status.FAILED, "late").status is Status.DONE


def test_a_missed_time_is_made_up_for_once() -> None:
    trigger = CronTrigger.from_crontab("0 2 * * *", timezone="UTC")
    table_now = datetime(2024, 1, 3, 12, tzinfo=UTC)

    def after(instant: str) -> datetime | None:
        return missed_time(trigger, [_ran(instant)], table_now)

    assert missed_time(trigger, [], table_now) is None
    assert after("2024-01-03T02:00:00+00:00") is None
    assert after("2024-01-02T02:00:00+00:00") == datetime(2024, 1, 3, 2, tzinfo=UTC)
    assert after("2023-12-01T02:00:00+00:00") == datetime(2024, 1, 3, 2, tzinfo=UTC)


def _ran(instant: str) -> Any:
    class Ran:
        def __init__(self) -> None:
            self.instant = instant

    return Ran()


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ('notebook = "no.ipynb"', InputError, "there is no notebook"),
        ('notebok = "ok.ipynb"', UnknownName, "did you mean 'notebook'"),
        ('notebook = "ok.ipynb"\ncron = "every day"', InputError, "five fields"),
        ('notebook = "ok.ipynb"\ntimeout = "soon"', InputError, "write 90s, 30m, 1h or 2d"),
        ('notebook = "ok.ipynb"\nafter = "two"', UnknownName, "pipeline that one comes after 'two'"),
        ('notebook = "ok.ipynb"\nafter = "one"', InputError, "a circle"),
        ('notebook = "ok.ipynb"\nretries = -1', InputError, "not below"),
        ('notebook = "ok.ipynb"\ntimeout = nan', InputError, "timeout and concurrency are above 0"),
        ('notebook = "ok.ipynb"\nretries = "2"', InputError, "retries is a whole number, not '2'"),
        ('notebook = "ok.ipynb"\ncron = 5', InputError, "cron is a text in quotes, not 5"),
        ('notebook = "ok.ipynb"\nafter = 5', InputError, "after is a text in quotes or a list of them, not 5"),
        ('notebook = "ok.ipynb"\nparameters = 3', InputError, "parameters are a table"),
    ],
)
def test_a_schedule_that_cannot_run_is_refused_in_one_line(
    tmp_path: Path, more: str, error: type[InputError], message: str
) -> None:
    notebook(tmp_path / "ok.ipynb", *OK)
    with pytest.raises(error, match=message):
        Schedule.load(schedule(tmp_path, one=more))
    assert len(quantai("list", tmp_path / "schedule.toml").stderr.splitlines()) == 1


def test_the_pipelines_that_come_with_the_project_run_offline(tmp_path: Path, table: RunTable) -> None:
    home = Path(__file__).resolve().parents[2] / "pipelines"
    names = {"daily-data", "nightly-sweep", "weekly-report", "knowledge-reindex"}
    assert set(Schedule.load(home / "schedule.toml").pipelines) == names
    qa.synth.market("BTC-USDT-PERP", hours=0.1, seed=1).to_lake(qa.Lake(tmp_path / "lake"))
    settings = {"download": "false", "lake": tmp_path / "lake", "venue": "SYNTH", "symbol": "BTC-USDT-PERP"}
    given = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    small = ["--set", 'grid={"fast": [5, 10], "slow": [50, 100]}']
    documents = json.dumps([str(home.parent / "docs" / name) for name in ("fills.md", "risk.md")])
    kept = {"sources": documents, "store": tmp_path / "knowledge", "embedding": "none"}
    known = [part for name, value in kept.items() for part in ("--set", f"{name}={value}")]
    ready = (("daily_data", given), ("nightly_sweep", small), ("weekly_report", []), ("knowledge_reindex", known))
    for name, more in ready:
        done = quantai("run", home / f"{name}.ipynb", *more, "--folder", table.folder, "--json")
        assert done.returncode == 0, done.stderr
    reindex, weekly, nightly, daily = table.latest(4)
    assert daily.metrics["findings"] == 0
    assert daily.metrics["trades_rows"] > 0
    assert nightly.metrics["variants"] == 4
    assert weekly.metrics == {"runs": 3, "runs_done": 2, "runs_running": 1}
    assert {name: reindex.metrics[name] for name in ("added", "failed", "runs_added", "found", "asked")} == {
        "added": 2, "failed": 0, "runs_added": 4, "found": 1, "asked": 1
    }  # fmt: skip

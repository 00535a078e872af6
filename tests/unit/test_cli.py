"""The frame of the command line: listing, lazy loading, exit codes, and what is printed where."""

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from quantai.cli import COMMANDS, main
from quantai.cli.output import Json, emit
from quantai.core.errors import InputError, StorageError
from quantai.core.plain import plain
from quantai.ops import progress

Add = Callable[[Callable[..., None]], None]


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Add:
    """Add a command as its author would: a line in the table and a module with the function."""

    def add_command(function: Callable[..., None]) -> None:
        name = function.__name__
        module = ModuleType(f"quantai.cli.{name}")
        setattr(module, name, function)
        module.EXAMPLES = f"\nquantai {name}\nquantai {name} --json | jq .rows\n"  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(COMMANDS, name, "Count something.")

    return add_command


def test_help_lists_every_command_without_loading_one() -> None:
    code = "import json, sys; from quantai.cli import main; c = main(['--help']); print(json.dumps([c, *sys.modules]))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *help_text, last = ran.stdout.splitlines()
    exit_code, *modules = json.loads(last)
    assert exit_code == 0
    for name, line in COMMANDS.items():
        assert any(text.split() == [name, *line.split()] for text in help_text), name
        assert f"quantai.cli.{name}" not in modules
    assert not {"numpy", "pandas", "numba", "duckdb", "rich"} & set(modules)


def test_it_is_a_module_too() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "quantai", "no-such-command"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert "no-such-command" in ran.stderr


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_with_examples_and_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--json" in shown
    assert f"  quantai {name} " in shown[shown.index("Examples:") :]


def test_examples_are_shown_line_by_line(add: Add, capsys: pytest.CaptureFixture[str]) -> None:
    def count() -> None:
        """Count something."""

    add(count)
    assert main(["count", "--help"]) == 0
    assert capsys.readouterr().out.endswith("Examples:\n    quantai count\n    quantai count --json | jq .rows\n")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("quantai 0.")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["doktor"], "No such command 'doktor'. Did you mean 'doctor'?"),
        (["doctor", "--jsno"], "No such option: --jsno"),
        (["doctor", "--venue"], "Option '--venue' requires an argument"),
        (["doctor", "BINANCE"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_2(args: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("unknown venue\n  'X'"), 1, "quantai: error: unknown venue 'X'\n"),
        (StorageError("disk full"), 1, "quantai: error: disk full\n"),
        (KeyError("px"), 1, "quantai: internal error: KeyError: 'px' (QUANTAI_DEBUG=1 shows where)\n"),
        (KeyboardInterrupt(), 130, "quantai: interrupted\n"),
    ],
)
def test_failure_is_one_line_on_stderr(
    error: BaseException, code: int, line: str, add: Add, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    add(fail)
    assert main(["fail"]) == code
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", line)


def test_debug_shows_the_traceback(add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise InputError("no")

    add(fail)
    monkeypatch.setenv("QUANTAI_DEBUG", "1")
    with pytest.raises(InputError):
        main(["fail"])


def test_emit_prints_one_line_of_json(add: Add, capsys: pytest.CaptureFixture[str]) -> None:
    def count(json: Json = False) -> None:
        emit({"rows": np.int64(3), "paths": [Path("a/b")]}, json)

    add(count)
    assert main(["count", "--json"]) == 0
    assert capsys.readouterr().out == '{"rows": 3, "paths": ["a/b"]}\n'


def test_emit_prints_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    emit(
        {"rows_read": 1234567, "by_channel": {"trades": 2, "l2_book": None}, "complete": True, "none": []},
        as_json=False,
    )
    words = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert words == [
        ["rows", "read", "1,234,567"],
        ["by", "channel", "trades", "2"],
        ["l2", "book", "-"],
        ["complete", "yes"],
        ["none", "-"],
    ]


@pytest.mark.parametrize(
    ("value", "made"),
    [
        (np.float64("nan"), None),
        (float("-inf"), None),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.bool_(True), True),
        (Decimal("0.10"), "0.10"),
        (dt.datetime(2024, 8, 8, 1, 2, 3, tzinfo=dt.UTC), "2024-08-08T01:02:03+00:00"),
        ({1: {"a"}}, {"1": ["a"]}),
    ],
)
def test_plain_is_what_json_can_say(value: Any, made: Any) -> None:
    assert plain(value) == made
    assert type(plain(value)) is type(made)


def test_plain_refuses_what_json_cannot_say() -> None:
    with pytest.raises(TypeError, match="no JSON for object"):
        plain({"x": [object()]})


def test_progress_is_silent_when_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("reading", 10, unit="rows") as advance:
        advance(10)
    assert capsys.readouterr() == ("", "")


def test_progress_shows_rate_and_count_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    with progress("reading", 10, unit="rows") as advance:
        advance(4)
        advance(6)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert all(part in shown.err for part in ("reading", "10", "rows/s"))
    with progress("reading", 10, quiet=True) as advance:
        advance(10)
    assert capsys.readouterr() == ("", "")

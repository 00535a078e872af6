"""Machine code is reused while nothing it was made from has changed, and never after."""

import os
import re
import subprocess
import sys
from pathlib import Path

from quantai.core.compiled import engine_sources

REPO = Path(__file__).parents[2]

PROGRAM = """
import sys
sys.path.insert(0, {root!r})
from quantai.core.compiled import compiled
from quantai.core.callee import offset
@compiled
def moved(x):
    return x + offset()
print(moved(1), sum(moved.stats.cache_hits.values()))
"""


def test_a_changed_callee_is_noticed(tmp_path):
    core = tmp_path / "quantai" / "core"
    core.mkdir(parents=True)
    (tmp_path / "quantai" / "__init__.py").touch()
    (core / "__init__.py").touch()
    (core / "compiled.py").write_text((REPO / "quantai/core/compiled.py").read_text())
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(root=str(tmp_path)))

    def run(offset):
        text = f"from quantai.core.compiled import compiled\n@compiled\ndef offset():\n    return {offset}\n"
        if not (core / "callee.py").exists() or (core / "callee.py").read_text() != text:
            (core / "callee.py").write_text(text)
        done = subprocess.run(
            [sys.executable, str(program)],
            env=os.environ | {"QUANTAI_CACHE": str(tmp_path / "cache")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()

    assert run(10) == ["11", "0"]
    assert run(10) == ["11", "1"], "the same sources must not be compiled twice"
    assert run(20) == ["21", "0"], "a changed callee must be compiled again"


def test_only_what_can_reach_machine_code_compiles_it_again():
    sources = engine_sources()
    assert {"quantai.core.orders", "quantai.venues.book", "quantai.execution.risk"} <= set(sources)
    assert "quantai.core.rows" in sources, "its constants are frozen into machine code"
    assert not {"quantai.execution.loop", "quantai.feeds.crypto", "quantai.venues.ccxt.venue"} & set(sources)


def test_a_disk_that_takes_no_machine_code_ends_no_run(tmp_path):
    program = """
import resource, signal
from quantai.core.compiled import compiled
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
@compiled
def twice(x):
    return 2 * x
print(twice(4))
"""
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py")],
        env=os.environ | {"QUANTAI_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["8"]


SAYING = """
import logging, sys
from quantai.core.compiled import compiled
from quantai.ops.compiling import announced
@compiled
def inner(x):
    return x + 1
@compiled
def outer(x):
    return 2 * inner(x)
@compiled
def other(x):
    return 3 * x
told = announced(0)
with told.together("two of them", "a moment"):
    outer(1), other(1)
try:
    compiled(lambda x: nowhere)(1)
except Exception as error:
    print(type(error).__name__)
outer(1.5)
handler = logging.StreamHandler(sys.stderr)
handler.setFormatter(logging.Formatter("{levelname} {message}", style="{"))
logging.getLogger("quantai").addHandler(handler)
logging.getLogger("quantai").setLevel(logging.INFO)
other(1.5)
"""


def test_what_compiles_is_said_once_and_when_it_is_there(tmp_path):
    program, cache = tmp_path / "program.py", tmp_path / "cache"
    program.write_text(SAYING)

    def run(quiet=""):
        done = subprocess.run(
            [sys.executable, str(program)],
            env=os.environ | {"QUANTAI_CACHE": str(cache), "PYTHONPATH": str(REPO), "QUANTAI_QUIET": quiet},
            capture_output=True,
            text=True,
            check=True,
        )
        return [re.sub(r"\d+ s$", "N s", line) for line in done.stderr.splitlines()], done.stdout

    def pair(what, about, kept=f"; kept in {cache}/kernels", by="quantai: "):
        return [f"{by}compiling {what}, about {about} the first time{kept}", f"{by}compiled in N s"]

    refused = pair("__main__.<lambda>", "a minute or two")
    assert run() == (
        [
            *pair("two of them", "a moment"),
            *refused,
            *pair("__main__.outer", "a minute or two"),
            *pair("__main__.other", "a minute or two", by="INFO "),
        ],
        "TypingError\n",
    )
    assert run() == (refused, "TypingError\n"), "what is kept is not compiled again"
    assert run(quiet="1") == ([], "TypingError\n")

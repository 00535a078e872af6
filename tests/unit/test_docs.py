"""The pages on strategies, replays and validation: every block of Python on them runs, every link leads somewhere."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer import Context
from typer.main import get_command

from quantai.cli import COMMANDS, app

REPO = Path(__file__).parents[2]
NAMES = ("strategies", "replay", "live-differs", "validation", "oms", "assistant")
RUN = ["README.md", *(f"docs/{name}.md" for name in NAMES)]
PAGES = [*RUN, "docs/fills.md", "notebooks/README.md"]


@pytest.mark.parametrize("page", RUN)
def test_python_blocks_run_in_order(page, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (REPO / page).read_text(), re.DOTALL)
    assert blocks
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(REPO)}, capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("page", PAGES)
def test_links_between_files_lead_somewhere(page):
    text = (REPO / page).read_text()
    links = [x for x in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in x]
    missing = [x for x in links if not ((REPO / page).parent / x.split("#")[0]).exists()]
    assert missing == []


def _asked(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of ours in the code of a page, with the words that follow it."""
    blocks = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
    inline = re.findall(r"`(quantai [^`]+)`", blocks.sub("", text))
    for code in (*(block for language, block in blocks.findall(text) if language in ("", "bash")), *inline):
        for name, rest in re.findall(r"\bquantai ([a-z]+)\b([^\n|]*)", code.replace("\\\n", " ")):
            yield name, rest.split(" #")[0].split()


def _options() -> dict[str, dict[str, set[str]]]:
    """Return every command's options, by verb ("" for a command without any)."""
    frame: Any = get_command(app)
    found: dict[str, dict[str, set[str]]] = {}
    for name in COMMANDS:
        command = frame.resolve_command(Context(frame), [name])[1]
        verbs = getattr(command, "commands", {"": command})
        found[name] = {verb: {option for each in one.params for option in each.opts} for verb, one in verbs.items()}
    return found


def test_commands_and_options_of_the_pages_exist():
    known, seen, missing = _options(), 0, []
    for path in [*REPO.glob("*.md"), *(REPO / "docs").rglob("*.md"), *REPO.glob("*/README.md")]:
        for name, words in _asked(path.read_text()):
            seen += 1
            verbs = known.get(name, {})
            verb = next(iter(words), "") if "" not in verbs else ""
            wrong = {word for word in words if word.startswith("--")} - verbs.get(verb, set()) - {"--help"}
            if name not in known or (words and verb not in verbs) or wrong:
                missing.append((path.name, name, verb, *sorted(wrong)))
    assert seen > 100
    assert missing == []

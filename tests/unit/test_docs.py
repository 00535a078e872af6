"""The pages on strategies, replays and validation: every block of Python on them runs, every link leads somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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

"""The marimo apps run from top to bottom in marimo's own kernel, and no cell shows an error."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

REPO = Path(__file__).parents[2]
APPS = sorted((REPO / "notebooks" / "apps").glob("*.py"))


@pytest.mark.parametrize("app", APPS, ids=lambda p: p.stem)
def test_app_runs(app, tmp_path):
    command = [sys.executable, "-m", "marimo", "export", "ipynb", str(app), "--include-outputs", "-o", "out.ipynb"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPO)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    outputs = [o for c in cells if c.cell_type == "code" for o in c.outputs]
    assert not [o for o in outputs if o.output_type == "error"]
    assert len(outputs) >= 3


@pytest.mark.parametrize("app", APPS, ids=lambda p: p.stem)
def test_app_is_well_formed(app):
    done = subprocess.run([sys.executable, "-m", "marimo", "check", app], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

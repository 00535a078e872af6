"""Every case of every pack that has an adapter, one test each, and the runner around them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.packs import Adapter, Case, adapter, packs

CASES = [
    pytest.param(run, case, id=f"{name}-{case['id']}")
    for name, cases in packs().items()
    if (run := adapter(name)) is not None
    for case in cases
]


@pytest.mark.parametrize(("run", "case"), CASES)
def test_case_has_the_expected_answer(run: Adapter, case: Case) -> None:
    assert run(case) == []


def test_runner_reports_a_pack_without_an_adapter_as_failed(tmp_path: Path) -> None:
    (tmp_path / "unheard_of.json").write_text(json.dumps({"cases": [{"id": "U1"}, {"id": "U2"}]}))
    ran = subprocess.run(
        [sys.executable, "-m", "tests.conformance", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert json.loads(ran.stdout) == {
        "unheard_of": {"cases": 2, "passed": 0, "failed": ["U1", "U2"], "error": "no adapter"}
    }


def test_runner_refuses_a_folder_without_packs(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.conformance", str(tmp_path), "--pack", "risk"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "no pack risk.json" in ran.stderr

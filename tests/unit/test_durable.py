"""What is written is on the disk before anybody is told so, on macOS too."""

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from quantai.core.instruments import Instruments
from quantai.core.rows import EVENT, zeros
from quantai.data import Lake, to_ns
from quantai.data.manifest import Manifest
from quantai.data.tape import Tape
from quantai.feeds.raw import RawFile
from quantai.ops import files

MACOS_FULL_SYNC = 51  # F_FULLFSYNC; Linux knows no such command and answers EINVAL


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files and folders that were made durable, in order."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("tells files by their descriptors, which needs Linux")
    found: list[Path] = []

    def noting(real: Any) -> Any:
        def sync(fd: int) -> None:
            found.append(Path(f"/proc/self/fd/{fd}").readlink())
            real(fd)

        return sync

    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, noting(getattr(os, name)))
    return found


def test_macos_is_asked_for_more_than_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = fcntl.fcntl
    monkeypatch.setattr(fcntl, "fcntl", lambda fd, command, *rest: (asked.append(command), real(fd, command, *rest))[1])
    monkeypatch.setattr(files, "_FULL_SYNC", MACOS_FULL_SYNC)
    monkeypatch.delattr(os, "fdatasync", raising=False)
    file = RawFile(tmp_path / "frames.jsonl.zst")
    file.begin("BINANCE", {}, {})
    file.close()
    assert asked == [MACOS_FULL_SYNC]


def test_a_folder_is_made_with_the_names_of_all_above_it(tmp_path: Path, synced: list[Path]) -> None:
    files.make_folder(tmp_path / "a" / "b")
    files.make_folder(tmp_path / "a" / "b")
    assert set(synced) == {tmp_path, tmp_path / "a"}


def test_raw_files_tapes_and_files_of_a_lake_have_durable_names(tmp_path: Path, synced: list[Path]) -> None:
    RawFile(tmp_path / "raw" / "frames.jsonl.zst").close()
    assert {tmp_path, tmp_path / "raw"} <= set(synced)
    synced.clear()
    tape = tmp_path / "x.tape"
    Tape.from_events(zeros(0, EVENT), Instruments()).save(tape)
    assert synced[-1] == tmp_path
    synced.clear()
    ts = [to_ns("2024-08-08")]
    with Lake(tmp_path / "lake").writer("test") as w:
        w.append("trades", "OKX", "BTC-USDT", {"ts_exch": ts, "ts_recv": ts, "px": [1.0], "qty": [1.0]})
        w.commit({})
    (file,) = (tmp_path / "lake").rglob("*.parquet")
    above = {p for p in file.parents if p.is_relative_to(tmp_path)}
    assert above <= set(synced), "the file's folder, and every one that a new folder was made in"


def test_the_manifest_asks_sqlite_for_the_same(tmp_path: Path) -> None:
    con = Manifest(tmp_path).write()
    assert con.execute("pragma fullfsync").fetchone() == (1,)
    assert con.execute("pragma synchronous").fetchone() == (2,)
    con.close()

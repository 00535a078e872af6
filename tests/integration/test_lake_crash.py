"""What a commit acknowledged is in the lake once, whatever ends the writer; a full disk loses nothing."""

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from quantai.core.errors import StorageError
from quantai.data import Lake
from tests.integration.lake_writer import STREAMS, columns

REPO = Path(__file__).resolve().parents[2]


def start(root: Path, rows: int = 100, commits: int = 0, file_limit: int = 0) -> "subprocess.Popen[str]":
    command = [
        sys.executable,
        "-m",
        "tests.integration.lake_writer",
        str(root),
        str(rows),
        str(commits),
        str(file_limit),
    ]
    return subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Wait for the process and return its exit code, stdout and stderr."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def last_acknowledged(out: str) -> int:
    """The last row number that the writer said was committed: a kill may cut the last line short."""
    lines = [line.split() for line in out.splitlines(keepends=True) if line.endswith("\n")]
    return max((int(words[1]) for words in lines if words[0] == "acknowledged"), default=0)


def assert_holds_exactly(lake: Lake, n: int) -> None:
    """Every stream holds the rows 0 to n, each once, in order, with the values they were written with."""
    for table, venue, symbol in STREAMS:
        rows = lake.read(table, venue, symbol)
        assert rows.num_rows == n
        for name, values in columns(table, 0, n).items():
            assert np.array_equal(rows[name].to_numpy(), np.asarray(values))
    counts = lake.sql("select count(*), count(distinct seq) from trades where symbol = 'S0-USDT'").fetchone()
    assert counts == (n, n)


def parquet_files(lake: Lake) -> set[Path]:
    return {p for p in lake.root.rglob("*") if ".parquet" in p.name}


def listed_files(lake: Lake) -> int:
    return int(lake.summary()["files"].sum())


def test_kill_at_twenty_random_moments_loses_and_repeats_nothing(tmp_path: Path) -> None:
    rng = random.Random(8)
    lake = Lake(tmp_path / "lake")
    committed = 0
    for _ in range(20):
        process = start(lake.root)
        assert process.stdout is not None
        process.stdout.readline()  # it has started: what follows is a moment of its work
        time.sleep(rng.uniform(0, 0.25))
        process.kill()
        _, out, err = finish(process)
        assert err == ""
        # reading before any recovery: whole commits only, at least everything acknowledged
        count = lake.read(*STREAMS[0]).num_rows
        assert count >= max(committed, last_acknowledged(out))
        assert_holds_exactly(lake, count)
        committed = count
    assert committed > 2_000
    with lake.writer("crash") as w:
        assert w.position == {"next": committed}
    assert_holds_exactly(lake, committed)
    assert len(parquet_files(lake)) == listed_files(lake), "files that a killed writer left behind are swept"
    assert not any(p.name.endswith(".tmp") for p in parquet_files(lake))


def test_a_reader_sees_whole_commits_while_another_process_writes(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    process = start(lake.root, commits=40)
    seen: list[int] = []
    while process.poll() is None:
        with contextlib.suppress(LookupError):
            seen.append(sum(lake.tables().values()))
            if seen[-1]:
                n = lake.read(*STREAMS[0]).num_rows
                assert n % 100 == 0
                assert lake.read(*STREAMS[0])["seq"].to_pylist()[:n] == list(range(n))
    code, out, err = finish(process)
    assert (code, err) == (0, "")
    assert seen == sorted(seen)
    assert len(set(seen)) > 3
    assert_holds_exactly(lake, last_acknowledged(out))


def test_two_sources_write_at_once_and_one_source_only_once(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    process = start(lake.root, commits=30)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(StorageError, match=f"source 'crash' is in use by process {process.pid}"):
        lake.writer("crash")
    with lake.writer("other") as w:
        for k in range(20):
            w.append("trades", "KRAKEN", "X-USDT", columns("trades", k * 10, 10))
            w.commit({"k": k})
    code, out, err = finish(process)
    assert (code, err) == (0, "")
    assert_holds_exactly(lake, last_acknowledged(out))
    assert lake.trades("KRAKEN", "X-USDT")["seq"].to_pylist() == list(range(200))
    with lake.writer("crash") as w:
        assert w.position == {"next": last_acknowledged(out)}


def test_a_file_that_may_not_grow_refuses_the_commit_and_loses_nothing(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    code, out, err = finish(start(lake.root, rows=400, commits=60, file_limit=600_000))
    assert code == 0, err
    refused = [line for line in out.splitlines() if line.startswith("refused")]
    assert len(refused) == 1
    assert "free some space, then commit again" in refused[0]
    assert_holds_exactly(lake, last_acknowledged(out))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MB that can be filled."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_refuses_the_commit_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    lake = Lake(small_disk / "lake")
    ballast = small_disk / "ballast"
    w = lake.writer("feed")
    at, n = 0, 20_000
    ballast.write_bytes(bytes(32_000_000))
    refusal = ""
    while not refusal:
        w.append("trades", "OKX", "BTC-USDT", columns("trades", at, n))
        try:
            assert w.commit({"next": at + n}) == n
            at += n
        except StorageError as error:
            refusal = str(error)
    assert "the disk is full: free some space, then commit again" in refusal
    assert "\n" not in refusal
    assert at > 0
    assert w.pending == n
    assert w.position == {"next": at}
    assert lake.trades("OKX", "BTC-USDT")["seq"].to_pylist() == list(range(at))
    ballast.unlink()
    assert w.commit({"next": at + n}) == n
    w.close()
    assert lake.trades("OKX", "BTC-USDT")["seq"].to_pylist() == list(range(at + n))
    with lake.writer("feed") as w:
        assert w.position == {"next": at + n}


def test_a_disk_too_full_for_the_files_keeps_the_rows_in_the_manifest(small_disk: Path) -> None:
    lake = Lake(small_disk / "lake")
    w = lake.writer("feed")
    w.append("trades", "OKX", "BTC-USDT", columns("trades", 0, 4_000))
    w.commit({"next": 4_000})
    with (small_disk / "ballast").open("wb") as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(4096))
            ballast.flush()
    with pytest.raises(StorageError, match="the disk is full"):
        w.close()
    assert lake.trades("OKX", "BTC-USDT").num_rows == 4_000
    (small_disk / "ballast").unlink()
    with lake.writer("feed") as w:
        assert w.position == {"next": 4_000}
    assert listed_files(lake) == len(parquet_files(lake)) == 2
    assert lake.trades("OKX", "BTC-USDT").num_rows == 4_000


def test_a_folder_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match="choose a folder you may write to"):
        Lake(tmp_path / "file" / "lake").writer("feed")
    with pytest.raises(StorageError, match="is a file, not a folder"):
        Lake(tmp_path / "file").tables()
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.geteuid() != 0:
        with pytest.raises(StorageError, match="Permission denied"):
            Lake(locked / "lake").writer("feed")


def test_a_lake_on_a_read_only_disk_can_be_read(small_disk: Path) -> None:
    lake = Lake(small_disk / "lake")
    with lake.writer("feed") as w:
        w.append("trades", "OKX", "BTC-USDT", columns("trades", 0, 10))
        w.commit({})
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert lake.trades("OKX", "BTC-USDT").num_rows == 10
    with pytest.raises(StorageError, match=r"Read-only file system|not writable"):
        lake.writer("feed")

"""Compaction keeps every row, may be killed at any moment, and never disturbs a reader or a writer."""

import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from quantai.core.errors import StorageError
from quantai.core.rows import DAY, SEC
from quantai.data import Lake, manifest, to_ns, writer
from quantai.data import compact as compact_module
from quantai.data.locks import FileLock
from quantai.data.manifest import Manifest

REPO = Path(__file__).resolve().parents[2]
T0 = to_ns("2024-08-08")
KILLED = """
import sys
from pathlib import Path
from quantai.data import compact
compact.ROW_GROUP, compact.FILE_ROWS = 100, 400
print("started", flush=True)
print(compact.compact(Path(sys.argv[1]), quiet=True), flush=True)
"""


def fill(lake: Lake, days: int = 3, files: int = 10, rows: int = 50) -> int:
    """Write `files` small files into each of `days` days of two symbols, every other one out of order."""
    for k in range(files):
        with lake.writer("test") as w:
            for day in range(days):
                for symbol in ("BTC-USDT", "ETH-USDT"):
                    i = np.arange(rows) * 2 + (k // 2) * rows * 2 + k % 2  # files 0 and 1 interleave, and 2 and 3, ...
                    ts = T0 + day * DAY + i * SEC
                    w.append("trades", "OKX", symbol, {"ts_exch": ts, "ts_recv": ts, "px": i + 0.5, "qty": i + 1.0})
            w.commit({"k": k})
    return days * files * rows * 2


def contents(lake: Lake) -> bytes:
    return b"".join(
        column.to_numpy(zero_copy_only=False).tobytes()
        for symbol in ("BTC-USDT", "ETH-USDT")
        for column in lake.trades("OKX", symbol).drop_columns(["id"]).combine_chunks().columns
    )


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact_module, "ROW_GROUP", 100)
    monkeypatch.setattr(compact_module, "FILE_ROWS", 400)


@pytest.mark.usefixtures("small_files")
def test_small_files_become_few_sorted_ones_once(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    rows = fill(lake)
    before = contents(lake)
    done = lake.compact(quiet=True)
    assert (done.partitions, done.files_before, done.files_after, done.rows) == (6, 60, 12, rows)
    assert contents(lake) == before
    assert lake.summary()["files"].tolist() == [2] * 6
    parts = Manifest(lake.root).parts()
    for part in parts:
        file = pq.ParquetFile(lake.root / part.path)
        seq = file.read()["seq"].to_numpy()
        assert np.all(np.diff(seq) > 0)
        assert (part.rows, part.seq_min, part.seq_max, part.ts_min, part.ts_max) == (
            len(seq),
            seq[0],
            seq[-1],
            seq[0],
            seq[-1],
        )
        assert all(file.metadata.row_group(i).num_rows == 100 for i in range(part.rows // 100))
    again = lake.compact(quiet=True)
    assert (again.partitions, again.files_before, again.moved, again.swept) == (0, 0, 0, 0)
    assert [p.path for p in Manifest(lake.root).parts()] == [p.path for p in parts]


@pytest.mark.usefixtures("small_files")
def test_replaced_files_stay_for_a_while_and_are_swept_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(tmp_path / "lake")
    fill(lake)
    lake.compact(quiet=True)
    assert len(list(lake.root.rglob("*.parquet"))) == 60 + 12
    monkeypatch.setattr(manifest, "GRACE_NS", 0)
    assert lake.compact(quiet=True).swept == 60
    assert len(list(lake.root.rglob("*.parquet"))) == 12


def test_today_is_left_alone_and_a_year_ends_with_the_year(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    for k in range(2):
        with lake.writer("test") as w:
            ts = [T0 + k * SEC]
            w.append("trades", "OKX", "X", {"ts_exch": ts, "ts_recv": ts, "px": [1.0], "qty": [1.0]})
            w.append("open_interest", "OKX", "X", {"ts_exch": ts, "ts_recv": ts, "qty": [1.0]})
            w.commit({})
    today = np.datetime64("2024-08-08").item()
    assert compact_module.compact(lake.root, today=today, quiet=True).partitions == 0
    assert compact_module.compact(lake.root, today=np.datetime64("2024-08-09").item(), quiet=True).partitions == 1
    assert compact_module.compact(lake.root, today=np.datetime64("2025-01-01").item(), quiet=True).partitions == 1


def test_rows_staged_by_a_writer_that_died_become_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(tmp_path / "lake")
    for source in ("dead", "alive"):
        w = lake.writer(source)
        ts = [T0]
        w.append("trades", "OKX", source, {"ts_exch": ts, "ts_recv": ts, "px": [1.0], "qty": [1.0]})
        w.commit({})
        if source == "dead":
            monkeypatch.setattr(w, "_waiting", {})
            w.close()
    assert lake.summary()["staged"].tolist() == [1, 1]
    assert lake.compact(quiet=True).moved == 1
    assert lake.summary().set_index("symbol")["staged"].to_dict() == {"alive": 1, "dead": 0}
    w.close()
    assert lake.tables() == {"trades": 2}


def test_space_of_rows_that_left_the_manifest_goes_back_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact_module, "_MOST_FREE", 100_000)
    lake = Lake(tmp_path / "lake")
    with lake.writer("test") as w:
        ts = T0 + np.arange(50_000)
        w.append("trades", "OKX", "X", {"ts_exch": ts, "ts_recv": ts, "px": ts * 1.0, "qty": ts * 1.0})
        w.commit({})
    before = (lake.root / manifest.NAME).stat().st_size
    lake.compact(quiet=True)
    assert (lake.root / manifest.NAME).stat().st_size < before / 4
    assert lake.tables() == {"trades": 50_000}


def test_one_compaction_at_a_time_and_a_damaged_file_is_left_out(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    fill(lake, days=2, files=2)
    with (
        FileLock(lake.root, "compact", "compaction"),
        pytest.raises(StorageError, match="compaction is in use by process"),
    ):
        lake.compact(quiet=True)
    victim = next((lake.root / "trades").rglob("symbol=BTC-USDT/date=2024-08-08/*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-20])
    done = lake.compact(quiet=True)
    assert done.partitions == 3
    assert len(done.damaged) == 1
    assert str(victim) in done.damaged[0]
    assert len(lake.trades("OKX", "ETH-USDT")) == 200


def test_kill_at_random_moments_loses_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    rows = fill(lake, days=8, files=20)
    before, rng, killed = contents(lake), random.Random(3), 0
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(lake.root)],
            cwd=REPO,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        _, err = process.communicate(timeout=60)
        assert err == ""
        killed += process.returncode != 0
        assert contents(lake) == before
    assert killed
    compact_module.compact(lake.root, quiet=True)
    assert contents(lake) == before
    assert sum(lake.tables().values()) == rows
    with Manifest(lake.root).read() as con:
        assert con is not None
        loose = {path for (path,) in con.execute("select path from loose where owner = 'replaced'")}
        listed = {path for (path,) in con.execute("select path from files")}
    on_disk = {str(p.relative_to(lake.root)) for p in lake.root.rglob("*.parquet*")}
    assert on_disk == loose | listed


@pytest.mark.usefixtures("small_files")
def test_readers_and_a_writer_go_on_during_compaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(tmp_path / "lake")
    fill(lake, days=4)
    before = contents(lake)
    count = lake.sql("select count(*) from trades where venue = 'OKX'").fetchone()
    stop, seen, errors = threading.Event(), list[bool](), list[Exception]()

    def read() -> None:
        try:
            while not stop.is_set():
                seen.append(contents(lake) == before)
                seen.append(lake.sql("select count(*) from trades where venue = 'OKX'").fetchone() == count)
        except Exception as error:  # noqa: BLE001 -- what a thread meets has to reach the test
            errors.append(error)

    monkeypatch.setattr(writer, "SPILL_ROWS", 20)
    thread = threading.Thread(target=read)
    thread.start()
    with lake.writer("live") as w:
        for k in range(30):
            ts = [T0 + k * SEC]
            w.append("trades", "KRAKEN", "BTC-USDT", {"ts_exch": ts, "ts_recv": ts, "px": [1.0], "qty": [1.0]})
            w.commit({"k": k})
            if k % 10 == 5:
                already = len(seen)
                lake.compact(quiet=True)
                while len(seen) < already + 4 and thread.is_alive():  # reads that began before, in and after it
                    time.sleep(0.01)
    stop.set()
    thread.join()
    assert errors == []
    assert len(seen) >= 12
    assert all(seen)
    assert lake.trades("KRAKEN", "BTC-USDT").num_rows == 30


def test_a_source_may_be_called_what_compaction_is_called(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    ts = [T0]
    with lake.writer("compact") as w:
        w.append("trades", "OKX", "BTC-USDT", {"ts_exch": ts, "ts_recv": ts, "px": [1.0], "qty": [1.0]})
        w.commit({})
        assert lake.compact(quiet=True).moved == 0, "its rows are its own while it is open"
        with pytest.raises(StorageError, match="source 'compact' is in use by process"):
            lake.writer("compact")
    assert lake.tables() == {"trades": 1}

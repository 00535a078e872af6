"""A damaged store: found, reported, set aside, and never in the way of the rest. Real files, really damaged."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from quantai.core.errors import DataError, InputError, StorageError
from quantai.core.rows import BAR, EVENT, INTENT, Kind, Rows, zeros
from quantai.journal import EventStore, Snapshot, StoreReader, Stream, Text, recover, verify

SEQS = 20_000


def fill(store: EventStore) -> None:
    rows = zeros(SEQS, EVENT)
    rows["seq"] = np.arange(1, SEQS + 1)
    rows["px"] = np.random.default_rng(1).random(SEQS)
    for at in range(0, SEQS, 1000):
        bars, intents = zeros(2, BAR), zeros(1, INTENT)
        bars["open"] = store.next_bar + np.arange(2)
        rows["kind"][at], rows["aux"][at] = Kind.BAR, store.next_bar + 1
        store.append(bars)
        store.append(rows[at : at + 1000])
        store.append_texts([Text(at + 1, "raw", "payload")])
        intents["seq"] = at + 1000
        store.append_intents(intents)
    store.snapshot("state", b"s" * 6000)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `closed`, ended in good order, and `killed`, copied while its writer was alive."""
    folder = tmp_path_factory.mktemp("stores")
    with EventStore.create(folder / "killed", {"run": "k"}) as store:
        fill(store)
        (folder / "copy").mkdir()
        for ending in ("", "-wal", ".lock"):
            shutil.copy(folder / f"killed{ending}", folder / "copy")
    with EventStore.create(folder / "closed", {"run": "c"}) as store:
        fill(store)
    return folder


@pytest.fixture
def closed(stores: Path, tmp_path: Path) -> Path:
    for ending in ("", ".lock"):
        shutil.copy(stores / f"closed{ending}", tmp_path)
    return tmp_path / "closed"


@pytest.fixture
def killed(stores: Path, tmp_path: Path) -> Path:
    for ending in ("", "-wal", ".lock"):
        shutil.copy(stores / "copy" / f"killed{ending}", tmp_path)
    return tmp_path / "killed"


@pytest.fixture(scope="module")
def written(stores: Path) -> Rows:
    with StoreReader(stores / "closed") as reader:
        return reader.rows()


def overwrite(path: Path, at: int, body: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(body)


def flip(path: Path, at: int, bit: int = 3) -> None:
    body = path.read_bytes()
    overwrite(path, at, bytes([body[at] ^ 1 << bit]))


def truncate(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


def wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def edit(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(sql)


def check_recovered(path: Path, written: Rows) -> Rows:
    """What every recovery must give: true rows, gaps for all others, no number used twice, a store to go on with."""
    found = recover(path)
    assert found.ok, found
    with StoreReader(path) as reader:
        rows = reader.rows(stop=SEQS + 1)
        held = set(reader.rows()["seq"].tolist())
        assert len(reader.rows(Stream.INTENT)) <= SEQS // 1000
        assert len(list(reader.texts())) <= SEQS // 1000
        gaps = [gap for gap in reader.gaps() if gap.stream is Stream.EVENT]
    lost = set(range(1, SEQS + 1)) - held
    assert rows.tobytes() == written[rows["seq"].astype(np.int64) - 1].tobytes()
    assert lost <= {seq for gap in gaps for seq in range(gap.first, min(gap.last, SEQS) + 1)}
    assert not any(gap.first <= seq <= gap.last for gap in gaps for seq in held)
    row = zeros(1, EVENT)
    with EventStore.open(path, {"run": "again"}) as store:
        assert store.next_seq > SEQS
        row["seq"] = store.next_seq
        store.append(row)
    assert verify(path).ok
    with StoreReader(path) as reader:
        assert len(reader.rows()) == len(held) + 1
    return rows


def test_an_intact_store_is_left_alone(closed: Path) -> None:
    before = closed.read_bytes()
    found = verify(closed)
    assert (found.ok, found.closed, found.last_seq) == (True, True, SEQS)
    assert found.rows == {"EVENT": SEQS, "BAR": 40, "INTENT": 20, "TEXT": 20, "SNAPSHOT": 1}
    assert "intact" in str(found)
    assert recover(closed).ok
    assert closed.read_bytes() == before


def test_a_killed_store_is_whole_and_says_that_it_was_not_closed(killed: Path, written: Rows) -> None:
    found = verify(killed)
    assert (found.ok, found.closed) == (True, False)
    assert f"not closed in good order; the last durable EVENT row is {SEQS}" in str(found)
    assert len(check_recovered(killed, written)) == SEQS


@pytest.mark.parametrize("column", ["body", "seq_first", "ts_last", "kinds", "crc", "rows"])
def test_a_flipped_bit_in_any_column_of_a_frame_is_found_and_set_aside(
    closed: Path, written: Rows, column: str
) -> None:
    with closing(sqlite3.connect(closed)) as db, db:
        n, value = db.execute(f"SELECT n, {column} FROM frames WHERE stream = 1 LIMIT 1 OFFSET 5").fetchone()
        flipped = bytes([value[0] ^ 4]) + value[1:] if column == "body" else value ^ 4
        db.execute(f"UPDATE frames SET {column} = ? WHERE n = ?", (flipped, n))
    with StoreReader(closed) as reader, pytest.raises(DataError, match=r"(frame \d+|rows 5001) .*recover\(path\)"):
        reader.rows()
    with StoreReader(closed, damage="skip") as reader:
        assert len(reader.rows()) == SEQS - 1000
        assert len(reader.passed_over) >= 1
    found = verify(closed)
    assert [frame.n for frame in found.damaged] == [n]
    assert "DAMAGED" in str(found)
    rows = check_recovered(closed, written)
    assert len(rows) == SEQS - 1000
    with closing(sqlite3.connect(closed)) as db:
        assert [row[0] for row in db.execute("SELECT n FROM quarantine")] == [n]


def test_a_damaged_snapshot_gives_way_to_the_one_before(closed: Path) -> None:
    with EventStore.open(closed, {}) as store:
        store.snapshot("state", b"newer")
    edit(closed, "UPDATE frames SET body = x'00' WHERE n = (SELECT max(n) FROM frames WHERE stream = 6)")
    with StoreReader(closed) as reader:
        snapshot = reader.snapshot("state")
        assert snapshot == Snapshot(SEQS, "state", b"s" * 6000)
        assert "SNAPSHOT" in reader.passed_over[0]


def test_a_deleted_frame_is_found_missing(closed: Path, written: Rows) -> None:
    edit(closed, "DELETE FROM frames WHERE n IN (SELECT n FROM frames WHERE stream = 3 LIMIT 2)")
    found = verify(closed)
    assert len(found.missing) == 2
    with StoreReader(closed) as reader, pytest.raises(DataError, match=r"2 frames between .* are missing"):
        reader.rows(Stream.INTENT)
    assert len(check_recovered(closed, written)) == SEQS


DAMAGE: dict[str, Callable[[Path], None]] = {
    "header zeroed": lambda path: overwrite(path, 0, bytes(100)),
    "first page zeroed": lambda path: overwrite(path, 0, bytes(4096)),
    "root of the table zeroed": lambda path: overwrite(path, 4096, bytes(4096)),
    "page in the middle zeroed": lambda path: overwrite(path, 4096 * 100, bytes(4096)),
    "many pages of noise": lambda path: overwrite(path, 4096 * 100, np.random.default_rng(2).bytes(4096 * 20)),
    "cut in the middle of a page": lambda path: truncate(path, 600_001),
    "cut to a third": lambda path: truncate(path, path.stat().st_size // 3),
    "last page zeroed": lambda path: overwrite(path, path.stat().st_size - 4096, bytes(4096)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_gives_what_is_left_of_it(closed: Path, written: Rows, damage: str) -> None:
    DAMAGE[damage](closed)
    found = verify(closed)
    assert not found.ok
    broken = closed.read_bytes()
    rows = check_recovered(closed, written)
    kept = closed.with_name("closed.damaged-1")
    if found.trouble:
        assert kept.read_bytes() == broken
    if damage in ("header zeroed", "first page zeroed", "root of the table zeroed"):
        assert len(rows) == SEQS
        with StoreReader(closed) as reader:
            assert reader.gaps() == []
    else:
        assert 0 < len(rows) <= SEQS - (0 if damage == "last page zeroed" else 1000)


LOG_DAMAGE: dict[str, Callable[[Path], None]] = {
    "header zeroed": lambda path: overwrite(path, 0, bytes(32)),
    "bit flipped early": lambda path: flip(path, 32 + 24 + 4096 * 20),
    "salt of a page lost": lambda path: overwrite(path, 32 + (24 + 4096) * 30 + 8, bytes(8)),
    "noise in the middle": lambda path: overwrite(path, 200_000, np.random.default_rng(3).bytes(9000)),
    "cut": lambda path: truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: truncate(path, 0),
}


@pytest.mark.parametrize("damage", LOG_DAMAGE)
def test_a_damaged_write_ahead_log_is_not_passed_over_in_silence(killed: Path, written: Rows, damage: str) -> None:
    LOG_DAMAGE[damage](wal(killed))
    assert not verify(killed).ok
    with pytest.raises(DataError, match="recover"):
        EventStore.open(killed, {})
    rows = check_recovered(killed, written)
    if damage in ("header zeroed", "salt of a page lost"):
        assert len(rows) == SEQS
    if damage == "emptied":  # nothing was folded into the file yet: the manifest is all that is left to save
        assert len(rows) == 0
        with StoreReader(killed) as reader:
            assert reader.manifests()[0] == {"run": "k"}


@pytest.mark.parametrize("body", [b"", bytes(100_000), b"not a journal at all" * 1000], ids=["empty", "zeros", "other"])
def test_a_file_without_one_frame_is_left_as_it_was(tmp_path: Path, body: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(body)
    assert not verify(path).ok
    with pytest.raises(DataError, match="not one frame can be read from it; it is left as it was"):
        recover(path)
    with pytest.raises(DataError):
        EventStore.open(path, {})
    assert path.read_bytes() == body


def test_another_sqlite_file_is_no_journal(tmp_path: Path) -> None:
    edit(tmp_path / "x", "CREATE TABLE frames (a, b)")
    with pytest.raises(DataError, match="is not a journal"):
        StoreReader(tmp_path / "x")


def test_a_text_file_is_not_called_a_damaged_journal(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("# Notes\n\nno journal — nor ever was one\n")
    with pytest.raises(DataError, match=r"notes\.md is a text file, no journal: `quantai trade"):
        StoreReader(tmp_path / "notes.md")


def test_recovery_needs_the_store_to_itself_and_a_store(closed: Path) -> None:
    with EventStore.open(closed, {}):
        assert verify(closed).ok
        with pytest.raises(StorageError, match="is being written"):
            recover(closed)
    with pytest.raises(InputError, match="there is no journal"):
        recover(closed.with_name("none"))
    with pytest.raises(InputError, match="there is no journal"):
        verify(closed.with_name("none"))


def test_a_rebuild_cut_short_is_finished_by_the_next_recovery(closed: Path, written: Rows) -> None:
    good = closed.read_bytes()
    overwrite(closed, 4096 * 10, bytes(4096 * 30))
    closed.with_name("closed.salvaged").write_bytes(good)  # as left by a crash before the last rename
    assert len(check_recovered(closed, written)) == SEQS
    assert not closed.with_name("closed.salvaged").exists()
    assert closed.with_name("closed.damaged-1").exists()


def test_damage_after_a_recovery_is_recovered_again(closed: Path, written: Rows) -> None:
    truncate(closed, 900_000)
    check_recovered(closed, written)
    overwrite(closed, 4096 * 40, bytes(4096 * 3))
    check_recovered(closed, written)
    overwrite(closed, 0, bytes(4096))
    check_recovered(closed, written)


def test_a_name_that_is_not_there_leaves_nothing_behind(tmp_path: Path) -> None:
    for use in (recover, verify, StoreReader, lambda path: EventStore.open(path, {})):
        with pytest.raises(InputError, match="there is no journal"):
            use(tmp_path / "nope")
    assert list(tmp_path.iterdir()) == []

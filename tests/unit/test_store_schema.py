"""Stores of other schema versions: older ones are brought up, newer ones refused, a failure changes nothing."""

import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from quantai.core.errors import DataError
from quantai.core.rows import BAR, EVENT, INTENT, Rows, zeros
from quantai.journal import EventStore, StoreReader, Stream, recover, upgrade, verify
from quantai.journal.schema import APPLICATION_ID, VERSION

EVENTS, BARS, INTENTS = zeros(30, EVENT), zeros(4, BAR), zeros(2, INTENT)
EVENTS["seq"], EVENTS["ts_recv"], EVENTS["kind"] = np.arange(1, 31), np.arange(30) * 5, 1
BARS["ts_close"] = np.arange(4) * 60
INTENTS["seq"], INTENTS["order"] = [9, 10], [1, 2]


def write_version_0(path: Path) -> None:
    """A store as schema 0 wrote it: rows only, no columns to skip by, a checksum over the body alone."""
    frames: list[tuple[int, Rows, int, int]] = [
        (1, EVENTS[:10], 1, 10),
        (2, BARS[:1], 0, 0),
        (3, INTENTS, 9, 10),
        (1, EVENTS[10:20], 11, 20),
        (2, BARS[1:], 1, 3),
        (1, EVENTS[20:], 21, 30),
    ]
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(
            "CREATE TABLE frames (n INTEGER PRIMARY KEY, stream INTEGER, seq_first INTEGER, seq_last INTEGER,"
            " crc INTEGER, body BLOB)"
        )
        for stream, rows, first, last in frames:
            values = (stream, first, last, zlib.crc32(rows.tobytes()), rows.tobytes())
            db.execute("INSERT INTO frames (stream, seq_first, seq_last, crc, body) VALUES (?, ?, ?, ?, ?)", values)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    write_version_0(tmp_path / "old")
    return tmp_path / "old"


def check(path: Path) -> None:
    with StoreReader(path) as reader:
        assert reader.rows().tobytes() == EVENTS.tobytes()
        assert reader.rows(Stream.BAR).tobytes() == BARS.tobytes()
        assert reader.rows(Stream.INTENT).tobytes() == INTENTS.tobytes()
        assert reader.rows(since_ns=50, until_ns=60)["seq"].tolist() == [11, 12]
        assert len(reader.rows(Stream.INTENT, since_ns=45, until_ns=46)) == 2
    assert verify(path).ok


def test_an_old_store_is_refused_by_readers_and_says_what_to_do(old: Path) -> None:
    for read in (StoreReader, verify):
        with pytest.raises(DataError, match=rf"has schema 0: quantai.journal.upgrade\(path\) brings it to {VERSION}"):
            read(old)


def test_an_upgrade_keeps_every_row_and_is_written_down(old: Path) -> None:
    assert upgrade(old) == 0
    check(old)
    assert upgrade(old) == VERSION
    with closing(sqlite3.connect(old)) as db:
        assert [version for (version,) in db.execute("SELECT version FROM migrations")] == [*range(1, VERSION + 1)]
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'frames_0'").fetchone() == (0,)


def test_a_store_of_schema_1_gets_checksums_of_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "one"
    with EventStore.create(path, {}) as store:
        store.append(BARS, EVENTS)
        store.append_intents(INTENTS)
    with closing(sqlite3.connect(path)) as db, db:  # one CRC-32 a frame: the lower half of what it is now
        db.execute("UPDATE frames SET crc = crc & 4294967295")
        db.execute("UPDATE frames SET crc = crc + 1 WHERE n = 4")
        db.execute("UPDATE migrations SET version = 1")
    with pytest.raises(DataError, match="has schema 1"):
        StoreReader(path)
    assert upgrade(path) == 1
    assert [frame.n for frame in verify(path).damaged] == [4]
    with StoreReader(path, damage="skip") as reader:
        assert reader.rows().tobytes() == EVENTS.tobytes()
        assert len(reader.rows(Stream.INTENT)) == 0
        assert "frame 4 " in reader.passed_over[0]


def test_a_writer_and_a_recovery_upgrade_by_themselves(old: Path, tmp_path: Path) -> None:
    write_version_0(tmp_path / "other")
    with EventStore.open(old, {}) as store:
        assert (store.next_seq, store.next_bar) == (31, 4)
    check(old)
    assert recover(tmp_path / "other").ok
    check(tmp_path / "other")


def test_a_damaged_frame_stays_one_through_the_upgrade(old: Path) -> None:
    with closing(sqlite3.connect(old)) as db, db:
        db.execute("UPDATE frames SET body = cast(substr(body, 1, 639) || x'ff' AS BLOB) WHERE n = 4")
    upgrade(old)
    assert [frame.n for frame in verify(old).damaged] == [4]
    assert recover(old).ok
    with StoreReader(old) as reader:
        assert reader.rows()["seq"].tolist() == [*range(1, 11), *range(21, 31)]


def test_an_upgrade_that_fails_leaves_the_store_as_it_was(old: Path) -> None:
    with closing(sqlite3.connect(old)) as db, db:
        db.execute("CREATE TABLE quarantine (somebody, else_s)")
    before = old.read_bytes()
    with pytest.raises(DataError, match="table quarantine already exists"):
        upgrade(old)
    assert old.read_bytes() == before


def test_a_newer_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "new"
    EventStore.create(path, {}).close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("INSERT INTO migrations VALUES (99, 0, 'from the future')")
    before = path.read_bytes()
    for use in (StoreReader, verify, recover, upgrade, lambda path: EventStore.open(path, {})):
        with pytest.raises(DataError, match=r"has schema 99, newer than .*: use a newer quantai"):
            use(path)
    assert path.read_bytes() == before

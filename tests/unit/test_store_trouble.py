"""The event store in trouble: Ctrl-C while it writes, a mark or a file that is gone."""

import os
import time
from pathlib import Path
from typing import Any, cast

import pytest

from quantai.core.errors import StorageError
from quantai.journal import EventStore, StoreReader, Stream
from tests.unit.test_store import events, intents


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.journal"


def test_a_mark_that_cannot_be_written_stops_no_rows(path: Path) -> None:
    with EventStore.create(path, {}, flush_interval_s=0.01) as store:
        before, read_only = os.dup(store._lock._handle), os.open(f"{path}.lock", os.O_RDONLY)
        os.dup2(read_only, store._lock._handle)  # as on a file system that writes nothing in place and is full
        store.append(events(1, 5))
        deadline = time.monotonic() + 60
        while store.durable_seq < 6:  # the thread goes on
            assert time.monotonic() < deadline
            time.sleep(0.005)
        store.append_intents(intents(5))
        os.dup2(before, store._lock._handle)
        os.close(before)
        os.close(read_only)
    with StoreReader(path) as reader:
        assert len(reader.rows(Stream.INTENT)) == 1


class CutShort:
    """A connection to SQLite during which Ctrl-C is pressed once, so that it is noticed after a statement."""

    def __init__(self, db: Any, statement: str) -> None:
        self._db, self._statement = db, statement

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def execute(self, sql: str, *values: Any) -> Any:
        done = self._db.execute(sql, *values)
        self._notice(sql)
        return done

    def executemany(self, sql: str, values: Any) -> None:
        self._db.executemany(sql, values)
        self._notice(sql)

    def _notice(self, sql: str) -> None:
        if self._statement and sql.startswith(self._statement):
            self._statement = ""
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", ["BEGIN", "INSERT", "COMMIT"])
@pytest.mark.parametrize("call", ["append", "flush"])
def test_ctrl_c_while_writing_neither_loses_nor_doubles_a_row(path: Path, call: str, at: str) -> None:
    with EventStore.create(path, {}, flush_interval_s=60) as store:
        store.append(events(1, 100))
        store._file._db = cast(Any, CutShort(store._file._db, at))
        with pytest.raises(KeyboardInterrupt):
            store.append(events(101, 5), durable=True) if call == "append" else store.flush()
        store.append(events(store.next_seq, 5))
    with StoreReader(path) as reader:
        assert reader.rows().tobytes() == events(1, store.next_seq - 1).tobytes()
        assert store.next_seq == (111 if call == "append" and at == "COMMIT" else 106)


def test_a_file_that_is_moved_away_takes_no_more_rows(path: Path) -> None:
    store = EventStore.create(path, {}, flush_interval_s=0.01)
    store.append(events(1, 5), durable=True)
    path.rename(path.with_name("elsewhere"))
    store.append(events(6, 5))
    deadline = time.monotonic() + 60
    while not store._file.broken:  # the thread finds it, and nobody is told
        assert time.monotonic() < deadline
        time.sleep(0.005)
    with pytest.raises(StorageError, match="moved or removed while in use"):
        store.close()

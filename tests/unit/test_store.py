"""The event store: what is appended comes back, what cannot be right is refused."""

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import pytest

from quantai.core.errors import DataError, InputError, StorageError, UnknownName
from quantai.core.reports import REPORT
from quantai.core.rows import BAR, EVENT, INTENT, ORDER, Kind, Rows, zeros
from quantai.journal import EventStore, Snapshot, StoreReader, Stream, Text, describe_run, recover
from quantai.journal.export import export_parquet
from quantai.journal.frame_file import FOLD_BYTES


def events(first: int, n: int, *, kind: int = Kind.TRADE, instrument: int = 0) -> Rows:
    rows = zeros(n, EVENT)
    rows["seq"] = np.arange(first, first + n)
    rows["ts_recv"] = rows["seq"] * 1000
    rows["px"] = rows["seq"] / 7
    rows["kind"], rows["instrument"] = kind, instrument
    return rows


def intents(cause: int, n: int = 1) -> Rows:
    rows = zeros(n, INTENT)
    rows["seq"], rows["order"], rows["k"], rows["action"] = cause, cause * 10 + np.arange(n), np.arange(n), 1
    return rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.journal"


def test_rows_of_every_stream_come_back_as_they_were(path: Path) -> None:
    rows, bars, reports = events(1, 10_000), zeros(5, BAR), zeros(2, REPORT)
    bars["close"], reports["seq"], reports["qty_lots"] = np.arange(5), 7, [3, 4]
    with EventStore.create(path, {"run": "a"}) as store:
        store.append(rows)
        store.append(bars)
        store.append(reports)
        store.append_intents(intents(9, 3))
        assert (store.next_seq, store.next_bar) == (10_001, 5)
    with StoreReader(path) as reader:
        assert reader.rows().tobytes() == rows.tobytes()
        assert reader.rows(Stream.BAR).tobytes() == bars.tobytes()
        assert reader.rows(Stream.REPORT).tobytes() == reports.tobytes()
        assert reader.rows(Stream.INTENT).tobytes() == intents(9, 3).tobytes()
        assert reader.last_seq() == 10_000
        assert reader.rows(Stream.BAR, start=2, stop=4)["close"].tolist() == [2, 3]


def test_an_append_keeps_a_copy(path: Path) -> None:
    rows = events(1, 4)
    with EventStore.create(path, {}) as store:
        store.append(rows)
        rows["px"] = -1
    with StoreReader(path) as reader:
        assert reader.rows().tobytes() == events(1, 4).tobytes()


@pytest.mark.parametrize("durable", [False, True])
def test_what_one_call_takes_is_there_together_or_not_at_all(path: Path, durable: bool) -> None:
    event, report = zeros(2, EVENT), zeros(2, REPORT)
    event["seq"] = report["seq"] = [1, 2]
    with EventStore.create(path, {}) as store:
        for wrong in ([report, event], [event, event], [event, zeros(1, INTENT)]):
            with pytest.raises((DataError, InputError)):
                store.append(*wrong, texts=[Text(1, "raw", "x")], durable=durable)
        with pytest.raises(InputError):
            store.append(event, report, texts=[Text(1 << 63, "raw", "x")], durable=durable)
        assert store.next_seq == 1
        store.append(event, report, texts=[Text(1, "raw", "{}")], durable=durable)
        assert store.durable_seq == (3 if durable else 1)
    with StoreReader(path) as reader:
        assert reader.rows().tobytes() == event.tobytes()
        assert reader.rows(Stream.REPORT).tobytes() == report.tobytes()
        assert list(reader.texts()) == [Text(1, "raw", "{}")]


def test_intents_take_everything_before_them_to_the_disk(path: Path) -> None:
    with EventStore.create(path, {}, flush_interval_s=60) as store, StoreReader(path) as reader:
        store.append(events(1, 3))
        store.append_texts([Text(2, "raw", "{}")])
        assert (len(reader.rows()), store.durable_seq) == (0, 1)
        store.append_intents(intents(3))
        assert (len(reader.rows()), store.durable_seq) == (3, 4)
        assert list(reader.texts()) == [Text(2, "raw", "{}")]


def test_rows_are_flushed_within_the_interval(path: Path) -> None:
    with EventStore.create(path, {}, flush_interval_s=0.01) as store, StoreReader(path) as reader:
        store.append(events(1, 3))
        deadline = time.monotonic() + 10
        while reader.last_seq() != 3:
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_a_full_group_is_written_without_waiting(path: Path) -> None:
    with EventStore.create(path, {}, flush_interval_s=60) as store:
        store.append(events(1, 60_000))
        assert store.durable_seq == 1
        store.append(events(60_001, 10_000))
        assert store.durable_seq == 70_001


def test_many_rows_are_the_systems_before_they_are_the_disks(path: Path) -> None:
    with EventStore.create(path, {}, flush_interval_s=60) as store, StoreReader(path) as reader:
        store.append(events(1, 300))
        deadline = time.monotonic() + 60
        while reader.last_seq() != 300:  # written, as kill -9 would leave it
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert store.durable_seq == 1
        store.flush()
        assert store.durable_seq == 301


def test_a_long_log_is_folded_into_the_file_by_the_thread(path: Path) -> None:
    with EventStore.create(path, {}, flush_interval_s=0.01) as store:
        store._file._db.execute("PRAGMA wal_autocheckpoint = 0")  # so that SQLite does not
        deadline = time.monotonic() + 60
        while path.stat().st_size < FOLD_BYTES:
            assert time.monotonic() < deadline
            store.append(events(store.next_seq, 4096))
            time.sleep(0.005)
    with StoreReader(path) as reader:
        assert np.array_equal(reader.rows()["seq"], np.arange(1, store.next_seq))


def test_durable_appends_and_flushes_are_on_the_disk_at_return(path: Path) -> None:
    with EventStore.create(path, {}, flush_interval_s=60) as store, StoreReader(path) as reader:
        store.append(events(1, 2), durable=True)
        assert reader.last_seq() == 2
        store.append(events(3, 2))
        store.flush()
        assert reader.last_seq() == 4


def test_appending_to_memory_does_not_wait_for_the_disk(path: Path) -> None:
    with EventStore.create(path, {}, flush_interval_s=60) as store:
        done = threading.Event()

        def append() -> None:
            store.append(events(1, 3))
            store.append_texts([Text(1, "raw", "x")])
            done.set()

        with store._disk:  # as while a flush is under way
            thread = threading.Thread(target=append)
            thread.start()
            assert done.wait(10)
        thread.join()


def test_rows_wait_in_order_while_the_disk_is_full(path: Path) -> None:
    with EventStore.create(path, {}, flush_interval_s=60) as store:
        store.append(events(1, 10), durable=True)
        pages = store._file._db.execute("PRAGMA page_count").fetchone()[0]
        store._file._db.execute(f"PRAGMA max_page_count = {pages}")
        store.append(events(11, 500))
        for _ in range(2):
            with pytest.raises(StorageError, match="the disk is full; what was accepted before is held in memory"):
                store.flush()
        with pytest.raises(StorageError, match="the disk is full"):
            store.append_intents(intents(510))
        store.append(events(511, 5))
        store._late = True  # as the thread of the store notes when it could not flush
        with pytest.raises(StorageError, match="the disk is full"):
            store.append(events(516, 5))
        assert (store.durable_seq, store.next_seq) == (11, 516)
        store._file._db.execute("PRAGMA max_page_count = 1000000")
        store.append(events(516, 5))
        store.append_intents(intents(520))
    with StoreReader(path) as reader:
        assert reader.rows().tobytes() == events(1, 520).tobytes()
        assert len(reader.rows(Stream.INTENT)) == 1


@pytest.mark.parametrize(
    "rows",
    [events(2, 1), events(0, 1), events(1, 3)[[0, 2]], events(1, 3)[::-1]],
    ids=["ahead", "behind", "hole", "back"],
)
def test_numbers_that_do_not_continue_are_refused(path: Path, rows: Rows) -> None:
    with EventStore.create(path, {}) as store:
        with pytest.raises(DataError, match="numbered on from 1"):
            store.append(rows)
        store.append(events(1, 1))


def test_rows_without_their_cause_are_refused(path: Path) -> None:
    with EventStore.create(path, {}) as store:
        store.append(events(1, 5))
        with pytest.raises(DataError, match="rows end before 6, but one is said to follow from 6"):
            store.append_intents(intents(6))
        report = zeros(1, REPORT)
        report["seq"] = 6
        with pytest.raises(DataError, match="append that first"):
            store.append(report)


def test_rows_of_the_wrong_type_are_refused(path: Path) -> None:
    with EventStore.create(path, {}) as store:
        with pytest.raises(InputError, match="use append_intents"):
            store.append(intents(0))
        with pytest.raises(InputError, match="use append for"):
            store.append_intents(events(1, 1))
        with pytest.raises(InputError, match="EVENT, BAR, INTENT and REPORT rows"):
            store.append(zeros(1, ORDER))
        with pytest.raises(InputError, match=r"numbered 0 … 2\*\*63 - 1"):
            store.append_texts([Text(1, "ok", "ok"), Text(2**63, "a", "b")])
    with StoreReader(path) as reader:
        assert list(reader.texts()) == []


def test_one_writer_and_its_process_id(path: Path) -> None:
    with EventStore.create(path, {}):
        with pytest.raises(StorageError, match=f"is being written by process {os.getpid()}: stop that, or only read"):
            EventStore.open(path, {})
        with pytest.raises(StorageError, match="is being written"):
            EventStore.create(path, {})
    EventStore.open(path, {}).close()


def test_a_journal_is_one_by_whichever_of_its_names(path: Path) -> None:
    link = path.with_name("today.journal")
    link.symlink_to(path)
    with EventStore.create(link, {"run": "a"}) as store:
        store.append(events(1, 5), durable=True)
        for name in (path, link):
            with pytest.raises(StorageError, match=f"written by process {os.getpid()}"):
                EventStore.open(name, {})
        assert sorted(each.name for each in path.parent.glob("*.lock")) == ["run.journal.lock"]
    with EventStore.open(link, {}) as store:
        store.append(events(6, 5))
    assert recover(link).ok
    with StoreReader(link) as reader:
        assert reader.rows().tobytes() == events(1, 10).tobytes()


def test_a_store_is_made_once_and_opened_only_where_it_is(path: Path) -> None:
    EventStore.create(path, {}).close()
    with pytest.raises(StorageError, match="exists already"):
        EventStore.create(path, {})
    (path.with_name("other-wal")).write_bytes(b"pages")
    with pytest.raises(StorageError, match="other-wal is left of an earlier journal"):
        EventStore.create(path.with_name("other"), {})
    with pytest.raises(InputError, match="there is no journal"):
        EventStore.open(path.with_name("other"), {})
    with pytest.raises(InputError, match="there is no journal"):
        StoreReader(path.with_name("other"))
    (path.parent / "bare").mkdir()
    with pytest.raises(InputError, match="bare is a folder, no journal: `quantai trade"):
        StoreReader(path.parent / "bare")
    with pytest.raises(InputError, match=r"is a folder, no journal: did you mean .*run\.journal\?"):
        StoreReader(path.parent)
    with pytest.raises(StorageError, match="is a folder: give the journal a name in it"):
        EventStore.create(path.parent, {})
    with pytest.raises(StorageError, match="choose a writable folder"):
        EventStore.create(path / "in a file", {})


def test_a_closed_store_takes_nothing(path: Path) -> None:
    store = EventStore.create(path, {})
    store.close()
    store.close()
    with pytest.raises(StorageError, match="takes no more rows"):
        store.append(events(1, 1))


def test_sessions_continue_the_numbering_and_keep_their_manifests(path: Path) -> None:
    with EventStore.create(path, describe_run("r", parameters={"fast": 3}, seed=5), first_seq=100) as store:
        store.append(events(100, 4))
        store.append(zeros(2, BAR))
    with EventStore.open(path, {"run": "r", "session": 2}) as store:
        assert (store.next_seq, store.next_bar) == (104, 2)
        store.append(events(104, 1))
    with StoreReader(path) as reader:
        first, second = reader.manifests()
        assert (first["parameters"], first["seed"], second["session"]) == ({"fast": 3}, 5, 2)
        assert reader.rows()["seq"].tolist() == [100, 101, 102, 103, 104]


def test_the_manifest_names_code_and_machine(tmp_path: Path) -> None:
    source = tmp_path / "strategy.py"
    source.write_text("pass\n")
    run = describe_run("r", sources=[source], mode="paper")
    assert run["sources"] == {str(source): "9f56e761d79bfdb34304a012586cb04d16b435ef6130091a97702e559260a2f2"}
    assert {"python", "numpy", "quantai"} <= run["versions"].keys()
    assert run["cpu"]["features"]
    assert run["mode"] == "paper"
    with pytest.raises(InputError, match="cannot be read"):
        describe_run("r", sources=[tmp_path / "none.py"])


def test_snapshots_by_name_and_row(path: Path) -> None:
    with EventStore.create(path, {}, flush_interval_s=60) as store:
        assert store.snapshot("state", b"empty") == 0
        store.append(events(1, 10))
        assert store.snapshot("state", b"ten") == 10
        assert store.snapshot("orders", b"") == 10
        store.append(events(11, 10))
    with StoreReader(path) as reader:
        assert reader.snapshot("state") == Snapshot(10, "state", b"ten")
        assert reader.snapshot("state", at=9) == Snapshot(0, "state", b"empty")
        assert reader.snapshot("orders") == Snapshot(10, "orders", b"")
        assert reader.snapshot("nothing") is None


def test_texts_by_row_and_field(path: Path) -> None:
    texts = [Text(1, "venue_id", "x-1"), Text(1, "raw", "\ud800 ✓\0"), Text(2, "venue_id", "")]
    with EventStore.create(path, {}) as store:
        store.append(events(1, 2))
        store.append_texts(texts)
    with StoreReader(path) as reader:
        assert list(reader.texts()) == texts
        assert list(reader.texts(start=2)) == texts[2:]
        assert list(reader.texts(stop=2, field="raw")) == texts[1:2]


def test_conditions_a_stream_does_not_have_are_refused(path: Path) -> None:
    EventStore.create(path, {}).close()
    with StoreReader(path) as reader:
        with pytest.raises(InputError, match="BAR rows have no kinds"):
            reader.rows(Stream.BAR, kinds=[1])
        with pytest.raises(InputError, match="REPORT rows have no instruments"):
            reader.rows(Stream.REPORT, instruments=[1])
        with pytest.raises(InputError, match="TEXT frames hold no rows"):
            reader.rows(Stream.TEXT)
        with pytest.raises(UnknownName, match="unknown condition 'since': did you mean 'since_ns'"):
            reader.rows(**cast(Any, {"since": 1}))
        with pytest.raises(InputError, match="kinds must be a collection of numbers"):
            reader.rows(kinds=cast(Any, ["TRADE"]))
        with pytest.raises(InputError, match="start must be a number: 'x'"):
            reader.rows(start=cast(Any, "x"))
        with pytest.raises(InputError, match="99 frames hold no rows"):
            reader.rows(cast(Any, 99))
    with pytest.raises(UnknownName, match="did you mean 'raise'"):
        StoreReader(path, damage=cast(Any, "raisse"))


async def test_a_tail_follows_the_writer_to_the_end(path: Path) -> None:
    store = EventStore.create(path, {}, flush_interval_s=0.001)
    seen: list[int] = []

    async def follow() -> None:
        with StoreReader(path) as reader:
            async for rows in reader.tail(start=3, poll_s=0.001, kinds=[Kind.TRADE]):
                seen.extend(rows["seq"].tolist())

    task = asyncio.create_task(follow())
    for at in range(1, 101, 10):
        store.append(events(at, 9))
        store.append(events(at + 9, 1, kind=Kind.TIMER))
        await asyncio.sleep(0.002)
    assert not task.done()
    store.close()
    await asyncio.wait_for(task, 10)
    assert seen == [n for n in range(3, 101) if n % 10]


async def test_a_reader_does_not_keep_the_log_from_being_folded(path: Path) -> None:
    with EventStore.create(path, {}) as store, StoreReader(path) as reader:
        store.append(events(1, 1), durable=True)
        tail = reader.tail()
        await anext(tail)
        for at in range(2, 2_000_000, 65_536):
            store.append(events(at, 65_536), durable=True)
        log = os.stat(f"{path}-wal")  # noqa: PTH116 -- one call that cannot block long
        assert log.st_size < 40 << 20
        await tail.aclose()


def test_a_store_becomes_parquet(path: Path, tmp_path: Path) -> None:
    with EventStore.create(path, {"run": "x"}) as store:
        store.append(events(1, 5000))
        store.append_intents(intents(5000, 2))
        store.append_texts([Text(3, "raw", "ok"), Text(4, "raw", "\ud800")])
    written = export_parquet(path, tmp_path / "out")
    assert sorted(file.name for file in written) == sorted(file.name for file in (tmp_path / "out").iterdir())
    table = pq.read_table(tmp_path / "out" / "event.parquet")
    assert table.column_names == list(EVENT.names or ())
    assert all((table[name].to_numpy() == events(1, 5000)[name]).all() for name in table.column_names)
    assert pq.read_table(tmp_path / "out" / "intent.parquet")["order"].to_pylist() == [50_000, 50_001]
    assert pq.read_table(tmp_path / "out" / "text.parquet")["text"].to_pylist() == ["ok", "?"]
    assert pq.read_table(tmp_path / "out" / "bar.parquet").num_rows == 0

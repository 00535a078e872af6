"""One flipped bit anywhere in a journal: whoever reads it gets what was written, or is told of it."""

import asyncio
import hashlib
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from quantai.backtest.recorded import record_run, retrace_run
from quantai.core.errors import DataError
from quantai.core.rows import SEC, Kind
from quantai.data import synth
from quantai.execution.recovery import recover
from quantai.execution.trading_views import TradingViews
from quantai.journal import EventStore, StoreReader, Stream, verify
from quantai.journal import recover as mend
from quantai.journal.export import export_parquet
from quantai.journal.views import Views
from quantai.strategy.examples import Cross
from tests.integration.test_recovery import Wire, bar, intent, open_session, report
from tests.unit.oms_setting import START

PAGE = 4096


async def trade(path: Path) -> int:
    """Forty orders, each filled, with a snapshot in the middle; returns the last row."""
    session = open_session(path, Wire(path.with_name("nobody")))
    session._venue = _Deaf()  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    oms = session.oms
    await session.see(oms.portfolio.deposit(0, 1e6, ts=START))
    for n in range(1, 41):
        await session.see(np.concatenate([bar(START + n * SEC, 100.0 + n % 3)] * 3))
        await session.ask(intent(oms, n))
        await session.hear(report(n, Kind.ACK), [("venue_id", f"x{n}")])
        await session.hear(report(n, Kind.FILL, exec=n, qty_lots=10, px_ticks=190))
        if n == 20:
            session.snapshot()
    session.store.close()
    return oms.seq


class _Deaf:
    async def send(self, request: object) -> None: ...


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("traded") / "run.journal"
    asyncio.run(trade(path))
    return path


def all_rows(path: Path) -> str:
    with StoreReader(path) as reader:
        parts = [reader.rows(stream).tobytes() for stream in (Stream.EVENT, Stream.INTENT, Stream.REPORT)]
        parts.append(repr(list(reader.texts())).encode())
        parts.append(reader.rows(Stream.INTENT, start=100).tobytes())
        parts.append(reader.rows(start=150, kinds=[Kind.FILL]).tobytes())
    return hashlib.sha256(b"|".join(parts)).hexdigest()


def views(path: Path) -> str:
    with Views(path) as found:
        return repr([found.orders().to_pylist(), found.fills().to_pylist()])


def trading_views(path: Path) -> str:
    with TradingViews(path) as found:
        return repr([found.sql(f"FROM {name}").fetchall() for name in ("order_states", "positions", "accounts")])


def export(path: Path) -> str:
    folder = path.with_name("exported")
    shutil.rmtree(folder, ignore_errors=True)
    files = [file for file in export_parquet(path, folder) if file.suffix == ".parquet"]
    return repr([pq.read_table(file).to_pylist() for file in files])


def next_number(path: Path) -> int:
    with EventStore.open(path, {"run": "again"}) as store:
        return store.next_seq


READERS: dict[str, tuple[Callable[[Path], object], int]] = {
    "recover": (lambda path: recover(path).snapshot(), 250),
    "recover from the start": (lambda path: recover(path, from_start=True).snapshot(), 100),
    "rows": (all_rows, 250),
    "views": (views, 16),
    "trading views": (trading_views, 16),
    "export": (export, 30),
    "open": (next_number, 150),
}


def flipped(path: Path, folder: Path, at: int, bit: int) -> Path:
    """A copy of a journal, with its lock, in which one bit is another."""
    for old in folder.glob("run.journal*"):
        old.unlink()
    body = bytearray(path.read_bytes())
    body[at] ^= 1 << bit
    copy = folder / "run.journal"
    copy.write_bytes(body)
    shutil.copy(path.with_name(path.name + ".lock"), folder)
    return copy


def places(path: Path, count: int, seed: int) -> list[tuple[int, int]]:
    """Bits to flip: half of them anywhere but in empty space, half where pages and records say what they hold."""
    rng, body = np.random.default_rng(seed), np.frombuffer(path.read_bytes(), np.uint8)
    used = np.flatnonzero(body)
    heads = np.array([at for at in range(len(body)) if at % PAGE < 24 or at < 100])
    records = used[np.isin(used % PAGE, np.arange(24, 64))]
    spots = [
        *rng.choice(used, count // 2),
        *rng.choice(heads, count // 4),
        *rng.choice(records, count - count * 3 // 4),
    ]
    return [(int(at), int(rng.integers(8))) for at in spots]


@pytest.mark.parametrize("name", READERS)
def test_a_flipped_bit_never_gives_another_answer(journal: Path, tmp_path: Path, name: str) -> None:
    read, count = READERS[name]
    shutil.copy(journal, tmp_path / "whole")
    shutil.copy(journal.with_name("run.journal.lock"), tmp_path / "whole.lock")
    truth = read(tmp_path / "whole")
    told = 0
    for at, bit in places(journal, count, seed=len(name)):
        copy = flipped(journal, tmp_path, at, bit)
        try:
            answer = read(copy)
        except DataError:
            told += 1
            continue
        assert answer == truth, f"bit {bit} of byte {at} gives another answer, silently"
    assert count // 4 < told < count


def test_a_flipped_bit_is_mended_or_said_to_be_lost(journal: Path, tmp_path: Path) -> None:
    truth, last = recover(journal).snapshot(), recover(journal).seq
    for at, bit in places(journal, 80, seed=9):
        copy = flipped(journal, tmp_path, at, bit)
        try:
            assert mend(copy).ok
            assert verify(copy).ok
            assert recover(copy).snapshot() == truth, (at, bit)
        except DataError:
            pass
        else:
            assert next_number(copy) > last


def test_a_reader_that_skips_says_what_it_passed_over(journal: Path, tmp_path: Path) -> None:
    with StoreReader(journal) as reader:
        truth = {stream: reader.rows(stream) for stream in (Stream.EVENT, Stream.INTENT, Stream.REPORT)}
    for at, bit in places(journal, 150, seed=4):
        copy = flipped(journal, tmp_path, at, bit)
        try:
            with StoreReader(copy, damage="skip") as reader:
                found = {stream: reader.rows(stream) for stream in truth}
                missing = any(len(found[stream]) != len(truth[stream]) for stream in truth)
                assert bool(reader.passed_over) or not missing, (at, bit)
        except DataError:
            continue
        for stream, rows in found.items():
            held = {row.tobytes() for row in truth[stream]}
            assert all(row.tobytes() in held for row in rows), (at, bit)


@pytest.mark.parametrize("column", ["stream", "seq_first", "seq_last", "ts_first", "kinds", "instruments", "rows"])
@pytest.mark.parametrize("stream", [Stream.EVENT, Stream.INTENT, Stream.REPORT, Stream.TEXT, Stream.END])
def test_a_column_that_frames_are_chosen_by_is_checked_first(
    journal: Path, tmp_path: Path, stream: Stream, column: str
) -> None:
    copy = flipped(journal, tmp_path, 0, 0)
    shutil.copy(journal, copy)
    with closing(sqlite3.connect(copy)) as db, db:
        frames = db.execute(f"SELECT n, {column} FROM frames WHERE stream = ? ORDER BY n", (stream,)).fetchall()
        n, value = frames[-1]
        db.execute(f"UPDATE frames SET {column} = ? WHERE n = ?", (value ^ 8, n))
    for read in (recover, all_rows, next_number):
        with pytest.raises(DataError, match=rf"frame {n} .*recover\(path\)"):
            read(copy)


def test_an_end_that_is_missing_is_missed(journal: Path, tmp_path: Path) -> None:
    copy = flipped(journal, tmp_path, 0, 0)
    shutil.copy(journal, copy)
    with closing(sqlite3.connect(copy)) as db, db:
        n = db.execute("SELECT max(n) FROM frames").fetchone()[0]
        db.execute("DELETE FROM frames WHERE n > ?", (n - 3,))
    for read in (recover, all_rows, next_number):
        with pytest.raises(DataError, match=f"ends before frame {n}, which was acknowledged"):
            read(copy)


def test_a_damaged_record_of_what_was_lost_is_damage(journal: Path, tmp_path: Path) -> None:
    copy = flipped(journal, tmp_path, 0, 0)
    shutil.copy(journal, copy)
    with closing(sqlite3.connect(copy)) as db, db:
        db.execute("UPDATE frames SET crc = crc + 1 WHERE n = 30")
    assert mend(copy).ok
    with closing(sqlite3.connect(copy)) as db, db:
        n, body = db.execute(f"SELECT n, body FROM frames WHERE stream = {Stream.GAP:d}").fetchone()
        db.execute("UPDATE frames SET body = ? WHERE n = ?", (bytes([body[0] ^ 32]) + body[1:], n))
    for read in (recover, all_rows, next_number):
        with pytest.raises(DataError, match=rf"frame {n}.*recover\(path\)"):
            read(copy)
    assert mend(copy).ok
    assert next_number(copy) > 200


def test_a_flipped_bit_in_a_recorded_backtest_is_found_by_its_replay(tmp_path: Path) -> None:
    path = tmp_path / "whole" / "run.journal"
    path.parent.mkdir()
    record_run(Cross(fast=5, slow=20), synth.bars(300, seed=1, symbol="AAA"), path)
    truth = path.read_bytes()
    sums = [_sums(path)]
    for at, bit in places(path, 14, seed=6):
        copy = flipped(path, tmp_path, at, bit)
        try:
            found = retrace_run(copy)
        except DataError:
            continue
        if found.same:
            assert _sums(copy) == sums[0], (at, bit)
    assert path.read_bytes() == truth


def _sums(path: Path) -> list[bytes]:
    with StoreReader(path) as reader:
        return [reader.rows(stream).tobytes() for stream in (Stream.EVENT, Stream.BAR, Stream.REPORT, Stream.INTENT)]

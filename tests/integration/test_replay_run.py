"""Recorded backtests: the journal of a run, run again, decides the same to the byte; one flipped bit is found."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

import quantai as qa
from quantai.backtest.recorded import record_run, retrace_run, row_sums
from quantai.cli import main
from quantai.core.errors import DataError
from quantai.core.rows import BAR, EVENT, INTENT, Action, Kind, Rows
from quantai.data.bars import Bars
from quantai.journal import StoreReader, Stream
from quantai.journal.frames import Frame, checksum
from quantai.strategy import Strategy
from quantai.strategy.examples import Cross


class Breakout(Strategy):
    """Limits and cancels as well as market orders, decided also at the start."""

    last: int = qa.state(0)

    def on_start(self, ctx):
        ctx.buy(1.0, limit=1.0)

    def on_bar(self, ctx, bar):
        if self.last > 0:
            ctx.cancel(self.last)
        self.last = ctx.buy(1.0, limit=bar.close * 0.9999)
        if ctx.position() > 3.0:
            ctx.sell(2.0)


@pytest.fixture(scope="module")
def spx() -> Bars:
    return qa.samples.sp500()[:1500]


@pytest.fixture
def path(tmp_path: Path, spx: Bars) -> Path:
    record_run(Cross(fast=5, slow=20), spx, tmp_path / "cross.journal", fee_bps=1.0)
    return tmp_path / "cross.journal"


def two() -> Bars:
    return Bars.concat([qa.synth.bars(400, seed=1, symbol="AAA"), qa.synth.bars(400, seed=2, symbol="BBB")])


@pytest.mark.parametrize(
    ("strategy", "many"), [(Cross(fast=5, slow=20), False), (Breakout(), False), (Breakout(), True)]
)
def test_a_replay_decides_the_same_to_the_byte(tmp_path: Path, spx: Bars, strategy: Strategy, many: bool) -> None:
    bars = two() if many else spx
    result = record_run(strategy, bars, tmp_path / "run.journal", fee_bps=1.0)
    found = retrace_run(tmp_path / "run.journal", type(strategy))
    assert (found.same, found.differences, found.bars) == (True, [], len(bars))
    assert found.intents == len(result.intents) > 10
    with StoreReader(tmp_path / "run.journal") as reader:
        events, reports = reader.rows(), reader.rows(Stream.REPORT)
        intents = reader.rows(Stream.INTENT)
        assert reader.rows(Stream.BAR).tobytes() == bars.rows.tobytes()
    assert events["seq"].tolist() == list(range(1, len(bars) + len(result.fill_rows) + 1))
    shown = events[events["kind"] == Kind.BAR]
    assert np.array_equal(shown["px"], bars.rows["close"])
    assert shown["aux"].tolist() == list(range(len(bars)))
    traded = events[events["kind"] == Kind.FILL]
    assert traded["px"].tolist() == result.fill_rows["px"].tolist()
    assert np.array_equal(reports["seq"], traded["seq"])
    assert np.array_equal(reports["order"], result.fill_rows["order"])
    bare = intents.copy()
    bare["seq"] = result.intents["seq"]
    assert bare.tobytes() == result.intents.tobytes()
    causes = intents["seq"][intents["seq"] > 0].astype(int) - 1
    assert set(events["kind"][causes]) == {Kind.BAR}
    new = intents[(intents["seq"] > 0) & (intents["action"] != Action.CANCEL)]
    assert np.array_equal(events["instrument"][new["seq"].astype(int) - 1], new["instrument"])


def test_executions_follow_the_bar_of_their_instrument(tmp_path: Path) -> None:
    record_run(Breakout(), two(), tmp_path / "run.journal")
    with StoreReader(tmp_path / "run.journal") as reader:
        events = reader.rows()
    bar: dict[str, int] = {}
    for event in events:
        if event["kind"] == Kind.BAR:
            bar = {"instrument": int(event["instrument"]), "ts": int(event["ts_recv"])}
        else:
            assert (bar["instrument"], bar["ts"]) == (event["instrument"], event["ts_recv"])


def forge(path: Path, stream: Stream, field: str, at: int, dtype: np.dtype) -> Rows:
    """Flip the lowest bit of one field of one row and make the frame's checksum right again."""
    with sqlite3.connect(path) as db:
        n, body = db.execute("SELECT n, body FROM frames WHERE stream = ? ORDER BY n LIMIT 1", (stream,)).fetchone()
        rows = np.frombuffer(body, dtype).copy()
        rows[field].view(f"u{rows[field].dtype.itemsize}")[at] ^= 1
        columns = db.execute("SELECT * FROM frames WHERE n = ?", (n,)).fetchone()
        frame = Frame._make(columns)._replace(body=rows.tobytes())
        db.execute("UPDATE frames SET body = ?, crc = ? WHERE n = ?", (frame.body, checksum(frame), n))
    db.close()
    return rows


@pytest.mark.parametrize(
    ("stream", "field", "dtype"),
    [
        (Stream.EVENT, "px", EVENT),
        (Stream.EVENT, "ts_exch", EVENT),
        (Stream.BAR, "volume", BAR),
        (Stream.BAR, "close", BAR),
        (Stream.INTENT, "qty_lots", INTENT),
    ],
)
def test_one_flipped_bit_in_a_recorded_row_is_found(path: Path, stream: Stream, field: str, dtype: np.dtype) -> None:
    forge(path, stream, field, 3, dtype)
    found = retrace_run(path)
    assert not found.same
    assert f"{stream.name.lower()} row 4 of" in found.differences[0]
    if stream is Stream.INTENT:
        assert found.first is not None
        assert found.first["recorded"] != found.first["now"]
        assert "SPX to" in found.first["words"]


def test_a_flipped_bit_on_the_disk_is_found(path: Path) -> None:
    with sqlite3.connect(path) as db:
        n, body = db.execute("SELECT n, body FROM frames WHERE stream = 1 ORDER BY n LIMIT 1").fetchone()
        broken = bytearray(body)
        broken[1000] ^= 4
        db.execute("UPDATE frames SET body = ? WHERE n = ?", (bytes(broken), n))
    db.close()
    found = retrace_run(path)
    assert not found.same
    assert found.differences[0].startswith("damage: frame")


def test_every_bit_of_a_row_counts() -> None:
    rng = np.random.default_rng(1)
    rows = np.frombuffer(rng.bytes(64), EVENT)
    whole = int(row_sums(rows)[0])
    for bit in range(512):
        flipped = bytearray(rows.tobytes())
        flipped[bit // 8] ^= 1 << bit % 8
        assert int(row_sums(np.frombuffer(bytes(flipped), EVENT))[0]) != whole, bit


def test_another_strategy_is_told_in_plain_words(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import quantai as qa\n\n\nclass Cross(qa.Strategy):\n    fast: int = 10\n    slow: int = 50\n\n"
        "    def on_bar(self, ctx, bar):\n        if ctx.position() == 0.0:\n            ctx.buy(1.0)\n"
    )
    found = retrace_run(path, f"{file}:Cross")
    assert found.differences[0] == "source: Cross is not what it was when the run was recorded"
    assert found.first is not None
    assert "buy 1 SPX market (order 1)" in found.first["now"]
    assert (found.first["what"], found.first["row"]) == ("decision", 1)


def test_the_command_line_records_and_replays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.journal"
    name = "quantai.strategy.examples:Cross"
    assert main(["backtest", name, "--data", "sp500", "--journal", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["journal"] == str(path)
    assert main(["replay", str(path), "--diff", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["same"], said["bars"], said["differences"], said["first"]) == (True, 5031, [], None)
    forge(path, Stream.BAR, "high", 7, BAR)
    assert main(["replay", str(path), "--diff", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["differences"] == ["bar row 8 of 5031 is not what was recorded (1 such rows)"]
    assert err.count("\n") == 1
    assert "bar row 8 of 5031" in err
    assert main(["replay", str(tmp_path / "none.journal")]) == 1


def test_a_journal_of_something_else_is_refused(tmp_path: Path) -> None:
    from quantai.journal import EventStore

    EventStore.create(tmp_path / "other.journal", {"run": "x"}).close()
    with pytest.raises(DataError, match="not the journal of a recorded backtest"):
        retrace_run(tmp_path / "other.journal")


def test_orders_of_a_recorded_run_can_be_asked_for_in_sql(path: Path) -> None:
    from quantai.journal.views import Views

    with Views(path) as views:
        fills = views.sql("SELECT count(*) AS n FROM fills").fetchall()
    with StoreReader(path) as reader:
        assert fills == [(len(reader.rows(Stream.REPORT)),)]

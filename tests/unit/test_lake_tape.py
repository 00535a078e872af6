"""Tapes out of a lake: streams merged by receipt, built once, in pieces, with the books that stood before."""

import numpy as np
import pyarrow as pa
import pytest

import quantai as qa
from quantai.core.rows import LAST, SNAPSHOT, Kind
from quantai.data import Lake, tape_build
from quantai.data.part_streams import merged_parts
from quantai.data.parts import in_order
from quantai.data.tape import Tape

T0 = 1_723_111_200_000_000_000  # 2024-08-08 10:00 UTC
BTC = qa.Instrument.parse("BTC-USDT", venue="OKX", tick="0.1", lot="0.001")


def filled(path, n=400, seed=1, sources=2):
    """A lake of two instruments whose streams interleave, written by several sources."""
    lake = Lake(path)
    rng = np.random.default_rng(seed)
    lake.instruments.update([BTC, qa.Instrument.parse("ETH-USDT", venue="OKX", tick="0.1", lot="0.001")])
    for source in range(sources):
        with lake.writer(f"s{source}") as w:
            for symbol, base in (("BTC-USDT", 6000), ("ETH-USDT", 3000)):
                exch = T0 + source * 10**10 + np.sort(rng.integers(0, 10**10, n))
                times = {"ts_exch": exch, "ts_recv": exch + rng.integers(1, 10**6, n)}
                side = rng.choice([1, -1], n).astype("i1")
                px = (base - side * rng.integers(1, 20, n)) / 10
                w.append("levels", "OKX", symbol, times | {"px": px, "qty": rng.integers(0, 9, n) / 1000, "side": side,
                                                           "flags": np.full(n, LAST, "u2")})  # fmt: skip
                some = {k: v[::3] for k, v in times.items()}
                w.append("trades", "OKX", symbol, some | {"px": px[::3], "qty": np.full(len(px[::3]), 0.001)})
                quotes = {k: v[::5] + 1 for k, v in times.items()}
                bid = np.full(len(px[::5]), (base - 1) / 10)
                w.append("quotes", "OKX", symbol, quotes | {"bid": bid, "ask": bid + 0.1})
            w.commit({})
    return lake


def test_a_tape_holds_every_row_by_receipt(tmp_path):
    lake = filled(tmp_path)
    tape = lake.tape(["BTC-USDT", "ETH-USDT"], venue="OKX")
    assert tape.symbols == ["BTC-USDT", "ETH-USDT"]
    assert tape.instruments[0] == BTC
    rows = tape.rows
    assert np.all(np.diff(rows["ts_recv"]) >= 0)
    assert rows["seq"].tolist() == list(range(1, len(rows) + 1))
    for number, symbol in enumerate(tape.symbols):
        for kind, stream in ((Kind.LEVEL, "levels"), (Kind.TRADE, "trades")):
            of = rows[(rows["instrument"] == number) & (rows["kind"] == kind)]
            table = lake.read(stream, "OKX", symbol)
            for name in ("ts_exch", "px", "qty", "side"):
                assert np.array_equal(of[name], table[name].to_numpy())
        quotes = rows[(rows["instrument"] == number) & (rows["kind"] == Kind.QUOTE)]
        table = lake.quotes("OKX", symbol)
        assert np.array_equal(quotes["px"][::2], table["bid"].to_numpy())
        assert np.array_equal(quotes["px"][1::2], table["ask"].to_numpy())
    assert np.array_equal(rows["px_ticks"], np.rint(rows["px"] * 10).astype("i8"))


def test_pieces_of_any_size_make_the_same_tape(tmp_path, monkeypatch):
    lake = filled(tmp_path)
    whole = lake.tape("BTC-USDT", venue="OKX").rows.tobytes()
    for path in (tmp_path / "tapes").iterdir():
        path.unlink()
    monkeypatch.setattr(tape_build, "_PIECE", 7)
    lake.compact(quiet=True)
    assert lake.tape("BTC-USDT", venue="OKX").rows.tobytes() == whole


def test_parts_that_overlap_are_read_a_piece_of_each_at_a_time(tmp_path, monkeypatch):
    lake = filled(tmp_path, n=100, sources=3)
    whole = lake.tape("BTC-USDT", venue="OKX").rows.tobytes()
    for path in (tmp_path / "tapes").iterdir():
        path.unlink()
    for source in ("long", "short", "late"):
        with lake.writer(source) as w:
            at = {"long": [0, 10**11], "short": [1, 2], "late": [10**10, 10**10]}[source]
            w.append("trades", "OKX", "BTC-USDT", {"ts_exch": [T0 + t for t in at], "ts_recv": [T0 + t for t in at],
                                                   "px": [600.0] * 2, "qty": [1.0] * 2})  # fmt: skip
            w.commit({})
    together = lake.tape("BTC-USDT", venue="OKX").rows.tobytes()
    for path in (tmp_path / "tapes").iterdir():
        path.unlink()
    monkeypatch.setattr(tape_build, "_PIECE", 3)
    assert lake.tape("BTC-USDT", venue="OKX").rows.tobytes() == together
    assert len(together) == len(whole) + 6 * 64


def test_a_part_as_long_as_the_day_is_not_held_in_memory(tmp_path):
    lake = Lake(tmp_path)
    # the first and the last rows of a day share a part, the others lie between; two parts have rows of one seq
    for number, seq in enumerate(([1, 2, 5_000], *(range(a, a + 100) for a in (100, 200, 300)), [2, 4_000])):
        with lake.writer(f"s{number}") as w:
            ts = T0 + np.asarray(seq)
            some = {"ts_exch": ts, "ts_recv": ts, "seq": seq, "px": np.full(len(ts), 600.0), "qty": 1e-3 * (ts % 7)}
            w.append("trades", "OKX", "BTC-USDT", some)
            w.commit({})
    parts = lake._manifest.parts(["trades"], "OKX", "BTC-USDT", None, None)
    assert len(parts) == 5
    for piece in (1, 7, 1000):
        tables = list(merged_parts(tmp_path, parts, piece))
        assert pa.concat_tables(tables).equals(pa.concat_tables(in_order(tmp_path, parts)))
        assert max(t.num_rows for t in tables) <= 103
    lake.compact(quiet=True)
    parts = lake._manifest.parts(["trades"], "OKX", "BTC-USDT", None, None)
    tables = list(merged_parts(tmp_path, parts, 7))
    assert max(t.num_rows for t in tables) <= 7
    (tmp_path / parts[0].path).unlink()
    with pytest.raises(qa.DataError, match="the file is missing"):
        list(merged_parts(tmp_path, parts, 7))


def test_it_is_built_once_and_again_when_rows_are_added(tmp_path, monkeypatch):
    lake = filled(tmp_path)
    first = lake.tape("BTC-USDT", venue="OKX")
    with monkeypatch.context() as patch:
        patch.setattr(tape_build, "_build", lambda *_: pytest.fail("built again"))
        again = lake.tape("BTC-USDT", venue="OKX")
    assert again.rows.tobytes() == first.rows.tobytes()
    with pytest.raises(ValueError, match="read-only"):
        again.rows["qty"] = 0.0
    with lake.writer("more") as w:
        w.append("trades", "OKX", "BTC-USDT", {"ts_exch": [T0], "ts_recv": [T0], "px": [600.0], "qty": [1.0]})
        w.commit({})
    assert len(lake.tape("BTC-USDT", venue="OKX")) == len(first) + 1
    assert not list((tmp_path / "tapes").glob("*.tmp"))


def test_a_later_start_begins_with_the_book_known_then(tmp_path):
    lake = filled(tmp_path)
    start = T0 + 5 * 10**9
    tape = lake.tape("BTC-USDT", start, start + 10**9, venue="OKX")
    head, rows = tape.rows[: tape.facts["head"]], tape.rows[tape.facts["head"] :]
    assert len(head) > 5
    assert np.all(head["flags"] & SNAPSHOT)
    assert rows["ts_exch"].min() >= start
    assert rows["ts_exch"].max() < start + 10**9
    first = rows["ts_recv"][rows["kind"] == Kind.LEVEL][0]
    book = lake.book("OKX", "BTC-USDT", int(first) - 1)
    assert head["px"].tolist() == [*book.bids[:, 0], *book.asks[:, 0]]
    assert np.all(np.diff(tape.exchange_rows["ts_exch"]) >= 0)
    assert np.all(tape.exchange_rows["flags"][: len(head)] & SNAPSHOT)


def test_what_cannot_be_a_tape_is_said(tmp_path):
    lake = filled(tmp_path)
    with pytest.raises(qa.UnknownName, match="OKEX"):
        lake.tape("BTC-USDT", venue="OKEX")
    with pytest.raises(qa.UnknownName, match="BTC-USD"):
        lake.tape("BTC-USD", venue="OKX")
    with pytest.raises(qa.UnknownName, match="stream"):
        lake.tape("BTC-USDT", venue="OKX", streams=["trade"])
    with pytest.raises(qa.DataError, match="in this span"):
        lake.tape("BTC-USDT", T0 - 10**12, T0 - 10**11, venue="OKX")
    with lake.writer("bad") as w:
        w.append("trades", "OKX", "BTC-USDT", {"ts_exch": [T0], "ts_recv": [T0], "px": [600.04], "qty": [1.0]})
        w.commit({})
    with pytest.raises(qa.DataError, match="not on the tick grid"):
        lake.tape("BTC-USDT", venue="OKX")
    assert not list((tmp_path / "tapes").iterdir())


def test_funding_and_bars_ride_along(tmp_path):
    lake = filled(tmp_path)
    with lake.writer("more") as w:
        w.append("funding", "OKX", "BTC-USDT", {"ts_exch": [T0], "ts_recv": [T0 + 5], "rate": [-1e-4], "next_ts": [T0]})
        w.append("bars", "OKX", "BTC-USDT", {
            "ts_open": [T0], "ts_close": [T0 + 60 * 10**9], "open": [600.0], "high": [601.0], "low": [599.0],
            "close": [600.5], "interval": ["1m"],
        })  # fmt: skip
        w.commit({})
    rows = lake.tape("BTC-USDT", venue="OKX", streams=["trades", "funding", "bars"]).rows
    funding, bar = (rows[rows["kind"] == kind] for kind in (Kind.FUNDING, Kind.BAR))
    assert (funding["px"].tolist(), funding["aux"].tolist()) == ([-1e-4], [T0])
    assert (bar["px"].tolist(), bar["ts_recv"].tolist(), bar["aux"].tolist()) == ([600.5], [T0 + 60 * 10**9], [T0])


def test_a_tape_of_the_lake_replays_and_sweeps(tmp_path):
    from quantai.strategy.examples import Quote

    tape = filled(tmp_path, n=2000).tape(["BTC-USDT", "ETH-USDT"], venue="OKX")
    assert Tape.open(tape.save(tmp_path / "copy.tape")).rows.tobytes() == tape.rows.tobytes()
    swept = qa.sweep(Quote, tape, offset=range(3))
    assert swept.frame()["submits"].min() > 10
    for k in range(3):
        assert swept.run(k).submits == swept.frame()["submits"][k]

"""Tapes: what is refused and how it is said, files, both clocks, and hftbacktest's arrays there and back."""

import numpy as np
import pytest

import quantai as qa
from quantai.core.rows import EVENT, SNAPSHOT, Kind, zeros
from quantai.data.tape import Tape
from tests.bench import gen_ticks

BTC = qa.Instrument.parse("BTC-USDT", tick="0.1", lot="0.001")


def rows(n=3, **fields):
    out = zeros(n, EVENT)
    out["ts_exch"], out["ts_recv"] = np.arange(n) * 10, np.arange(n) * 10 + 5
    out["kind"], out["px"], out["px_ticks"], out["qty"], out["side"] = Kind.LEVEL, 100.0, 1000, 1.0, 1
    for name, value in fields.items():
        out[name] = value
    return out


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ts_recv": [5, 4, 6]}, "row 1 .*sort the rows by ts_recv"),
        ({"px": [100.0, np.nan, 100.0]}, "row 1 .*not a finite number"),
        ({"qty": [1.0, 1.0, np.inf]}, "row 2 .*not a finite number"),
        ({"qty": [1.0, -1.0, 1.0]}, "row 1 .*below zero"),
        ({"instrument": [0, 0, 1]}, "row 2 .*instrument that the tape does not have"),
        ({"px_ticks": [1000, 1001, 1000]}, "row 1 .*not on the tick grid"),
        ({"side": [1, 0, 1]}, "row 1 .*neither 1 .*nor -1"),
        ({"side": [1, -1, 3]}, "row 2 .*neither 1 .*nor -1"),
        ({"kind": Kind.TRADE, "side": [0, 1, -128]}, "row 2 .*neither 1 .*nor -1"),
        ({"kind": Kind.CLEAR, "side": [0, 1, 5]}, "row 2 .*neither 1 .*nor -1"),
        ({"kind": [Kind.TRADE, Kind.STATUS, 99]}, "row 2 .*no known kind"),
        ({"ts_exch": [10**18, 10**18, 0], "ts_recv": 10**18}, "row 2 .*more than 31 days apart"),
        ({"seq": [1, 3, 2]}, "row 2 .*sequence number"),
    ],
)
def test_rows_that_cannot_be_are_refused_by_number(fields, message):
    with pytest.raises(qa.DataError, match=message):
        Tape.from_events(rows(**fields), [BTC])


def test_a_saved_tape_opens_as_the_same_rows_and_facts(tmp_path):
    tape = gen_ticks.tape(2_000, 5)
    again = Tape.open(tape.save(tmp_path / "ticks.tape"))
    assert again.rows.tobytes() == tape.rows.tobytes()
    assert again.facts == tape.facts
    assert list(again.instruments) == list(tape.instruments)
    with pytest.raises(ValueError, match="read-only"):
        again.rows["qty"] = 0.0


def test_files_that_are_no_tapes_are_named(tmp_path):
    path = tmp_path / "x.tape"
    with pytest.raises(qa.InputError, match="there is no such tape"):
        Tape.open(path)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(qa.DataError, match="is not a tape"):
        Tape.open(path)
    gen_ticks.tape(100, 5).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-64])
    with pytest.raises(qa.DataError, match="is damaged"):
        Tape.open(path)
    for at in (whole.index(b'"rows"'), whole.index(b'"tick"')):
        path.write_bytes(whole[: at + 1] + b"x" + whole[at + 2 :])
        with pytest.raises(qa.DataError, match="is damaged"):
            Tape.open(path)


def test_the_exchange_clock_has_an_order_of_its_own():
    tape = Tape.from_events(rows(ts_exch=[0, 20, 10], ts_recv=[25, 26, 27]), [BTC])
    assert tape.facts["exch_sorted"] == 0
    assert tape.exchange_rows["ts_exch"].tolist() == [0, 10, 20]
    assert tape.rows["ts_exch"].tolist() == [0, 20, 10]


def test_hftbacktest_arrays_there_and_back():
    tape = gen_ticks.tape(3_000, 9)
    events, snapshot = tape.to_hftbacktest()
    assert len(snapshot) == tape.facts["head"]
    again = Tape.from_hftbacktest(events, tape.instruments[0], snapshot)
    for name in ("ts_exch", "ts_recv", "seq", "px", "qty", "px_ticks", "kind", "side"):
        assert again.rows[name].tolist() == tape.rows[name].tolist()
    assert (again.rows["flags"] & SNAPSHOT).tobytes() == (tape.rows["flags"] & SNAPSHOT).tobytes()
    one_sided = events.copy()
    one_sided["ev"][7] &= ~np.uint64(1 << 30)
    with pytest.raises(qa.DataError, match="row 7 is seen by one side only"):
        Tape.from_hftbacktest(one_sided, tape.instruments[0])
    with pytest.raises(qa.InputError, match="takes hftbacktest's event array"):
        Tape.from_hftbacktest(np.zeros(3), tape.instruments[0])

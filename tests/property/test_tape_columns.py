"""A replay by the columns of a tape is the replay by its rows, whatever the rows."""

from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import quantai as qa
from quantai.backtest.tick_run import TickRun
from quantai.core.rows import Kind
from quantai.data import tape_file
from quantai.data.tape import Tape
from tests.property.test_replay_run import Busy, logs, tick_rows, venues

ONE = qa.Instruments([qa.Instrument.parse("BTC-USDT", tick="0.1", lot="0.001", venue="BINANCE")])


class Timed(qa.Strategy):
    """Only a timer, so that rows pass in batches; rests, takes, and waits with stops."""

    n: int = qa.state(0)

    def on_start(self, ctx):
        ctx.every(300)

    def on_timer(self, ctx):
        self.n += 1
        book = ctx.book(0)
        if book.valid:
            ctx.quote(0, qa.BUY, book.bid_ticks, 0.003)
            ctx.quote(0, qa.SELL, book.ask_ticks, 0.003)
        if self.n % 5 == 0:
            ctx.sell(0.002, stop=100.0)
        if self.n % 7 == 0:
            ctx.buy(0.002, trail=0.2)
        if self.n % 9 == 0:
            ctx.buy(0.002)


@st.composite
def odd_rows(draw):
    """Rows of one instrument, some of which no column can tell, on clocks that may disagree."""
    rows = draw(tick_rows())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows["instrument"] = 0
    odd = rng.random(len(rows)) < draw(st.sampled_from([0.0, 0.1]))
    rows["side"][odd & (rows["kind"] == Kind.TRADE) & (rng.random(len(rows)) < 0.5)] = 0
    rows["px"][odd] = np.nextafter(rows["px"][odd], 1e9) * (rows["kind"][odd] != Kind.CLEAR)
    if draw(st.booleans()):
        rows["ts_exch"] -= rng.integers(0, 300, len(rows))
    return rows


@pytest.mark.parametrize("strategy", [Timed(), Busy()], ids=lambda s: type(s).__name__)
@given(rows=odd_rows(), venue=venues)
@settings(max_examples=80, deadline=None)
def test_columns_change_nothing(strategy, rows, venue):
    tape = Tape.from_events(rows, ONE)
    assert tape.columns is not None or not np.isin(rows["kind"], (Kind.TRADE, Kind.LEVEL)).any()
    runs = []
    for of in (tape, replace(tape, facts=tape.facts | {"base": None})):
        runs.append(TickRun(strategy, ONE, venue, sample_ns=1000))
        runs[-1].feed_tape(of)
    assert logs(runs[0]) == logs(runs[1])
    assert runs[0].snapshot() == runs[1].snapshot()


@given(rows=odd_rows(), piece=st.integers(1, 200))
@settings(max_examples=40, deadline=None)
def test_a_file_holds_what_is_worked_out_of_the_rows(tmp_path_factory, rows, piece):
    tape = Tape.from_events(rows, ONE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tape_file, "PIECE", piece)
        opened = Tape.open(tape.save(tmp_path_factory.mktemp("tapes") / "one.tape"))
    assert ("rows_x" in opened.parts) == (not tape.facts["exch_sorted"])
    assert opened.exchange_rows.tobytes() == tape.exchange_rows.tobytes()
    for made, kept in ((tape.columns, opened.columns), (tape.exchange_columns, opened.exchange_columns)):
        assert [np.asarray(a).tobytes() for a in made or ()] == [np.asarray(a).tobytes() for a in kept or ()]

"""The trade loop over a paper venue: what it decides, journals and shows to strategies, run again to the byte."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantai as qa
from quantai.core.errors import DataError, UnknownName
from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import EVENT, LAST, SEC, Action, Kind, OrderType, Status, zeros
from quantai.execution.agree import at_work, differing_money, differing_positions
from quantai.execution.controls import Control
from quantai.execution.explain import explain
from quantai.execution.loop import Loop
from quantai.execution.paper_account import hand_over
from quantai.execution.playback import RowClock
from quantai.execution.retrace import FLOOR, manifest_of, retrace, seats_of, stand, walk
from quantai.execution.views import orders
from quantai.journal import StoreReader, Stream
from quantai.venues.paper import Paper
from tests.integration.trading import START, Lean, Maker, Trend, drive, let, make, market, tell


def again(path: Path) -> Any:
    """Run a journal again; the strategies here are not importable by the names of a notebook."""
    return retrace(path, [Maker])


def test_a_paper_run_decides_the_same_when_run_again(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"

    async def steps(loop: Loop, clock: RowClock) -> None:
        await let(loop, clock, 6)

    loop = drive(path, [Maker()], steps)
    proof = again(path)
    assert proof.same, proof.differences
    assert proof.intents == loop.counts.intents > 20
    me = loop.floor.desks[0]
    fills = int(loop.oms.table.executions.used[0])
    assert int(me.record["fills"][0]) == fills > 0
    assert me.world.positions["qty"][0] == pytest.approx(loop.oms.portfolio.books.positions["qty"][0, 0])


def test_a_paper_run_explained_is_the_simulator_itself(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"

    async def steps(loop: Loop, clock: RowClock) -> None:
        await let(loop, clock, 6)

    loop = drive(path, [Maker()], steps)
    found = explain(path)
    assert found.realised == found.simulated == int(loop.oms.table.executions.used[0]) > 0
    assert (found.missed, found.extra, found.slippage_bps) == (0, 0, 0.0)
    assert "the same" in found.words


def test_what_the_strategy_sees_of_its_money_is_what_the_venue_says(tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    async def steps(loop: Loop, clock: RowClock) -> None:
        await let(loop, clock, 6)
        seen["venue"] = await loop.venues["X"].balances()

    loop = drive(tmp_path / "run.journal", [Maker()], steps)
    assert differing_money(loop.oms, seen["venue"]) == []
    me = loop.floor.desks[0].world
    assert float(me.ctx["cash"][0]) == pytest.approx(float(seen["venue"]["USDT"]), rel=1e-9)
    assert float(me.positions["fees"][0]) > 0


def test_a_decision_that_was_changed_is_found(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"

    async def steps(loop: Loop, clock: RowClock) -> None:
        await let(loop, clock, 3)

    drive(path, [Maker()], steps)

    class Other(Maker):
        offset: int = 3

    proof = retrace(path, [Other])
    assert not proof.same
    assert any("source" in line for line in proof.differences)

    class Wider(Maker):
        def on_timer(self, ctx: Any) -> None:
            book = ctx.book(0)
            if book.valid:
                ctx.quote(0, 1, book.bid_ticks - 7, self.qty)

    proof = retrace(path, [Wider])
    assert any(line.startswith("decision at row") for line in proof.differences), proof.differences


def test_lifecycle_is_journaled_and_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"
    marks: dict[str, int] = {}

    async def steps(loop: Loop, clock: RowClock) -> None:
        await let(loop, clock, 3)
        marks["pause"] = await tell(loop, Control.PAUSE)
        await let(loop, clock, 2, seed=2)
        marks["resume"] = await tell(loop, Control.RESUME)
        marks["offset"] = await tell(loop, Control.PARAMETERS, offset=2)
        await let(loop, clock, 3, seed=3)
        with pytest.raises(UnknownName, match="ofset"):
            await tell(loop, Control.PARAMETERS, ofset=1)
        marks["flat"] = await tell(loop, Control.FLATTEN)
        await let(loop, clock, 3, seed=4)

    loop = drive(path, [Maker()], steps)
    proof = again(path)
    assert proof.same, proof.differences
    with StoreReader(path) as reader:
        asked = reader.rows(Stream.INTENT)
    new = asked[asked["action"] == Action.NEW]["seq"].astype(np.int64)
    assert not ((new > marks["pause"]) & (new <= marks["resume"])).any(), "paused: nothing new goes out"
    assert (new > marks["offset"]).any()
    last = asked[(asked["action"] == Action.NEW) & (asked["seq"] >= marks["flat"])]
    assert set(last["type"].tolist()) <= {int(OrderType.MARKET)}, "only what closes the position"
    assert float(loop.oms.portfolio.books.positions["qty"][0, 0]) == pytest.approx(0.0, abs=1e-9)
    assert at_work(loop.oms) == []
    assert loop.floor.desks[0].params["offset"] == 2


def test_a_running_desk_is_flattened_although_every_attempt_is_denied_at_first(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"
    held: list[float] = []

    async def steps(loop: Loop, clock: RowClock) -> None:
        async def after(seconds: float, seed: int) -> None:
            await let(loop, clock, seconds, seed=seed)
            held.append(float(loop.oms.portfolio.books.positions["qty"][0, 0]))

        await let(loop, clock, 3)
        await tell(loop, Control.RECONCILE)  # only cancels go out
        await tell(loop, Control.FLATTEN)
        await after(1, seed=2)
        assert at_work(loop.oms) == [], "each attempt was denied, none waits"
        await tell(loop, Control.RECONCILED)
        await after(0.5, seed=3)
        await after(4, seed=4)

    drive(path, [Maker()], steps)
    assert held[0] != 0.0
    assert held[:2] == [held[0]] * 2, "not before it is asked for again"
    assert held[2] == pytest.approx(0.0, abs=1e-9)
    with StoreReader(path) as reader:
        told = reader.rows(Stream.EVENT, kinds=[Kind.CONTROL])["aux"].tolist()
    assert told.count(Control.FLATTEN) == 2
    proof = again(path)
    assert proof.same, proof.differences


def test_two_desks_share_a_venue_and_keep_to_themselves(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"

    async def steps(loop: Loop, clock: RowClock) -> None:
        await let(loop, clock, 8)

    loop = drive(path, [Maker(), Trend()], steps, interval="2s")
    proof = retrace(path, [Maker, Trend])
    assert proof.same, proof.differences
    one, two = (orders(loop.oms, run=name) for name in ("desk0", "desk1"))
    assert one
    assert two
    assert int(loop.floor.desks[1].record["bars"][0]) >= 3
    own = loop.oms.portfolio.books.positions["qty"][:, 0]
    assert [float(d.world.positions["qty"][0]) for d in loop.floor.desks] == pytest.approx(own.tolist())


def test_a_snapshot_and_its_tail_are_all_rows(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"

    async def steps(loop: Loop, clock: RowClock) -> None:
        await let(loop, clock, 3)
        await loop.keep()
        await let(loop, clock, 3, seed=2)

    drive(path, [Maker()], steps)
    with StoreReader(path) as reader:
        seats = seats_of(manifest_of(reader), [Maker])
        kept = reader.snapshot(FLOOR)
        assert kept is not None
        short = stand(reader, seats)
        assert short.oms.seq == kept.seq
        whole = stand(reader, seats, from_start=True)
        assert walk(reader, short).rows < walk(reader, whole).rows
    assert short.snapshot() == whole.snapshot()
    assert short.oms.snapshot() == whole.oms.snapshot()


def test_silence_of_a_feed_stops_orders_and_is_told(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"
    marks: dict[str, int] = {}

    async def steps(loop: Loop, clock: RowClock) -> None:
        await let(loop, clock, 2)
        row = zeros(1, EVENT)
        row["kind"], row["aux"], row["flags"] = Kind.STATUS, Status.STALE, LAST
        row["ts_recv"] = row["ts_exch"] = clock.now
        await loop.show(row)
        marks["stale"] = loop.oms.seq
        for _ in range(8):  # time passes, and the market says nothing
            clock.now += SEC // 4
            await loop.beat()
        marks["back"] = loop.oms.seq
        assert loop.floor.desks[0].world.books["valid"][0] == 0
        await let(loop, clock, 2, seed=2)

    drive(path, [Maker()], steps)
    with StoreReader(path) as reader:
        asked = reader.rows(Stream.INTENT)["seq"].astype(np.int64)
    assert ((asked < marks["stale"]).any(), (asked > marks["back"]).any()) == (True, True)
    assert not ((asked > marks["stale"]) & (asked <= marks["back"])).any()
    assert again(path).same


def test_a_journal_that_is_none_of_a_trading_run_is_refused(tmp_path: Path) -> None:
    from quantai.journal import EventStore

    path = tmp_path / "other.journal"
    EventStore.create(path, {"run": "other"}).close()
    with pytest.raises(DataError, match="not the journal of a run that trades"):
        retrace(path)
    assert len(market(1.0)) == 300


class Turn(qa.Strategy):
    """Opens at one trade of the market and closes at another."""

    qty: float = 0.02
    first: int = 1
    last: int = 400
    n: int = qa.state(0)

    def on_trade(self, ctx: Any, trade: Any) -> None:
        self.n += 1
        if (self.n == self.first and self.qty > 0) or (self.n == self.last and self.qty < 0):
            ctx.buy(abs(self.qty))
        elif self.n in (self.first, self.last):
            ctx.sell(abs(self.qty))


@pytest.mark.parametrize("symbol", ["BTC-USDT", "BTC-USDT-PERP"])
def test_a_paper_account_goes_on_with_what_the_journal_says_it_held(tmp_path: Path, symbol: str) -> None:
    instrument = Instrument.parse(symbol, venue="X", tick="0.1", lot="0.001")

    async def steps(loop: Loop, clock: RowClock) -> None:
        await let(loop, clock, 15)

    loop = drive(tmp_path / "run.journal", [Lean(), Maker()], steps, instrument=instrument)
    after = Paper(Instruments([instrument]))
    hand_over(loop.oms, {"X": after})
    before = loop.venues["X"]
    assert differing_money(loop.oms, asyncio.run(after.balances())) == []
    assert differing_positions(loop.oms, "X", asyncio.run(after.positions())) == []
    assert asyncio.run(after.positions()) == asyncio.run(before.positions())


def test_desks_that_share_a_contract_differ_from_a_venue_in_no_money(tmp_path: Path) -> None:
    told: list[tuple[float, list[str]]] = []

    async def steps(loop: Loop, clock: RowClock) -> None:
        for seed in (1, 2):
            await let(loop, clock, 5, seed=seed)
            there = await loop.venues["X"].balances()
            mine = sum(loop.oms.portfolio.cash(a)["USDT"] for a in loop.oms.portfolio.accounts)
            told.append((float(there["USDT"]) - mine, differing_money(loop.oms, there)))

    desks = [Turn(), Turn(qty=-0.02, first=100, last=500)]
    perpetual = Instrument.parse("BTC-USDT-PERP", venue="X", tick="0.1", lot="0.001")
    drive(tmp_path / "run.journal", desks, steps, instrument=perpetual)
    (apart, words), (later, no_words) = told
    assert abs(apart) > 1e-4, "the venue has netted what the desks hold apart"
    assert (words, no_words) == ([], [])
    assert later == pytest.approx(0.0, abs=1e-6), "once both are flat, both have realised the same"


def test_an_end_does_not_wait_for_books_that_never_agree(tmp_path: Path) -> None:
    async def run() -> Loop:
        loop = make(tmp_path / "run.journal", RowClock(START), [Lean()])
        await loop.venues["X"].connect()
        await loop.control(Control.START)  # the venue has money, and the books have none
        await asyncio.wait_for(loop.run(seconds=0.1), 60.0)  # the clock stands still: patience would have no end
        loop.session.store.close()
        return loop

    loop = asyncio.run(run())
    assert not loop.reconciled
    assert list(loop.counts.alarms) == ["USDT is 100000 there and 0 here"]


class Vain(qa.Strategy):
    """Asks for less than a lot, again and again."""

    def on_start(self, ctx: Any) -> None:
        ctx.every(qa.SEC)

    def on_timer(self, ctx: Any) -> None:
        ctx.buy(1e-9)


def test_what_is_no_order_is_told_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def steps(loop: Loop, clock: RowClock) -> None:
        await let(loop, clock, 6)

    loop = drive(tmp_path / "run.journal", [Vain()], steps)
    n = loop.counts.refused["us", "BAD_QTY"]
    assert n >= 4
    assert len(loop.oms.table) == 0
    said = [r.getMessage() for r in caplog.records if "no order" in r.getMessage()]
    assert said[0] == "a strategy asks for what is no order: BAD_QTY"
    assert len(said) == n.bit_length(), "at first, and then ever more rarely"

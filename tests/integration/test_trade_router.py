"""A desk whose instrument is listed at two venues: best price, split, what closes, and the journal run again."""

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantai as qa
from quantai.core.errors import InputError
from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import EVENT, LAST, MS, SEC, Action, Kind, Rows, Status, zeros
from quantai.execution.agree import held, unclosed
from quantai.execution.controls import Control
from quantai.execution.floor import Floor
from quantai.execution.loop import Loop, Pace
from quantai.execution.oms import OMS
from quantai.execution.plan import paper_limits
from quantai.execution.playback import RowClock, answered, play
from quantai.execution.recovery import MANIFEST
from quantai.execution.retrace import ENGINE, SEATS, manifest_of, retrace, seats_of, stand, walk
from quantai.execution.router import ByInstrument
from quantai.execution.routes import PART, Route
from quantai.execution.seats import Seat
from quantai.execution.session import Session
from quantai.execution.setup import Setup
from quantai.journal import EventStore, StoreReader, Stream, describe_run
from quantai.portfolio.desks import Desk
from quantai.venues.paper import Paper
from quantai.venues.rules import SimVenue
from tests.integration.trading import START

X = Instrument.parse("BTC-USDT-PERP", venue="X", tick="0.1", lot="0.1")
Y = Instrument.parse("BTC-USDT-PERP", venue="Y", tick="0.5", lot="0.1")
FREE = (0.0, 0.0)
BUY, SELL, REST, MOVE, DROP, REPENT, WEIGH, NOTHING = 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0


class Words(qa.Strategy):
    """Takes the size of each trade as a word: what to do."""

    qty: float = 1.0
    weight: float = 0.1
    fills: int = qa.state(0)
    ends: int = qa.state(0)
    order: int = qa.state(0)

    def on_trade(self, ctx: Any, trade: Any) -> None:
        book = ctx.book(0)
        if trade.qty == BUY:
            ctx.buy(self.qty)
        elif trade.qty == SELL:
            ctx.sell(self.qty)
        elif trade.qty == REST:
            self.order = ctx.buy(self.qty, limit=book.bid - 1.0)
        elif trade.qty == MOVE:
            ctx.replace(self.order, self.qty, limit=book.bid - 2.0)
        elif trade.qty == DROP:
            ctx.cancel(self.order)
        elif trade.qty == REPENT:
            ctx.cancel(ctx.buy(self.qty))
        elif trade.qty == WEIGH:
            ctx.target(self.weight, 0, True)
        elif trade.qty == NOTHING:
            ctx.target(0.0)

    def on_fill(self, ctx: Any, fill: Any) -> None:
        self.fills += 1

    def on_order(self, ctx: Any, order: Any) -> None:
        if order.state >= 5:
            self.ends += 1


def quote(i: int, bid: float, ask: float, *, bid_qty: float = 9.0, ask_qty: float = 9.0) -> Rows:
    """Return the best prices of a listing as a venue tells them."""
    tick = float((X, Y)[i].tick)
    rows = zeros(4, EVENT)
    rows["kind"], rows["instrument"] = [Kind.LEVEL, Kind.LEVEL, Kind.QUOTE, Kind.QUOTE], i
    rows["side"], rows["px"], rows["qty"] = [1, -1] * 2, [bid, ask] * 2, [bid_qty, ask_qty] * 2
    rows["px_ticks"], rows["flags"] = np.rint(rows["px"] / tick), [0, LAST, 0, LAST]
    return rows


def trade(qty: float) -> Rows:
    """Return a trade at X, which the strategy takes as a word."""
    row = zeros(1, EVENT)
    row["kind"], row["px"], row["px_ticks"], row["qty"], row["side"], row["flags"] = Kind.TRADE, 100, 1000, qty, 1, LAST
    return row


def gone(i: int) -> Rows:
    """Return what a feed says when it has lost a venue."""
    row = zeros(1, EVENT)
    row["kind"], row["aux"], row["instrument"], row["flags"] = Kind.STATUS, Status.DISCONNECTED, i, LAST
    return row


def run(
    path: Path, strategy: qa.Strategy, by: str, steps: Callable[[Loop, Any], Coroutine[Any, Any, None]],
    fees: tuple[float, float] = FREE,
) -> Loop:  # fmt: skip
    """Take steps over a loop of two paper venues and return it, its journal closed."""
    table = Instruments([X, Y])
    setup = Setup(desks=(Desk("desk"),), instruments=table, limits=paper_limits(), currency="USDT", patience_ns=SEC)
    named = f"{__name__}:{type(strategy).__name__}"
    seats = [Seat(strategy=strategy, named=named, instruments=(0,), route=Route(by, ((0, 1),), (fees,)))]
    said = {MANIFEST: setup.as_dict(), SEATS: [seat.as_dict() for seat in seats], "mode": "paper"}

    async def go() -> Loop:
        clock = RowClock(START)
        floor = Floor(OMS(setup), seats)
        store = EventStore.create(path, describe_run("desk", engine=ENGINE, **said))
        papers = {
            name: Paper(table, SimVenue(), balances={"USDT": Decimal(amount)}, name=name)
            for name, amount in (("X", 100_000), ("Y", 0))
        }
        loop = Loop(
            Session(floor.oms, store, ByInstrument(table, papers)), floor, papers,
            watchers=[p.see for p in papers.values()], pace=Pace(snapshot_s=0, reconcile_s=0), clock=clock,
        )  # fmt: skip
        for paper in papers.values():
            await paper.connect()
        tasks = loop.listen()
        await loop.adjust(loop.oms.portfolio.deposit(0, 100_000.0, ts=START))
        await loop.control(Control.START)
        assert await loop.reconcile(), list(loop.counts.alarms)

        async def let(*parts: Rows) -> None:
            for rows in parts:
                rows["ts_recv"] = rows["ts_exch"] = clock.now + 50 * MS
                await play(loop, clock, rows)
            for _ in range(3):  # requests reach a venue, and its answers us
                clock.now += SEC
                await loop.beat()
                await answered(loop)

        await steps(loop, let)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        store.close()
        return loop

    return asyncio.run(go())


def asked(loop: Loop) -> list[tuple[int, int, int]]:
    """Return (part, listing, signed lots) of every new order that went out."""
    with StoreReader(loop.session.store.path) as reader:
        rows = reader.rows(Stream.INTENT)
    new = rows[rows["action"] == Action.NEW]
    return [(int(r["order"]) >> PART, int(r["instrument"]), int(r["side"]) * int(r["qty_lots"])) for r in new]


def proven(loop: Loop) -> None:
    """Run the journal again, from its start and from its snapshot: every intent and all state must be the same."""
    path = loop.session.store.path
    proof = retrace(path)
    assert proof.same, proof.differences
    assert proof.intents > 0
    with StoreReader(path) as reader:
        seats = seats_of(manifest_of(reader))
        again = walk(reader, stand(reader, seats)).floor
        first = walk(reader, stand(reader, seats, from_start=True)).floor
    assert again.snapshot() == first.snapshot() == loop.floor.snapshot()


def lots(loop: Loop) -> list[int]:
    return [round(float(q) * 10) for q in loop.oms.portfolio.books.positions["qty"][0]]


@pytest.mark.parametrize(("fees", "chosen"), [(FREE, 1), ((0.0, 0.01), 0)])
def test_what_opens_goes_to_the_best_price_after_fees(tmp_path: Path, fees: tuple[float, float], chosen: int) -> None:
    async def steps(loop: Loop, let: Any) -> None:
        await let(quote(0, 99.9, 100.2), quote(1, 99.5, 100.0), trade(BUY))
        await loop.keep()
        await let(quote(0, 99.9, 100.2), quote(1, 99.5, 100.0), trade(BUY))

    loop = run(tmp_path / "run.journal", Words(), "best_price", steps, fees)
    assert asked(loop) == [(0, chosen, 10), (0, chosen, 10)]
    assert lots(loop)[chosen] == 20
    record = loop.floor.desks[0].record
    assert (int(record["fills"][0]), int(record["ends"][0])) == (2, 2)
    assert loop.floor.desks[0].world.positions["qty"][0] == 2.0, "what it holds is the sum over venues"
    proven(loop)


def test_an_order_is_split_over_what_is_shown_and_is_one_to_the_strategy(tmp_path: Path) -> None:
    async def steps(loop: Loop, let: Any) -> None:
        await let(quote(0, 99.9, 100.2, ask_qty=5.0), quote(1, 99.5, 100.0, ask_qty=0.4), trade(BUY))
        await loop.keep()
        await let(quote(0, 99.9, 100.2), quote(1, 99.5, 100.0), trade(SELL))

    loop = run(tmp_path / "run.journal", Words(), "split", steps)
    assert asked(loop) == [(0, 1, 4), (1, 0, 6), (0, 0, -6), (1, 1, -4)], "bought by size, sold where it is held"
    assert lots(loop) == [0, 0]
    record = loop.floor.desks[0].record
    assert (int(record["fills"][0]), int(record["ends"][0])) == (4, 2), "each execution is told, an order ends once"
    proven(loop)


def test_what_a_lost_venue_last_said_is_no_price(tmp_path: Path) -> None:
    async def steps(loop: Loop, let: Any) -> None:
        await let(quote(0, 99.9, 100.2), quote(1, 99.5, 100.0), gone(1), trade(BUY))

    loop = run(tmp_path / "run.journal", Words(), "best_price", steps)
    assert asked(loop) == [(0, 0, 10)]
    proven(loop)


def test_a_resting_order_is_moved_and_canceled_where_it_is(tmp_path: Path) -> None:
    async def steps(loop: Loop, let: Any) -> None:
        await let(quote(0, 99.9, 100.2), quote(1, 99.5, 100.0), trade(REST))
        await let(quote(0, 99.9, 100.0), quote(1, 99.5, 100.5), trade(MOVE))
        await loop.keep()
        await let(trade(DROP))

    loop = run(tmp_path / "run.journal", Words(), "best_price", steps)
    with StoreReader(loop.session.store.path) as reader:
        rows = reader.rows(Stream.INTENT)
    assert set(rows["instrument"]) == {1}, "it stays where it went"
    assert [int(r["px_ticks"]) for r in rows[:2]] == [197, 195], "98.9 and 97.9 in ticks of 0.5, below"
    assert int(loop.floor.desks[0].record["ends"][0]) == 1
    assert len(loop.oms.table) == 1
    proven(loop)


def test_targets_count_what_is_held_everywhere(tmp_path: Path) -> None:
    async def steps(loop: Loop, let: Any) -> None:
        await let(quote(0, 99.9, 100.2, ask_qty=300.0), quote(1, 99.5, 100.0, ask_qty=20.0), trade(WEIGH))
        await let(quote(0, 99.9, 100.2), quote(1, 99.5, 100.0), trade(WEIGH))
        await loop.keep()
        await let(quote(0, 99.9, 100.2, bid_qty=300.0), quote(1, 99.5, 100.0, bid_qty=300.0), trade(NOTHING))

    loop = run(tmp_path / "run.journal", Words(), "split", steps)
    opened = asked(loop)[:2]
    assert [part[:2] for part in opened] == [(0, 1), (1, 0)]
    assert opened[0][2] == 200
    assert 980 <= opened[0][2] + opened[1][2] <= 1020, "ten percent of 100 000 at about 100"
    assert lots(loop) == [0, 0]
    assert int(loop.floor.desks[0].record["ends"][0]) == 3, "one that was there already has ended, too"
    proven(loop)


def test_what_is_repented_in_the_same_row_is_canceled_everywhere(tmp_path: Path) -> None:
    async def steps(loop: Loop, let: Any) -> None:
        await let(quote(0, 99.9, 100.2, ask_qty=5.0), quote(1, 99.5, 100.0, ask_qty=0.4), trade(REPENT))

    loop = run(tmp_path / "run.journal", Words(), "split", steps)
    with StoreReader(loop.session.store.path) as reader:
        rows = reader.rows(Stream.INTENT)
    canceled = rows[rows["action"] == Action.CANCEL]
    assert [(int(r["order"]) >> PART, int(r["instrument"])) for r in canceled] == [(0, 1), (1, 0)]
    assert int(loop.floor.desks[0].record["ends"][0]) == 1
    proven(loop)


def test_flatten_closes_where_it_is_held(tmp_path: Path) -> None:
    async def steps(loop: Loop, let: Any) -> None:
        await let(quote(0, 99.9, 100.2, ask_qty=5.0), quote(1, 99.5, 100.0, ask_qty=0.4), trade(BUY))
        await loop.control(Control.FLATTEN)
        await let(quote(0, 99.9, 100.2), quote(1, 99.5, 100.0))

    loop = run(tmp_path / "run.journal", Words(), "split", steps)
    assert (held(loop.oms), unclosed(loop.oms)) == ({"BTC-USDT-PERP": 0.0}, [])
    proven(loop)


def test_what_is_not_the_same_is_not_routed() -> None:
    other = Instrument.parse("BTC-USDT-PERP", venue="Y", tick="0.5", lot="0.3")
    with pytest.raises(InputError, match=r"not the same at X and Y .* 0\.1 and 0\.3.*--lot"):
        Route("split", ((0, 1),), (FREE,)).check(Instruments([X, other]))

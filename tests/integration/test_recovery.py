"""Sessions and their recovery: journal before wire, the same state to the byte from every snapshot, kill -9."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from quantai.core.errors import DataError, InputError, VenueError
from quantai.core.reports import REPORT, Mark, OrdStatus
from quantai.core.rows import BUY, EVENT, INTENT, MS, SEC, Action, Kind, OrderType, Rows, zeros
from quantai.core.tracked import marks
from quantai.execution.controls import Control
from quantai.execution.oms import OMS
from quantai.execution.outgoing import Step
from quantai.execution.recovery import recover, replay
from quantai.execution.session import Session
from quantai.journal import EventStore, StoreReader, Stream, describe_run
from quantai.journal.bus import Bus
from quantai.journal.views import Views
from quantai.venues.venue import Request, Sends
from tests.chaos.oms import run
from tests.unit.oms_setting import START, Market, limits, setup


class Wire:
    """A venue that notes what was on the disk when it was asked."""

    def __init__(self, path: Path, *, deaf: bool = False) -> None:
        self.path, self.deaf = path, deaf
        self.sent: list[tuple[str, int]] = []
        self.journaled: list[bool] = []

    async def send(self, request: Request) -> None:
        self.sent.append((request.ask.name, request.order))
        known = recover(self.path)
        self.journaled.append(known.table.slot(request.order) is not None)
        if self.deaf:
            raise VenueError("the connection is gone")


def open_session(path: Path, wire: Sends, bus: Bus | None = None) -> Session:
    oms = OMS(setup())
    store = EventStore.create(path, describe_run("test", oms=oms.setup.as_dict()), flush_interval_s=60)
    return Session(oms, store, wire, bus)


def bar(ts: int, px: float, instrument: int = 0) -> Rows:
    row = zeros(1, EVENT)
    row["kind"], row["px"], row["instrument"] = Kind.BAR, px, instrument
    row["ts_exch"] = row["ts_recv"] = ts
    return row


def intent(oms: OMS, order: int, action: Action = Action.NEW, k: int = 0, **fields: int) -> Rows:
    row = zeros(1, INTENT)
    row["seq"], row["k"], row["action"], row["order"] = oms.seq, k, action, order
    terms = {"type": OrderType.LIMIT, "side": BUY, "qty_lots": 1000, "px_ticks": 190}
    for name, value in (terms | fields).items():
        row[name] = value
    return row


def report(order: int, kind: Kind, **fields: int) -> Rows:
    row = zeros(1, REPORT)
    row["order"], row["kind"], row["ts"] = order, kind, START
    for name, value in fields.items():
        row[name] = value
    return row


async def trade(session: Session, *, snapshot_at: int = -1) -> None:
    """A day in short: money, bars, an order, a bracket's worth of reports, a change, limits, the kill switch."""
    oms = session.oms
    actions = [
        lambda: session.see(oms.portfolio.deposit(0, 1e6, ts=START)),
        lambda: session.see(np.concatenate([bar(START + n * SEC, 100.0 + n % 3) for n in range(50)])),
        lambda: session.ask(np.concatenate([intent(oms, 1), intent(oms, 2, k=1)])),
        lambda: session.hear(np.concatenate([report(1, Kind.ACK), report(2, Kind.ACK)]), [("venue_id", "x1")]),
        lambda: session.hear(report(1, Kind.FILL, exec=1, qty_lots=400, px_ticks=190)),
        lambda: session.ask(intent(oms, 2, Action.REPLACE, qty_lots=1500)),
        lambda: session.hear(report(1, Kind.FILL, exec=1, qty_lots=400, px_ticks=190)),
        lambda: session.load_limits(limits(max_order_notional=10**6)),
        lambda: session.hear(report(1, Kind.TRADE_CORRECT, exec=2, ref=1, qty_lots=300, px_ticks=191)),
        lambda: session.see(bar(START + 100 * SEC, 99.0)),
        lambda: session.control(Control.KILL),
        lambda: session.hear(report(77, Kind.FILL, exec=9, qty_lots=1, px_ticks=1)),
    ]
    for n, act in enumerate(actions):
        await act()
        if n == snapshot_at:
            session.snapshot()


@pytest.mark.parametrize("snapshot_at", range(-1, 12))
def test_recovery_from_any_snapshot_gives_the_same_bytes(tmp_path: Path, snapshot_at: int) -> None:
    async def go() -> Session:
        session = open_session(tmp_path / "run.journal", Wire(tmp_path / "run.journal"))
        await trade(session, snapshot_at=snapshot_at)
        session.store.close()
        return session

    session = asyncio.run(go())
    assert recover(session.store.path).snapshot() == session.oms.snapshot()
    with StoreReader(session.store.path) as reader:
        assert (reader.snapshot("oms") is not None) == (snapshot_at >= 0)


def test_what_is_sent_is_in_the_journal_before_and_listeners_hear_of_it(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"

    async def go() -> tuple[Wire, list[int], list[int]]:
        wire, bus = Wire(path), Bus()
        kinds: list[int] = []
        rows: list[int] = []

        async def orders(events: Rows) -> None:
            kinds.extend(events["kind"].tolist())

        async def stream(events: Rows) -> None:
            rows.extend(events["seq"].tolist())

        await bus.attach(orders, Stream.REPORT, name="orders")
        await bus.attach(stream, name="stream")
        session = open_session(path, wire, bus)
        await trade(session)
        await bus.close()
        session.store.close()
        return wire, kinds, rows

    wire, kinds, rows = asyncio.run(go())
    assert wire.sent[:3] == [("NEW", 1), ("NEW", 2), ("REPLACE", 2)]
    assert all(wire.journaled)
    assert wire.sent.count(("NEW", 1)) == wire.sent.count(("NEW", 2)) == 1
    assert [k for k in kinds if k in (Kind.ACK, Kind.FILL)] == [Kind.ACK, Kind.ACK, Kind.FILL, Kind.FILL]
    assert rows == list(range(1, len(rows) + 1))


def test_steps_of_a_replay_are_those_of_the_run(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"
    live: list[Request] = []

    class Note(Wire):
        async def send(self, request: Request) -> None:
            live.append(request)

    async def go() -> None:
        session = open_session(path, Note(path))
        await trade(session)
        session.store.close()

    asyncio.run(go())
    again = Step()
    with StoreReader(path) as reader:
        for _, step in replay(reader, OMS(setup())):
            again.add(step)
    assert again.requests == live
    assert len(live) > 4


def test_a_send_that_fails_is_asked_about_and_not_repeated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "run.journal"

    async def go() -> tuple[Wire, OMS]:
        wire = Wire(path, deaf=True)
        session = open_session(path, wire)
        await session.see(session.oms.portfolio.deposit(0, 1e6, ts=START))
        await session.see(bar(START, 100.0))
        await session.ask(intent(session.oms, 1))
        await session.see(bar(START + SEC, 100.0))
        session.store.close()
        return wire, session.oms

    wire, oms = asyncio.run(go())
    assert wire.sent == [("NEW", 1), ("QUERY", 1)]
    assert marks(oms.table.tracked[0]) & Mark.UNKNOWN
    assert "the connection is gone" in caplog.text


def test_after_a_crash_everything_alive_is_asked_about_and_nothing_opens_until_it_is_reconciled(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"

    async def before() -> None:
        session = open_session(path, Wire(path))
        await session.see(session.oms.portfolio.deposit(0, 1e6, ts=START))
        await session.see(bar(START, 100.0))
        await session.ask(intent(session.oms, 1))
        session.store.close()

    async def after() -> tuple[Wire, OMS]:
        oms, wire = recover(path), Wire(path)
        store = EventStore.open(path, describe_run("test"), flush_interval_s=60)
        session = Session(oms, store, wire)
        await session.control(Control.RECONCILE)
        await session.see(bar(START + MS, 100.0))
        await session.ask(intent(oms, 2))
        await session.hear(report(1, Kind.ORDER_STATUS, code=OrdStatus.NEW, qty_lots=1000))
        await session.control(Control.RECONCILED)
        await session.see(bar(START + 2 * MS, 100.0))
        await session.ask(intent(oms, 3))
        store.close()
        return wire, oms

    asyncio.run(before())
    wire, oms = asyncio.run(after())
    assert wire.sent == [("QUERY", 1), ("NEW", 3)]
    assert recover(path).snapshot() == oms.snapshot()


def test_rows_of_another_time_or_run_are_refused_before_they_are_journaled(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"

    async def go() -> None:
        session = open_session(path, Wire(path))
        await session.see(bar(START, 100.0))
        late = intent(session.oms, 1)
        await session.see(bar(START + 1, 100.0))
        before = session.store.next_seq
        with pytest.raises(InputError, match="intents answer the last row"):
            await session.ask(late)
        with pytest.raises(InputError, match="load_limits"):
            await session.control(Control.LIMITS)
        with pytest.raises(InputError, match="max_gross 1000000000 -> 2000000000"):
            await session.load_limits(limits(max_gross=2 * 10**9))
        with pytest.raises(InputError, match="names an account"):
            await session.control(Control.KILL, account=9)
        assert session.store.next_seq == before
        await session.load_limits(limits(max_gross=2 * 10**9), confirmed=True)
        session.store.close()
        with pytest.raises(InputError, match="recover from this journal"):
            Session(session.oms, EventStore.create(tmp_path / "other.journal", {}), Wire(path))

    asyncio.run(go())
    assert recover(path).gate.limits.max_gross == 2 * 10**9


def test_a_journal_of_something_else_is_refused(tmp_path: Path) -> None:
    with EventStore.create(tmp_path / "other.journal", {"run": "market data"}) as store:
        row = bar(START, 1.0)
        row["seq"] = 1
        store.append(row)
    with pytest.raises(DataError, match="no journal of orders"):
        recover(tmp_path / "other.journal")


def test_feeding_rows_in_any_pieces_gives_the_same_bytes() -> None:
    market = Market()
    market.new()
    for n in range(200):
        market.ts += 10 * MS
        market.quote(n % 2, 99.0 + n % 5, 100.0 + n % 5)
    whole = OMS(setup())
    events = [row for row, _ in market.rows if row.dtype == EVENT]
    for row, text in market.rows:
        whole.process(row, text)
    parts = OMS(setup())
    rest = [(row, text) for row, text in market.rows]
    while rest:
        lead = 0
        while lead < len(rest) and rest[lead][0].dtype == EVENT:
            lead += 1
        done = parts.observe(np.array([row for row, _ in rest[:lead]], EVENT)) if lead else 0
        if done < len(rest):
            parts.process(*rest[done])
            done += 1
        rest = rest[done:]
    assert parts.snapshot() == whole.snapshot() == market.oms.snapshot()
    assert len(events) > 400


def test_ten_kills_lose_nothing_and_send_nothing_twice() -> None:
    figures = run(10, 4)
    assert (figures["kills"], figures["sent_twice"]) == (10, 0)
    assert figures["states_compared"] > 0  # how many depends on when the kills fell
    assert figures["orders"] > 20


def test_a_fee_is_on_the_disk_with_its_execution_and_no_repeat_books_it_again(tmp_path: Path) -> None:
    path, killed = tmp_path / "run.journal", tmp_path / "killed.journal"
    fill = report(1, Kind.FILL, exec=1, qty_lots=400, px_ticks=190)

    async def go() -> OMS:
        session = open_session(path, Wire(path))
        await session.see(session.oms.portfolio.deposit(0, 1e6, ts=START))
        await session.see(bar(START, 100.0))
        await session.ask(intent(session.oms, 1))
        await session.hear(fill, [("exec_id", "x"), ("fee", "0.25 USDT")])
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(killed)) as copy:
            source.backup(copy)  # what a kill at this moment leaves
        session.store.close()
        return session.oms

    async def again() -> OMS:
        oms = recover(killed)
        store = EventStore.open(killed, describe_run("test"), flush_interval_s=60)
        await Session(oms, store, Wire(killed)).hear(fill, [("fee", "0.25 USDT")])
        store.close()
        return oms

    oms = asyncio.run(go())
    assert oms.portfolio.books.positions["fees"][0, 0] == 0.25
    assert recover(killed).snapshot() == recover(killed, from_start=True).snapshot() == oms.snapshot()
    later = asyncio.run(again())
    assert later.portfolio.cash("main") == oms.portfolio.cash("main")
    assert recover(killed).portfolio.cash("main") == oms.portfolio.cash("main")


def test_views_follow_a_size_that_no_report_names_and_a_bust_that_came_first(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"

    async def go() -> OMS:
        session = open_session(path, Wire(path))
        oms = session.oms
        await session.see(oms.portfolio.deposit(0, 1e6, ts=START))
        await session.see(bar(START, 100.0))
        await session.ask(np.concatenate([intent(oms, 1), intent(oms, 2, k=1)]))
        await session.hear(np.concatenate([report(1, Kind.ACK), report(2, Kind.ACK)]))
        await session.ask(intent(oms, 1, Action.REPLACE, qty_lots=1500))
        await session.hear(report(1, Kind.REPLACED, request=1))
        await session.hear(report(2, Kind.TRADE_CANCEL, exec=9, ref=1))
        await session.hear(report(2, Kind.TRADE_CORRECT, exec=2, ref=1, qty_lots=20, px_ticks=190))
        await session.hear(report(2, Kind.FILL, exec=3, qty_lots=30, px_ticks=190))
        session.store.close()
        return oms

    oms = asyncio.run(go())
    with Views(path) as views:
        lots = views.sql('SELECT lots FROM orders ORDER BY "order"').fetchall()
        held = views.sql('SELECT "order", exec, lots FROM fills WHERE NOT busted').fetchall()
    assert [n for (n,) in lots] == oms.table.tracked["qty_lots"][: len(oms.table)].tolist() == [1500, 1000]
    assert held == [(2, 3, 30)]
    assert oms.table.tracked["cum_lots"][1] == 30

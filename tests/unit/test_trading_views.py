"""The read side of trading: it says what the order management that trades would say, and never asks it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantai.core.errors import DataError, InputError
from quantai.core.reports import REPORT
from quantai.core.rows import BUY, EVENT, INTENT, SEC, SELL, Action, Kind, OrderType, Rows, zeros
from quantai.execution.controls import Control
from quantai.execution.oms import OMS
from quantai.execution.recovery import recover
from quantai.execution.session import Session
from quantai.execution.trading_views import TradingViews
from quantai.execution.views import orders
from quantai.journal import EventStore, StoreReader, Stream, describe_run
from quantai.journal import recover as mend
from quantai.journal.bus import Bus
from quantai.journal.views import Views
from tests.unit.oms_setting import START, setup


class Silent:
    """A venue that says nothing."""

    async def send(self, request: Any) -> None:
        await asyncio.sleep(0)


@asynccontextmanager
async def trading(path: Path, bus: Bus | None = None) -> AsyncGenerator[Session]:
    """A session with money and prices."""
    oms = OMS(setup())
    with EventStore.create(path, describe_run("t", oms=oms.setup.as_dict()), flush_interval_s=60) as store:
        session = Session(oms, store, Silent(), bus)
        for desk in range(3):
            await session.see(oms.portfolio.deposit(desk, 1e6, ts=START))
        rows = zeros(2, EVENT)
        rows["kind"], rows["instrument"], rows["px"], rows["ts_recv"] = Kind.BAR, [0, 1], [100.0, 10.0], START
        await session.see(rows)
        yield session


def intent(oms: OMS, order: int, side: int = BUY, k: int = 0, lots: int = 1000) -> Rows:
    row = zeros(1, INTENT)
    row["seq"], row["k"], row["action"], row["order"] = oms.seq, k, Action.NEW, order
    row["type"], row["side"], row["qty_lots"], row["px_ticks"] = OrderType.LIMIT, side, lots, 200
    return row


def report(order: int, kind: Kind, **fields: int) -> Rows:
    row = zeros(1, REPORT)
    row["order"], row["kind"], row["ts"] = order, kind, START
    for name, value in fields.items():
        row[name] = value
    return row


def rows_of(views: Views, query: str) -> list[dict[str, Any]]:
    return views.sql(query).to_arrow_table().to_pylist()


def test_orders_positions_and_profit_follow_a_live_journal(tmp_path: Path) -> None:
    asyncio.run(follow(tmp_path / "a.journal"))


async def follow(path: Path) -> None:
    async with trading(path) as session:
        oms, store = session.oms, session.store
        other = 2 << 40 | 1
        store.flush()
        with TradingViews(path) as views:
            assert rows_of(views, "FROM positions") == rows_of(views, "FROM order_states") == []
            await session.ask(np.concatenate([intent(oms, 1), intent(oms, 2, SELL, 1), intent(oms, other, k=2)]))
            await session.ask(intent(oms, 3, k=3, lots=0))
            await session.hear(np.concatenate([report(n, Kind.ACK) for n in (1, 2, other)]))
            await session.hear(report(1, Kind.FILL, exec=1, qty_lots=1000, px_ticks=200))
            await session.hear(report(2, Kind.FILL, exec=2, qty_lots=400, px_ticks=220))
            await session.hear(report(other, Kind.FILL, exec=3, qty_lots=500, px_ticks=180))
            assert views.refresh() > 0
            for said, there in zip(rows_of(views, "FROM order_states"), orders(oms), strict=True):
                assert {name: said[name] for name in there} == {
                    name: float(value) if name in ("qty", "limit", "filled", "leaves") else value
                    for name, value in there.items()
                }
            denied = rows_of(views, "FROM order_states")[3]
            assert (denied["status"], denied["reason"], denied["sent"]) == ("REJECTED", "QTY_INVALID", False)
            alpha, gamma = rows_of(views, 'FROM positions ORDER BY "run"')
            assert (alpha["qty"], alpha["avg_entry"], alpha["realised"], alpha["pnl"]) == (0.6, 100.0, 4.0, 4.0)
            assert (gamma["qty"], gamma["unrealised"], gamma["mark"]) == (0.5, 5.0, 100.0)
            pnl = rows_of(views, "SELECT account, sum(pnl) AS pnl FROM pnl GROUP BY 1 ORDER BY 1")
            assert pnl == [{"account": "main", "pnl": 4.0}, {"account": "other", "pnl": 5.0}]
            account = rows_of(views, "FROM accounts WHERE account = 'main'")[0]
            assert (account["equity"], account["state"]) == (oms.portfolio.equity("main"), "ACTIVE")
            cash = rows_of(views, "FROM cash WHERE account = 'main'")
            assert [(c["currency"], c["amount"], c["rate"]) for c in cash] == [("USDT", 2_000_000 - 56.0, 1.0)]
            await session.control(Control.HALTED)
            store.flush()
            assert views.refresh() == 1
            assert views.refresh() == 0
            assert rows_of(views, "SELECT DISTINCT state FROM accounts") == [{"state": "HALTED"}]


def test_a_journal_without_orders_is_refused(tmp_path: Path) -> None:
    EventStore.create(tmp_path / "x.journal", {"run": "x"}).close()
    with pytest.raises(DataError, match="no journal of orders"):
        TradingViews(tmp_path / "x.journal")


def test_executions_are_on_the_disk_before_anybody_hears_of_them(tmp_path: Path) -> None:
    asyncio.run(hear(tmp_path / "a.journal"))


async def hear(path: Path) -> None:
    async with trading(path) as session:
        await session.ask(intent(session.oms, 1))
        await session.hear(report(1, Kind.ACK))
        with StoreReader(path) as reader:
            assert len(reader.rows(Stream.REPORT)) == 0
        await session.hear(report(1, Kind.FILL, exec=1, qty_lots=1000, px_ticks=200), [("exec_id", "E-1")])
        with StoreReader(path) as reader:
            reports, texts = reader.rows(Stream.REPORT), list(reader.texts())
        assert reports["kind"].tolist() == [Kind.ACK, Kind.FILL]
        assert [(text.seq, text.text) for text in texts] == [(int(reports["seq"][1]), "E-1")]
        before = session.store.next_seq
        for wrong in (report(1, Kind.TRADE), report(1, Kind.FILL, exec=2), zeros(1, EVENT)):
            with pytest.raises(InputError):
                await session.hear(wrong)
        with pytest.raises(InputError):
            await session.see(zeros(1, INTENT))
        assert session.store.next_seq == before


def test_calls_that_overlap_reach_the_bus_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    asyncio.run(overlap(tmp_path / "a.journal"))


async def overlap(path: Path) -> None:
    bus, seen = Bus(), []

    async def listen(rows: Rows) -> None:
        seen.extend(rows["seq"].tolist())

    await bus.attach(listen)
    async with trading(path, bus) as session:
        await session.ask(np.concatenate([intent(session.oms, n, k=n) for n in range(1, 20)]))
        bar = zeros(1, EVENT)
        bar["kind"], bar["px"], bar["ts_recv"] = Kind.BAR, 100.0, START + 60 * SEC  # asks about all of them
        calls = [session.see(bar), *(session.hear(report(n, Kind.ACK)) for n in range(1, 20)), session.see(bar)]
        await asyncio.gather(*calls)
        await bus.close()
        assert seen == list(range(1, session.store.next_seq))


def test_a_state_that_rows_were_lost_of_is_not_taken_for_certain(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    asyncio.run(buy_29_times(path))
    body = bytearray(path.read_bytes())
    with StoreReader(path) as reader:
        row = reader.rows(Stream.REPORT)[19].tobytes()
    at = bytes(body).index(row)
    body[at + 20] ^= 1
    path.write_bytes(body)
    with pytest.raises(DataError, match="damaged"):
        recover(path)
    assert mend(path).gaps
    with pytest.raises(DataError, match=r"has lost rows \(1 gaps"):
        recover(path)
    assert recover(path, until=10).seq == 10
    oms = recover(path, despite_gaps=True)
    assert oms.portfolio.positions("desk")["alpha"]["BTC-USDT"]["qty"] == 28.0
    with EventStore.open(path, describe_run("t")) as store:
        Session(oms, store, Silent()).snapshot()
    assert recover(path).snapshot() == oms.snapshot()


async def buy_29_times(path: Path) -> None:
    async with trading(path) as session:
        for order in range(1, 30):
            await session.ask(intent(session.oms, order, k=order))
            await session.hear(report(order, Kind.FILL, exec=order, qty_lots=1000, px_ticks=200))


def test_a_session_goes_on_only_from_the_last_row_of_its_journal(tmp_path: Path) -> None:
    path = tmp_path / "a.journal"
    asyncio.run(buy_29_times(path))
    with EventStore.open(path, describe_run("t")) as store:
        for oms in (OMS(setup()), recover(path, until=20)):
            with pytest.raises(InputError, match=r"rows \d+ … 34 that were not processed"):
                Session(oms, store, Silent())
        Session(recover(path), store, Silent())

"""A position can always be closed: in parts that fit the limits, after what passes, and else there is an alarm."""

import logging
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import quantai as qa
from quantai.core.instruments import Instrument
from quantai.core.rows import REDUCE_ONLY, SEC, Action, OrderType, Rows
from quantai.execution.alarms import Alarm, Alarms
from quantai.execution.closing import AGAIN_NS, GRACE_NS, Closing
from quantai.execution.controls import Control
from quantai.execution.limits import Limits
from quantai.execution.loop import Loop
from quantai.execution.plan import paper_limits
from quantai.execution.playback import RowClock
from quantai.execution.retrace import manifest_of, retrace, seats_of, stand, walk
from quantai.journal import StoreReader, Stream
from tests.integration.trading import BTC, drive, let, tell

PERP = Instrument.parse("BTC-USDT-PERP", venue="X", tick="0.1", lot="0.001")


class Buy(qa.Strategy):
    """Buys five times half a coin, at about 1 000."""

    n: int = qa.state(0)

    def on_start(self, ctx: Any) -> None:
        ctx.every(500 * qa.MS)

    def on_timer(self, ctx: Any) -> None:
        book = ctx.book(0)
        if book.valid and self.n < 5:
            self.n += 1
            ctx.buy(0.5)


class BuyAndSell(qa.Strategy):
    """Buys half a coin and sells three fifths of that."""

    n: int = qa.state(0)

    def on_start(self, ctx: Any) -> None:
        ctx.every(500 * qa.MS)

    def on_timer(self, ctx: Any) -> None:
        if ctx.book(0).valid:
            self.n += 1
            if self.n == 1:
                ctx.buy(0.5)
            elif self.n == 3:
                ctx.sell(0.3)


def limited(**fields: Any) -> Limits:
    return Limits.of({name: getattr(paper_limits(), name) for name in Limits.__dataclass_fields__} | fields)


def held(loop: Loop) -> float:
    return float(loop.oms.portfolio.books.positions["qty"][0, 0])


def asked(path: Path, since: int) -> Rows:
    """Return the new orders from a row on."""
    with StoreReader(path) as reader:
        rows = reader.rows(Stream.INTENT)
    return rows[(rows["action"] == Action.NEW) & (rows["seq"] >= since)]


def proven(path: Path) -> None:
    proof = retrace(path, [Buy])
    assert proof.same, proof.differences


@pytest.mark.parametrize(
    ("fields", "instrument", "most"),
    [
        ({"max_order_notional": 600}, BTC, 620),
        ({"max_order_notional": 600}, PERP, 620),
        ({"max_order_notional": 600, "duplicate_window_ms": 300}, BTC, 620),
        ({"max_order_notional": 600, "rate_max": 2, "rate_window_ms": 1200}, PERP, 620),
        ({"max_open_orders": 1, "max_order_notional": 600}, BTC, 620),
        ({}, BTC.with_fields(max_qty=Decimal("0.7")), 700),
        ({}, PERP.with_fields(max_notional=Decimal(800)), 820),
    ],
)
def test_a_position_above_the_limits_of_an_order_is_closed_in_parts(
    tmp_path: Path, fields: dict[str, Any], instrument: Instrument, most: int
) -> None:
    path, told = tmp_path / "run.journal", list[int]()

    async def steps(loop: Loop, clock: RowClock) -> None:
        await let(loop, clock, 4)
        assert held(loop) == pytest.approx(2.5)
        await loop.control(Control.LIMITS, text=limited(**fields).text())
        told.append(await tell(loop, Control.FLATTEN))
        await let(loop, clock, 8, seed=2)

    loop = drive(path, [Buy()], steps, instrument=instrument)
    assert held(loop) == pytest.approx(0.0, abs=1e-9)
    parts = asked(path, told[0])
    assert (parts["qty_lots"].sum(), parts["qty_lots"].max() <= most, len(parts) >= 4) == (2500, True, True)
    assert {(int(row["type"]), int(row["flags"])) for row in parts} == {(OrderType.MARKET, REDUCE_ONLY)}
    assert not loop.counts.refused, "nothing is sent that would be denied"
    assert not loop.counts.alarms.raised
    proven(path)


def test_what_can_never_be_closed_is_one_alarm_that_says_why_and_what_can_be_again_is_closed(tmp_path: Path) -> None:
    path, seen = tmp_path / "run.journal", list[list[str]]()

    async def steps(loop: Loop, clock: RowClock) -> None:
        await let(loop, clock, 4)
        await loop.control(Control.LIMITS, text=limited(max_order_notional="0.5").text())
        await tell(loop, Control.FLATTEN)
        for seed in (2, 3):
            await let(loop, clock, 3, seed=seed)
            seen.append(list(loop.counts.alarms))
        assert held(loop) == pytest.approx(2.5)
        await loop.control(Control.LIMITS, text=paper_limits().text())
        await let(loop, clock, 3, seed=4)

    loop = drive(path, [Buy()], steps)
    said = "desk0 cannot close what it holds of BTC-USDT at X: one lot is worth more than max_order_notional"
    assert seen == [[f"{said} (ORDER_NOTIONAL)"]] * 2
    assert (loop.counts.alarms.raised, len(loop.counts.alarms)) == ({Alarm.NOT_CLOSED: 1}, 0)
    assert held(loop) == pytest.approx(0.0, abs=1e-9)
    assert not loop.counts.refused
    proven(path)


def test_what_is_less_than_the_venue_takes_is_left_without_an_alarm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    waits = list[bool]()

    async def steps(loop: Loop, clock: RowClock) -> None:
        await let(loop, clock, 4)
        assert held(loop) == pytest.approx(0.2)
        await tell(loop, Control.FLATTEN)
        with caplog.at_level(logging.INFO, logger="quantai"):
            await let(loop, clock, 8, seed=2)
        waits.append(loop.is_closing)

    loop = drive(tmp_path / "run.journal", [BuyAndSell()], steps, instrument=BTC.with_fields(min_qty=Decimal("0.3")))
    why = "less is held than the venue's smallest quantity (QTY_MIN)"
    found = [line for line in caplog.messages if "cannot close" in line]
    assert found == [f"desk0 cannot close what it holds of BTC-USDT at X: {why}"]
    assert (waits, held(loop)) == ([False], pytest.approx(0.2))
    assert not loop.counts.alarms.raised
    assert not loop.counts.refused


def test_the_kill_switch_ends_a_flatten_and_holds_another_back_until_what_closes_may_go_out(tmp_path: Path) -> None:
    path, rows, seen = tmp_path / "run.journal", list[int](), list[list[str]]()

    async def steps(loop: Loop, clock: RowClock) -> None:
        async def after(what: Control, seed: int) -> None:
            rows.append(await tell(loop, what))
            await let(loop, clock, 3, seed=seed)
            seen.append(list(loop.counts.alarms))

        await let(loop, clock, 4)
        await tell(loop, Control.RECONCILE)
        await tell(loop, Control.FLATTEN)
        await after(Control.KILL, 2)
        await tell(loop, Control.RECONCILED)
        await after(Control.FLATTEN, 3)
        assert held(loop) == pytest.approx(2.5)
        await after(Control.REDUCING, 4)

    loop = drive(path, [Buy()], steps)
    assert [len(lines) for lines in seen] == [0, 1, 0]
    assert "trading is halted" in seen[1][0]
    assert held(loop) == pytest.approx(0.0, abs=1e-9)
    assert (asked(path, rows[0])["seq"] > rows[2]).all()
    assert not loop.counts.refused
    proven(path)


def test_a_run_that_is_started_again_goes_on_closing(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"

    async def steps(loop: Loop, clock: RowClock) -> None:
        await let(loop, clock, 4)
        await tell(loop, Control.RECONCILE)
        await tell(loop, Control.FLATTEN)
        await loop.keep()
        await tell(loop, Control.RECONCILED)

    loop = drive(path, [Buy()], steps)
    now = loop.now
    with StoreReader(path) as reader:
        found = walk(reader, stand(reader, seats_of(manifest_of(reader), [Buy]))).floor
    assert found.snapshot() == loop.floor.snapshot()
    closing = Closing(found, Alarms())
    assert closing.due(now) == [0], "it holds what can be closed and does nothing about it"
    assert closing.due(now) == [], "not before it has had time"
    assert closing.due(now + AGAIN_NS) == [0]
    assert closing.until == now + GRACE_NS


def test_what_nothing_trades_with_is_asked_for_more_rarely_and_is_an_alarm(tmp_path: Path) -> None:
    alarms, due = Alarms(), list[int]()

    async def steps(loop: Loop, clock: RowClock) -> None:
        await let(loop, clock, 4)
        await tell(loop, Control.FLATTEN)
        now, closing = clock.now, Closing(loop.floor, alarms)  # nobody answers what it has told
        loop.floor.desks[0].world.orders["state"] = 0
        closing.take(Control.FLATTEN, [0], now)
        due.extend(s for s in range(60) if closing.due(now + s * SEC))
        assert closing.until == now + GRACE_NS

    drive(tmp_path / "run.journal", [Buy()], steps)
    assert due == [*range(2, 16, 2), *range(16, 60, 15)]
    assert list(alarms) == [
        "desk0 cannot close what it holds of BTC-USDT at X: nothing has traded for 15 s; it is tried again every 15 s"
    ]
    assert np.all(np.diff(due) > 0)

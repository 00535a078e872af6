"""A rehearsal before a run trades: every compiled path once, in memory, so that none is compiled while rows wait.

The first use of a compiled function loads it from the cache on the disk, or compiles it for seconds. In a loop that
trades nothing may take seconds.
"""

import asyncio
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from quantai.core.instruments import Instrument, Instruments
from quantai.core.reports import REPORT, OrdStatus
from quantai.core.rows import EVENT, INTENT, LAST, SEC, Action, Kind, OrderType, Rows, zeros
from quantai.execution.controls import Control, control
from quantai.execution.floor import Floor
from quantai.execution.limits import Limits
from quantai.execution.oms import OMS
from quantai.execution.seats import Seat
from quantai.execution.session import feed
from quantai.execution.setup import Setup
from quantai.ops.compiling import announced
from quantai.portfolio.desks import Desk
from quantai.strategy import Strategy
from quantai.venues.paper import Paper
from quantai.venues.venue import Ask, Request

_INSTRUMENT = Instrument.parse("BTC-USDT", tick="0.1", lot="0.001")


def rehearse(strategies: Sequence[Strategy], limits: Limits, *, paper: bool) -> None:
    """Load or compile what these strategies, the order management and, if asked for, the paper venue run on."""
    with announced().together("the trade loop", "two minutes"):
        table = Instruments([_INSTRUMENT])
        for n, strategy in enumerate(strategies):
            setup = Setup(desks=(Desk(f"rehearsal{n}"),), instruments=table, limits=limits, currency="USDT")
            floor = Floor(OMS(setup), [Seat(strategy=strategy)])
            _floor(floor)
        if paper:
            with asyncio.Runner() as runner:
                runner.run(_paper(table))


def _floor(floor: Floor) -> None:
    oms = floor.oms
    row = control(Control.START, ts=SEC)
    row["seq"] = 1
    oms.process(row[0])
    floor.obey(row[0])
    oms.process(oms.portfolio.deposit(0, 1e6)[0])
    floor.adjusted()
    rows = _market()
    rows["seq"] = 3 + np.arange(len(rows))
    for _ in floor.look(rows):
        pass
    feed(oms, rows, {})
    requests: list[Request] = []
    for k, (kind, px) in enumerate(((OrderType.LIMIT, 999), (OrderType.MARKET, 0), (OrderType.LIMIT, 998))):
        intent = zeros(1, INTENT)
        intent["seq"], intent["order"], intent["k"] = oms.seq, 100 + k, k
        intent["action"], intent["type"], intent["side"], intent["qty_lots"] = Action.NEW, kind, 1, 5
        intent["px_ticks"] = px
        step = oms.process(intent[0])
        floor.hear(step.events)
        requests += step.requests
    for n, order in enumerate(np.array([100, 101, 102], np.uint64)):
        for kind in (Kind.ACK, Kind.FILL, Kind.CANCEL_REJECT, Kind.CANCELED, Kind.ORDER_STATUS):
            report = zeros(1, REPORT)
            report["seq"], report["order"], report["kind"], report["ts"] = oms.seq, order, kind, oms.ts
            report["exec"], report["px_ticks"], report["qty_lots"] = n + 1, 1000, 2
            report["code"] = OrdStatus.CANCELED if kind is Kind.ORDER_STATUS else 0
            floor.hear(oms.process(report[0]).events)
    floor.snapshot()
    oms.snapshot()


async def _paper(table: Instruments) -> None:
    paper = Paper(table, balances={"USDT": Decimal(1_000_000)})
    await paper.connect()
    rows = _market()
    paper.see(rows)
    request = Request(
        ask=Ask.NEW, order=1, request=0, client_id="a-1-0", order_id="a-1-0", instrument=0, side=1, tif=0, flags=0,
        type=OrderType.MARKET, qty_lots=5, px_ticks=0, trigger_ticks=0, expire_ts=0,
    )  # fmt: skip
    await paper.send(request)
    rows["ts_recv"] += 10 * SEC
    rows["ts_exch"] += 10 * SEC
    paper.see(rows)
    await paper.close()


def _market() -> Rows:
    rows = zeros(8, EVENT)
    rows["kind"] = [Kind.QUOTE, Kind.QUOTE, Kind.TRADE, Kind.CLEAR, Kind.LEVEL, Kind.LEVEL, Kind.TIMER, Kind.STATUS]
    rows["side"] = [1, -1, 1, 0, 1, -1, 0, 0]
    rows["px_ticks"] = [999, 1001, 1000, 0, 999, 1001, 0, 0]
    rows["px"], rows["qty"], rows["flags"] = rows["px_ticks"] * 0.1, 1.0, LAST
    rows["ts_recv"] = rows["ts_exch"] = 2 * SEC
    return rows

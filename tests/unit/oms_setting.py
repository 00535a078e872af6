"""A small market for the tests of the order management: two instruments, two desks, and words for rows."""

from typing import Any

import numpy as np

from quantai.core.instruments import Instrument, Instruments
from quantai.core.reports import REPORT
from quantai.core.rows import BUY, EVENT, INTENT, SEC, Action, Kind, OrderType, Rows, zeros
from quantai.execution.limits import Limits
from quantai.execution.oms import OMS
from quantai.execution.outgoing import Step
from quantai.execution.setup import Setup
from quantai.portfolio import Desk
from quantai.venues.venue import Ask

START = 1_700_000_000 * SEC


def limits(**fields: Any) -> Limits:
    wide = {
        "max_order_notional": 10**9, "max_position": 10**6, "max_gross": 10**9, "max_net": 10**9, "max_leverage": 100,
        "max_open_orders": 4000, "rate_max": 4000, "rate_window_ms": 1, "max_quote_age_ms": 10**9, "collar_bps": 10**5,
        "passive_cross_bps": 10**5, "duplicate_window_ms": 0, "stp": "venue", "max_day_loss": 10**9, "max_drawdown": 1,
        "max_reject_ratio": 1, "reject_min_requests": 64,
    }  # fmt: skip
    return Limits.of(wide | fields)


def setup(**fields: Any) -> Setup:
    return Setup(
        desks=(Desk("alpha", "cross", "main"), Desk("beta", "quote", "main"), Desk("gamma", "cross", "other")),
        instruments=Instruments(
            [
                Instrument.parse("BTC-USDT", tick="0.5", lot="0.001"),
                Instrument.parse("ETH-USDT-PERP", tick="0.01", lot="0.01"),
            ]
        ),
        limits=limits(**fields),
        currency="USDT",
        patience_ns=SEC,
    )


class Market:
    """Drives an OMS by hand: numbers rows and remembers all of them, in order, with what each led to."""

    def __init__(self, made: Setup | None = None, **fields: Any) -> None:
        self.setup = made or setup(**fields)
        self.oms = OMS(self.setup)
        self.rows: list[tuple[Any, str]] = []
        self.seq, self.ts, self.k = 0, START, 0
        self.numbers = [0] * len(self.setup.desks)
        for desk in range(len(self.setup.desks)):
            self.see(self.oms.portfolio.deposit(desk, 1_000_000.0))
        for instrument, px in () if made else ((0, 100.0), (1, 10.0)):
            self.quote(instrument, px - 0.5, px + 0.5)

    def take(self, row: Any, text: str = "") -> Step:
        self.rows.append((row.copy(), text))
        return self.oms.process(row, text)

    def see(self, rows: Rows, text: str = "") -> Step:
        self.seq, self.k = self.seq + 1, 0
        rows["seq"] = self.seq
        rows["ts_exch"] = rows["ts_recv"] = self.ts
        return self.take(rows[0], text)

    def pass_time(self, ns: int) -> Step:
        self.ts += ns
        row = zeros(1, EVENT)
        row["kind"] = Kind.TIMER
        return self.see(row)

    def quote(self, instrument: int, bid: float, ask: float) -> None:
        for side, px in ((1, bid), (-1, ask)):
            row = zeros(1, EVENT)
            row["kind"], row["instrument"], row["side"], row["px"] = Kind.QUOTE, instrument, side, px
            self.see(row)

    def ask(self, action: Action, order: int, **fields: Any) -> Step:
        return self.take(self.intent(action, order, **fields)[0])

    def intent(self, action: Action, order: int, **fields: Any) -> Rows:
        row = zeros(1, INTENT)
        row["seq"], row["k"], row["action"], row["order"] = self.seq, self.k, action, order
        self.k += 1
        for name, value in fields.items():
            row[name] = value
        return row

    def new(self, desk: int = 0, side: int = BUY, lots: int = 1000, px_ticks: int = 190, **fields: Any) -> int:
        """Ask for a limit order and return its number."""
        order = self.number(desk)
        fields = {"type": OrderType.LIMIT, "side": side, "qty_lots": lots, "px_ticks": px_ticks} | fields
        self.step = self.ask(Action.NEW, order, **fields)
        return order

    def number(self, desk: int = 0) -> int:
        self.numbers[desk] += 1
        return desk << 40 | self.numbers[desk]

    def hear(self, order: int, kind: Kind, **fields: Any) -> Step:
        event, report = zeros(1, EVENT), zeros(1, REPORT)
        event["kind"], event["aux"] = kind, order
        self.see(event)
        report["seq"], report["ts"], report["order"], report["kind"] = self.seq, self.ts, order, kind
        for name, value in fields.items():
            report[name] = value
        return self.take(report[0])

    def fill(self, order: int, exec: int, lots: int, px_ticks: int = 190) -> Step:
        return self.hear(order, Kind.FILL, exec=exec, qty_lots=lots, px_ticks=px_ticks)

    def tracked(self, order: int) -> Any:
        slot = self.oms.table.slot(order)
        assert slot is not None
        return self.oms.table.tracked[slot]


def asked(step: Step) -> list[tuple[str, int]]:
    """What a step asks the venue for: (what, order)."""
    return [(request.ask.name, request.order) for request in step.requests]


def said(step: Step) -> list[tuple[str, int]]:
    """What a step says became of orders: (kind, order)."""
    return [(Kind(int(row["kind"])).name, int(row["order"])) for row in step.events]


__all__ = ["Ask", "Market", "asked", "limits", "np", "said", "setup"]

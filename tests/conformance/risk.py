"""Runs the risk cases against `execution.risk`: JSON into rows, one check a request, reasons out."""

import math
from decimal import Decimal
from typing import Any

from quantai.core.instruments import Instrument
from quantai.core.rows import BUY, MS, POST_ONLY, REDUCE_ONLY, SELL, Action, OrderType, Rows, zeros
from quantai.execution.exposure import N_RECENT, N_SENT, N_WORKING, REQUEST, RiskBook, commit, risk_book
from quantai.execution.limits import Limits
from quantai.execution.reasons import RiskReason, TradingState
from quantai.execution.risk import check

SIDES = {"buy": BUY, "sell": SELL}
ACTIONS = {"new": Action.NEW, "modify": Action.REPLACE, "cancel": Action.CANCEL}
UNKNOWN = 2**32 - 1


class Desk:
    """One case: its book, its limits, and numbers for its names."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case = case
        self.symbols = list(case["instruments"])
        self.limits = Limits.of(case["limits"])
        self.book: RiskBook = risk_book([self.instrument(s) for s in self.symbols], self.limits)
        self.numbers: dict[str, int] = {}
        self._watch()
        self._account()

    def instrument(self, symbol: str) -> Instrument:
        said = self.case["instruments"][symbol]
        names = ("tick", "lot", "min_qty", "max_qty", "min_notional", "max_notional", "multiplier")
        return Instrument(symbol=symbol, **{n: Decimal(said[n]) for n in names})

    def _watch(self) -> None:
        market = self.case["market"]
        for symbol, row in zip(self.symbols, self.book.watch, strict=True):
            said = self.case["instruments"][symbol]
            row["tradable"], row["open"], row["negative_ok"] = said["tradable"], said["open"], said["negative_ok"]
            row["initial_margin"] = float(said["initial_margin"])
            row["position"] = float(self.case["account"]["positions"].get(symbol, 0))
            row["bid"], row["ask"] = number(market["bid"]), number(market["ask"])
            row["bid_ts"] = row["ask_ts"] = (market["quote_ts_ms"] or 0) * MS

    def _account(self) -> None:
        said, row = self.case["account"], self.book.account[0]
        for name in ("equity", "peak_equity", "free_margin", "gross_notional", "day_pnl"):
            row[name] = float(said[name])
        row["net_long"] = row["net_short"] = float(said["net_notional"])
        row["recent_requests"], row["recent_rejects"] = said["recent_requests"], said["recent_rejects"]
        row["state"], row["reconciling"] = TradingState[said["state"]], said["reconciling"]
        for name in [*said["seen_ids"], *(order["id"] for order in self.case["open_orders"])]:
            row["last_order"] = self.number(name)
        for i, ts_ms in enumerate(sorted(said["sent_ms"])):
            self.book.sent[i] = ts_ms * MS
        for row, order in zip(self.book.recent, sorted(said["recent"], key=lambda o: o["ts_ms"]), strict=False):
            row["ts"], row["qty"], row["px"] = order["ts_ms"] * MS, float(order["qty"]), number(order["price"])
            row["trigger"] = number(order.get("trigger"))
            row["side"], row["instrument"] = SIDES[order["side"]], self.id(order["instrument"])
        for row, order in zip(self.book.working, self.case["open_orders"], strict=False):
            row["order"], row["px"] = self.number(order["id"]), number(order["price"])
            row["leaves"], row["trigger"] = float(order["leaves"]), number(order.get("trigger"))
            row["side"], row["instrument"] = SIDES[order["side"]], self.id(order["instrument"])
            row["flags"] = REDUCE_ONLY if order.get("reduce_only") else 0
        counts = self.book.counts
        counts[N_SENT], counts[N_RECENT] = len(said["sent_ms"]), len(said["recent"])
        counts[N_WORKING] = len(self.case["open_orders"])

    def number(self, name: str) -> int:
        """Number client ids in order of appearance: ours are numbers that rise."""
        return self.numbers.setdefault(name, len(self.numbers) + 1)

    def id(self, symbol: str) -> int:
        return self.symbols.index(symbol) if symbol in self.symbols else UNKNOWN

    def request(self, order: dict[str, Any]) -> Rows:
        """Write one order of the case as a REQUEST row."""
        r = zeros(1, REQUEST)
        r["order"], r["target"] = self.number(order["id"]), self.numbers.get(order.get("target"), 0)
        r["ts"], r["px"], r["qty"] = self.case["now_ms"] * MS, number(order.get("price")), number(order["qty"])
        r["trigger"] = number(order.get("trigger"))
        r["instrument"], r["side"] = self.id(order["instrument"]), SIDES[order["side"]]
        r["action"], r["type"] = ACTIONS[order["kind"]], OrderType[order["type"].upper()]
        r["flags"] = (POST_ONLY if order.get("post_only") else 0) | (REDUCE_ONLY if order.get("reduce_only") else 0)
        return r

    def answer(self, order: dict[str, Any]) -> str:
        """Check one order, and count it when it passes."""
        request, limits = self.request(order)[0], self.limits.row()[0]
        reason = RiskReason(check(self.book, limits, request))
        if reason is RiskReason.OK:
            commit(self.book, request)
        return reason.name


def number(text: str | None) -> float:
    """Return a decimal as the nearest float; NaN where there is none."""
    return math.nan if text is None else float(text)


def run(case: dict[str, Any]) -> list[str]:
    """Return the differences of one case; empty = passed."""
    desk = Desk(case)
    orders = case.get("batch") or [case["order"]]
    return [
        f"order {i} {order['id']}: {got}, expected {want}"
        for i, (order, want) in enumerate(zip(orders, case["expect"], strict=True))
        if (got := desk.answer(order)) != want
    ]

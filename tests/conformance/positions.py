"""Runs the position histories twice: through the exact ledger to 12 decimals, through the compiled position to 1e-9."""

import math
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

from quantai.core import positions
from quantai.core.instruments import Contract, Instrument, Payoff, Right
from quantai.core.positions import POSITION
from quantai.core.rows import BUY, SELL, zeros
from quantai.core.wide import rounded
from quantai.portfolio.ledger import Ledger

KINDS = {
    "linear": (Contract.PERPETUAL, Payoff.LINEAR),
    "inverse": (Contract.PERPETUAL, Payoff.INVERSE),
    "quanto": (Contract.PERPETUAL, Payoff.QUANTO),
    "spot": (Contract.SPOT, Payoff.LINEAR),
    "option": (Contract.OPTION, Payoff.LINEAR),
}
SIDES = {"buy": BUY, "sell": SELL}


class Books:
    """One history in both books."""

    def __init__(self, contract: dict[str, Any]) -> None:
        kind, payoff = KINDS[contract["kind"]]
        self.instrument = Instrument(
            symbol="ANY",
            contract=kind,
            payoff=payoff,
            multiplier=Decimal(contract["multiplier"]),
            settle=contract["settle_ccy"],
            base=contract.get("base_ccy", ""),
        )
        self.ledger = Ledger(self.instrument)
        self.hot = zeros(1, POSITION)

    def step(self, e: dict[str, Any]) -> None:
        """Apply one event to both books."""
        ledger, hot, row = self.ledger, self.hot[0], self.instrument.row()[0]
        if e["ev"] == "fill":
            fees = e.get("fees", {})
            if ledger.fill(e["exec"], SIDES[e["side"]], e["qty"], e["px"], fees):
                base = (self.instrument.contract is Contract.SPOT and fees.get(self.instrument.base)) or 0
                paid = float(fees.get(self.instrument.settle, 0))
                positions.fill(hot, row, SIDES[e["side"]], float(e["qty"]), float(e["px"]), paid, float(base))
        elif e["ev"] == "funding":
            ledger.fund(e["ts"], e["rate"], e["mark"])
            positions.fund(hot, row, e["ts"], float(e["rate"]), float(e["mark"]))
        elif e["ev"] == "settle":
            ledger.settle(e["px"])
            positions.settle(hot, row, float(e["px"]))
        elif e["ev"] == "variation":
            ledger.vary(e["px"])
            positions.vary(hot, row, float(e["px"]))
        elif e["ev"] == "expire":
            payoff = Payoff.INVERSE if e.get("payoff") == "coin" else Payoff.LINEAR
            option = self.instrument.with_fields(
                strike=Decimal(e["strike"]), right=Right[e["right"].upper()], payoff=payoff
            )
            ledger.instrument = option
            ledger.expire(e["underlying"])
            positions.expire(hot, option.row()[0], float(e["underlying"]))
        else:
            raise ValueError(f"unknown event {e['ev']!r}")

    def exact(self) -> dict[str, Fraction | None]:
        """Return the ledger's columns."""
        ledger = self.ledger
        return {
            "qty": ledger.qty,
            "avg_entry": ledger.avg_entry(),
            "realised": ledger.realised,
            "funding": ledger.funding,
        }

    def differences(self, expect: dict[str, Any], mark: str | None = None) -> Iterator[str]:
        """Yield where the ledger differs from `expect` and the compiled position from the ledger."""
        exact, hot, row = self.exact(), self.hot[0], self.instrument.row()[0]
        fast = {name: float(hot[name]) for name in ("qty", "realised", "funding")}
        fast["avg_entry"] = positions.avg_entry(hot, row)
        if mark is not None:
            exact["unrealised"] = self.ledger.unrealised(mark)
            fast["unrealised"] = positions.unrealised(hot, row, float(mark))
        for name, value in exact.items():
            shown = None if value is None else f"{rounded(value):f}"
            if shown != expect[name]:
                yield f"{name} is {shown}, expected {expect[name]}"
            if not agree(fast[name], value):
                yield f"{name}: compiled {fast[name]!r}, exact {value}"
        shown_fees = {ccy: f"{rounded(fee):f}" for ccy, fee in self.ledger.fees.items()}
        if shown_fees != expect["fees"]:
            yield f"fees are {shown_fees}, expected {expect['fees']}"


def agree(fast: float, exact: Fraction | None) -> bool:
    """Say whether a compiled figure is the exact one to one part in 10^9 (1e-12 absolute around zero)."""
    if exact is None:
        return math.isnan(fast)
    return math.isclose(fast, float(exact), rel_tol=1e-9, abs_tol=1e-12)


def run(case: dict[str, Any]) -> list[str]:
    """Return the differences of one case; empty = passed."""
    books, found = Books(case["contract"]), []
    for i, (event, expect) in enumerate(zip(case["events"], case["trace"], strict=True)):
        books.step(event)
        found += [f"event {i} {event['ev']}: {line}" for line in books.differences(expect)]
    found += [f"end: {line}" for line in books.differences(case["expect"], case["mark"])]
    said = {n: None if v is None else Fraction(v) for n, v in case["expect"].get("exact", {}).items()}
    exact = books.exact() | {"unrealised": books.ledger.unrealised(case["mark"])}
    return found + [f"exact {n} is {exact[n]}, expected {v}" for n, v in said.items() if exact[n] != v]

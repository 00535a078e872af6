"""Runs the FIX order state matrices against `core.orders`: JSON in, differences out, nothing decided here."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

from quantai.core.executions import Executions, executions
from quantai.core.instruments import Instrument
from quantai.core.orders import apply, submit
from quantai.core.reports import ANSWERED, PRICED, REPORT, REQUEST_ONLY, Mark, OrdStatus, Outcome, Refusal, exec_number
from quantai.core.rows import INTENT, TIF, Kind, Rows, zeros
from quantai.core.tracked import TRACKED, average, leaves, marks, status, status_local
from quantai.core.wide import rounded

GRID = Instrument(symbol="ANY", tick=Decimal("1e-8"), lot=Decimal(1))
KINDS = {"query_result": Kind.ORDER_STATUS}
STATUSES = {s.name.title().replace("_", ""): s for s in OrdStatus}


class Track:
    """One order under test: its row, its executions, and numbers for the pack's request names."""

    def __init__(self, tif: str = "gtc") -> None:
        self.row: Rows = zeros(1, TRACKED)
        self.table: Executions = executions(64)
        self.tif = TIF[tif.upper()]
        self.numbers: dict[str, int] = {}
        self.answers: list[str] = []

    def step(self, event: dict[str, Any]) -> None:
        """Apply one event of a pack."""
        if event["ev"] == "submit":
            self.number(event["req"])
            intent = zeros(1, INTENT)
            intent["order"], intent["qty_lots"], intent["tif"] = 1, event.get("qty", 0), self.tif
            outcome = submit(self.row[0], intent[0])
        else:
            outcome = apply(self.row[0], self.table, self.report(event)[0])
        self.answers += [flag.name or "" for flag in Outcome(outcome) & ANSWERED]

    def number(self, name: str | None) -> int:
        """Number the pack's request names in order of appearance; the order itself is 0."""
        return 0 if name is None else self.numbers.setdefault(name, len(self.numbers))

    def report(self, event: dict[str, Any]) -> Rows:
        """Write one event as a REPORT row."""
        r = zeros(1, REPORT)
        r["order"], r["kind"] = 1, KINDS.get(event["ev"]) or Kind[event["ev"].upper()]
        r["request"] = self.number(event.get("req"))
        r["qty_lots"] = event.get("qty", 0)
        r["exec"] = exec_number(event["exec"]) if "exec" in event else 0
        r["ref"] = exec_number(event["ref"]) if "ref" in event else event.get("cum", 0)
        if "px" in event:
            r["px_ticks"], r["flags"] = GRID.ticks(event["px"]), PRICED
        if event.get("scope") == "request":
            r["flags"] |= REQUEST_ONLY
        if "status" in event:
            r["code"] = STATUSES[event["status"]]
        elif event["ev"].endswith("_reject"):
            r["code"] = Refusal.__members__.get(event.get("reason", "none").upper(), Refusal.OTHER)
        return r

    def state(self) -> dict[str, Any]:
        """Return the order in the pack's words."""
        row = self.row[0]
        names = {s: name for name, s in STATUSES.items()} | {OrdStatus.NONE: None}
        return {
            "status": names[OrdStatus(status(row))],
            "status_local": names[OrdStatus(status_local(row))],
            "cum": int(row["cum_lots"]),
            "leaves": leaves(row),
            "avg_px": f"{rounded(average(row) * Fraction(GRID.tick)):f}",
            "duplicates_ignored": int(row["duplicates"]),
            "local_answers": self.answers,
            "flags": {mark.name.lower() for mark in Mark(marks(row)) if mark.name},
        }


def run(case: dict[str, Any]) -> list[str]:
    """Return the differences of one case; empty = passed."""
    track, found = Track(case["tif"]), []
    for i, step in enumerate(case["steps"]):
        track.step(step)
        got = track.state()
        found += [
            f"step {i} {step['ev']}: {name} is {got[name]}, expected {want}"
            for name, want in step["expect"].items()
            if not (want is None and name == "leaves") and got[name] != want
        ]
    return found

"""A run that traded, explained: its executions beside those the simulator would have made on the same rows.

The requests of the run are sent to a simulated venue at the rows at which they were sent, and it sees the rows the run
saw. What differs is what the assumptions of a backtest do not say: queue, latency, hidden size, our own effect.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from quantai.core.reports import REPORT
from quantai.core.rows import Kind, Rows, zeros
from quantai.execution.oms import OMS
from quantai.execution.recovery import MANIFEST, replay
from quantai.execution.retrace import manifest_of
from quantai.execution.setup import Setup
from quantai.journal import StoreReader, Stream
from quantai.ops.compiling import announced
from quantai.venues.paper import Paper
from quantai.venues.rules import SimVenue
from quantai.venues.venue import Ask


@dataclass(frozen=True)
class Explained:
    """How realised executions compare with simulated ones.

    Orders are counted: filled in `both`, `missed` (the simulator fills, the venue did not), `extra` (the other way
    round). `slippage_bps` is what the realised average price was worse than the simulated one, by value over orders
    filled in both; `delay_ms` how much later the first execution was known, the median. Quantities are in units of the
    instrument, summed over all.
    """

    run: str
    orders: int
    both: int
    missed: int
    extra: int
    realised: int
    simulated: int
    slippage_bps: float
    delay_ms: float
    worst: list[dict[str, Any]]

    @property
    def words(self) -> str:
        """The same in a few sentences."""
        if not self.realised and not self.simulated:
            return f"{self.orders} orders went out and nothing was executed, neither there nor in the simulator."
        known = f"{self.extra} only at the venue and {self.missed} only in the simulator"
        said = [
            f"{self.realised} executions, {self.simulated} in the simulator on the same rows.",
            f"Of {self.orders} orders {self.both} traded in both, {known}.",
        ]
        if self.both:
            side = "worse" if self.slippage_bps > 0 else "better"
            price = f"{abs(self.slippage_bps):.3g} bps {side}" if self.slippage_bps else "the same"
            when = f"{abs(self.delay_ms):.3g} ms {'later' if self.delay_ms >= 0 else 'earlier'}"
            said.append(f"Where both traded, the realised price was {price}, and the first execution known {when}.")
        return " ".join(said)


def explain(path: str | Path, rules: SimVenue | None = None) -> Explained:
    """Compare the executions of a journal with those of a simulated venue; `rules` are its assumptions.

    Raises DataError when the journal is not one of a run that trades.
    """
    with ThreadPoolExecutor(1) as thread:  # a notebook has an event loop running in this one
        return thread.submit(_explain, path, rules).result()


def _explain(path: str | Path, rules: SimVenue | None) -> Explained:
    with StoreReader(path) as reader:
        manifest = manifest_of(reader)
        setup = Setup.of(manifest[MANIFEST])
        oms = OMS(setup)
        paper = Paper(setup.instruments, rules, balances={"": Decimal(1)})
        with announced().together("the simulator", "two minutes"):
            simulated = asyncio.run(_simulate(reader, oms, paper))
        realised = reader.rows(Stream.REPORT, kinds=[Kind.FILL])
    return _compare(manifest["run"], oms, _once(realised), simulated)


async def _simulate(reader: StoreReader, oms: OMS, paper: Paper) -> Rows:
    await paper.connect()
    rows = reader.rows(Stream.EVENT)
    rows = rows[(rows["kind"] < Kind.CONTROL) | (rows["kind"] == Kind.TIMER)]
    at = 0
    for seq, step in replay(reader, oms):
        requests = [r for r in step.requests if r.ask is not Ask.QUERY]
        if requests:
            end = int(np.searchsorted(rows["seq"], seq, "right"))
            paper.see(rows[at:end])
            at = end
            for request in requests:
                await paper.send(request)
    paper.see(rows[at:])
    await paper.close()
    found = [answer.reports async for answer in paper.answers()]
    reports = np.concatenate([zeros(0, REPORT), *found])
    return reports[reports["kind"] == Kind.FILL]


def _once(fills: Rows) -> Rows:
    """Leave out executions that were told twice, and those that a venue told under no order of ours (0)."""
    fills = fills[fills["order"] > 0]
    _, first = np.unique(fills[["order", "exec"]], return_index=True)
    return fills[np.sort(first)]


def _compare(run: str, oms: OMS, realised: Rows, simulated: Rows) -> Explained:
    lines: list[dict[str, Any]] = []
    delays: list[float] = []
    both = missed = extra = 0
    lost, value = 0.0, 0.0
    for slot in range(len(oms.table)):
        tracked = oms.table.tracked[slot]
        ours, theirs = (rows[rows["order"] == tracked["order"]] for rows in (realised, simulated))
        both += bool(len(ours) and len(theirs))
        missed += bool(len(theirs) and not len(ours))
        extra += bool(len(ours) and not len(theirs))
        if not (len(ours) and len(theirs)):
            continue
        tick = float(oms.setup.instruments[int(tracked["instrument"])].tick)
        px, sim = (float((r["px_ticks"] * r["qty_lots"]).sum() / r["qty_lots"].sum()) * tick for r in (ours, theirs))
        worth = px * oms.gate.units(int(tracked["instrument"]), int(ours["qty_lots"].sum()))
        worse = float(tracked["side"]) * (px - sim) / sim * 1e4
        lost, value = lost + worse * worth, value + worth
        delays.append((int(ours["ts"][0]) - int(theirs["ts"][0])) / 1e6)
        lines.append({"order": int(tracked["order"]), "px": px, "simulated_px": sim, "bps": worse})
    lines.sort(key=lambda line: -abs(line["bps"]))
    return Explained(
        run=run,
        orders=len(oms.table),
        both=both,
        missed=missed,
        extra=extra,
        realised=len(realised),
        simulated=len(simulated),
        slippage_bps=lost / value if value else 0.0,
        delay_ms=float(np.median(delays)) if delays else 0.0,
        worst=lines[:5],
    )

"""A challenger in shadow: the rows that a served run saw, through another version, beside what the run did."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quantai.core.errors import DataError
from quantai.core.rows import EVENT, Kind, Rows
from quantai.execution.oms import OMS
from quantai.execution.recovery import MANIFEST, newest, replay
from quantai.execution.retrace import SEATS, manifest_of
from quantai.execution.setup import Setup
from quantai.journal import StoreReader, Stream
from quantai.notebook.promote.loop_run import run_rows
from quantai.notebook.promote.version import Version

SEEN = (
    Kind.TRADE, Kind.LEVEL, Kind.CLEAR, Kind.QUOTE, Kind.BAR, Kind.FUNDING, Kind.MARK, Kind.LIQUIDATION,
    Kind.OPEN_INTEREST,
)  # fmt: skip
"""Kinds of rows that both see; reports and decisions are each one's own."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one of them did; `pnl` in settlement currency, fees included."""

    strategy: str
    intents: int
    orders: int
    fills: int
    pnl: float
    positions: dict[str, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run and its challenger on the same rows."""

    rows: int
    run: Figures
    challenger: Figures

    def as_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return asdict(self)


def compare_on(journal: str | Path, challenger: Version) -> Comparison:
    """Show the market rows of a run's journal to a challenger, simulated, and return both.

    The run's fills are those of its venue, the challenger's those of the simulator with the costs it was promoted with.
    The journal may be of a run that still goes on. Raises DataError when it has no market rows.
    """
    with StoreReader(journal) as reader:
        manifest = manifest_of(reader)
        setup = Setup.of(manifest[MANIFEST])
        rows = np.array(reader.rows(Stream.EVENT, kinds=list(SEEN)), EVENT)
        bars = reader.rows(Stream.BAR)
        intents = len(reader.rows(Stream.INTENT))
        oms = newest(reader)
        for _ in replay(reader, oms):
            pass
    if not len(rows):
        raise DataError(f"{journal} has no rows of a market: there is nothing to compare on")
    other, asked = run_rows(challenger.strategy, setup.instruments, _in_order(rows), challenger.golden.venue, bars)
    name = f"{manifest[SEATS][0]['strategy'].rpartition(':')[2]} {manifest[SEATS][0]['parameters']}"
    return Comparison(
        len(rows), _figures(name, oms, intents), _figures(f"{challenger.tag} {challenger.params}", other, len(asked))
    )


def _in_order(rows: Rows) -> Rows:
    rows["ts_recv"] = np.maximum.accumulate(rows["ts_recv"])
    return rows


def _figures(name: str, oms: OMS, intents: int) -> Figures:
    portfolio = oms.portfolio
    account = portfolio.accounts[0]
    held = portfolio.books.positions["qty"].sum(axis=0)
    paid_in = float(portfolio.books.flows.sum())
    return Figures(
        strategy=name,
        intents=intents,
        orders=len(oms.table),
        fills=int(oms.table.executions.used[0]),
        pnl=portfolio.equity(account) - paid_in,
        positions={i.symbol: float(q) for i, q in zip(oms.setup.instruments, held, strict=True)},
    )

"""A challenger in shadow: the rows that a served run saw, through another version, beside what the run did."""

import asyncio
import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quantai.core.errors import DataError, InputError
from quantai.core.rows import EVENT, SEC, Kind
from quantai.execution.loop import NO_BARS, Loop
from quantai.execution.oms import OMS
from quantai.execution.playback import RowClock, answered
from quantai.execution.recovery import MANIFEST, newest, replay
from quantai.execution.retrace import SEATS, manifest_of
from quantai.execution.setup import Setup
from quantai.journal import StoreReader, Stream
from quantai.notebook.promote.loop_run import paper_loop, play_mixed
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

    async def whole() -> Comparison:
        async with Shadow(journal, challenger) as shadow:
            return await shadow.follow()

    with ThreadPoolExecutor(1) as pool:  # in a thread: a notebook has an event loop of its own
        return pool.submit(asyncio.run, whole()).result()


def compared(folder: Path, mode: str) -> dict[str, Any]:
    """Return what a service wrote of its run and its challenger; raises InputError where it has none."""
    try:
        return json.loads((folder / f"comparison-{mode}.json").read_text())
    except (OSError, ValueError):
        raise InputError(
            f"no service in {folder} runs a challenger in mode {mode}: promote one while it is served"
        ) from None


class Shadow:
    """A challenger beside a run, which may go on: it is shown the very rows that the run journaled.

    An asynchronous context manager. Raises DataError for a journal that is not one of orders.
    """

    def __init__(self, journal: str | Path, challenger: Version) -> None:
        self.journal, self.challenger = Path(journal), challenger
        self._seen, self._rows, self._ts = 0, 0, 0
        self._stack = AsyncExitStack()
        self._begun: tuple[Loop, RowClock] | None = None

    async def __aenter__(self) -> "Shadow":
        with StoreReader(self.journal) as reader:
            self._manifest = manifest_of(reader)
            self._oms = newest(reader)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def follow(self) -> Comparison:
        """Take what the run journaled since the last call; returns both. Raises DataError before the first row."""
        with StoreReader(self.journal) as reader:
            rows = np.array(reader.rows(Stream.EVENT, kinds=list(SEEN), start=self._seen + 1), EVENT)
            bars = reader.bars() if (rows["kind"] == Kind.BAR).any() else NO_BARS
            intents = len(reader.rows(Stream.INTENT))
            for _ in replay(reader, self._oms):
                pass
        if len(rows):
            self._seen, self._rows = int(rows["seq"][-1]), self._rows + len(rows)
            rows["ts_recv"] = np.maximum(np.maximum.accumulate(rows["ts_recv"]), self._ts)
            self._ts = int(rows["ts_recv"][-1])
            loop, clock = await self._loop(int(rows["ts_recv"][0]))
            await play_mixed(loop, clock, rows, bars)
            await answered(loop)
        if self._begun is None:
            raise DataError(f"{self.journal} has no rows of a market: there is nothing to compare on")
        loop, seat = self._begun[0], self._manifest[SEATS][0]
        name = f"{seat['strategy'].rpartition(':')[2]} {seat['parameters']}"
        other = f"{self.challenger.tag} {self.challenger.params}"
        return Comparison(
            self._rows, _figures(name, self._oms, intents), _figures(other, loop.oms, loop.counts.intents)
        )

    async def _loop(self, first: int) -> tuple[Loop, RowClock]:
        if self._begun is None:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="quantai-shadow-")))
            instruments = Setup.of(self._manifest[MANIFEST]).instruments
            made = paper_loop(
                self.challenger.strategy, instruments, self.challenger.golden.venue, folder / "j.journal", first - SEC
            )
            self._begun = await self._stack.enter_async_context(made)
        return self._begun


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

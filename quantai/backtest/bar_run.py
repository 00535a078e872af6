"""A backtest in progress: rows go in, in pieces of any size, and its state can be saved and restored as bytes."""

import hashlib
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import numpy as np

from quantai.backtest.bar_four import are_quiet, is_quiet, run_four, step
from quantai.backtest.bar_log import EQUITY, FILLED, PROGRESS, close_instant, worst_case
from quantai.backtest.bar_loop import answer, run_bars
from quantai.backtest.bar_matching import FILL, MATCH, RULES
from quantai.backtest.lanes import run_lanes
from quantai.backtest.result import Result
from quantai.backtest.settings import Settings
from quantai.core.compiled import compiled
from quantai.core.errors import DataError, InputError
from quantai.core.instruments import Instruments
from quantai.core.rows import BAR, EVENT, INTENT, ORDER, Reason, Rows, zeros
from quantai.data.bars import Bars
from quantai.data.tape import Tape
from quantai.strategy import Strategy
from quantai.strategy.account import equity_of
from quantai.strategy.compiler import Kernel
from quantai.strategy.context import World

_MAGIC = b"quantai bar run 2\n"


class BarRun:
    """One strategy stepping over bars; feeding them one by one or all at once gives the same bytes.

    >>> import quantai as qa
    >>> from quantai.strategy.examples import Cross
    >>> bars = qa.synth.bars(500, seed=1)
    >>> whole, halves = BarRun(Cross(), bars.instruments), BarRun(Cross(), bars.instruments)
    >>> whole.feed(bars.rows)
    >>> halves.feed(bars.rows[:123])
    >>> halves = BarRun.restored(halves.snapshot(), Cross(), bars.instruments)
    >>> halves.feed(bars.rows[123:])
    >>> whole.snapshot() == halves.snapshot()
    True
    """

    def __init__(
        self,
        strategy: Strategy,
        instruments: Instruments,
        settings: Settings | None = None,
        *,
        capacities: Mapping[str, int] | None = None,
        kernel: Kernel | None = None,
    ) -> None:
        if len({i.settle for i in instruments}) > 1:
            names = ", ".join(f"{i.symbol} in {i.settle}" for i in instruments)
            raise InputError(f"one account holds one settlement currency: {names}; run them apart")
        self.strategy, self.instruments = strategy, instruments
        self.settings = settings or Settings()
        self.world = World(instruments, self.settings.cash, self.settings.max_orders)
        self.record = strategy.record(capacities)
        self.progress: Rows = np.zeros(1, PROGRESS)
        self.match: Rows = np.zeros(1, MATCH)
        self._rules = np.zeros(1, RULES)
        self._rules["slip_bps"], self._rules["limit_touch"] = self.settings.slip_bps, self.settings.limit_touch
        self._settings = self.settings.row(log=True)
        size = 8 * worst_case(self.settings.max_orders, len(instruments))
        self._logs = {"orders": zeros(size, ORDER), "fills": zeros(size, FILLED), "intents": zeros(size, INTENT)}
        self._logs["equity"] = zeros(size, EQUITY)
        self.progress["log_size"], self.progress["at_equity"] = size, self._logs["equity"].ctypes.data
        self._kept: dict[str, list[Rows]] = {name: [] for name in self._logs}
        self._hits = np.zeros(2 * self.settings.max_orders, FILL)
        self._open_lots = np.zeros(self.settings.max_orders, "i8")
        self._event = zeros(1, EVENT)
        if strategy.compiled:
            self._run = (kernel or bar_kernel(type(strategy), self.record.dtype)).function("run_bars")
        else:
            self._run = self._uncompiled()

    def _uncompiled(self) -> Any:
        from quantai.strategy.uncompiled import python_handlers

        handlers = python_handlers(type(self.strategy), self.record, self.world)
        # called for every bar; from Python, arrays reach compiled code ten times faster than single records
        world, progress, settings = self.world, self.progress, self._settings
        handlers["close_instant"] = lambda *_: _close_instant(world.ctx, progress, settings)
        handlers["equity_of"] = lambda _: _equity_of(world.ctx)
        handlers["kept"], handlers["put_back"] = lambda record: record, lambda *_: None
        names = {**run_bars.__globals__, **handlers}
        names["answer"] = FunctionType(getattr(answer, "py_func", answer).__code__, names)
        plain = FunctionType(run_bars.__code__, names)

        def run(*args: Any) -> None:
            # attribute access on rows, as compiled code has it
            plain(*(a.view(np.recarray) if isinstance(a, np.ndarray) else a for a in args))

        return run

    def feed(self, rows: Rows) -> None:
        """Process BAR rows that follow those already fed; raises DataError when they do not."""
        if len(rows) == 0:
            return
        rows = np.ascontiguousarray(rows, BAR).view()
        rows.flags.writeable = False  # numba tells read-only arrays apart: one kind, one compiled kernel
        if int(self.progress["seq"][0]) and rows["ts_close"][0] <= self.world.ctx["now"][0]:
            raise DataError("bars must be fed in the order they closed, and all bars of one instant together")
        w, logs = self.world, self._logs
        self.progress["next"] = self.progress["instant_end"] = 0
        while self.progress["next"][0] < len(rows):
            self._run(
                rows, len(rows), self.record, w.ctx, w.instrument_rows, w.positions, w.orders, w.intents, self._rules,
                self.match, self._settings, self._hits, self._open_lots, self._event,
                logs["orders"], logs["fills"], logs["intents"], self.progress,
            )  # fmt: skip
            self._drain()

    def _drain(self) -> None:
        for name, buffer in self._logs.items():
            n = int(self.progress[f"n_{name}"][0])
            if n:
                self._kept[name].append(buffer[:n].copy())
                self.progress[f"n_{name}"] = 0

    def snapshot(self) -> bytes:
        """Return the state of the run (strategy, account, orders) as bytes; what was already logged is not in it."""
        progress = self.progress.copy()
        for name in ("next", "instant_end", "at_equity", "log_size"):  # of this array and these buffers, not state
            progress[name] = 0
        parts = (self.record, progress, self.match)
        body = b"".join(p.tobytes() for p in parts) + self.world.snapshot()
        return _MAGIC + self._identity() + body

    def _identity(self) -> bytes:
        names = [(i.venue, i.symbol) for i in self.instruments]
        text = f"{type(self.strategy).source_hash()} {self.strategy.params} {self.record.dtype.descr} {self.settings}"
        rows = self.world.instrument_rows.tobytes()
        return hashlib.blake2b(f"{text} {names}".encode() + rows, digest_size=16).digest()

    @classmethod
    def restored(
        cls,
        snapshot: bytes,
        strategy: Strategy,
        instruments: Instruments,
        settings: Settings | None = None,
    ) -> "BarRun":
        """Rebuild a run from its snapshot; raises DataError when strategy, parameters or settings are not the same."""
        run = cls(strategy, instruments, settings)
        head = _MAGIC + run._identity()
        if not snapshot.startswith(head):
            raise DataError(
                "the snapshot belongs to another strategy, other parameters, instruments or settings: start afresh"
            )
        at = len(head)
        try:
            for part in (run.record, run.progress, run.match):
                part[:] = np.frombuffer(snapshot[at : at + part.nbytes], part.dtype)
                at += part.nbytes
            world = World.restored(snapshot[at:], instruments)
        except ValueError as e:
            raise DataError(f"the snapshot does not fit: {e}") from None
        for name in ("ctx", "positions", "books", "orders"):
            getattr(run.world, name)[:] = getattr(world, name)
        run.world.wire()
        logged = run._logs["equity"]
        run.progress["at_equity"], run.progress["log_size"] = logged.ctypes.data, len(logged)
        return run

    def rows(self, name: str) -> Rows:
        """Return the log `orders`, `fills`, `intents` or `equity` so far."""
        kept = self._kept[name]
        return np.concatenate(kept) if kept else np.zeros(0, self._logs[name].dtype)

    def result(self, bars: Bars) -> Result:
        """Return the Result of the run over `bars`, which must be what was fed; the run is over."""
        state = self.snapshot()
        refused = self.world.ctx["refused"][0]
        counts = {Reason(k).name: int(n) for k, n in enumerate(refused) if n}
        if unplaced := int(self.progress["unplaced"][0]):
            counts["UNPLACED"] = unplaced
        return Result(
            strategy=self.strategy,
            bars=bars,
            settings=self.settings,
            intents=self.rows("intents"),
            order_rows=np.concatenate([self.rows("orders"), self.world.working()]),
            fill_rows=self.rows("fills"),
            equity_rows=self.rows("equity"),
            refused=counts,
            clipped_targets=int(self.progress["clipped"][0]),
            ambiguous_bars=int(self.match["ambiguous_bars"][0]),
            state=state,
        )


def bar_kernel(strategy: type[Strategy], dtype: np.dtype[Any]) -> Kernel:
    """Return the kernel of a strategy class over bars, one run or many; `dtype` is that of its record."""
    return strategy.kernel(dtype, (run_bars, answer, run_lanes, run_four, step, is_quiet, are_quiet))


@compiled
def _close_instant(ctx: Any, progress: Any, settings: Any) -> None:
    close_instant(ctx[0], progress[0], settings[0])


@compiled
def _equity_of(ctx: Any) -> float:
    return equity_of(ctx[0])


def backtest(strategy: Any, data: Any, **settings: Any) -> Result:
    """Run a strategy over bars and return its Result.

    `strategy` is a Strategy, or a class of them for its defaults. `data` is a Bars, or a frame that `Bars.from_frame`
    understands (a share called "ASSET" then). Keywords are those of `Settings`: cash, fee_bps, maker_fee_bps, slip_bps,
    leverage, limit_touch, max_orders. A decision made at a bar's close is live from the next bar; docs/fills.md has
    every fill rule.

    >>> import quantai as qa
    >>> from quantai.strategy.examples import Cross
    >>> r = qa.backtest(Cross(fast=5, slow=20), qa.synth.bars(500, seed=1), fee_bps=1.0)
    >>> len(r.equity), r.stats["trades"] > 0
    (500, True)

    Raises InputError, DataError or StrategyError with one line that says what to change.
    """
    if isinstance(strategy, type) and issubclass(strategy, Strategy):
        strategy = strategy()
    if not isinstance(strategy, Strategy):
        raise InputError(f"the first argument is a strategy, such as Cross(fast=5), not {strategy!r}")
    unknown = [name for name in settings if name not in Settings.__dataclass_fields__]
    if unknown:
        from quantai.core.errors import UnknownName

        raise UnknownName("setting", unknown[0], Settings.__dataclass_fields__)
    if isinstance(data, Tape):
        raise InputError("qa.backtest runs on bars, got a Tape: qa.replay runs over ticks")
    bars = data if isinstance(data, Bars) else Bars.from_frame(data, "ASSET")
    if len(bars) == 0:
        raise DataError("there are no bars: widen the dates, or look at lake.summary() for what is there")
    run = BarRun(strategy, bars.instruments, Settings(**settings))
    run.feed(bars.rows)
    return run.result(bars)

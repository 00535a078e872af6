"""Replays: a strategy over a tape of ticks, against a simulated exchange with two clocks."""

import time
from typing import Any

import numpy as np

from quantai.backtest.replay_result import ReplayResult
from quantai.backtest.tick_run import TickRun, Venues
from quantai.core.errors import InputError
from quantai.core.rows import SEC, Reason
from quantai.data.bars import Bars
from quantai.data.tape import Tape
from quantai.strategy import Strategy

_MOST_SAMPLES = 10_000_000


def replay(
    strategy: Strategy | type[Strategy],
    tape: Tape,
    venue: Venues | None = None,
    *,
    cash: float = 100_000.0,
    max_orders: int = 64,
    sample_ns: int = SEC,
) -> ReplayResult:
    """Run a strategy over a tape and return what came of it.

    `venue` is a SimVenue, or one by venue name; its defaults are pessimistic and printed with the result. The strategy
    sees rows and reports only once they are received; its requests reach the exchange later still. `sample_ns` is how
    often equity is sampled. docs/replay.md has every rule.

    >>> from quantai.core.instruments import Instrument
    >>> from quantai.core.rows import EVENT, Kind, zeros
    >>> from quantai.strategy.examples import Quote
    >>> events = zeros(2, EVENT)
    >>> events["ts_exch"], events["ts_recv"], events["kind"] = [0, 10**9], [1000, 10**9 + 1000], Kind.LEVEL
    >>> events["px"], events["px_ticks"], events["qty"], events["side"] = [99.9, 100.0], [999, 1000], 1.0, [1, -1]
    >>> tape = Tape.from_events(events, [Instrument.parse("BTC-USDT", tick="0.1", lot="0.001")])
    >>> replay(Quote(), tape).submits
    0

    Raises InputError, DataError or StrategyError with one line that says what to change.
    """
    if isinstance(strategy, type):
        strategy = strategy()
    _check_asked(strategy, tape)
    run = TickRun(strategy, tape.instruments, venue, cash=cash, max_orders=max_orders, sample_ns=sample_ns)
    refuse_many_samples(tape, sample_ns)
    start = time.process_time()
    run.feed_tape(tape)
    return result_of(run, len(tape), time.process_time() - start, tape)


def refuse_many_samples(tape: Tape, sample_ns: int) -> None:
    """Raise InputError where sampling equity every `sample_ns` would take longer than anybody waits."""
    samples = int(tape.rows["ts_recv"][-1] - tape.rows["ts_recv"][0]) // sample_ns if len(tape) else 0
    if samples > _MOST_SAMPLES:
        raise InputError(f"sample_ns={sample_ns} would sample equity {samples:,} times: take a longer step")


def _check_asked(strategy: Any, tape: Any) -> None:
    if not isinstance(strategy, Strategy):
        raise InputError(f"replay runs a Strategy, an object or its class; got {type(strategy).__name__}")
    if not isinstance(tape, Tape):
        instead = ": qa.backtest runs on bars" if isinstance(tape, Bars) else ""
        raise InputError(f"replay runs over a Tape, got {type(tape).__name__}{instead}")


def result_of(run: TickRun, rows: int, seconds: float, tape: Tape | None = None) -> ReplayResult:
    """Gather what a finished run wrote; with the `tape` it ran on, the result can say what its fills were worth."""
    state = run.snapshot()
    local, account = run.local[0], run.world
    counts = {Reason(k).name: int(n) for k, n in enumerate(account.ctx["refused"][0]) if n}
    reasons, n = np.unique(run.rows("refusals")["reason"], return_counts=True)
    for reason, count in zip(reasons, n, strict=True):
        name = Reason(reason).name if reason else "TOO_LATE"
        counts[name] = counts.get(name, 0) + int(count)
    if unplaced := int(local["unplaced"]):
        counts["UNPLACED"] = unplaced
    fees = float(account.positions["fees"].sum())
    symbols: list[Any] = [i.symbol for i in run.instruments]
    return ReplayResult(
        strategy=run.strategy,
        instruments=run.instruments,
        choices=[v.choices for v in run.venues],
        cash=run.cash,
        rows=rows,
        seconds=seconds,
        intents=run.rows("intents"),
        order_rows=np.concatenate([run.rows("orders"), account.working()]),
        fill_rows=run.rows("fills"),
        refusal_rows=run.rows("refusals"),
        equity_rows=run.rows("equity"),
        positions={s: float(q) for s, q in zip(symbols, account.positions["qty"], strict=True)},
        balance=float(account.ctx["cash"][0]) - run.cash + fees + float(local["funding"]),
        fee=fees,
        volume=float(local["volume"]),
        value=float(local["value"]),
        submits=int(local["submits"]),
        cancels=int(local["cancels"]),
        crossed=int(run.books.depth["crossed"].sum()),
        refused=counts,
        state=state,
        marks={s: float(px) for s, px in zip(symbols, account.positions["px"], strict=True)},
        venues=run.venues,
        tape=tape,
    )

"""Many variants of a market maker over one tape, in one pass, against a replay of each by itself.

Two market makers, each at several distances and inventory limits. The busy one quotes at the touch ten times a second,
wherever that is by then: nearly three requests each time. The other looks as often, but leaves its quotes where they
are until the mid has moved by `move` ticks or they are filled. `per_variant_ratio` is the busy one's: the processor
time of a variant by itself over that of a variant in the shared pass; `wall_ratio` is the same by the clock. Both sides
are the public calls, `replay` and `sweep`, whole, at the same settings and on as many `threads`, after a small run of
each has loaded what is compiled; they take turns, and the best of `repeats` counts on each. `equal` says that every
statistic of every variant of either is the same to the last bit; `resting` holds the figures of the other one.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd

from quantai.backtest.replay import replay
from quantai.backtest.sweep import sweep
from quantai.core.rows import BUY, MS, SELL
from quantai.data.tape import Tape
from quantai.strategy.base import Strategy
from quantai.strategy.examples import Quote
from quantai.strategy.fields import state
from quantai.venues import SimVenue
from tests.bench import gen_ticks

N = 2_000_000
ARGS = {"variants": 100, "threads": 0, "move": 50, "repeats": 3}
VENUE = SimVenue(queue="power_prob", power=3.0, exchange="no_partial", maker_bps=-0.5, taker_bps=7.0)


class Rest(Strategy):
    """Quote both sides `offset` ticks from the mid, and again once it has moved by `move` ticks."""

    offset: int = 0
    qty: float = 0.01
    max_position: float = 0.1
    move: int = 50
    mid: int = state(0)

    def on_start(self, ctx: Any) -> None:
        """Look ten times a second."""
        ctx.every(100 * MS)

    def on_timer(self, ctx: Any) -> None:
        """Keep one order a side within the inventory limit, never through the touch."""
        book = ctx.book(0)
        if not book.valid:
            return
        mid = (book.bid_ticks + book.ask_ticks) // 2
        if abs(mid - self.mid) >= self.move:
            self.mid = mid
        if ctx.position(0) < self.max_position - 1e-9:
            ctx.quote(0, BUY, min(self.mid - self.offset, book.ask_ticks - 1), self.qty)
        else:
            ctx.unquote(0, BUY)
        if ctx.position(0) > -self.max_position + 1e-9:
            ctx.quote(0, SELL, max(self.mid + self.offset, book.bid_ticks + 1), self.qty)
        else:
            ctx.unquote(0, SELL)


def run(seed: int, n: int, variants: int = 100, threads: int = 0, move: int = 50, repeats: int = 3) -> dict[str, Any]:
    """Return both costs of `variants` variants on `n` rows, their ratios, and whether they are equal."""
    threads = threads or os.cpu_count() or 1
    chosen = [{"offset": k % 20, "max_position": 0.05 * (1 + k // 20)} for k in range(variants)]
    small, tape = gen_ticks.tape(5_000, seed), gen_ticks.tape(n, seed)
    busy = _compare(Quote, chosen, small, tape, threads, repeats)
    resting = _compare(Rest, [v | {"move": move} for v in chosen], small, tape, threads, repeats)
    return busy | {
        "equal": busy["equal"] and resting["equal"],
        "variants": variants,
        "rows": len(tape),
        "threads": threads,
        "repeats": repeats,
        "resting": {"move_ticks": move} | resting,
    }


def _compare(
    strategy: type[Strategy], chosen: list[dict[str, Any]], small: Tape, tape: Tape, threads: int, repeats: int
) -> dict[str, Any]:
    sweep(strategy, small, variants=chosen[:threads], venue=VENUE, threads=threads)
    replay(strategy(**chosen[0]), small, VENUE)
    table, requests, equal = pd.DataFrame(), 0, True

    def by_itself(k: int) -> tuple[int, bool]:
        result = replay(strategy(**chosen[k]), tape, VENUE)
        row = table.iloc[k]
        same = (
            (row["fills"], row["submits"], row["cancels"]) == (len(result.fill_rows), result.submits, result.cancels)
            and (row["fees"], row["volume"]) == (result.fee, result.volume)
            and row["position"] == next(iter(result.positions.values()))
            and row["pnl"] == result.equity_rows["equity"][-1] - result.cash
        )
        return result.submits + result.cancels, bool(same)

    shared, separate = list[_Clock](), list[_Clock]()
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(repeats):
            shared.append(_Clock())
            swept = sweep(strategy, tape, variants=chosen, venue=VENUE, threads=threads)
            shared[-1].stop()
            table = swept.frame()
            separate.append(_Clock())
            told = list(pool.map(by_itself, range(len(chosen))))
            separate[-1].stop()
            requests = sum(n for n, _ in told)
            equal = equal and all(same for _, same in told)
    cpu, wall = (min(getattr(clock, name) for clock in shared) for name in ("cpu", "wall"))
    own_cpu, own_wall = (min(getattr(clock, name) for clock in separate) for name in ("cpu", "wall"))
    return {
        "per_variant_ratio": round(own_cpu / cpu, 2),
        "wall_ratio": round(own_wall / wall, 2),
        "equal": equal,
        "requests_per_row": round(requests / len(chosen) / len(tape), 4),
        "seconds": round(wall, 3),
        "cpu_seconds": round(cpu, 3),
        "separate_seconds": round(own_wall, 3),
        "separate_cpu_seconds": round(own_cpu, 3),
        "ns_per_row_and_variant": round(cpu / len(chosen) / len(tape) * 1e9, 2),
        "separate_ns_per_row": round(own_cpu / len(chosen) / len(tape) * 1e9, 2),
    }


class _Clock:
    """Processor and wall time since it was made, until `stop`."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        self.cpu = self.wall = 0.0

    def stop(self) -> None:
        """Take both times."""
        self.cpu, self.wall = time.process_time() - self._cpu, time.perf_counter() - self._wall

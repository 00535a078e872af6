"""The driver of a pass: many runs of one strategy moved along a market that they share, a tile at a time."""

from typing import Any

import numpy as np

from quantai.backtest.tick_loop import run_ticks
from quantai.backtest.tick_state import EQUITY
from quantai.core.compiled import compiled, uncounted
from quantai.core.memory import rows_at
from quantai.report.running import update
from quantai.strategy.base import Strategy
from quantai.strategy.compiler import Kernel
from quantai.venues.exchange import run_shared
from quantai.venues.matching import measure
from quantai.venues.shared import aim, queue_up
from quantai.venues.tiles import TILE, forget_eaten
from quantai.venues.wire import NEVER


@compiled
def count_up(p: Any, stats: Any) -> bool:
    """Move what a run sampled into its statistics and empty its logs; returns whether they had stopped it."""
    equity = rows_at(p.at_equity, p.log_size, EQUITY)
    for k in range(p.n_equity):
        update(stats, equity[k].equity)
    full = max(p.n_intents, p.n_orders, p.n_fills, p.n_refusals, p.n_equity) > p.log_size // 2
    p.n_intents, p.n_orders, p.n_fills, p.n_refusals, p.n_equity = 0, 0, 0, 0, 0
    return full


@uncounted
def settle(x: Any) -> None:
    """Bring the exchange of a run to the end of the tile, and forget what it took from levels shown anew by then."""
    if x.horizon != NEVER:
        run_shared(x, x.horizon - 1)
        if x.done < x.horizon - 1:
            x.lost = 1  # its reports wait for more than a tile
    t = rows_at(x.at_tile_x, 1, TILE)[0]
    queue_up(t, x, x.next_scan - t.first)
    if x.n_eaten > 0:
        forget_eaten(t, x)
    measure(x)  # which nobody needs here: but a lane is in the state of a run by itself


def run_tick_lanes(
    rows: Any, horizon: int, n: int, me: Any, ctx: Any, local: Any, sim: Any, orders: Any, books: Any, event: Any,
    stats: Any,
) -> None:  # fmt: skip
    """Move the first `n` lanes on to the instant `horizon`; a driver like `run_ticks`, which it calls for each."""
    for k in range(n):
        sim[k].horizon = horizon
        aim(sim[k])
        while True:
            run_ticks(rows, me[k : k + 1], ctx[k : k + 1], local[k : k + 1], sim[k : k + 1], orders[k], books[k], event)
            if not count_up(local[k], stats[k]):
                break
        settle(sim[k])


def tick_kernel(strategy: type[Strategy], dtype: np.dtype[Any]) -> Kernel:
    """Return the kernel of a strategy class over tapes, one run or many; `dtype` is that of its record."""
    return strategy.kernel(dtype, (run_ticks, run_tick_lanes))

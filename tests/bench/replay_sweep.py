"""Many variants of a market maker over one tape, in one pass, against a replay of each by itself.

The variants quote both sides ten times a second at several distances and inventory limits. `per_variant_ratio` is the
processor time of a variant by itself over that of a variant in the shared pass; `wall_ratio` the same by the clock,
separate replays one after another, the pass on `threads` threads. Both sides are the public calls, `replay` and
`sweep`, after a small run of each has loaded what is compiled. `equal` says that every statistic of every variant is
the same to the last bit.
"""

import os
import time
from typing import Any

from quantai.backtest.replay import replay
from quantai.backtest.sweep import sweep
from quantai.strategy.examples import Quote
from quantai.venues import SimVenue
from tests.bench import gen_ticks

N = 2_000_000
ARGS = {"variants": 100, "threads": 0}
VENUE = SimVenue(queue="power_prob", power=3.0, exchange="no_partial", maker_bps=-0.5, taker_bps=7.0)


def run(seed: int, n: int, variants: int = 100, threads: int = 0) -> dict[str, Any]:
    """Return both costs of `variants` variants on `n` rows, their ratios, and whether they are equal."""
    threads = threads or os.cpu_count() or 1
    chosen = [{"offset": k % 20, "max_position": 0.05 * (1 + k // 20)} for k in range(variants)]
    small = gen_ticks.tape(5_000, seed)
    sweep(Quote, small, variants=chosen[:threads], venue=VENUE, threads=threads)
    replay(Quote(), small, VENUE)
    tape = gen_ticks.tape(n, seed)
    shared = _Clock()
    swept = sweep(Quote, tape, variants=chosen, venue=VENUE, threads=threads)
    shared.stop()
    table, equal = swept.frame(), True
    separate = _Clock()
    for k, params in enumerate(chosen):
        result = replay(Quote(**params), tape, VENUE)
        row = table.iloc[k]
        equal = equal and (
            (row["fills"], row["submits"], row["cancels"]) == (len(result.fill_rows), result.submits, result.cancels)
            and (row["fees"], row["volume"]) == (result.fee, result.volume)
            and row["position"] == next(iter(result.positions.values()))
            and row["pnl"] == result.equity_rows["equity"][-1] - result.cash
        )
    separate.stop()
    return {
        "per_variant_ratio": round(separate.cpu / shared.cpu, 2),
        "wall_ratio": round(separate.wall / shared.wall, 2),
        "equal": bool(equal),
        "variants": variants,
        "rows": len(tape),
        "threads": threads,
        "seconds": round(shared.wall, 3),
        "cpu_seconds": round(shared.cpu, 3),
        "separate_seconds": round(separate.wall, 3),
        "separate_cpu_seconds": round(separate.cpu, 3),
        "ns_per_row_and_variant": round(shared.cpu / variants / len(tape) * 1e9, 2),
    }


class _Clock:
    """Processor and wall time since it was made, until `stop`."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        self.cpu = self.wall = 0.0

    def stop(self) -> None:
        """Take both times."""
        self.cpu, self.wall = time.process_time() - self._cpu, time.perf_counter() - self._wall

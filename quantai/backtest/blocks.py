"""The schedule of every sweep: variants in blocks, the next one to whichever thread is free."""

import math
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

Columns = Mapping[str, Any]
"""Statistics of consecutive variants, one array a column."""


def run_blocks[Lanes](
    variants: Sequence[Mapping[str, Any]],
    columns: Mapping[str, np.dtype[Any]],
    threads: int,
    most: int,
    lanes: Callable[[int], Lanes],
    run: Callable[[Lanes, int, int], Generator[float, None, Columns]],
    advance: Callable[[float], None],
    step: int = 1,
) -> tuple[pd.DataFrame, bool]:
    """Return variants and their statistics, one row each, and whether Ctrl-C left some out: only those finished stay.

    Each thread has `lanes` of its own, memory for as many variants as a block has: at most `most`, in steps of `step`.
    `run` moves variants `first` to `end` over the data, yielding after each stretch the share of it that is behind them
    (0 to 1), and returns their `columns`. `advance` is told of each stretch, in variants.
    """
    n = len(variants)
    out = {name: np.zeros(n, kind) for name, kind in columns.items()}
    done = np.zeros(n, bool)
    size = block_size(n, threads, most, step)
    blocks = iter([(at, min(at + size, n)) for at in range(0, n, size)])
    stop = threading.Event()

    def finish(mine: Lanes, first: int, end: int) -> Generator[float]:
        found = yield from run(mine, first, end)
        for name, column in found.items():
            out[name][first:end] = column
        done[first:end] = True

    def work() -> None:
        mine = lanes(size)
        for first, end in blocks:  # an iterator over a list: shared by the threads, each block goes to one
            before = 0.0
            for share in finish(mine, first, end):
                if stop.is_set():
                    return
                advance((end - first) * (share - before))
                before = share

    interrupted = False
    with ThreadPoolExecutor(threads) as pool:
        try:  # from the first thread on: what has begun is told to stop, whenever Ctrl-C comes
            for job in [pool.submit(work) for _ in range(min(threads, math.ceil(n / size)))]:
                job.result()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            stop.set()
    names = variants[0].keys()
    params = {name: [v[name] for v, is_done in zip(variants, done, strict=True) if is_done] for name in names}
    return pd.DataFrame(params | {name: column[done] for name, column in out.items()}), interrupted


def block_size(n: int, threads: int, most: int, step: int = 1) -> int:
    """Return how many of `n` variants make a block, a multiple of `step` up to `most`, for all to be done soonest.

    >>> block_size(200, threads=2, most=32, step=4), block_size(5, threads=2, most=32)
    (20, 3)
    """
    busiest = {size: math.ceil(math.ceil(n / size) / threads) * size for size in range(step, most + 1, step)}
    return max(busiest, key=lambda size: (-busiest[size], size))

"""What a replay costs as the tape grows: 1, 10, … million rows, fed in pieces from disk; `n` is the largest number.

Each size runs in a process of its own, which prints its rows per second of processor time and its peak memory. The
pieces are one generated million of rows over and over, later each time, after a CLEAR and the book it begins with. The
strategy reads the book every 100 ms; what is kept of a run, equity once a second, is part of the memory.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from quantai.backtest.tick_run import TickRun
from quantai.core.rows import EVENT, SEC, SNAPSHOT, Kind, zeros
from quantai.data.tape import Tape
from tests.bench import gen_ticks
from tests.bench.replay import REPO, Feed

N = 100_000_000
PIECE = 1_000_000


def run(seed: int, n: int) -> dict[str, Any]:
    """Return rows per second and peak memory for each power of ten from a million to `n`."""
    sizes = [10**k for k in range(6, 20) if 10**k <= n]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "piece.tape"
        gen_ticks.tape(PIECE, seed).save(path)
        made = list[dict[str, Any]]()
        for size in (10_000, *sizes):  # the first compiles
            command = [sys.executable, "-m", "tests.bench.scaling", str(path), str(size)]
            ran = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPO)
            made.append(json.loads(ran.stdout.splitlines()[-1]))
    return {"sizes": made[1:]}


def feed(path: str, size: int) -> dict[str, Any]:
    """Feed `size` rows in pieces and measure."""
    tape = Tape.open(Path(path))
    clear = zeros(1, EVENT)
    clear["kind"] = Kind.CLEAR
    clear["ts_exch"], clear["ts_recv"] = tape.rows["ts_exch"][0], tape.rows["ts_recv"][0]
    whole = np.concatenate([clear, tape.rows])
    whole["flags"] &= ~np.uint16(SNAPSHOT)
    step = int(whole["ts_recv"][-1] - whole["ts_recv"][0]) + SEC
    runs, left, spent = TickRun(Feed(), tape.instruments), size, 0.0
    while left > 0:
        rows = whole[:left].copy()
        whole["ts_exch"] += step
        whole["ts_recv"] += step
        start = time.process_time()
        runs.feed(rows)
        spent += time.process_time() - start
        left -= len(rows)
    start = time.process_time()
    runs.finish()
    spent += time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20)
    return {
        "rows": size,
        "cpu_s": round(spent, 3),
        "rows_per_cpu_s": round(size / spent),
        "peak_rss_mb": round(peak),
    }


if __name__ == "__main__":
    print(json.dumps(feed(sys.argv[1], int(sys.argv[2]))))

"""What a replay out of a lake costs as it grows: 1, 10, … million rows, in bounded memory; `n` is the largest number.

For each size, rows are written to a lake, trades and levels apart; a process of its own makes the tape of them, which
merges the two a piece at a time into a file, and replays that file, mapped. It prints rows per second of processor time
of both and the most memory of its own that each took (anonymous pages: those of a mapped file can be dropped any time).
The rows are one generated million over and over, later each time, after a CLEAR and the book it begins with. The
strategy reads the book every 100 ms; what is kept of a run, equity once a second, is part of the memory.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from quantai.backtest.replay import replay
from quantai.core.rows import EVENT, SEC, SNAPSHOT, Kind, Rows, zeros
from quantai.data.lake import Lake
from tests.bench import gen_ticks
from tests.bench.replay import REPO, Feed

N = 100_000_000
PIECE = 1_000_000


def run(seed: int, n: int) -> dict[str, Any]:
    """Return rows per second and peak memory for each power of ten from a million to `n`."""
    sizes = [10**k for k in range(6, 20) if 10**k <= n]
    tape = gen_ticks.tape(PIECE, seed)
    made = list[dict[str, Any]]()
    for size in (10_000, *sizes):  # the first compiles
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), tape, size)
            command = [sys.executable, "-m", "tests.bench.scaling", folder]
            ran = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPO)
        made.append(json.loads(ran.stdout.splitlines()[-1]))
    return {"sizes": made[1:]}


def fill(folder: Path, tape: Any, size: int) -> None:
    """Write `size` rows to a lake, a million a commit."""
    clear = zeros(1, EVENT)
    clear["kind"] = Kind.CLEAR
    clear["ts_exch"], clear["ts_recv"] = tape.rows["ts_exch"][0], tape.rows["ts_recv"][0]
    whole = np.concatenate([clear, tape.rows])
    whole["flags"] &= ~np.uint16(SNAPSHOT)
    step = int(whole["ts_recv"][-1] - whole["ts_recv"][0]) + SEC
    lake = Lake(folder)
    lake.instruments.update(list(tape.instruments))
    with lake.writer("bench") as writer:
        done = 0
        while done < size:
            rows = whole[: size - done]
            rows["seq"] = np.arange(done + 1, done + len(rows) + 1)
            for table, of in (("trades", rows["kind"] == Kind.TRADE), ("levels", rows["kind"] != Kind.TRADE)):
                writer.append(table, tape.instruments[0].venue, tape.symbols[0], columns(rows[of], table))
            done += writer.commit({"rows": done + len(rows)})
            whole["ts_exch"] += step
            whole["ts_recv"] += step


def columns(rows: Rows, table: str) -> dict[str, Any]:
    """Return rows as the columns of a table."""
    names = ("ts_exch", "ts_recv", "seq", "px", "qty", "side", *(("flags", "kind") if table == "levels" else ()))
    return {name: rows[name].copy() for name in names}


def measure(folder: str) -> dict[str, Any]:
    """Make the tape of a lake, replay it, and measure both."""
    lake = Lake(folder)
    ((venue, symbol),) = lake.symbols("trades")
    tape, building = watched(lambda: lake.tape(symbol, venue=venue, quiet=True))
    _, running = watched(lambda: replay(Feed(), tape))
    n = len(tape)
    return {"rows": n, "tape": building | rate(n, building), "replay": running | rate(n, running)}


def rate(n: int, took: dict[str, Any]) -> dict[str, Any]:
    """Return rows per second of processor time."""
    return {"rows_per_cpu_s": round(n / took["cpu_s"])}


def watched[T](work: Callable[[], T]) -> tuple[T, dict[str, Any]]:
    """Return what some work returns, its seconds of processor time and the most anonymous memory while it ran."""
    done, most = threading.Event(), [0.0]

    def watch() -> None:
        while not done.is_set():
            most[0] = max(most[0], anonymous_mb())
            done.wait(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.process_time()
    try:
        made = work()
    finally:
        took = time.process_time() - start
        done.set()
        watcher.join()
    return made, {"cpu_s": round(took, 3), "peak_anonymous_mb": round(most[0])}


def anonymous_mb() -> float:
    """Return the memory of this process that is not pages of files (Linux; 0 elsewhere)."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")), 0.0)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))

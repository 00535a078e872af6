"""Replays of a market maker on generated ticks, beside hftbacktest 2.4.4 in the same run; `make bench-setup` first.

The case: quote both sides every 100 ms, 0.01 BTC, at most 0.1 BTC either way; 2 ms to the venue and 2 ms back; maker
-0.5 bp, taker 7 bp. Rows per second of processor time are those of the best of `runs` runs in one process, the first
left out, of the event loop alone on both sides; `ratio_of_medians` compares the medians of the same runs instead, and
`call_rows_per_cpu_s` is our whole call, with its result. A whole program is a fresh process from its start to its first
result, the better of two, data on disk in each side's own format; our kernels come from the cache on disk, hftbacktest
compiles at each start. `--case feed` reads the book every 100 ms and sends nothing, and `--case trades` does that on a
tape of nothing but trades. NautilusTrader's two engines are slower by so much that they get the first `nautilus` rows
only (0 leaves them out); their fills follow other rules, so only their rates are shown.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from quantai.core.rows import MS
from quantai.strategy.base import Strategy
from quantai.strategy.fields import state
from tests.bench import gen_ticks

N = 2_000_000
ARGS = {
    "case": "mm",
    "queue": "power_prob",
    "exchange": "no_partial",
    "offset": 0,
    "runs": 9,
    "peers": True,
    "nautilus": 100_000,
}
REPO = Path(__file__).parents[2]
PEER_PYTHON = REPO / ".venv-bench" / "bin" / "python"
COMPARED = ("submits", "cancels", "fills", "position", "balance", "fee")


def run(
    seed: int,
    n: int,
    case: str = "mm",
    queue: str = "power_prob",
    exchange: str = "no_partial",
    offset: int = 0,
    runs: int = 9,
    peers: bool = True,
    nautilus: int = 100_000,
) -> dict[str, Any]:
    """Return rates, whole-program times and what both sides did; `fills_equal` says whether all of it is the same."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, n, seed, case == "trades")
        said = {"folder": name, "case": case, "queue": queue, "exchange": exchange, "offset": offset, "runs": runs}
        ours = said | {"case": "mm" if case == "mm" else "tests.bench.replay:Feed"}
        program(sys.executable, "_quantai_mm.py", ours | {"runs": 1})  # fills the cache of compiled kernels
        mine = program(sys.executable, "_quantai_mm.py", ours)
        whole = whole_program(sys.executable, "_quantai_mm.py", ours)
        out: dict[str, Any] = {"rows_per_cpu_s": mine["rows_per_cpu_s"], "whole_program_s": whole, "quantai": mine}
        if not (peers and PEER_PYTHON.exists()):
            return out | {"peers": {}, "note": "no peers: run make bench-setup"}
        theirs = {
            depth: program(PEER_PYTHON, "_hftbacktest_mm.py", said | {"depth": depth}) for depth in ("roi", "hash")
        }
        best = max(p["rows_per_cpu_s"] for p in theirs.values())
        middle = max(p["median_rows_per_cpu_s"] for p in theirs.values())
        rates = {f"hftbacktest_{depth}": p["rows_per_cpu_s"] for depth, p in theirs.items()}
        if nautilus:
            for engine, script in (("cython", "_nautilus_mm.py"), ("rust", "_nautilus_pyo3_mm.py")):
                rates[f"nautilus_{engine}"] = program(PEER_PYTHON, script, said | {"n": nautilus})["rows_per_cpu_s"]
        cold = whole_program(PEER_PYTHON, "_hftbacktest_mm.py", said | {"depth": "roi"})
        return out | {
            "peers": rates,
            "ratio": round(mine["rows_per_cpu_s"] / best, 2),
            "ratio_of_medians": round(mine["median_rows_per_cpu_s"] / middle, 2),
            "peers_whole_program_s": {"hftbacktest_roi": cold},
            "whole_program_ratio": round(cold / whole, 2),
            "fills_equal": all(mine[k] == p[k] for p in theirs.values() for k in compared(case, exchange)),
            "hftbacktest": theirs["roi"],
        }


def compared(case: str, exchange: str) -> tuple[str, ...]:
    """Return the figures that must agree; with partial fills hftbacktest's orders are counted, ours are executions."""
    if case != "mm":
        return ()
    return COMPARED if exchange == "no_partial" else tuple(k for k in COMPARED if k != "fills")


def write(folder: Path, n: int, seed: int, trades_only: bool = False) -> None:
    """Write the ticks to `folder` in both formats."""
    tape = gen_ticks.tape(n, seed, trades_only)
    tape.save(folder / "ticks.tape")
    events, snapshot = tape.to_hftbacktest()
    np.save(folder / "events.npy", events)
    np.save(folder / "snapshot.npy", snapshot)


def whole_program(python: str | Path, script: str, said: dict[str, Any]) -> float:
    """Return the seconds of one side from the start of a process to its end, the better of two."""
    return min(program(python, script, said | {"runs": 1})["process_s"] for _ in range(2))


def program(python: str | Path, script: str, said: dict[str, Any]) -> dict[str, Any]:
    """Run one side in a process of its own and return what it printed; `process_s` is the whole of it."""
    command = [str(python), str(Path(__file__).parent / script), json.dumps(said)]
    env = {"PYTHONPATH": str(REPO), "PATH": "/usr/bin:/bin", **_inherited()}
    start = time.perf_counter()
    ran = subprocess.run(command, check=False, capture_output=True, text=True, env=env, cwd=REPO)
    took = time.perf_counter() - start
    if ran.returncode:
        raise RuntimeError(f"{script} failed: {ran.stderr.strip().splitlines()[-1:]}")
    return json.loads(ran.stdout.splitlines()[-1]) | {"process_s": round(took, 3)}


def _inherited() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k in ("HOME", "QUANTAI_CACHE", "NUMBA_CACHE_DIR", "TMPDIR", "LANG")}


class Feed(Strategy):
    """Reads the book every 100 ms."""

    seen: int = state(0)

    def on_start(self, ctx: Any) -> None:
        """Ten times a second."""
        ctx.every(100 * MS)

    def on_timer(self, ctx: Any) -> None:
        """Read the best bid."""
        self.seen += ctx.book(0).bid_ticks

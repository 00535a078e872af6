"""What questions to a service cost the run: how fast the state is answered, and how much later the loop decides.

The exchange, the process that trades, the service and whoever asks are processes of their own, on this machine. Quiet
times and times with `rate` requests a second of `/state` come in `n` pairs, in either order, each `seconds` long.
Latency of an answer counts from when the request was due, so a service that falls behind cannot hide it. `decision` is
from the receipt of a row to what it led to being journaled and handed out. `move_percent` is what the load adds to the
99th percentile of all decisions, `move_95` the interval of it when the pairs are drawn again, with replacement: above
10 the load costs too much, below it does not, around it this run cannot tell. `others_percent` is how busy the machine
was with anything else, of all its cores.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import quantai as qa
from quantai.notebook.promote.store import get
from quantai.notebook.serve import Served, serve
from serving.deployment import Deployment, read_json
from tests.serving_setting import KEYS, bentoml_home, promoted, until

N = 16
ARGS = {"rate": 500.0, "seconds": 3.0, "market": 200.0, "connections": 8}
DRAWS = 2_000
"""How often the pairs are drawn again for the interval."""

_VENUE = """
import sys
from quantai.cli import main
sys.exit(main(["venue", "--port", "0", "--synth", sys.argv[1], "--symbols", "BTC-USDT", "--rate", sys.argv[2]]))
"""


class Chase(qa.Strategy):
    """Moves an order a hundred times a second: thousands of decisions in a minute."""

    qty: float = 0.002
    turns: int = qa.state(0)

    def on_start(self, ctx: Any) -> None:
        """Act every ten milliseconds."""
        ctx.every(10 * qa.MS)

    def on_timer(self, ctx: Any) -> None:
        """Quote behind the best bid, a tick nearer or farther than the last time."""
        self.turns += 1
        book = ctx.book(0)
        if book.valid:
            ctx.quote(0, qa.BUY, book.bid_ticks - 20 - self.turns % 2, self.qty)


def run(seed: int, n: int, *, rate: float, seconds: float, market: float, connections: int) -> dict[str, Any]:
    """Measure `n` quiet times and `n` times under load."""
    with tempfile.TemporaryDirectory() as place, bentoml_home(Path(place) / "bentoml"):
        root, tag = Path(place) / "runs", promoted(Chase())
        with _venue(seed, market) as endpoint, _loop(tag, root, endpoint) as notes:
            one = serve(tag, venue="BINANCE", symbols=["BTC-USDT"], endpoint=endpoint, folder=root, wait=False)
            try:
                until(lambda: one.state["run"]["state"] == "trading", "the service")
                time.sleep(5.0)  # its own loop has come up, and waits for the lease
                before = _busy_s()
                spans, took = _alternate(one, n, seed, rate, seconds, connections)
                after = _busy_s()
            finally:
                one.stop()
        at, ns = np.frombuffer(notes.read_bytes(), "q").reshape(-1, 2).T
    pairs = [[ns[(at >= begin) & (at < end)] / 1e3 for begin, end in pair] for pair in spans]
    quiet, busy = (np.concatenate([pair[k] for pair in pairs]) for k in (0, 1))
    drawn = np.random.default_rng(seed).integers(0, n, (DRAWS, n))
    low, high = np.percentile([_move_percent([pairs[k] for k in pick]) for pick in drawn], [2.5, 97.5])
    others = (after[1] - before[1]) - (after[2] - before[2])
    return {
        "requests": len(took), "requests_per_s": round(len(took) / (n * seconds)),
        **{f"state_p{q}_ms": round(float(np.percentile(took, q)), 2) for q in (50, 99)},
        "decisions_quiet": len(quiet), "decisions_busy": len(busy),
        **{
            f"decision_p{q}_{name}_us": round(float(np.percentile(found, q)), 1)
            for q in (50, 99) for name, found in (("quiet", quiet), ("busy", busy))
        },
        "move_percent": round(_move_percent(pairs), 1), "move_95": [round(low, 1), round(high, 1)],
        "others_percent": round(100 * others / (after[0] - before[0]) / (os.cpu_count() or 1), 1),
    }  # fmt: skip


def _move_percent(pairs: list[list[Any]]) -> float:
    quiet, busy = (float(np.percentile(np.concatenate([pair[k] for pair in pairs]), 99)) for k in (0, 1))
    return 100 * (busy / quiet - 1)


def _busy_s() -> tuple[float, float, float]:
    """Return seconds: of the clock, of all processors at work, and of them for this process and all it started."""
    all_ = psutil.cpu_times()
    mine = 0.0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        used = process.cpu_times()
        mine += used.user + used.system
    return time.monotonic(), all_.user + all_.nice + all_.system, mine


def _alternate(
    one: Served, n: int, seed: int, rate: float, seconds: float, connections: int
) -> tuple[list[list[tuple[int, int]]], list[float]]:
    """Return when each pair was quiet and when it was busy (ns on the steady clock), and the answers' latencies, ms."""
    command = [sys.executable, "-m", "tests.bench._ask_state", one.address, KEYS["read"]]
    command += [str(rate), str(seconds), str(connections)]
    asker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert asker.stdin is not None
    assert asker.stdout is not None
    spans, took = list[list[tuple[int, int]]](), list[float]()
    try:
        for first in np.random.default_rng(seed).permutation(np.arange(n) % 2).tolist():
            pair = [(0, 0), (0, 0)]
            for kind in (first, 1 - first):
                begin = time.monotonic_ns()
                if kind:
                    asker.stdin.write("\n")
                    asker.stdin.flush()
                    begin, answers = json.loads(asker.stdout.readline())
                    took += answers
                else:
                    time.sleep(seconds)
                pair[kind] = begin, time.monotonic_ns()
            spans.append(pair)
    finally:
        asker.communicate()
    return spans, took


@contextmanager
def _venue(seed: int, market: float) -> Generator[str]:
    venue = subprocess.Popen(
        [sys.executable, "-c", _VENUE, str(seed), str(market)], stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": "."},
    )  # fmt: skip
    try:
        assert venue.stdout is not None
        yield json.loads(venue.stdout.readline())["rest"]
    finally:
        venue.terminate()
        venue.communicate(timeout=60)


@contextmanager
def _loop(tag: str, root: Path, endpoint: str) -> Generator[Path]:
    """Start the process that trades; yields the file that has each decision once it has ended."""
    deployment = Deployment(
        tag=tag, model=str(get(tag).folder), folder=str(root), venue="BINANCE", symbols=["BTC-USDT"], endpoint=endpoint
    )
    notes = root.parent / "notes"
    command = [sys.executable, "-m", "tests.bench._serve_loop", str(deployment.save()), str(notes)]
    with (root.parent / "loop.log").open("wb") as log:
        loop = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
    try:
        until(lambda: read_json(deployment.state).get("state") == "trading", "the run")
        yield notes
    finally:
        loop.terminate()
        loop.wait(60)

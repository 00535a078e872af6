"""What questions to a service cost the run: how fast the state is answered, and how much later the loop decides.

The exchange, the process that trades, the service and whoever asks are processes of their own, on this machine. Quiet
times and times with `rate` requests a second of `/state` take turns, `n` of each, `seconds` long. Latency of an answer
counts from when the request was due, so a service that falls behind cannot hide it. `decision` is from the receipt of
a row to what it led to being journaled and handed out; `move_percent` is what the load adds to its 99th percentile.
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

from quantai.notebook.serve import serve
from quantai.strategy.examples import Quote
from serving.deployment import Deployment, read_json
from tests.serving_setting import KEYS, bentoml_home, promoted, until

N = 4
ARGS = {"rate": 500.0, "seconds": 10.0, "market": 200.0, "connections": 8}

_VENUE = """
import sys
from quantai.cli import main
sys.exit(main(["venue", "--port", "0", "--synth", sys.argv[1], "--symbols", "BTC-USDT", "--rate", sys.argv[2]]))
"""


def run(seed: int, n: int, *, rate: float, seconds: float, market: float, connections: int) -> dict[str, Any]:
    """Measure `n` quiet times and `n` times under load."""
    with tempfile.TemporaryDirectory() as place, bentoml_home(Path(place) / "bentoml"):
        root = Path(place) / "runs"
        tag = promoted(Quote(offset=1, qty=0.002))
        venue = subprocess.Popen(
            [sys.executable, "-c", _VENUE, str(seed), str(market)], stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": "."},
        )  # fmt: skip
        try:
            assert venue.stdout is not None
            endpoint = json.loads(venue.stdout.readline())["rest"]
            return _measure(tag, root, endpoint, n, rate, seconds, connections)
        finally:
            venue.terminate()
            venue.wait(60)


def _measure(
    tag: str, root: Path, endpoint: str, n: int, rate: float, seconds: float, connections: int
) -> dict[str, Any]:
    from quantai.notebook.promote.store import get

    deployment = Deployment(
        tag=tag, model=str(get(tag).folder), folder=str(root), venue="BINANCE", symbols=["BTC-USDT"], endpoint=endpoint
    )
    notes = root.parent / "notes"
    command = [sys.executable, "-m", "tests.bench._serve_loop", str(deployment.save()), str(notes)]
    with (root.parent / "loop.log").open("wb") as log:
        loop = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
    spans: list[tuple[int, int, bool]] = []
    took: list[float] = []
    try:
        until(lambda: read_json(deployment.state).get("state") == "trading", "the run")
        one = serve(tag, venue="BINANCE", symbols=["BTC-USDT"], endpoint=endpoint, folder=root, wait=False)
        try:
            until(lambda: one.state["run"]["state"] == "trading", "the service")
            time.sleep(5.0)  # its own loop has come up, and waits for the lease
            for k in range(2 * n):
                begin = time.monotonic_ns()
                if k % 2:
                    took += _load(one.address, rate, seconds, connections)
                else:
                    time.sleep(seconds)
                spans.append((begin, time.monotonic_ns(), bool(k % 2)))
        finally:
            one.stop()
    finally:
        loop.terminate()
        loop.wait(60)
    at, ns = np.frombuffer(notes.read_bytes(), "q").reshape(-1, 2).T
    parts = {
        busy: np.concatenate([ns[(at >= a) & (at < b)] for a, b, x in spans if x is busy]) for busy in (False, True)
    }
    quiet, busy = (np.percentile(parts[k], [50, 99]) / 1e3 for k in (False, True))
    state = np.percentile(took, [50, 99])
    return {
        "requests": len(took), "requests_per_s": round(len(took) / (n * seconds)),
        "state_p50_ms": round(state[0], 2), "state_p99_ms": round(state[1], 2),
        "decisions_quiet": len(parts[False]), "decisions_busy": len(parts[True]),
        "decision_p50_quiet_us": round(quiet[0], 1), "decision_p50_busy_us": round(busy[0], 1),
        "decision_p99_quiet_us": round(quiet[1], 1), "decision_p99_busy_us": round(busy[1], 1),
        "move_percent": round(100 * (busy[1] / quiet[1] - 1), 1),
    }  # fmt: skip


def _load(address: str, rate: float, seconds: float, connections: int) -> list[float]:
    """Ask from another process, as clients do; returns how long each answer took, ms."""
    command = [sys.executable, "-m", "tests.bench._ask_state", address, KEYS["read"]]
    command += [str(rate), str(seconds), str(connections)]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)

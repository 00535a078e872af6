"""How long a user waits before anything happens: measured in fresh processes, each n times; the best counts.

import_s                 `import quantai`, less what an empty interpreter takes
load_s                   the first use of `qa.Strategy`, `qa.backtest` and `qa.Bars`: numba, pandas, our kernels
first_compile_s          the first backtest of a strategy whose source was never seen; other kernels are cached
second_process_s         the same source in another process
second_process_total_s   that whole process, from its start to its end
empty_cache_s            the first backtest with an empty cache: what a new installation waits, once

With `--peers`, `peers` holds the import time of libraries that do the same job, where they are installed.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

N = 5
ARGS = {"peers": False}
PEERS = ("backtesting", "vectorbt")

STRATEGY = """
import json, time
import quantai as qa
start = time.perf_counter()
qa.Strategy, qa.backtest, qa.Bars
loaded = time.perf_counter()
import numpy as np, pandas as pd
steps = np.random.default_rng({seed}).normal(0, 0.01, 500)
close = 100 * np.exp(np.cumsum(steps))
index = pd.date_range("2024-01-01", periods=500, freq="1min", tz="UTC")
frame = pd.DataFrame(dict(open=close, high=close, low=close, close=close, volume=1.0), index=index)
bars = qa.Bars.from_frame(frame, symbol="BTC-USDT")

class Fresh(qa.Strategy):
    fast: int = 10
    slow: int = 50
    ema_fast: float = qa.state(0.0)
    ema_slow: float = qa.state(0.0)

    def on_bar(self, ctx, bar):
        self.ema_fast += 2 / (self.fast + 1) * (bar.close - self.ema_fast)
        self.ema_slow += 2 / (self.slow + 1) * (bar.close - self.ema_slow) + {nonce} * 0.0
        ctx.target(1.0 if self.ema_fast > self.ema_slow else 0.0)

ready = time.perf_counter()
result = qa.backtest(Fresh(), bars)
assert len(result.equity) == 500
done = time.perf_counter()
print(json.dumps([loaded - start, done - ready]))
"""


def run(seed: int, n: int, peers: bool = False) -> dict[str, Any]:
    """Measure the figures named above, in seconds; `n` is how often each process is started."""
    bare = min(_wall("pass") for _ in range(n))
    figures: dict[str, Any] = {"import_s": min(_wall("import quantai") for _ in range(n)) - bare, "interpreter_s": bare}
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"QUANTAI_CACHE": f"{folder}/cache", "NUMBA_CACHE_DIR": f"{folder}/numba"}
        _, figures["empty_cache_s"], _ = _backtest(Path(folder), env, seed, nonce=0)
        first = [_backtest(Path(folder), env, seed, nonce=k + 1) for k in range(n)]
        second = [_backtest(Path(folder), env, seed, nonce=k + 1) for k in range(n)]
    figures["load_s"] = min(load for load, _, _ in second)
    figures["first_compile_s"] = min(took for _, took, _ in first)
    figures["second_process_s"] = min(took for _, took, _ in second)
    figures["second_process_total_s"] = min(total for _, _, total in second)
    if peers:
        figures["peers"] = {name: _wall(f"import {name}") - bare for name in PEERS if find_spec(name)}
    return {name: round(s, 4) if isinstance(s, float) else s for name, s in figures.items()}


def _wall(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def _backtest(folder: Path, env: dict[str, str], seed: int, nonce: int) -> tuple[float, float, float]:
    # One file for each nonce: the strategy's place in the file is part of what a cache may look at.
    script = folder / f"fresh_{nonce}.py"
    script.write_text(STRATEGY.format(seed=seed, nonce=nonce))
    start = time.perf_counter()
    ran = subprocess.run([sys.executable, str(script)], env=env, check=True, capture_output=True, text=True)
    total = time.perf_counter() - start
    load, took = json.loads(ran.stdout.splitlines()[-1])
    return load, took, total

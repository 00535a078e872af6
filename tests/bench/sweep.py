"""A crossover of two averages under many parameters on `n` bars: ours, a user's class, against vectorbt with Rust.

Each side runs in a process of its own, after a small sweep that compiles whatever it compiles; the best of `repeats`
counts, and the peak memory is that of the whole process. `ratio` is how many times as many variants a second we run;
`max_abs_diff` the largest difference between the total returns. Both decide at a close and trade all of equity at the
next open, for `fee_bps`.

vectorbt is used as its documentation does it, `MA.run`, `ma_crossed_above` and `Portfolio.from_signals`, with its Rust
engine wherever that takes the call; each average is computed once for all variants that share it. `ratio_to_tuned` is
the ratio to a version with less in it, signals made by hand in numpy instead of indicator objects. `rss_mb_of` shows
that 50 times as many variants need no more memory than their statistics: the same bars, 200 and 10 000 variants.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

N = 100_000
ARGS = {"variants": 200, "repeats": 7, "fee_bps": 5.0}
CASH = 100_000.0


def run(seed: int, n: int, variants: int = 200, repeats: int = 7, fee_bps: float = 5.0) -> dict[str, Any]:
    """Sweep `variants` parameter pairs over `n` random one-minute bars on both sides and compare."""
    with tempfile.TemporaryDirectory() as folder:
        data, small = Path(folder) / "bars.npz", Path(folder) / "small.npz"
        for path, size in ((data, n), (small, max(n // 10, 1000))):
            make_bars(path, seed, size)
        ours, peer = (_side(name, data, variants, repeats, fee_bps) for name in ("ours", "peer"))
        tuned = _side("tuned", data, variants, repeats, fee_bps)
        few, many = (_side("ours", small, k, 1, fee_bps) for k in (200, 10_000))
    rate, peer_rate = (n * variants / side["seconds"] for side in (ours, peer))
    differences = [np.abs(np.subtract(ours["total_return"], theirs["total_return"])) for theirs in (peer, tuned)]
    return {
        "ratio": rate / peer_rate,
        "ratio_to_tuned": tuned["seconds"] / ours["seconds"],
        "max_abs_diff": float(np.max(differences)),
        "bar_variants_per_s": rate,
        "peer_bar_variants_per_s": peer_rate,
        "cpu_ns_per_bar_variant": ours["cpu_seconds"] / (n * variants) * 1e9,
        "seconds": ours["seconds"],
        "peer_seconds": peer["seconds"],
        "tuned_peer_seconds": tuned["seconds"],
        "peak_rss_mb": ours["rss_mb"],
        "peer_peak_rss_mb": peer["rss_mb"],
        "tuned_peer_peak_rss_mb": tuned["rss_mb"],
        "rss_mb_of": {"200": few["rss_mb"], "10000": many["rss_mb"]},
        "peer": peer["version"],
    }


def make_bars(path: Path, seed: int, n: int) -> None:
    """Write open and close of `n` bars of a random walk in cents, opening where the last one closed give or take."""
    rng = np.random.default_rng(seed)
    close = np.round(100.0 * np.exp(np.cumsum(rng.normal(0.0, 1e-3, n))), 2)
    open_ = np.round(np.append(100.0, close[:-1]) + rng.integers(-1, 2, n) / 100.0, 2)
    np.savez(path, open=open_, close=close)


def frame_of(path: str) -> pd.DataFrame:
    """Read the bars back as a frame; the high and the low are those of open and close."""
    with np.load(path) as data:
        o, c = data["open"], data["close"]
    index = pd.date_range("2024-01-01", periods=len(o), freq="1min", tz="UTC")
    columns = {"open": o, "high": np.maximum(o, c), "low": np.minimum(o, c), "close": c, "volume": 1.0}
    return pd.DataFrame(columns, index)


def pairs(variants: int) -> list[tuple[int, int]]:
    """Return (fast, slow) of each variant: ten fast periods, and as many slow ones as it takes."""
    return [(5 + k % 10, 20 + k // 10 * 5) for k in range(variants)]


def ours(path: str, variants: int, repeats: int, fee_bps: float) -> dict[str, Any]:
    """Sweep a class as a user writes it."""
    import quantai as qa

    class Crossover(qa.Strategy):
        fast: int = 10
        slow: int = 50
        ema_fast = qa.ind.ema("fast")
        ema_slow = qa.ind.ema("slow")
        was_below: bool = qa.state(False)

        def on_bar(self, ctx: Any, bar: Any) -> None:
            fast, slow = self.ema_fast.update(bar.close), self.ema_slow.update(bar.close)
            if self.ema_slow.ready:
                if fast < slow:
                    self.was_below = True
                    ctx.target(0.0)
                elif fast > slow and self.was_below:
                    ctx.target(1.0)

    # as fine a grid as the peer's, which trades fractions without end
    bars = qa.Bars.from_frame(frame_of(path), qa.Instrument(symbol="ASSET", quote="USD", lot="1e-10"), "1m")
    chosen = [{"fast": fast, "slow": slow} for fast, slow in pairs(variants)]
    sweep = lambda some: qa.sweep(Crossover, bars, variants=some, cash=CASH, fee_bps=fee_bps)  # noqa: E731
    sweep(chosen[:2])
    best, cpu, swept = _best(lambda: sweep(chosen), repeats)
    return {"seconds": best, "cpu_seconds": cpu, "total_return": swept.frame()["total_return"].tolist()}


def peer(path: str, variants: int, repeats: int, fee_bps: float, tuned: bool = False) -> dict[str, Any]:
    """Sweep the same with vectorbt."""
    import vectorbt as vbt

    vbt.settings["engine"] = "rust" if tuned else "auto"  # the documented signals have steps that Rust does not take
    frame = frame_of(path)
    chosen = pairs(variants)

    def sweep(some: list[tuple[int, int]]) -> Any:
        fast, slow = (
            vbt.MA.run(frame["close"], window=[p[k] for p in some], ewm=True, run_unique=True, short_name=name)
            for k, name in enumerate(("fast", "slow"))
        )
        # a signal at one close is traded at the next open
        if tuned:
            above, below = fast.ma.to_numpy() > slow.ma.to_numpy(), fast.ma.to_numpy() < slow.ma.to_numpy()
            entries, exits = np.zeros(above.shape, bool), np.zeros(above.shape, bool)
            entries[2:], exits[2:] = above[1:-1] & below[:-2], below[1:-1] & above[:-2]
        else:
            entries, exits = (
                s.vbt.signals.fshift(1) for s in (fast.ma_crossed_above(slow), fast.ma_crossed_below(slow))
            )
        portfolio = vbt.Portfolio.from_signals(
            frame["close"], entries, exits, price=frame["open"], init_cash=CASH, fees=fee_bps / 1e4, freq="1min"
        )
        return portfolio.total_return()

    sweep(chosen[:2])
    best, cpu, total = _best(lambda: sweep(chosen), repeats)
    version = f"vectorbt {vbt.__version__}, engine {vbt.settings['engine']}"
    return {"seconds": best, "cpu_seconds": cpu, "total_return": np.asarray(total).tolist(), "version": version}


def _best(work: Any, repeats: int) -> tuple[float, float, Any]:
    took, made = list[tuple[float, float]](), None
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        made = work()
        took.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(t[0] for t in took), min(t[1] for t in took), made


def _side(name: str, path: Path, *args: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.sweep", name, str(path), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    side, file, count, times, bps = sys.argv[1:]
    sides = {"ours": ours, "peer": peer, "tuned": partial(peer, tuned=True)}
    figures = sides[side](file, int(count), int(times), float(bps))
    figures["rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1024 if sys.platform == "linux" else 2**20
    )
    print(json.dumps(figures))

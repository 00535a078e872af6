"""A market with something to find in it, and strategies that do or do not deserve to be promoted."""

from typing import Any

import numpy as np
import pandas as pd

import quantai as qa


def trending(n: int = 6_000, *, seed: int = 5, drift: float = 0.0015) -> qa.Bars:
    """Hourly bars of a market that goes up or down for about two weeks at a time."""
    rng = np.random.default_rng(seed)
    ways = np.repeat(rng.choice([1.0, -1.0], n // 200 + 1), 200)[:n]
    close = 100.0 * np.exp(np.cumsum(drift * ways + rng.normal(0.0, 0.006, n)))
    opened = np.concatenate([[100.0], close[:-1]])
    index = pd.date_range("2023-01-01", periods=n, freq="1h", tz="UTC")
    frame = pd.DataFrame(
        {
            "open": opened,
            "high": np.maximum(opened, close) * 1.001,
            "low": np.minimum(opened, close) * 0.999,
            "close": close,
            "volume": 1.0,
        },
        index=index,
    )
    return qa.Bars.from_frame(frame, symbol="BTC-USDT", interval="1h")


class Follow(qa.Strategy):
    """Long above its average, short below."""

    period: int = 30
    average = qa.ind.ema("period")

    def on_bar(self, ctx: Any, bar: Any) -> None:
        mean = self.average.update(bar.close)
        if self.average.ready:
            ctx.target(0.5 if bar.close > mean else -0.5)


class Level(qa.Strategy):
    """Long above a level that somebody fitted."""

    level: float = 100.0

    def on_bar(self, ctx: Any, bar: Any) -> None:
        ctx.target(0.5 if bar.close > self.level else -0.5)

"""`make demo`: a strategy of eight lines over twenty years of real S&P 500 bars, and a tear sheet to look at."""

from pathlib import Path
from typing import Any

import quantai as qa


class Cross(qa.Strategy):
    """Long while the fast average of the closes is above the slow one, else in cash."""

    fast: int = 20
    slow: int = 100
    ema_fast: float = qa.state(0.0)
    ema_slow: float = qa.state(0.0)

    def on_bar(self, ctx: Any, bar: Any) -> None:
        """Move both averages and be where they say."""
        self.ema_fast += 2 / (self.fast + 1) * (bar.close - self.ema_fast)
        self.ema_slow += 2 / (self.slow + 1) * (bar.close - self.ema_slow)
        ctx.target(1.0 if self.ema_fast > self.ema_slow else 0.0)


def main() -> None:
    """Run the backtest, write the tear sheet and say what was done."""
    bars = qa.samples.sp500()
    print(f"bars      {len(bars):,} real daily bars of the S&P 500, 1999 to 2018 (shipped with the package arch)")
    print("compiling the engine and the strategy; the engine only once on this machine, for a quarter of a minute")
    result = qa.backtest(Cross(), bars, fee_bps=1)
    print(f"strategy  {result.strategy!r}, compiled; market orders at the next open, 1 basis point of fees")
    stats = result.stats
    print(
        f"result    {stats['total_return']:+.1%} in {stats['trades']} trades, Sharpe {stats['sharpe']:.2f}, "
        f"worst drawdown {stats['max_drawdown']:.1%}"
    )
    out = Path("out")
    out.mkdir(exist_ok=True)
    sheet = result.tearsheet(out / "demo.html").resolve()
    print(f"sheet     {sheet}\n")
    print(f"Open {sheet.as_uri()} in a browser. Then `make lab`: notebooks/01_quickstart.ipynb goes on from here.")


if __name__ == "__main__":
    main()

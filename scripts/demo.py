"""`make demo`: the main job, offline. A market into a lake, bars out of it, a strategy over them and over real days."""

import tempfile
import time
from pathlib import Path
from typing import Any

import quantai as qa
from quantai.data.check import check


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


def say(step: str, text: str) -> None:
    """Print one line of the demo."""
    print(f"{step:<9} {text}", flush=True)


def fill_a_lake(root: Path) -> qa.Bars:
    """Store a synthetic market in a lake at `root`, check it, and return its ten-second bars."""
    market = qa.synth.market("BTC-USDT-PERP", hours=2, seed=7)
    lake = qa.Lake(root)
    started = time.perf_counter()
    rows = market.to_lake(lake)
    say(
        "lake",
        f"{rows:,} rows of a synthetic market (trades, book, quotes) stored in {time.perf_counter() - started:.1f} s",
    )
    busiest = lake.sql(
        "select strftime(date_trunc('minute', ts), '%H:%M') as minute, count(*) as n from trades "
        "group by minute order by n desc, minute limit 1"
    ).fetchall()[0]
    say("sql", f"the busiest minute was {busiest[0]} UTC with {busiest[1]:,} trades")
    report = check(lake)
    say(
        "check",
        f"{len(report.findings)} findings: no gaps, no disorder, no crossed book"
        if not report.findings
        else str(report),
    )
    return lake.bars("SYNTH", "BTC-USDT-PERP", "10s")


def main() -> None:
    """Run the whole job and say what was done."""
    say("compile", "the engine is compiled once on this machine: the first run takes a minute, later ones seconds")
    with tempfile.TemporaryDirectory() as folder:
        bars = fill_a_lake(Path(folder) / "lake")
        result = qa.backtest(Cross(), bars, fee_bps=1)
        say(
            "backtest",
            f"{len(bars):,} bars from the lake: {result.stats['total_return']:+.2%} in {result.stats['trades']} trades",
        )
    bars = qa.samples.sp500()
    say("bars", f"{len(bars):,} real daily bars of the S&P 500, 1999 to 2018 (shipped with the package arch)")
    sweep = qa.sweep(Cross, bars, fast=range(5, 60, 5), slow=range(60, 260, 20), fee_bps=1)
    say("sweep", f"{len(sweep)} variants in {sweep.seconds:.2f} s, the best {sweep.best('sharpe').strategy!r}")
    result = qa.backtest(Cross(), bars, fee_bps=1)
    stats = result.stats
    say(
        "result",
        f"{result.strategy!r}: {stats['total_return']:+.1%} in {stats['trades']} trades, "
        f"Sharpe {stats['sharpe']:.2f}, worst drawdown {stats['max_drawdown']:.1%}",
    )
    out = Path("out")
    out.mkdir(exist_ok=True)
    sheet = result.tearsheet(out / "demo.html").resolve()
    say("sheet", f"{sheet}\n")
    print(f"Open {sheet.as_uri()} in a browser. Then `make lab`: notebooks/01_quickstart.ipynb goes on from here.")


if __name__ == "__main__":
    main()

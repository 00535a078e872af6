"""`make demo`: the main job, offline: record, research, replay, trade on paper and at an exchange, promote and serve.

The exchange is our own, a process on this machine that speaks Binance's protocol. The clients that record and trade
there are the real ones, cryptofeed and ccxt.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import quantai as qa
from quantai.backtest.swept import Swept
from quantai.data.check import check
from quantai.execution.explain import explain
from quantai.execution.plan import Plan, paper_limits
from quantai.execution.retrace import retrace
from quantai.execution.trade import trade
from quantai.feeds import record_live
from quantai.strategy.examples import Quote

SYMBOL = "BTC-USDT"
RECORD_S, TRADE_S, SERVE_S = 15, 30, 30


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


@contextmanager
def exchange() -> Generator[dict[str, Any]]:
    """Serve an exchange in a process of its own; yields what it says of itself: addresses, keys."""
    command = [str(Path(sys.executable).with_name("quantai")), "venue", "--port", "0", "--synth", "7"]
    with subprocess.Popen([*command, "--symbols", SYMBOL, "--rate", "100"], stdout=subprocess.PIPE, text=True) as venue:
        try:
            yield json.loads(venue.stdout.readline() if venue.stdout else "")
        finally:
            venue.terminate()


def research(sheet: Path) -> Swept:
    """Run a strategy over real days, write what came of it, sweep it, and return the sweep."""
    bars = qa.samples.sp500()
    say("bars", f"{len(bars):,} real daily bars of the S&P 500, 1999 to 2018 (shipped with the package arch)")
    sweep = qa.sweep(Cross, bars, fast=range(5, 60, 5), slow=range(60, 260, 20), fee_bps=1)
    say("sweep", f"{len(sweep)} variants in {sweep.seconds:.2f} s, the best {sweep.best('sharpe').strategy!r}")
    result = qa.backtest(Cross(), bars, fee_bps=1)
    stats = result.stats
    say(
        "backtest",
        f"{result.strategy!r}: {stats['total_return']:+.1%} in {stats['trades']} trades, "
        f"Sharpe {stats['sharpe']:.2f}, worst drawdown {stats['max_drawdown']:.1%}",
    )
    result.tearsheet(sheet)
    return sweep


def record(address: dict[str, Any], lake: qa.Lake) -> qa.Tape:
    """Record the exchange through cryptofeed, look at what came, and return it as a tape."""
    report = asyncio.run(
        record_live(
            "BINANCE",
            [SYMBOL],
            ["trades", "l2_book", "ticker"],
            lake,
            redirect=(address["ws"], address["rest"]),
            seconds=RECORD_S,
        )
    )
    say("record", f"{report.new.total:,} rows of {SYMBOL} in {report.seconds:.0f} s, {report.new.gaps} gaps")
    spread = lake.sql("select round(avg(ask - bid), 2) from quotes where venue = 'BINANCE'").fetchone()
    say("sql", f"the average spread was {spread[0] if spread else '-'} USDT")
    say("check", f"{len(check(lake).findings)} findings: gaps, disorder, crossed books, duplicates")
    return lake.tape([SYMBOL], venue="BINANCE")


def traded(mode: Literal["paper", "live"], address: dict[str, Any], journal: Path) -> None:
    """Trade at the exchange, then run the journal again and compare every decision."""
    plan = Plan(
        strategies=[(Quote(), "quantai.strategy.examples:Quote")],
        venues={"BINANCE": [SYMBOL]},
        mode=mode,
        journal=journal,
        limits=paper_limits(),
        understood=True,  # that a live run sends real orders: here to a process of our own
        endpoint=address["rest"],
        seconds=TRADE_S,
        lots={SYMBOL: "0.00001"},
    )
    done = asyncio.run(trade(plan))
    say(mode, f"{done.orders} orders, {done.fills} fills in {TRADE_S} s; equity {done.equity:,.2f} USDT")
    proof = retrace(journal)
    same = "the same to the byte" if proof.same else f"NOT the same: {proof.differences[0]}"
    say("again", f"the journal, run again, decides {same}")
    say("explain", explain(journal).words)


def served(swept: Swept, address: dict[str, Any]) -> None:
    """Put the best variant before the gates, serve it on paper at the exchange, and ask the service what it does."""
    reason = "a demonstration on paper, for seconds"
    version = qa.promote(swept, name="demo", override=dict.fromkeys(("warmup", "trades", "validation"), reason))
    for gate in version.gates:
        if gate.outcome == "fail":
            say("gates", f"{gate.name}: {gate.reason}")
    say("promote", f"these gates refuse it; stored as {version.tag} with the reason {reason!r}")
    service = qa.serve(version, venue="BINANCE", symbols=[SYMBOL], interval="1s", endpoint=address["rest"])
    try:
        until = time.monotonic() + SERVE_S
        while not (intents := service.ask("intents")["intents"]) and time.monotonic() < until:
            time.sleep(0.5)
        say("serve", f"{version.tag} trades on paper; GET /intents: {intents[:1] or 'nothing yet'}")
        say("control", f"POST /pause: {service.ask('pause', 'POST')}")
    finally:
        service.stop()


def main() -> None:
    """Run the whole job and say what was done."""
    started = time.perf_counter()
    say("compile", "the engine is compiled once on this machine: the first run takes minutes, later ones about two")
    out = Path("out")
    out.mkdir(exist_ok=True)
    swept = research(out / "demo.html")
    with tempfile.TemporaryDirectory() as folder, exchange() as address:
        os.environ["BENTOML_HOME"] = str(Path(folder, "bentoml"))  # a model store for this demonstration alone
        os.environ |= {"QUANTAI_BINANCE_KEY": address["key"], "QUANTAI_BINANCE_SECRET": address["secret"]}
        tape = record(address, qa.Lake(Path(folder) / "lake"))
        replay = qa.replay(Quote(), tape)
        say("replay", f"{len(tape):,} rows of the tape: {len(replay.fills)} fills of a market maker")
        for mode in ("paper", "live"):
            traded(mode, address, Path(folder) / f"{mode}.journal")
        served(swept, address)
    say("done", f"in {time.perf_counter() - started:.0f} s")
    sheet = (out / "demo.html").resolve()
    say("sheet", f"{sheet}\n")
    print(f"Open {sheet.as_uri()} in a browser. Then `make lab`: notebooks/01_quickstart.ipynb goes on from here.")


if __name__ == "__main__":
    main()

"""`quantai backtest`: run a strategy over bars and write what it would have done."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from quantai.cli import given
from quantai.cli.output import Json, emit

EXAMPLES = """
quantai backtest quantai.strategy.examples:Cross --data sp500
quantai backtest my_strategy.py:Cross --data prices.csv --interval 1d --tz UTC --param fast=5 --out sheet.html
quantai backtest my_strategy.py:Cross --lake lake --venue BINANCE --symbol BTC-USDT --interval 1m --json
"""


def backtest(
    strategy: Annotated[str, typer.Argument(help="module:Class or file.py:Class")],
    data: Annotated[str, typer.Option(help="sp500, nasdaq, or a csv or Parquet file of bars")] = "",
    lake: given.Lake = None,
    venue: given.Venue = "",
    symbol: given.Symbol = "",
    interval: given.Interval = "",
    tz: given.Zone = "",
    start: given.Start = "",
    end: given.End = "",
    param: given.Param = None,
    params: given.Params = "{}",
    cash: Annotated[float, typer.Option(help="Starting balance.")] = 100_000.0,
    fee_bps: given.FeeBps = 0.0,
    slip_bps: given.SlipBps = 0.0,
    leverage: Annotated[float, typer.Option(help="Most gross exposure, times equity.")] = 1.0,
    out: Annotated[Path | None, typer.Option(help="Write the tear sheet (one HTML file) here.")] = None,
    journal: Annotated[Path | None, typer.Option(help="Record the run in this journal, for `quantai replay`.")] = None,
    json: Json = False,
) -> None:
    """Run a strategy over bars and print its statistics; write the tear sheet with --out."""
    from quantai.backtest import backtest as run
    from quantai.backtest.recorded import record_run
    from quantai.strategy.load import load_strategy

    with contextlib.redirect_stdout(sys.stderr):  # what the file prints is not the answer
        cls = load_strategy(strategy)
    bars = given.bars_of(data, lake, venue, symbol, interval, tz, start, end)
    instance = cls(**given.params_of(params, param or []))
    settings: dict[str, Any] = {"cash": cash, "fee_bps": fee_bps, "slip_bps": slip_bps, "leverage": leverage}
    if journal is None:
        result = run(instance, bars, **settings)
    else:
        result = record_run(instance, bars, journal, named=strategy, **settings)
    written = result.tearsheet(out) if out else None
    answer: dict[str, Any] = {"strategy": repr(result.strategy), "stats": result.stats, "rules": result.rules}
    if json:
        answer |= {"params": result.strategy.params, "provenance": result.provenance, "refused": result.refused}
    written_to = {"tearsheet": written, "journal": journal}
    emit(answer | {name: path for name, path in written_to.items() if path}, json)

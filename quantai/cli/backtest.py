"""`quantai backtest`: run a strategy over bars and write what it would have done."""

import contextlib
import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from quantai.cli.output import Json, emit
from quantai.core.errors import InputError

EXAMPLES = """
quantai backtest quantai.strategy.examples:Cross --data sp500
quantai backtest my_strategy.py:Cross --data prices.csv --interval 1d --tz UTC --param fast=5 --out sheet.html
quantai backtest my_strategy.py:Cross --lake lake --venue BINANCE --symbol BTC-USDT --interval 1m --json
"""


def backtest(
    strategy: Annotated[str, typer.Argument(help="module:Class or file.py:Class")],
    data: Annotated[str, typer.Option(help="sp500, nasdaq, or a csv or Parquet file of bars")] = "",
    lake: Annotated[Path | None, typer.Option(help="Take bars from this lake instead of --data.")] = None,
    venue: Annotated[str, typer.Option(help="Venue in the lake, for example BINANCE.")] = "",
    symbol: Annotated[str, typer.Option(help="Symbol in the lake, for example BTC-USDT.")] = "",
    interval: Annotated[str, typer.Option(help="Bar interval, for example 1m or 1d.")] = "",
    tz: Annotated[str, typer.Option(help="Zone of the times in the file when they carry none.")] = "",
    start: Annotated[str, typer.Option(help="First instant, ISO 8601; default: all there is.")] = "",
    end: Annotated[str, typer.Option(help="End, exclusive, ISO 8601.")] = "",
    param: Annotated[list[str] | None, typer.Option(help="A parameter, name=value; may be repeated.")] = None,
    params: Annotated[str, typer.Option(help="Parameters as JSON, for example '{\"fast\": 5}'.")] = "{}",
    cash: Annotated[float, typer.Option(help="Starting balance.")] = 100_000.0,
    fee_bps: Annotated[float, typer.Option(help="Fee on notional, basis points.")] = 0.0,
    slip_bps: Annotated[float, typer.Option(help="Slippage of market and stop fills, basis points.")] = 0.0,
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
    bars = bars_of(data, lake, venue, symbol, interval, tz, start, end)
    instance = cls(**params_of(params, param or []))
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


def bars_of(data: str, lake: Path | None, venue: str, symbol: str, interval: str, tz: str, start: str, end: str) -> Any:
    """Return the bars that the options name; raises InputError where they name none, or two."""
    if bool(data) == (lake is not None):
        raise InputError(
            "say where the bars are: either --data sp500 | nasdaq | FILE, or --lake DIR with --venue and --symbol"
        )
    if lake is not None:
        if not (venue and symbol):
            raise InputError("a lake needs --venue and --symbol, for example --venue BINANCE --symbol BTC-USDT")
        from quantai.data.lake import Lake

        return Lake(lake).bars(venue, symbol, interval or "1m", start or None, end or None)
    if data in ("sp500", "nasdaq"):
        from quantai.data import samples

        bars = getattr(samples, data)()
    else:
        from quantai.data.importers import read_bars

        if not interval:
            raise InputError("a file of bars needs --interval, for example --interval 1d")
        bars = read_bars(Path(data), symbol or "ASSET", interval, tz=tz or None)
    return bars.between(start or "1678", end or "2262") if start or end else bars


def params_of(text: str, pairs: list[str]) -> dict[str, Any]:
    """Return parameters given as a JSON object and as name=value; raises InputError."""
    try:
        given = jsonlib.loads(text)
    except ValueError as e:
        raise InputError(f"--params is not JSON: {e}") from None
    if not isinstance(given, dict):
        raise InputError("--params is a JSON object, for example '{\"fast\": 5}'")
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"--param is name=value, not {pair!r}")
        try:
            given[name] = jsonlib.loads(value)
        except ValueError:
            raise InputError(f"--param {name}: {value!r} is not a number or true or false") from None
    return given

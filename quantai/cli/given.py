"""What several commands are given in the same words: where bars are, and the parameters of a strategy."""

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer

from quantai.core.errors import DataError, InputError

Lake = Annotated[Path | None, typer.Option(help="Take bars from this lake instead of --data.")]
Venue = Annotated[str, typer.Option(help="Venue in the lake, for example BINANCE.")]
Symbol = Annotated[str, typer.Option(help="Symbol in the lake, for example BTC-USDT.")]
Interval = Annotated[str, typer.Option(help="Bar interval, for example 1m or 1d.")]
Zone = Annotated[str, typer.Option(help="Zone of the times in the file when they carry none.")]
Start = Annotated[str, typer.Option(help="First instant, ISO 8601; default: all there is.")]
End = Annotated[str, typer.Option(help="End, exclusive, ISO 8601.")]
Param = Annotated[list[str] | None, typer.Option(help="A parameter, name=value; may be repeated.")]
Params = Annotated[str, typer.Option(help="Parameters as JSON, for example '{\"fast\": 5}'.")]
FeeBps = Annotated[float, typer.Option(help="Fee on notional, basis points.")]
SlipBps = Annotated[float, typer.Option(help="Slippage of market and stop fills, basis points.")]


def check_lake(root: Path) -> None:
    """Raise DataError where there is no lake: what it lacks would be told instead, such as a venue or rows."""
    if not root.is_dir():
        raise DataError(f"there is no lake at {root}: pass --lake, or record, pull or import something first")


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

        opened = Lake(lake)
        check_lake(opened.root)
        return opened.bars(venue, symbol, interval or "1m", start or None, end or None)
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

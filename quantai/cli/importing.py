"""`quantai import`: bars or trades from files of anybody's, and LEAN's data folder, into a lake."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from quantai.cli.output import Json, emit

EXAMPLES = """
quantai import btc_1m.csv --venue BINANCE --symbol BTC-USDT --interval 1m
quantai import spy.csv --venue USA --symbol SPY --interval 1d --tz America/New_York --column time=Date
quantai import trades-*.parquet --what trades --venue OKX --symbol BTC-USDT-PERP
quantai import klines.zip --venue BINANCE --symbol BTC-USDT --interval 1m --names time,open,high,low,close,volume
quantai import Lean/Data/equity --what lean
"""


def importing(
    files: Annotated[
        list[Path], typer.Argument(help="csv or Parquet files; with --what lean, archives or their folder.")
    ],
    what: Annotated[Literal["bars", "trades", "lean"], typer.Option(help="What the files hold.")] = "bars",
    venue: Annotated[str, typer.Option(help="Where it traded: BINANCE, USA, …")] = "",
    symbol: Annotated[str, typer.Option(help="Normalised: SPY, BTC-USDT, BTC-USDT-PERP, …")] = "",
    interval: Annotated[str, typer.Option(help="Length of a bar: 1m, 1h, 1d, …")] = "",
    column: Annotated[
        list[str] | None,
        typer.Option(help="Which column is which, as PART=NAME; may be repeated.", metavar="PART=NAME"),
    ] = None,
    names: Annotated[str | None, typer.Option(help="Columns of a csv without a header, with commas between.")] = None,
    tz: Annotated[str | None, typer.Option(help="Zone of times that carry none: UTC, America/New_York, …")] = None,
    unit: Annotated[
        Literal["s", "ms", "us", "ns"] | None,
        typer.Option(help="Unit of times that are numbers; told from the values if not given."),
    ] = None,
    label: Annotated[
        Literal["open", "close"], typer.Option(help="Whether a bar's time is its open or its close.")
    ] = "open",
    sort: Annotated[bool, typer.Option("--sort", help="Sort rows that are not in order of time.")] = False,
    dedupe: Annotated[bool, typer.Option("--dedupe", help="Drop rows that are there twice.")] = False,
    lake: Annotated[Path | None, typer.Option(help="Folder of the lake; the setting lake when not given.")] = None,
    json: Json = False,
) -> None:
    """Import files of bars or trades, or LEAN archives; what the lake has already is not stored again.

    A file is stored whole or not at all: anything wrong in it is one line that names the row and what to do. An import
    that was interrupted goes on when it is run again.
    """
    from quantai.data import Lake, to_iso

    opened = Lake(lake)
    if what == "lean":
        from quantai.data.lean import import_lean

        done = [import_lean(opened, path, quiet=json) for path in files]
        rows: dict[str, int] = {}
        for table, n in (item for one in done for item in one.rows.items()):
            rows[table] = rows.get(table, 0) + n
        archives, known = sum(d.archives for d in done), sum(d.known for d in done)
        emit({"what": what, "rows": rows, "archives": archives, "known": known, "lake": opened.root}, json)
        return
    required = {"--venue": venue, "--symbol": symbol} | ({"--interval": interval} if what == "bars" else {})
    for option, value in required.items():
        if not value:
            raise typer.BadParameter(f"{option} is missing: a file of {what} does not say it")
    from quantai.data.importers import Imported, import_bars, import_trades

    columns = dict(_pair(text) for text in column or [])
    listed = names.split(",") if names else None
    imported: list[Imported] = []
    for path in files:
        if what == "bars":
            one = import_bars(
                opened,
                path,
                venue,
                symbol,
                interval,
                columns=columns,
                names=listed,
                tz=tz,
                unit=unit,
                label=label,
                sort=sort,
                dedupe=dedupe,
            )
        else:
            one = import_trades(
                opened,
                path,
                venue,
                symbol,
                columns=columns,
                names=listed,
                tz=tz,
                unit=unit,
                sort=sort,
                dedupe=dedupe,
                quiet=json,
            )
        imported.append(one)
    emit(
        {
            "what": what,
            "venue": venue,
            "symbol": symbol,
            "files": len(imported),
            "rows": sum(i.rows for i in imported),
            "added": sum(i.added for i in imported),
            "first": to_iso(min(i.first_ts for i in imported)),
            "last": to_iso(max(i.last_ts for i in imported)),
            "lake": opened.root,
        },
        json,
    )


def _pair(text: str) -> tuple[str, str]:
    part, equals, name = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"--column {text!r}: write PART=NAME, such as time=Date")
    return part, name

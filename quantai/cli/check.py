"""`quantai check`: what is damaged, missing, out of order or impossible in a lake."""

from pathlib import Path
from typing import Annotated

import typer

from quantai.cli.given import check_lake
from quantai.cli.output import Json, emit
from quantai.core.errors import DataError

EXAMPLES = """
quantai check
quantai check --lake ~/lake --venue BINANCE --symbol BTC-USDT
quantai check --lake ~/lake --table trades --stale 1m --json
quantai check --lake ~/lake --quarantine
"""


def check(
    lake: Annotated[Path | None, typer.Option(help="Folder of the lake; the setting lake when not given.")] = None,
    table: Annotated[str | None, typer.Option(help="Only this table: trades, levels, quotes, bars, …")] = None,
    venue: Annotated[str | None, typer.Option(help="Only this venue.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only this symbol.")] = None,
    stale: Annotated[
        str, typer.Option(help="Silence in trades, levels and quotes that is reported: 30s, 5m, …")
    ] = "5m",
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Move damaged files aside, so that the rest can be read again.")
    ] = False,
    json: Json = False,
) -> None:
    """Read every file of a lake and list gaps, disorder, crossed books, duplicates, impossible values and damage.

    Findings are facts to judge, not failures: the exit code is 0 with them. It is 1 when a file cannot be read and was
    not moved aside.
    """
    from quantai.data import Lake
    from quantai.data.check import check as look
    from quantai.data.check import quarantine as move_aside

    opened = Lake(lake)
    check_lake(opened.root)
    report = look(opened, table, venue, symbol, stale=stale, quiet=json)
    moved = move_aside(opened.root, report) if quarantine else []
    answer = {
        "lake": opened.root,
        "rows": report.rows,
        "partitions": report.partitions,
        "findings": report.counts(),
        "damaged": [f.path for f in report.damaged],
        "quarantined": moved,
    }
    if json:
        emit(answer | {"details": report.findings, "latencies": report.latencies}, as_json=True)
    else:
        typer.echo(report)
        if moved:
            typer.echo(f"moved {len(moved)} damaged files to {opened.root / 'quarantine'}")
    if report.damaged and not quarantine:
        first, more = report.damaged[0].example, len(report.damaged) - 1
        others = f" and {more} more" if more else ""
        raise DataError(f"damaged: {first}{others}; move aside with: quantai check --lake {opened.root} --quarantine")

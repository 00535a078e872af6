"""`quantai pull`: historical bars or trades from a venue into a lake."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from quantai.cli.output import Json, emit

EXAMPLES = """
quantai pull BINANCE BTC-USDT --interval 1m --start 2024-01-01 --end 2024-01-08
quantai pull BINANCE_FUTURES BTC-USDT-PERP --what trades --start 2024-08-08T12:00:00Z --end 2024-08-08T13:00:00Z
quantai pull OKX ETH-USDT --interval 1d --start 2020-01-01 --lake ~/lake --json
"""


def pull(
    venue: Annotated[str, typer.Argument(help="As the recorder spells it: BINANCE, BINANCE_FUTURES, OKX, …")],
    symbol: Annotated[str, typer.Argument(help="Normalised: BTC-USDT, BTC-USDT-PERP, BTC-USD-20270326, …")],
    start: Annotated[str, typer.Option(help="First instant: 2024-01-01, or 2024-01-01T12:00:00Z.")],
    end: Annotated[str | None, typer.Option(help="First instant that is left out; now if not given.")] = None,
    what: Annotated[Literal["bars", "trades"], typer.Option(help="What to download.")] = "bars",
    interval: Annotated[str, typer.Option(help="Length of a bar: 1m, 5m, 1h, 1d, …")] = "1m",
    lake: Annotated[Path | None, typer.Option(help="Folder of the lake; the setting lake when not given.")] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Send the requests to this URL instead, such as a proxy.", metavar="URL")
    ] = None,
    json: Json = False,
) -> None:
    """Download the bars or trades of a range that the lake does not have yet.

    Stop it at any moment and run it again: it goes on where it was, adds no row twice and leaves none out. A bar that
    is not over yet is left for the next time. Needs the `live` extra (ccxt); no key or account.
    """
    from quantai.data import Lake, to_iso
    from quantai.data.history import pull as download

    opened = Lake(lake)
    got = download(opened, venue, symbol, what, interval=interval, start=start, end=end, endpoint=endpoint, quiet=json)
    emit(
        {
            "venue": got.venue,
            "symbol": got.symbol,
            "what": got.what,
            "interval": got.interval or None,
            "rows": got.rows,
            "start": to_iso(got.start_ts),
            "end": to_iso(got.end_ts),
            "empty": [f"{to_iso(a)}/{to_iso(b)}" for a, b in got.empty],
            "lake": opened.root,
        },
        json,
    )

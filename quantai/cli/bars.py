"""`quantai bars`: bars of any interval from a lake's trades."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quantai.cli.given import check_lake
from quantai.cli.output import Json, emit
from quantai.core.errors import InputError
from quantai.data.manifest import storage

if TYPE_CHECKING:
    from quantai.data import Bars

EXAMPLES = """
quantai bars --venue BINANCE --symbol BTC-USDT --by 1m
quantai bars --venue BINANCE_FUTURES --symbol BTC-USDT-PERP --by "1e6 dollar" --start 2024-08-08 --end 2024-08-09
quantai bars --venue OKX --symbol ETH-USDT --by "100 ticks" --out eth.parquet --json
"""


def bars(
    venue: Annotated[str, typer.Option(help="As the lake spells it: BINANCE, OKX, …")],
    symbol: Annotated[str, typer.Option(help="Normalised: BTC-USDT, BTC-USDT-PERP, …")],
    by: Annotated[str, typer.Option(help='1s, 5m, 1h, 1d, "100 ticks", "50 volume" or "1e6 dollar".')] = "1m",
    start: Annotated[str | None, typer.Option(help="First opening: 2024-08-08, or 2024-08-08T12:00:00Z.")] = None,
    end: Annotated[str | None, typer.Option(help="First opening that is left out.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write them to this .parquet or .csv file as well.")] = None,
    lake: Annotated[Path | None, typer.Option(help="Folder of the lake; the setting lake when not given.")] = None,
    json: Json = False,
) -> None:
    """Build bars from trades and store them in the lake, where backtests find them; the same bars are stored once.

    A time bar is whole: --start and --end move up to the next boundary. What a bar of trades, volume or dollars holds
    is told in docs/lake.md.
    """
    from quantai.data import Lake, to_iso

    if out is not None and out.suffix not in (".parquet", ".csv"):
        raise InputError(f"--out {out}: the name must end in .parquet or .csv")
    opened = Lake(lake)
    check_lake(opened.root)
    made = opened.build_bars(venue, symbol, by, start, end, quiet=json)
    # a source of its own for each kind of bars: two commands may run at once
    added = opened.add_bars(made, f"bars-{venue}-{symbol}-{made.interval.replace(' ', '-')}")
    if out is not None:
        _write(made, out)
    emit(
        {
            "venue": venue,
            "symbol": symbol,
            "interval": made.interval,
            "bars": len(made),
            "added": added,
            "trades": int(made.rows["trades"].sum()),
            "source": made.source,
            "first": to_iso(int(made.rows["ts_open"][0])) if len(made) else None,
            "last": to_iso(int(made.rows["ts_close"][-1])) if len(made) else None,
            "lake": opened.root,
            "out": out,
        },
        json,
    )


def _write(bars: "Bars", out: Path) -> None:
    import pyarrow.csv
    import pyarrow.parquet

    temporary = out.with_name(out.name + ".tmp")
    with storage(out.parent):
        try:
            if out.suffix == ".csv":
                pyarrow.csv.write_csv(bars.arrow(), temporary)
            else:
                pyarrow.parquet.write_table(bars.arrow(), temporary, compression="zstd")
            temporary.rename(out)
        finally:
            temporary.unlink(missing_ok=True)

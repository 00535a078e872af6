"""`quantai serve`: a promoted version behind BentoML, until Ctrl-C or SIGTERM."""

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from quantai.cli.output import Json, emit
from quantai.core.errors import StorageError
from quantai.ops.config import settings

EXAMPLES = """
quantai serve btc-cross --venue BINANCE --symbols BTC-USDT --interval 1m --port 3000
quantai serve btc-cross:challenger --mode shadow --venue BINANCE --symbols BTC-USDT --interval 1m
quantai serve btc-cross:20260102t030405-0a1b2c3d --mode live --venue BINANCE --symbols BTC-USDT --sandbox
quantai serve btc-cross --mode signal --port 3001
quantai serve quote --venue BINANCE --symbols BTC-USDT --endpoint http://127.0.0.1:9300
"""


def serve(
    what: Annotated[str, typer.Argument(help="NAME (its champion), NAME:challenger or NAME:VERSION.")],
    mode: Annotated[str, typer.Option(help="shadow, paper, live, or signal: it trades nothing and answers.")] = "paper",
    port: Annotated[int, typer.Option(help="Where the API answers; 0 takes a free port.")] = 3000,
    venue: Annotated[str, typer.Option(help="The venue [default: that of the data it was promoted on].")] = "",
    symbols: Annotated[str, typer.Option(help="What to trade, separated by commas [default: as promoted].")] = "",
    interval: Annotated[str, typer.Option(help="Length of bars [default: as promoted].")] = "",
    endpoint: Annotated[str, typer.Option(help="Dial this address instead of the venue's.")] = "",
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Use the venue's test network.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Lease, journals, keys; shared by services of a name.")] = None,
    lake: Annotated[str, typer.Option(help="Warm up from this lake.")] = "",
    cash: Annotated[float, typer.Option(help="What a paper account starts with.")] = 100_000.0,
    at_end: Annotated[str, typer.Option(help="What becomes of orders at the end: cancel, flatten or keep.")] = "cancel",
    workers: Annotated[int, typer.Option(help="Processes that answer HTTP; one trades, however many.")] = 1,
    json: Json = False,
) -> None:
    """Serve a promoted version: one process trades it under a lease, the API says what it does and takes decisions.

    The keys of the API are in keys.toml of the folder, or in QUANTAI_API_KEYS ("operate:KEY read:KEY").
    """
    from quantai.notebook.serve import PATIENCE_S
    from quantai.notebook.serve import serve as run

    more: dict[str, Any] = {
        "interval": interval, "endpoint": endpoint, "sandbox": sandbox, "lake": lake, "cash": cash, "at_end": at_end,
    }  # fmt: skip
    listed = [item.strip() for item in symbols.split(",") if item.strip()]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, from here on: what was started is ended
    more |= {"symbols": listed, "mode": mode, "port": port, "folder": folder, "workers": workers}
    served = run(what, venue=venue, lasting=False, **more)
    try:
        keys = str(settings().service.keys or served.folder / "keys.toml")
        emit({"tag": served.tag, "mode": mode, "address": served.address, "keys": keys}, json)
        code = served.process.wait()
    except KeyboardInterrupt:
        served.stop(PATIENCE_S)
        code = served.process.returncode
    if code not in (0, -signal.SIGTERM, -signal.SIGINT):
        raise StorageError(f"the server of {served.tag} ended with {code}: look into {served.folder / 'server.log'}")

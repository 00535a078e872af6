"""`quantai venue`: the loopback exchange on a port of this machine."""

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quantai.cli.output import Json, emit
from quantai.core.errors import DataError, InputError, MissingExtra

if TYPE_CHECKING:
    from quantai.core.instruments import Instruments
    from quantai.core.rows import Rows
    from quantai.venues.loopback import LoopbackExchange

EXAMPLES = """
quantai venue --port 9300
quantai venue --port 0 --synth 7 --symbols BTC-USDT,ETH-USDT --rate 200 --json
quantai venue --tape day.tape --speed 10
quantai venue --capture session.pcap.zst --fault drop:stream=*@depth*,p=0.01 --fault http:path=*/order,count=3
"""

Port = Annotated[int, typer.Option(min=0, max=65535, help="The port on 127.0.0.1; 0 takes one that is free.")]
Capture = Annotated[Path | None, typer.Option(help="Act out a capture (.pcap.zst) or raw frames (.jsonl.zst).")]
TapeFile = Annotated[Path | None, typer.Option("--tape", help="Act out a tape.")]
Synth = Annotated[int | None, typer.Option(min=0, help="The seed of a synthetic market [default: 1].")]
Speed = Annotated[float, typer.Option(min=1e-6, help="How many times as fast as the market's own pace.")]
Faults = Annotated[
    list[str] | None, typer.Option("--fault", help="What goes wrong: NAME or NAME:key=value,… (again for more).")
]
Symbols = Annotated[str, typer.Option(help="What a synthetic market lists, spot and perpetual of each pair.")]
Rate = Annotated[float, typer.Option(min=0.001, help="Actions of a synthetic market a second and symbol.")]
Limits = Annotated[bool, typer.Option("--rate-limits", help="Enforce rate limits instead of only counting.")]


def venue(
    port: Port = 9300,
    capture: Capture = None,
    tape: TapeFile = None,
    synth: Synth = None,
    speed: Speed = 1.0,
    fault: Faults = None,
    symbols: Symbols = "BTC-USDT,ETH-USDT,SOL-USDT",
    rate: Rate = 20.0,
    rate_limits: Limits = False,
    json: Json = False,
) -> None:
    """Serve an exchange on this machine that speaks Binance's spot and USD-M futures protocol.

    Prints one line of JSON with its addresses when it is ready, --json or not, and serves until SIGTERM or Ctrl-C.
    Nothing leaves this machine.
    """
    if sum(x is not None for x in (capture, tape, synth)) > 1:
        raise InputError("choose one market: --capture, --tape or --synth")
    try:
        from quantai.venues.loopback import LoopbackExchange
    except ImportError as error:
        if error.name != "aiohttp":
            raise
        raise MissingExtra("aiohttp", "live") from None
    rows, instruments = (None, None)
    if capture is not None:
        if capture.is_file() and not capture.stat().st_size:
            raise DataError(f"{capture} is empty: give a capture (.pcap.zst) or raw frames (.jsonl.zst)")
        rows, instruments = asyncio.run(captured(capture))
    elif tape is not None:
        from quantai.data.tape import Tape

        opened = Tape.open(tape)
        rows, instruments = opened.rows, opened.instruments
    exchange = LoopbackExchange(
        [s.strip() for s in symbols.split(",") if s.strip()],
        port=port,
        seed=1 if synth is None else synth,
        rate_hz=rate,
        speed=speed,
        rows=rows,
        instruments=instruments,
        faults=fault or [],
        limited=rate_limits,
    )
    asyncio.run(_serve(exchange))


async def _serve(exchange: "LoopbackExchange") -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with exchange:
        emit(exchange.addresses() | {"pid": os.getpid()}, as_json=True)  # a line for programs, whoever asks
        ends = [asyncio.create_task(event.wait()) for event in (stop, exchange.failed)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in ends:
            task.cancel()


async def captured(path: Path) -> "tuple[Rows, Instruments]":
    """Return every row of a capture with the instruments it numbers; raises DataError when it is none."""
    import numpy as np

    from quantai.core.rows import EVENT, zeros
    from quantai.feeds import CaptureFeed

    feed = CaptureFeed(path)
    await feed.connect()
    feed.subscribe()
    rows = [batch.events async for batch in feed.batches()]
    return np.concatenate(rows) if rows else zeros(0, EVENT), feed.instruments

"""`quantai record`: market data from a venue, or from a capture of one, into a lake."""

import asyncio
import json as jsonlib
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from quantai.cli.output import Json, console, emit
from quantai.core.errors import InputError
from quantai.core.plain import plain

if TYPE_CHECKING:
    from quantai.feeds.recorder import OnCommit, Progress, Report
    from quantai.feeds.tally import Tally

EXAMPLES = """
quantai record BINANCE --symbols BTC-USDT,ETH-USDT --channels trades,l2_book,ticker --lake my-lake
quantai record OKX --symbols BTC-USDT-PERP --channels trades,funding --lake my-lake --raw --seconds 3600
quantai record --capture session.pcap.zst --lake my-lake
quantai record --capture my-lake/raw/OKX/20261122T133000.000000Z.jsonl.zst --lake another-lake --speed realtime
"""

Venue = Annotated[str | None, typer.Argument(help="The venue, such as BINANCE; none with --capture.")]
Symbols = Annotated[str, typer.Option(help="What to record, separated by commas: BTC-USDT,ETH-USDT-PERP.")]
Channels = Annotated[
    str,
    typer.Option(help="Out of trades, l2_book, ticker, candles, funding, open_interest, liquidations."),
]
LakeRoot = Annotated[Path | None, typer.Option("--lake", help="The lake's folder [default: datasets/lake].")]
Raw = Annotated[bool, typer.Option("--raw", help="Keep the wire frames too, in raw/VENUE/ of the lake.")]
Seconds = Annotated[float | None, typer.Option(min=0, help="Stop after this long.")]
Messages = Annotated[int | None, typer.Option(min=1, help="Stop after this many messages, or a few more.")]
Capture = Annotated[Path | None, typer.Option(help="Replay a capture (.pcap.zst) or raw frames (.jsonl.zst).")]
Speed = Annotated[str, typer.Option(help="Of a capture: fast, realtime, or a multiple of realtime such as 10.")]
Interval = Annotated[str | None, typer.Option(help="Length of candles, such as 1m.")]
Stale = Annotated[float, typer.Option(min=0.1, help="Reconnect after this many seconds of silence.")]
Sandbox = Annotated[bool, typer.Option("--sandbox", help="Use the venue's test network.")]
Endpoint = Annotated[str | None, typer.Option(help="Dial this address instead of the venue's: http://127.0.0.1:9300.")]
Source = Annotated[str | None, typer.Option(help="Name of the recording, to run several of one venue at once.")]
LogJson = Annotated[str, typer.Option(metavar="FILE|-", help="Log JSON lines to a file that grows, or - to stderr.")]
ProgressKind = Annotated[
    Literal["auto", "json", "none"],
    typer.Option("--progress", help="auto: a line on a terminal. json: a line on stderr for each commit."),
]


def record(
    venue: Venue = None,
    symbols: Symbols = "",
    channels: Channels = "trades",
    lake: LakeRoot = None,
    capture: Capture = None,
    speed: Speed = "fast",
    raw: Raw = False,
    seconds: Seconds = None,
    messages: Messages = None,
    candle_interval: Interval = None,
    stale: Stale = 120.0,
    sandbox: Sandbox = False,
    endpoint: Endpoint = None,
    source: Source = None,
    progress: ProgressKind = "auto",
    log_json: LogJson = "",
    json: Json = False,
) -> None:
    """Record market data from a venue, or from a capture of one, into a lake.

    Runs until the capture ends, a bound is reached, or Ctrl-C. Everything a commit acknowledged is in the lake once,
    whatever happens: run the same command again to go on.
    """
    if (venue is None) == (capture is None):
        raise InputError("name a venue to record from, or a file with --capture, and not both")
    venues_own = {"--symbols": symbols, "--raw": raw, "--sandbox": sandbox, "--endpoint": endpoint, "--source": source}
    if capture is not None and (given := [name for name, value in venues_own.items() if value]):
        raise InputError(f"{given[0]} is for a venue: a capture replays what was recorded, as it was recorded")
    if venue is not None and not _listed(symbols):
        raise InputError("say what to record: --symbols BTC-USDT, several with commas between them")
    from quantai.data.lake import Lake
    from quantai.execution.monitor.logs import about, json_lines
    from quantai.feeds.recorder import record_capture, record_live

    target, what = Lake(lake), venue or Path(str(capture)).name
    about(mode="record", venue=venue or "")
    with json_lines(log_json), _shown(progress, what, quiet=json or log_json == "-") as on_commit:
        if capture is not None:
            done = asyncio.run(
                record_capture(
                    capture, target, speed=_pace(speed), seconds=seconds, messages=messages, on_commit=on_commit
                )
            )
            emit(_answer(done, done.tally), json)
            return
        done = asyncio.run(
            record_live(
                str(venue),
                _listed(symbols),
                _listed(channels),
                target,
                raw=raw,
                seconds=seconds,
                messages=messages,
                source=source,
                on_commit=on_commit,
                candle_interval=candle_interval,
                stale_s=stale,
                sandbox=sandbox,
                redirect=_redirect(endpoint),
            )
        )
    emit(_answer(done, done.new), json)


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _pace(speed: str) -> float | None:
    if speed in ("fast", "realtime"):
        return None if speed == "fast" else 1.0
    try:
        return float(speed)
    except ValueError:
        raise InputError(f"--speed {speed!r}: write fast, realtime, or a number such as 10") from None


def _redirect(endpoint: str | None) -> tuple[str, str] | None:
    if endpoint is None:
        return None
    if not endpoint.startswith(("http://", "https://")):
        raise InputError(f"--endpoint {endpoint!r}: write an address such as http://127.0.0.1:9300")
    base = endpoint.rstrip("/")
    return base.replace("http", "ws", 1), base


def _answer(done: "Report", counted: "Tally") -> dict[str, Any]:
    return {
        "source": done.source,
        "venue": done.venue,
        "lake": done.lake,
        "messages": counted.messages,
        "rows": counted.rows,
        "events": counted.events,
        "gaps": counted.gaps,
        "reconnects": counted.reconnects,
        "quarantined": done.quarantined,
        "new_rows": done.new.total,
        "acknowledged": done.tally.total,
        "complete": done.tally.complete,
        "already_complete": done.already_complete,
        "latency_ms": done.latency_ms,
        "seconds": round(done.seconds, 3),
        "raw": done.raw,
    }


@contextmanager
def _shown(kind: str, what: str, *, quiet: bool) -> Generator["OnCommit | None"]:
    """Yield what to call after each commit: it keeps one line about the recording up to date."""
    if kind == "json":
        yield _print_line
        return
    err = console()
    if kind == "none" or quiet or not err.is_terminal:
        yield None
        return
    from rich.live import Live
    from rich.text import Text

    with Live(console=err, transient=True, refresh_per_second=4) as live:
        yield lambda now: live.update(Text(f"{what}  {_line(now)}", no_wrap=True, overflow="ellipsis"))


def _line(now: "Progress") -> str:
    counts = "  ".join(f"{channel} {n:,}" for channel, n in now.acknowledged.messages.items() if n)
    latency = f"latency p50 {now.latency_ms['p50']:.1f} ms p99 {now.latency_ms['p99']:.1f} ms"
    holes = f"gaps {now.acknowledged.gaps}  reconnects {now.acknowledged.reconnects}"
    return f"{counts}  rows {now.acknowledged.total:,}  {latency}  {holes}"


def _print_line(now: "Progress") -> None:
    line = {
        "acknowledged": now.acknowledged.total,
        "rows": now.acknowledged.rows,
        "messages": now.acknowledged.messages,
    }
    # one write for the whole line: a kill cannot cut it in half
    os.write(sys.stderr.fileno(), (jsonlib.dumps(plain(line)) + "\n").encode())

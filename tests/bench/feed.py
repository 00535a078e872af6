"""The feed pipeline under load: frames from a socket through cryptofeed's parsers into a lake, the recorder on.

A process of its own sends `n` messages of one market in Binance's words as fast as they are taken, or as many as make
`rate` rows a second; this one records them as `quantai record` does. A row is a row of the lake: a trade, both best
prices, or one of the `levels` of a book update.

`mix` is how often trades, best prices and book updates come. What a row takes is mostly what a message takes, so it
and `levels` decide: they are those of the largest capture in the tests' data, 94 000 messages of Binance's futures on
8 August 2024, which has 5.5 rows a message. Other captures have between 5 and 27. `--mix 2:6:2 --levels 10` has 2.8.

rows_s          rows a second from the first commit to the last
slowest_rows_s  the same in the slowest five seconds
rows_lost       rows that were sent and are not in the lake after it was closed, or the other way round
gaps            GAP rows: the recorder's own opinion of that
lag_*_ms        receipt minus the sender's stamp, in whole milliseconds; with no `rate` it is that of full buffers
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from quantai.data import Lake
from quantai.feeds.columns import TABLES
from quantai.feeds.recorder import Progress, record_live
from tests.bench._send_frames import STREAMS

N = 300_000
ARGS = {"mix": "23:70:7", "levels": 66, "rate": 0.0}
PATIENCE_S = 900.0
WINDOW_S = 5.0


def run(seed: int, n: int, *, mix: str = "23:70:7", levels: int = 66, rate: float = 0.0) -> dict[str, Any]:
    """Record `n` messages and return the figures."""
    command = [sys.executable, "-m", "tests.bench._send_frames", *map(str, (seed, n, mix, levels, rate))]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sender,
    ):
        assert sender.stdin is not None
        assert sender.stdout is not None
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            port = json.loads(sender.stdout.readline())["port"]
            figures = asyncio.run(_record(Path(folder) / "lake", port, n))
            sent = json.loads(sender.stdout.readline())["rows"]
        finally:
            sender.stdin.close()
        return figures | {"rows_lost": sent - figures["rows"]}


async def _record(root: Path, port: int, n: int) -> dict[str, Any]:
    marks: list[tuple[float, int]] = []

    def note(progress: Progress) -> None:
        if progress.acknowledged.total:
            marks.append((time.monotonic(), progress.acknowledged.total))

    worked = time.process_time()
    report = await record_live(
        "BINANCE", ["BTC-USDT"], list(STREAMS), Lake(root), seconds=PATIENCE_S, messages=n + 1,  # and the snapshot
        on_commit=note, redirect=(f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{port}"),
    )  # fmt: skip
    worked = time.process_time() - worked
    (began, first), (ended, last) = marks[0], marks[-1]
    tables = Lake(root).tables()
    kept = sum(tables[TABLES[channel]] for channel in STREAMS)
    return {
        "rows": kept, "seconds": round(ended - began, 1), "rows_s": round((last - first) / (ended - began)),
        "slowest_rows_s": _slowest(marks), "messages_s": round(n / (ended - began)), "gaps": report.tally.gaps,
        "reconnects": report.tally.reconnects, "cpu_us_per_row": round(1e6 * worked / last, 2),
        **{f"lag_{name}_ms": round(ms, 2) for name, ms in report.latency_ms.items()},
    }  # fmt: skip


def _slowest(marks: list[tuple[float, int]]) -> int | None:
    """Return the lowest rate over a window, None where the run was shorter than one."""
    rates: list[float] = []
    for began, first in marks:
        later = [(at, rows) for at, rows in marks if at >= began + WINDOW_S]
        if later:
            rates.append((later[0][1] - first) / (later[0][0] - began))
    return round(min(rates)) if rates else None

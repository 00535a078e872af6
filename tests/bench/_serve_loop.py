"""The process that trades, with a note of how long each decision took: arguments are a deployment and a file."""

import array
import sys
import time
from pathlib import Path

from quantai.execution.tallies import Latency
from serving import loop_process

NOTES = array.array("q")
"""Pairs: when (ns on the steady clock), and how long it took (ns)."""


class Noted(Latency):
    """Keeps every decision, not only how many took how long."""

    def take(self, ns: int) -> None:
        super().take(ns)
        NOTES.extend((time.monotonic_ns(), ns))


class Trading(loop_process.Trading):
    """The same, with its decisions noted."""

    async def open(self):
        loop = await super().open()
        loop.counts.decided = Noted()
        return loop


if __name__ == "__main__":
    loop_process.Trading = Trading  # type: ignore[misc]
    code = loop_process.main(sys.argv[1])
    Path(sys.argv[2]).write_bytes(NOTES.tobytes())
    sys.exit(code)

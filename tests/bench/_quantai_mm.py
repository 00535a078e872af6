# ruff: noqa: E402 - the clock starts before the imports: they are part of a whole program
"""One program: open a tape, quote on it, print what came out. Started by `replay`, in a process of its own."""

import time

START = time.perf_counter()

import json
import statistics
import sys
from pathlib import Path

from quantai.backtest.replay import replay
from quantai.data.tape import Tape
from quantai.strategy.examples import Quote
from quantai.strategy.load import load_strategy
from quantai.venues import Latency, SimVenue


def main() -> None:
    """Run what the JSON on the command line says."""
    said = json.loads(sys.argv[1])
    tape = Tape.open(Path(said["folder"]) / "ticks.tape")
    venue = SimVenue(
        queue=said["queue"], power=3.0, exchange=said["exchange"], maker_bps=-0.5, taker_bps=7.0,
        latency=Latency(entry_ns=2_000_000, response_ns=2_000_000),
    )  # fmt: skip
    case = said["case"]
    strategy = Quote(offset=said["offset"]) if case == "mm" else load_strategy(case)
    cpu: list[float] = []
    called: list[float] = []
    whole = result = None
    for _ in range(said["runs"]):
        start = time.process_time()
        result = replay(strategy, tape, venue)
        called.append(time.process_time() - start)
        cpu.append(result.seconds)
        whole = whole or time.perf_counter() - START
    assert result is not None
    rows = len(tape) - tape.facts["head"]
    print(
        json.dumps(
            {
                "rows_per_cpu_s": round(rows / min(cpu[1:] or cpu)),
                "median_rows_per_cpu_s": round(rows / statistics.median(cpu[1:] or cpu)),
                "call_rows_per_cpu_s": round(rows / min(called[1:] or called)),
                "whole_program_s": whole,
                "submits": result.submits,
                "cancels": result.cancels,
                "fills": len(result.fill_rows),
                "position": round(sum(result.positions.values()), 6),
                "balance": round(result.balance, 6),
                "fee": round(result.fee, 9 if said["exchange"] == "partial" else 8),
                "volume": round(result.volume, 6),
            }
        )
    )


if __name__ == "__main__":
    main()

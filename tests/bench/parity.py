"""The market maker of `replay` against hftbacktest 2.4.4 on `seeds` tapes of `n` rows, all queues and exchanges.

Every figure of both sides, and whether they are equal to the last digit printed. With partial fills hftbacktest books
only the last execution of an order to its account (its issue 316): what its orders say is compared, and
`peers_own_position` shows what its account says. Needs `make bench-setup`.
"""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from quantai.backtest.replay import replay
from quantai.data.tape import Tape
from quantai.strategy.examples import Quote
from quantai.venues import Latency, SimVenue
from tests.bench.replay import COMPARED, PEER_PYTHON, REPO, write

N = 100_000
ARGS = {"seeds": 10}


def run(seed: int, n: int, seeds: int = 10) -> dict[str, Any]:
    """Return one row a tape, queue and exchange; seeds count up from `seed`."""
    rows = list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as name:
        folders = {k: Path(name) / str(k) for k in range(seed, seed + seeds)}
        for k, folder in folders.items():
            folder.mkdir()
            write(folder, n, k)
        for queue in ("risk_averse", "power_prob"):
            for exchange in ("no_partial", "partial"):
                theirs = _theirs(list(folders.values()), queue, exchange)
                for (k, folder), peer in zip(folders.items(), theirs, strict=True):
                    ours = _ours(folder, queue, exchange)
                    out = {"seed": k, "queue": queue, "exchange": exchange} | ours
                    out["equal"] = ours == {name: peer[name] for name in COMPARED}
                    if not out["equal"]:
                        out["peer"] = {name: peer[name] for name in COMPARED}
                    if "own_position" in peer:
                        out["peers_own_position"] = peer["own_position"]
                    rows.append(out)
    return {"equal": all(row["equal"] for row in rows), "rows": rows}


def _ours(folder: Path, queue: str, exchange: str) -> dict[str, Any]:
    venue = SimVenue(
        queue=queue, exchange=exchange, maker_bps=-0.5, taker_bps=7.0,
        latency=Latency(entry_ns=2_000_000, response_ns=2_000_000),
    )  # fmt: skip
    r = replay(Quote(), Tape.open(folder / "ticks.tape"), venue)
    return {
        "submits": r.submits, "cancels": r.cancels, "fills": len(set(r.fill_rows["order"])),
        "position": round(sum(r.positions.values()), 6), "balance": round(r.balance, 6),
        "fee": round(r.fee, 9 if exchange == "partial" else 8),
    }  # fmt: skip


def _theirs(folders: list[Path], queue: str, exchange: str) -> list[dict[str, Any]]:
    # one process: what it compiles at each start takes longer than ten tapes
    said = {"case": "mm", "queue": queue, "exchange": exchange, "offset": 0, "runs": 1, "depth": "roi"}
    jobs = json.dumps([said | {"folder": str(folder)} for folder in folders])
    command = [str(PEER_PYTHON), "tests/bench/_hftbacktest_mm.py", jobs]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPO)
    return [json.loads(line) for line in ran.stdout.splitlines()]

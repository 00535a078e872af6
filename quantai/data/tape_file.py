"""The file of a tape: a head, the rows, and behind them what a replay needs of them, worked out once.

Behind the rows stand their columns (`tape_columns`) where the tape has them, and the rows in the order of the
exchange's clock, with their own columns, where that is another order. Everything is made a piece at a time and mapped.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from quantai.core.instruments import Contract, Instrument, Instruments, Payoff, Right
from quantai.core.rows import EVENT, Rows, zeros
from quantai.data.tape_columns import DTYPES, fill_columns

MAGIC = b"quantai tape 1\n"
PAGE = 4096
PIECE = 1 << 18
"""Rows worked on at a time."""
_FACTS_ROOM = 512  # bytes that the facts of one instrument cannot exceed


def tape_head(n: int, instruments: Sequence[Instrument], facts: dict[str, Any], room: int = 0) -> bytes:
    """Return what stands before the `n` rows of a tape's file; with `room` for the facts of so many instruments."""
    tail = json.dumps({"instruments": [_fields(i) for i in instruments], "facts": facts}).encode()
    pages = -(-len(tail) // PAGE)
    if room:
        fixed = json.dumps({"instruments": [_fields(i) for i in instruments]}).encode()
        pages = -(-(len(fixed) + _FACTS_ROOM * (room + 1)) // PAGE)
    head = MAGIC + json.dumps({"rows": n, "offset": PAGE * (1 + pages), "parts": True}).encode()
    return head.ljust(PAGE, b"\0") + tail.ljust(pages * PAGE, b"\0")


def instrument_of(said: dict[str, Any]) -> Instrument:
    """Return an instrument as `tape_head` wrote it."""
    kinds: dict[str, Any] = {"contract": Contract, "payoff": Payoff, "right": Right, "expiry": datetime.fromisoformat}
    return Instrument(**{k: kinds[k](v) if k in kinds else v for k, v in said.items()})


def size_of(n: int, offset: int, facts: dict[str, Any]) -> int:
    """Return the bytes of a whole file of `n` rows."""
    return max((at + n * dtype.itemsize for at, dtype in _places(n, offset, facts).values()), default=offset)


def parts_of(whole: Any, n: int, offset: int, facts: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a mapped file (bytes) by name: `rows`, columns, and the same by the exchange's clock."""
    places = _places(n, offset, facts)
    return {name: whole[at : at + n * dtype.itemsize].view(dtype) for name, (at, dtype) in places.items()}


def add_parts(path: Path, n: int, offset: int, facts: dict[str, Any], instruments: Instruments) -> None:
    """Work out what belongs behind the rows of a file that has them, holding a few pieces in memory."""
    os.truncate(path, size_of(n, offset, facts))
    if not n:
        return
    parts = parts_of(np.memmap(path, np.uint8, "r+").view(np.ndarray), n, offset, facts)
    if "rows_x" in parts:
        sort_by_exchange(parts["rows"], parts["rows_x"])
    if facts.get("base") is None:
        return
    for x, clock in (("", "ts_recv"), ("_x", "ts_exch")):
        rows = parts.get(f"rows{x}", parts["rows"])
        for a in range(0, n, PIECE):
            piece = rows[a : a + PIECE]
            parts[f"ts{x}"][a : a + PIECE] = piece[clock]
            if f"qty{x}" in parts:
                qty, mark = (parts[name + x][a : a + PIECE] for name in ("qty", "mark"))
                fill_columns(piece, facts["base"], instruments.rows(), qty, mark)


def sort_by_exchange(rows: Rows, out: Rows) -> None:
    """Write rows to `out` in the order of `ts_exch`, ties as they stand, holding those that later ones may precede."""
    starts = range(0, len(rows), PIECE)
    least = [int(rows["ts_exch"][a : a + PIECE].min()) for a in starts]
    later = np.minimum.accumulate([*least, 2**63 - 1][::-1])[::-1]
    waiting, done = zeros(0, EVENT), 0
    for k, a in enumerate(starts):
        waiting = np.concatenate([waiting, rows[a : a + PIECE]])
        waiting = waiting[np.argsort(waiting["ts_exch"], kind="stable")]
        n = int(np.searchsorted(waiting["ts_exch"], later[k + 1], "right"))
        out[done : done + n], waiting = waiting[:n], waiting[n:]
        done += n


def _places(n: int, offset: int, facts: dict[str, Any]) -> dict[str, tuple[int, Any]]:
    columns = list(DTYPES.items()) if facts.get("base") is not None else []
    same = not n or bool(facts["exch_sorted"])
    second = columns[:1] if same else [("rows", EVENT), *columns]
    at, places = offset, dict[str, tuple[int, Any]]()
    for name, dtype in [("rows", EVENT), *columns, *((f"{name}_x", dtype) for name, dtype in second)]:
        places[name] = at, dtype
        at += -(-n * dtype.itemsize // 64) * 64
    return places


def _fields(instrument: Instrument) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, Decimal):
            return str(value)
        return value.isoformat() if isinstance(value, datetime) else value

    return {k: plain(v) for k, v in asdict(instrument).items() if v is not None}

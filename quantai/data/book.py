"""Order books rebuilt from the rows of `levels`: at one instant, and message by message to find crossed ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from quantai.core.compiled import compiled
from quantai.core.rows import BUY, LAST, SELL, Kind

_CLEAR = int(Kind.CLEAR)


@dataclass(frozen=True, eq=False)
class Book:
    """One order book at one instant: `bids` and `asks` have shape (levels, 2), price and size, best first.

    `ts_recv` and `seq` are those of the last row it holds, 0 for a book without rows.
    """

    bids: Any
    asks: Any
    ts_recv: int = 0
    seq: int = 0

    @property
    def crossed(self) -> bool:
        """Whether the best bid is at or above the best ask."""
        return len(self.bids) > 0 and len(self.asks) > 0 and bool(self.bids[0, 0] >= self.asks[0, 0])

    def __repr__(self) -> str:
        sides = (
            f"{len(side)} {name}" + (f" from {side[0, 0]:g}" if len(side) else "")
            for name, side in (("bids", self.bids), ("asks", self.asks))
        )
        return f"Book({', '.join(sides)}, seq {self.seq})"


def rebuild(rows: pa.Table) -> Book:
    """Return the book after all of `rows` (of `levels`, in the order of seq): a LEVEL sets a size, a CLEAR drops all.

    >>> columns = {"ts_recv": [1, 2, 3], "seq": [1, 2, 3], "px": [9.0, 11.0, 10.0], "qty": [1.0, 2.0, 3.0]}
    >>> book = rebuild(pa.table(columns | {"side": [1, -1, 1], "kind": [2, 2, 2]}))
    >>> book.bids.tolist(), book.asks.tolist()
    ([[10.0, 3.0], [9.0, 1.0]], [[11.0, 2.0]])
    """
    kind, side = rows["kind"].to_numpy(), rows["side"].to_numpy()
    cleared = np.flatnonzero(kind == Kind.CLEAR)
    begin = int(cleared[-1]) + 1 if len(cleared) else 0
    px, qty = rows["px"].to_numpy(), rows["qty"].to_numpy()

    def one(which: int) -> Any:
        at = begin + np.flatnonzero((side[begin:] == which) & (kind[begin:] == Kind.LEVEL))[::-1]
        prices, first = np.unique(px[at], return_index=True)  # of rows latest first: the first is the one that counts
        sizes = qty[at][first]
        found = np.column_stack([prices, sizes])[sizes > 0]
        return found[::-1] if which == BUY else found

    last = (int(rows["ts_recv"][-1].as_py()), int(rows["seq"][-1].as_py())) if rows.num_rows else (0, 0)
    return Book(one(BUY), one(SELL), *last)


def crossed_at(rows: pa.Table, before: Book | None = None) -> Any:
    """Return the row numbers at which a message ended with the best bid at or above the best ask.

    `rows` of `levels` in the order of seq; `before` is the book that stood before them. A message ends at a row with
    the LAST flag; where no row has it, at the last row of equal `ts_recv`.
    """
    kind, side = rows["kind"].to_numpy(), rows["side"].to_numpy()
    px, qty = rows["px"].to_numpy(), rows["qty"].to_numpy()
    ends = (rows["flags"].to_numpy() & LAST) != 0
    if not ends.any():
        ts = rows["ts_recv"].to_numpy()
        ends = np.append(ts[1:] != ts[:-1], True)
    head = [np.zeros((0, 2))] * 2 if before is None else [before.bids, before.asks]
    n = len(head[0]) + len(head[1])
    px = np.concatenate([head[0][:, 0], head[1][:, 0], px])
    qty = np.concatenate([head[0][:, 1], head[1][:, 1], qty])
    side = np.concatenate([np.full(len(head[0]), BUY, "i1"), np.full(len(head[1]), SELL, "i1"), side])
    kind = np.concatenate([np.full(n, Kind.LEVEL, "u1"), kind])
    ends = np.concatenate([np.zeros(n, bool), ends])
    prices, at = np.unique(px, return_inverse=True)
    found = _crossed(at.astype("i8"), qty, side, kind, ends, len(prices))
    return np.flatnonzero(found) - n


@compiled
def _crossed(at: Any, qty: Any, side: Any, kind: Any, ends: Any, n: int) -> Any:
    """Replay rows whose price is number `at` of `n` sorted prices; returns True where a message ended crossed."""
    found = np.zeros(len(at), np.bool_)
    bids, asks = np.zeros(n), np.zeros(n)
    bid, ask = -1, n
    for i in range(len(at)):
        if kind[i] == _CLEAR:
            bids[:], asks[:] = 0.0, 0.0
            bid, ask = -1, n
        elif side[i] > 0:
            bids[at[i]] = qty[i]
            if qty[i] > 0 and at[i] > bid:
                bid = at[i]
            while bid >= 0 and not bids[bid] > 0:
                bid -= 1
        else:
            asks[at[i]] = qty[i]
            if qty[i] > 0 and at[i] < ask:
                ask = at[i]
            while ask < n and not asks[ask] > 0:
                ask += 1
        found[i] = ends[i] and bid >= 0 and ask < n and bid >= ask
    return found

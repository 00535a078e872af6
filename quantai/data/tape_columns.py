"""What a book needs of each row, in columns beside the rows: a replay of one instrument reads 28 bytes a row, not 64.

A TRADE or LEVEL row is told by `mark`, side x (price in ticks - base + 1), and `qty`, the new size of a level or minus
the size of a trade. `mark` is 0 of every other row, which has to be looked at itself: of other kinds, without a side, a
trade of nothing, or a price that is not the float64 nearest to its ticks. `ts` is the clock that orders the rows.
"""

from typing import Any, NamedTuple

import numpy as np

from quantai.core.compiled import uncounted
from quantai.core.rows import Kind, Rows

_TRADE, _LEVEL = int(Kind.TRADE), int(Kind.LEVEL)


class Columns(NamedTuple):
    """Columns of rows in the order of one clock; a price in ticks is base + |mark| - 1."""

    base: int
    ts: Any
    qty: Any
    mark: Any


DTYPES = {"ts": np.dtype("i8"), "qty": np.dtype("f8"), "mark": np.dtype("i4")}
"""The columns, in the order in which a file keeps them."""


def columns_of(rows: Rows, base: int, inst: Rows, clock: str) -> Columns:
    """Return the columns of rows sorted by `clock` (ts_recv or ts_exch); `inst` is the INSTRUMENT row, shape (1,)."""
    out = Columns(base, rows[clock].copy(), *(np.empty(len(rows), DTYPES[name]) for name in ("qty", "mark")))
    fill_columns(rows, base, inst, out.qty, out.mark)
    return out


@uncounted
def fill_columns(rows: Any, base: int, inst: Any, qty: Any, mark: Any) -> None:
    """Write the columns `qty` and `mark` of rows in any order."""
    num, den = inst[0].tick_num, inst[0].tick_den
    for i in range(len(rows)):
        r = rows[i]
        known = r.kind == _LEVEL or (r.kind == _TRADE and r.qty > 0.0)
        known = known and r.side != 0 and r.px == r.px_ticks * num / den
        mark[i] = (1 if r.side > 0 else -1) * (r.px_ticks - base + 1) if known else 0
        qty[i] = r.qty if r.kind == _LEVEL else -r.qty

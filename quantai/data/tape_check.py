"""One compiled pass over the rows of a tape: is it what it claims to be, and what must a replay know beforehand."""

from typing import Any

import numpy as np

from quantai.core.compiled import uncounted
from quantai.core.rows import DAY, SNAPSHOT, Kind, Rows

UNSORTED, NAN, NEGATIVE, UNKNOWN, OFF_GRID, INVERTED, SIDELESS, APART, NO_KIND = 1, 2, 3, 4, 5, 6, 7, 8, 9
"""Why a row is refused."""
MOST_APART = 31 * DAY
"""The two clocks of a row that is no snapshot may differ by so much: a replay lives through what is between them."""

_FACTS = np.dtype(
    [
        ("trades", "i8"),
        ("levels", "i8"),
        ("quotes", "i8"),
        ("clears", "i8"),
        ("lo_ticks", "i8"),  # over LEVEL and QUOTE rows
        ("hi_ticks", "i8"),
    ]
)
_WHOLE = np.dtype(
    [
        ("exch_sorted", "i8"),
        ("skewed", "i8"),
        ("head", "i8"),
        ("funding", "i8"),
        ("lo", "i8"),  # over TRADE and LEVEL rows of all instruments
        ("hi", "i8"),
    ]
)
_TRADE, _LEVEL, _CLEAR, _QUOTE = int(Kind.TRADE), int(Kind.LEVEL), int(Kind.CLEAR), int(Kind.QUOTE)
_FUNDING = int(Kind.FUNDING)
_KINDS = tuple(int(kind) for kind in Kind)
_MOST = 2**62
_WIDEST, _HIGHEST = 2**30, 2**60


@uncounted
def _scan(rows: Any, insts: Any, facts: Any, whole: Any) -> tuple[int, int]:
    w = whole[0]
    w.exch_sorted = 1
    w.lo, w.hi = _MOST, -_MOST
    in_head = True
    for i in range(rows.shape[0]):
        r = rows[i]
        k = r.kind
        if r.instrument >= insts.shape[0]:
            return i, UNKNOWN
        if i > 0:
            if r.ts_recv < rows[i - 1].ts_recv:
                return i, UNSORTED
            if r.seq <= rows[i - 1].seq:
                return i, INVERTED
            if r.ts_exch < rows[i - 1].ts_exch:
                w.exch_sorted = 0
        if r.ts_recv < r.ts_exch:
            w.skewed += 1
        if in_head and r.flags & SNAPSHOT:
            w.head += 1
        else:
            in_head = False
            if abs(r.ts_recv - r.ts_exch) > MOST_APART:
                return i, APART
        f = facts[r.instrument]
        if k in (_TRADE, _LEVEL, _QUOTE):
            if not (np.isfinite(r.px) and (np.isfinite(r.qty) or k == _QUOTE)):
                return i, NAN
            if r.px <= 0.0 or r.qty < 0.0:
                return i, NEGATIVE
            if r.side < -1 or r.side > 1 or (r.side == 0 and k != _TRADE):
                return i, SIDELESS
            inst = insts[r.instrument]
            if abs(r.px * inst.tick_den / inst.tick_num - r.px_ticks) > 1e-6 + 1e-12 * abs(r.px_ticks):
                return i, OFF_GRID
            if k != _QUOTE:
                w.lo, w.hi = min(w.lo, r.px_ticks), max(w.hi, r.px_ticks)
            if k == _TRADE:
                f.trades += 1
                continue
            if k == _LEVEL:
                f.levels += 1
            else:
                f.quotes += 1
            f.lo_ticks = min(f.lo_ticks, r.px_ticks)
            f.hi_ticks = max(f.hi_ticks, r.px_ticks)
        elif k == _CLEAR:
            if r.side < -1 or r.side > 1:
                return i, SIDELESS
            f.clears += 1
        elif k == _FUNDING:
            if not np.isfinite(r.px):
                return i, NAN
            w.funding += 1
        elif k not in _KINDS:
            return i, NO_KIND
    return -1, 0


def scan_rows(rows: Rows, insts: Rows) -> tuple[dict[str, Any], int, int]:
    """Return (facts, first bad row or -1, why it is bad)."""
    facts = np.zeros(len(insts), _FACTS)
    facts["lo_ticks"], facts["hi_ticks"] = _MOST, -_MOST
    whole = np.zeros(1, _WHOLE)
    rows = rows.view()
    rows.flags.writeable = False
    bad, why = _scan(rows, insts, facts, whole)
    said: dict[str, Any] = {name: int(whole[name][0]) for name in _WHOLE.names or ()}
    lo, hi = said.pop("lo"), said.pop("hi")
    # the lowest price in ticks, where columns can tell the rows (`tape_columns`)
    said["base"] = lo if len(insts) == 1 and 0 <= hi - lo < _WIDEST and hi < _HIGHEST else None
    names = ("trades", "levels", "quotes", "clears", "lo_ticks", "hi_ticks")
    said["instruments"] = [{name: int(f[name]) for name in names} for f in facts]
    return said, bad, why

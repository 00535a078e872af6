"""RUNNING records of many equity curves that lie side by side, updated together.

A processor divides four numbers as fast as one. Curves are independent of each other, so what one costs falls to a
quarter while each is still added up in the order of its bars.
"""

from typing import Any

import numpy as np

from quantai.core.compiled import side_by_side, uncounted
from quantai.report.running import BLOCK, begin_block, follow, gathered, update

ABREAST = 32
"""Curves side by side; fixed, so that the compiler knows the columns of `sums` apart."""
FOUR = 4
"""Numbers that one instruction takes."""
SUM, SQUARES, DOWNSIDE, LOW, HIGH, MOVES, SHIFT = range(7)


@uncounted
def update_many(stats: Any, n: int, curves: Any, rows: int, sums: Any) -> None:
    """Add `rows` account values of each of `n` curves to their records.

    Value `t` of curve `k` is `curves[t * ABREAST + k]`; those of row 0 are the last ones seen, already in the records.
    `sums` is room for 7 numbers a curve (7 * ABREAST). What `update` of each value would do, up to rounding.
    """
    t = 1
    while t <= rows:
        end = min(t + BLOCK, rows + 1)
        for k in range(n):
            st = stats[k]
            if gathered(st) > 0:
                begin_block(st, 0.0)
            sums[SHIFT * ABREAST + k] = st.mean
            sums[LOW * ABREAST + k] = np.inf
            sums[HIGH * ABREAST + k] = -np.inf
            for name in (SUM, SQUARES, DOWNSIDE, MOVES):
                sums[name * ABREAST + k] = 0.0
        gather(curves, min(-(-n // FOUR) * FOUR, ABREAST), t, end, sums)
        for k in range(n):
            _merge(stats[k], curves, k, t, end, sums)
        t = end


@side_by_side
def gather(curves: Any, n: int, first: int, end: int, sums: Any) -> None:
    """Add up the returns of rows `first` to `end`: distances from SHIFT, their squares, squares below zero, moves."""
    # choices instead of min and max, which treat NaN apart: with them, the loop is not done four at a time
    for t in range(first, end):
        now, before = t * ABREAST, (t - 1) * ABREAST
        for k in range(n):
            e, b = curves[now + k], curves[before + k]
            r = e / b - 1.0
            x = r - sums[SHIFT * ABREAST + k] if e != b else 0.0
            below = r if r < 0.0 else 0.0  # noqa: FURB136
            low, high = sums[LOW * ABREAST + k], sums[HIGH * ABREAST + k]
            sums[SUM * ABREAST + k] += x
            sums[SQUARES * ABREAST + k] += x * x
            sums[DOWNSIDE * ABREAST + k] += below * below
            sums[LOW * ABREAST + k] = e if e < low else low  # noqa: FURB136
            sums[HIGH * ABREAST + k] = e if e > high else high  # noqa: FURB136
            sums[MOVES * ABREAST + k] += 1.0 if e != b else 0.0


@uncounted
def _merge(st: Any, curves: Any, k: int, first: int, end: int, sums: Any) -> None:
    """Put what `gather` found for one curve into its record."""
    moves = int(sums[MOVES * ABREAST + k])
    low, high = sums[LOW * ABREAST + k], sums[HIGH * ABREAST + k]
    if not (min(low, st.last) > 0.0) or (st.moves == 0 and moves > 0):
        # wiped out, or without a mean to measure distances from
        for t in range(first, end):
            update(st, curves[t * ABREAST + k])
        return
    if moves > 0:
        if high < st.peak:
            if st.trough == st.peak:
                st.peak_bar = st.bars - 1
            st.trough = min(st.trough, low)
        else:
            for t in range(first, end):
                if curves[t * ABREAST + k] != curves[(t - 1) * ABREAST + k]:
                    follow(st, curves[t * ABREAST + k], st.bars + t - first)
        st.last = curves[(end - 1) * ABREAST + k]
        st.blocks = max(st.blocks, 1)
        st.shift = sums[SHIFT * ABREAST + k]
        st.block_sum, st.block_m2 = sums[SUM * ABREAST + k], sums[SQUARES * ABREAST + k]
        st.block_downside = sums[DOWNSIDE * ABREAST + k]
        st.room = BLOCK - moves
        begin_block(st, 0.0)
    st.bars += end - first

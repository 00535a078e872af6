"""RUNNING records of many equity curves that lie side by side, updated together.

A processor divides four numbers as fast as one. Curves are independent of each other, so what one costs falls to a
quarter while each is still added up in the order of its bars.
"""

from typing import Any

import numpy as np
from numpy import uint64

from quantai.core.compiled import side_by_side, uncounted
from quantai.report.running import BLOCK, begin_block, follow, gathered, update

ABREAST = 8
"""Curves side by side, a line of the processor's cache; fixed, so that the compiler knows columns of `sums` apart."""
FOUR = 4
"""Numbers that one instruction takes."""
_SUM, _SQUARES, _DOWNSIDE, _LOW, _HIGH, _MOVES, _SHIFT = (uint64(at * ABREAST) for at in range(7))


@uncounted
def update_many(stats: Any, n: int, curves: Any, rows: int, sums: Any) -> None:
    """Add `rows` account values of each of `n` curves to their records.

    Value `t` of curve `k` is `curves[t * ABREAST + k]`; row 0 is room for the last ones seen, in the records already.
    `sums` is room for 7 numbers a curve (7 * ABREAST). What `update` of each value would do, up to rounding.
    """
    for k in range(n):
        curves[k] = stats[k].last
    t = 1
    while t <= rows:
        end = min(t + BLOCK, rows + 1)
        for k in range(n):
            st = stats[k]
            if gathered(st) > 0:
                begin_block(st, 0.0)
            sums[_SHIFT + uint64(k)] = st.mean
            sums[_LOW + uint64(k)] = np.inf
            sums[_HIGH + uint64(k)] = -np.inf
            for at in (_SUM, _SQUARES, _DOWNSIDE, _MOVES):
                sums[at + uint64(k)] = 0.0
        gather(curves, min(-(-n // FOUR) * FOUR, ABREAST), t, end, sums)
        for k in range(n):
            _merge(stats[k], curves, k, t, end, sums)
        t = end


@side_by_side
def gather(curves: Any, n: int, first: int, end: int, sums: Any) -> None:
    """Add up the returns of rows `first` to `end`: distances from SHIFT, their squares, squares below zero, moves."""
    # choices instead of min and max, which treat NaN apart: with them, the loop is not done four at a time; nor is it
    # with signed indexes, which numba lets count from the end: what lies side by side would be read one by one
    for t in range(first, end):
        now, before = uint64(t * ABREAST), uint64((t - 1) * ABREAST)
        for i in range(n):
            k = uint64(i)
            e, b = curves[now + k], curves[before + k]
            r = e / b - 1.0
            x = r - sums[_SHIFT + k] if e != b else 0.0
            below = r if r < 0.0 else 0.0  # noqa: FURB136
            low, high = sums[_LOW + k], sums[_HIGH + k]
            sums[_SUM + k] += x
            sums[_SQUARES + k] += x * x
            sums[_DOWNSIDE + k] += below * below
            sums[_LOW + k] = e if e < low else low  # noqa: FURB136
            sums[_HIGH + k] = e if e > high else high  # noqa: FURB136
            sums[_MOVES + k] += 1.0 if e != b else 0.0


@uncounted
def _merge(st: Any, curves: Any, k: int, first: int, end: int, sums: Any) -> None:
    """Put what `gather` found for one curve into its record."""
    moves = int(sums[_MOVES + uint64(k)])
    low, high = sums[_LOW + uint64(k)], sums[_HIGH + uint64(k)]
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
        st.shift = sums[_SHIFT + uint64(k)]
        st.block_sum, st.block_m2 = sums[_SUM + uint64(k)], sums[_SQUARES + uint64(k)]
        st.block_downside = sums[_DOWNSIDE + uint64(k)]
        st.room = BLOCK - moves
        begin_block(st, 0.0)
    st.bars += end - first

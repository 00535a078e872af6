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
ROWS = 8
"""Values of a curve that are added up before the sums go to memory, where each would wait for the one before."""
STRETCH = 512
"""Values of a curve that are added up before they are merged into its record."""
LEAST, MOST = 1e-150, 1e150
"""Account values whose products are numbers, too."""
_ROW = uint64(ABREAST)
_SUM, _SQUARES, _DOWNSIDE, _LOW, _HIGH, _MOVES, _SHIFT = (uint64(at * ABREAST) for at in range(7))


@uncounted
def update_many(stats: Any, n: int, curves: Any, rows: int, sums: Any) -> None:
    """Add `rows` account values of each of `n` curves to their records.

    Value `t` of curve `k` is `curves[t * ABREAST + k]`; row 0 is room for the last ones seen, in the records already.
    Behind the last row there is room for ROWS more. `sums` is room for 7 numbers a curve (7 * ABREAST). What `update`
    of each value would do, up to rounding.
    """
    for k in range(n):
        curves[k] = stats[k].last
    # rows are taken ROWS at a time; what does not move adds nothing
    for at in range((rows + 1) * ABREAST, (rows + ROWS) * ABREAST):
        curves[at] = curves[at - ABREAST]
    t = 1
    while t <= rows:
        end = min(t + STRETCH, rows + 1)
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
    for t in range(first, end, ROWS):
        row = uint64(t * ABREAST)
        for i in range(n):
            k = uint64(i)
            at = row + k
            shift = sums[_SHIFT + k]
            total = squares = downside = moves = 0.0
            b = curves[at - _ROW]
            low = high = curves[at]
            for _ in range(ROWS // 2):
                e, f = curves[at], curves[at + _ROW]
                at += _ROW + _ROW
                # divisions take the longest: two returns share one, as 1 / b = e / (b e) and 1 / e = b / (b e)
                shared = 1.0 / (b * e)
                r, s = (e - b) * (e * shared), (f - e) * (b * shared)
                x, y = r - shift if e != b else 0.0, s - shift if f != e else 0.0
                total += x + y
                squares += x * x + y * y
                r, s = r if r < 0.0 else 0.0, s if s < 0.0 else 0.0  # noqa: FURB136
                downside += r * r + s * s
                moves += (1.0 if e != b else 0.0) + (1.0 if f != e else 0.0)
                low = e if e < low else low  # noqa: FURB136
                low = f if f < low else low  # noqa: FURB136
                high = e if e > high else high  # noqa: FURB136
                high = f if f > high else high  # noqa: FURB136
                b = f
            lowest, highest = sums[_LOW + k], sums[_HIGH + k]
            sums[_SUM + k] += total
            sums[_SQUARES + k] += squares
            sums[_DOWNSIDE + k] += downside
            sums[_MOVES + k] += moves
            sums[_LOW + k] = low if low < lowest else lowest  # noqa: FURB136
            sums[_HIGH + k] = high if high > highest else highest  # noqa: FURB136


@uncounted
def _merge(st: Any, curves: Any, k: int, first: int, end: int, sums: Any) -> None:
    """Put what `gather` found for one curve into its record."""
    moves = int(sums[_MOVES + uint64(k)])
    low, high = sums[_LOW + uint64(k)], sums[_HIGH + uint64(k)]
    if not (min(low, st.last) > LEAST and max(high, st.last) < MOST) or (st.moves == 0 and moves > 0):
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

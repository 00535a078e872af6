"""Splits of time into where to learn and where to test, without learning from what the test will show.

An observation is a row; its label may look ahead, until `ends`: the last row that the label of row i is made from
(i itself when nothing looks ahead). A training row whose label reaches into the test, or whose own features sit inside
a test label, would leak; it is purged. After a test, the next rows still share its information through slow features;
`embargo` leaves them out too. Source: López de Prado, Advances in Financial Machine Learning (2018), chapters 7 and 12.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from quantai.core.errors import InputError

Indices = npt.NDArray[np.int64]
Split = tuple[Indices, Indices]
"""Row numbers to train on, and row numbers to test on."""


def walk_forward_splits(n: int, train: int, test: int, *, anchored: bool = False, gap: int = 0) -> Iterator[Split]:
    """Yield windows that move forward: `train` rows, `gap` rows left out, then `test` rows that no other fold tests.

    `anchored` lets the training start at the first row each time, so that it grows. The last test may be shorter.

    >>> [(a.tolist(), b.tolist()) for a, b in walk_forward_splits(7, train=3, test=2)]
    [([0, 1, 2], [3, 4]), ([2, 3, 4], [5, 6])]
    """
    if train < 1 or test < 1 or gap < 0:
        raise InputError(f"train and test are at least 1 row and gap at least 0, got {train}, {test} and {gap}")
    if train + gap >= n:
        raise InputError(f"{n} rows leave nothing to test after {train} to train and {gap} between: train on fewer")
    for start in range(train + gap, n, test):
        first = 0 if anchored else start - gap - train
        yield np.arange(first, start - gap), np.arange(start, min(start + test, n))


def purged_k_fold(n: int, k: int = 5, *, ends: npt.ArrayLike | None = None, embargo: int = 0) -> Iterator[Split]:
    """Yield `k` folds of neighbouring rows, each tested once; training rows are purged and embargoed (AFML 7.4).

    >>> for train, test in purged_k_fold(9, 3, ends=np.minimum(np.arange(9) + 1, 8), embargo=1):
    ...     print(train.tolist(), test.tolist())
    [5, 6, 7, 8] [0, 1, 2]
    [0, 1, 8] [3, 4, 5]
    [0, 1, 2, 3, 4] [6, 7, 8]
    """
    yield from combinatorial_purged(n, k, 1, ends=ends, embargo=embargo)


def combinatorial_purged(
    n: int, groups: int = 6, tests: int = 2, *, ends: npt.ArrayLike | None = None, embargo: int = 0
) -> Iterator[Split]:
    """Yield every choice of `tests` out of `groups` blocks of rows to test on, trained on the rest (AFML 12.4).

    Each block is tested in comb(groups - 1, tests - 1) of the splits, which gives as many paths through all of time:
    see `paths`. Blocks that stand side by side in one test are one test to the purge.

    >>> [test.tolist() for _, test in combinatorial_purged(4, 4, 2)]
    [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    """
    if not 1 <= tests < groups <= n:
        raise InputError(f"tests < groups <= rows is needed, got {tests}, {groups} and {n}")
    if embargo < 0:
        raise InputError(f"embargo is a number of rows, 0 or more, got {embargo}")
    last = np.arange(n) if ends is None else np.asarray(ends, np.int64)
    if last.shape != (n,) or (last < np.arange(n)).any():
        raise InputError("ends holds, for each row, the last row its label is made from: never an earlier one")
    bounds = _bounds(n, groups)
    for chosen in itertools.combinations(range(groups), tests):
        train = np.ones(n, bool)
        test = np.concatenate([np.arange(bounds[g], bounds[g + 1]) for g in chosen])
        for first, stop in _runs(chosen, bounds):
            reach = int(last[first:stop].max())  # where the labels of the test end
            train[first : max(stop, reach + 1) + embargo] = False
            train[:first] &= last[:first] < first
        train[test] = False
        yield np.flatnonzero(train), test


def paths(groups: int, tests: int) -> Indices:
    """Return which split of `combinatorial_purged` tests each block, for each path: shape (paths, groups).

    Row p names, block by block, the split whose test result belongs to path p (AFML figure 12.1).

    >>> paths(4, 2).tolist()
    [[0, 0, 1, 2], [1, 3, 3, 4], [2, 4, 5, 5]]
    """
    out = np.full((math.comb(groups - 1, tests - 1), groups), -1)
    used = [0] * groups
    for split, chosen in enumerate(itertools.combinations(range(groups), tests)):
        for g in chosen:
            out[used[g], g] = split
            used[g] += 1
    return out


def _bounds(n: int, groups: int) -> list[int]:
    sizes = [n // groups + (g < n % groups) for g in range(groups)]
    return [0, *itertools.accumulate(sizes)]


def _runs(chosen: tuple[int, ...], bounds: list[int]) -> Iterator[tuple[Any, Any]]:
    """Yield (first row, row after the last) of each run of neighbouring blocks."""
    at = 0
    while at < len(chosen):
        end = at
        while end + 1 < len(chosen) and chosen[end + 1] == chosen[end] + 1:
            end += 1
        yield bounds[chosen[at]], bounds[chosen[end] + 1]
        at = end + 1

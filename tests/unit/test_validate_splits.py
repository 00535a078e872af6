"""Splits against the definitions, worked out row by row, and the counts that the book gives."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import quantai as qa
from quantai.backtest.validate import combinatorial_purged, paths, purged_k_fold, walk_forward_splits


@st.composite
def labelled(draw):
    n = draw(st.integers(8, 60))
    reach = draw(st.lists(st.integers(0, 6), min_size=n, max_size=n))
    groups = draw(st.integers(2, min(n, 6)))
    return n, np.minimum(np.arange(n) + reach, n - 1), groups, draw(st.integers(1, groups - 1)), draw(st.integers(0, 4))


@given(labelled())
def test_no_training_row_shares_information_with_a_test_row(case):
    n, ends, groups, tests, embargo = case
    for train, test in combinatorial_purged(n, groups, tests, ends=ends, embargo=embargo):
        tested = set(test.tolist())
        runs = np.split(test, np.flatnonzero(np.diff(test) > 1) + 1)
        for i in range(n):
            clear = i not in tested
            for run in runs:
                first, last = run[0], max(ends[run].max(), run[-1])
                clear &= ends[i] < first or i > last  # its label span and the test's do not meet
                clear &= not (last < i <= last + embargo)
            assert (i in train) == clear


@given(labelled())
def test_every_row_is_tested_as_often_as_the_book_says(case):
    n, ends, groups, tests, embargo = case
    count = np.zeros(n, int)
    splits = list(combinatorial_purged(n, groups, tests, ends=ends, embargo=embargo))
    for _, test in splits:
        count[test] += 1
    assert len(splits) == math.comb(groups, tests)
    assert (count == math.comb(groups - 1, tests - 1)).all()


def test_paths_of_the_book():
    """Six groups, two tested: 15 splits and 5 paths, each path testing every group once (AFML 12.4)."""
    p = paths(6, 2)
    assert p.shape == (5, 6)
    splits = list(combinatorial_purged(6, 6, 2))
    assert len(splits) == 15
    for path in p:
        for group, split in enumerate(path):
            assert group in splits[split][1]
    assert all(np.bincount(p.ravel(), minlength=15) == 2)


def test_k_folds_test_each_row_once():
    tests = [t for _, t in purged_k_fold(10, 3)]
    assert [len(t) for t in tests] == [4, 3, 3]
    assert np.concatenate(tests).tolist() == list(range(10))


@given(
    n=st.integers(2, 200), train=st.integers(1, 50), test=st.integers(1, 50), gap=st.integers(0, 10), grow=st.booleans()
)
def test_walking_forward_tests_each_later_row_once(n, train, test, gap, grow):
    if train + gap >= n:
        with pytest.raises(qa.InputError, match="leave nothing to test"):
            list(walk_forward_splits(n, train, test, anchored=grow, gap=gap))
        return
    folds = list(walk_forward_splits(n, train, test, anchored=grow, gap=gap))
    assert np.concatenate([t for _, t in folds]).tolist() == list(range(train + gap, n))
    for learn, trade in folds:
        assert trade[0] - learn[-1] == gap + 1
        assert learn[0] == 0 if grow else len(learn) == train


def test_nonsense_is_refused():
    with pytest.raises(qa.InputError, match="never an earlier one"):
        list(purged_k_fold(4, 2, ends=[0, 0, 2, 3]))
    with pytest.raises(qa.InputError, match="tests < groups"):
        list(combinatorial_purged(10, 3, 3))
    with pytest.raises(qa.InputError, match="embargo"):
        list(purged_k_fold(10, 3, embargo=-1))
    with pytest.raises(qa.InputError, match="at least 1"):
        list(walk_forward_splits(10, 0, 3))

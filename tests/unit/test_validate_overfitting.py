"""Published examples, independent computations, and behaviour on noise and on skill."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import quantai as qa
from quantai.backtest.validate import (
    Sample,
    deflated_sharpe,
    expected_best_sharpe,
    overfitting_probability,
    probabilistic_sharpe,
    track_record_needed,
)


def test_the_deflated_example_of_the_paper():
    """Bailey and López de Prado 2014: SR 2.5 a year, 1250 days, skewness -3, kurtosis 10, variance 1/2 a year."""
    sample, deviation = Sample(2.5 / math.sqrt(250), 1250, -3.0, 10.0), math.sqrt(0.5 / 250)
    assert expected_best_sharpe(100, deviation) == pytest.approx(0.1132, abs=5e-5)
    assert deflated_sharpe(sample, 100, deviation) == pytest.approx(0.9004, abs=5e-5)
    assert deflated_sharpe(sample, 46, deviation) == pytest.approx(0.9505, abs=5e-5)


def test_the_probabilistic_example_of_the_paper():
    """Bailey and López de Prado 2012: 24 months, SR 0.458 a month, skewness -2.448, kurtosis 10.164."""
    fat = Sample(0.458, 24, -2.448, 10.164)
    normal = Sample(0.458, 24)
    assert probabilistic_sharpe(fat) == pytest.approx(0.913, abs=5e-4)
    assert probabilistic_sharpe(normal) == pytest.approx(0.982, abs=1e-3)


def test_the_track_records_of_the_paper():
    """Its section on minimum track records: SR 2 against 1, normal, daily 2.73 years, weekly 2.83, monthly 3.24."""
    for per_year, years in ((252, 2.73), (52, 2.83), (12, 3.24)):
        sample = Sample(2 / math.sqrt(per_year), 500)
        needed = track_record_needed(sample, benchmark=1 / math.sqrt(per_year))
        assert needed / per_year == pytest.approx(years, abs=0.01)


def test_the_best_of_many_in_simulation():
    rng = np.random.default_rng(3)
    for tries in (5, 20, 200):
        best = rng.normal(0.0, 0.3, (20_000, tries)).max(axis=1).mean()
        assert expected_best_sharpe(tries, 0.3) == pytest.approx(best, rel=0.03)
    assert expected_best_sharpe(1, 0.3) == 0.0


def test_coverage_of_the_probabilistic_ratio():
    """Series with a known Sharpe ratio: it is inside the one-sided 95 % bound 95 % of the time."""
    rng = np.random.default_rng(8)
    sure = [probabilistic_sharpe(r, benchmark=0.1) for r in 0.1 + rng.normal(0.0, 1.0, (4_000, 250))]
    assert np.mean(np.array(sure) > 0.95) == pytest.approx(0.05, abs=0.012)


def test_a_record_long_enough_is_confident():
    sample = Sample(0.1, 100, -0.5, 5.0)
    needed = track_record_needed(sample)
    enough = Sample(0.1, math.ceil(needed), -0.5, 5.0)
    assert probabilistic_sharpe(enough) == pytest.approx(0.95, abs=2e-3)
    assert track_record_needed(sample, benchmark=0.2) == math.inf


def by_the_definition(returns, blocks):
    """CSCV written out: every half, the best in it, its rank in the other."""
    parts = np.array_split(returns, blocks)
    logits, below = [], []
    for half in itertools.combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[b] for b in half])
        outside = np.concatenate([parts[b] for b in range(blocks) if b not in half])
        seen, unseen = (r.mean(axis=0) / r.std(axis=0) for r in (inside, outside))
        best = seen.argmax()
        rank = (unseen <= unseen[best]).sum()
        share = rank / (returns.shape[1] + 1)
        logits.append(math.log(share / (1 - share)))
        below.append(unseen[best] < 0)
    return np.array(logits), np.mean(below)


@pytest.mark.parametrize(("blocks", "variants"), [(4, 3), (6, 10), (8, 7)])
def test_cscv_equals_its_definition(blocks, variants):
    returns = np.random.default_rng(blocks).normal(0.01, 1.0, (blocks * 12, variants))
    found = overfitting_probability(returns, blocks)
    logits, loss = by_the_definition(returns, blocks)
    np.testing.assert_allclose(found.logits, logits, rtol=1e-9)
    assert found.loss == loss
    assert found.probability == np.mean(logits <= 0)
    assert found.splits == math.comb(blocks, blocks // 2)


def test_noise_is_half_overfit_and_skill_is_not():
    rng = np.random.default_rng(0)
    noise = [overfitting_probability(rng.normal(size=(400, 25)), 8).probability for _ in range(60)]
    assert np.mean(noise) == pytest.approx(0.5, abs=0.1)
    skilled = rng.normal(size=(800, 25))
    skilled[:, 4] += 0.25
    assert overfitting_probability(skilled, 8).probability < 0.05


@given(scale=st.floats(1e-6, 1e6), k=st.integers(2, 5))
def test_the_unit_of_returns_does_not_matter(scale, k):
    returns = np.random.default_rng(k).normal(size=(64, k))
    assert overfitting_probability(returns * scale, 4).probability == overfitting_probability(returns, 4).probability


def test_variants_that_never_trade_are_worth_nothing():
    returns = np.random.default_rng(2).normal(0.2, 1.0, (160, 3))
    returns[:, 1] = 0.0
    assert np.isfinite(overfitting_probability(returns, 4).logits).all()


def test_nonsense_is_refused():
    with pytest.raises(qa.InputError, match="at least two variants"):
        overfitting_probability(np.zeros((100, 1)))
    with pytest.raises(qa.InputError, match="even number"):
        overfitting_probability(np.zeros((100, 2)), blocks=5)
    with pytest.raises(qa.InputError, match="do not fill"):
        overfitting_probability(np.zeros((20, 2)), blocks=16)
    with pytest.raises(qa.InputError, match="finite"):
        overfitting_probability(np.full((100, 2), np.nan), blocks=4)
    with pytest.raises(qa.InputError, match="not all the same"):
        probabilistic_sharpe(np.full(50, 0.01))
    with pytest.raises(qa.InputError, match="at least 1"):
        expected_best_sharpe(0, 0.1)

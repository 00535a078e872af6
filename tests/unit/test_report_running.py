"""The running record gives what the array functions give, whatever the curve."""

import math
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantai.report import drawdown, returns, running
from quantai.report.running_many import ABREAST, ROWS, STRETCH, update_many

YEAR = 252.0


@numba.njit
def feed(stats: Any, curve: Any) -> None:
    for value in curve:
        running.update(stats, value)


def finished(curve: np.ndarray) -> running.Finished:
    stats = running.records(1)
    feed(stats[0], curve)
    return running.finish(stats[0], YEAR)


def from_arrays(curve: np.ndarray) -> running.Finished:
    r = returns.simple_returns(curve)
    deepest, annual = drawdown.max_drawdown(curve), returns.annual_return(curve, YEAR)
    return running.Finished(
        len(curve),
        returns.total_return(curve),
        annual,
        returns.volatility(r, YEAR),
        returns.sharpe(r, YEAR),
        returns.sortino(r, YEAR),
        drawdown.calmar(annual, deepest),
        deepest,
        *drawdown.drawdown_lengths(curve),
    )


@pytest.mark.parametrize("bars", [2, 1_000, 200_000])
def test_equals_the_array_functions_to_1e_12(bars: int) -> None:
    curve = 1e5 * np.cumprod(1 + np.random.default_rng(bars).normal(1e-4, 0.01, bars))
    assert finished(curve) == pytest.approx(from_arrays(curve), rel=1e-12, nan_ok=True)


@given(st.lists(st.integers(-20, 100).map(float), max_size=40))
def test_equals_the_array_functions_on_any_curve(values: list[float]) -> None:
    curve = np.array(values)
    assert finished(curve) == pytest.approx(from_arrays(curve), rel=1e-9, abs=1e-12, nan_ok=True)


def test_a_record_goes_on_after_it_was_read() -> None:
    curve = np.array([100.0, 90.0, 95.0, 80.0, 120.0, 110.0])
    stats = running.records(1)
    for i, value in enumerate(curve):
        running.update(stats[0], value)
        assert running.finish(stats[0], YEAR) == pytest.approx(from_arrays(curve[: i + 1]), rel=1e-12, nan_ok=True)


def test_an_empty_record_knows_nothing() -> None:
    nothing = running.finish(running.records(1)[0], YEAR)
    assert nothing.bars == 0
    assert math.isnan(nothing.total_return)
    assert math.isnan(nothing.max_drawdown)


def test_finish_compiles_inside_a_kernel() -> None:
    @numba.njit
    def worst(stats: Any, curves: Any) -> Any:
        out = np.empty(len(curves))
        for i in range(len(curves)):
            for value in curves[i]:
                running.update(stats[i], value)
            out[i] = running.finish(stats[i], 252.0).max_drawdown
        return out

    curves = np.array([[100.0, 50.0, 75.0], [10.0, 11.0, 12.0]])
    assert worst(running.records(2), curves).tolist() == [-0.5, 0.0]


def test_records_that_saw_the_account_before_the_first_bar() -> None:
    curve = np.array([100.0, 90.0, 95.0, 120.0])
    stats = running.records(1, initial=100.0)
    feed(stats[0], curve[1:])
    assert running.finish(stats[0], YEAR) == finished(curve)


@pytest.mark.parametrize("bars", [64, 65, 129, 5_000])
def test_blocks_of_returns_between_flat_spells(bars: int) -> None:
    rng = np.random.default_rng(bars)
    moves = np.where(rng.random(bars) < 0.5, rng.normal(0.0, 1e-3, bars), 0.0)
    curve = 1e5 * np.cumprod(1 + moves)
    assert finished(curve) == pytest.approx(from_arrays(curve), rel=1e-11, nan_ok=True)


@pytest.mark.parametrize("scale", [1e5, 1e-160, 1e160])
@pytest.mark.parametrize("values", [1, ROWS - 1, ROWS + 1, 2 * STRETCH + 3])
def test_curves_side_by_side_give_what_each_gives(values: int, scale: float) -> None:
    rng, n = np.random.default_rng(values), ABREAST - 3
    moves = np.where(rng.random((values, ABREAST)) < 0.5, rng.normal(0.0, 1e-3, (values, ABREAST)), 0.0)
    curves = np.zeros((1 + values + ROWS, ABREAST))
    curves[1 : 1 + values] = scale * np.cumprod(1 + moves, axis=0)
    stats = running.records(n, scale)
    update_many(stats, n, curves.ravel(), values, np.zeros(7 * ABREAST))
    for k in range(n):
        alone = running.records(1, scale)
        feed(alone[0], curves[1 : 1 + values, k])
        exact = running.finish(alone[0], YEAR)
        assert running.finish(stats[k], YEAR) == pytest.approx(exact, rel=1e-9, abs=1e-12, nan_ok=True)


def test_a_steady_curve_has_no_sharpe_ratio() -> None:
    curve = 1e5 * 1.001 ** np.arange(3_000)
    assert math.isnan(from_arrays(curve).sharpe)
    assert math.isnan(finished(curve).sharpe)


def test_finish_all_is_finish_of_each() -> None:
    stats = running.records(2)
    for k, curve in enumerate((np.array([100.0, 50.0, 75.0]), np.array([10.0, 11.0, 12.5]))):
        feed(stats[k], curve)
    out = np.zeros(2, running.FINISHED)
    running.finish_all(stats, YEAR, out)
    for k in range(2):
        assert out[k].tolist() == pytest.approx(running.finish(stats[k], YEAR), nan_ok=True)

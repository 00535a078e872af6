import math

import numpy as np
import pytest

import quantai as qa
from quantai.core.errors import InputError, StrategyError, UnknownName
from quantai.strategy.base import fields_of


class Everything(qa.Strategy):
    """One field of each sort."""

    period: int = 5
    weight: float = 0.5
    loud: bool = False
    seen: int = qa.state(0)
    armed: bool = qa.state(True)
    window: float = qa.state(math.nan, shape=3)
    bare = qa.state(1.5)
    mean = qa.ind.sma("period")

    def on_bar(self, ctx, bar):
        self.seen += 1


def test_declaration_order_decides_the_record():
    fields = fields_of(Everything)
    assert list(fields.params) == ["period", "weight", "loud"]
    assert list(fields.states) == ["bare", "seen", "armed", "window"]
    assert list(fields.indicators) == ["mean"]


def test_record_holds_defaults_and_given_values():
    rec = Everything(period=7, loud=True).record()
    assert (rec["period"][0], rec["weight"][0], rec["loud"][0]) == (7, 0.5, 1)
    assert (rec["seen"][0], rec["armed"][0], rec["bare"][0]) == (0, 1, 1.5)
    assert np.isnan(rec["window"]).all()
    assert rec["mean"]["period"][0] == 7


def test_no_hidden_padding_in_any_record():
    def plain(dtype):
        if dtype.names is None:
            return dtype.itemsize
        return sum(plain(dtype[n].base) * int(np.prod(dtype[n].shape)) for n in dtype.names)

    dtype = Everything().record().dtype
    assert plain(dtype) == dtype.itemsize


@pytest.mark.parametrize(("period", "capacity"), [(5, 64), (64, 64), (65, 128), (300, 512)])
def test_history_is_rounded_up_so_that_neighbours_share_a_kernel(period, capacity):
    assert Everything(period=period).record()["mean"]["sma_ring"].shape == (1, capacity)


def test_inherited_fields_come_first_and_can_be_overridden():
    class Child(Everything):
        period: int = 9
        extra: float = 1.0

    assert Child().params == {"period": 9, "weight": 0.5, "loud": False, "extra": 1.0}


def test_unknown_parameter_suggests_the_right_one():
    with pytest.raises(UnknownName, match="did you mean 'weight'"):
        Everything(wieght=1.0)


@pytest.mark.parametrize("bad", [2.5, "many", None])
def test_parameter_of_the_wrong_type_is_refused(bad):
    with pytest.raises(InputError, match="period is an int"):
        Everything(period=bad)


@pytest.mark.parametrize("bad", [0, -3])
def test_period_below_one_is_refused(bad):
    with pytest.raises(InputError, match="whole number of rows >= 1"):
        Everything(period=bad).record()


def test_parameters_are_fixed_after_construction():
    s = Everything()
    with pytest.raises(StrategyError, match="fixed choice of parameters"):
        s.period = 6


def test_field_without_default_names_the_remedy():
    class Bare(qa.Strategy):
        depth: int

    with pytest.raises(StrategyError, match="give it a default"):
        Bare()


def test_field_of_unsupported_type_is_named():
    class Listed(qa.Strategy):
        names: list = []  # noqa: RUF012

    with pytest.raises(StrategyError, match=r"Listed\.names"):
        Listed()


def test_misspelt_handler_is_caught_when_the_class_is_made():
    with pytest.raises(StrategyError, match="on_bars is not a handler"):

        class Typo(qa.Strategy):
            def on_bars(self, ctx, bar): ...


def test_base_class_cannot_run():
    with pytest.raises(StrategyError, match="subclassed"):
        qa.Strategy()

"""What cannot be compiled is refused with the user's file, line and a remedy."""

import datetime
import random
import time

import numpy as np
import pandas as pd
import pytest

import quantai as qa
from quantai.core.errors import StrategyError


def bars():
    return qa.synth.bars(50, seed=1)


TABLE = {"a": 1}


class UsesPandas(qa.Strategy):
    def on_bar(self, ctx, bar):
        x = pd.Series([bar.close]).mean()  # HERE
        ctx.target(x)


class UsesNumpyRandom(qa.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(np.random.random())  # HERE  # noqa: NPY002


class UsesRandom(qa.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(random.random())  # HERE


class UsesClock(qa.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(time.time())  # HERE


class UsesDatetime(qa.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(datetime.datetime.now().hour)  # HERE  # noqa: DTZ005


class UnknownField(qa.Strategy):
    period: int = 3

    def on_bar(self, ctx, bar):
        ctx.target(self.perod)  # HERE


class UnknownVerb(qa.Strategy):
    def on_bar(self, ctx, bar):
        ctx.tagret(1.0)  # HERE


class VerbNotCalled(qa.Strategy):
    def on_bar(self, ctx, bar):
        if ctx.position > 0:  # HERE
            ctx.target(0.0)


class AssignsParameter(qa.Strategy):
    period: int = 3

    def on_bar(self, ctx, bar):
        self.period = 4  # HERE


class UsesDict(qa.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(TABLE["a"])  # HERE


class Catches(qa.Strategy):
    def on_bar(self, ctx, bar):
        try:  # HERE
            ctx.target(1.0)
        except ValueError:
            pass


class Imports(qa.Strategy):
    def on_bar(self, ctx, bar):
        import os  # HERE

        ctx.target(float(len(os.sep)))


class UndefinedName(qa.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(nowhere)  # HERE  # noqa: F821  # pyright: ignore[reportUndefinedVariable]


class WrongIndicatorMethod(qa.Strategy):
    mean = qa.ind.sma(3)

    def on_bar(self, ctx, bar):
        self.mean.push(bar.close)  # HERE


class UnknownBarField(qa.Strategy):
    def on_bar(self, ctx, bar):
        ctx.target(bar.clsoe)  # HERE


class MixedTypes(qa.Strategy):
    def on_bar(self, ctx, bar):
        x = "a" if bar.close > 1 else 2.0  # HERE
        ctx.target(x)


class WrongArguments(qa.Strategy):
    def on_bar(self, bar):  # HERE
        pass


CASES = [
    (UsesPandas, "pandas cannot run in a handler"),
    (UsesNumpyRandom, "randomness is not allowed"),
    (UsesRandom, "randomness is not allowed"),
    (UsesClock, "use ctx.now"),
    (UsesDatetime, "use ctx.now"),
    (UnknownField, "did you mean 'period'"),
    (UnknownVerb, "did you mean 'target'"),
    (VerbNotCalled, "is a verb: call it"),
    (AssignsParameter, "is a parameter and cannot change"),
    (UsesDict, "TABLE is a dict"),
    (Catches, "try cannot be used"),
    (Imports, "import outside the handler"),
    (UndefinedName, "'nowhere' is not defined"),
    (WrongIndicatorMethod, "Sma has no method 'push'"),
    (UnknownBarField, "did you mean 'close'"),
    (MixedTypes, "cannot compile MixedTypes"),
    (WrongArguments, r"on_bar takes \(self, ctx, bar\)"),
]


@pytest.mark.parametrize(("strategy", "why"), CASES, ids=lambda c: getattr(c, "__name__", ""))
def test_error_names_the_line_and_the_remedy(strategy, why):
    import inspect

    lines, first = inspect.getsourcelines(strategy)
    marked = first + next(n for n, line in enumerate(lines) if "# HERE" in line)
    with pytest.raises(StrategyError, match=why) as caught:
        qa.backtest(strategy(), bars())
    message = str(caught.value)
    assert f"{__file__}:{marked}:" in message
    assert "\n" not in message


def test_division_by_zero_is_one_clear_line():
    class Divides(qa.Strategy):
        def on_bar(self, ctx, bar):
            ctx.target(1.0 / (bar.volume - bar.volume))

    with pytest.raises(StrategyError, match="Divides divided by zero"):
        qa.backtest(Divides(), bars())


def test_class_without_source_says_where_to_define_it():
    space = {"qa": qa}
    exec("class Ghost(qa.Strategy):\n    def on_bar(self, ctx, bar):\n        ctx.target(1.0)\n", space)
    with pytest.raises(StrategyError, match="define the strategy in a file or a notebook cell"):
        qa.backtest(space["Ghost"](), bars())

"""Which variants a sweep tries: all of a grid, a random sample of it, or what Optuna suggests from what it has seen."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from quantai.core.errors import InputError, MissingExtra

Params = dict[str, Any]


def axes(grid: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the different values of each parameter as a list; one value is a list of one.

    A value given twice is tried once: the tests of luck count tries.

    >>> axes({"fast": range(2), "slow": (20, 20.0)})
    {'fast': [0, 1], 'slow': [20]}
    """
    lists = {n: (list(v) if isinstance(v, Iterable) and not isinstance(v, str) else [v]) for n, v in grid.items()}
    for name, values in lists.items():
        if not values:
            raise InputError(f"parameter {name} has no values: give it at least one")
        if all(isinstance(v, int | float | np.number) for v in values):
            lists[name] = list(dict.fromkeys(values))
    return lists


def grid_of(values: Mapping[str, Sequence[Any]]) -> list[Params]:
    """Return every combination, the last parameter changing fastest.

    >>> grid_of({"fast": [1, 2], "slow": [20, 30]})[1]
    {'fast': 1, 'slow': 30}
    """
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]


def sample_of(values: Mapping[str, Sequence[Any]], n: int, seed: int) -> list[Params]:
    """Return `n` different combinations drawn uniformly, without building the grid; all of them when there are fewer.

    >>> sample_of({"fast": range(1000), "slow": range(1000)}, 2, seed=1)
    [{'fast': 473, 'slow': 188}, {'fast': 511, 'slow': 821}]
    """
    sizes = [len(v) for v in values.values()]
    total = math.prod(sizes)
    if n >= total:
        return grid_of(values)
    if total >= 2**63:
        raise InputError(f"{total:.0e} combinations are too many to draw from: give fewer values of some parameters")
    rng = np.random.default_rng(seed)
    chosen = dict[int, None]()
    while len(chosen) < n:
        chosen.update(dict.fromkeys(int(k) for k in rng.integers(0, total, n - len(chosen))))
    out = list[Params]()
    for at in chosen:
        picks = np.unravel_index(at, sizes)
        out.append({name: v[int(k)] for (name, v), k in zip(values.items(), picks, strict=True)})
    return out


class Study:
    """An Optuna study (TPE) over lists of values, asked for a batch of variants at a time; it maximises.

    Three numbers or more are searched by rank, so that what the sampler learns of one tells it of its neighbours;
    anything else is a choice without order. A batch is asked for before any of it is told: a larger one explores more
    and learns less.
    """

    def __init__(self, values: Mapping[str, Sequence[Any]], seed: int) -> None:
        try:
            import optuna
        except ImportError:
            raise MissingExtra("optuna", "research") from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._values = values
        self._failed = optuna.trial.TrialState.FAIL
        self._study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))

    def ask(self, n: int) -> list[tuple[Any, Params]]:
        """Return `n` trials and the parameters suggested for each; two trials may suggest the same."""
        trials = [self._study.ask() for _ in range(n)]
        return [(t, {name: self._suggest(t, name) for name in self._values}) for t in trials]

    def tell(self, trial: Any, value: float) -> None:
        """Say what a trial scored; NaN says that it has no score."""
        if math.isnan(value):
            self._study.tell(trial, state=self._failed)
        else:
            self._study.tell(trial, value)

    def _suggest(self, trial: Any, name: str) -> Any:
        values = self._values[name]
        if len(values) > 2 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            order = sorted(values)
            return order[trial.suggest_int(name, 0, len(order) - 1)]
        return values[trial.suggest_categorical(name, list(range(len(values))))]

"""A notebook-first workbench for quantitative research and trading: record, research, backtest, promote, trade.

    >>> import quantai as qa
    >>> qa.SEC // qa.MS
    1000

Everything a notebook needs hangs on this one name. Each piece is loaded when it is first used, so importing quantai is
cheap: it brings in neither pandas nor numba.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quantai.backtest import (
        Result,
        backtest,
        check_lookahead,
        check_warmup,
        data_snooping,
        sweep,
        verdict,
        walk_forward,
    )
    from quantai.backtest.compare import compare
    from quantai.backtest.replay import replay
    from quantai.backtest.replay_result import ReplayResult
    from quantai.core.errors import (
        DataError,
        InputError,
        MissingExtra,
        QuantaiError,
        StorageError,
        StrategyError,
        UnknownName,
        VenueError,
    )
    from quantai.core.instruments import Instrument, Instruments
    from quantai.core.rows import BUY, DAY, HOUR, MIN, MS, NS, SEC, SELL, US
    from quantai.data import Bars, Lake, samples, synth
    from quantai.data.tape import Tape
    from quantai.knowledge import Knowledge
    from quantai.notebook.promote import promote
    from quantai.notebook.serve import serve
    from quantai.notebook.trade import trade
    from quantai.strategy import Strategy, ind, state
    from quantai.tools import Workspace, tool
    from quantai.tools.assistant import Assistant
    from quantai.venues import Latency, SimVenue

__all__ = [
    "BUY",
    "DAY",
    "HOUR",
    "MIN",
    "MS",
    "NS",
    "SEC",
    "SELL",
    "US",
    "Assistant",
    "Bars",
    "DataError",
    "InputError",
    "Instrument",
    "Instruments",
    "Knowledge",
    "Lake",
    "Latency",
    "MissingExtra",
    "QuantaiError",
    "ReplayResult",
    "Result",
    "SimVenue",
    "StorageError",
    "Strategy",
    "StrategyError",
    "Tape",
    "UnknownName",
    "VenueError",
    "Workspace",
    "backtest",
    "check_lookahead",
    "check_warmup",
    "compare",
    "data_snooping",
    "ind",
    "promote",
    "replay",
    "samples",
    "serve",
    "state",
    "sweep",
    "synth",
    "tool",
    "trade",
    "verdict",
    "walk_forward",
]

_HOMES = {
    "quantai.backtest": ("Result backtest check_lookahead check_warmup data_snooping sweep verdict walk_forward"),
    "quantai.backtest.compare": "compare",
    "quantai.backtest.replay": "replay",
    "quantai.backtest.replay_result": "ReplayResult",
    "quantai.core.errors": (
        "DataError InputError MissingExtra QuantaiError StorageError StrategyError UnknownName VenueError"
    ),
    "quantai.core.instruments": "Instrument Instruments",
    "quantai.core.rows": "BUY DAY HOUR MIN MS NS SEC SELL US",
    "quantai.data": "Bars Lake samples synth",
    "quantai.data.tape": "Tape",
    "quantai.knowledge": "Knowledge",
    "quantai.notebook.promote": "promote",
    "quantai.notebook.serve": "serve",
    "quantai.notebook.trade": "trade",
    "quantai.strategy": "Strategy ind state",
    "quantai.tools": "Workspace tool",
    "quantai.tools.assistant": "Assistant",
    "quantai.venues": "Latency SimVenue",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("quantai")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'quantai' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    home = import_module(_HOME_OF[name])
    value = globals()[name] = getattr(home, name) if hasattr(home, name) else import_module(f"{home.__name__}.{name}")
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def load_ipython_extension(shell: Any) -> None:
    """Register %%ask, %%research, %kb and %%sql: `%load_ext quantai`."""
    from quantai.notebook.magics import load_ipython_extension as load

    load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """Take back what can be taken back: `%unload_ext quantai`."""
    from quantai.notebook.magics import unload_ipython_extension as unload

    unload(shell)


class _Package(ModuleType):
    """Keeps `quantai.backtest` the function: importing the room of that name would put the room in its place."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and value.__name__ == f"{__name__}.{name}" and name in _HOME_OF):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package

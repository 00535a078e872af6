"""What the checks are given, read or refused in a line: bars, a strategy or its maker, prepared features, settings."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from quantai.backtest.settings import Settings
from quantai.core.errors import DataError, InputError, UnknownName
from quantai.core.rows import Rows
from quantai.data.bars import Bars
from quantai.data.tape import Tape
from quantai.strategy import Strategy

Maker = Callable[[Bars], Strategy]
"""What makes a strategy from the data it will run on, for example with a threshold fitted to it."""

_BAR = ("ts_open", "ts_close", "instrument", "open", "high", "low", "close", "volume", "trades")


def bars_of(data: Any, to: str) -> Bars:
    """Return bars, of a frame as well; `to` says in the error of an empty one what they were wanted for."""
    if isinstance(data, Tape):
        raise InputError(f"bars are needed {to}, not a Tape: make some of its trades, or compare replays of its parts")
    bars = data if isinstance(data, Bars) else Bars.from_frame(data, "ASSET")
    if len(bars) == 0:
        raise DataError(f"there are no bars {to}")
    return bars


def strategy_of(strategy: Any, bars: Bars | None = None) -> Strategy:
    """Return a strategy of itself, its class, or (with `bars`) the function that makes it from bars."""
    made = strategy
    if isinstance(strategy, type) and issubclass(strategy, Strategy):
        made = strategy()
    elif bars is not None and callable(strategy) and not isinstance(strategy, Strategy | type):
        made = strategy(bars)
        if isinstance(made, type) and issubclass(made, Strategy):
            made = made()
        if not isinstance(made, Strategy):
            raise InputError(f"a function given as strategy has to return one, it returned a {type(made).__name__}")
    if not isinstance(made, Strategy):
        or_made = " or a function bars -> Strategy" if bars is not None else ""
        raise InputError(f"strategy is a Strategy, its class{or_made}, got {strategy!r}")
    return made


def settings_of(given: dict[str, Any]) -> Settings:
    """Return settings by name; raises UnknownName."""
    for name in given:
        if name not in Settings.__dataclass_fields__:
            raise UnknownName("setting", name, Settings.__dataclass_fields__)
    return Settings(**given)


def features_of(made: Any, bars: Bars) -> pd.DataFrame:
    """Return what `prepare` made as a frame with one row a bar, numbered from 0."""
    try:
        if isinstance(made, Bars):
            frame = pd.DataFrame({name: made.rows[name] for name in _BAR})
        elif isinstance(made, pd.Series):
            frame = made.to_frame()
        elif hasattr(made, "to_pandas"):
            frame = pd.DataFrame(made.to_pandas())
        else:
            frame = pd.DataFrame(made)
    except (ValueError, TypeError):
        raise InputError(
            f"prepare has to return Bars, or a frame, series or array with one row a bar, not {type(made).__name__}"
        ) from None
    if len(frame) != len(bars):
        raise InputError(
            f"prepare has to return one row a bar: it returned {len(frame):,} for {len(bars):,} bars; "
            "keep rows that have no value as NaN"
        )
    frame = frame.reset_index(drop=True)
    for column in [c for c, kind in enumerate(frame.dtypes) if isinstance(kind, pd.CategoricalDtype)]:
        frame.isetitem(column, frame.iloc[:, column].astype(object))
    return frame


def ends_of(rows: Rows) -> Any:
    """Return the row after the last of each instant."""
    close = rows["ts_close"]
    return np.flatnonzero(np.append(close[1:] != close[:-1], True)) + 1


def instant(ns: Any) -> Any:
    """Return an instant as pandas has it, in UTC."""
    return pd.Timestamp(int(ns), tz="UTC")

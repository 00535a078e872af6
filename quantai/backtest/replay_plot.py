"""The figure of a replay, made of its logs and of the tape it ran on."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quantai.backtest.fill_quality import lives_of, tape_of
from quantai.core.errors import DataError, InputError, UnknownName
from quantai.core.rows import Kind
from quantai.data.instants import Instant, to_ns
from quantai.data.tape import Tape
from quantai.report.replay import Quotes, replay_figure

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_ROWS = 5_000_000
"""More levels than this are not drawn without being asked for by a start and an end."""


def plot_of(
    result: Any, symbol: str | None = None, start: Instant | None = None, end: Instant | None = None
) -> "go.Figure":
    """Return the figure of one instrument; raises InputError for an unknown symbol or a window without rows."""
    tape = tape_of(result)
    symbols = tape.symbols
    if symbol is not None and symbol not in symbols:
        raise UnknownName("symbol", symbol, symbols)
    which = symbols.index(symbol) if symbol is not None else 0
    first, last = _window(tape, start, end)
    lives = lives_of(result)
    lives = lives[(lives["instrument"] == which) & (lives["rested"] == 1)]
    inst = tape.instruments.rows()[which]
    quotes = Quotes(
        side=lives["side"],
        px=lives["px_ticks"] * inst["tick_num"] / inst["tick_den"],
        from_ns=lives["arrival"],
        until_ns=lives["end"],
    )
    fills: Any = result.fills[result.fills["symbol"] == symbols[which]]
    title = f"{result.strategy!r} · {symbols[which]}"
    return replay_figure(
        _levels(tape, which, first, last), quotes, fills, result.equity, result.pnl_split().curve, (first, last),
        title=title, currency=result.currency,
    )  # fmt: skip


def _window(tape: Tape, start: Instant | None, end: Instant | None) -> tuple[int, int]:
    rows = tape.rows
    head = min(int(tape.facts["head"]), max(len(rows) - 1, 0))
    if not len(rows):
        raise DataError("the tape has no rows: there is nothing to draw")
    first = int(rows["ts_recv"][head]) if start is None else to_ns(start, "start")
    last = int(rows["ts_recv"][-1]) if end is None else to_ns(end, "end")
    if first > last or first > rows["ts_recv"][-1] or last < rows["ts_recv"][head]:
        raise InputError(f"nothing was received between {start} and {end}")
    return first, last


def _levels(tape: Tape, which: int, first: int, last: int) -> pd.DataFrame | None:
    if not tape.facts["instruments"][which]["levels"]:
        return None
    rows = tape.rows[: np.searchsorted(tape.rows["ts_recv"], last, side="right")]
    rows = rows[(rows["instrument"] == which) & np.isin(rows["kind"], (Kind.LEVEL, Kind.CLEAR))]
    if len(rows) > MOST_ROWS:
        raise InputError(f"{len(rows):,} rows of the book are too many to draw: pass an earlier end, or plot a part")
    if not len(rows):
        return None
    # what came before the window is what it begins with
    ts = np.maximum(rows["ts_recv"], first)
    return pd.DataFrame({"ts_recv": ts} | {name: rows[name] for name in ("px", "qty", "side", "kind")})

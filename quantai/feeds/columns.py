"""Batches as the columns of the lake's tables."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from quantai.core.rows import BAR, EVENT, Kind, Rows
from quantai.feeds.feed import STATUS, Batch

TABLES = {
    "trades": "trades",
    "l2_book": "levels",
    "ticker": "quotes",
    "candles": "bars",
    "funding": "funding",
    "open_interest": "open_interest",
    "liquidations": "liquidations",
    STATUS: "events",
}
"""The lake's table for the rows of each channel."""

Columns = dict[str, Any]


def columns(channel: str, batches: Sequence[Batch]) -> Columns:
    """Return the columns of `TABLES[channel]` for batches of that channel and one symbol, in their order.

    The number of rows is that of `rows_in`: the two QUOTE rows of a ticker are one row of `quotes`.
    """
    rows = joined(batches)
    return _COLUMNS[channel](rows, batches)


def joined(batches: Sequence[Batch]) -> Rows:
    """Return the EVENT rows of `batches` as one array."""
    return np.frombuffer(b"".join([b.packed for b in batches]), EVENT)


def rows_in(channel: str, batches: Sequence[Batch]) -> int:
    """Return how many rows of `TABLES[channel]` batches of that channel become."""
    return sum(map(len, batches)) if channel in ("l2_book", STATUS) else len(batches)


def _pick(rows: Rows, *names: str) -> Columns:
    return {name: np.ascontiguousarray(rows[name]) for name in ("ts_exch", "ts_recv", "seq", *names)} | {
        "seq": rows["seq"].astype("i8")
    }


def _trades(rows: Rows, batches: Sequence[Batch]) -> Columns:
    return _pick(rows, "px", "qty", "side") | {"id": list(chain.from_iterable(b.ids for b in batches))}


def _levels(rows: Rows, batches: Sequence[Batch]) -> Columns:
    return _pick(rows, "px", "qty", "side", "flags", "kind")


def _quotes(rows: Rows, batches: Sequence[Batch]) -> Columns:
    bids, asks = rows[0::2], rows[1::2]
    return _pick(bids) | {"bid": bids["px"], "bid_qty": bids["qty"], "ask": asks["px"], "ask_qty": asks["qty"]}


def _bars(rows: Rows, batches: Sequence[Batch]) -> Columns:
    bars = np.frombuffer(b"".join([b.packed_bars for b in batches]), BAR)
    names = ("ts_open", "ts_close", "open", "high", "low", "close", "volume", "trades")
    out: Columns = {name: np.ascontiguousarray(bars[name]) for name in names}
    return out | {
        "ts_recv": np.ascontiguousarray(rows["ts_recv"]),
        "seq": rows["seq"].astype("i8"),
        "interval": [b.interval for b in batches],
    }


def _funding(rows: Rows, batches: Sequence[Batch]) -> Columns:
    at = np.flatnonzero(rows["kind"] == Kind.FUNDING)
    after = np.minimum(at + 1, len(rows) - 1)  # the mark price, where the venue sends one, is the row after
    mark = np.where(rows["kind"][after] == Kind.MARK, rows["px"][after], np.nan)
    found = rows[at]
    return _pick(found) | {"rate": found["px"], "next_ts": np.ascontiguousarray(found["aux"]), "mark": mark}


def _open_interest(rows: Rows, batches: Sequence[Batch]) -> Columns:
    return _pick(rows, "qty")


def _liquidations(rows: Rows, batches: Sequence[Batch]) -> Columns:
    ids = list(chain.from_iterable(b.ids for b in batches))
    return _pick(rows, "px", "qty", "side") | {"id": ids, "status": [b.detail or None for b in batches]}


def _events(rows: Rows, batches: Sequence[Batch]) -> Columns:
    return _pick(rows, "kind", "aux") | {"detail": [b.detail for b in batches]}


_COLUMNS: dict[str, Callable[[Rows, Sequence[Batch]], Columns]] = {
    "trades": _trades,
    "l2_book": _levels,
    "ticker": _quotes,
    "candles": _bars,
    "funding": _funding,
    "open_interest": _open_interest,
    "liquidations": _liquidations,
    STATUS: _events,
}

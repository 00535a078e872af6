"""Batches as the columns of the lake's tables."""

from collections.abc import Callable, Iterable
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


_ROWS_SAY_ALL = ("l2_book", "ticker")


class Pile:
    """Batches of one channel and symbol, in their order, on their way into `TABLES[channel]`.

    Few long things are kept of many short ones: memory that is used again at once is what a processor is quick with.
    """

    def __init__(self, channel: str, batches: Iterable[Batch] = ()) -> None:
        self.channel, self.messages = channel, 0
        self.ids, self.details, self.intervals = list[str | None](), list[str](), list[str]()
        self._packed, self._packed_bars = bytearray(), bytearray()
        self._rows_say_all = channel in _ROWS_SAY_ALL
        for batch in batches:
            self.add(batch)

    def add(self, batch: Batch) -> None:
        """Put one more on top."""
        self.messages += 1
        self._packed += batch.packed
        if not self._rows_say_all:
            self._packed_bars += batch.packed_bars
            self.ids += batch.ids
            self.details.append(batch.detail)
            self.intervals.append(batch.interval)

    @property
    def events(self) -> Rows:
        """All EVENT rows."""
        return np.frombuffer(self._packed, EVENT)

    @property
    def bars(self) -> Rows:
        """All BAR rows."""
        return np.frombuffer(self._packed_bars, BAR)

    @property
    def rows(self) -> int:
        """How many rows of the table they become: the two QUOTE rows of a ticker, for one, are one of `quotes`."""
        return len(self.events) if self.channel in ("l2_book", STATUS) else self.messages

    def columns(self) -> Columns:
        """Return the columns of the table."""
        return _COLUMNS[self.channel](self.events, self)


def _pick(rows: Rows, *names: str) -> Columns:
    return {name: np.ascontiguousarray(rows[name]) for name in ("ts_exch", "ts_recv", "seq", *names)} | {
        "seq": rows["seq"].astype("i8")
    }


def _trades(rows: Rows, pile: Pile) -> Columns:
    return _pick(rows, "px", "qty", "side") | {"id": pile.ids}


def _levels(rows: Rows, pile: Pile) -> Columns:
    return _pick(rows, "px", "qty", "side", "flags", "kind")


def _quotes(rows: Rows, pile: Pile) -> Columns:
    bids, asks = rows[0::2], rows[1::2]
    return _pick(bids) | {"bid": bids["px"], "bid_qty": bids["qty"], "ask": asks["px"], "ask_qty": asks["qty"]}


def _bars(rows: Rows, pile: Pile) -> Columns:
    bars = pile.bars
    names = ("ts_open", "ts_close", "open", "high", "low", "close", "volume", "trades")
    out: Columns = {name: np.ascontiguousarray(bars[name]) for name in names}
    return out | {
        "ts_recv": np.ascontiguousarray(rows["ts_recv"]),
        "seq": rows["seq"].astype("i8"),
        "interval": pile.intervals,
    }


def _funding(rows: Rows, pile: Pile) -> Columns:
    at = np.flatnonzero(rows["kind"] == Kind.FUNDING)
    after = np.minimum(at + 1, len(rows) - 1)  # the mark price, where the venue sends one, is the row after
    mark = np.where(rows["kind"][after] == Kind.MARK, rows["px"][after], np.nan)
    found = rows[at]
    return _pick(found) | {"rate": found["px"], "next_ts": np.ascontiguousarray(found["aux"]), "mark": mark}


def _open_interest(rows: Rows, pile: Pile) -> Columns:
    return _pick(rows, "qty")


def _liquidations(rows: Rows, pile: Pile) -> Columns:
    return _pick(rows, "px", "qty", "side") | {"id": pile.ids, "status": [detail or None for detail in pile.details]}


def _events(rows: Rows, pile: Pile) -> Columns:
    return _pick(rows, "kind", "aux") | {"detail": pile.details}


_COLUMNS: dict[str, Callable[[Rows, Pile], Columns]] = {
    "trades": _trades,
    "l2_book": _levels,
    "ticker": _quotes,
    "candles": _bars,
    "funding": _funding,
    "open_interest": _open_interest,
    "liquidations": _liquidations,
    STATUS: _events,
}

"""A range of time cut into requests that cannot lose rows.

Bars: a request spans as many bar lengths as the venue gives at once, and the next one starts after the last bar
received.

Trades: how many there are in a stretch of time is not known beforehand, and a venue that has more than it gives may
keep the first or the last of them (Binance keeps the last when a start and an end are given:
binance-spot-api-docs#10). So an answer that is full proves nothing: its stretch is halved until the answer is not
full, and then it is known to be all. Following the time of the last trade received, the usual way, loses trades there
without a sign.

Nothing: an empty answer may be the truth (minutes without trades are common), or a venue's weak moment. It is believed
only when the same stretch is empty again after a pause, asked once the venue has given later rows, and the page says so
(`Page.empty`). Bars that begin after the stretch asked for prove that it has none.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from quantai.core.errors import VenueError
from quantai.core.rows import HOUR, MS

LONGEST_MS = HOUR // MS  # Binance refuses a longer stretch of trades
_FIRST_MS = 60_000
_PAUSE_S = 1.0


class Source(Protocol):
    """What pages are cut from; see `Client`."""

    venue: str
    symbol: str

    def bars(self, since_ms: int, interval: str, limit: int) -> list[list[float]]:
        """Return up to `limit` bars opening at or after `since_ms`."""
        ...

    def trades(self, since_ms: int, until_ms: int, limit: int) -> list[dict[str, Any]]:
        """Return up to `limit` trades from `since_ms` to `until_ms`, both included."""
        ...


class Page(NamedTuple):
    """What a venue said of [start_ms, end_ms): columns of the lake's table, all the rows there are.

    `empty` where it gave no row and no proof that there is none, and was asked again.
    """

    start_ms: int
    end_ms: int
    columns: dict[str, Any]
    empty: bool = False


def bar_pages(source: Source, interval: str, length_ns: int, limit: int, start_ms: int, end_ms: int) -> Iterator[Page]:
    """Yield the bars that open in [start_ms, end_ms), in order, each once; `limit` bars come in one answer."""

    def ask(since_ms: int, until_ms: int) -> Iterator[Page]:
        return _bars(source, interval, length_ns, limit, since_ms, until_ms)

    return _asked_twice(ask, start_ms, end_ms)


def trade_pages(source: Source, limit: int, start_ms: int, end_ms: int) -> Iterator[Page]:
    """Yield the trades of [start_ms, end_ms), in order, each once; raises VenueError where 1 ms holds `limit`."""

    def ask(since_ms: int, until_ms: int) -> Iterator[Page]:
        return _trades(source, limit, since_ms, until_ms)

    return _asked_twice(ask, start_ms, end_ms)


def _asked_twice(ask: Callable[[int, int], Iterator[Page]], start_ms: int, end_ms: int) -> Iterator[Page]:
    """Yield the pages of `ask`; a run of empty ones is asked for again when rows follow it, or at the end."""
    doubtful = list[Page]()
    for page in ask(start_ms, end_ms):
        if page.empty:
            doubtful.append(page)
            continue
        yield from _again(ask, doubtful)
        doubtful.clear()
        yield page
    yield from _again(ask, doubtful)


def _again(ask: Callable[[int, int], Iterator[Page]], doubtful: list[Page]) -> Iterator[Page]:
    if doubtful:
        time.sleep(_PAUSE_S)
    for page in doubtful:
        yield from ask(page.start_ms, page.end_ms)


def _bars(source: Source, interval: str, length_ns: int, limit: int, start_ms: int, end_ms: int) -> Iterator[Page]:
    length_ms = length_ns // MS
    cursor = start_ms
    while cursor < end_ms:
        upto = min(cursor + limit * length_ms, end_ms)
        page = source.bars(cursor, interval, limit)
        rows = {int(r[0]): r for r in page if cursor <= r[0] < upto}
        if rows:  # not `upto`: repeated rows, or rows from before the start, take the place of others in an answer
            upto = min(upto, max(rows) + length_ms)
        proven = any(r[0] >= cursor for r in page)
        yield Page(cursor, upto, _bar_columns([rows[ts] for ts in sorted(rows)], interval, length_ns), not proven)
        cursor = upto


def _trades(source: Source, limit: int, start_ms: int, end_ms: int) -> Iterator[Page]:
    cursor, span = start_ms, _FIRST_MS
    while cursor < end_ms:
        upto = min(cursor + span, end_ms)
        page = source.trades(cursor, upto - 1, limit)
        if len(page) >= limit:
            if upto - cursor == 1:
                whole = f"{source.venue} gives only {limit} of the {source.symbol} trades at {cursor} ms"
                raise VenueError(f"{whole}, so they cannot be pulled: record them, or import a file of them")
            span = max(1, (upto - cursor) // 2)
            continue
        rows = {t["id"] or n: t for n, t in enumerate(page) if cursor <= t["timestamp"] < upto}
        yield Page(cursor, upto, _trade_columns(sorted(rows.values(), key=_order)), not rows)
        cursor = upto
        if len(page) < limit // 2:
            span = min(2 * span, LONGEST_MS)


def _order(trade: dict[str, Any]) -> tuple[int, int, str]:
    name = str(trade["id"] or "")
    return trade["timestamp"], int(name) if name.isdigit() else 0, name


def _bar_columns(rows: list[list[float]], interval: str, length_ns: int) -> dict[str, Any]:
    values = np.array([r[1:6] for r in rows], "f8").reshape(-1, 5)
    opens = np.array([r[0] for r in rows], "i8") * MS
    named = dict(zip(("open", "high", "low", "close", "volume"), values.T, strict=True))
    return {"ts_open": opens, "ts_close": opens + length_ns, **named, "interval": [interval] * len(rows)}


def _trade_columns(rows: list[dict[str, Any]]) -> dict[str, Any]:
    ts = np.array([t["timestamp"] for t in rows], "i8") * MS
    return {
        "ts_exch": ts,
        "ts_recv": ts,
        "px": np.array([t["price"] for t in rows], "f8"),
        "qty": np.array([t["amount"] for t in rows], "f8"),
        "side": np.array([{"buy": 1, "sell": -1}.get(t["side"], 0) for t in rows], "i1"),
        "id": [None if t["id"] is None else str(t["id"]) for t in rows],
    }

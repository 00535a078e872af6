"""Pull history from a venue into the lake: only what is missing, in commits that survive any interruption."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quantai.core.errors import DataError, InputError, UnknownName, VenueError
from quantai.core.rows import HOUR, MS, SEC
from quantai.data.bars import interval_ns
from quantai.data.history.client import Client
from quantai.data.history.pages import Page, bar_pages, trade_pages
from quantai.data.instants import Instant, to_iso, to_ns
from quantai.ops import progress

if TYPE_CHECKING:
    from quantai.data.lake import Lake
    from quantai.data.writer import Writer

_LATE_TRADES_MS = 10 * SEC // MS  # a venue's history lags its market: what is younger is left for the next pull

Span = tuple[int, int]
"""[first, second) of milliseconds since 1970 UTC; in `Pulled`, of nanoseconds."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What one pull did: rows added, and the range (ns UTC, [start, end)) that was asked for and is complete now.

    `empty` lists the stretches (ns UTC, [start, end)) of it in which the venue had nothing, twice: quiet or closed
    hours, a time before the listing, or a venue that has lost them.
    """

    venue: str
    symbol: str
    what: str
    interval: str
    rows: int
    start_ts: int
    end_ts: int
    empty: tuple[Span, ...] = ()


def pull(
    lake: "Lake",
    venue: str,
    symbol: str,
    what: str = "bars",
    *,
    interval: str = "1m",
    start: Instant,
    end: Instant | None = None,
    endpoint: str | None = None,
    quiet: bool = False,
) -> Pulled:
    """Download the `bars` or `trades` of [start, end) that `lake` does not have yet; `end` is now when left out.

    Bars are selected by their opening instant, trades by their time at the venue. A bar that is not over yet is left
    out, and so are trades of the last 10 seconds. Rows and the range they cover are committed together: after an
    interruption at any moment, and for ranges that overlap earlier ones, the same call continues, adds no row twice
    and leaves none out. An empty answer is believed when a second one after a pause is empty too, and is listed in
    `Pulled.empty`; at the end of the range it is asked for again by the next pull. Downloaded rows have no receipt
    time; `ts_recv` is the venue's time (a bar's closing instant).

    Trades that the lake has of a part of the range from elsewhere (a recording, a file) are a DataError that says of
    which: they would count twice.

    `endpoint` sends every request to another host, such as a proxy; `quiet` hides the progress bar. Raises
    UnknownName for a venue, symbol or interval before anything is downloaded, InputError for a range that is empty or
    not in the past, and VenueError.
    """
    if what not in ("bars", "trades"):
        raise UnknownName("kind of history", what, ["bars", "trades"])
    start_ms, end_ms = -(-to_ns(start, "start") // MS), None if end is None else -(-to_ns(end, "end") // MS)
    if end_ms is not None and end_ms <= start_ms:
        raise InputError(f"end {end} is not after start {start}")
    length = interval_ns(interval) if what == "bars" else 0
    client = Client(venue, symbol, endpoint)
    if what == "bars":
        client.check_interval(interval)
    elif not client.place.trades:
        raise InputError(f"{venue} cannot be asked for the trades of a given time: pull bars, or record its trades")
    complete = client.now_ms() - (length // MS - 1 if what == "bars" else _LATE_TRADES_MS)
    stop_ms = complete if end_ms is None else min(end_ms, complete)
    if stop_ms <= start_ms:
        raise InputError(
            f"start {to_iso(start_ms * MS)} is too recent: no complete {what} of {symbol} exist from there on"
        )
    source = "-".join(["pull", venue, symbol, what, *([interval] if what == "bars" else [])])
    rows, empty = 0, list[Span]()
    with lake.writer(source) as writer:
        todo = gaps(_have(writer), start_ms, stop_ms)
        if what == "trades":
            _refuse_held(lake, venue, symbol, todo)
        hours = sum(b - a for a, b in todo) * MS / HOUR
        with progress(f"{venue} {symbol} {what}", hours, unit="h", quiet=quiet) as advance:
            for span in todo:
                pages = _pages(client, what, interval, length, span)
                rows += _store(writer, (what, venue, symbol), pages, span, advance, empty)
        if not writer.position:
            asked = f"from {to_iso(start_ms * MS)} to {to_iso(stop_ms * MS)}"
            raise VenueError(f"{venue} has no {what} of {symbol} {asked}: was it listed then?")
    if all((i.venue, i.symbol) != (venue, symbol) for i in lake.instruments):
        lake.instruments.add(client.instrument())
    return Pulled(
        venue,
        symbol,
        what,
        interval if what == "bars" else "",
        rows,
        start_ms * MS,
        stop_ms * MS,
        tuple((a * MS, b * MS) for a, b in empty),
    )


def gaps(have: list[Span], start: int, end: int) -> list[Span]:
    """Return the parts of [start, end) that no span of `have` (sorted, apart from each other) covers.

    >>> gaps([(0, 10), (20, 30)], 5, 40)
    [(10, 20), (30, 40)]
    """
    found: list[Span] = []
    for a, b in [*have, (end, end)]:
        if start < min(a, end):
            found.append((start, min(a, end)))
        start = max(start, b)
    return found


def joined(have: list[Span], span: Span) -> list[Span]:
    """Return `have` with `span` added, sorted, spans that touch made one.

    >>> joined([(0, 10), (20, 30)], (10, 15))
    [(0, 15), (20, 30)]
    """
    out: list[Span] = []
    for a, b in sorted([*have, span]):
        if out and a <= out[-1][1]:
            out[-1] = (out[-1][0], max(b, out[-1][1]))
        else:
            out.append((a, b))
    return out


def _have(writer: "Writer") -> list[Span]:
    return [(a, b) for a, b in writer.position.get("have", [])]


def _refuse_held(lake: "Lake", venue: str, symbol: str, todo: list[Span]) -> None:
    """Raise DataError for trades in the stretches of time that this source has not brought itself."""
    for start, end in todo:
        held, first, last = lake.sql(
            "select count(*), min(ts_exch), max(ts_exch) from trades "
            "where venue = $venue and symbol = $symbol and ts_exch >= $start and ts_exch < $end",
            venue=venue,
            symbol=symbol,
            start=start * MS,
            end=end * MS,
        ).fetchall()[0]
        if held:
            raise DataError(
                f"the lake holds {held} trades of {symbol} at {venue} from {to_iso(first)} to {to_iso(last)} already, "
                "of a recording or an import: pull what lies before or after them, or into another lake"
            )


def _store(
    writer: "Writer",
    stream: tuple[str, str, str],
    pages: Iterator[Page],
    span: Span,
    advance: Callable[[float], None],
    empty: list[Span],
) -> int:
    # an empty stretch is noted only together with rows that follow it: at the end it may have been asked for too soon
    rows, done, have = 0, span[0], _have(writer)
    for page in pages:
        if len(next(iter(page.columns.values()))):
            writer.append(*stream, page.columns)
            rows += writer.commit({"have": joined(have, (span[0], page.end_ms))})
        if page.empty:
            empty[:] = joined(empty, (page.start_ms, page.end_ms))
        advance((page.end_ms - done) * MS / HOUR)
        done = page.end_ms
    return rows


def _pages(client: Client, what: str, interval: str, length_ns: int, span: Span) -> Iterator[Page]:
    if what == "bars":
        return bar_pages(client, interval, length_ns, client.bars_per_request(), *span)
    return trade_pages(client, client.place.trades, *span)

"""Sources of market rows: feeds, a lake, in the run's own numbering of instruments."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from quantai.core.errors import QuantaiError, VenueError
from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import BAR, EVENT, LAST, WARM_UP, Kind, Rows, zeros
from quantai.data.lake import Lake
from quantai.execution.bar_maker import bar_events
from quantai.execution.inbox import Ended, Inbox, Market
from quantai.execution.plan import Plan
from quantai.feeds.feed import OFF_GRID, Batch, Feed


def listed(feed: Feed, symbols: list[str], lots: dict[str, Any]) -> list[Instrument]:
    """Return the instruments of a subscribed feed in the order of `symbols`; `lots` are steps the feed cannot know."""
    known = {i.symbol: i for i in feed.instruments}
    return [known[s].with_fields(lot=lots[s]) if s in lots else known[s] for s in symbols]


def alike(plan: Plan, instruments: Instruments) -> Instruments:
    """Return the instruments with one lot for all listings that a router chooses among: the coarsest.

    It is a multiple of the others, or they stay as they are; a router refuses them then. For simulated venues only: a
    real one executes parts of a lot that is coarser than its own.
    """
    found = list(instruments)
    number = {(i.venue, i.symbol): n for n, i in enumerate(found)}
    for desk in range(len(plan.strategies)):
        for group in plan.listings(desk):
            coarsest = max(found[number[one]].lot for one in group)
            for n in (number[one] for one in group):
                if coarsest % found[n].lot == 0:
                    found[n] = found[n].with_fields(lot=coarsest)
    return Instruments(found)


class Numbering:
    """From a feed's batches to rows of the run: instruments by its numbers, prices in its ticks.

    >>> Numbering(Instruments([Instrument.parse("BTC-USDT", venue="BINANCE")]))("BINANCE", "BTC-USDT")
    0
    """

    def __init__(self, instruments: Instruments) -> None:
        self._ids = {(i.venue, i.symbol): n for n, i in enumerate(instruments)}
        self._tick = [float(i.tick) for i in instruments]

    def __call__(self, venue: str, symbol: str) -> int:
        """Return the number of an instrument, -1 when the run does not have it."""
        return self._ids.get((venue, symbol), -1)

    def market(self, batch: Batch, tick: float) -> Market | None:
        """Return what a batch says to the run; `tick` is that of the feed's instrument."""
        n = self(batch.venue, batch.symbol)
        if n < 0:
            return None
        rows = batch.events.copy()
        rows["instrument"] = n
        if tick != self._tick[n]:
            priced = np.isfinite(rows["px"]) & (rows["px_ticks"] != 0)
            exact = np.where(priced, rows["px"], 0.0) / self._tick[n]
            near = np.rint(exact)
            rows["px_ticks"] = np.where(np.abs(exact - near) < 1e-6 * np.maximum(1.0, exact), near, OFF_GRID)
        if not len(batch.bars):
            return Market(rows)
        bars = batch.bars.copy()
        bars["instrument"] = n
        return Market(rows, bars)


async def pump(feed: Feed, numbering: Numbering, inbox: Inbox) -> None:
    """Put everything a subscribed feed hands out into the inbox, and that it ended, and why."""
    ticks = {i.symbol: float(i.tick) for i in feed.instruments}
    failure: VenueError | None = None
    try:
        async for batch in feed.batches():
            said = numbering.market(batch, ticks.get(batch.symbol, 0.0))
            if said is not None:
                inbox.put(said)
            await inbox.room()
    except VenueError as error:
        failure = error
    except QuantaiError as error:
        failure = VenueError(str(error))
    inbox.put(Ended(feed.venue, failure))


def trades_of(lake: Lake, venue: str, symbol: str, start: Any, end: Any, number: int, tick: float) -> Rows:
    """Return trades of a lake as EVENT rows."""
    table = lake.trades(venue, symbol, start, end)
    rows = zeros(table.num_rows, EVENT)
    for name in ("ts_exch", "ts_recv", "px", "qty", "side"):
        rows[name] = table[name].to_numpy()
    rows["kind"], rows["flags"], rows["instrument"] = Kind.TRADE, LAST, number
    rows["px_ticks"] = np.rint(rows["px"] / tick).astype(np.int64)
    return rows


def quotes_of(lake: Lake, venue: str, symbol: str, start: Any, end: Any, number: int, tick: float) -> Rows:
    """Return best prices of a lake as EVENT rows, two for each message."""
    table = lake.quotes(venue, symbol, start, end)
    rows = zeros(2 * table.num_rows, EVENT)
    for k, (side, px, qty) in enumerate(((1, "bid", "bid_qty"), (-1, "ask", "ask_qty"))):
        part = rows[k::2]
        part["ts_exch"], part["ts_recv"] = table["ts_exch"].to_numpy(), table["ts_recv"].to_numpy()
        part["px"], part["qty"], part["side"] = table[px].to_numpy(), table[qty].to_numpy(), side
        part["px_ticks"] = np.where(np.isfinite(part["px"]), np.rint(part["px"] / tick), OFF_GRID)
    rows["kind"], rows["instrument"] = Kind.QUOTE, number
    rows["flags"][1::2] = LAST
    return rows


def in_order(parts: list[Rows]) -> Rows:
    """Return rows of several sources in the order of receipt; rows of one message stay together."""
    rows = np.concatenate([zeros(0, EVENT), *parts])
    return rows[np.argsort(rows["ts_recv"], kind="stable")]


def pieces(rows: Rows, most: int) -> Iterator[Rows]:
    """Cut rows into pieces of at most `most`, or a little more where a message would be torn."""
    at = 0
    while at < len(rows):
        end = min(at + most, len(rows))
        while end < len(rows) and not rows["flags"][end - 1] & LAST:
            end += 1
        yield rows[at:end]
        at = end


def warm_rows(plan: Plan, instruments: Instruments) -> tuple[Rows, Rows]:
    """Return the EVENT rows that strategies warm up on, in order and marked so, and the BAR rows they point into.

    Who listens to bars gets bars of its interval, everybody else trades. Raises InputError for what a lake lacks.
    """
    root, start, end = (*(plan.warm_up or ("",)), None, None)[:3]
    lake, number = Lake(root), {(i.venue, i.symbol): n for n, i in enumerate(instruments)}
    wanted: dict[str, dict[int, None]] = {}
    for desk in range(len(plan.strategies)):
        shown = dict.fromkeys(number[listed[0]] for listed in plan.listings(desk))
        wanted.setdefault(plan.interval_of(desk), {}).update(shown)
    parts, bars = list[Rows](), [zeros(0, BAR)]
    for interval, numbers in wanted.items():
        for n in numbers:
            venue, symbol = instruments[n].venue, instruments[n].symbol
            if not interval:
                parts.append(trades_of(lake, venue, symbol, start, end, n, float(instruments[n].tick)))
                continue
            found = lake.bars(venue, symbol, interval, start, end).rows.copy()
            found["instrument"] = n
            rows = bar_events(found, instruments)
            rows["aux"] += sum(map(len, bars))
            parts.append(rows)
            bars.append(found)
    return warmed(in_order(parts)), np.concatenate(bars)


def warmed(rows: Rows) -> Rows:
    """Mark rows as those of the time before a run."""
    rows = rows.copy()
    rows["flags"] |= WARM_UP
    return rows

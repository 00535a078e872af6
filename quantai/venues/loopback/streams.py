"""The market streams: what happens in the books as Binance's events."""

from decimal import Decimal
from typing import Any, Protocol

from quantai.venues.loopback.candles import INTERVALS, Record, length_ms
from quantai.venues.loopback.hub import Hub
from quantai.venues.loopback.listings import Listing, Product
from quantai.venues.loopback.matching import Matching

Key = tuple[Product, str]
_DEPTHS = (5, 10, 20)


class Clock(Protocol):
    """Tells the time of the exchange."""

    def now_ms(self) -> int:
        """Return ms since 1970 UTC."""
        ...


class Streams:
    """Publishes trades as they happen, best prices after every action, and the rest at each `tick`."""

    def __init__(self, hub: Hub, clock: Clock) -> None:
        self._hub, self._clock = hub, clock
        self.records: dict[Key, Record] = {}
        self._best: dict[Key, tuple[Any, ...]] = {}
        self._flushed: dict[Key, int] = {}
        self._pending: dict[Key, list[Any]] = {}
        self._moved: set[Key] = set()
        self._candles: dict[tuple[Product, str], int] = {}
        self._aggregates: dict[Key, int] = {}

    def traded(self, listing: Listing, id: int, ticks: int, lots: int, side: int) -> None:
        """Publish a trade, and add it to the aggregate it belongs to (same taker, same price)."""
        key, now, hub = (listing.product, listing.symbol), self._clock.now_ms(), self._hub
        self.records[key].add(id, ticks, lots, side, now)
        self._moved.add(key)
        stream = f"{listing.symbol.lower()}@trade"
        if hub.wants(listing.product, stream):
            event = {
                "e": "trade",
                "E": now,
                "s": listing.symbol,
                "t": id,
                "p": listing.px(ticks),
                "q": listing.qty(lots),
            }
            last = {"X": "MARKET"} if listing.product is Product.FUTURES else {"M": True}
            hub.publish(listing.product, stream, event | {"T": now, "m": side < 0} | last)
        pending = self._pending.get(key)
        if pending and pending[:2] == [ticks, side]:
            pending[2] += lots
            pending[4] = id
            return
        self._flush_aggregate(listing)
        self._pending[key] = [ticks, side, lots, id, id, now]

    def settle(self, matching: Matching) -> None:
        """Publish what one action left behind: the aggregate trade and the best prices."""
        listing, hub = matching.listing, self._hub
        key = (listing.product, listing.symbol)
        if key in self._pending:
            self._flush_aggregate(listing)
        stream = f"{listing.symbol.lower()}@bookTicker"
        if not hub.wants(listing.product, stream):
            return
        book = matching.book
        bid, ask = book.best(1), book.best(-1)
        if bid is None or ask is None:
            return
        best = (bid, book.total(1, bid), ask, book.total(-1, ask))
        if self._best.get(key) != best:
            self._best[key] = best
            hub.publish(listing.product, stream, self.book_ticker(matching))

    def tick(self, matching: Matching) -> None:
        """Publish the changes of a book since the last tick, its best levels, and what else changed."""
        listing, book, hub = matching.listing, matching.book, self._hub
        key, now, low = (listing.product, listing.symbol), self._clock.now_ms(), listing.symbol.lower()
        if book.changed:
            before = self._flushed.get(key, book.update)
            diff = self._diff(matching)
            event = {"e": "depthUpdate", "E": now, "s": listing.symbol, "U": before + 1, "u": book.update}
            if listing.product is Product.FUTURES:
                event |= {"T": now, "pu": before}
            for suffix in ("depth@100ms", "depth", "depth@0ms", "depth@250ms", "depth@500ms"):
                hub.publish(listing.product, f"{low}@{suffix}", event | diff)
            self._publish_partial(matching, now)
            book.changed.clear()
            self._flushed[key] = book.update
        self._publish_candles(listing, now, moved=key in self._moved)
        self._moved.discard(key)

    def start(self, matching: Matching) -> None:
        """Begin the count of a book whose first levels are in place."""
        key = (matching.listing.product, matching.listing.symbol)
        matching.book.changed.clear()
        self._flushed[key] = matching.book.update

    def tick_slowly(self, matching: Matching, mark: Decimal, rate: Decimal, next_funding_ms: int) -> None:
        """Publish what comes once a second: statistics of the day, and the mark price of a contract."""
        listing, hub, now, low = matching.listing, self._hub, self._clock.now_ms(), matching.listing.symbol.lower()
        streams = (f"{low}@ticker", f"{low}@miniTicker", "!ticker@arr", "!miniTicker@arr")
        if any(hub.wants(listing.product, stream) for stream in streams):
            for stream, event in zip(streams, self._day_events(listing, matching, now), strict=True):
                hub.publish(listing.product, stream, event)
        if listing.product is Product.FUTURES:
            event = mark_event(listing, mark, rate, next_funding_ms, now)
            for suffix in ("markPrice", "markPrice@1s"):
                hub.publish(listing.product, f"{low}@{suffix}", event)
            for suffix in ("!markPrice@arr", "!markPrice@arr@1s"):
                hub.publish(listing.product, suffix, [event])

    def liquidated(self, listing: Listing, side: int, ticks: int, lots: int) -> None:
        """Publish a liquidation."""
        now = self._clock.now_ms()
        order = {
            "s": listing.symbol, "S": "BUY" if side > 0 else "SELL", "o": "LIMIT", "f": "IOC", "q": listing.qty(lots),
            "p": listing.px(ticks), "ap": listing.px(ticks), "X": "FILLED", "l": listing.qty(lots),
            "z": listing.qty(lots), "T": now,
        }  # fmt: skip
        for stream in (f"{listing.symbol.lower()}@forceOrder", "!forceOrder@arr"):
            self._hub.publish(listing.product, stream, {"e": "forceOrder", "E": now, "o": order})

    def book_ticker(self, matching: Matching) -> dict[str, Any]:
        """Return the best prices as an event."""
        listing, book, now = matching.listing, matching.book, self._clock.now_ms()
        bid, ask = book.best(1) or 0, book.best(-1) or 0
        event: dict[str, Any] = {
            "u": book.update, "s": listing.symbol, "b": listing.px(bid), "B": listing.qty(book.total(1, bid)),
            "a": listing.px(ask), "A": listing.qty(book.total(-1, ask)),
        }  # fmt: skip
        return event if listing.product is Product.SPOT else {"e": "bookTicker", "E": now, "T": now} | event

    def _flush_aggregate(self, listing: Listing) -> None:
        key = (listing.product, listing.symbol)
        pending = self._pending.pop(key, None)
        if pending is None:
            return
        ticks, side, lots, first, last, at = pending
        number = self._aggregates[key] = self._aggregates.get(key, 0) + 1
        aggregate: dict[str, Any] = {
            "a": number, "p": listing.px(ticks), "q": listing.qty(lots), "f": first, "l": last, "T": at, "m": side < 0,
        }  # fmt: skip
        if listing.product is Product.SPOT:
            aggregate["M"] = True
        self.records[key].aggregates.append(aggregate)
        head = {"e": "aggTrade", "E": self._clock.now_ms(), "s": listing.symbol}
        self._hub.publish(listing.product, f"{listing.symbol.lower()}@aggTrade", head | aggregate)

    def _diff(self, matching: Matching) -> dict[str, list[list[str]]]:
        listing, book = matching.listing, matching.book
        diff: dict[str, list[list[str]]] = {"b": [], "a": []}
        for side, ticks in book.changed:
            diff["b" if side > 0 else "a"].append([listing.px(ticks), listing.qty(book.total(side, ticks))])
        return diff

    def _publish_partial(self, matching: Matching, now: int) -> None:
        listing, hub = matching.listing, self._hub
        for depth in _DEPTHS:
            for suffix in ("", "@100ms", "@250ms", "@500ms"):
                stream = f"{listing.symbol.lower()}@depth{depth}{suffix}"
                if hub.wants(listing.product, stream):
                    hub.publish(listing.product, stream, self._partial(matching, depth, now))

    def _partial(self, matching: Matching, depth: int, now: int) -> dict[str, Any]:
        bids, asks = levels(matching, 1, depth), levels(matching, -1, depth)
        update = matching.book.update
        if matching.listing.product is Product.SPOT:
            return {"lastUpdateId": update, "bids": bids, "asks": asks}
        head = {"e": "depthUpdate", "E": now, "T": now, "s": matching.listing.symbol}
        return head | {"U": update, "u": update, "pu": update - 1, "b": bids, "a": asks}

    def _publish_candles(self, listing: Listing, now: int, *, moved: bool) -> None:
        """Publish the candle that is open if it changed, and once more, closed, the one before it."""
        low = f"{listing.symbol.lower()}@kline_"
        for stream in [s for s in self._hub.streams(listing.product) if s.startswith(low)]:
            interval = stream.removeprefix(low)
            if interval not in INTERVALS:
                continue
            start = now - now % length_ms(interval)
            before = self._candles.get((listing.product, stream), start)
            self._candles[listing.product, stream] = start
            for start_ms, due in ((before, before < start), (start, moved)):
                event = self.records[listing.product, listing.symbol].event(interval, start_ms, now) if due else None
                if event:
                    self._hub.publish(listing.product, stream, event)

    def _day_events(self, listing: Listing, matching: Matching, now: int) -> list[Any]:
        d = self.records[listing.product, listing.symbol].day(now)
        best = self.book_ticker(matching)
        mini = {
            "e": "24hrMiniTicker", "E": now, "s": listing.symbol, "c": d["lastPrice"], "o": d["openPrice"],
            "h": d["highPrice"], "l": d["lowPrice"], "v": d["volume"], "q": d["quoteVolume"],
        }  # fmt: skip
        whole = mini | {
            "e": "24hrTicker", "p": d["priceChange"], "P": d["priceChangePercent"], "w": d["weightedAvgPrice"],
            "x": d["prevClosePrice"], "Q": d["lastQty"], "b": best["b"], "B": best["B"], "a": best["a"],
            "A": best["A"], "O": d["openTime"], "C": d["closeTime"], "F": d["firstId"], "L": d["lastId"],
            "n": d["count"],
        }  # fmt: skip
        return [whole, mini, [whole], [mini]]


def mark_event(listing: Listing, mark: Decimal, rate: Decimal, next_funding_ms: int, now: int) -> dict[str, Any]:
    """Return a markPriceUpdate."""
    px = f"{mark:.8f}"
    head = {"e": "markPriceUpdate", "E": now, "s": listing.symbol, "p": px, "i": px, "P": px}
    return head | {"r": f"{rate:.8f}", "T": next_funding_ms}


def levels(matching: Matching, side: int, limit: int) -> list[list[str]]:
    """Return the best levels of a side as [price, quantity]."""
    listing = matching.listing
    return [[listing.px(ticks), listing.qty(lots)] for ticks, lots in matching.book.depth(side, limit)]

"""The public record of one symbol: its last trades, its candles and the statistics of its day."""

import random
from collections import deque
from decimal import Decimal
from itertools import takewhile
from typing import Any

from quantai.core.errors import InputError
from quantai.venues.loopback.listings import Listing

_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "M": 2_592_000_000}
INTERVALS = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
_KEPT = 3 * 1440


def length_ms(interval: str) -> int:
    """Return the length of a candle in ms; a month is 30 days here. Raises InputError.

    >>> length_ms("5m")
    300000
    """
    if interval not in INTERVALS:
        raise InputError(f"no candles of {interval!r}: one of {', '.join(INTERVALS)}")
    return int(interval[:-1]) * _UNITS_MS[interval[-1]]


class Candle:
    """Open, high, low and close in ticks, volumes in lots; `money` and `taker_money` in the quote asset."""

    __slots__ = (
        "close",
        "first",
        "high",
        "last",
        "lots",
        "low",
        "money",
        "open",
        "taker",
        "taker_money",
        "trades",
        "ts_ms",
    )

    def __init__(self, ts_ms: int, ticks: int, id: int) -> None:
        self.ts_ms, self.open, self.high, self.low, self.close = ts_ms, ticks, ticks, ticks, ticks
        self.lots = self.taker = self.trades = 0
        self.money = self.taker_money = Decimal(0)
        self.first = self.last = id

    def add(self, ticks: int, lots: int, money: Decimal, side: int, id: int, trades: int = 1) -> None:
        """Add trades at a price; `side` is the taker's."""
        self.high, self.low, self.close = max(self.high, ticks), min(self.low, ticks), ticks
        self.lots, self.money, self.last = self.lots + lots, self.money + money, id
        self.trades += trades
        if side > 0:
            self.taker, self.taker_money = self.taker + lots, self.taker_money + money

    def merge(self, other: "Candle") -> None:
        """Add the candle that follows."""
        self.high, self.low, self.close = max(self.high, other.high), min(self.low, other.low), other.close
        self.lots, self.money, self.last = self.lots + other.lots, self.money + other.money, other.last
        self.trades, self.taker = self.trades + other.trades, self.taker + other.taker
        self.taker_money += other.taker_money


class Record:
    """What the exchange remembers of one symbol for its public answers."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.trades: deque[dict[str, Any]] = deque(maxlen=1000)
        self.aggregates: deque[dict[str, Any]] = deque(maxlen=1000)
        self.minutes: deque[Candle] = deque(maxlen=_KEPT)
        self.seconds: deque[Candle] = deque(maxlen=1000)

    def add(self, id: int, ticks: int, lots: int, side: int, now_ms: int) -> None:
        """Add a public trade."""
        listing = self.listing
        money = listing.tick * ticks * listing.lot * lots
        self.trades.append(
            {
                "id": id,
                "price": listing.px(ticks),
                "qty": listing.qty(lots),
                "quoteQty": f"{money:.8f}",
                "time": now_ms,
                "isBuyerMaker": side < 0,
                "isBestMatch": True,
            }
        )
        for candles, length in ((self.minutes, 60_000), (self.seconds, 1_000)):
            ts_ms = now_ms - now_ms % length
            if not candles or candles[-1].ts_ms < ts_ms:
                candles.append(Candle(ts_ms, ticks, id))
            candles[-1].add(ticks, lots, money, side, id)

    def invent(self, ticks: int, seed: int, now_ms: int, minutes: int = 1440) -> None:
        """Make up the day before the first trade, so that clients that ask for history find some; ends at `ticks`."""
        draw, made = random.Random(f"history {seed} {self.listing.symbol}"), list[Candle]()
        ts_ms, close = now_ms - now_ms % 60_000, ticks
        for k in range(1, minutes + 1):
            start = max(1, round(close * (1 + draw.gauss(0.0, 4e-4))))
            candle = Candle(ts_ms - k * 60_000, start, 0)
            for px in (max(start, close), min(start, close), close):
                lots = draw.randint(1, 10_000)
                money = self.listing.tick * px * self.listing.lot * lots
                candle.add(px, lots, money, draw.choice((1, -1)), 0)
            made.append(candle)
            close = start
        self.minutes.extendleft(made)

    def candles(self, interval: str, limit: int, start_ms: int = 0, end_ms: int | None = None) -> list[Candle]:
        """Return the last `limit` candles of an interval that begin within two instants (both included)."""
        length = length_ms(interval)
        end_ms = 1 << 62 if end_ms is None else end_ms
        source = self.seconds if interval == "1s" else self.minutes
        recent = takewhile(lambda c: c.ts_ms >= start_ms, reversed(source))
        merged: list[Candle] = []
        for candle in reversed(list(recent)):
            ts_ms = candle.ts_ms - candle.ts_ms % length
            if not start_ms <= ts_ms <= end_ms:
                continue
            if merged and merged[-1].ts_ms == ts_ms:
                merged[-1].merge(candle)
            else:
                fresh = Candle(ts_ms, candle.open, candle.first)
                fresh.merge(candle)
                merged.append(fresh)
        return merged[:limit] if start_ms else merged[-limit:]

    def rows(self, interval: str, limit: int, start_ms: int, end_ms: int | None) -> list[list[Any]]:
        """Return candles as GET klines answers them."""
        x, length = self.listing, length_ms(interval)
        return [
            [
                c.ts_ms, x.px(c.open), x.px(c.high), x.px(c.low), x.px(c.close), x.qty(c.lots), c.ts_ms + length - 1,
                f"{c.money:.8f}", c.trades, x.qty(c.taker), f"{c.taker_money:.8f}", "0",
            ]
            for c in self.candles(interval, limit, start_ms, end_ms)
        ]  # fmt: skip

    def event(self, interval: str, start_ms: int, now_ms: int) -> dict[str, Any] | None:
        """Return the kline event of the candle that began at `start_ms`, None when nothing traded in it."""
        length = length_ms(interval)
        found = self.candles(interval, 1, start_ms, start_ms)
        if not found:
            return None
        c, x = found[-1], self.listing
        k = {
            "t": c.ts_ms, "T": c.ts_ms + length - 1, "s": x.symbol, "i": interval, "f": c.first, "L": c.last,
            "o": x.px(c.open), "c": x.px(c.close), "h": x.px(c.high), "l": x.px(c.low), "v": x.qty(c.lots),
            "n": c.trades, "x": now_ms >= c.ts_ms + length, "q": f"{c.money:.8f}", "V": x.qty(c.taker),
            "Q": f"{c.taker_money:.8f}", "B": "0",
        }  # fmt: skip
        return {"e": "kline", "E": now_ms, "s": x.symbol, "k": k}

    def day(self, now_ms: int) -> dict[str, Any]:
        """Return the statistics of the last 24 hours, with the names of the REST answer."""
        x = self.listing
        past = [c for c in self.minutes if c.ts_ms > now_ms - 86_400_000]
        whole = Candle(past[0].ts_ms, past[0].open, past[0].first) if past else Candle(now_ms, 0, 0)
        for candle in past:
            whole.merge(candle)
        change = whole.close - whole.open
        lots = whole.lots or 1
        return {
            "symbol": x.symbol,
            "priceChange": x.px(change),
            "priceChangePercent": f"{100 * change / (whole.open or 1):.3f}",
            "weightedAvgPrice": f"{whole.money / (lots * x.lot):.8f}",
            "prevClosePrice": x.px(whole.open),
            "lastPrice": x.px(whole.close),
            "lastQty": self.trades[-1]["qty"] if self.trades else x.qty(0),
            "openPrice": x.px(whole.open),
            "highPrice": x.px(whole.high),
            "lowPrice": x.px(whole.low),
            "volume": x.qty(whole.lots),
            "quoteVolume": f"{whole.money:.8f}",
            "openTime": now_ms - 86_400_000,
            "closeTime": now_ms,
            "firstId": whole.first,
            "lastId": whole.last,
            "count": whole.trades,
        }

"""cryptofeed's messages as rows.

Prices and sizes arrive as decimals and become float64 and, on the instrument's grid, exact ticks. Times arrive as
float seconds, whose resolution is 238 ns in 2026: they are rounded to the microsecond, which is finer than any
venue's stamp that survives that float.
"""

import re
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from struct import Struct
from typing import Any

from quantai.core.errors import InputError
from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import BAR, BUY, LAST, SEC, SELL, SNAPSHOT, Kind, zeros
from quantai.data.bars import interval_ns
from quantai.feeds.feed import CHANNELS, OFF_GRID, RECEIPT_TIME, STATUS, Batch
from quantai.feeds.symbols import Names, instrument

_pack = Struct("<qqQddqqIHBb").pack  # ten times faster than writing one field of a numpy row after the other
_SIDES = {"buy": BUY, "sell": SELL}
_NAN = float("nan")
_LAST_BYTE = -4  # where the low byte of `flags` lies in the last row
_QUOTE = int(Kind.QUOTE)
_MOST_PRICES = 5_000
_DELAYS = 4096

_SIZES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "BINANCE": ((), "B", "A"),
    "BINANCE_US": ((), "B", "A"),
    "BINANCE_FUTURES": ((), "B", "A"),
    "BINANCE_DELIVERY": ((), "B", "A"),
    "COINBASE": ((), "best_bid_quantity", "best_ask_quantity"),
    "DERIBIT": (("params", "data"), "best_bid_amount", "best_ask_amount"),
    "HTX": ((), "bidSize", "askSize"),
    "KRAKEN": ((), "bid_qty", "ask_qty"),
    "KUCOIN": (("d",), "B", "A"),
    "OKX": ((), "bidSz", "askSz"),
}
"""Where the raw ticker message of a venue has the sizes that cryptofeed's Ticker leaves out."""


def to_ns(seconds: float) -> int:
    """Return float seconds since 1970 as nanoseconds, rounded to the microsecond.

    >>> to_ns(1723161256.298)
    1723161256298000000
    """
    return round(seconds * 1e6) * 1000


class _Listing:
    """One instrument, and its prices already crossed into ticks: order books repeat the same few thousand."""

    __slots__ = ("id", "instrument", "prices", "symbol")

    def __init__(self, id: int, instrument: Instrument) -> None:
        self.id, self.instrument, self.symbol = id, instrument, instrument.symbol
        self.prices: dict[Decimal, tuple[float, int]] = {}

    def price(self, px: Decimal) -> tuple[float, int]:
        known = self.prices.get(px)
        if known is None:
            if len(self.prices) >= _MOST_PRICES:
                self.prices.clear()
            try:
                ticks = self.instrument.ticks(px)
            except InputError:
                ticks = OFF_GRID
            known = self.prices[px] = float(px), ticks
        return known


class Scribe:
    """Writes one venue's messages as batches, numbering the rows.

    `seq` is the receipt instant in nanoseconds, raised where needed to stay strictly increasing: rows of several
    recordings of one market then fall into place by `seq` alone. `info` is cryptofeed's table of symbol details.
    """

    def __init__(self, venue: str, names: Names, info: dict[str, Any], seq: int = 0) -> None:
        self.venue, self.names, self.seq = venue, names, seq
        self.instruments = Instruments()
        self._info = info
        self.delays: deque[int] = deque(maxlen=_DELAYS)  # receipt minus the venue's time, ns, the newest messages
        self._listings: dict[str, _Listing] = {}
        self._sizes = _SIZES.get(venue)
        self._write: dict[str, Callable[[Any, _Listing, tuple[int, int], int], Batch]] = {
            c: getattr(self, f"_{c}") for c in CHANNELS
        }

    def batch(self, channel: str, message: Any, receipt: float, recv_ns: int) -> Batch:
        """Return the rows of cryptofeed's `message`, received at `recv_ns`; `receipt` is cryptofeed's own stamp."""
        stamp = message.timestamp
        if not stamp or stamp == receipt:  # some parsers repeat the receipt where the venue sends no time
            times, flags = (recv_ns, recv_ns), RECEIPT_TIME
        else:
            times, flags = (to_ns(stamp), recv_ns), 0
            self.delays.append(recv_ns - times[0])
        return self._write[channel](message, self._listing(message.symbol), times, flags)

    def status(self, kind: Kind, symbol: str, recv_ns: int, aux: int, detail: str, *, last: bool = True) -> Batch:
        """Return a STATUS or GAP row about our `symbol`; `last` is False while rows about the same event follow."""
        to = self._listing(self.names.theirs(symbol))
        flags = RECEIPT_TIME | (LAST if last else 0)
        row = _pack(recv_ns, recv_ns, self._number(recv_ns), 0.0, 0.0, 0, aux, to.id, flags, kind, 0)
        return Batch(self.venue, to.symbol, STATUS, row, detail=detail)

    def listing(self, theirs: str) -> None:
        """Number the instrument that cryptofeed calls `theirs`, so that it keeps its place in `instruments`."""
        self._listing(theirs)

    def _listing(self, theirs: str) -> _Listing:
        known = self._listings.get(theirs)
        if known is None:
            made = instrument(self.venue, theirs, self.names.ours(theirs), self._info)
            known = self._listings[theirs] = _Listing(self.instruments.add(made), made)
        return known

    def _number(self, recv_ns: int, rows: int = 1) -> int:
        first = max(self.seq + 1, recv_ns)
        self.seq = first + rows - 1
        return first

    def _one(
        self, kind: Kind, to: _Listing, times: tuple[int, int], flags: int, values: tuple[float, float, int, int]
    ) -> bytes:
        px, qty, ticks, side = values
        return _pack(*times, self._number(times[1]), px, qty, ticks, 0, to.id, flags | LAST, kind, side)

    def _trades(self, m: Any, to: _Listing, times: tuple[int, int], flags: int) -> Batch:
        px, ticks = to.price(m.price)
        row = self._one(Kind.TRADE, to, times, flags, (px, float(m.amount), ticks, _SIDES.get(m.side, 0)))
        return Batch(self.venue, to.symbol, "trades", row, ids=(m.id,))

    def _liquidations(self, m: Any, to: _Listing, times: tuple[int, int], flags: int) -> Batch:
        px, ticks = to.price(m.price)
        row = self._one(Kind.LIQUIDATION, to, times, flags, (px, float(m.quantity), ticks, _SIDES.get(m.side, 0)))
        return Batch(self.venue, to.symbol, "liquidations", row, ids=(m.id,), detail=m.status or "")

    def _open_interest(self, m: Any, to: _Listing, times: tuple[int, int], flags: int) -> Batch:
        row = self._one(Kind.OPEN_INTEREST, to, times, flags, (0.0, float(m.open_interest), 0, 0))
        return Batch(self.venue, to.symbol, "open_interest", row)

    def _l2_book(self, m: Any, to: _Listing, times: tuple[int, int], flags: int) -> Batch:
        # the book is cryptofeed's live object: everything is copied out here, before anything is awaited
        if m.delta is None:
            sides = (m.book.bids.to_dict().items(), BUY), (m.book.asks.to_dict().items(), SELL)
            clear, flags = 1, flags | SNAPSHOT
        else:
            sides = (m.delta["bid"], BUY), (m.delta["ask"], SELL)
            clear = 0
        seq = self._number(times[1], clear + len(sides[0][0]) + len(sides[1][0]))
        buffer = bytearray()
        if clear:
            buffer += _pack(*times, seq, 0.0, 0.0, 0, 0, to.id, flags, Kind.CLEAR, 0)
            seq += 1
        exch, recv, id, kind, known, price = *times, to.id, int(Kind.LEVEL), to.prices, to.price
        for levels, side in sides:
            for px, qty in levels:
                value, ticks = known.get(px) or price(px)
                buffer += _pack(exch, recv, seq, value, float(qty), ticks, 0, id, flags, kind, side)
                seq += 1
        return Batch(self.venue, to.symbol, "l2_book", _message(buffer))

    def _ticker(self, m: Any, to: _Listing, times: tuple[int, int], flags: int) -> Batch:
        bid_qty, ask_qty = self._top_sizes(m.raw)
        seq = self._number(times[1], 2)
        # cryptofeed writes 0 where a side is empty
        bid, bid_ticks = to.price(m.bid) if m.bid else (_NAN, OFF_GRID)
        ask, ask_ticks = to.price(m.ask) if m.ask else (_NAN, OFF_GRID)
        rows = _pack(*times, seq, bid, bid_qty, bid_ticks, 0, to.id, flags, _QUOTE, BUY)
        rows += _pack(*times, seq + 1, ask, ask_qty, ask_ticks, 0, to.id, flags | LAST, _QUOTE, SELL)
        return Batch(self.venue, to.symbol, "ticker", rows)

    def _top_sizes(self, raw: Any) -> tuple[float, float]:
        if self._sizes is None:
            return _NAN, _NAN
        path, bid, ask = self._sizes
        try:
            for step in path:
                raw = raw[step]
            return float(raw[bid]), float(raw[ask])
        except (KeyError, TypeError, ValueError):
            return _NAN, _NAN

    def _funding(self, m: Any, to: _Listing, times: tuple[int, int], flags: int) -> Batch:
        rate = _NAN if m.rate is None else float(m.rate)
        due = 0 if m.next_funding_time is None else to_ns(m.next_funding_time)
        seq = self._number(times[1], 1 if m.mark_price is None else 2)
        buffer = bytearray(_pack(*times, seq, rate, 0.0, 0, due, to.id, flags, Kind.FUNDING, 0))
        if m.mark_price is not None:
            px, ticks = to.price(m.mark_price)
            buffer += _pack(*times, seq + 1, px, 0.0, ticks, 0, to.id, flags, Kind.MARK, 0)
        return Batch(self.venue, to.symbol, "funding", _message(buffer))

    def _candles(self, m: Any, to: _Listing, times: tuple[int, int], flags: int) -> Batch:
        bar = zeros(1, BAR)
        bar["ts_open"], interval = to_ns(m.start), m.interval
        bar["ts_close"], interval = _bar_end(to_ns(m.start), to_ns(m.stop), interval)
        for name in ("open", "high", "low", "close", "volume"):
            bar[name] = float(getattr(m, name))
        bar["trades"], bar["instrument"] = m.trades or 0, to.id
        px, ticks = to.price(m.close)
        row = self._one(Kind.BAR, to, times, flags, (px, float(m.volume), ticks, 0))
        return Batch(self.venue, to.symbol, "candles", row, bar.tobytes(), interval=interval)


def _message(buffer: bytearray) -> bytes:
    if buffer:
        buffer[_LAST_BYTE] |= LAST
    return bytes(buffer)


def _bar_end(ts_open: int, stop: int, interval: str) -> tuple[int, str]:
    # venues give the last instant of a bar (…59.999) or the first after it; its length is what its name says
    m = re.fullmatch(r"(\d+)([smhdwHDW])", interval)
    if m:
        name = m[1] + m[2].lower()
        return ts_open + interval_ns(name), name
    return -(-stop // SEC) * SEC, interval  # months, quarters and years have no fixed length

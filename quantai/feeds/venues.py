"""What each venue sends, read from cryptofeed's own tables: nothing here needs a network or a key."""

from functools import cache
from importlib import import_module
from typing import Any

from quantai.core.errors import InputError, MissingExtra, UnknownName
from quantai.feeds.feed import CHANNELS

CONSECUTIVE = frozenset({"BYBIT"})
"""Venues whose book updates are numbered one by one, and whose numbers cryptofeed hands on without comparing them.

Bybit: "always in sequence" (bybit-exchange.github.io/doc-v3-offline/copy-trade/ws-public/orderbook), "the next u should
be the previous u + 1" except in a snapshot (bybit-exchange.github.io/docs/v5/sbe/level-50/sbe-level-50).
"""


@cache
def _classes() -> dict[str, Any]:
    try:
        return dict(import_module("cryptofeed.exchanges").EXCHANGE_MAP)
    except ImportError:
        raise MissingExtra("cryptofeed", "record") from None


def venues() -> list[str]:
    """Return the names of all venues, upper case and sorted; raises MissingExtra without cryptofeed.

    >>> len(venues()), venues()[:3]
    (30, ['BINANCE', 'BINANCE_DELIVERY', 'BINANCE_FUTURES'])
    """
    return sorted(_classes())


def exchange(venue: str) -> Any:
    """Return cryptofeed's feed class of `venue`; raises UnknownName.

    >>> exchange("BINANC")
    Traceback (most recent call last):
    quantai.core.errors.UnknownName: unknown venue 'BINANC': did you mean 'BINANCE'? (30 known: BINANCE, ...
    """
    try:
        return _classes()[venue]
    except KeyError:
        raise UnknownName("venue", venue, _classes()) from None


def channels(venue: str) -> list[str]:
    """Return the channels that can be recorded from `venue`, in the order of `CHANNELS`.

    >>> channels("UPBIT")
    ['trades', 'l2_book', 'ticker']
    """
    return [c for c in CHANNELS if c in exchange(venue).websocket_channels]


def check_channels(venue: str, wanted: list[str]) -> list[str]:
    """Return `wanted` without repeats; raises UnknownName for what `venue` does not send, InputError for none.

    >>> check_channels("UPBIT", ["trades", "funding"])
    Traceback (most recent call last):
    quantai.core.errors.UnknownName: unknown channel of UPBIT 'funding': (3 known: l2_book, ticker, trades)
    """
    known = channels(venue)
    for channel in wanted:
        if channel not in known:
            raise UnknownName(f"channel of {venue}", channel, known)
    if not wanted:
        raise InputError(f"no channel to record from {venue}: pick some of {', '.join(known)}")
    return list(dict.fromkeys(wanted))


def describe(venue: str) -> dict[str, Any]:
    """Return what `venue` offers and how far its order books can be trusted.

    `channels` are those that can be recorded; `candle_intervals` may be empty; `sandbox` says whether cryptofeed
    knows a test network; `needs_keys` is always False, because cryptofeed 3 has market data only; `book` is "delta"
    or "snapshot"; `numbered` says whether books carry a sequence number, and `checked` whether a hole in it is
    noticed at once.

    >>> describe("UPBIT")["book"], describe("BINANCE")["sandbox"], describe("KRAKEN")["needs_keys"]
    ('snapshot', True, False)
    """
    cls = exchange(venue)
    intervals = cls.valid_candle_intervals
    return {
        "venue": venue,
        "channels": channels(venue),
        "candle_intervals": [] if intervals is NotImplemented else sorted(intervals),
        "sandbox": any(endpoint.sandbox for endpoint in cls.websocket_endpoints),
        "needs_keys": False,
        "book": cls.book_delivery,
        "numbered": cls.provides_sequence_number,
        "checked": cls.validates_sequence_number or venue.startswith("BINANCE") or venue in CONSECUTIVE,
    }

"""Venues and symbols, as we spell them and as ccxt does.

ccxt writes `BTC/USDT` for spot, `BTC/USDT:USDT` for a perpetual settled in USDT, `BTC/USD:BTC-240628` for a dated
future and `BTC/USD:BTC-240628-90000-C` for an option. Source: https://docs.ccxt.com, "Contract Naming Conventions".
"""

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass

from quantai.core.errors import InputError, UnknownName
from quantai.core.instruments import Contract, Instrument


@dataclass(frozen=True, slots=True)
class Place:
    """Where ccxt keeps a venue: the class, the kinds of market of it that we mean, and how many trades a request gives.

    `trades` is 0 where the venue's public interface cannot be asked for the trades of a given stretch of time: a
    download would then miss some and not know it.
    """

    ccxt_id: str
    contracts: frozenset[str]
    trades: int = 0


_SPOT, _SWAP, _FUTURE, _OPTION = "spot", "swap", "future", "option"


def _place(ccxt_id: str, *contracts: str, trades: int = 0) -> Place:
    return Place(ccxt_id, frozenset(contracts or (_SPOT, _SWAP, _FUTURE, _OPTION)), trades)


VENUES: dict[str, Place] = {
    "BINANCE": _place("binance", _SPOT, trades=1000),
    "BINANCE_DELIVERY": _place("binancecoinm", _SWAP, _FUTURE, trades=1000),
    "BINANCE_FUTURES": _place("binanceusdm", _SWAP, _FUTURE, trades=1000),
    "BINANCE_US": _place("binanceus", _SPOT, trades=1000),
    "BITFINEX": _place("bitfinex", trades=10_000),
    "BITGET": _place("bitget"),
    "BITHUMB": _place("bithumb", _SPOT),
    "BITSTAMP": _place("bitstamp", _SPOT),
    "BYBIT": _place("bybit"),
    "COINBASE": _place("coinbase", _SPOT),
    "CRYPTO.COM": _place("cryptocom"),
    "DERIBIT": _place("deribit", trades=1000),
    "DYDX": _place("dydx"),
    "GATE": _place("gate", _SPOT),
    "GATE_FUTURES": _place("gate", _SWAP, _FUTURE),
    "GEMINI": _place("gemini", _SPOT),
    "HTX": _place("htx", _SPOT),
    "HTX_SWAP": _place("htx", _SWAP, _FUTURE),
    "HYPERLIQUID": _place("hyperliquid"),
    "KRAKEN": _place("kraken", _SPOT),
    "KRAKEN_FUTURES": _place("krakenfutures"),
    "KUCOIN": _place("kucoin", _SPOT),
    "KUCOIN_FUTURES": _place("kucoinfutures", _SWAP, _FUTURE),
    "MEXC": _place("mexc"),
    "OKX": _place("okx"),
    "PHEMEX": _place("phemex"),
    "POLONIEX": _place("poloniex"),
    "UPBIT": _place("upbit", _SPOT),
}
"""Venues by our name, which is the recorder's, so that history and recordings meet in the same partitions."""

_CCXT = re.compile(
    r"(?P<base>[A-Z0-9.]+)/(?P<quote>[A-Z0-9.]+)"
    r"(?::(?P<settle>[A-Z0-9.]+)(?:-(?P<expiry>\d{6})(?:-(?P<strike>[0-9.]+)-(?P<right>[CP]))?)?)?"
)


def place(venue: str) -> Place:
    """Return where ccxt keeps `venue`; raises UnknownName with the nearest name.

    >>> place("BINANCE_FUTURES").ccxt_id
    'binanceusdm'
    >>> place("binance")
    Traceback (most recent call last):
    quantai.core.errors.UnknownName: unknown venue 'binance': did you mean 'BINANCE'? ...
    """
    try:
        return VENUES[venue]
    except KeyError:
        raise UnknownName("venue", venue, VENUES) from None


def to_ccxt(symbol: str) -> list[str]:
    """Return the spellings that ccxt may have for a normalised symbol, likeliest first; raises InputError.

    Our symbol does not say what a contract settles in. One quoted in plain USD settles in its base coin where it is
    inverse (the common case, so it comes first) and in a dollar coin where it is linear.

    >>> to_ccxt("BTC-USDT"), to_ccxt("BTC-USDT-PERP"), to_ccxt("BTC-USDT-20240628")
    (['BTC/USDT'], ['BTC/USDT:USDT'], ['BTC/USDT:USDT-240628'])
    >>> to_ccxt("BTC-USD-PERP")
    ['BTC/USD:BTC', 'BTC/USD:USD', 'BTC/USD:USDC']
    """
    made = Instrument.parse(symbol)
    if made.contract is Contract.EQUITY:
        raise InputError(f"symbol {symbol!r} has no quote currency: ccxt knows pairs, such as {symbol}-USDT")
    pair = f"{made.base}/{made.quote}"
    if made.contract is Contract.SPOT:
        return [pair]
    tail = "" if made.expiry is None else f"-{made.expiry:%y%m%d}"
    if made.strike is not None:
        tail += f"-{made.strike}-{'C' if made.right > 0 else 'P'}"
    settles = [made.base, "USD", "USDC"] if made.quote == "USD" else [made.quote]
    return [f"{pair}:{settle}{tail}" for settle in settles]


def from_ccxt(symbol: str) -> str:
    """Return the normalised symbol of one of ccxt's; raises InputError for a name that is not one.

    >>> from_ccxt("BTC/USDT:USDT"), from_ccxt("BTC/USD:BTC-240628-90000-C")
    ('BTC-USDT-PERP', 'BTC-USD-20240628-90000-C')
    """
    m = _CCXT.fullmatch(symbol)
    if m is None:
        raise InputError(
            f"ccxt symbol {symbol!r} cannot be normalised: expected BTC/USDT, BTC/USDT:USDT or BTC/USDT:USDT-240628"
        )
    words = [m["base"], m["quote"]]
    if m["expiry"]:
        words.append(f"20{m['expiry']}")
        if m["strike"]:
            words += [m["strike"], m["right"]]
    elif m["settle"]:
        words.append("PERP")
    return "-".join(words)


def resolve(symbol: str, venue: str, markets: Container[str], listed: Iterable[str]) -> str:
    """Return the spelling of `symbol` that is in `markets`; raises UnknownName with suggestions from `listed`."""
    for name in to_ccxt(symbol):
        if name in markets:
            return name
    known = [from_ccxt(name) for name in listed if _CCXT.fullmatch(name)]
    raise UnknownName(f"symbol of {venue}", symbol, known)

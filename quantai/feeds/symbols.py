"""cryptofeed's symbol names and ours, both ways, and instruments with the ticks cryptofeed knows.

    theirs                    ours                        what
    BTC-USDT                  BTC-USDT                    spot
    BTC-USDT-PERP             BTC-USDT-PERP               perpetual
    BTC-JPY-FX                BTC-JPY-PERP                bitFlyer's margin product, which never expires
    BTC-USD-22K27             BTC-USD-20220527            future: year, month letter, day
    ETH-2800-21N30-call       ETH-USD-20210730-2800-C     option settled in its own coin
    BTC-USDC-90000-26H6-put   BTC-USDC-20260306-90000-P   option with a quote currency

Their names drop a leading zero of the day on some venues and keep it on others, so the way back needs the venue's list.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from quantai.core.errors import InputError, UnknownName
from quantai.core.instruments import Contract, Instrument, Payoff

_MONTHS = "FGHJKMNQUVXZ"
_EXPIRY = re.compile(rf"(\d\d)([{_MONTHS}])(\d\d?)")
_RIGHTS = {"call": "C", "put": "P"}
_OUR_NAME = re.compile(r"[A-Z0-9.]+(-[A-Z0-9.]+)*")
_NO_FOLDER = re.compile(r"[^A-Za-z0-9._-]")

_COIN_MARGINED = {"BINANCE_DELIVERY", "BITGET", "BYBIT", "DERIBIT", "GATE_FUTURES", "HTX_SWAP", "OKX"}
"""Venues whose contracts in plain USD settle in the base coin. KUCOIN_FUTURES and KRAKEN_FUTURES have both kinds and
say which; on PHEMEX only BTC-USD-PERP is coin-margined."""


def our_name(name: str) -> str:
    """Return our spelling of cryptofeed's normalised symbol `name`.

    A name that fits no pattern is kept, with characters that cannot name a folder written as `u` and their code point.

    >>> our_name("BTC-USD-22K27"), our_name("ETH-2800-21N30-call"), our_name("kPEPE-USD-PERP")
    ('BTC-USD-20220527', 'ETH-USD-20210730-2800-C', 'KPEPE-USD-PERP')
    """
    match name.split("-"):
        case [base, quote, "FX"]:
            ours = f"{base}-{quote}-PERP"
        case [base, quote, when] if expiry := _date(when):
            ours = f"{base}-{quote}-{expiry}"
        case [base, strike, when, right] if right in _RIGHTS and (expiry := _date(when)):
            ours = f"{base}-USD-{expiry}-{_plain(strike)}-{_RIGHTS[right]}"
        case [base, quote, strike, when, right] if right in _RIGHTS and (expiry := _date(when)):
            ours = f"{base}-{quote}-{expiry}-{_plain(strike)}-{_RIGHTS[right]}"
        case _:
            ours = name
    if _OUR_NAME.fullmatch(ours.upper()):
        return ours.upper()
    return _NO_FOLDER.sub(lambda m: f"u{ord(m[0]):x}", ours)


def _date(text: str) -> str:
    m = _EXPIRY.fullmatch(text)
    return f"20{m[1]}{_MONTHS.index(m[2]) + 1:02}{int(m[3]):02}" if m else ""


def _plain(strike: str) -> str:
    try:
        return format(Decimal(strike).normalize(), "f")
    except InvalidOperation:
        return strike


class Names:
    """The symbols of one venue under both names.

    >>> names = Names("OKX", ["BTC-USDT", "BTC-USD-22K27"])
    >>> names.theirs("BTC-USD-20220527"), names.ours("BTC-USD-22K27")
    ('BTC-USD-22K27', 'BTC-USD-20220527')
    >>> names.theirs("BTC-USD")
    Traceback (most recent call last):
    quantai.core.errors.UnknownName: unknown symbol of OKX 'BTC-USD': did you mean 'BTC-USDT'? (2 known: ...
    """

    def __init__(self, venue: str, theirs: Iterable[str]) -> None:
        self._venue = venue
        self._ours: dict[str, str] = {}
        self._theirs: dict[str, str] = {}
        for name in theirs:
            ours = our_name(name)
            if ours in self._theirs:  # two listings would share one name: the later one keeps its own
                ours = _NO_FOLDER.sub(lambda m: f"u{ord(m[0]):x}", name)
            self._ours[name], self._theirs[ours] = ours, name

    def ours(self, theirs: str) -> str:
        """Return our name of cryptofeed's symbol; one that the venue did not list is translated by its pattern."""
        return self._ours.get(theirs) or our_name(theirs)

    def theirs(self, ours: str) -> str:
        """Return cryptofeed's name of our symbol; raises UnknownName. Their own spelling is accepted too."""
        if ours in self._theirs:
            return self._theirs[ours]
        if ours in self._ours:
            return ours
        raise UnknownName(f"symbol of {self._venue}", ours, self._theirs)


def instrument(venue: str, theirs: str, ours: str, info: Mapping[str, Mapping[str, Any]]) -> Instrument:
    """Return the instrument that cryptofeed lists as `theirs` on `venue`.

    `info` is cryptofeed's table of symbol details, by detail and symbol. The tick is the venue's where cryptofeed
    knows it and 1e-8 otherwise; the lot is unknown to cryptofeed. A contract size it knows becomes the multiplier.
    Coin-settled futures are INVERSE; coin-settled options are LINEAR with prices in the coin.
    """
    fields: dict[str, Any] = {"venue": venue}
    tick = _number(info, "tick_size", theirs)
    if tick is not None and tick > 0:
        fields["tick"] = tick
    size = _number(info, "contract_size", theirs)
    if size:
        fields["multiplier"] = abs(size)  # KuCoin writes the size of an inverse contract as a negative number
    parts = theirs.split("-")
    try:
        made = Instrument.parse(ours, **fields)
    except InputError:
        made = None
    if made is None or len(parts) == 1:  # an index or a single currency: not a normalised symbol, and no equity
        return Instrument(symbol=ours, base=parts[0], quote=parts[min(1, len(parts) - 1)], **fields)
    if made.contract is Contract.OPTION and made.quote == "USD" and venue in _COIN_MARGINED:
        return made.with_fields(quote=made.base, settle=made.base)
    if made.contract in (Contract.PERPETUAL, Contract.FUTURE) and _is_inverse(venue, theirs, info, made):
        return made.with_fields(payoff=Payoff.INVERSE, settle=made.base)
    return made


def _is_inverse(venue: str, theirs: str, info: Mapping[str, Mapping[str, Any]], made: Instrument) -> bool:
    if "is_inverse" in info:
        return bool(info["is_inverse"].get(theirs))
    if "product_type" in info:
        return "Inverse" in str(info["product_type"].get(theirs))
    return made.quote == "USD" and (venue in _COIN_MARGINED or (venue, theirs) == ("PHEMEX", "BTC-USD-PERP"))


def _number(info: Mapping[str, Mapping[str, Any]], detail: str, theirs: str) -> Decimal | None:
    value = info.get(detail, {}).get(theirs)
    try:
        return None if value is None else Decimal(str(value))
    except InvalidOperation:
        return None

"""Requests as calls of ccxt: the words an exchange understands, with prices and quantities as exact text."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from quantai.core.errors import InputError
from quantai.core.instruments import Contract, Instrument
from quantai.core.rows import POST_ONLY, REDUCE_ONLY, TIF, OrderType
from quantai.venues.ccxt.profiles import Profile
from quantai.venues.venue import Request

_TYPES = {
    OrderType.MARKET: "market",
    OrderType.LIMIT: "limit",
    OrderType.STOP: "market",
    OrderType.STOP_LIMIT: "limit",
}
SIDES = {1: "buy", -1: "sell"}


@dataclass(frozen=True, slots=True)
class NewOrder:
    """The arguments of `create_order`; amount and price are text."""

    type: str
    side: str
    amount: str
    price: str | None
    params: dict[str, Any]


def text(value: Decimal) -> str:
    """Return a decimal without an exponent or trailing zeros.

    >>> text(Decimal("1E-5")), text(Decimal("100.500"))
    ('0.00001', '100.5')
    """
    plain = f"{value:f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def new_order(
    request: Request, profile: Profile, instrument: Instrument, client_id: str, lots: int, px_ticks: int
) -> NewOrder:
    """Return the call for a new order of `lots` at `px_ticks` under `client_id`.

    Raises InputError, one line, for what this exchange does not have.
    """
    kind, tif = OrderType(request.type), TIF(request.tif)
    if kind not in profile.types:
        raise InputError(f"{profile.name} takes no {kind.name} orders here: {_names(profile.types)}")
    params: dict[str, Any] = {profile.create_param: profile.ids.write(client_id)}
    limited = kind in (OrderType.LIMIT, OrderType.STOP_LIMIT)
    if limited and tif is not TIF.GTC:
        if tif not in profile.tifs:
            raise InputError(f"{profile.name} has no time in force {tif.name}: {_names(profile.tifs)}")
        params["timeInForce"] = tif.name
        if tif is TIF.GTD:
            params["goodTillDate"] = request.expire_ts // 1_000_000
    if request.flags & POST_ONLY:
        if kind is not OrderType.LIMIT or not profile.post_only:
            raise InputError(f"{profile.name} has post-only for limit orders only")
        params["postOnly"] = True
    if request.flags & REDUCE_ONLY:
        if profile.reduce_only and instrument.contract is not Contract.SPOT:
            params["reduceOnly"] = True
        elif kind is not OrderType.MARKET and (kind is not OrderType.LIMIT or tif not in (TIF.IOC, TIF.FOK)):
            # what trades at once or not at all is held to the position by risk; what rests could outlive the position
            raise InputError(f"{profile.name} has no reduce-only for {instrument.symbol}: contracts only")
    if kind in (OrderType.STOP, OrderType.STOP_LIMIT):
        params["triggerPrice"] = text(instrument.tick * request.trigger_ticks)
    price = text(instrument.tick * px_ticks) if limited else None
    return NewOrder(_TYPES[kind], SIDES[request.side], text(instrument.lot * lots), price, params)


def _names(known: frozenset[OrderType] | frozenset[TIF]) -> str:
    return "use " + ", ".join(k.name for k in sorted(known))

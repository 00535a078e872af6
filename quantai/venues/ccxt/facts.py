"""What an exchange says of orders and executions, read from ccxt's dicts in exact numbers.

The exchange object is told to keep numbers as text, so nothing passes through a float.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from quantai.core.errors import DataError
from quantai.venues.ccxt.order_ids import IdStyle

_LEFT, _DONE = "leaves_quantity", "cumulative_quantity"  # of Coinbase: ccxt takes the second for the size
_POST_ONLY = re.compile("post.?only", re.IGNORECASE)
_CLIENT_IDS = ("clientOrderId", "c", "clOrdId", "orderLinkId", "cl_ord_id", "text", "client_order_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderFact:
    """One sentence about an order: `status` is ccxt's open, closed, canceled, expired, rejected, or "" for not said.

    `client_id` is ours, "" where it is not said or not ours. Quantities in units; None for what is not said.
    `would_take`: the exchange says that a post-only order has ended because it would have traded.
    """

    venue_id: str
    client_id: str
    symbol: str
    side: int
    status: str
    qty: Decimal | None
    filled: Decimal | None
    px: Decimal | None
    would_take: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeFact:
    """One execution of ours, with its own id."""

    trade_id: str
    venue_id: str
    client_id: str
    symbol: str
    qty: Decimal
    px: Decimal
    is_maker: bool
    fee: Decimal | None
    fee_currency: str
    raw: Mapping[str, Any]


def order_fact(said: Mapping[str, Any], ids: IdStyle) -> OrderFact:
    """Read an order of ccxt; raises DataError for one without its own id."""
    venue_id = str(said.get("id") or "")
    if not venue_id:
        raise DataError(f"an order without an id: {_short(said)}")
    return OrderFact(
        venue_id=venue_id,
        client_id=_client_id(said, ids),
        symbol=str(said.get("symbol") or ""),
        side=_side(said),
        status=str(said.get("status") or ""),
        qty=_qty(said),
        filled=decimal(said.get("filled")),
        px=decimal(said.get("price")),
        would_take=_would_take(said.get("info")),
    )


def trade_fact(said: Mapping[str, Any], ids: IdStyle) -> TradeFact:
    """Read an execution of ccxt; raises DataError for one without ids, a price or a quantity."""
    trade_id, venue_id = str(said.get("id") or ""), str(said.get("order") or "")
    qty, px = decimal(said.get("amount")), decimal(said.get("price"))
    if not trade_id or not venue_id or not qty or px is None:
        raise DataError(f"an execution without an id, an order, a quantity or a price: {_short(said)}")
    fee: Mapping[str, Any] = said.get("fee") or next(iter(said.get("fees") or ()), {})
    cost = decimal(fee.get("cost"))
    info = said.get("info")
    return TradeFact(
        trade_id=trade_id,
        venue_id=venue_id,
        client_id=_client_id(said, ids),
        symbol=str(said.get("symbol") or ""),
        qty=qty,
        px=px,
        is_maker=said.get("takerOrMaker") == "maker",
        fee=cost if cost and fee.get("currency") else None,
        fee_currency=str(fee.get("currency") or ""),
        raw=info if isinstance(info, Mapping) else {},
    )


def totals(said: Mapping[str, Any], wallet: tuple[str, str, str] | None) -> dict[str, Decimal]:
    """Return the cash of a balance of ccxt by currency, without the zeros; `wallet` is that of a profile.

    >>> raw = {"assets": [{"asset": "USDT", "walletBalance": "99.50"}]}
    >>> totals({"total": {"USDT": "101"}, "info": raw}, ("assets", "asset", "walletBalance"))
    {'USDT': Decimal('99.50')}
    """
    entries: dict[str, Any] = dict(said.get("total") or {})
    if wallet is not None:
        place: Any = said.get("info")
        for step in wallet[0].split("."):
            place = place[int(step)] if step.isdigit() else place[step]
        entries = {entry[wallet[1]]: entry[wallet[2]] for entry in place}
    return {name: total for name, total in ((n, decimal(t)) for n, t in entries.items()) if total}


def decimal(value: object) -> Decimal | None:
    """Return a number of ccxt exactly; None for none.

    >>> decimal("0.10"), decimal(None), decimal("")
    (Decimal('0.10'), None, None)
    """
    if value is None or value == "":
        return None
    try:
        found = Decimal(str(value))
    except ArithmeticError:
        raise DataError(f"not a number: {value!r}") from None
    if not found.is_finite():
        raise DataError(f"not a number: {value!r}")
    return found


def _qty(said: Mapping[str, Any]) -> Decimal | None:
    info = said.get("info")
    left, done = (decimal(info.get(n)) if isinstance(info, Mapping) else None for n in (_LEFT, _DONE))
    return decimal(said.get("amount")) if left is None or done is None else left + done


def _client_id(said: Mapping[str, Any], ids: IdStyle) -> str:
    info = said.get("info")
    if isinstance(info, Mapping) and info.get("cl_ord_id"):  # ccxt says another number of Kraken's in its place
        return ids.read(str(info["cl_ord_id"])) or str(info["cl_ord_id"])
    for source in (said, info):
        if not isinstance(source, Mapping):
            continue
        for name in _CLIENT_IDS:
            text = source.get(name)
            if text:
                return ids.read(str(text)) or str(text)
    return ""


def _would_take(info: object) -> bool:
    """Say whether a raw order of OKX (cancelSource 31), Bybit or Kraken names that as the reason of its end."""
    if not isinstance(info, Mapping):
        return False
    reason = str(info.get("rejectReason") or info.get("cancel_reason") or info.get("reason") or "")
    return str(info.get("cancelSource")) == "31" or _POST_ONLY.search(reason) is not None


def _side(said: Mapping[str, Any]) -> int:
    return {"buy": 1, "sell": -1}.get(str(said.get("side")), 0)


def _short(said: Mapping[str, Any]) -> str:
    return str({name: said.get(name) for name in ("id", "order", "symbol", "amount", "price")})

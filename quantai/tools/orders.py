"""A tool that proposes an order, and never sends one."""

import json
import secrets
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal

from quantai.core.errors import InputError
from quantai.core.instruments import Instrument
from quantai.ops import durable, make_folder, sync_folder
from quantai.tools.lake import lake_of
from quantai.tools.registry import tool
from quantai.tools.workspace import Workspace


@tool(
    permission="trade",
    category="orders",
    foreign=False,
    examples=[{"venue": "BINANCE", "symbol": "BTC-USDT", "side": "buy", "qty": "0.01", "limit": "50000", "why": "…"}],
)
def propose_order(
    workspace: Workspace,
    venue: str,
    symbol: str,
    side: Literal["buy", "sell"],
    qty: Annotated[str, "quantity, a decimal number, a multiple of the lot"],
    limit: Annotated[str, "limit price, a decimal number, a multiple of the tick"],
    why: Annotated[str, "the reason, for the person who decides"],
) -> dict[str, Any]:
    """Write down a limit order for a person to decide on. Nothing is sent: what comes of it is up to them.

    It is held to the instrument's grid and to the workspace's limits before anybody is bothered with it.
    """
    if workspace.limits is None:
        raise InputError("no limits are set for this workspace, so no order can be proposed")
    instrument = _instrument(workspace, symbol, venue)
    amount, price = _positive("qty", qty), _positive("limit", limit)
    instrument.lots(amount)
    instrument.ticks(price)
    notional = instrument.notional(amount, price)
    most, position = workspace.limits.max_order_notional, workspace.limits.max_position
    position = workspace.limits.position.get(symbol, position)
    if notional > most:
        raise InputError(f"{notional} is more than the largest order notional, {most}")
    if amount > position:
        raise InputError(f"{amount} is more than the largest position of {symbol}, {position}")
    proposal = {
        "id": f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
        "venue": instrument.venue,
        "symbol": instrument.symbol,
        "side": side,
        "qty": str(amount),
        "limit": str(price),
        "notional": str(notional),
        "why": why,
    }
    folder = workspace.folder / "proposals"
    make_folder(folder)
    path = folder / f"{proposal['id']}.json"
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(proposal, ensure_ascii=False, indent=2))
        file.flush()
        durable(file.fileno())
    temporary.rename(path)
    sync_folder(folder)
    return proposal | {"sent": False, "path": str(path)}


def _instrument(workspace: Workspace, symbol: str, venue: str) -> Instrument:
    return lake_of(workspace).instruments.get(symbol, venue)


def _positive(what: str, text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise InputError(f"{what} {text!r} is not a number") from None
    if not value.is_finite() or value <= 0:
        raise InputError(f"{what} has to be above 0, not {text}")
    return value

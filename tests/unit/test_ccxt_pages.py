"""Executions and open orders that an exchange gives in pages, each in its own way, are all found."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from quantai.core.instruments import Instrument
from quantai.venues.ccxt import profile
from quantai.venues.ccxt.ledger import Leg, Order
from quantai.venues.ccxt.limiter import Priority
from quantai.venues.ccxt.profiles import PROFILES
from quantai.venues.ccxt.questions import Questions

SYMBOL, N = "BTC/USDT", 1_234
TRADES = [
    {"id": str(n), "order": "9", "symbol": SYMBOL, "timestamp": 1_000 + n // 7, "amount": "0.001", "price": "100"}
    for n in range(N)
]


class Paged:
    """An exchange object that pages as documented: the newest first, but for Binance; many within a millisecond."""

    has = {"fetchOrderTrades": True}  # noqa: RUF012

    def __init__(self, pages: str, most: int) -> None:
        self.pages, self.most = pages, most

    async def fetch_my_trades(
        self, symbol: str | None, since: int | None = None, limit: int | None = None, params: Any = None
    ) -> list[dict[str, Any]]:
        rows = [row for row in TRADES if row["timestamp"] >= (since or 0)]
        limit, params = min(limit or self.most, self.most), params or {}
        if self.pages == "since":
            return [row | {"info": {}} for row in rows[:limit]]
        rows.reverse()
        at = {"cursor": int(params.get("cursor", 0)), "ofs": params.get("ofs", 0),
              "page": limit * (params.get("page", 1) - 1)}.get(self.pages, 0)  # fmt: skip
        if "after" in params:
            at = next(n for n, row in enumerate(rows) if int(row["id"]) < int(params["after"]))
        info = {"nextPageCursor": str(at + limit)} if at + limit < len(rows) else {}
        page = [row | {"info": info | {"billId": row["id"]}} for row in rows[at : at + limit]]
        return page[::-1]  # ccxt sorts


class Orders(Paged):
    """Open orders, in the same pages."""

    has = {"fetchOpenOrders": True, "fetchClosedOrders": False, "fetchCanceledOrders": False}  # noqa: RUF012

    async def fetch_open_orders(self, *asked: Any) -> list[dict[str, Any]]:
        found = await self.fetch_my_trades(*asked)
        for order in found:
            order["clientOrderId"], order["status"] = f"run-1-{order['id']}", "open"
            order["info"].pop("billId", None)  # only entries of the account's bills have one
        return found

    async def fetch_closed_orders(self, *asked: Any) -> list[dict[str, Any]]:
        raise AssertionError(asked)

    fetch_canceled_orders = fetch_closed_orders


async def _at_once(weight: str, priority: Priority, call: Callable[[], Awaitable[Any]]) -> Any:
    return await call()


@pytest.mark.parametrize("name", sorted(PROFILES))
async def test_executions_on_many_pages_are_all_found(name: str) -> None:
    of = profile(name)
    questions = Questions(Paged(of.pages, of.page), of, _at_once)
    found = await questions.trades_since(SYMBOL, 1_000)
    assert sorted(int(fact.trade_id) for _, fact in found) == list(range(N))
    assert [ms for ms, _ in found] == sorted(ms for ms, _ in found)


@pytest.mark.parametrize(("name", "most"), [("BYBIT", 50), ("COINBASE", 50), ("OKX", 100), ("GATE", 100)])
async def test_open_orders_on_many_pages_are_all_found(name: str, most: int) -> None:
    of = profile(name)
    found = await Questions(Orders(of.pages, most), of, _at_once).open_orders(SYMBOL)
    assert len(found) == N


async def test_an_order_whose_id_is_not_known_is_found_on_any_page() -> None:
    of = profile("COINBASE")
    pair, terms = Instrument.parse("BTC-USDT", venue="COINBASE"), {"symbol": SYMBOL, "number": 1, "asked": None}
    leg = Leg("run-1-7", 1, 1)  # the oldest but seven, and the newest come first
    order = Order("run-1-7", instrument=pair, total=1, px_ticks=1, legs=[leg], **terms)
    fact = await Questions(Orders(of.pages, 50), of, _at_once).order(order, leg)
    assert fact is not None
    assert fact.venue_id == "7"

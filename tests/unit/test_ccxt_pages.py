"""Executions and open orders that an exchange gives in pages, each in its own way, are all found."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from quantai.venues.ccxt import profile
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

    async def fetch_open_orders(self, *asked: Any) -> list[dict[str, Any]]:
        return await self.fetch_my_trades(*asked)


async def _at_once(weight: str, priority: Priority, call: Callable[[], Awaitable[Any]]) -> Any:
    return await call()


@pytest.mark.parametrize("name", sorted(PROFILES))
async def test_executions_on_many_pages_are_all_found(name: str) -> None:
    of = profile(name)
    questions = Questions(Paged(of.pages, of.page), of, _at_once)
    found = await questions.trades_since(SYMBOL, 1_000)
    assert sorted(int(fact.trade_id) for _, fact in found) == list(range(N))
    assert [ms for ms, _ in found] == sorted(ms for ms, _ in found)


@pytest.mark.parametrize("name", ["BYBIT", "COINBASE"])
async def test_open_orders_on_many_pages_are_all_found(name: str) -> None:
    of = profile(name)
    found = await Questions(Paged(of.pages, 50), of, _at_once).open_orders(SYMBOL)
    assert len(found) == N

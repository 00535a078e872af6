"""Asking an exchange by REST what the stream did not tell: an order, its executions, everything since an instant."""

import itertools
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import ccxt

from quantai.core.errors import InputError
from quantai.venues.ccxt.facts import OrderFact, TradeFact, order_fact, trade_fact
from quantai.venues.ccxt.ledger import Leg, Order
from quantai.venues.ccxt.limiter import Priority
from quantai.venues.ccxt.profiles import Profile

OPEN_PAGES = {"cursor": 50, "after": 100, "page": 100}
"""Open orders asked for at once, where they come in pages: Bybit, OKX and Gate give no more."""

ID_PAGE = 10
"""Executions asked for by their ids at once: of 20, ccxt asks for no more of them in a second call, without an id."""

CURSORS = ("nextPageCursor", "cursor")
"""Where Bybit and Coinbase say where the next page begins."""

Call = Callable[[str, Priority, Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""(name of its weight, priority, the call itself): made within the rate limit."""


class Questions:
    """Questions about orders and executions, as one profile has to ask them; errors are ccxt's."""

    def __init__(self, api: Any, profile: Profile, call: Call) -> None:
        self._api, self._profile, self._call = api, profile, call
        self.ids = profile.ids

    async def order(self, order: Order, leg: Leg) -> OrderFact | None:
        """Return what the exchange says of one leg, None when it does not find it."""
        profile, written = self._profile, self._profile.ids.write(leg.client_id)
        try:
            if profile.query and profile.query != "-":
                said = await self._ask("query", self._api.fetch_order, "", order.symbol, {profile.query: written})
                return self._fact(said, leg)
            if profile.query == "-" and leg.venue_id:
                return self._fact(await self._ask("query", self._api.fetch_order, leg.venue_id, order.symbol), leg)
        except ccxt.OrderNotFound:
            return None
        return await self._search(order, leg, written)

    async def trades(self, order: Order, leg: Leg) -> list[TradeFact]:
        """Return every execution of one leg that the exchange knows by its own id."""
        profile, api, params = self._profile, self._api, dict[str, Any]()
        if not leg.venue_id:
            return []
        if profile.trades_param:
            params[profile.trades_param] = leg.venue_id
            found = await self._every("trades", api.fetch_my_trades, order.symbol, None, profile.page, params)
        elif profile.trades_by_id:
            return await self._trades_by_id(order, leg)
        elif api.has["fetchOrderTrades"]:
            fetch = partial(api.fetch_order_trades, leg.venue_id)
            found = await self._every("trades", fetch, order.symbol, None, profile.page, params)
        else:
            found = await self._every("trades", api.fetch_my_trades, order.symbol, None, profile.page, params)
        facts = [trade_fact(t, profile.ids) for t in found]
        return [fact for fact in facts if fact.venue_id == leg.venue_id]

    async def _trades_by_id(self, order: Order, leg: Leg) -> list[TradeFact]:
        """Ask an order for the ids of its executions, and for these."""
        said = await self._ask("query", self._api.fetch_order, leg.venue_id, order.symbol)
        ids = [str(trade["id"]) for trade in said["trades"]]
        facts: list[TradeFact] = []
        for at in range(0, len(ids), ID_PAGE):
            some = {"trades": ids[at : at + ID_PAGE]}
            found = await self._ask(
                "trades", self._api.fetch_order_trades, leg.venue_id, order.symbol, None, None, some
            )
            facts += [trade_fact(t, self._profile.ids) for t in found]
        return facts

    async def trades_since(self, symbol: str, since_ms: int) -> list[tuple[int, TradeFact]]:
        """Return all executions in a market since an instant, with theirs (ms since 1970 UTC), the oldest first."""
        profile, fetch = self._profile, self._api.fetch_my_trades
        # Kraken cannot be asked for one market, and a page of which ccxt leaves out the others is never full
        asked = None if profile.pages == "ofs" else symbol
        found = await self._every("trades", fetch, asked, since_ms, profile.page, {}, Priority.POLL)
        stamped = [
            (int(t.get("timestamp") or 0), trade_fact(t, profile.ids)) for t in found if t.get("symbol") == symbol
        ]
        return sorted(stamped, key=lambda entry: entry[0])

    async def open_orders(self, symbol: str, priority: Priority = Priority.POLL) -> list[Mapping[str, Any]]:
        """Return the orders that work in a market, as ccxt says them."""
        limit = OPEN_PAGES.get(self._profile.pages)
        return await self._every("open", self._api.fetch_open_orders, symbol, None, limit, {}, priority)

    async def _every(
        self,
        weight: str,
        fetch: Any,
        symbol: str | None,
        since_ms: int | None,
        limit: int | None,
        params: dict[str, Any],
        priority: Priority = Priority.QUERY,
    ) -> list[Mapping[str, Any]]:
        """Return what a call has on all of its pages, each thing once; `limit` is how much is on a full page."""
        seen: dict[str, Mapping[str, Any]] = {}
        turn: dict[str, Any] = {}
        pages, since = self._profile.pages, since_ms
        for number in itertools.count(2):
            page = await self._ask(weight, fetch, symbol, since, limit, params | turn, priority=priority)
            fresh = {str(said["id"]): said for said in page if str(said["id"]) not in seen}
            seen |= fresh
            cursors = [said["info"].get(name) for said in page for name in CURSORS] if pages == "cursor" else []
            cursor = next((cursor for cursor in cursors if cursor), None)
            is_last = cursor is None if pages == "cursor" else limit is None or len(page) < limit
            if is_last or not fresh or (pages == "since" and since is None):
                break
            if pages == "since":
                since = max(int(said.get("timestamp") or 0) for said in page)
            elif pages == "cursor":
                turn = {"cursor": cursor}
            elif pages == "after":
                turn = {"after": str(min(int(said["info"].get("billId") or said["id"]) for said in page))}
            else:
                turn = {pages: len(seen) if pages == "ofs" else number}
        return list(seen.values())

    async def _search(self, order: Order, leg: Leg, written: str) -> OrderFact | None:
        """Look for an order by its client id in lists: of the open ones, then of those that have ended."""
        api, params = self._api, {self._profile.list_param: written} if self._profile.list_param else {}
        for name in ("fetchOpenOrders", "fetchClosedOrders", "fetchCanceledOrders"):
            if not api.has[name]:
                continue
            fetch = {"fetchOpenOrders": api.fetch_open_orders, "fetchClosedOrders": api.fetch_closed_orders,
                     "fetchCanceledOrders": api.fetch_canceled_orders}[name]  # fmt: skip
            if name == "fetchOpenOrders" and not params:
                found = await self.open_orders(order.symbol, Priority.QUERY)
            else:
                found = await self._ask("query", fetch, order.symbol, None, None, params)
            for said in found:
                if said.get("clientOrderId") == written or (leg.venue_id and said.get("id") == leg.venue_id):
                    return self._fact(said, leg)
        return None

    def _fact(self, said: Mapping[str, Any], leg: Leg) -> OrderFact | None:
        fact = order_fact(said, self._profile.ids)
        if leg.venue_id and fact.venue_id != leg.venue_id:
            raise InputError(f"{leg.client_id} is order {leg.venue_id}, but the exchange answered for {fact.venue_id}")
        return OrderFact(
            venue_id=fact.venue_id, client_id=leg.client_id, symbol=fact.symbol, side=fact.side, status=fact.status,
            qty=fact.qty, filled=fact.filled, px=fact.px, would_take=fact.would_take,
        )  # fmt: skip

    async def _ask(self, weight: str, method: Any, *args: Any, priority: Priority = Priority.QUERY) -> Any:
        return await self._call(weight, priority, lambda: method(*args))

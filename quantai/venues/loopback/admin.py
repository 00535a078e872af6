"""The exchange's back door, for tests and chaos: what is true, what goes wrong, and what the market does next.

GET    /loopback/truth                  every order, fill, balance and position
GET    /loopback/book?product=&symbol=  a whole book with its update id
GET    /loopback/fault                  the faults there are, with how often they struck
POST   /loopback/fault                  one more: {"fault": "drop:p=0.1"}; answers {"id": …}
DELETE /loopback/fault[?id=]            one less, or none left
POST   /loopback/market                 {"paused": true}, {"speed": 2.0}, and for one symbol
                                        {"product", "symbol", "do": "take", "side", "quantity"}, or "do"
                                            "quote" or "withdraw" with a "price" too
POST   /loopback/funding                {"symbol": "BTCUSDT", "rate": "0.0001"} pays funding now
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import Any

from aiohttp import web

from quantai.core.errors import InputError, QuantaiError
from quantai.venues.loopback.exchange import Exchange, fault_shape
from quantai.venues.loopback.faults import Fault
from quantai.venues.loopback.hub import dump
from quantai.venues.loopback.streams import levels


class Desk:
    """Answers requests under `/loopback/`; `pace` changes the market's speed and `restart` restarts the server."""

    def __init__(
        self, exchange: Exchange, pace: Callable[[bool | None, float | None], None],
        restart: Callable[[Fault], Awaitable[None]],
    ) -> None:  # fmt: skip
        self._exchange, self._pace, self._restart = exchange, pace, restart

    async def answer(self, method: str, path: str, query: Mapping[str, str], body: str) -> web.Response:
        """Do what is asked; what cannot be done answers 400 with {"error": …}."""
        try:
            asked: dict[str, Any] = json.loads(body) if body else {}
            answer = await self._do(method, path.removeprefix("/loopback/").rstrip("/"), query, asked)
        except (QuantaiError, ValueError, ArithmeticError, KeyError) as error:
            return web.Response(status=400, text=dump({"error": str(error)}), content_type="application/json")
        status = 404 if answer is None else 200
        return web.Response(status=status, text=dump(answer or {}), content_type="application/json")

    async def add(self, fault: Fault) -> int:
        """Put a fault in force and return its number."""
        self._exchange.faults.append(fault)
        if fault.name == "restart":
            await self._restart(fault)
        return len(self._exchange.faults) - 1

    async def _do(self, method: str, what: str, query: Mapping[str, str], asked: dict[str, Any]) -> Any:
        exchange = self._exchange
        match method, what:
            case "GET", "truth":
                return exchange.truth()
            case "GET", "book":
                matching = exchange.matching(query.get("product", "spot"), query.get("symbol", ""))
                sides = {"bids": levels(matching, 1, 1 << 20), "asks": levels(matching, -1, 1 << 20)}
                return {"lastUpdateId": matching.book.update} | sides
            case "GET", "fault":
                return {"faults": [fault_shape(n, f) for n, f in enumerate(exchange.faults)]}
            case "POST", "fault":
                said = asked.get("fault") or ""
                fault = Fault.parse(said) if said else Fault.of(asked.pop("name", ""), asked)
                return {"id": await self.add(fault)}
            case "DELETE", "fault":
                number = query.get("id", "")
                doomed = exchange.faults[int(number) : int(number) + 1] if number else list(exchange.faults)
                for fault in doomed:
                    exchange.faults.remove(fault)
                return {"left": len(exchange.faults)}
            case "POST", "market":
                return self.market(asked)
            case "POST", "funding":
                paid = exchange.fund(asked["symbol"], Decimal(str(asked.get("rate", exchange.funding_rate))))
                return {"paid": {key: str(amount) for key, amount in paid.items()}}
            case _:
                return None

    def market(self, asked: dict[str, Any]) -> Any:
        """Pause, pace or move the market; raises InputError."""
        if "do" not in asked:
            self._pace(asked.get("paused"), asked.get("speed"))
            return {"ok": True}
        matching = self._exchange.matching(asked.get("product", "spot"), asked["symbol"])
        listing, side = matching.listing, 1 if asked["side"] == "BUY" else -1
        lots = listing.lots(Decimal(str(asked["quantity"])))
        ticks = listing.ticks(Decimal(str(asked.get("price", listing.tick))))
        if not lots or lots < 0 or not ticks:
            raise InputError(f"{listing.symbol}: price or quantity is not on the grid {listing.tick} x {listing.lot}")
        match asked["do"]:
            case "take":
                matching.take(side, lots)
            case "quote":
                matching.quote(side, ticks, lots)
            case "withdraw":
                matching.withdraw(side, ticks, lots)
            case what:
                raise InputError(f"the market can take, quote or withdraw, not {what!r}")
        self._exchange.after(matching)
        return {"last": listing.px(matching.last), "lastUpdateId": matching.book.update}

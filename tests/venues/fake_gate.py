"""Gate's v4 spot protocol as documented (https://www.gate.com/docs/developers/apiv4/en/), as much as orders need."""

import hashlib
import hmac
import json
import time
from decimal import Decimal
from typing import Any

from aiohttp import web

from tests.venues.toy import Refused, ToyExchange, ToyFill, ToyOrder, ToyServer, now_ms
from tests.venues.toy_place import ASK, BID, KEYS

LABELS = {"duplicate": "DUPLICATE_REQUEST", "funds": "BALANCE_NOT_ENOUGH", "late": "ORDER_NOT_FOUND"}
TIFS = {"gtc": "GTC", "ioc": "IOC", "fok": "FOK", "poc": "PO"}
WORDS = {tif: word for word, tif in TIFS.items()}


class FakeGate(ToyServer):
    """Signatures of requests are checked; an order in a path is its id or its text."""

    retry_after_s = 1

    def __init__(self) -> None:
        super().__init__()
        self.exchange = ToyExchange(BID, ASK, self._changed)
        self.routes = {
            ("GET", "/api/v4/spot/time"): lambda q: {"server_time": now_ms()},
            ("GET", "/api/v4/spot/currency_pairs"): lambda q: [self._pair()],
            ("GET", "/api/v4/margin/currency_pairs"): lambda q: [],
            ("GET", "/api/v4/spot/accounts"): lambda q: [
                {"currency": name, "available": str(total), "locked": "0"}
                for name, total in self.exchange.balances.items()
            ],
            ("POST", "/api/v4/spot/orders"): self._place,
            ("GET", "/api/v4/spot/open_orders"): self._open,
            ("GET", "/api/v4/spot/orders/*"): lambda q: self._shape(self._find(q)),
            ("DELETE", "/api/v4/spot/orders/*"): self._cancel,
            ("PATCH", "/api/v4/spot/orders/*"): self._amend,
            ("GET", "/api/v4/spot/my_trades"): lambda q: [
                self._trade(o, f) for o in self.exchange.orders for f in o.fills if q.get("order_id") in (None, o.id)
            ],
        }

    def check(self, request: web.Request, path: str, body: str) -> None:
        if "currency_pairs" in path or path.endswith("/time"):
            return
        digest = hashlib.sha512(body.encode()).hexdigest()
        stamp = request.headers.get("Timestamp", "")
        query = request.rel_url.raw_query_string
        text = f"{request.method}\n{path}\n{query}\n{digest}\n{stamp}"
        signed = hmac.new(KEYS.secret.encode(), text.encode(), hashlib.sha512).hexdigest()
        if (KEYS.key, signed) != (request.headers.get("KEY"), request.headers.get("SIGN")):
            raise Refused("INVALID_SIGNATURE", "Signature mismatch")

    def refusal(self, error: Refused) -> web.Response:
        label = LABELS.get(error.code, error.code)
        return web.json_response({"label": label, "message": error.words}, status=400)

    def too_many(self) -> web.Response:
        return web.json_response({"label": "TOO_MANY_REQUESTS", "message": "Request Rate limit Exceeded"}, status=429)

    async def hear(self, socket: web.WebSocketResponse, said: str) -> None:
        asked = json.loads(said)
        head = {"time": int(time.time()), "time_ms": now_ms(), "id": asked.get("id"), "channel": asked["channel"]}
        if asked["channel"] == "spot.ping":
            await socket.send_json({**head, "channel": "spot.pong", "event": "", "result": None})
            return
        await socket.send_json({**head, "event": "subscribe", "error": None, "result": {"status": "success"}})
        self.following.add(socket)

    def _changed(self, order: ToyOrder, fill: ToyFill | None) -> None:
        head = {"time": int(time.time()), "time_ms": now_ms(), "event": "update"}
        if fill is not None:
            self.push({**head, "channel": "spot.usertrades", "result": [self._trade(order, fill)]})
        event = "finish" if not order.is_open else ("update" if order.fills else "put")
        self.push({**head, "channel": "spot.orders", "result": [{**self._shape(order), "event": event}]})

    def _pair(self) -> dict[str, Any]:
        return {
            "id": "BTC_USDT", "base": "BTC", "quote": "USDT", "fee": "0.2", "min_base_amount": "0.00001",
            "min_quote_amount": "3", "amount_precision": 5, "precision": 1, "trade_status": "tradable",
            "sell_start": 0, "buy_start": 0,
        }  # fmt: skip

    def _place(self, asked: dict[str, Any]) -> dict[str, Any]:
        side = 1 if asked["side"] == "buy" else -1
        tif = TIFS[asked.get("time_in_force", "gtc")]
        px, qty = Decimal(asked["price"]), Decimal(asked["amount"])
        return self._shape(self.exchange.place(asked["text"], side, asked["type"], tif, px, qty))

    def _open(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        found = [self._shape(o) for o in self.exchange.orders if o.is_open]
        return [{"currency_pair": "BTC_USDT", "total": len(found), "orders": found}] if found else []

    def _cancel(self, query: dict[str, Any]) -> dict[str, Any]:
        order = self._find(query)
        self.exchange.cancel(order)
        return self._shape(order)

    def _amend(self, asked: dict[str, Any]) -> dict[str, Any]:
        order = self._find(asked)
        self.exchange.amend(order, Decimal(asked.get("price") or order.px), Decimal(asked.get("amount") or order.qty))
        return self._shape(order)

    def _find(self, asked: dict[str, Any]) -> ToyOrder:
        order = self.exchange.find(asked["*"], asked["*"])
        if order is None:
            raise Refused("ORDER_NOT_FOUND", "Order not found")
        return order

    def _trade(self, order: ToyOrder, fill: ToyFill) -> dict[str, Any]:
        return {
            "id": fill.id, "create_time": str(fill.ms // 1000), "create_time_ms": f"{fill.ms}.0",
            "currency_pair": "BTC_USDT", "side": "buy" if order.side > 0 else "sell", "amount": str(fill.qty),
            "role": "maker" if fill.is_maker else "taker", "price": str(fill.px), "order_id": order.id, "fee": "0.1",
            "fee_currency": "USDT", "point_fee": "0", "gt_fee": "0", "text": order.client_id,
        }  # fmt: skip

    def _shape(self, order: ToyOrder) -> dict[str, Any]:
        status = "open" if order.is_open else ("closed" if order.filled == order.qty else "cancelled")
        return {
            "id": order.id, "text": order.client_id, "create_time": str(order.ms // 1000), "create_time_ms": order.ms,
            "update_time": str(now_ms() // 1000), "update_time_ms": now_ms(), "currency_pair": "BTC_USDT",
            "status": status, "type": order.kind, "account": "spot", "side": "buy" if order.side > 0 else "sell",
            "amount": str(order.qty), "price": str(order.px), "time_in_force": WORDS[order.tif], "iceberg": "0",
            "left": str(order.qty - order.filled), "filled_amount": str(order.filled), "fill_price": "0",
            "filled_total": "0", "avg_deal_price": "", "fee": "0", "fee_currency": "BTC", "point_fee": "0",
            "gt_fee": "0", "gt_discount": False, "rebated_fee": "0", "rebated_fee_currency": "USDT",
            "finish_as": {"open": "open", "closed": "filled", "cancelled": "cancelled"}[status],
        }  # fmt: skip

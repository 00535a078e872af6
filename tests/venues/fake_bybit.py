"""Bybit's v5 protocol as documented (https://bybit-exchange.github.io/docs/v5/intro), as much of it as orders need."""

import hashlib
import hmac
import json
from decimal import Decimal
from typing import Any

from aiohttp import web

from tests.venues.toy import Refused, ToyExchange, ToyFill, ToyOrder, ToyServer, now_ms
from tests.venues.toy_place import ASK, BID, KEYS, LOT, TICK

CODES = {"duplicate": 170141, "funds": 170131, "late": 170213, "unknown": 170213}
TIFS = {"GTC": "GTC", "IOC": "IOC", "FOK": "FOK", "PostOnly": "PO"}
WORDS = {tif: word for word, tif in TIFS.items()}


class FakeBybit(ToyServer):
    """Spot in a unified account; signatures of requests are checked."""

    retry_after_s = 1

    def __init__(self) -> None:
        super().__init__()
        self.exchange = ToyExchange(BID, ASK, self._changed)
        self.routes = {
            ("GET", "/v5/market/time"): lambda q: self._ok({"timeSecond": "1", "timeNano": str(now_ms() * 1_000_000)}),
            ("GET", "/v5/market/instruments-info"): self._instruments,
            ("GET", "/v5/user/query-api"): lambda q: self._ok({"unified": 0, "uta": 1, "permissions": {}}),
            ("GET", "/v5/account/info"): lambda q: self._ok({"unifiedMarginStatus": 6}),
            ("GET", "/v5/account/wallet-balance"): self._balance,
            ("POST", "/v5/order/create"): self._place,
            ("POST", "/v5/order/cancel"): self._cancel,
            ("POST", "/v5/order/amend"): self._amend,
            ("GET", "/v5/order/realtime"): lambda q: self._orders(q, is_open=True),
            ("GET", "/v5/order/history"): lambda q: self._orders(q, is_open=False),
            ("GET", "/v5/execution/list"): self._executions,
        }

    def check(self, request: web.Request, path: str, body: str) -> None:
        if "/market/" in path:
            return
        names = ("API-KEY", "TIMESTAMP", "RECV-WINDOW", "SIGN")
        h = {name: request.headers.get(f"X-BAPI-{name}", "") for name in names}
        text = h["TIMESTAMP"] + h["API-KEY"] + h["RECV-WINDOW"] + (body or request.query_string)
        signed = hmac.new(KEYS.secret.encode(), text.encode(), hashlib.sha256).hexdigest()
        if (KEYS.key, signed) != (h["API-KEY"], h["SIGN"]):
            raise Refused("10004", "Error sign, please check your signature generation algorithm.")

    def refusal(self, error: Refused) -> web.Response:
        code = CODES.get(error.code) or int(error.code)
        return web.json_response({"retCode": code, "retMsg": error.words, "result": {}, "time": now_ms()})

    def too_many(self) -> web.Response:
        return web.json_response({"retCode": 10006, "retMsg": "Too many visits!", "result": {}, "time": now_ms()})

    async def hear(self, socket: web.WebSocketResponse, said: str) -> None:
        asked = json.loads(said)
        head = {"success": True, "ret_msg": "", "conn_id": "d266o6hqo29sqmnq4vk0-1yus1"}
        head |= {"req_id": asked.get("req_id", "")}
        if asked["op"] == "ping":
            await socket.send_json({"op": "pong", "args": [str(now_ms())], "conn_id": "d266o6hqo29sqmnq4vk0-1yus1"})
            return
        await socket.send_json({"op": asked["op"], **head})
        if asked["op"] == "subscribe":
            self.following.add(socket)

    def _changed(self, order: ToyOrder, fill: ToyFill | None) -> None:
        head = {"id": f"5923240c6880ab-c59f-420b-9adb-{now_ms()}", "creationTime": now_ms()}
        if fill is not None:
            self.push({**head, "topic": "execution", "data": [self._execution(order, fill)]})
        self.push({**head, "topic": "order", "data": [self._shape(order)]})

    def _ok(self, result: Any) -> dict[str, Any]:
        return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": now_ms()}

    def _instruments(self, query: dict[str, str]) -> dict[str, Any]:
        listed = [
            {
                "symbol": "BTCUSDT", "baseCoin": "BTC", "quoteCoin": "USDT", "innovation": "0", "status": "Trading",
                "marginTrading": "none", "stTag": "0",
                "lotSizeFilter": {
                    "basePrecision": f"{LOT:f}", "quotePrecision": "0.0000001", "minOrderQty": f"{LOT:f}",
                    "maxOrderQty": "71.7", "minOrderAmt": "1", "maxOrderAmt": "4000000",
                },
                "priceFilter": {"tickSize": str(TICK)},
                "riskParameters": {"priceLimitRatioX": "0.01", "priceLimitRatioY": "0.02"},
            }
        ]  # fmt: skip
        category = query.get("category")
        return self._ok({"category": category, "list": listed if category == "spot" else [], "nextPageCursor": ""})

    def _balance(self, query: dict[str, str]) -> dict[str, Any]:
        coins = [
            {"coin": name, "walletBalance": str(total), "equity": str(total), "locked": "0", "unrealisedPnl": "0"}
            for name, total in self.exchange.balances.items()
        ]
        return self._ok({"list": [{"accountType": "UNIFIED", "coin": coins}]})

    def _place(self, asked: dict[str, Any]) -> dict[str, Any]:
        side = 1 if asked["side"] == "Buy" else -1
        tif = TIFS[asked.get("timeInForce", "GTC")]
        px, qty = Decimal(asked.get("price") or 0), Decimal(asked["qty"])
        if asked["orderType"] == "Market" and asked.get("marketUnit") != "baseCoin" and side > 0:
            raise Refused("170140", "a market buy order is in quote currency unless marketUnit says otherwise")
        order = self.exchange.place(asked["orderLinkId"], side, asked["orderType"].lower(), tif, px, qty)
        return self._ok({"orderId": order.id, "orderLinkId": order.client_id})

    def _cancel(self, asked: dict[str, Any]) -> dict[str, Any]:
        order = self._find(asked)
        self.exchange.cancel(order)
        return self._ok({"orderId": order.id, "orderLinkId": order.client_id})

    def _amend(self, asked: dict[str, Any]) -> dict[str, Any]:
        order = self._find(asked)
        self.exchange.amend(order, Decimal(asked.get("price") or order.px), Decimal(asked.get("qty") or order.qty))
        return self._ok({"orderId": order.id, "orderLinkId": order.client_id})

    def _orders(self, query: dict[str, str], *, is_open: bool) -> dict[str, Any]:
        named = {"orderId": query.get("orderId"), "orderLinkId": query.get("orderLinkId")}
        found = [
            self._shape(o)
            for o in self.exchange.orders
            if (o.is_open == is_open)
            and (not named["orderId"] or named["orderId"] == o.id)
            and (not named["orderLinkId"] or named["orderLinkId"] == o.client_id)
        ]
        return self._ok({"category": "spot", "list": found, "nextPageCursor": ""})

    def _executions(self, query: dict[str, str]) -> dict[str, Any]:
        found = [
            self._execution(o, f)
            for o in self.exchange.orders
            for f in o.fills
            if query.get("orderId") in (None, "", o.id)
        ]
        return self._ok({"category": "spot", "list": found, "nextPageCursor": ""})

    def _find(self, asked: dict[str, Any]) -> ToyOrder:
        order = self.exchange.find(asked.get("orderId", ""), asked.get("orderLinkId", ""))
        if order is None:
            raise Refused("unknown", "Order does not exist.")
        return order

    def _execution(self, order: ToyOrder, fill: ToyFill) -> dict[str, Any]:
        return {
            "category": "spot", "symbol": "BTCUSDT", "closedSize": "", "execFee": "0.1", "execId": fill.id,
            "execPrice": str(fill.px), "execQty": str(fill.qty), "execType": "Trade", "feeCurrency": "USDT",
            "execValue": str(fill.px * fill.qty), "feeRate": "0.001", "isLeverage": "0", "isMaker": fill.is_maker,
            "leavesQty": str(order.qty - order.filled), "orderId": order.id, "orderLinkId": order.client_id,
            "orderPrice": str(order.px), "orderQty": str(order.qty), "orderType": order.kind.capitalize(),
            "side": "Buy" if order.side > 0 else "Sell", "execTime": str(fill.ms), "seq": now_ms(),
        }  # fmt: skip

    def _shape(self, order: ToyOrder) -> dict[str, Any]:
        if order.is_open:
            status = "PartiallyFilled" if order.filled else "New"
        elif order.filled == order.qty:
            status = "Filled"
        else:
            status = "PartiallyFilledCanceled" if order.filled else "Cancelled"
        return {
            "category": "spot", "symbol": "BTCUSDT", "orderId": order.id, "orderLinkId": order.client_id,
            "side": "Buy" if order.side > 0 else "Sell", "orderType": order.kind.capitalize(), "price": str(order.px),
            "qty": str(order.qty), "marketUnit": "baseCoin", "cumExecQty": str(order.filled),
            "leavesQty": str(order.qty - order.filled), "cumExecValue": "0", "cumExecFee": "0", "avgPrice": "",
            "orderStatus": status, "timeInForce": WORDS[order.tif], "rejectReason": "EC_NoError", "stopOrderType": "",
            "triggerPrice": "0", "takeProfit": "", "stopLoss": "", "reduceOnly": False, "closeOnTrigger": False,
            "createdTime": str(order.ms), "updatedTime": str(now_ms()),
        }  # fmt: skip

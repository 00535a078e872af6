"""OKX's v5 protocol as documented (https://www.okx.com/docs-v5/en/), as much of it as orders need."""

import base64
import hashlib
import hmac
import json
from decimal import Decimal
from typing import Any

from aiohttp import web

from tests.venues.toy import Refused, ToyExchange, ToyFill, ToyOrder, ToyServer, now_ms
from tests.venues.toy_place import ASK, BID, KEYS, LOT, TICK

CODES = {"duplicate": "51016", "funds": "51008", "late": "51400", "amend": "51503", "unknown": "51603"}
TIFS = {"limit": "GTC", "market": "IOC", "ioc": "IOC", "fok": "FOK", "post_only": "PO"}


class FakeOkx(ToyServer):
    """Spot only; signatures of requests are checked."""

    def __init__(self) -> None:
        super().__init__()
        self.exchange = ToyExchange(BID, ASK, self._changed)
        self.routes = {
            ("GET", "/api/v5/public/time"): lambda q: self._ok([{"ts": str(now_ms())}]),
            ("GET", "/api/v5/public/instruments"): self._instruments,
            ("GET", "/api/v5/account/balance"): self._balance,
            ("POST", "/api/v5/trade/batch-orders"): self._place,
            ("POST", "/api/v5/trade/cancel-order"): self._cancel,
            ("POST", "/api/v5/trade/cancel-batch-orders"): self._cancel,
            ("POST", "/api/v5/trade/amend-order"): self._amend,
            ("GET", "/api/v5/trade/order"): self._order,
            ("GET", "/api/v5/trade/orders-pending"): lambda q: self._ok(
                [self._shape(o, None) for o in self.exchange.orders if o.is_open]
            ),
            ("GET", "/api/v5/trade/fills"): self._fills,
            ("GET", "/api/v5/trade/fills-history"): self._fills,
        }

    def check(self, request: web.Request, path: str, body: str) -> None:
        if "/public/" in path:
            return
        stamp = request.headers.get("OK-ACCESS-TIMESTAMP", "")
        full = path + (f"?{request.query_string}" if request.query_string else "")
        text = f"{stamp}{request.method}{full}{body}"
        signed = base64.b64encode(hmac.new(KEYS.secret.encode(), text.encode(), hashlib.sha256).digest()).decode()
        known = (KEYS.key, KEYS.password, signed)
        if known != tuple(request.headers.get(f"OK-ACCESS-{n}", "") for n in ("KEY", "PASSPHRASE", "SIGN")):
            raise Refused("50113", "Invalid Sign")

    def refusal(self, error: Refused) -> web.Response:
        code = CODES.get(error.code, error.code)
        status = 401 if code == "50113" else 200
        if code in ("50113", "51603"):
            return web.json_response({"code": code, "msg": error.words, "data": []}, status=status)
        return web.json_response({"code": "1", "msg": "", "data": [{"sCode": code, "sMsg": error.words, "ordId": ""}]})

    def too_many(self) -> web.Response:
        return web.json_response({"code": "50011", "msg": "Too Many Requests", "data": []}, status=429)

    async def hear(self, socket: web.WebSocketResponse, said: str) -> None:
        if said == "ping":
            await socket.send_str("pong")
            return
        asked = json.loads(said)
        if asked["op"] == "login":
            await socket.send_json({"event": "login", "code": "0", "msg": "", "connId": "a4d3ae55"})
        for arg in asked["args"] if asked["op"] == "subscribe" else []:
            await socket.send_json({"event": "subscribe", "arg": arg, "connId": "a4d3ae55"})
            self.following.add(socket)

    def _changed(self, order: ToyOrder, fill: ToyFill | None) -> None:
        arg = {"channel": "orders", "instType": "ANY", "uid": "446737184"}
        self.push({"arg": arg, "data": [self._shape(order, fill)]})

    def _ok(self, data: list[dict[str, Any]]) -> dict[str, Any]:
        return {"code": "0", "msg": "", "data": data}

    def _instruments(self, query: dict[str, str]) -> dict[str, Any]:
        if query.get("instType") != "SPOT":
            return self._ok([])
        return self._ok(
            [
                {
                    "alias": "", "baseCcy": "BTC", "category": "1", "ctMult": "", "ctType": "", "ctVal": "",
                    "ctValCcy": "", "expTime": "", "instFamily": "", "instId": "BTC-USDT", "instType": "SPOT",
                    "lever": "10", "listTime": "1606468572000", "lotSz": str(LOT), "maxLmtSz": "9999999999",
                    "maxMktSz": "1000000", "minSz": str(LOT), "optType": "", "quoteCcy": "USDT", "settleCcy": "",
                    "state": "live", "stk": "", "tickSz": str(TICK), "uly": "",
                }
            ]
        )  # fmt: skip

    def _balance(self, query: dict[str, str]) -> dict[str, Any]:
        details = [
            {"ccy": ccy, "cashBal": str(total), "availBal": str(total), "frozenBal": "0", "eq": str(total), "upl": "0"}
            for ccy, total in self.exchange.balances.items()
        ]
        return self._ok([{"details": details, "totalEq": "0", "uTime": str(now_ms())}])

    def _place(self, asked: dict[str, Any]) -> dict[str, Any]:
        kind = "market" if asked["ordType"] == "market" else "limit"
        side = 1 if asked["side"] == "buy" else -1
        px, qty = Decimal(asked.get("px") or 0), Decimal(asked["sz"])
        order = self.exchange.place(asked["clOrdId"], side, kind, TIFS[asked["ordType"]], px, qty)
        return self._done(order)

    def _cancel(self, asked: dict[str, Any]) -> dict[str, Any]:
        order = self._find(asked, "late")
        self.exchange.cancel(order)
        return self._done(order)

    def _amend(self, asked: dict[str, Any]) -> dict[str, Any]:
        order = self._find(asked, "amend")
        if not order.is_open:
            raise Refused("amend", "Order modification failed as the order has been filled, canceled or does not exist")
        self.exchange.amend(order, Decimal(asked.get("newPx") or order.px), Decimal(asked.get("newSz") or order.qty))
        return self._done(order)

    def _order(self, query: dict[str, str]) -> dict[str, Any]:
        return self._ok([self._shape(self._find(query, "unknown"), None)])

    def _fills(self, query: dict[str, str]) -> dict[str, Any]:
        found = [
            {
                "instType": "SPOT", "instId": "BTC-USDT", "tradeId": f.id, "ordId": o.id, "clOrdId": o.client_id,
                "billId": f.id, "tag": "", "fillPx": str(f.px), "fillSz": str(f.qty), "side": self._side(o),
                "posSide": "net", "execType": "M" if f.is_maker else "T", "feeCcy": "USDT", "fee": "-0.1",
                "ts": str(f.ms), "fillTime": str(f.ms),
            }
            for o in self.exchange.orders for f in o.fills if query.get("ordId") in (None, o.id)
        ]  # fmt: skip
        return self._ok(found)

    def _find(self, asked: dict[str, Any], refusal: str) -> ToyOrder:
        order = self.exchange.find(asked.get("ordId", ""), asked.get("clOrdId", ""))
        if order is None:
            raise Refused(refusal, "Order does not exist")
        return order

    def _done(self, order: ToyOrder) -> dict[str, Any]:
        row = {"clOrdId": order.client_id, "ordId": order.id, "sCode": "0", "sMsg": "", "tag": "", "ts": str(now_ms())}
        return self._ok([row])

    def _side(self, order: ToyOrder) -> str:
        return "buy" if order.side > 0 else "sell"

    def _shape(self, order: ToyOrder, fill: ToyFill | None) -> dict[str, Any]:
        done = "partially_filled" if order.filled else "live"
        state = done if order.is_open else ("filled" if order.filled == order.qty else "canceled")
        names = {"GTC": order.kind, "IOC": "ioc", "FOK": "fok", "PO": "post_only"}
        return {
            "accFillSz": str(order.filled), "amendResult": "", "avgPx": str(fill.px) if fill else "",
            "cTime": str(order.ms), "category": "normal", "ccy": "", "clOrdId": order.client_id, "code": "0",
            "execType": ("M" if fill.is_maker else "T") if fill else "", "fee": "-0.1" if order.filled else "0",
            "feeCcy": "USDT", "fillFee": "-0.1" if fill else "0", "fillFeeCcy": "USDT" if fill else "",
            "fillNotionalUsd": "", "fillPx": str(fill.px) if fill else "", "fillSz": str(fill.qty) if fill else "0",
            "fillTime": str(fill.ms) if fill else "", "instId": "BTC-USDT", "instType": "SPOT", "lever": "0",
            "msg": "", "ordId": order.id, "ordType": "market" if order.kind == "market" else names[order.tif],
            "pnl": "0", "posSide": "", "px": str(order.px) if order.px else "", "rebate": "0", "rebateCcy": "BTC",
            "reqId": "", "side": self._side(order), "slOrdPx": "", "slTriggerPx": "", "state": state,
            "sz": str(order.qty), "tag": "", "tdMode": "cash", "tgtCcy": "", "tpOrdPx": "", "tpTriggerPx": "",
            "tradeId": fill.id if fill else "", "uTime": str(now_ms()),
        }  # fmt: skip

"""Kraken's spot protocol as documented (https://docs.kraken.com/api/), as much of it as orders need."""

import base64
import hashlib
import hmac
import itertools
import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from quantai.venues.ccxt import Keys
from tests.venues.toy import Refused, ToyExchange, ToyFill, ToyOrder, ToyServer
from tests.venues.toy_place import ASK, BID

KRAKEN_KEYS = Keys("fake-key-1234", base64.b64encode(b"fake-secret-1234").decode())
TOKEN = "1Dwc4lzSwNWOAwkMdqhssNNFhs1ed606d1WcF3XfEMw"
ERRORS = {
    "duplicate": "EGeneral:Invalid arguments:cl_ord_id",
    "funds": "EOrder:Insufficient funds",
    "late": "EOrder:Unknown order",
    "unknown": "EOrder:Unknown order",
}


class FakeKraken(ToyServer):
    """Signatures of requests are checked; the stream says the market of an order in its first message only."""

    retry_after_s = 1

    def __init__(self) -> None:
        super().__init__()
        self.exchange = ToyExchange(BID, ASK, self._changed)
        self._told: set[str] = set()
        self._sequence = itertools.count(1)
        private: dict[str, Any] = {
            "GetWebSocketsToken": lambda q: {"token": TOKEN, "expires": 900},
            "BalanceEx": lambda q: {
                {"BTC": "XXBT"}.get(name, name): {"balance": str(total), "hold_trade": "0"}
                for name, total in self.exchange.balances.items()
            },
            "AddOrder": self._place,
            "CancelOrder": self._cancel,
            "AmendOrder": self._amend,
            "OpenOrders": lambda q: {"open": self._orders(q, is_open=True)},
            "ClosedOrders": lambda q: {"closed": (found := self._orders(q, is_open=False)), "count": len(found)},
            "QueryOrders": lambda q: {o.id: self._shape(o) for o in [self._find(q)]},
            "QueryTrades": lambda q: self._trades(q["txid"].split(",")),
            "TradesHistory": lambda q: {"trades": (found := self._trades()), "count": len(found)},
        }
        self.routes = {("POST", f"/0/private/{name}"): self._answer(does) for name, does in private.items()}
        self.routes[("GET", "/0/public/Time")] = self._answer(lambda q: {"unixtime": int(time.time()), "rfc1123": ""})
        self.routes[("GET", "/0/public/AssetPairs")] = self._answer(lambda q: {"XBTUSDT": self._pair()})

    def check(self, request: web.Request, path: str, body: str) -> None:
        if "/public/" in path:
            return
        nonce = parse_qs(body)["nonce"][0]
        said = path.encode() + hashlib.sha256((nonce + body).encode()).digest()
        signed = hmac.new(base64.b64decode(KRAKEN_KEYS.secret), said, hashlib.sha512).digest()
        if request.headers.get("API-Key") != KRAKEN_KEYS.key:
            raise Refused("EAPI:Invalid key", "")
        if request.headers.get("API-Sign") != base64.b64encode(signed).decode():
            raise Refused("EAPI:Invalid signature", "")

    def refusal(self, error: Refused) -> web.Response:
        return web.json_response({"error": [ERRORS.get(error.code, error.code)]})

    def too_many(self) -> web.Response:
        return web.json_response({"error": ["EOrder:Rate limit exceeded"]})

    async def hear(self, socket: web.WebSocketResponse, said: str) -> None:
        asked = json.loads(said)
        head = {"method": asked["method"], "req_id": asked.get("req_id"), "time_in": _now(), "time_out": _now()}
        if asked["method"] == "ping":
            await socket.send_json({**head, "method": "pong"})
        elif asked.get("params", {}).get("token") != TOKEN:
            await socket.send_json({**head, "success": False, "error": "ESession:Invalid session"})
        else:
            result = {"channel": "executions", "maxratecount": 125, "snap_orders": True, "snap_trades": False}
            await socket.send_json({**head, "success": True, "result": result})
            live = [self._first(o) | {"exec_type": "new"} for o in self.exchange.orders if o.is_open]
            await socket.send_json(
                {"channel": "executions", "type": "snapshot", "data": live, "sequence": next(self._sequence)}
            )
            self.following.add(socket)

    def _answer(self, does: Any) -> Any:
        return lambda asked: {"error": [], "result": does(asked)}

    def _changed(self, order: ToyOrder, fill: ToyFill | None) -> None:
        head = {"order_id": order.id, "cl_ord_id": order.client_id, "timestamp": _now()}
        if order.id not in self._told:
            self._told.add(order.id)
            self._say(self._first(order) | {"exec_type": "pending_new", "order_status": "pending_new"})
            self._say(head | {"exec_type": "new", "order_status": "new"})
        elif fill is not None:
            self._say(head | self._execution(order, fill))
        elif order.is_open:
            terms = {"order_qty": float(order.qty), "limit_price": float(order.px), "limit_price_type": "static"}
            self._say(head | {"exec_type": "amended", "order_status": "new", "amended": True, **terms})
        if not order.is_open:
            word = "filled" if order.filled == order.qty else "canceled"
            sums = {"cum_qty": float(order.filled), "cum_cost": 0.0, "avg_price": 0.0, "fee_usd_equiv": 0.0}
            self._say(head | {"exec_type": word, "order_status": word, **sums})

    def _say(self, data: dict[str, Any]) -> None:
        self.push({"channel": "executions", "type": "update", "data": [data], "sequence": next(self._sequence)})

    def _first(self, order: ToyOrder) -> dict[str, Any]:
        return {
            "order_id": order.id, "cl_ord_id": order.client_id, "symbol": "BTC/USDT", "order_qty": float(order.qty),
            "cum_cost": 0.0, "time_in_force": order.tif if order.tif != "PO" else "GTC", "order_status": "new",
            "side": _side(order), "order_type": order.kind, "limit_price": float(order.px), "stop_price": 0.0,
            "limit_price_type": "static", "fee_usd_equiv": 0.0, "fee_ccy_pref": "fciq", "timestamp": _now(),
        }  # fmt: skip

    def _execution(self, order: ToyOrder, fill: ToyFill) -> dict[str, Any]:
        return {
            "exec_id": fill.id, "exec_type": "trade", "trade_id": int(fill.id), "symbol": "BTC/USDT",
            "side": _side(order), "last_qty": float(fill.qty), "last_price": float(fill.px),
            "liquidity_ind": "m" if fill.is_maker else "t", "cost": float(fill.qty * fill.px),
            "order_type": order.kind, "order_status": "partially_filled", "fees": [{"asset": "USDT", "qty": 0.1}],
        }  # fmt: skip

    def _pair(self) -> dict[str, Any]:
        return {
            "altname": "XBTUSDT", "wsname": "XBT/USDT", "aclass_base": "currency", "base": "XXBT", "lot": "unit",
            "aclass_quote": "currency", "quote": "USDT", "cost_decimals": 5, "pair_decimals": 1, "lot_decimals": 5,
            "lot_multiplier": 1, "leverage_buy": [2, 3], "leverage_sell": [2, 3], "fees": [[0, 0.4]],
            "fees_maker": [[0, 0.25]], "fee_volume_currency": "ZUSD", "margin_call": 80, "margin_stop": 40,
            "ordermin": "0.00005", "costmin": "0.5", "tick_size": "0.1", "status": "online",
        }  # fmt: skip

    def _place(self, asked: dict[str, Any]) -> dict[str, Any]:
        side = 1 if asked["type"] == "buy" else -1
        tif = "PO" if "post" in asked.get("oflags", "") else asked.get("timeinforce", "GTC")
        px, qty = Decimal(asked.get("price") or 0), Decimal(asked["volume"])
        order = self.exchange.place(asked["cl_ord_id"], side, asked["ordertype"], tif, px, qty)
        return {"descr": {"order": self._words(order)}, "txid": [order.id]}

    def _cancel(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.exchange.cancel(self._find(asked))
        return {"count": 1}

    def _amend(self, asked: dict[str, Any]) -> dict[str, Any]:
        order = self._find(asked)
        px, qty = Decimal(asked.get("limit_price") or order.px), Decimal(asked.get("order_qty") or order.qty)
        self.exchange.amend(order, px, qty)
        return {"amend_id": f"A{order.id}"}

    def _find(self, asked: dict[str, Any]) -> ToyOrder:
        order = self.exchange.find(asked.get("txid", ""), asked.get("cl_ord_id", ""))
        if order is None:
            raise Refused("unknown", "")
        return order

    def _orders(self, asked: dict[str, Any], *, is_open: bool) -> dict[str, Any]:
        wanted = asked.get("cl_ord_id")
        found = [o for o in self.exchange.orders if o.is_open is is_open and wanted in (None, o.client_id)]
        return {o.id: self._shape(o) for o in found}

    def _trades(self, wanted: list[str] | None = None) -> dict[str, Any]:
        return {
            f.id: {
                "ordertxid": o.id, "postxid": "TKH2SE-M7IF5-CFI7LT", "pair": "XBTUSDT", "time": f.ms / 1e3,
                "type": _side(o), "ordertype": o.kind, "price": str(f.px), "cost": str(f.qty * f.px), "fee": "0.1",
                "vol": str(f.qty), "margin": "0.00000", "misc": "", "trade_id": int(f.id), "maker": f.is_maker,
            }
            for o in self.exchange.orders for f in o.fills if wanted is None or f.id in wanted
        }  # fmt: skip

    def _words(self, order: ToyOrder) -> str:
        kind = f"limit {order.px}" if order.kind == "limit" else "market"
        return f"{_side(order)} {order.qty} XBTUSDT @ {kind}"

    def _shape(self, order: ToyOrder) -> dict[str, Any]:
        done = "closed" if order.filled == order.qty else "canceled"
        return {
            "refid": None, "userref": None, "cl_ord_id": order.client_id, "status": "open" if order.is_open else done,
            "opentm": order.ms / 1e3, "starttm": 0, "expiretm": 0, "vol": str(order.qty),
            "vol_exec": str(order.filled), "cost": "0.00000", "fee": "0.00000", "price": "0.00000",
            "stopprice": "0.00000", "limitprice": "0.00000", "misc": "", "oflags": "fciq",
            "trades": [f.id for f in order.fills],
            "descr": {
                "pair": "XBTUSDT", "type": _side(order), "ordertype": order.kind, "price": str(order.px),
                "price2": "0", "leverage": "none", "order": self._words(order), "close": "",
            },
        }  # fmt: skip


def _side(order: ToyOrder) -> str:
    return "buy" if order.side > 0 else "sell"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

"""Coinbase's Advanced Trade protocol as documented (https://docs.cdp.coinbase.com), as much of it as orders need."""

import base64
import itertools
import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from quantai.venues.ccxt import Keys
from tests.venues.toy import Refused, ToyExchange, ToyFill, ToyOrder, ToyServer
from tests.venues.toy_place import ASK, BID, LOT, TICK

_SECRET = ec.derive_private_key(20261123, ec.SECP256R1())
COINBASE_KEYS = Keys(
    "organizations/1234/apiKeys/5678",
    _SECRET.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode(),
)
TIFS = {"limit_limit_gtc": "GTC", "sor_limit_ioc": "IOC", "limit_limit_fok": "FOK"}
NAMES = {tif: name for name, tif in TIFS.items()} | {"PO": "limit_limit_gtc"}
BROKERAGE = "/api/v3/brokerage"


class FakeCoinbase(ToyServer):
    """Tokens of requests are checked; the stream tells what is executed of an order, not the executions."""

    retry_after_s = 1

    def __init__(self) -> None:
        super().__init__()
        self.exchange = ToyExchange(BID, ASK, self._changed)
        self._sequence = itertools.count()
        self.routes = {
            ("GET", "/v2/time"): lambda q: {"data": {"iso": _now(), "epoch": int(time.time())}},
            ("GET", f"{BROKERAGE}/market/products"): lambda q: {
                "products": [] if q.get("product_type") == "FUTURE" else [self._product()]
            },
            ("GET", f"{BROKERAGE}/transaction_summary"): lambda q: {
                "fee_tier": {"maker_fee_rate": "0.004", "taker_fee_rate": "0.006"}
            },
            ("GET", f"{BROKERAGE}/accounts"): lambda q: {"accounts": self._accounts(), "has_next": False, "cursor": ""},
            ("POST", f"{BROKERAGE}/orders"): self._place,
            ("POST", f"{BROKERAGE}/orders/batch_cancel"): self._cancel,
            ("POST", f"{BROKERAGE}/orders/edit"): self._edit,
            ("GET", f"{BROKERAGE}/orders/historical/batch"): lambda q: {
                "orders": [
                    self._shape(o) for o in self.exchange.orders if q.get("order_status") in (None, _status(o))
                ],
                "has_next": False, "cursor": "",
            },
            ("GET", f"{BROKERAGE}/orders/historical/fills"): lambda q: {
                "fills": [
                    self._fill(o, f)
                    for o in self.exchange.orders for f in o.fills if q.get("order_ids") in (None, o.id)
                ],
                "cursor": "",
            },
            ("GET", f"{BROKERAGE}/orders/historical/*"): lambda q: {"order": self._shape(self._find(q["*"]))},
        }  # fmt: skip

    def check(self, request: web.Request, path: str, body: str) -> None:
        if "/market/" in path or path == "/v2/time":
            return
        said = _claims(request.headers.get("Authorization", "").removeprefix("Bearer "))
        method, _, where = said["uri"].partition(" ")
        if method != request.method or not where.endswith(path):
            raise Refused("unauthorized", "Unauthorized")

    def refusal(self, error: Refused) -> web.Response:
        if error.code == "unauthorized":
            return web.json_response({"error": error.code, "message": error.words}, status=401)
        if error.code == "unknown":
            words = {"error": "NOT_FOUND", "error_details": error.words, "message": error.words}
            return web.json_response(words, status=404)
        code = {"funds": "INSUFFICIENT_FUND"}.get(error.code, "INVALID_ARGUMENT")
        said = {"error": code, "message": error.words, "error_details": "", "preview_failure_reason": f"PREVIEW_{code}"}
        return web.json_response(
            {"success": False, "failure_reason": "UNKNOWN_FAILURE_REASON", "order_id": "", "error_response": said}
        )

    def too_many(self) -> web.Response:
        return web.json_response({"error": "rate_limit_exceeded", "message": "too many requests"}, status=429)

    async def hear(self, socket: web.WebSocketResponse, said: str) -> None:
        asked = json.loads(said)
        channel = asked["channel"]
        if channel == "user":
            try:
                _claims(asked.get("jwt", ""))
            except Refused:
                await socket.send_json({"type": "error", "message": "authentication failure"})
                return
        await socket.send_json(self._message("subscriptions", {"subscriptions": {channel: ["5678"]}}))
        if channel == "user":
            live = [self._update(o) for o in self.exchange.orders if o.is_open]
            await socket.send_json(self._message("user", {"type": "snapshot", "orders": live}))
            self.following.add(socket)

    def _changed(self, order: ToyOrder, fill: ToyFill | None) -> None:
        self.push(self._message("user", {"type": "update", "orders": [self._update(order)]}))

    def _message(self, channel: str, event: dict[str, Any]) -> dict[str, Any]:
        head = {"client_id": "", "timestamp": _now(), "sequence_num": next(self._sequence)}
        return {"channel": channel, **head, "events": [event]}

    def _update(self, order: ToyOrder) -> dict[str, Any]:
        return {
            "order_id": order.id, "client_order_id": order.client_id, "cumulative_quantity": str(order.filled),
            "leaves_quantity": str(order.qty - order.filled if order.is_open else 0), "avg_price": "0",
            "total_fees": "0", "status": _status(order), "product_id": "BTC-USDT", "creation_time": _time(order.ms),
            "order_side": _side(order), "order_type": "Limit", "limit_price": str(order.px), "stop_price": "",
            "cancel_reason": "", "reject_reason": "", "product_type": "SPOT", "trigger_status": "INVALID_ORDER_TYPE",
        }  # fmt: skip

    def _product(self) -> dict[str, Any]:
        return {
            "product_id": "BTC-USDT", "base_currency_id": "BTC", "quote_currency_id": "USDT", "product_type": "SPOT",
            "base_increment": str(LOT), "quote_increment": "0.01", "price_increment": str(TICK), "status": "online",
            "base_min_size": str(LOT), "base_max_size": "3400", "quote_min_size": "1", "quote_max_size": "150000000",
            "is_disabled": False, "trading_disabled": False, "cancel_only": False, "limit_only": False,
            "post_only": False, "auction_mode": False, "alias": "", "alias_to": [],
        }  # fmt: skip

    def _accounts(self) -> list[dict[str, Any]]:
        return [
            {
                "uuid": f"8bfc20d7-{name}", "name": f"{name} Wallet", "currency": name, "type": "ACCOUNT_TYPE_CRYPTO",
                "available_balance": {"value": str(total), "currency": name}, "active": True, "ready": True,
                "hold": {"value": "0", "currency": name},
            }
            for name, total in self.exchange.balances.items()
        ]  # fmt: skip

    def _place(self, asked: dict[str, Any]) -> dict[str, Any]:
        ((name, terms),) = asked["order_configuration"].items()
        tif = "PO" if terms.get("post_only") else TIFS[name]
        px, qty = Decimal(terms["limit_price"]), Decimal(terms["base_size"])
        side = 1 if asked["side"] == "BUY" else -1
        order = self.exchange.place(asked["client_order_id"], side, "limit", tif, px, qty)
        names = {"order_id": order.id, "client_order_id": order.client_id}
        said = {**names, "product_id": "BTC-USDT", "side": asked["side"]}
        return {"success": True, "success_response": said, "order_configuration": asked["order_configuration"]}

    def _cancel(self, asked: dict[str, Any]) -> dict[str, Any]:
        results: list[dict[str, Any]] = []
        for id_ in asked["order_ids"]:
            order = self.exchange.find(id_, "")
            found = order is not None and order.is_open
            if order is not None and found:
                self.exchange.cancel(order)
            why = "UNKNOWN_CANCEL_FAILURE_REASON" if found else "UNKNOWN_CANCEL_ORDER"
            results.append({"success": found, "failure_reason": why, "order_id": id_})
        return {"results": results}

    def _edit(self, asked: dict[str, Any]) -> dict[str, Any]:
        order = self._find(asked["order_id"])
        if not order.is_open:
            return {"success": False, "errors": [{"edit_failure_reason": "ORDER_NOT_FOUND"}]}
        self.exchange.amend(order, Decimal(asked["price"]), Decimal(asked["size"]))
        return {"success": True, "errors": []}

    def _find(self, id_: str) -> ToyOrder:
        order = self.exchange.find(id_, "")
        if order is None:
            raise Refused("unknown", "order with this orderID was not found")
        return order

    def _fill(self, order: ToyOrder, fill: ToyFill) -> dict[str, Any]:
        return {
            "entry_id": f"b88b82cc{fill.id}", "trade_id": fill.id, "order_id": order.id, "trade_time": _time(fill.ms),
            "trade_type": "FILL", "price": str(fill.px), "size": str(fill.qty), "commission": "0.1",
            "product_id": "BTC-USDT", "sequence_timestamp": _time(fill.ms), "size_in_quote": False,
            "liquidity_indicator": "MAKER" if fill.is_maker else "TAKER", "side": _side(order),
        }  # fmt: skip

    def _shape(self, order: ToyOrder) -> dict[str, Any]:
        terms = {"base_size": str(order.qty), "limit_price": str(order.px), "post_only": order.tif == "PO"}
        words = {"GTC": "GOOD_UNTIL_CANCELLED", "PO": "GOOD_UNTIL_CANCELLED", "FOK": "FILL_OR_KILL"}
        return {
            "order_id": order.id, "product_id": "BTC-USDT", "order_configuration": {NAMES[order.tif]: terms},
            "side": _side(order), "client_order_id": order.client_id, "status": _status(order),
            "time_in_force": words.get(order.tif, "IMMEDIATE_OR_CANCEL"), "created_time": _time(order.ms),
            "filled_size": str(order.filled), "average_filled_price": "0", "fee": "", "filled_value": "0",
            "number_of_fills": str(len(order.fills)), "pending_cancel": False, "size_in_quote": False,
            "total_fees": "0", "order_type": "LIMIT", "reject_reason": "REJECT_REASON_UNSPECIFIED",
            "settled": not order.is_open, "product_type": "SPOT", "reject_message": "", "cancel_message": "",
        }  # fmt: skip


def _claims(token: str) -> dict[str, Any]:
    """Return what a token says; Refused where it is not signed with the key's secret."""
    try:
        head, claims, signature = token.split(".")
        raw = _decoded(signature)
        r, s = (int.from_bytes(part) for part in (raw[:32], raw[32:]))
        signed = f"{head}.{claims}".encode()
        _SECRET.public_key().verify(encode_dss_signature(r, s), signed, ec.ECDSA(SHA256()))
    except (ValueError, InvalidSignature):
        raise Refused("unauthorized", "Unauthorized") from None
    return json.loads(_decoded(claims))


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _status(order: ToyOrder) -> str:
    return "OPEN" if order.is_open else ("FILLED" if order.filled == order.qty else "CANCELLED")


def _side(order: ToyOrder) -> str:
    return "BUY" if order.side > 0 else "SELL"


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1e3, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
